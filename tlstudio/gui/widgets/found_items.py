"""Items of the data that a model has learned from: those most like a sample, and those that a user will like best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QCoreApplication, Slot
from PySide6.QtWidgets import QHBoxLayout, QWidget

from tlstudio.api import DataError, Rejected, Sample, TargetInfo, TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.card import Card
from tlstudio.gui.widgets.figures import number_text, percent
from tlstudio.gui.widgets.item_gallery import GalleryItem, ItemGallery
from tlstudio.gui.widgets.sample_thumbs import row_thumb, sample_thumb
from tlstudio.gui.widgets.samples_model import short_label
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import Job, JobContext

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision
    from tlstudio.engine.recommend import Recommender
    from tlstudio.engine.similar import Neighbour, SimilarItems

SHOWN = 12
_HEIGHT = 226
_RATINGS_OF_EACH = 50


@dataclass(frozen=True)
class _Found:
    """What a search gives: the searcher, to be used again, and what it has found."""

    searcher: SimilarItems | Recommender
    items: tuple[GalleryItem, ...]
    sentence: str


def told_to(context: JobContext) -> Callable[[int, int], None]:
    """Return what a search calls with its progress: it ends the search once its job is cancelled."""

    def tell(done: int, total: int) -> None:
        if context.cancelled():
            raise TLStudioError("It was cancelled.")
        context.progress(min(done, total), total)

    return tell


class FoundItems(Card):
    """Searches on demand, off the window's thread, and shows what was found in a gallery.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__("found_items", parent, margins=(15, 8, 12, 8), spacing=6)
        self._state = state
        self._run = ""
        self._target = TargetInfo("classification")
        self._sample: Sample | None = None
        self._user = ""
        self._similar: SimilarItems | None = None
        self._recommender: Recommender | None = None
        self._revision: Revision | None = None
        self._recommended = False
        self._job: Job[_Found] | None = None
        self._said = text_label("", "second", "found_said", elide=True)
        self.similar_button = push_button(self.tr("&Show similar items"), "secondary", "found_similar")
        self.similar_button.clicked.connect(self.search_similar)
        self.best_button = push_button(self.tr("&Best items for this user"), "secondary", "found_best")
        self.best_button.clicked.connect(self.search_best)
        self.cancel_button = push_button(
            self.tr("Cancel"), "quiet", "found_cancel", accessible=self.tr("Cancel the search")
        )
        self.cancel_button.clicked.connect(self._cancel)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._said, 1)
        for button in (self.cancel_button, self.best_button, self.similar_button):
            row.addWidget(button)
        self.gallery = ItemGallery("found_gallery", state, self.tr("Items that were found"), columns=12, fitted=False)
        self.gallery.setFixedHeight(_HEIGHT)
        self.gallery.opened.connect(self._open)
        self.column.addLayout(row)
        self.column.addWidget(self.gallery)
        state.project_changed.connect(lambda: self.set_run("", self._target))
        self.set_run("", self._target)

    def set_run(self, run_id: str, target: TargetInfo) -> None:
        """Search the data of a run; ``""``: there is none, and nothing is offered.

        Args:
            run_id: Id of the run.
            target: What it has learned.
        """
        if self._job is not None:
            self._job.cancel()
        self._run, self._target = run_id, target
        self._similar, self._recommender = None, None
        self.setVisible(bool(run_id) and self._state.project is not None)
        self.best_button.setVisible(target.task == "recommendation")
        self.set_sample(None)

    def set_sample(self, sample: Sample | None) -> None:
        """Search for what is like this; what was found before is forgotten."""
        self._sample = sample
        if not self._recommended or sample is None:
            self._forget()
        self._show_buttons()

    def set_user(self, user: str) -> None:
        """Search for what this user will like best."""
        self._user = user.strip()
        if self._recommended:
            self._forget()
        self._show_buttons()

    def _forget(self) -> None:
        self._recommended = False
        self.gallery.show_items(())
        self.gallery.hide()
        if self._target.task == "recommendation":
            self._said.setText(self.tr("Look for what somebody will like, or for what is like the item."))
        else:
            self._said.setText(self.tr("Look among the data that the model has learned from."))

    def _show_buttons(self) -> None:
        idle = self._job is None
        self.similar_button.setEnabled(idle and self._sample is not None)
        self.best_button.setEnabled(idle and bool(self._user))
        self.cancel_button.setVisible(not idle)

    # -- searching ------------------------------------------------------------------------------------------

    @Slot()
    def search_similar(self) -> None:
        """Look for what is most like the sample."""
        project, registry, sample, known = self._state.project, self._state.registry, self._sample, self._similar
        run_id, theme = self._run, self._state.theme
        if project is None or sample is None:
            return

        def work(context: JobContext) -> _Found:
            from tlstudio.engine.similar import SimilarItems

            searcher = known or SimilarItems.of_run(
                project.run(run_id), project, registry, on_progress=told_to(context)
            )
            revision = searcher.revision
            rated = revision.task == "recommendation"
            found = next(iter(searcher.nearest([sample], SHOWN * (_RATINGS_OF_EACH if rated else 1))))[1]
            if isinstance(found, Rejected):
                raise DataError(found.reason, found.remedy)
            items = []
            for one in each_once(revision, found):
                thumb = row_thumb(revision, one.index, theme)
                text = "" if thumb is not None else revision.sample_text(one.index, 240)
                label = revision.sample(one.index).item if rated else short_label(revision, one.index)
                caption = " · ".join(part for part in (f"{one.similarity:.2f}", label) if part)
                items.append(GalleryItem(one.id, caption, thumb, text, f"{one.id}\n{caption}"))
            sentence = self.tr("Most alike in {0}, the nearest first").format(revision.dataset)
            return _Found(searcher, tuple(items), sentence)

        self._search(work, self.tr("Looking for similar items"), recommended=False)

    @Slot()
    def search_best(self) -> None:
        """Look for what the user will like best."""
        project, registry, user, known = self._state.project, self._state.registry, self._user, self._recommender
        run_id, theme, binary = self._run, self._state.theme, self._target.binary
        if project is None or not user:
            return

        def work(context: JobContext) -> _Found:
            from tlstudio.engine.recommend import Recommender, listed_items

            searcher = known
            if searcher is None:
                run = project.run(run_id)
                summary = run.summary()
                more = listed_items(project.dataset(summary.dataset, summary.revision), registry)
                searcher = Recommender.of_run(run, project, registry, more, on_progress=told_to(context))
            items = []
            for one in searcher.best(user, SHOWN):
                value = percent(one.value) if binary else number_text(one.value)
                caption = self.tr("{0} · {1}").format(value, one.sample.id)
                tip = caption if one.rated else self.tr("{0}\nNobody has rated it yet.").format(caption)
                thumb = sample_thumb(one.sample, theme)
                text = "" if thumb is not None else one.sample.text or one.sample.id
                items.append(GalleryItem(one.sample.id, caption, thumb, text, tip))
            known_user = self.tr("What {0} will like best, of what {0} has not rated")
            unknown = self.tr("{0} has rated nothing that was learned from: this is what most people like")
            sentence = (known_user if searcher.knows(user) else unknown).format(user)
            return _Found(searcher, tuple(items), sentence)

        self._search(work, self.tr("Looking for what {0} will like").format(user), recommended=True)

    def _search(self, work: Callable[[JobContext], _Found], title: str, *, recommended: bool) -> None:
        run_id = self._run

        def done(found: _Found) -> None:
            if run_id != self._run:
                return
            self._recommended = recommended
            self._keep(found)
            self.gallery.show()
            self.gallery.show_items(found.items)
            self._said.setText(found.sentence)

        def failed(error: Exception) -> None:
            self._forget()
            if isinstance(error, TLStudioError):
                self._said.setText(str(error))
            else:
                self._state.show_error(error)

        job = self._state.jobs.start(work, title, done, failed, key="found items")
        self._job = job
        job.changed.connect(lambda: self._show_progress(job))
        job.ended.connect(self._ended)
        self._forget()
        self._said.setText(self.tr("{0}…").format(title))
        self._show_buttons()

    def _keep(self, found: _Found) -> None:
        from tlstudio.engine.similar import SimilarItems

        if isinstance(found.searcher, SimilarItems):
            self._similar = found.searcher
        else:
            self._recommender = found.searcher
        self._revision = found.searcher.revision

    def _show_progress(self, job: Job[_Found]) -> None:
        if job is self._job and job.state == "running" and job.total:
            text = self.tr("Looking at {0} of {1} items").format(f"{job.done:,}", f"{job.total:,}")
            self._said.setText(self.tr("Stopping…") if job.cancelling else text)

    def _ended(self, job: object) -> None:
        if self._job is not None and job is self._job:
            if self._job.state == "cancelled":
                self._forget()
            self._job = None
            self._show_buttons()

    @Slot()
    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()

    # -- going there ----------------------------------------------------------------------------------------

    def _open(self, item_id: str) -> None:
        revision = self._revision
        if revision is None:
            return
        if not self._recommended:
            self._state.show_items.emit(revision, [item_id], self.tr("Similar item"))
            return
        ids = ratings_of(revision, item_id)
        if ids:
            self._state.show_items.emit(revision, ids, self.tr("Who has rated {0}").format(item_id))
        else:
            self._state.message.emit(self.tr("Nobody has rated {0} yet.").format(item_id), "")


def ratings_of(revision: Revision, item: str) -> Sequence[str]:
    """Name the samples of a data set of ratings that are of an item."""
    names = np.asarray(revision.table.column("item").to_pylist(), dtype=object)
    return [str(each) for each in revision.table.column("id").take(np.flatnonzero(names == item)).to_pylist()]


def each_once(revision: Revision, found: Sequence[Neighbour], own: int = -1) -> list[Neighbour]:
    """Return the nearest of what was found; of an item that many have rated, one rating.

    Args:
        revision: The revision.
        found: The nearest first.
        own: Row whose item is left out.
    """
    if revision.task != "recommendation":
        return list(found[:SHOWN])
    names = revision.table.column("item")
    seen = {names[own].as_py()} if own >= 0 else set()
    kept = []
    for one in found:
        name = names[one.index].as_py()
        if name not in seen:
            seen.add(name)
            kept.append(one)
    return kept[:SHOWN]


def newest_run_on(state: AppState, revision: Revision) -> str:
    """Return the id of the newest run that has learned from a revision; ``""``: there is none."""
    runs = (run for run in state.queue.runs() if run.metrics and run.status != "running")
    return next((run.id for run in runs if (run.dataset, run.revision) == (revision.dataset, revision.id)), "")


def look_for_similar(
    state: AppState, revision: Revision, index: int, on_done: Callable[[tuple[str, ...]], None]
) -> None:
    """Look for what is most like an item of a revision, as the newest run on it sees it.

    Args:
        state: What the pages share.
        revision: The revision.
        index: Row of the item.
        on_done: Is given its id, and those that are like it, the nearest first.
    """
    project, registry, run_id = state.project, state.registry, newest_run_on(state, revision)
    if project is None or not run_id:
        return

    def work(context: JobContext) -> tuple[str, ...]:
        from tlstudio.engine.similar import SimilarItems

        items = SimilarItems.of_run(project.run(run_id), project, registry, on_progress=told_to(context))
        own = str(revision.table.column("id")[index].as_py())
        wanted = SHOWN * (_RATINGS_OF_EACH if revision.task == "recommendation" else 1)
        return own, *(each.id for each in each_once(revision, items.like(index, wanted), index))

    title = QCoreApplication.translate("FoundItems", "Looking for similar items")
    state.jobs.start(work, title, on_done, key="similar items")

"""A revision to look through: filters, gallery and table at the left, overview or one item at the right."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from PySide6.QtCore import QLocale, Qt, Slot
from PySide6.QtWidgets import QFrame, QHBoxLayout, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.theme import LIGHT
from tlstudio.gui.widgets.data_overview import WIDTH, DataOverview, Measures, measure
from tlstudio.gui.widgets.empty_state import EmptyState
from tlstudio.gui.widgets.filter_bar import FilterBar
from tlstudio.gui.widgets.found_items import look_for_similar, newest_run_on
from tlstudio.gui.widgets.gallery import Gallery, Indices, Tile
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.item_details import ItemDetails
from tlstudio.gui.widgets.revision_choice import RevisionChoice
from tlstudio.gui.widgets.sample_filter import matching
from tlstudio.gui.widgets.sample_thumbs import row_thumb
from tlstudio.gui.widgets.samples_model import short_label
from tlstudio.gui.widgets.samples_table import SamplesTable
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.gui.workers import JobContext

if TYPE_CHECKING:
    from tlstudio.data.audit import Finding
    from tlstudio.data.revision import Revision
    from tlstudio.store.project import Project

_TILES_KEPT = 2000  # what was once seen is not read again while the gallery is scrolled


class DataBrowser(QWidget):
    """Shows one revision of one data set."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("data_browser")
        self._state = state
        self._revision: Revision | None = None
        self._rows: Indices = np.zeros(0, dtype=np.int64)
        self._ids: tuple[str, ...] | None = None
        self._current = -1
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        self.head = RevisionChoice(state)
        layout.addWidget(self.head)
        body = QHBoxLayout()
        body.setSpacing(12)
        body.addWidget(self._make_items(), 1)
        self.overview = DataOverview(state)
        self.overview.class_chosen.connect(self.show_class)
        self.overview.finding_chosen.connect(self._show_finding)
        self.details = ItemDetails(state)
        self.details.closed.connect(self._close_details)
        self.details.stepped.connect(self._step)
        self.details.similar_wanted.connect(self.show_similar)
        self._side = QStackedWidget()
        self._side.setObjectName("data_side")
        self._side.setFixedWidth(WIDTH)
        self._side.addWidget(self.overview)
        self._side.addWidget(self.details)
        body.addWidget(self._side)
        layout.addLayout(body, 1)

    # Parts ------------------------------------------------------------------------------------------------------

    def _make_items(self) -> QWidget:
        self.tabs = QTabBar()
        self.tabs.setObjectName("data_tabs")
        self.tabs.setAccessibleName(self.tr("View"))
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.tabs.addTab(self.tr("Gallery"))
        self.tabs.addTab(self.tr("Table"))
        self.filters = FilterBar()
        self.filters.changed.connect(self.apply_filter)
        bar = QHBoxLayout()
        bar.setContentsMargins(14, 8, 12, 0)
        bar.setSpacing(8)
        bar.addWidget(self.tabs, 0, Qt.AlignmentFlag.AlignVCenter)
        bar.addWidget(self.filters, 1)

        self._chosen = QFrame()
        self._chosen.setObjectName("data_chosen")
        self._chosen.setProperty("role", "notice")
        row = QHBoxLayout(self._chosen)
        row.setContentsMargins(12, 6, 8, 6)
        row.setSpacing(8)
        row.addWidget(IconLabel(self._state, "filter", "accent_text", 15))
        self._chosen_text = text_label("", "", "data_chosen_text", elide=True)
        row.addWidget(self._chosen_text, 1)
        clear = push_button(self.tr("Show all"), "link", "data_show_all")
        clear.clicked.connect(self.clear_filter)
        row.addWidget(clear)
        self._chosen.hide()
        notice = QHBoxLayout()
        notice.setContentsMargins(12, 8, 12, 0)
        notice.addWidget(self._chosen)

        self.gallery = Gallery("data_gallery", self._state)
        self.gallery.current_changed.connect(self._gallery_current)
        self.table = SamplesTable("data_table", self._state)
        self.table.current_changed.connect(self._table_current)
        self._nothing = EmptyState(
            "data_nothing",
            self._state,
            "search",
            self.tr("Nothing fits"),
            self.tr("No item has this class, split and text together."),
            self.tr("Show &all"),
        )
        self._nothing.activated.connect(self.clear_filter)
        self._trouble = EmptyState("data_trouble", self._state, "warning", self.tr("This cannot be opened"), "")
        self._loading = EmptyState("data_loading", self._state, "clock", self.tr("Opening…"), "")
        self._views = QStackedWidget()
        self._views.setObjectName("data_views")
        for view in (self.gallery, self.table, self._nothing, self._trouble, self._loading):
            self._views.addWidget(view)
        self.tabs.currentChanged.connect(self._show_rows)
        self._state.theme_changed.connect(self._show_rows)

        self._count = text_label("", "small", "data_count")
        foot = QHBoxLayout()
        foot.setContentsMargins(16, 4, 16, 8)
        foot.addWidget(self._count)
        foot.addStretch()
        card = QFrame()
        card.setObjectName("data_items")
        card.setProperty("role", "card")
        column = QVBoxLayout(card)
        column.setContentsMargins(1, 0, 1, 0)
        column.setSpacing(0)
        column.addLayout(bar)
        column.addLayout(notice)
        column.addWidget(self._views, 1)
        column.addLayout(foot)
        return card

    # What is shown ----------------------------------------------------------------------------------------------

    @property
    def revision(self) -> Revision | None:
        """The revision that is shown."""
        return self._revision

    @property
    def rows(self) -> Indices:
        """Rows of the revision that the filters let through."""
        return self._rows

    def shows(self, project: Project, name: str, revision_id: str) -> bool:
        """Whether this revision is shown already."""
        return self._revision is not None and self._revision.folder == project.datasets_folder / name / revision_id

    def clear(self) -> None:
        """Show nothing."""
        self._revision = None
        self._ids = None
        self._set_rows(np.zeros(0, dtype=np.int64))

    def show_loading(self) -> None:
        """Say that a revision is being opened."""
        self.clear()
        self._views.setCurrentWidget(self._loading)
        self._side.hide()

    def show_problem(self, sentence: str) -> None:
        """Say why a revision cannot be opened."""
        self.clear()
        self._trouble.set_texts(self.tr("This revision cannot be opened"), sentence)
        self._views.setCurrentWidget(self._trouble)

    def show_revision(self, revision: Revision) -> None:
        """Show a revision, and have it measured and examined."""
        self._revision = revision
        self._ids = None
        self.filters.offer(revision)
        self._side.show()
        self._side.setCurrentIndex(0)
        self.apply_filter()

        def look(_context: JobContext) -> Measures:
            return measure(revision)

        self._state.jobs.start(look, self.tr("Measuring {0}").format(revision.dataset), self._measured, key="measure")

    def _measured(self, measures: Measures) -> None:
        revision = self._revision
        if revision is None:
            return
        self.overview.show_revision(revision, measures)

        def examine(_context: JobContext) -> tuple[Finding, ...]:
            from tlstudio.data.audit import find_problems

            return find_problems(revision)

        def tell(findings: tuple[Finding, ...]) -> None:
            if revision is self._revision:
                self.overview.show_findings(findings)

        self._state.jobs.start(examine, self.tr("Looking for problems"), tell, key="audit")

    # Filters ----------------------------------------------------------------------------------------------------

    @Slot()
    def apply_filter(self) -> None:
        """Look for what the filters let through, off the window's thread."""
        revision = self._revision
        if revision is None:
            return
        wanted = self.filters.wanted(self._ids)

        def look(_context: JobContext) -> Indices:
            return matching(revision, wanted)

        def show(rows: Indices) -> None:
            if revision is self._revision:
                self._set_rows(rows)

        self._state.jobs.start(look, self.tr("Filtering"), show, key="data_filter")

    @Slot()
    def clear_filter(self) -> None:
        """Show everything."""
        self._ids = None
        self._chosen.hide()
        self.filters.reset()
        self.apply_filter()

    def show_ids(self, ids: tuple[str, ...], title: str) -> None:
        """Show these items under a title."""
        self.clear_filter()
        self._ids = ids
        self._chosen_text.setText(title)
        self._chosen.show()
        self._side.setCurrentIndex(0)
        self.apply_filter()

    @Slot(str)
    def show_class(self, name: str) -> None:
        """Show the items of a class."""
        box = self.filters.class_box
        box.setCurrentIndex(max(0, box.findData(name)))

    @Slot(object)
    def _show_finding(self, finding: object) -> None:
        chosen = cast("Finding", finding)
        self.show_ids(chosen.ids, chosen.title)

    def _set_rows(self, rows: Indices) -> None:
        self._rows = rows
        self._chosen.setVisible(self._ids is not None)
        total = len(self._revision) if self._revision is not None else 0
        locale = QLocale()
        if len(rows) == total:
            self._count.setText(self.tr("{0} items").format(locale.toString(total)))
        else:
            self._count.setText(self.tr("{0} of {1} items").format(locale.toString(len(rows)), locale.toString(total)))
        self.table.show_rows(self._revision, rows)
        self._show_rows()
        if self._ids is not None and len(rows) == 1 and self.tabs.currentIndex() == 0:
            self.gallery.set_current(0)  # a single item that was asked for is shown as a whole

    @Slot()
    def _show_rows(self) -> None:
        revision = self._revision
        rows = self.table.rows
        if revision is None:
            self.gallery.set_items(0, _no_tile, images=True)
            return

        @lru_cache(maxsize=_TILES_KEPT)
        def tile(position: int) -> Tile:
            index = int(rows[position])
            thumb = row_thumb(revision, index, self._state.theme)
            text = "" if thumb is not None else revision.sample_text(index, 400)
            return Tile(thumb, text, short_label(revision, index), self._split_word(revision.split(index)))

        in_table = self.tabs.currentIndex() == 1
        if not in_table:
            self.gallery.set_items(len(rows), tile, images=self._has_pictures(revision))
        if not len(rows):
            self._views.setCurrentWidget(self._nothing)
        else:
            self._views.setCurrentWidget(self.table if in_table else self.gallery)

    @staticmethod
    def _has_pictures(revision: Revision) -> bool:
        """Whether its items are told by how they look: images, sounds, series."""
        return len(revision) > 0 and row_thumb(revision, 0, LIGHT) is not None

    def _split_word(self, split: str) -> str:
        return {"train": "", "validation": self.tr("validation"), "test": self.tr("test")}.get(split, split)

    # One item ---------------------------------------------------------------------------------------------------

    @Slot(int)
    def _gallery_current(self, position: int) -> None:
        self._show_item(position)

    @Slot(int)
    def _table_current(self, position: int) -> None:
        self._show_item(position)

    def _show_item(self, position: int) -> None:
        rows = self.table.rows
        if self._revision is None or not 0 <= position < len(rows):
            self._side.setCurrentIndex(0)
            return
        self._current = position
        self.details.show_item(
            self._revision, int(rows[position]), searchable=bool(newest_run_on(self._state, self._revision))
        )
        self._side.setCurrentIndex(1)

    @Slot()
    def show_similar(self) -> None:
        """Show the items that are most like the current one, as the newest run on these data sees it."""
        revision = self._revision
        if revision is None:
            return

        def show(ids: tuple[str, ...]) -> None:
            if revision is self._revision:
                self.show_ids(ids, self.tr("{0} and what is most like it, the nearest first").format(ids[0]))

        look_for_similar(self._state, revision, int(self.table.rows[self._current]), show)

    @Slot(int)
    def _step(self, by: int) -> None:
        target = self._current + by
        if not 0 <= target < len(self.table.rows):
            return
        if self.tabs.currentIndex() == 1:
            self.table.set_current(target)
        else:
            self.gallery.set_current(target)

    @Slot()
    def _close_details(self) -> None:
        self.gallery.set_current(-1)
        self.table.clearSelection()
        self._side.setCurrentIndex(0)

    def close_down(self) -> None:
        """End the threads that make thumbnails."""
        self.gallery.close_loader()


def _no_tile(_position: int) -> Tile:
    return Tile(None, "", "")

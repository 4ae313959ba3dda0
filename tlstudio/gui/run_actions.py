"""What can be done with a run that is there, or several: go on, train again, evaluate, export, make others of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from tlstudio.api import SPLITS, TLStudioError
from tlstudio.gui.run_export import ask_export, export
from tlstudio.gui.run_reading import RunDetails
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.after_training import AfterTrainingDialog
from tlstudio.gui.widgets.soup_dialog import SoupDialog
from tlstudio.gui.workers import JobContext
from tlstudio.store.run_record import RunSummary


class RunActions(QObject):
    """Carries out what is asked for on the page of runs.

    Args:
        state: What the pages share.
        page: The page, which owns it and its dialogs.

    Signals:
        made(str): The run of this id was made of another.
    """

    made = Signal(str)

    def __init__(self, state: AppState, page: QWidget) -> None:
        super().__init__(page)
        self._state = state
        self._page = page

    def open_after(self, details: RunDetails) -> None:
        """Open the dialog that makes other runs of a run that has ended."""
        run_id, window = details.summary.id, self._page.window()
        self._open(AfterTrainingDialog(self._state, run_id, has_start=details.has_start, parent=window))

    def open_soup(self, runs: Sequence[RunSummary]) -> None:
        """Open the dialog that averages several runs that fit together."""
        self._open(SoupDialog(self._state, runs, parent=self._page.window()))

    def _open(self, dialog: AfterTrainingDialog | SoupDialog) -> None:
        dialog.made.connect(self.made)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def predict_together(self, runs: Sequence[RunSummary]) -> None:
        """Let several runs that fit together predict on the Predict page."""
        self._state.navigate.emit("predict")
        self._state.ensemble_requested.emit(tuple(run.id for run in runs))

    def go_on(self, run_id: str) -> None:
        """Go on with a run on the Train page, if no other is under way."""
        if self._state.run_state.active or self._state.queue.on:
            self._state.message.emit(self.tr("Another run is under way; go on with this one when it is done."), "")
        else:
            self._state.navigate.emit("train")  # the page hears the request only once it is there
            self._state.resume_requested.emit(run_id)

    def train(self, details: RunDetails, *, edit: bool) -> None:
        """Train with the recipe of a run again.

        Args:
            details: The run.
            edit: Only show the recipe on the Train page, to be changed.
        """
        from tlstudio.engine.recipe import parse_recipe

        try:
            recipe = parse_recipe(details.recipe)
        except TLStudioError as error:
            self._state.show_error(error)
            return
        if edit:
            self._state.navigate.emit("train")
            self._state.edit_requested.emit(recipe)
        elif self._state.run_state.active or self._state.queue.on:
            self._state.queue.add(recipe)
        else:
            self._state.request_training([recipe])

    def evaluate(self, run_id: str) -> None:
        """Measure what a run has kept on every split that is held out, and keep the results with the run."""
        project, registry = self._state.project, self._state.registry
        if project is None:
            return

        def work(context: JobContext) -> None:
            from tlstudio.engine.evaluate import evaluate_run
            from tlstudio.engine.used_data import revision_of

            def progress(done: int, total: int) -> None:
                if context.cancelled():
                    raise TLStudioError(self.tr("The evaluation was cancelled."))
                context.progress(done, total)

            run = project.run(run_id)
            revision = revision_of(run, project)
            for split in SPLITS[1:]:
                if len(revision.indices(split)):
                    evaluate_run(run, project, registry, split=split, on_progress=progress)

        def done(_: None) -> None:
            self._state.message.emit(self.tr("{0} is evaluated.").format(run_title(run_id, registry)), "")
            self._state.runs_changed.emit()

        self._state.jobs.start(work, self.tr("Evaluating"), done, key="runs evaluate")

    def ask_export(self, run_id: str) -> None:
        """Ask for a folder, and export a run into it."""
        ask_export(self._state, self._page, run_id, partial(self.export, run_id))

    def export(self, run_id: str, folder: Path) -> None:
        """Write the best model of a run into a folder of its own."""
        export(self._state, run_id, folder, lambda text, path: self._state.message.emit(text, str(path)))

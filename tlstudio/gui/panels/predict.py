"""The Predict page: use a trained model on one item or on many, and take it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from tlstudio.api import SPLITS, TASKS, Cell, Modality, Prediction, Rejected, Sample, TargetInfo, TLStudioError
from tlstudio.engine.target import read_target
from tlstudio.gui.run_reading import predicts
from tlstudio.gui.state import AppState
from tlstudio.gui.titles import run_title
from tlstudio.gui.widgets.empty_state import EmptyState
from tlstudio.gui.widgets.export_card import ExportCard
from tlstudio.gui.widgets.file_dialogs import ask_folder
from tlstudio.gui.widgets.predict_many import PredictMany
from tlstudio.gui.widgets.predict_model import PredictModel, Source, ensemble_of, run_ids
from tlstudio.gui.widgets.predict_one import PredictOne
from tlstudio.gui.widgets.texts import text_label
from tlstudio.gui.workers import Job, JobContext

if TYPE_CHECKING:
    from tlstudio.engine.predict import Predictor, PredictReport
    from tlstudio.engine.predictor_pool import PredictorPool, Switched


class PredictPanel(QWidget):
    """The model at the left with its facts and export; at the right one item or many.

    Args:
        state: What the pages share.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("predict_page")
        self.setProperty("role", "page")
        self._state = state
        self._pool: PredictorPool | None = None  # of the runs of the project; made off the window's thread
        self._predictor: Predictor | None = None
        self._loaded: Source | None = None
        self._wanted: Source | None = None
        self._sample: Sample | None = None
        self._modality: Modality | None = None
        self._job: Job[PredictReport] | None = None
        self._folders: list[str] = []
        self._ensembles: list[tuple[str, ...]] = []
        self._data = ""  # what the model that has been given an item has learned
        self.model = PredictModel(state)
        self.model_box, self.facts = self.model.box, self.model.facts
        self.one = PredictOne(state)
        self.many = PredictMany(state)
        self.empty = EmptyState("predict_empty", state, "predict", "", "")
        self._empty_goes = "train"
        self._pages = QStackedWidget()
        self._pages.setObjectName("predict_pages")
        self._pages.addWidget(self.empty)
        self._pages.addWidget(self._make_page())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._pages)
        self.empty.activated.connect(self._leave_empty)
        self.model.chosen.connect(self._choose)
        self.model.other_chosen.connect(self._ask_other)
        self.model.folder_wanted.connect(self._ask_folder)
        self.one.sample_given.connect(self.predict_sample)
        self.many.source_given.connect(self.predict_source)
        self.many.cancel_requested.connect(self._cancel)
        state.project_changed.connect(self._on_project)
        state.runs_changed.connect(self.refresh)
        state.predict_requested.connect(self.use_run)
        state.ensemble_requested.connect(self.use_together)
        self.refresh()

    def _make_page(self) -> QWidget:
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(20, 16, 20, 12)
        row.setSpacing(14)
        row.addWidget(self._make_left())
        self.tabs = QTabWidget()
        self.tabs.setObjectName("predict_tabs")
        self.tabs.setAccessibleName(self.tr("One item or many"))
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        for widget, title in ((self.one, self.tr("On&e item")), (self.many, self.tr("&Many items"))):
            shell = QWidget()
            inside = QVBoxLayout(shell)
            inside.setContentsMargins(0, 10, 0, 0)
            inside.addWidget(widget)
            self.tabs.addTab(shell, title)
        row.addWidget(self.tabs, 1)
        return page

    def _make_left(self) -> QWidget:
        left = QWidget()
        left.setObjectName("predict_left")
        left.setFixedWidth(320)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(text_label(self.tr("Predict"), "title", "predict_title"))
        column.addWidget(self.model)
        self.export_card = ExportCard(self._state)
        column.addWidget(self.export_card)
        column.addStretch(1)
        return left

    # -- the model ------------------------------------------------------------------------------------------

    @Slot()
    def _on_project(self) -> None:
        self._folders.clear()
        self._ensembles.clear()
        self.model.forget()
        self._forget()
        self.refresh()

    def _forget(self) -> None:
        self._pool, self._predictor, self._loaded, self._wanted, self._sample = None, None, None, None, None
        self.one.clear()
        self.many.reset()

    @Slot()
    def refresh(self) -> None:
        """List the runs that can predict; the choice stays."""
        usable = [run for run in self._state.queue.runs() if predicts(run, self._state.registry)]
        source = self.model.show_models(usable, self._ensembles, self._folders, self._wanted)
        if source is None:
            self._predictor, self._loaded = None, None  # the next run may have the id of one that was deleted
            self._show_empty()
            return
        self._pages.setCurrentIndex(1)
        self._choose(source)

    def _show_empty(self) -> None:
        if self._state.project is None:
            self.empty.set_texts(
                self.tr("No model yet"),
                self.tr("Open a project with a trained run, or a folder that was exported from one."),
                self.tr("Open an exported &folder…"),
            )
            self._empty_goes = "folder"
        else:
            self.empty.set_texts(
                self.tr("No model yet"),
                self.tr("Train something first; then give it something new here and see what it says."),
                self.tr("Go to &Train"),
            )
            self._empty_goes = "train"
        self._pages.setCurrentIndex(0)

    @Slot()
    def _leave_empty(self) -> None:
        if self._empty_goes == "folder":
            self._ask_folder()
        else:
            self._state.navigate.emit(self._empty_goes)

    @Slot(str)
    def use_run(self, run_id: str) -> None:
        """Choose a run."""
        self._wanted = ("run", run_id)
        self.refresh()

    @Slot(object)
    def use_together(self, runs: tuple[str, ...]) -> None:
        """Choose several runs that predict together."""
        if runs not in self._ensembles:
            self._ensembles.append(runs)
        self._wanted = ensemble_of(runs)
        self.refresh()

    def use_folder(self, folder: Path) -> None:
        """Choose an exported folder."""
        if str(folder) not in self._folders:
            self._folders.append(str(folder))
        self._wanted = ("folder", str(folder))
        self.refresh()

    @Slot(object)
    def _choose(self, source: Source) -> None:
        self._wanted = source
        if source != self._loaded:
            self._predictor, self._loaded = None, source
            if source[0] != "run":
                self._pool = None  # no more than one backbone is in memory
            self.export_card.set_run(source[1] if source[0] == "run" else "")
            self.model.show_source(source)
            self._set_modality(source)

    def _set_modality(self, source: Source) -> None:
        """Take what the model takes, which the files of a run tell without loading the model."""
        project, registry = self._state.project, self._state.registry
        ids = run_ids(source)
        self._modality = None
        if ids and project is not None:
            try:
                run = project.run(ids[0])
                self._take(registry.backbone(run.summary().backbone).modality, read_target(run), ids[0])
                return
            except TLStudioError as error:
                self._state.show_error(error)
        self._load(lambda predictor: self._take(predictor.modality, predictor.target))

    def _take(self, modality: Modality, target: TargetInfo, run_id: str = "") -> None:
        before, self._data = self._data, self.model.dataset(("run", run_id))
        same = modality != "table" or bool(run_id and before == self._data)  # rows have the columns of their data
        self._modality = modality
        self.many.set_modality(modality)
        stays = self.one.set_model(modality, target, run_id, keep=same)
        if modality == "table" and not stays:
            self._show_row()

    def _show_row(self) -> None:
        """Fill the form of a row with an item of the data that the model has learned from, where they are here."""
        project, source = self._state.project, self._loaded
        self.one.set_row({})
        if project is None or source is None or not run_ids(source):
            return

        def read(_context: JobContext) -> Mapping[str, Cell]:
            try:
                summary = project.run(run_ids(source)[0]).summary()
                revision = project.dataset(summary.dataset, summary.revision)
            except TLStudioError:  # the data are gone: a row can still be pasted
                return {}
            held_out = [index for split in reversed(SPLITS) for index in revision.indices(split)[:1]]
            return (revision.sample(int(held_out[0])).values or {}) if held_out else {}

        def show(values: Mapping[str, Cell]) -> None:
            if source == self._loaded:
                self.one.set_row(values)

        self._state.jobs.start(read, self.tr("Reading the columns of the data"), show, key="predict columns")

    def _load(self, then: Callable[[Predictor], None]) -> None:
        """Load the chosen model off the window's thread, keep it, and go on with it."""
        if self._predictor is not None:
            then(self._predictor)
            return
        source, project, registry, pool = self._loaded, self._state.project, self._state.registry, self._pool
        if source is None:
            return

        def work(_context: JobContext) -> tuple[Predictor, PredictorPool | None, Switched | None]:
            from tlstudio.engine.ensembles import EnsemblePredictor
            from tlstudio.engine.predict import Predictor
            from tlstudio.engine.predictor_pool import PredictorPool

            kind, name = source
            if kind == "folder":
                return Predictor.from_export(Path(name), registry), None, None
            if project is None:
                raise TLStudioError(self.tr("The project was closed."))
            if kind in ("snapshots", "together"):
                members = [project.run(run) for run in run_ids(source)]
                return EnsemblePredictor.from_runs(members, registry), None, None
            runs = pool or PredictorPool(registry)
            switched = runs.switch(project.run(name))
            return switched.predictor, runs, switched

        def done(loaded: tuple[Predictor, PredictorPool | None, Switched | None]) -> None:
            if source != self._loaded:
                return
            predictor, self._pool, switched = loaded
            self._predictor = predictor
            if switched is not None:
                self.model.show_switched(switched)
            task = TASKS[predictor.task].title
            classes = self.tr("{0} classes").format(len(predictor.classes)) if len(predictor.classes) > 1 else ""
            self.facts.setToolTip(" · ".join(part for part in (task, classes) if part))
            then(predictor)

        self._state.jobs.start(work, self.tr("Loading the model"), done, self._refuse, key="predict load")

    def _refuse(self, error: Exception) -> None:
        self.one.show_refusal(str(error))
        self.many.reset()
        self._state.show_error(error)

    # -- one item -------------------------------------------------------------------------------------------

    @Slot(object)
    def predict_sample(self, sample: Sample) -> None:
        """Predict one sample; only the answer to the last one is shown."""
        self._sample = sample
        self._load(self._predict_now)

    def _predict_now(self, predictor: Predictor) -> None:
        sample = self._sample
        if sample is None:
            return

        def work(_context: JobContext) -> Prediction | Rejected:
            return next(iter(predictor.predict([sample])))[1]

        def done(answer: Prediction | Rejected) -> None:
            if sample is not self._sample:
                return
            if isinstance(answer, Rejected):
                self.one.show_refusal(f"{answer.reason} {answer.remedy}".strip())
            else:
                self.one.show_prediction(sample, answer)
                self._ask_other(self.model.other_run)

        self._state.jobs.start(work, self.tr("Predicting"), done, self._refuse, key="predict one")

    @Slot(str)
    def _ask_other(self, run_id: str) -> None:
        """Let another run say what it makes of the item that has been predicted."""
        sample, project, registry, pool = self._sample, self._state.project, self._state.registry, self._pool
        self.one.answer_card.clear_other()
        if not run_id or sample is None or project is None:
            return
        title = run_title(run_id, registry)

        def work(_context: JobContext) -> tuple[Prediction | Rejected, PredictorPool]:
            from tlstudio.engine.predictor_pool import PredictorPool

            runs = pool or PredictorPool(registry)
            return next(iter(runs.get(project.run(run_id)).predict([sample])))[1], runs

        def done(told: tuple[Prediction | Rejected, PredictorPool]) -> None:
            answer, runs = told
            if sample is self._sample and run_id == self.model.other_run:
                self._pool = self._pool or runs
                self.one.answer_card.show_other(title, sample, answer)

        def failed(error: Exception) -> None:
            self.one.answer_card.say_other(title, str(error))
            self._state.show_error(error)

        self._state.jobs.start(work, self.tr("Asking the other run"), done, failed, key="predict other")

    # -- many items -----------------------------------------------------------------------------------------

    @Slot(object, object)
    def predict_source(self, source: Path, output: Path) -> None:
        """Predict a folder or table into a CSV file."""
        self.tabs.setCurrentIndex(1)
        self.many.show_progress(0, 0)
        registry, modality = self._state.registry, self._modality

        def work(_context: JobContext) -> None:
            from tlstudio.data.unlabelled import reader_of

            if modality is not None:  # a source of the wrong kind is told before the model is loaded
                reader_of(source, registry.formats.values(), modality)

        def done(_: None) -> None:
            self.many.show_progress(0, 0, self.tr("Loading the model"))
            self._load(lambda predictor: self._predict_all(predictor, source, output))

        self._state.jobs.start(work, self.tr("Looking at {0}").format(source.name), done, self._refuse_source)

    def _refuse_source(self, error: Exception) -> None:
        self._job = None
        self.many.reset()
        self._state.show_error(error)

    def _predict_all(self, predictor: Predictor, source: Path, output: Path) -> None:
        registry = self._state.registry

        def work(context: JobContext) -> PredictReport:
            from tlstudio.engine.predict import predict_to_csv

            return predict_to_csv(
                predictor,
                source,
                output,
                registry,
                on_progress=lambda done, total: context.progress(done, total),
                cancelled=context.cancelled,
            )

        def done(report: PredictReport) -> None:
            self._job = None
            self.many.show_report(report.rows, report.rejected, report.output, cancelled=report.cancelled)
            self._state.message.emit(
                self.tr("{0} predictions are in {1}.").format(f"{report.rows:,}", report.output.name),
                str(report.output),
            )

        job = self._state.jobs.start(work, self.tr("Predicting {0}").format(source.name), done, self._refuse_source)
        job.changed.connect(lambda: self._show_job(job))
        self._job = job
        self.many.show_progress(0, 0)

    def _show_job(self, job: Job[PredictReport]) -> None:
        if job is self._job and job.state == "running":
            self.many.show_progress(job.done, job.total, self.tr("Stopping…") if job.cancelling else "")

    @Slot()
    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()

    # -- exported folders ---------------------------------------------------------------------------------------------

    @Slot()
    def _ask_folder(self) -> None:
        ask_folder(self._state, self, "open_exported", self.tr("Open an exported folder"), self.use_folder)

"""Taking a trained model elsewhere: the folder is asked for, and written off the window's thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QWidget

from tlstudio.api import TLStudioError
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.figures import size_text
from tlstudio.gui.widgets.file_dialogs import ask_output_folder
from tlstudio.gui.workers import Job, JobContext

if TYPE_CHECKING:
    from tlstudio.engine.export import ExportReport
    from tlstudio.engine.export_adapter import AdapterReport
    from tlstudio.store.project import Project

T = TypeVar("T")


def ask_export(state: AppState, parent: QWidget, run_id: str, export: Callable[[Path], None]) -> None:
    """Ask for a folder to export a run into.

    Args:
        state: What the pages share.
        parent: The widget in whose window is asked.
        run_id: The run; the folder is called like it if nothing else is typed.
        export: Called with the folder.
    """
    ask_output_folder(state, parent, "export", _tr("Export into a new folder"), export, suggested=run_id)


def export(state: AppState, run_id: str, folder: Path, on_done: Callable[[str, Path], None]) -> Job[Any] | None:
    """Write the best model of a run into a folder of its own; one that is cancelled leaves nothing there.

    Args:
        state: What the pages share; it is told of a failure.
        run_id: The run.
        folder: The folder.
        on_done: Called with a sentence on what was written, and with the folder.

    Returns:
        The job; `None`: no project is open.
    """
    registry = state.registry

    def write(project: Project, context: JobContext) -> ExportReport:
        from tlstudio.engine.export import export_run

        def progress(done: int, total: int) -> None:
            if context.cancelled():
                raise TLStudioError(_tr("The export was cancelled."))
            context.progress(done, total)

        return export_run(project.run(run_id), folder, registry, project=project, on_progress=progress)

    def sentence(report: ExportReport) -> str:
        return _tr("{0} written to {1}. Checked on {2} items: same outputs (largest difference {3}).").format(
            size_text(report.size_bytes), report.folder, report.checked_samples, f"{report.max_difference:.2g}"
        )

    return _start(state, _tr("Exporting"), write, lambda report: on_done(sentence(report), report.folder))


def export_adapter(state: AppState, run_id: str, folder: Path, on_done: Callable[[str, Path], None]) -> Job[Any] | None:
    """Write what a run's strategy has added into a folder of its own, as PEFT reads it; else as `export`."""
    registry = state.registry

    def write(project: Project, _context: JobContext) -> AdapterReport:
        from tlstudio.engine.export_adapter import export_adapter

        return export_adapter(project.run(run_id), folder, registry)

    def sentence(report: AdapterReport) -> str:
        return _tr("The adapter is in {0}: {1}, {2} of the backbone ({3}). Its README.md tells how to load it.").format(
            report.folder,
            size_text(report.size_bytes),
            f"{report.size_bytes / report.model_bytes:.2%}",
            size_text(report.model_bytes),
        )

    return _start(state, _tr("Exporting the adapter"), write, lambda report: on_done(sentence(report), report.folder))


def _start(
    state: AppState, title: str, write: Callable[[Project, JobContext], T], done: Callable[[T], None]
) -> Job[T] | None:
    project = state.project
    if project is None:
        return None
    return state.jobs.start(lambda context: write(project, context), title, done)


def _tr(text: str) -> str:
    return QCoreApplication.translate("RunExport", text)

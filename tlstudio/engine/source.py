"""What a run starts from: the backbone of an earlier run or of an exported model, with what it has learned."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlstudio.api import PluginError, RunError, TargetInfo, WeightsInfo
from tlstudio.api.wording import did_you_mean
from tlstudio.engine.recipe import Choice
from tlstudio.engine.used_plugins import missing_plugins
from tlstudio.store.format import RUNS_NAME
from tlstudio.store.run import Run
from tlstudio.store.run_record import is_run_folder

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.data.revision import Revision
    from tlstudio.plugins import Registry

FIELD = "backbone.start_from"
LINEAGE_NAME = "lineage.json"
_FINISHED = ("done", "stopped")


class Ancestor(BaseModel):
    """A run from which another one has started, as that one has written it down.

    Attributes:
        run: Its id.
        dataset: Name of its data set.
        head: Name of its task head.
        strategy: Name of its strategy.
        files: SHA-256 of each file that its weights were read from, by name.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    dataset: str = ""
    head: str = ""
    strategy: str = ""
    files: dict[str, str] = Field(default_factory=dict)


class Source(ABC):
    """Where a run takes its backbone from.

    Attributes:
        title: What to call it in a sentence.
        folder: Its folder.
        backbone: The backbone, with its options.
    """

    title: str
    folder: Path
    backbone: Choice

    @property
    def assets(self) -> Path:
        """Folder of what the backbone needs besides its weights."""
        return self.folder / "assets"

    @abstractmethod
    def find_weights(self) -> WeightsInfo:
        """Say where the weights are, or raise `RunError`."""

    @abstractmethod
    def state(self, registry: Registry) -> dict[str, Tensor]:
        """Read the state dict of the plain backbone, or raise `RunError`."""

    @property
    @abstractmethod
    def head_name(self) -> str:
        """Name of its head, ``""`` where it does not say."""

    @abstractmethod
    def head(self, registry: Registry) -> tuple[dict[str, Tensor], TargetInfo]:
        """Read the state dict of its head and what that has learned, or raise `RunError`."""

    @abstractmethod
    def lineage(self) -> tuple[Ancestor, ...]:
        """Name the runs that have led to it, the oldest first, itself last."""

    def why_not(self, registry: Registry) -> list[str]:
        """Say what it was made with and is not here; an empty list means that it can be used."""
        return []

    def stays_in(self, registry: Registry) -> str:
        """Title of the strategy of which something is part of its backbone for good; ``""``: the backbone is plain."""
        return ""


class RunSource(Source):
    """A finished run.

    Args:
        run: The run.

    Raises:
        RunError: It has not been trained to its end, or its folder is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.title = f"run {run.id}"
        self.folder = run.folder
        if (status := run.status) not in _FINISHED:
            again = status in ("cancelled", "failed", "interrupted")
            remedy = f"Go on with it first: tlstudio resume PROJECT {run.id}." if again else "Wait until it is done."
            what = f"Run {run.id} is {status}: another one can start only from what was trained to its end."
            raise RunError(what, "" if status == "damaged" else remedy, path=run.folder, field=FIELD)
        values = run.read_recipe().get("backbone")
        self.backbone = _choice(values, run.recipe_path)

    def find_weights(self) -> WeightsInfo:
        """Say where its best checkpoint is."""
        from tlstudio.engine.checkpoint_reading import find_checkpoint

        path, files = find_checkpoint(self.run.folder / "checkpoints", "best")
        size = sum((path.parent / name).stat().st_size for name in files)
        return WeightsInfo(path, self.title, size, files[path.name])

    def state(self, registry: Registry) -> dict[str, Tensor]:
        """Read its best checkpoint, with what its strategy has added folded in."""
        from tlstudio.engine.assemble import load_merged_model

        _, model = load_merged_model(self.run, registry)
        return model.backbone.state_dict()

    @property
    def head_name(self) -> str:
        """Name of its head."""
        return self.run.summary().head

    def head(self, registry: Registry) -> tuple[dict[str, Tensor], TargetInfo]:
        """Read the head of its best checkpoint."""
        from tlstudio.engine.assemble import load_run_model

        _, model = load_run_model(self.run, registry)
        return model.head.state_dict(), model.head.target

    def lineage(self) -> tuple[Ancestor, ...]:
        """Name the runs that have led to it, and itself with the hashes of its best checkpoint."""
        from tlstudio.engine.checkpoint_reading import find_checkpoint

        _, files = find_checkpoint(self.run.folder / "checkpoints", "best")
        row = self.run.summary()
        itself = Ancestor(run=row.id, dataset=row.dataset, head=row.head, strategy=row.strategy, files=files)
        return (*lineage_of(self.run), itself)

    def why_not(self, registry: Registry) -> list[str]:
        """Name the plugins that it was made with and that are gone."""
        return missing_plugins(self.run, registry)

    def stays_in(self, registry: Registry) -> str:
        """Title of its strategy, where that does not merge; see `Source`."""
        return _kept(self.run.read_recipe().get("strategy"), registry)


class ExportSource(Source):
    """An exported model.

    Args:
        folder: Its folder.

    Raises:
        RunError: It is none, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        from tlstudio.engine.exported import read_export

        self.title = f"the exported model {folder.name}"
        self.folder = folder
        self._config = read_export(folder)
        self.backbone = _choice(self._config["backbone"], folder / "config.json")

    def find_weights(self) -> WeightsInfo:
        """Say where its weights are."""
        path = self.folder / "model.safetensors"
        try:
            return WeightsInfo(path, self.title, path.stat().st_size)
        except OSError as error:
            raise RunError(f"{self.folder} has no {path.name}.", "Export it again.", path=path, field=FIELD) from error

    def state(self, registry: Registry) -> dict[str, Tensor]:
        """Read its weights without those of the head."""
        from tlstudio.api.weights import read_state_dict

        prefix = "backbone."
        state = read_state_dict(self.folder / "model.safetensors")
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    @property
    def head_name(self) -> str:
        """Name of its head."""
        head = self._config.get("head")
        return str(head.get("name", "")) if isinstance(head, dict) else ""

    def head(self, registry: Registry) -> tuple[dict[str, Tensor], TargetInfo]:
        """Read the weights of its head."""
        from tlstudio.engine.exported import load_export

        model, _, _ = load_export(self.folder, registry)
        return model.head.state_dict(), model.head.target

    def stays_in(self, registry: Registry) -> str:
        """Title of the strategy that it is rebuilt with; see `Source`."""
        return _kept(self._config.get("prepared_by"), registry)

    def lineage(self) -> tuple[Ancestor, ...]:
        """Name the run that it was exported from, and those before it."""
        from tlstudio.api.weights import sha256_of

        path = self.folder / "model.safetensors"
        parts = {name: self._config.get(name) for name in ("dataset", "head", "strategy")}
        names = {name: str(part.get("name", "")) for name, part in parts.items() if isinstance(part, dict)}
        itself = Ancestor(run=str(self._config.get("run", "")), **names, files={path.name: sha256_of(path)})
        return (*_ancestors(self._config.get("lineage")), itself)


def find_source(start_from: str, runs_folder: Path) -> Source:
    """Find what a recipe says to start from.

    Args:
        start_from: Id of a run, or the folder of an exported model.
        runs_folder: The runs of the project.

    Raises:
        RunError: There is no such thing, or nothing can start from it.
    """
    names = []
    with contextlib.suppress(OSError):
        names = sorted((folder.name for folder in runs_folder.iterdir() if is_run_folder(folder)), reverse=True)
    if start_from in names:
        return RunSource(Run(runs_folder / start_from))
    folder = Path(start_from)
    with contextlib.suppress(RuntimeError):  # of somebody else's home
        folder = folder.expanduser()
    if folder.name != start_from or (folder / "config.json").is_file():
        return ExportSource(folder.absolute())
    raise RunError(
        f"There is no run {start_from!r} in this project.",
        did_you_mean(start_from, names, "Newest runs") or "Train one first.",
        path=runs_folder,
        field=FIELD,
    )


def runs_beside(revision: Revision) -> Path:
    """Folder of the runs of the project that a revision is part of."""
    return revision.folder.absolute().parents[2] / RUNS_NAME  # it lies in PROJECT/datasets/NAME/REVISION


def lineage_of(run: Run) -> tuple[Ancestor, ...]:
    """Name the runs that have led to a run, the oldest first, without itself; they may be gone.

    Args:
        run: The run; may be queued.
    """
    try:
        values: Any = run.read_json(LINEAGE_NAME)
    except RunError:
        return _lineage_to_be(run)
    return _ancestors(values.get("sources") if isinstance(values, dict) else None)


def _lineage_to_be(run: Run) -> tuple[Ancestor, ...]:
    """The same of a run that has not begun; what has begun and lacks the file may well lead in a circle."""
    with contextlib.suppress(RunError, OSError):
        if run.status != "queued":
            return ()
        backbone = run.read_recipe().get("backbone")
        start_from = backbone.get("start_from") if isinstance(backbone, dict) else None
        if isinstance(start_from, str) and start_from and start_from != run.id:
            return find_source(start_from, run.folder.parent).lineage()
    return ()


def _ancestors(values: Any) -> tuple[Ancestor, ...]:  # noqa: ANN401  whatever a file holds
    try:
        return tuple(Ancestor.model_validate(value) for value in values or ())
    except (ValidationError, TypeError):
        return ()


def _kept(values: Any, registry: Registry) -> str:  # noqa: ANN401  whatever a file holds
    with contextlib.suppress(ValidationError, PluginError):
        strategy = registry.strategy(Choice.model_validate(values).name)
        return "" if strategy.merges else strategy.title
    return ""


def _choice(values: Any, path: Path) -> Choice:  # noqa: ANN401  whatever a file holds
    try:
        return Choice.model_validate({name: values[name] for name in ("name", "options") if name in values})
    except (ValidationError, TypeError) as error:
        raise RunError(f"{path} does not say what its backbone is.", path=path, field=FIELD) from error

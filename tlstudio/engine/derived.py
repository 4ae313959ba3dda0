"""Making runs of runs: their weights in hand, measured on their data, written as a run of its own. Imports torch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tlstudio.api import Options, RunError, Split
from tlstudio.api.features import Features
from tlstudio.api.nn import TransferModel
from tlstudio.engine.assemble import load_merged_model, preprocessor_of, restore_model, sample_source, split_data
from tlstudio.engine.begin import new_run
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState, Kind, Snapshot
from tlstudio.engine.control import RunControl
from tlstudio.engine.derivation import DERIVED_NAME, AsItIs, Derivation
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.evaluate import write_predictions
from tlstudio.engine.events import Note, RunEnded, to_json
from tlstudio.engine.export import check_assets
from tlstudio.engine.learning import forward_of, on_device
from tlstudio.engine.loading import EpochSampler, TrainLoader
from tlstudio.engine.measuring import Outputs, SplitData, monitored, run_split
from tlstudio.engine.parts import Parts
from tlstudio.engine.random_state import random_state_aside
from tlstudio.engine.recipe import learned_from, parse_recipe
from tlstudio.engine.source import LINEAGE_NAME, Ancestor, RunSource
from tlstudio.engine.target import read_target, write_target
from tlstudio.engine.training_state import BestEpoch
from tlstudio.engine.used_data import revision_of
from tlstudio.engine.used_plugins import ENVIRONMENT_NAME
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

Weights = dict[str, Tensor]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and how much there is."""

HELD_OUT: tuple[Split, ...] = ("validation", "test")


def silent(_what: str, _done: int, _total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Something measured on the splits that were not trained on.

    Attributes:
        outputs: What the model gave for each split that has samples.
    """

    outputs: Mapping[Split, Outputs]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics by split and name."""
        return {split: outputs.metrics for split, outputs in self.outputs.items()}


class Bench:
    """The model of a finished run without adapters, on which other weights are tried, and the data of the run.

    Attributes:
        began: When the work on it has begun, by the monotonic clock.

    Args:
        run: The run.
        project: Its project.
        registry: The components.
        control: Cancel, looked at after each batch.
        on_progress: Hears how far a measurement is.

    Raises:
        RunError: The run was not trained to its end, has no model, or what its strategy has added cannot be folded in.
        DataError: Its data set is gone or damaged.
    """

    def __init__(
        self,
        run: Run,
        project: Project,
        registry: Registry,
        *,
        control: RunControl | None = None,
        on_progress: Progress = silent,
    ) -> None:
        check_finished(run)
        self.began = time.monotonic()
        self.run, self.project, self.registry = run, project, registry
        self.recipe = parse_recipe(run.read_recipe())
        self.parts, self.model = plain_model(run, registry)
        self.revision = learned_from(self.recipe, revision_of(run, project))
        self.device = torch.device(resolve_device(self.recipe.training.device))
        self.model.to(self.device)
        self.control = control or RunControl()
        self.on_progress = on_progress
        self._splits: dict[Split, SplitData] = {}

    @property
    def weights(self) -> Weights:
        """A copy, in the main memory, of all that the model has."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def load(self, weights: Weights) -> None:
        """Give the model other weights.

        Raises:
            RunError: They do not fit.
        """
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            why = str(error).partition("\n")[2].strip() or str(error)
            raise RunError(f"These weights do not fit the model of run {self.run.id}: {why[:200]}") from error

    def split(self, name: Split) -> SplitData:
        """A split of the data, prepared as for the evaluation of the run."""
        if name not in self._splits:
            training = self.recipe.training
            augmentation = training.augmentation if self.parts.head.views > 1 else "none"
            preprocessor = preprocessor_of(self.parts, augmentation=augmentation, assets=self.run.assets)
            self._splits[name] = split_data(
                self.revision, name, self.model.head, preprocessor, batch_size=training.batch_size
            )
        return self._splits[name]

    def training_batches(self) -> TrainLoader:
        """The train split in the batches of a training, varied as in it."""
        training = self.recipe.training
        preprocessor = preprocessor_of(self.parts, augmentation=training.augmentation, assets=self.run.assets)
        indices = self.revision.indices("train")
        source, lengths = sample_source(self.revision, indices, self.model.head, preprocessor, seed=training.seed)
        return TrainLoader(source, EpochSampler(lengths, training.batch_size, training.seed))

    def measure_head(self) -> None:
        """Let the head measure anew what it keeps of the train split: it was measured with other weights.

        Raises:
            Interrupted: Cancel was asked for.
        """
        model = self.model.eval()
        forward = forward_of(model, model.head)

        def train() -> Iterator[tuple[Features, Tensor]]:
            loader = self.training_batches()
            for number, batch in enumerate(loader.epoch(0), start=1):
                self.control.check_cancelled()
                moved = on_device(batch, self.device)
                yield forward(moved.inputs)[0], moved.targets
                self.on_progress("Train split", number, len(loader))

        with random_state_aside(), torch.no_grad():
            model.head.measure_anew(train)

    def measure(self, what: str = "Measuring", splits: Sequence[Split] = HELD_OUT) -> Measured:
        """Measure the model as it is now on splits; those that have no samples are left out.

        Args:
            what: What is being measured, for people.
            splits: On which.

        Raises:
            Interrupted: Cancel was asked for.
        """
        outputs = {}
        for name in splits:
            data = self.split(name)

            def after_batch(done: int, total: int = len(data.ids)) -> None:
                self.on_progress(what, done, total)
                self.control.check_cancelled()

            if data.ids:
                outputs[name] = run_split(self.model, self.model, data, self.device, after_batch)
        return Measured(outputs)

    def monitor(self) -> tuple[str, str]:
        """The metric by which the run has chosen its best epoch, and whether more (``"max"``) of it is better."""
        return monitored(self.model.head, self.recipe.training, self.split("validation").labels)

    def best(self, measured: Sequence[Measured]) -> int:
        """Which of several is the best on the validation split, as epochs of the run were compared: from 0."""
        best = BestEpoch(*self.monitor())
        for number, one in enumerate(measured, start=1):
            best.see(number, dict(one.outputs["validation"].metrics))
        return best.improved - 1

    def save(self, derivation: Derivation, measured: Measured, *, seconds: float = 0.0) -> Run:
        """Write the model as it is now as a run of its own.

        Args:
            derivation: How it was made.
            measured: What was measured of it.
            seconds: How long it took.

        Raises:
            ProjectError: The project is open for reading only, or the disk is full.
            RunError: Something in the run's folder leads elsewhere.
        """
        weights = self.weights

        def fill(folder: Path, run_id: str) -> None:
            made = Run(folder)
            check_assets(self.run.assets)
            shutil.copytree(self.run.assets, made.assets, dirs_exist_ok=True)
            write_target(made, read_target(self.run))
            made.write_json(ENVIRONMENT_NAME, self.run.read_json(ENVIRONMENT_NAME))
            ancestors = [one.model_dump(mode="json") for one in _ancestors(derivation, self.project)]
            made.write_json(LINEAGE_NAME, {"format": 1, "sources": ancestors})
            made.write_json(DERIVED_NAME, derivation.model_dump(mode="json"))
            state = CheckpointState(0, 0, measured.metrics.get("validation", {}))
            Checkpoints(folder / "checkpoints", set(weights)).save("best", Snapshot(state, weights))
            for name, outputs in measured.outputs.items():
                data = self.split(name)
                write_predictions(made, name, data.ids, data.labels, outputs, outputs.values(self.model.head))
            made.record_monitor(self.monitor()[0])
            made.finish("done", measured.metrics, seconds=seconds)
            for event in (Note(derivation.sentence), RunEnded(run_id, "done", measured.metrics, seconds=seconds)):
                made.append_event(to_json(event, time=time.time()))
            made.close()

        return new_run(self.recipe, self.project, made_by=derivation.made_by, fill=fill)


def check_finished(run: Run) -> None:
    """Make sure that a run was trained to its end.

    Raises:
        RunError: It was not.
    """
    if (status := run.status) not in ("done", "stopped"):
        again = status in ("cancelled", "failed", "interrupted")
        remedy = f"Go on with it first: tlstudio resume PROJECT {run.id}." if again else "Wait until it is done."
        what = f"Run {run.id} is {status}: only what was trained to its end can be worked on."
        raise RunError(what, "" if status == "damaged" else remedy, path=run.folder)


def plain_model(run: Run, registry: Registry, kind: Kind = "best") -> tuple[Parts, TransferModel]:
    """Restore the model of a run as a plain network: what its strategy has added is folded in.

    Args:
        run: The run.
        registry: The components.
        kind: Which of its checkpoints.

    Raises:
        RunError: The run's files are missing or damaged, or what its strategy has added cannot be folded in.
    """
    parts, model = load_merged_model(run, registry, kind)
    plain = replace(parts, strategy=AsItIs(), strategy_options=Options())
    restored = restore_model(plain, read_target(run), run.assets)
    try:
        restored.load_state_dict(model.state_dict())
    except RuntimeError as error:
        what = f"What {parts.strategy.title} has added to the network of run {run.id} cannot be folded into it."
        raise RunError(what, "Choose a run with another strategy.", path=run.folder) from error
    return plain, restored.eval()


def ancestor(run: Run) -> Ancestor:
    """Write down a run with the hashes of its best checkpoint."""
    return RunSource(run).lineage()[-1]


def _ancestors(derivation: Derivation, project: Project) -> list[Ancestor]:
    """All runs that have led to one, each once, the oldest first."""
    chain = [one for parent in derivation.parents for one in RunSource(project.run(parent.run)).lineage()]
    return list({one.run: one for one in chain}.values())

"""From the methods of a recipe to what works in the loop: their data, their models, their modules."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from tlstudio.api import (
    DataError,
    DataStream,
    Preprocessor,
    RunError,
    Task,
    TaskHead,
    View,
)
from tlstudio.api.method_modules import Inputs, MethodContext, MethodModule
from tlstudio.api.methods import dataset_names, written_names
from tlstudio.api.nn import TransferModel
from tlstudio.api.wording import did_you_mean
from tlstudio.data.overlap import in_common
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import load_merged_model, preprocessor_of
from tlstudio.engine.control import RunControl
from tlstudio.engine.datasets import NoTargets, PreparedView, SampleDataset, sample_lengths
from tlstudio.engine.learning import Forward, forward_of, on_device
from tlstudio.engine.loading import EvalLoader, Patience
from tlstudio.engine.methods import SEPARATOR, ChosenMethod, Methods
from tlstudio.engine.parts import Parts
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.engine.source import RunSource, find_source, runs_beside
from tlstudio.engine.streams import StreamLoader, stream_seed
from tlstudio.plugins import Registry

_TOLD_AFTER = 1.0  # seconds


def silent(_what: str, _done: int, _total: int) -> None:
    """Show no progress."""


@dataclass
class Workshop:
    """Builds the methods of a run, and what brings them their samples.

    Attributes:
        parts: The components of the run.
        revision: Its data.
        model: Its model, prepared by the strategy.
        network: What is fed with batches.
        registry: The components that are loaded.
        options: How the run trains.
        assets: Assets of the run, for its preprocessor; `None` before there is one.
        fabric: Device and precision.
        control: Cancel, asked for while samples are gone through before the first step.
        patience: Waits where the disk of the data is gone.
        own_batches: Goes through the train split of the run as it is.
        steps: Optimizer steps of the run.
        on_progress: Hears how far a method is that goes through samples by itself, where that takes long.
        head_taken_over: Whether its head begins with what an earlier one has learned.
    """

    parts: Parts
    revision: Revision
    model: TransferModel
    network: nn.Module
    registry: Registry
    options: TrainingOptions
    assets: Path | None
    fabric: Fabric
    control: RunControl
    patience: Patience
    own_batches: Callable[[], EvalLoader]
    steps: int
    on_progress: Callable[[str, int, int], None] = silent
    head_taken_over: bool = False
    _models: dict[str, tuple[Parts, TransferModel, Path]] = field(default_factory=dict)
    _revisions: dict[str, Revision] = field(default_factory=dict)

    def build(self) -> Methods:
        """Build the methods of the recipe, on the device.

        Raises:
            DataError: A data set that one of them needs is gone.
            RunError: A run whose model one of them needs is gone, or it cannot work on this model.
        """
        if not self.parts.methods:
            return Methods()
        modules: dict[str, MethodModule] = {}
        forward = self._forward()
        for one in self.parts.methods:
            modules[one.name] = one.method.build(self._context(one, forward, modules), one.options)
        methods = Methods(self.parts.methods, modules)
        methods.to(self.fabric.device)
        return methods

    def models(self) -> list[TransferModel]:
        """The models of earlier runs that methods have asked for, as far as they were loaded."""
        return [model for _, model, _ in self._models.values()]

    def views(self) -> dict[str, PreparedView]:
        """The other views of the run's own samples that methods have asked for."""
        return {
            f"{one.name}{SEPARATOR}{name}": self._view(one, name, view)
            for one in self.parts.methods
            for name, view in one.method.views(one.options).items()
        }

    def passed(self, methods: Methods) -> float:
        """How many samples methods go through by themselves in a whole run; with gradients, each counts as several."""
        passes = methods.passes()
        total = 0.0
        for one in self.parts.methods:
            for name, times in passes[one.name].items():
                rows = self._rows(one.streams()[name])[1] if name else self.revision.indices("train")
                total += times * len(rows)
        return total

    def streams(self, methods: Methods) -> dict[str, StreamLoader]:
        """What brings the samples that methods have asked for."""
        loaders = {}
        for one in self.parts.methods:
            for name, stream in one.streams().items():
                if not stream.ratio:
                    continue
                revision, indices = self._rows(stream)
                encoder = methods.encoder(one.name, name) if stream.labelled else NoTargets()
                (first, view), *others = stream.views.items()
                seed = stream_seed(self.options.seed, one.name, name)
                source = SampleDataset(
                    revision,
                    indices,
                    self._view(one, first, view).preprocessor,
                    encoder,
                    seed,
                    {other: self._view(one, other, how) for other, how in others},
                )
                loaders[f"{one.name}{SEPARATOR}{name}"] = StreamLoader(
                    source,
                    stream_batch(stream, self.options.batch_size),
                    seed,
                    num_workers=self.options.num_workers,
                    patience=self.patience,
                )
        return loaders

    def _context(self, one: ChosenMethod, forward: Forward, modules: Mapping[str, MethodModule]) -> MethodContext:
        asked = one.streams()
        labelled = {name: stream for name, stream in asked.items() if stream.labelled}
        targets = {name: self._revision(stream).target_info() for name, stream in labelled.items()}
        models = {name: self._model(one, name)[1] for name in one.method.models(one.options)}

        def batches(name: str) -> Iterator[tuple[Inputs, torch.Tensor]]:
            loader = self._stream_once(one, modules[one.name], asked[name]) if name else self.own_batches()
            began, done = time.monotonic(), 0
            for batch in loader:
                self.control.check_cancelled()
                batch = on_device(batch, self.fabric.device)
                yield batch.inputs, batch.targets
                done += len(batch.positions)
                if time.monotonic() - began > _TOLD_AFTER:
                    self.on_progress(f"{one.method.title}: going through the samples", done, loader.samples)

        return MethodContext(
            model=self.model,
            num_train=len(self.revision.indices("train")),
            batch_size=self.options.batch_size,
            epochs=self.options.epochs,
            steps=self.steps,
            targets=targets,
            models=models,
            head=self.parts.head,
            head_options=self.parts.head_options,
            heads=heads_beside(self.parts.head, self.registry),
            features=self._shape(),
            forward=forward,
            batches=batches,
            updates=frozenset(self.parts.strategy.updates(self.model, self.parts.strategy_options)),
            modules=lambda: (self.model, *modules.values()),
            head_taken_over=self.head_taken_over,
        )

    def _shape(self) -> Any:  # noqa: ANN401  a FeatureShape, whatever is around the backbone
        backbone: Any = self.model.backbone
        return backbone.shape

    def _forward(self) -> Forward:
        def network(inputs: Inputs) -> torch.Tensor:
            with self.fabric.autocast():
                output: torch.Tensor = self.network(inputs)
                return output

        return forward_of(network, self.model.head)

    def _revision(self, stream: DataStream) -> Revision:
        if stream.dataset not in self._revisions:  # to open one reads and hashes its table
            self._revisions[stream.dataset] = dataset_beside(self.revision, stream.dataset)
        return self._revisions[stream.dataset]

    def _rows(self, stream: DataStream) -> tuple[Revision, np.ndarray]:
        revision = self._revision(stream)
        return revision, stream_rows(stream, revision, self.revision, self.options.seed)

    def _stream_once(self, one: ChosenMethod, module: MethodModule, stream: DataStream) -> EvalLoader:
        revision, indices = self._rows(stream)
        view = next(iter(stream.views.values()))
        preprocessor = self._preprocessor(one, View("none", view.prepared_by))
        encoder = module.encoder(stream.name) if stream.labelled else NoTargets()
        source = SampleDataset(revision, indices, preprocessor, encoder, self.options.seed)
        lengths = sample_lengths(revision, indices, preprocessor)
        return EvalLoader(source, lengths, self.options.batch_size, patience=self.patience)

    def _view(self, one: ChosenMethod, name: str, view: View) -> PreparedView:
        alike = view.augmentation == "as the run" and bool(view.prepared_by)
        return PreparedView(self._preprocessor(one, view), "" if alike else name)

    def _preprocessor(self, one: ChosenMethod, view: View) -> Preprocessor:
        augmentation = self.options.augmentation if view.augmentation == "as the run" else view.augmentation
        parts, assets = self.parts, self.assets
        if view.prepared_by:
            parts, _, assets = self._model(one, view.prepared_by)
        return preprocessor_of(parts, augmentation=augmentation, assets=assets)

    def _model(self, one: ChosenMethod, name: str) -> tuple[Parts, TransferModel, Path]:
        run_id = one.method.models(one.options)[name]
        if run_id not in self._models:
            source = run_beside(self.revision, run_id)
            parts, model = load_merged_model(source.run, self.registry)
            model.requires_grad_(False)
            model.to(self.fabric.device).eval()
            self._models[run_id] = parts, model, source.run.assets
        return self._models[run_id]


def stream_batch(stream: DataStream, batch_size: int) -> int:
    """Number of samples of a stream in a batch, or that there must be.

    Not one alone, unless the run's own batches are of one: BatchNorm cannot learn from it.
    """
    return max(min(2, batch_size), round(stream.ratio * batch_size))


def dataset_beside(revision: Revision, reference: str, *, verify: bool = True) -> Revision:
    """Open another data set of the project that a revision is of.

    Args:
        revision: The revision.
        reference: ``"name"``, which is the latest revision, or ``"name@r2"``; ``""``: the revision itself.
        verify: See `Revision.open`.

    Raises:
        DataError: There is none of this name.
    """
    if not reference:
        return revision
    name, _, wanted = reference.partition("@")
    folder = revision.folder.absolute().parents[1]
    names = sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    if name not in names:
        raise DataError(
            f"There is no data set '{name}' in this project.",
            did_you_mean(name, names, "Import it, or name one that is there"),
            path=folder,
        )
    found = [one.name for one in (folder / name).iterdir() if re.fullmatch(r"r[1-9][0-9]*", one.name)]
    found.sort(key=lambda one: int(one[1:]))
    if not found or (wanted and wanted not in found):
        what = f"The data set '{name}' has no revision {wanted or 'at all'}."
        raise DataError(what, f"Revisions: {', '.join(found)}." if found else "Import it again.", path=folder / name)
    return Revision.open(folder / name / (wanted or found[-1]), verify=verify)


def heads_beside(own: TaskHead, registry: Registry) -> dict[Task, TaskHead]:
    """Of each task, the first head that takes what the head of a run takes; of its own task, that head."""
    found: dict[Task, TaskHead] = {own.task: own}
    for head in registry.heads.values():
        if head.requires == own.requires or (head.requires, own.requires) == ("pooled", "parts"):
            found.setdefault(head.task, head)
    return found


def pinned(revision: Revision, references: str, *, several: bool = False) -> str:
    """Write a data set with its revision, so that a recipe says for good what it means; unchanged where it is gone.

    Args:
        revision: The revision that is learned from.
        references: The data set, as in `dataset_beside`.
        several: Whether it may be several, as `dataset_names` reads them.
    """
    if several:
        return written_names([_pinned(revision, one) for one in dataset_names(references)])
    return _pinned(revision, references)


def _pinned(revision: Revision, reference: str) -> str:
    try:
        found = dataset_beside(revision, reference)
    except DataError:
        return reference
    return found.reference


def used_data(methods: Iterable[ChosenMethod], revision: Revision) -> dict[str, str]:
    """Hashes of the data that a run learns from, its own and those of its methods, by `Revision.reference`.

    Raises:
        DataError: A data set is gone.
    """
    names = dict.fromkeys(stream.dataset for one in methods for stream in one.streams().values())
    # Each was read whole a moment ago, when it was looked for.
    used = [dataset_beside(revision, name, verify=False) for name in names]
    return {data.reference: data.sha256 for data in (revision, *used)}


def run_beside(revision: Revision, run_id: str) -> RunSource:
    """Find a finished run of the project that a revision is of.

    Raises:
        RunError: There is none of this id.
    """
    source = find_source(run_id, runs_beside(revision))
    if not isinstance(source, RunSource):
        raise RunError(f"{run_id} is no run of this project.", "Name a run by its id.")
    return source


def stream_rows(stream: DataStream, revision: Revision, own: Revision, seed: int = 0) -> np.ndarray:
    """Rows of the samples of a stream, in ascending order, without those that the run holds out.

    Args:
        stream: The stream.
        revision: Its data.
        own: The data that the run learns from. Nothing that it validates or tests is in a stream, be it under the name
            of another revision or data set.
        seed: Draws them where not all are taken.
    """
    rows: np.ndarray = _asked_rows(stream, revision)[~held_out(stream, revision, own)]
    if not stream.limit or len(rows) <= stream.limit:
        return rows
    drawn = np.random.default_rng(seed).permutation(rows)
    if revision.label_kind == "name":
        names = np.asarray(revision.labels(drawn), dtype=object)
        place = np.zeros(len(drawn), dtype=np.int64)  # which one of its class each is
        for name in revision.classes:
            place[names == name] = np.arange(int((names == name).sum()))
        drawn = drawn[np.argsort(place, kind="stable")]
    return np.sort(drawn[: stream.limit])


def held_out(stream: DataStream, revision: Revision, own: Revision) -> np.ndarray:
    """Which of the samples that a stream asks for are validated or tested by a run, by their content, ``[N]`` bool.

    Args:
        stream: The stream.
        revision: Its data.
        own: The data that the run learns from.
    """
    rows = _asked_rows(stream, revision)
    if revision is own and stream.rows != "all":
        return np.zeros(len(rows), dtype=bool)
    return in_common(revision, rows, own, np.concatenate([own.indices("validation"), own.indices("test")]))


def _asked_rows(stream: DataStream, revision: Revision) -> np.ndarray:
    match stream.rows:
        case "train":
            return revision.indices("train")
        case "unshown":
            return np.asarray(revision.left_aside, dtype=np.int64)
        case "all":
            return np.arange(len(revision), dtype=np.int64)

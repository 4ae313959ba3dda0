"""From the parts of a recipe to what a run needs: model, data, parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from tlstudio.api import (
    CONTEXT,
    Augmentation,
    DataError,
    Options,
    Preprocessor,
    RunError,
    Sample,
    Split,
    TargetInfo,
)
from tlstudio.api.nn import BackboneModule, HeadModule, LayerGroup, ParamGroup, TargetEncoder, TransferModel, numbers_of
from tlstudio.data.revision import Revision
from tlstudio.engine.checkpoint import MANIFEST, Kind, has_checkpoint
from tlstudio.engine.checkpoint_reading import NO_BASES, load_checkpoint, stored_shapes
from tlstudio.engine.datasets import NO_VIEWS, FeatureDataset, PreparedView, SampleDataset, check_disk, sample_lengths
from tlstudio.engine.derivation import AsItIs, read_derivation
from tlstudio.engine.loading import EvalLoader, Patience, at_once
from tlstudio.engine.measuring import SplitData
from tlstudio.engine.parts import Parts, parts_from
from tlstudio.engine.random_state import random_state_aside
from tlstudio.engine.target import read_target
from tlstudio.engine.used_plugins import missing_plugins
from tlstudio.engine.views import PreparedInViews
from tlstudio.plugins import Registry
from tlstudio.store.run import Run


def fitted(parts: Parts, revision: Revision) -> Parts:
    """Let the backbone learn what it must know of the train split before it is built.

    Raises:
        DataError: The samples are not what it takes.
    """
    samples = revision.samples(revision.indices("train"))
    return replace(parts, backbone=parts.backbone.fit(parts.backbone_options, samples))


def preprocessor_of(parts: Parts, *, augmentation: Augmentation = "none", assets: Path | None = None) -> Preprocessor:
    """Make the preprocessor of the backbone for what the head takes."""
    wanted, options = parts.head.requires, parts.backbone_options
    preprocessor = parts.backbone.preprocessor(options, augmentation=augmentation, assets=assets, wanted=wanted)
    return preprocessor if parts.head.views == 1 else PreparedInViews(preprocessor, parts.head.views)


def build_model(parts: Parts, backbone: BackboneModule, target: TargetInfo) -> TransferModel:
    """Put a head on a backbone and let the strategy prepare both.

    Raises:
        DataError: The head cannot learn this target.
    """
    backbone.wanted = parts.head.requires
    try:
        head = parts.head.build(backbone.shape, target, parts.head_options)
    except DataError as error:
        raise DataError(error.what, error.remedy, field="head") from error
    model = TransferModel(backbone, head, backbone.layer_groups())
    parts.strategy.prepare(model, parts.strategy_options)
    return model


def restore_backbone(parts: Parts, assets: Path) -> BackboneModule:
    """Build the backbone of a model without pretrained weights."""
    return parts.backbone.restore(parts.backbone_options, assets)


RestoreBackbone = Callable[[Parts, Path], BackboneModule]


def restore_model(
    parts: Parts, target: TargetInfo, assets: Path, restore: RestoreBackbone = restore_backbone
) -> TransferModel:
    """Build the same model without pretrained weights; its checkpoint is loaded by the caller."""
    with random_state_aside():
        return build_model(parts, restore(parts, assets), target)


def as_recorded(parts: Parts, shapes: Mapping[str, Sequence[int]]) -> Parts:
    """Let the strategy take from what a run has stored what its recipe does not say."""
    return replace(parts, strategy_options=parts.strategy.recorded(parts.strategy_options, shapes))


def load_run_model(
    run: Run,
    registry: Registry,
    kind: Kind = "best",
    *,
    restore: RestoreBackbone = restore_backbone,
    known: Mapping[str, Mapping[str, Tensor]] = NO_BASES,
) -> tuple[Parts, TransferModel]:
    """Restore the model of a run from its best checkpoint; neither the data set nor the first weights are needed.

    Args:
        run: The run.
        registry: The components.
        kind: Which other of its checkpoints is wanted.
        restore: Builds the backbone.
        known: See `tlstudio.engine.checkpoint_reading.load_checkpoint`.

    Raises:
        RunError: A plugin is gone, or the run's files are missing or damaged.
    """
    if missing := missing_plugins(run, registry):
        raise RunError(f"The model of run {run.id} cannot be built. {' '.join(missing)}", path=run.folder)
    if not has_checkpoint(run.folder / "checkpoints", "best"):
        raise _no_model(run)
    parts = parts_from({**run.read_recipe(), "methods": {}}, registry)  # the model knows nothing of them
    if read_derivation(run) is not None:
        parts = replace(parts, strategy=AsItIs(), strategy_options=Options())
    parts = as_recorded(parts, stored_shapes(run.folder / "checkpoints", kind))
    model = restore_model(parts, read_target(run), run.assets, restore)
    load_checkpoint(run.folder / "checkpoints", kind, model, known=known)
    return parts, model.eval()


def load_merged_model(run: Run, registry: Registry, kind: Kind = "best") -> tuple[Parts, TransferModel]:
    """Do the same, with what its strategy has added folded in as far as it can be.

    Args:
        run: The run.
        registry: The components.
        kind: Which of its checkpoints.

    Raises:
        RunError: See `load_run_model`.
    """
    parts, model = load_run_model(run, registry, kind)
    parts.strategy.merge(model)
    return parts, model


def _no_model(run: Run) -> RunError:
    """Say why a run has kept no model, and how it comes to one."""
    status = run.status
    if status == "queued":
        what, remedy = "is queued and has not been trained yet", "Work the queue off: tlstudio queue PROJECT."
    elif status == "running":
        what, remedy = "is under way and has kept no model yet", "Wait until it has ended."
    elif status in ("done", "stopped"):
        lost = run.folder / "checkpoints" / "best" / MANIFEST
        what = f"is {status}, but its model cannot be used any more: {lost} is missing"
        again = "make the run again the way it was made"
        if read_derivation(run) is None:
            again = f"train it again: tlstudio train PROJECT --recipe {run.recipe_path}"
        remedy = f"Put checkpoints/best back from a copy, or {again}."
    elif has_checkpoint(run.folder / "checkpoints", "last"):
        what = "was not trained to its end, and no epoch of it was kept"
        remedy = f"Go on with it: tlstudio resume PROJECT {run.id}."
    else:
        what, remedy = "has kept no model", "Train it again."
    return RunError(f"Run {run.id} {what}.", remedy, path=run.folder)


def split_data(
    revision: Revision,
    split: Split,
    head: HeadModule,
    preprocessor: Preprocessor,
    *,
    batch_size: int,
    num_workers: int = 0,
    features: np.ndarray | None = None,
    patience: Patience = at_once,
    seed: int | None = None,
) -> SplitData:
    """Make the loader, ids and labels of one split.

    Args:
        revision: The data.
        split: The split.
        head: Encodes the labels.
        preprocessor: Prepares the samples.
        batch_size: Samples at once.
        num_workers: Extra processes that read.
        features: Cached features of the whole revision, ``[len(revision), D]``; then nothing is read.
        patience: Waits where the disk of the data is gone.
        seed: See `EvalLoader`.
    """
    head.texts = preprocessor.texts  # what is measured is decoded
    indices = revision.indices(split)
    source, lengths = sample_source(revision, indices, head, preprocessor, features=features)
    loader = EvalLoader(source, lengths, batch_size, num_workers=num_workers, patience=patience, seed=seed)

    def samples(positions: Tensor) -> list[Sample]:
        def read() -> list[Sample]:
            try:
                return list(revision.samples(indices[positions.numpy()]))
            except DataError:  # their annotations are not all in memory
                check_disk(revision.folder)
                raise

        return patience(read)

    labels = [head.judged(label) for label in revision.labels(indices)]
    return SplitData(loader, revision.ids(indices), labels, samples)


def sample_source(
    revision: Revision,
    indices: np.ndarray,
    head: HeadModule,
    preprocessor: Preprocessor,
    *,
    seed: int = 0,
    features: np.ndarray | None = None,
    views: Mapping[str, PreparedView] = NO_VIEWS,
) -> tuple[SampleDataset | FeatureDataset, np.ndarray]:
    """Make what gives the samples at some rows, N of them, and measure their lengths, ``[N]``.

    Args:
        revision: The data.
        indices: The rows.
        head: Encodes the labels.
        preprocessor: Prepares the samples.
        seed: Of the augmentation.
        features: Cached features of the whole revision, ``[len(revision), D]``; then nothing is read.
        views: Other ways in which each sample is prepared as well, by name.
    """
    if features is not None:
        encoder = head.encoder()
        targets = encoder(revision.labels(indices), ())
        asks = type(encoder).context is not TargetEncoder.context  # else no sample is looked at
        context = encoder.context(list(revision.samples(indices))) if asks else None
        return FeatureDataset(features, indices, targets, context), np.ones(len(indices), dtype=np.int64)
    source = SampleDataset(revision, indices, preprocessor, head.encoder(), seed, views)
    return source, sample_lengths(revision, indices, preprocessor)


def caches_features(parts: Parts) -> bool:
    """Whether the run computes the features of its frozen backbone once and trains the head on them."""
    head = parts.head
    alone = head.requires in ("pooled", "parts") and not head.reads_inputs and head.views == 1
    alone = alone and not any(one.needs_backbone for one in parts.methods)
    return alone and parts.strategy.caches_features(parts.strategy_options)


def learning_parameters(
    groups: Iterable[ParamGroup], blocks: Sequence[Sequence[LayerGroup]] = (), *, in_bytes: bool = False
) -> int:
    """Number of parameters that learn, be it in later epochs only.

    Args:
        groups: Everything that may learn.
        blocks: Those of which one will, see `FineTuningStrategy.alternatives`: the largest counts.
        in_bytes: Count their bytes instead.
    """
    sizes = {id(one): one.nbytes if in_bytes else one.numel() for group in groups for one in group.params}
    inside = [{id(one) for layer in block for one in layer.parameters()} for block in blocks]
    always = sizes.keys() - set().union(*inside)
    largest = max((sum(sizes.get(one, 0) for one in block) for block in inside), default=0)
    return sum(sizes[one] for one in always) + largest


def all_parameters(model: TransferModel, groups: Iterable[ParamGroup]) -> int:
    """Number of parameters of a model, and of those that methods let learn beside it."""
    every = {id(parameter): parameter for parameter in model.parameters()}
    every |= {id(parameter): parameter for group in groups for parameter in group.params}
    return sum(numbers_of(parameter) for parameter in every.values())


class CachedModel(nn.Module):
    """The head alone, fed with cached features as if by the backbone."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, inputs: dict[str, Any]) -> Any:  # noqa: ANN401  as the head
        """Compute raw outputs from ``{"pooled": [B, D]}``, and `CONTEXT` where the head asks for it."""
        from tlstudio.api.features import Features

        return self.head(Features(pooled=inputs["pooled"], context=inputs.get(CONTEXT)))

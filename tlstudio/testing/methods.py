"""A small run for a method to be built for, so that its mathematics can be checked without training one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tlstudio.api import FineTuningStrategy, Options, Sample, TargetInfo, Task, TaskHead

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.method_modules import Inputs, MethodContext, TrainingStep
    from tlstudio.api.nn import TransferModel

__all__ = ["method_context", "training_step"]


def method_context(
    head: TaskHead,
    samples: Sequence[Sample],
    target: TargetInfo,
    *,
    strategy: FineTuningStrategy | None = None,
    strategy_options: Options | None = None,
    stream_targets: Mapping[str, TargetInfo] | None = None,
    models: Mapping[str, TransferModel] | None = None,
    heads: Mapping[Task, TaskHead] | None = None,
    epochs: int = 2,
) -> MethodContext:
    """Put a head on the first tiny backbone for the samples, and say what a run of one batch an epoch would.

    Args:
        head: The head.
        samples: Labelled samples; the train split, and every stream, are these.
        target: What is learned.
        strategy: Prepares the model; by default everything learns.
        strategy_options: Its options.
        stream_targets: What the labels of streams say.
        models: Models of earlier runs.
        heads: Heads for other tasks.
        epochs: Epochs of the run.
    """
    import torch

    from tlstudio.api.method_modules import MethodContext
    from tlstudio.api.nn import TransferModel, learning_names
    from tlstudio.testing.components import tiny_backbones
    from tlstudio.testing.samples import modality_of

    backbone = tiny_backbones(modality_of(samples[0]))[0]
    backbone = backbone.fit(backbone.Options(), samples)
    preprocess = backbone.preprocessor(backbone.Options(), wanted=head.requires)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = backbone.load(backbone.Options())
        module.wanted = head.requires
        model = TransferModel(module, head.build(module.shape, target, head.Options()), module.layer_groups())
    model.requires_grad_(True)
    if strategy is not None:
        strategy.prepare(model, strategy_options if strategy_options is not None else strategy.Options())

    def forward(inputs: Inputs) -> tuple[object, Tensor]:
        features = model.backbone(inputs)
        return features, model.head(features)

    def batches(_name: str) -> Iterator[tuple[Inputs, Tensor]]:
        items = [preprocess(sample) for sample in samples]
        yield preprocess.collate(items), model.head.encoder()([sample.label for sample in samples], items)

    return MethodContext(
        model=model,
        num_train=len(samples),
        batch_size=len(samples),
        epochs=epochs,
        steps=epochs,
        targets=dict(stream_targets or {}),
        models=dict(models or {}),
        head=head,
        head_options=head.Options(),
        heads={head.task: head, **(heads or {})},
        features=module.shape,
        forward=forward,  # type: ignore[arg-type]  # features are a `Features`, which this module must not import
        batches=batches,
        updates=frozenset(learning_names(model)),
        modules=lambda: [model],
    )


def training_step(context: MethodContext, *, progress: float = 0.0) -> TrainingStep:
    """Make the step of a run on all samples of a context, before the model has computed anything."""
    from tlstudio.api.method_modules import TrainingStep

    ((inputs, targets),) = list(context.batches(""))
    return TrainingStep(inputs, targets, {}, {}, progress, context.forward)

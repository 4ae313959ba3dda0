"""A loop of a few lines for checks: as the engine's, without anything around it. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlstudio.api import Backbone, FineTuningStrategy, Options, RunError, Sample, Setting, TargetInfo, TaskHead
from tlstudio.api.features import Features
from tlstudio.api.method_modules import Inputs, MethodContext, MethodModule, TrainingStep
from tlstudio.api.nn import (
    BackboneModule,
    HeadModule,
    ParamGroup,
    TransferModel,
    set_train_mode,
    with_context,
)

__all__ = ["Setup", "changed", "copied", "difference", "outputs_of", "train"]


@dataclass(frozen=True)
class Setup:
    """A combination of components and what they learn."""

    strategy: FineTuningStrategy
    backbone: Backbone
    head: TaskHead
    target: TargetInfo
    options: Options
    backbone_options: Options
    head_options: Options

    def new_model(self) -> TransferModel:
        """Build a model with the backbone's weights, prepared by the strategy."""
        torch.manual_seed(0)
        return self._prepared(self.backbone.load(self.backbone_options))

    def rebuilt_model(self, folder: Path) -> TransferModel:
        """Build the same model from the backbone's assets alone, with whatever weights."""
        torch.manual_seed(1)
        return self._prepared(self.backbone.restore(self.backbone_options, self.assets(folder)))

    def assets(self, folder: Path) -> Path:
        """Return a folder with the backbone's assets, written once."""
        assets = folder / "assets"
        if not assets.exists():
            assets.mkdir(parents=True)
            self.backbone.save_assets(self.backbone_options, assets)
        return assets

    def batch(self, samples: Sequence[Sample], head: HeadModule) -> tuple[dict[str, Tensor], Tensor]:
        """Preprocess samples into one batch, and encode their labels."""
        preprocess = self.backbone.preprocessor(self.backbone_options, wanted=self.head.requires)
        items = [preprocess(sample) for sample in samples]
        encoder = head.encoder()
        inputs = with_context(preprocess.collate(items), encoder, samples)
        return inputs, encoder([sample.label for sample in samples], items)

    def aside(self, batch: dict[str, Tensor], target: Tensor) -> set[str]:
        """Name the parameters of the backbone that the features which the head takes do not come from.

        A classifier's last layer makes pooled features alone, for instance.
        """
        model = self.new_model().requires_grad_(True)
        set_train_mode(model)
        torch.autograd.backward(model.head.loss(model(batch), target).mean())
        named = model.named_parameters()
        return {name for name, parameter in named if name.startswith("backbone.") and parameter.grad is None}

    def check_method(self, samples: Sequence[Sample], epochs: int) -> None:
        """Ask the method that is part of the strategy whether it fits, as is done before a run.

        Raises:
            RunError: It does not.
        """
        own = self.strategy.method(self.options)
        if own is None:
            return
        method, options = own
        setting = Setting(
            modality=self.backbone.modality,
            target=self.target,
            num_train=len(samples),
            batch_size=len(samples),
            backbone=self.backbone.info(),
            head=self.head,
            head_options=self.head_options,
            strategy=self.strategy,
            strategy_options=self.options,
            methods=[method.name],
            heads={self.head.task: self.head},
            epochs=epochs,
        )
        for problem in method.problems(setting, options):
            raise RunError(problem.what, problem.remedy, field=f"strategy.{problem.where}".rstrip("."))

    def own_method(
        self, model: TransferModel, batch: dict[str, Tensor], target: Tensor, epochs: int
    ) -> MethodModule | None:
        """Build the method that is part of the strategy, for a run of one step an epoch; `None` if there is none."""
        own = self.strategy.method(self.options)
        if own is None:
            return None
        method, options = own

        def batches(_name: str) -> Iterator[tuple[Inputs, Tensor]]:
            yield batch, target

        def forward(inputs: Inputs) -> tuple[Features, Tensor]:
            features: Features = model.backbone(inputs)
            return features, model.head(features)

        backbone: Any = model.backbone
        context = MethodContext(
            model=model,
            num_train=len(target),
            batch_size=len(target),
            epochs=epochs,
            steps=epochs,
            targets={},
            models={},
            head=self.head,
            head_options=self.head_options,
            heads={self.head.task: self.head},
            features=backbone.shape,
            forward=forward,
            batches=batches,
            updates=frozenset(self.strategy.updates(model, self.options)),
            modules=lambda: [model],
        )
        return method.build(context, options)

    def _prepared(self, module: BackboneModule) -> TransferModel:
        module.wanted = self.head.requires
        head = self.head.build(module.shape, self.target, self.head_options)
        model = TransferModel(module, head, module.layer_groups())
        self.strategy.prepare(model, self.options)
        return model


def train(
    setup: Setup,
    model: TransferModel,
    groups: Sequence[ParamGroup],
    batch: dict[str, Tensor],
    target: Tensor,
    epochs: int,
) -> tuple[list[float], dict[str, float]]:
    """Make one step in each epoch, with the method that is part of the strategy.

    Returns:
        The loss of each step, and for each parameter that got a gradient in any step the largest size of it.
    """
    optimizer = torch.optim.AdamW(
        [{"params": group.params, "lr": group.lr, "weight_decay": group.weight_decay} for group in groups]
        or [{"params": [torch.zeros(0, requires_grad=True)]}]
    )
    method = setup.own_method(model, batch, target, epochs)
    if method is not None:
        method.begin()
    losses: list[float] = []
    reached: dict[str, float] = {}
    for epoch in range(epochs):
        setup.strategy.on_epoch_start(model, epoch, setup.options)
        if method is not None:
            method.on_epoch_start(epoch)
        set_train_mode(model)
        loss = _loss(model, method, batch, target, epoch / epochs)
        extra = setup.strategy.extra_loss(model, setup.options, len(target))
        if extra is not None:
            loss = loss + extra
        optimizer.zero_grad()
        if loss.requires_grad:  # else nothing learns
            torch.autograd.backward(loss)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                reached[name] = max(reached.get(name, 0.0), float(parameter.grad.abs().max()))
        optimizer.step()
        if method is not None:
            method.after_step()
            method.on_epoch_end()
        losses.append(loss.item())
    return losses, reached


def _loss(
    model: TransferModel, method: MethodModule | None, batch: dict[str, Tensor], target: Tensor, progress: float
) -> Tensor:
    """Loss of a batch, with the method."""
    if method is None:
        return model.head.loss(model(batch), target).mean()
    step = TrainingStep(batch, target, {}, {}, progress, method.context.forward)
    method.transform(step)
    step.features, step.output = step.forward(step.inputs)
    loss = method.losses(step, model.head.loss(step.output, step.targets)).mean()
    extra = method.extra_loss(step)
    return loss if extra is None else loss + extra


def outputs_of(model: TransferModel, batch: dict[str, Tensor]) -> Tensor:
    """Return raw outputs in evaluation mode."""
    model.eval()
    with torch.no_grad():
        output: Tensor = model(batch)
    return output


def copied(model: TransferModel) -> dict[str, Tensor]:
    """Return a copy of the state dict."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Name the tensors that are not bit for bit what they were."""
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest absolute difference between two sets of tensors; infinite where shapes or names differ."""
    if one.keys() != other.keys() or any(one[name].shape != other[name].shape for name in one):
        return float("inf")
    return max((float((one[n].double() - other[n].double()).abs().max()) for n in one if one[n].numel()), default=0.0)

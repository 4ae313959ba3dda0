"""Gradual unfreezing: first the head learns, then one layer group more every few epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlstudio import api
from tlstudio.api import FineTuningStrategy, Options, Situation, option, options_as
from tlstudio_strategies.common import fine_tuning_options, layerwise_groups, learn_from_the_top, unfrozen_groups

if TYPE_CHECKING:
    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = ["GradualUnfreezing", "GradualUnfreezingOptions"]


class GradualUnfreezingOptions(Options):
    """Options of gradual unfreezing."""

    epochs_per_group: int = option(
        1,
        title="Epochs per group",
        help="After this many epochs the next layer group, counted from the head, begins to learn.",
        ge=1,
        le=1000,
        unit="epochs",
    )
    discriminative: float = option(
        2.6,
        title="Discriminative rates",
        help="Each layer group learns this many times more slowly than the one above it; 1 gives all the same rate.",
        ge=1,
        le=100,
    )
    head_lr_factor: float = option(
        5.0,
        title="Head learns faster",
        help="The head learns at this times the learning rate of the backbone's last group.",
        gt=0,
        le=10_000,
        advanced=True,
    )


class GradualUnfreezing(FineTuningStrategy):
    """ULMFiT's gradual unfreezing with discriminative rates (Howard & Ruder 2018, arXiv:1801.06146, section 3.3)."""

    name = "gradual_unfreezing"
    title = "Gradual unfreezing"
    description = (
        "Trains the head first and then lets the backbone's layers join from the last to the first, each more "
        "slowly, so that what it knows is not lost to the head's first wild steps. As in ULMFiT."
    )
    source = "Howard and Ruder 2018, arXiv:1801.06146"
    head_first = True
    Options = GradualUnfreezingOptions

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend enough epochs for some groups to join; see `FineTuningStrategy`."""
        values = fine_tuning_options(situation, learning_rate=5e-4 if situation.modality == "image" else 1e-4)
        # In the first epochs little or nothing of the backbone learns: there must be some more of them.
        return {**values, "epochs": values["epochs"] + 2}

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Begin as in the first epoch: the head alone learns."""
        self.on_epoch_start(model, 0, options)

    def on_epoch_start(self, model: TransferModel, epoch: int, options: api.Options) -> None:
        """Let as many groups learn as the epoch's number says, and nothing else: a resumed run is the same."""
        groups = epoch // options_as(GradualUnfreezingOptions, options).epochs_per_group
        learn_from_the_top(model, groups + _first_groups(model))

    def notes(self, model: TransferModel, options: api.Options, epochs: int) -> Sequence[str]:
        """Say in which epoch each group joins, and from how many epochs on all learn; see `FineTuningStrategy`."""
        each = options_as(GradualUnfreezingOptions, options).epochs_per_group
        names = [group.name for group in reversed(model.layer_groups())]
        groups, first = len(names), _first_groups(model)
        starts = range(each + 1, epochs + 1, each)
        joining = [f"{name} in {epoch}" for epoch, name in zip(starts, names[first:], strict=False)]
        begins = names[0] if first else "the head"
        when = [f"In epoch 1, {begins} learns alone; then join {', '.join(joining)}."] if joining else []
        needed = (groups - first) * each + 1
        if epochs >= needed:
            return when
        learning = (epochs - 1) // each + first
        what = f"Only {learning} of the {groups} layer groups of the backbone come to learn in {epochs} epoch"
        remedy = f"set training.epochs to {needed} or more{' or strategy.epochs_per_group lower' if each > 1 else ''}"
        return [*when, f"{what}{'s' if epochs > 1 else ''}: for all of them, {remedy}."]

    def quantities(self, model: TransferModel, options: api.Options) -> Mapping[str, float]:
        """Say how many groups have joined; see `FineTuningStrategy`."""
        return unfrozen_groups(model)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return one group for each layer group and the head, whether it learns yet or not."""
        chosen = options_as(GradualUnfreezingOptions, options)
        return layerwise_groups(
            model,
            model.layer_groups(),
            learning_rate=learning_rate,
            decay=1.0 / chosen.discriminative,
            head_rate=learning_rate * chosen.head_lr_factor,
            weight_decay=weight_decay,
        )

    def updates(self, model: TransferModel, options: api.Options) -> set[str]:
        """Return what may move once every group has joined; ``requires_grad`` is left as it was."""
        from tlstudio.api.nn import learning_names

        before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        model.requires_grad_(True)
        names = learning_names(model)
        for parameter, value in before:
            parameter.requires_grad_(value)
        return names


def _first_groups(model: TransferModel) -> int:
    """How many groups learn from the first epoch on: a head with nothing of its own to learn cannot begin alone."""
    return int(next(model.head.parameters(), None) is None)

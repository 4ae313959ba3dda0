"""What several strategies share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlstudio.api import Situation, TaskHead, option

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import HeadModule, LayerGroup, ParamGroup, TransferModel

LEAST_STEPS = 60
"""Fine-tuning on few samples fails for want of steps: a few epochs of one batch each hardly move the head (Mosbach et
al. 2021, arXiv:2006.04884; Zhang et al. 2021, arXiv:2006.05987, section 6). These ask for more still, on a GPU."""


def head_lr_factor_option(
    text: str = "The head starts from nothing and learns at this times the learning rate of the backbone.",
) -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare the option by which the head learns faster than a backbone that is trained from its last layers down."""
    return option(
        10.0,
        title="Head learns faster",
        help=text,
        gt=0,
        le=10_000,
        advanced=True,
    )


def layer_decay_option() -> Any:  # noqa: ANN401  as above
    """Declare the option by which rates fall from the last layers to the first."""
    return option(
        0.9,
        title="Layer-wise decay",
        help="Each layer group learns this much more slowly than the one above it; 1 is off.",
        gt=0,
        le=1,
    )


def inverse_strength_option() -> Any:  # noqa: ANN401  as above
    """Declare the strength of the probe's penalty."""
    return option(
        1.0,
        title="Inverse regularisation (C)",
        help="As in scikit-learn: smaller keeps the weights of the head smaller while it is fitted, which helps where "
        "samples are few.",
        gt=0,
        le=1e9,
    )


def needs_own_layer(head: TaskHead) -> str | None:
    """Say why a head on logits cannot learn alone: the layer that makes these belongs to the backbone."""
    if head.requires in ("logits", "masked"):
        return f"{head.title} has no layer of its own that could learn beside a frozen backbone."
    return None


def ridge(head: HeadModule, strength: float, num_train: int) -> Tensor | None:
    """Return the penalty of scikit-learn's estimators, divided by the number of training samples.

    It is ``s * ||W||^2 / (2 C n)`` over the weight matrices of the head. The factor s makes the minimum that of
    scikit-learn where its objective is written differently: 2 for two classes (``LogisticRegression`` then
    has one weight vector w, ours are +w/2 and -w/2) and 1/K for K labels (a separate `LogisticRegression`
    for each label, whose losses our multi-label head averages).

    Args:
        head: The head.
        strength: C.
        num_train: n.
    """
    target = head.target
    scale = 1.0
    if target.task == "classification" and len(target.classes) == 2:
        scale = 2.0
    elif target.task == "multi_label":
        scale = 1.0 / len(target.classes)
    squares = [p.float().square().sum() for p in head.parameters() if p.ndim > 1]
    if not squares:
        return None
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return total * (scale / (2.0 * strength * num_train))


def learn_from_the_top(model: TransferModel, count: int) -> None:
    """Let the head and the last layer groups of the backbone learn, and freeze everything else.

    Args:
        model: The model.
        count: How many groups, counted from the output; more than there are means all.
    """
    model.requires_grad_(False)
    for group in last_groups(model, count):
        group.requires_grad_(True)
    model.head.requires_grad_(True)


def last_groups(model: TransferModel, count: int) -> list[LayerGroup]:
    """Return the last layer groups of the backbone, from input to output; all where it has no more than `count`."""
    groups = model.layer_groups()
    return groups[max(0, len(groups) - count) :]


def unfrozen_groups(model: TransferModel) -> dict[str, float]:
    """Return the number of layer groups of the backbone that learn now, as a quantity that is plotted."""
    learning = [any(p.requires_grad for p in group.parameters()) for group in model.layer_groups()]
    return {"unfrozen groups": float(sum(learning))}


def layerwise_groups(
    model: TransferModel,
    groups: Sequence[LayerGroup],
    *,
    learning_rate: float,
    decay: float,
    head_rate: float,
    weight_decay: float,
) -> list[ParamGroup]:
    """Make parameter groups whose learning rate falls from the head to the input.

    Args:
        model: The model; all parameters of its head are included.
        groups: Layer groups that learn, from input to output.
        learning_rate: Rate of the last of `groups`.
        decay: Each group learns at this times the rate of the group above it.
        head_rate: Rate of the head.
        weight_decay: Weight decay of matrices.
    """
    from tlstudio.api.nn import grouped_parameters

    named = [
        (group.name, group.parameters(), learning_rate * decay**depth)
        for depth, group in zip(range(len(groups) - 1, -1, -1), groups, strict=True)
    ]
    return grouped_parameters([*named, ("head", model.head.parameters(), head_rate)], weight_decay=weight_decay)


def _for_rows(situation: Situation, learning_rate: float) -> dict[str, Any]:
    """Networks for rows are small and often begin with random weights: many steps, which cost little."""
    batch_size = 32 if situation.num_train < 1_000 else 128 if situation.num_train < 20_000 else 512
    steps = math.ceil(max(1, situation.num_train) / batch_size)
    return {
        "epochs": min(60, max(10, round(3_000 / steps))),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": "cosine",
        "warmup": 0.05,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "augmentation": "none",
    }


def fine_tuning_options(situation: Situation, *, learning_rate: float) -> dict[str, Any]:
    """Recommend training options for strategies that change the backbone.

    Args:
        situation: The data, the backbone and the machine.
        learning_rate: Peak learning rate of the backbone's last layers.
    """
    if situation.modality == "table":
        return _for_rows(situation, max(learning_rate, 1e-3))
    few = situation.num_train < 2_000
    on_gpu, on_cpu = (20, 10), (8, 3)  # on the CPU minutes count, and each epoch is dear
    # Small data needs small batches to make enough steps; a GPU is idle with fewer than 32.
    batch_size = 16 if few and not situation.on_gpu else 32
    steps = math.ceil(max(1, situation.num_train) / batch_size)
    return {
        "epochs": max((on_gpu if situation.on_gpu else on_cpu)[0 if few else 1], math.ceil(LEAST_STEPS / steps)),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": "cosine",
        "warmup": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "augmentation": "light" if situation.modality in ("image", "image+text") else "none",
    }

"""The heads as torch modules. Imported only when a head is built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import Features, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, TargetEncoder
from tlstudio_heads.encoders import ClassEncoder, LabelsEncoder, ValueEncoder

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = [
    "Centre",
    "ClassificationModule",
    "MultiLabelModule",
    "PooledHead",
    "RegressionModule",
    "balanced_class_weights",
]


class Centre(nn.Module):
    """Subtracts the mean that features had in the first batch of training.

    Pooled features often have a mean that is large beside their spread (after a ReLU all are positive). A linear
    layer behind them can express the same functions with and without the shift, as its bias takes it up; but gradient
    descent gets to the minimum many times faster with it (LeCun et al. 1998, "Efficient BackProp", section 4.3).

    Args:
        num_features: Width D of the features.
    """

    mean: Tensor
    known: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("known", torch.tensor(False))
        self._asked = False

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, D]`` features shifted; the first call in training mode measures the shift."""
        # `known` is read once only: reading a tensor makes a GPU wait.
        if self.training and not self._asked:
            if not self.known:
                self.mean.copy_(x.detach().mean(dim=0))
                self.known.fill_(True)
            self._asked = True
        return x - self.mean


class PooledHead(HeadModule):
    """Centring, dropout and one or two linear layers on pooled features.

    Args:
        num_features: Width D of the features.
        num_outputs: Number K of outputs.
        target: What is learned.
        dropout: Share of inputs of each linear layer that is dropped while training.
        hidden: Width of a hidden layer with GELU; 0: none.
    """

    def __init__(self, num_features: int, num_outputs: int, target: TargetInfo, *, dropout: float, hidden: int) -> None:
        super().__init__()
        self.target = target
        self.centre = Centre(num_features)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(num_features, hidden) if hidden else None
        self.output = nn.Linear(hidden or num_features, num_outputs)
        # Small weights and no bias: at the start all outputs are nearly alike, and the loss is that of guessing.
        nn.init.trunc_normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Features) -> Tensor:
        """Compute raw outputs ``[B, K]`` from pooled features ``[B, D]``."""
        x = self.dropout(self.centre(features.require("pooled")))
        if self.hidden is not None:
            x = self.dropout(F.gelu(self.hidden(x)))
        output: Tensor = self.output(x)
        return output

    def set_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Put a linear function of the features in place; see `HeadModule`."""
        if self.hidden is not None:
            super().set_linear(weight, bias)
        with torch.no_grad():
            self.centre.mean.zero_()
            self.centre.known.fill_(True)
            self.output.weight.copy_(weight)
            self.output.bias.copy_(bias)

    def take_over(self, state: Mapping[str, Tensor], target: TargetInfo) -> list[str]:
        """Take over all layers; of the last one, the outputs of classes that both have."""
        old, new = target.classes, self.target.classes
        if old == new or target.task != self.target.task:
            return super().take_over(state, target)
        taken = dict(state)
        shared = [name for name in new if name in old]
        for name in ("output.weight", "output.bias"):
            if name in taken and len(taken[name]) == len(old):
                rows = self.get_parameter(name).detach().clone()
                for each in shared:
                    rows[new.index(each)] = taken[name][old.index(each)]
                taken[name] = rows
        super().take_over(taken, self.target)
        fresh = [name for name in new if name not in old]
        what = f"The head knows {len(shared)} of its {len(new)} classes; new are {', '.join(fresh[:8])}."
        return [what] if fresh else []


class ClassificationModule(PooledHead):
    """Softmax classification.

    Args:
        num_features: Width D of the features.
        target: The classes and how often each occurs in the training set.
        dropout: See `PooledHead`.
        hidden: See `PooledHead`.
        label_smoothing: Share e of the target that is spread evenly over all K classes
            (Szegedy et al. 2016, arXiv:1512.00567): the true class gets 1 - e + e/K, the others e/K.
        balanced: Whether each sample's loss is multiplied by the weight of its class (`balanced_class_weights`).
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("f1_macro", "max")
    class_weights: Tensor

    def __init__(
        self,
        num_features: int,
        target: TargetInfo,
        *,
        dropout: float,
        hidden: int,
        label_smoothing: float,
        balanced: bool,
    ) -> None:
        super().__init__(num_features, len(target.classes), target, dropout=dropout, hidden=hidden)
        self.label_smoothing = label_smoothing
        counts = target.class_counts if balanced else (1,) * len(target.classes)
        # Not in the state dict: it follows from the target, which is kept with the run.
        self.register_buffer("class_weights", balanced_class_weights(counts), persistent=False)

    def encoder(self) -> TargetEncoder:
        """Return what gives class indices ``[B]`` int64."""
        return ClassEncoder(self.target.classes)

    def mean_output(self, members: Sequence[tuple[HeadModule, Tensor]]) -> Tensor:
        """Return the logarithm of the mean probabilities: logits of which the softmax is that mean."""
        logs = torch.stack([output.double().log_softmax(dim=1) for _, output in members])
        return (logs.logsumexp(dim=0) - math.log(len(logs))).float()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy ``[B]`` of logits ``[B, K]``, smoothed and weighted as set."""
        loss = F.cross_entropy(output.float(), target, reduction="none", label_smoothing=self.label_smoothing)
        return loss * self.class_weights[target]

    def metrics(self) -> MetricCollection:
        """Return accuracy, balanced_accuracy, f1_macro, precision_macro and recall_macro."""
        from tlstudio_heads.metrics import classification_metrics

        return classification_metrics(len(self.target.classes))

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return the most probable class and the probabilities of all classes, highest first."""
        ranked = _ranked(output.float().softmax(dim=1), self.target.classes)
        return [Prediction(scores[0][0], scores) for scores in ranked]


class MultiLabelModule(PooledHead):
    """One sigmoid a class.

    Args:
        num_features: Width D of the features.
        target: The classes.
        dropout: See `PooledHead`.
        hidden: See `PooledHead`.
        threshold: A label is given where its probability is above this.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("f1_macro", "max")

    def __init__(self, num_features: int, target: TargetInfo, *, dropout: float, hidden: int, threshold: float) -> None:
        super().__init__(num_features, len(target.classes), target, dropout=dropout, hidden=hidden)
        self.threshold = threshold

    def encoder(self) -> TargetEncoder:
        """Return what gives ``[B, K]`` float32 with 1 for each label that a sample has."""
        return LabelsEncoder(self.target.classes)

    def mean_output(self, members: Sequence[tuple[HeadModule, Tensor]]) -> Tensor:
        """Return logits of which the sigmoid is the mean probability."""
        outputs = torch.stack([output.double() for _, output in members])
        yes, no = (F.logsigmoid(sign * outputs).logsumexp(dim=0) for sign in (1, -1))
        return (yes - no).float()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy ``[B]``, the mean over the classes."""
        return F.binary_cross_entropy_with_logits(output.float(), target, reduction="none").mean(dim=1)

    def metrics(self) -> MetricCollection:
        """Return accuracy, f1_macro, f1_micro, precision_macro, recall_macro and average_precision_macro."""
        from tlstudio_heads.metrics import multi_label_metrics

        return multi_label_metrics(len(self.target.classes), self.threshold)

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return the labels above the threshold, most probable first, and the probabilities of all."""
        predictions = []
        for scores in _ranked(output.float().sigmoid(), self.target.classes):
            given = tuple(name for name, score in scores if score > self.threshold)
            predictions.append(Prediction(given, scores))
        return predictions


class RegressionModule(PooledHead):
    """One number, learned in standard deviations from the mean of the training values.

    Args:
        num_features: Width D of the features.
        target: Mean and standard deviation of the training values.
        dropout: See `PooledHead`.
        hidden: See `PooledHead`.
        huber_delta: If given, the loss is Huber's (1964) with this delta in standard deviations, else squared error.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("rmse", "min")

    def __init__(
        self, num_features: int, target: TargetInfo, *, dropout: float, hidden: int, huber_delta: float | None
    ) -> None:
        super().__init__(num_features, 1, target, dropout=dropout, hidden=hidden)
        self.huber_delta = huber_delta

    def encoder(self) -> TargetEncoder:
        """Return what gives standardised values ``[B]`` float32."""
        return ValueEncoder(self.target.mean, self.target.std)

    def mean_output(self, members: Sequence[tuple[HeadModule, Tensor]]) -> Tensor:
        """Return the mean of the values, which each head has learned from its own mean and deviation."""
        values = [output.double() * head.target.std + head.target.mean for head, output in members]
        return ((torch.stack(values).mean(dim=0) - self.target.mean) / self.target.std).float()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared or Huber error ``[B]`` of standardised values."""
        value = output.float().squeeze(1)
        if self.huber_delta is None:
            return (value - target).square()
        return F.huber_loss(value, target, reduction="none", delta=self.huber_delta)

    def metrics(self) -> MetricCollection:
        """Return mae, rmse, r2 and spearman, in the unit of the labels."""
        from tlstudio_heads.metrics import regression_metrics

        return regression_metrics(self.target.mean, self.target.std)

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return values in the unit of the labels."""
        values = output.double().squeeze(1) * self.target.std + self.target.mean
        return [Prediction(float(value)) for value in values.tolist()]


def balanced_class_weights(counts: Sequence[int]) -> Tensor:
    """Weights by which each class counts the same, ``[K]``: n / (k * count), as scikit-learn's ``"balanced"``.

    Here n is the number of training samples and k the number of classes that have any, so that the mean weight over
    the training samples is exactly 1. A class without training samples gets 1.
    """
    present = sum(count > 0 for count in counts)
    total = sum(counts)
    return torch.tensor([total / (present * count) if count else 1.0 for count in counts], dtype=torch.float32)


def _ranked(probabilities: Tensor, classes: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
    values, order = probabilities.sort(dim=1, descending=True, stable=True)
    return [
        tuple((classes[i], score) for i, score in zip(indices, scores, strict=True))
        for indices, scores in zip(order.tolist(), values.tolist(), strict=True)
    ]

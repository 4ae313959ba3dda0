"""Anomaly detection as torch modules. Imported only when a head is built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tlstudio.api import DataError, Features, Label, Prediction, Sample, TargetInfo
from tlstudio.api.nn import NO_INPUTS, HeadModule, TargetEncoder

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["AnomalyModule", "NormalEncoder", "RunningScale"]

_WORST = 100.0
"""Loss of an anomaly with the score 0, before it is weighted."""

MOST_SCORES = 4096
"""So many of the newest training scores are kept at most: a quantile of more would hardly be another."""


class NormalEncoder(TargetEncoder):
    """Gives 0 for the normal class and 1 for every other: what is not normal need not have been seen before.

    Args:
        normal: Name of the normal class.
    """

    def __init__(self, normal: str) -> None:
        self._normal = normal

    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return 0 and 1, ``[B]`` float32."""
        if None in labels:
            raise DataError("A sample has no label.", "Say whether it is normal, or leave it out.")
        return torch.tensor([float(label != self._normal) for label in labels])


class RunningScale(nn.Module):
    """Shifts and scales features by the mean and deviation that they have lately had in training.

    The first batches count alike, later ones fade, so that features that are being fine-tuned are followed. Features
    that hardly vary are not blown up: a hundredth of the mean variance of all is added to that of each.

    Args:
        num_features: Width D of the features.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor
    _SLOWEST = 0.05

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("variance", torch.ones(num_features))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, D]`` float32; in training mode the batch is taken in first. Nothing makes a GPU wait."""
        x = x.float()
        if self.training:
            with torch.no_grad():
                self.batches += 1
                share = (1 / self.batches).clamp(min=self._SLOWEST)
                self.mean.lerp_(x.mean(dim=0), share)
                self.variance.lerp_((x - self.mean).square().mean(dim=0), share)
        spread = self.variance + 0.01 * self.variance.mean() + 1e-12
        return (x - self.mean) / spread.sqrt()


class AnomalyModule(HeadModule):
    """An autoencoder on standardised features: what it rebuilds badly is unlike the normal items.

    The score is the mean squared error of ``r(x) = V tanh(W x + b) + c`` over the features. Without the tanh its
    minimum is the principal components (Baldi and Hornik 1989), and something far out in their directions would be
    rebuilt well; with it ``r`` is bounded, so that the score grows with the distance in every direction.

    Anomalies of the training set enter by the inverse of their score (Ruff et al. 2020, "Deep semi-supervised
    anomaly detection", arXiv:1906.02694).

    Features are moved for the sake of known anomalies alone. Features that learn from normal items only come to say
    nothing any more, as then all is rebuilt: the collapse of one-class networks (Ruff et al. 2018, "Deep one-class
    classification"; Reiss et al. 2021, "PANDA", arXiv:2010.05903). So without anomalies in the training set, no
    gradient goes to the backbone, whatever the strategy. With enough of them a collapse does not pay: it gives them
    the score 0, which costs `_WORST` for each, in the mean over all items at least 2; to rebuild nothing at all and
    tell nothing apart costs 1.

    The threshold is a quantile of the newest scores of normal training items. `loss` keeps them in training mode, as
    it alone has both score and label, in a buffer: so a checkpoint holds them, and a resumed run has the same.

    Args:
        num_features: Width D of the features.
        target: Two classes, the normal one first, and how often each occurs in the training set.
        width: Width of the bottleneck; a quarter of D at most, as nothing would be lost in a wide one.
        quantile: Share of the normal training items that lie below the threshold.
        anomaly_weight: How much a known anomaly counts beside a normal item.
    """

    monitor: ClassVar[tuple[str, Literal["max", "min"]]] = ("roc_auc", "max")
    scores: Tensor
    kept: Tensor

    def __init__(
        self, num_features: int, target: TargetInfo, *, width: int, quantile: float, anomaly_weight: float
    ) -> None:
        super().__init__()
        self.target = target
        self.quantile = quantile
        self.anomaly_weight = anomaly_weight
        width = max(1, min(width, num_features // 4))
        self.scale = RunningScale(num_features)
        self.encode = nn.Linear(num_features, width)
        self.rebuild = nn.Linear(width, num_features)
        size = min(MOST_SCORES, max(1, sum(target.class_counts)))
        # Weighted share of known anomalies from which on features may move; see above.
        self.moves_features = anomaly_weight * target.class_counts[1] * _WORST >= 2 * sum(target.class_counts)
        self.register_buffer("scores", torch.full((size,), -1.0))  # below 0: none yet, or of an anomaly
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Features) -> Tensor:
        """Compute scores ``[B, 1]`` float32 from pooled features ``[B, D]``."""
        pooled = features.require("pooled")
        x: Tensor = self.scale(pooled if self.moves_features else pooled.detach())
        rebuilt: Tensor = self.rebuild(self.encode(x).tanh())
        return (x - rebuilt.float()).square().mean(dim=1, keepdim=True)

    def encoder(self) -> TargetEncoder:
        """Return what gives 1 for anomalies ``[B]`` float32."""
        return NormalEncoder(self.target.classes[0])

    def judged(self, label: Label) -> Label:
        """Give every class but the normal one the name that `decode` gives anomalies."""
        return label if label is None else self.target.classes[int(label != self.target.classes[0])]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Score of normal items and weighted inverse score of anomalies, ``[B]``."""
        score = output.float().squeeze(1)
        if self.training:
            self._keep(score.detach(), target)
        return torch.where(target > 0, self.anomaly_weight / (score + 1 / _WORST), score)

    @torch.no_grad()
    def _keep(self, scores: Tensor, target: Tensor) -> None:
        size = len(self.scores)
        scores, target = scores[-size:], target[-size:]
        places = (self.kept + torch.arange(len(scores), device=scores.device)) % size
        self.scores[places] = torch.where(target > 0, -1.0, scores)
        self.kept += len(scores)

    @torch.no_grad()
    def measure_anew(self, train: Callable[[], Iterable[tuple[Features, Tensor]]]) -> None:
        """Measure shift and scale of the features, and then the scores behind the threshold."""
        self.scale.batches.zero_()
        for features, _ in train():  # which has passed through the head as well
            self.scale.train()
            self.scale(features.require("pooled"))
            self.scale.eval()
        self.scores.fill_(-1.0)
        self.kept.zero_()
        for features, target in train():
            self._keep(self(features).squeeze(1), target)

    def threshold(self) -> float:
        """Return the score above which an item is an anomaly; infinite before any training."""
        known = self.scores[self.scores >= 0].double().cpu()
        return float(known.quantile(self.quantile)) if len(known) else float("inf")

    def metrics(self) -> MetricCollection:
        """Return roc_auc, average_precision and, at the threshold, accuracy, f1, precision and recall of anomalies."""
        from tlstudio_heads.anomaly_metrics import anomaly_metrics

        return anomaly_metrics(self.threshold())

    def undefined_metrics(self, labels: Sequence[Label]) -> Collection[str]:
        """Name what cannot be measured where all are normal, or none is."""
        return () if len({self.judged(label) for label in labels}) > 1 else ("roc_auc", "average_precision")

    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Return the class on whose side of the threshold t the score s is; s / (s + t) tells how far out it is.

        That is 0 for what is rebuilt exactly, 1/2 at the threshold, and near 1 far beyond it. It orders items as the
        score does, but it is no probability: how frequent anomalies are is not known.
        """
        threshold = max(self.threshold(), 1e-12)
        normal, anomaly = self.target.classes
        predictions = []
        for score in output[:, 0].double().tolist():
            beyond = score / (score + threshold)
            pairs = ((anomaly, beyond), (normal, 1 - beyond))
            scores = pairs if score > threshold else pairs[::-1]
            predictions.append(Prediction(scores[0][0], scores))
        return predictions

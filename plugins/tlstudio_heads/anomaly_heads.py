"""How unlike the normal items something is. Light: torch is imported when a head is built."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import DataError, FeatureKind, FeatureShape, Options, TargetInfo, Task, TaskHead, option
from tlstudio_heads.common import as_options, must_be

if TYPE_CHECKING:
    from tlstudio.api.nn import HeadModule

__all__ = ["AnomalyDetection", "against_normal"]

ANOMALY = "anomaly"
"""What is told of an item that is not normal, where the anomalies of the data have several names or none."""

USUAL_NAMES = ("normal", "ok", "good", "healthy", "nominal", "0")
"""Names that say that a class is the normal one, whatever their case."""


class AnomalyOptions(Options):
    """Options of the anomaly detection head."""

    normal: str = option(
        "",
        title="Normal class",
        help="Name of the class of normal items; everything else is an anomaly. Empty: the class that is called "
        f"{', '.join(USUAL_NAMES[:-1])} or {USUAL_NAMES[-1]}, else the one with most training items.",
    )
    quantile: float = option(
        0.95,
        title="Normal share",
        help="Share of the normal training items that lie below the threshold; what is above it is told an anomaly. "
        "Of new normal items somewhat fewer lie below it, the more so the fewer there were to train on.",
        gt=0,
        lt=1,
    )
    width: int = option(
        16,
        title="Width",
        help="In how many numbers what is normal must be told: more follow it more closely, and let more pass. "
        "A quarter of the width of the features at most.",
        ge=1,
        le=4096,
    )
    anomaly_weight: float = option(
        1.0,
        title="Weight of anomalies",
        help="How much each anomaly of the training data counts beside a normal item; 0 leaves them out.",
        ge=0,
        le=1000,
        advanced=True,
    )


class AnomalyDetection(TaskHead):
    """The error of an autoencoder on features, and a threshold from the training items."""

    name = "anomaly_detection"
    title = "Anomaly detection"
    description = (
        "Says how unlike the normal items something is: a machine that sounds odd, a part with a flaw, a strange row. "
        "It learns from normal items alone; anomalies that are known help, and are what it is measured by. The "
        "backbone stays as it is unless anomalies are among the training items: choose the linear probe."
    )
    source = "Baldi and Hornik 1989, doi:10.1016/0893-6080(89)90014-2; Ruff et al. 2020, arXiv:1906.02694"
    task: Task = "anomaly_detection"
    requires: FeatureKind = "pooled"
    Options = AnomalyOptions

    def build(self, features: FeatureShape, target: TargetInfo, options: api.Options) -> HeadModule:
        """Build the head; see `TaskHead.build`."""
        from tlstudio_heads.anomaly_modules import AnomalyModule

        chosen = as_options(AnomalyOptions, options)
        must_be(self, target)
        return AnomalyModule(
            features.num_features,
            against_normal(target, chosen.normal),
            width=chosen.width,
            quantile=chosen.quantile,
            anomaly_weight=chosen.anomaly_weight,
        )


def against_normal(target: TargetInfo, normal: str = "") -> TargetInfo:
    """Sum up the classes as two, the normal one first; what comes of that once comes of it again.

    Args:
        target: The classes of the data.
        normal: Name of the normal one; ``""``: found by its name, else by the number of its training items.

    Raises:
        DataError: There is no such class, or nothing of it to learn from.
    """
    counts = dict(zip(target.classes, target.class_counts, strict=True))
    if normal and normal not in counts:
        near = difflib.get_close_matches(normal, counts, n=1, cutoff=0.0)
        raise DataError(
            f"There is no class {normal!r} in the data, which is said to be the normal one.",
            f"Did you mean {near[0]!r}?" if near else "",
            field="head",
        )
    candidates = [name for name in counts if name.casefold() != ANOMALY]
    if not normal and candidates:
        usual = [name for known in USUAL_NAMES for name in candidates if name.strip().casefold() == known]
        normal = usual[0] if usual else max(candidates, key=lambda name: counts[name])
    if not counts.get(normal):
        what = f"There is no item of the normal class {normal!r}" if normal else "There is no normal item"
        raise DataError(
            f"{what} in the training data.", "Say which class is the normal one, or change the splits.", field="head"
        )
    others = [name for name in counts if name != normal]
    name = others[0] if len(others) == 1 else ANOMALY if normal != ANOMALY else f"not {normal}"
    listed = (counts[normal], sum(counts[other] for other in others))
    return replace(target, classes=(normal, name), class_counts=listed)

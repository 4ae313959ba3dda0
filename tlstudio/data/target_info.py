"""What a head has to know of the labels of a revision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tlstudio.api import NAMED, TargetInfo

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision


def describe_target(revision: Revision) -> TargetInfo:
    """Describe what a head has to learn; see `Revision.target_info`."""
    info = _labels(revision)
    if revision.task != "recommendation":
        return info
    train = revision.indices("train")
    users = {str(user) for user in revision.table.column("user").take(train).to_pylist() if user is not None}
    binary = bool(np.isin(revision.values()[train], (0.0, 1.0)).all())
    return replace(info, users=tuple(sorted(users)), binary=binary)


def _labels(revision: Revision) -> TargetInfo:
    task, kind, pairs = revision.task, revision.label_kind, revision.has_pairs
    if kind == "number":
        values = revision.values()[revision.indices("train")]
        if not len(values) or values.min() == values.max():
            # Rounding can give equal values a tiny spread, by which nothing may be divided.
            return TargetInfo(task, mean=float(values[0]) if len(values) else 0.0, std=1.0, pairs=pairs)
        return TargetInfo(task, mean=float(values.mean()), std=float(values.std()), pairs=pairs)
    if kind == "numbers":
        return _numbers(revision)
    if kind == "none":
        return TargetInfo(task, pairs=pairs)
    if kind not in NAMED:
        characters = set[str]().union(*map(str, revision.labels(revision.indices("train"))))
        return TargetInfo(task, pairs=pairs, characters="".join(sorted(characters)))
    counts = revision.class_counts()["train"]
    return TargetInfo(task, revision.classes, tuple(counts[name] for name in revision.classes), pairs=pairs)


def _numbers(revision: Revision) -> TargetInfo:
    try:
        labels = np.array(revision.labels(revision.indices("train")), dtype=np.float64)
    except (ValueError, TypeError) as error:  # an import made sure of equal lengths
        raise revision.not_as_written("label", error) from error
    if not labels.size or labels.min() == labels.max():
        mean = float(labels.flat[0]) if labels.size else 0.0
        return TargetInfo(revision.task, mean=mean, size=labels.shape[1] if labels.size else 0)
    return TargetInfo(revision.task, mean=float(labels.mean()), std=float(labels.std()), size=labels.shape[1])

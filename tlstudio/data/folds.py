"""Folds for cross-validation: stratified, and samples that belong together are never divided."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlstudio.api import DataError, Label, Task
from tlstudio.data.splits import Codes, strata_of
from tlstudio.data.units import join_units

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision


MOST_SENTENCES = 5


def has_folds(revision: Revision) -> bool:
    """Whether the samples of a revision can be divided into folds: their labels are classes or numbers."""
    return revision.label_kind in ("name", "names", "number") and revision.task != "recommendation"


def rows_of_fold(revision: Revision, number: int, folds: int, seed: int) -> Codes:
    """The rows of one fold of the train and validation splits of a revision together; see `Revision.fold`."""
    if not 1 <= number <= folds or folds < 2:
        what = f"There is no fold {number} of {folds}."
        field = "dataset.fold" if folds >= 2 else "dataset.folds"
        raise DataError(what, "There are at least 2, and they are counted from 1.", field=field)
    return rows_of_folds(revision, folds, seed)[number - 1]


def rows_of_folds(revision: Revision, folds: int, seed: int) -> list[Codes]:
    """The rows of each fold of the train and validation splits of a revision together; see `Revision.in_folds`."""
    if not has_folds(revision):
        what = f"Folds need labels that are classes or numbers, which those of '{revision.dataset}' are not."
        raise DataError(what, "Leave dataset.folds at 0.", field="dataset.folds")
    rows = np.sort(np.concatenate([revision.indices("train"), revision.indices("validation")]))
    taken = revision.table.take(rows)
    assigned = assign_folds(
        revision.labels(rows),
        [group or "" for group in taken.column("group").to_pylist()],
        taken.column("hash").to_pylist(),
        task=revision.task,
        folds=folds,
        seed=seed,
    )
    return [rows[assigned == number] for number in range(folds)]


def classes_left_out(views: Mapping[int, Revision], folds: int) -> list[str]:
    """Say which classes have no sample where a fold learns, or where it validates.

    Args:
        views: The data of some folds, or of all, by their numbers from 1; see `Revision.fold`.
        folds: How many folds there are.
    """
    counts = {number: view.class_counts() for number, view in views.items()}
    found = []
    for name in next(iter(views.values())).classes:
        unseen = [number for number, one in counts.items() if not one["train"][name]]
        unmeasured = [number for number, one in counts.items() if not one["validation"][name]]
        if not set(unseen).isdisjoint(unmeasured):
            continue  # it is in the test split alone, which is no matter of folds
        if unseen:
            what = f"No sample of '{name}' is in the train split of {_named(unseen, folds)}"
            found.append(f"{what}: what was never seen cannot be recognised.")
        if unmeasured:
            what = f"No sample of '{name}' is in the validation split of {_named(unmeasured, folds)}"
            found.append(f"{what}: how well it is recognised is not measured there.")
    more = [f"{len(found) - MOST_SENTENCES:,} more such gaps are in the folds."] if len(found) > MOST_SENTENCES else []
    return found[:MOST_SENTENCES] + more


def _named(numbers: Sequence[int], folds: int) -> str:
    if len(numbers) > MOST_SENTENCES:
        return f"{len(numbers)} of {folds} folds"
    *others, last = map(str, numbers)
    return f"folds {', '.join(others)} and {last} of {folds}" if others else f"fold {last} of {folds}"


def assign_folds(
    labels: Sequence[Label], groups: Sequence[str], contents: Sequence[object], *, task: Task, folds: int, seed: int
) -> Codes:
    """Give each of N samples its fold, numbered from 0.

    Samples of one group or of identical content are in the same fold; each stratum (class, rarest label, quantile of a
    number) is spread over the folds as evenly as can be.

    Args:
        labels: Label of each sample.
        groups: Group of each sample; ``""``: none.
        contents: Something equal for samples of identical content.
        task: What the labels are for.
        folds: How many, at least 2.
        seed: The same seed gives the same folds of the same samples.

    Raises:
        DataError: There are too few samples, or groups of them, for so many folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    units = join_units(groups, contents, len(labels))
    strata = strata_of(labels, task)
    alone = len(np.unique(units)) == len(units)  # many times faster
    splitter: Any = (StratifiedKFold if alone else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    together = None if alone else units
    result = np.full(len(labels), -1, dtype=np.int64)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")  # it is not in every fold then
            for number, (_, rows) in enumerate(splitter.split(np.zeros(len(labels)), strata, together)):
                result[rows] = number
    except ValueError:
        result[:] = 0
    if len(np.unique(result)) < folds:
        what = f"{len(labels)} samples for training and validation cannot be divided into {folds} folds."
        raise DataError(what, "Choose fewer folds, or import more data.", field="dataset.folds")
    return result

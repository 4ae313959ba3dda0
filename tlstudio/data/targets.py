"""Judging labels as a whole: can they be learned at all, and what is odd about them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import cast

from tlstudio.api import NAMED, TASKS, DataError, Label, Task, label_names

MANY_NUMERIC_CLASSES = 100
"""More numeric classes than this are hardly classes, unless they are whole numbers that recur."""


def check_target(labels: Sequence[Label], task: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Check that a task can be learned from labels.

    Args:
        labels: Label of each usable sample, of the task's type.
        task: The task.

    Returns:
        The class names in their order (empty for regression), and sentences on what was noticed.

    Raises:
        DataError: Too few classes, numbers that are not classes, or targets that are all the same.
    """
    kind = TASKS[task].label
    if kind == "none":
        return (), ()
    if kind == "number":
        values = {float(cast(float, label)) for label in labels}
        if len(values) < 2:
            raise DataError(
                f"All targets are the same number ({next(iter(values), 0):g}): there is nothing to learn.",
                "Choose another label column.",
            )
        return (), ()
    if kind == "numbers":
        lengths = sorted({len(cast("Sequence[float]", label)) for label in labels})
        if len(lengths) > 1:
            raise DataError(
                f"The labels have {lengths[0]} to {lengths[-1]} values, and all must have the same number.",
                "Cut the series into windows with the same number of values to be forecast.",
            )
    if kind not in NAMED:
        if len(set(labels)) < 2:
            raise DataError("All items have the same label: there is nothing to learn.", "Choose another label column.")
        return (), ()
    if kind != "name":
        counts = Counter(name for label in labels for name in label_names(label))
        if not counts:
            where = "the labels and the sign that separates them" if kind == "names" else "the annotations"
            raise DataError(
                "No item has any label, so there is nothing to learn.", f"Choose the column that holds {where}."
            )
    else:
        counts = Counter(cast("Sequence[str]", labels))
        if task != "anomaly_detection" or len(counts) > 1:  # what is normal can be learned alone
            _check_classes(counts, len(labels))
    return sort_classes(counts), _notes(counts, task)


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Order class names: numbers by value, all else by letters without regard to case."""
    listed = list(names)
    numbers = [_number(name) for name in listed]
    if all(number is not None for number in numbers):
        return tuple(sorted(listed, key=lambda name: (_number(name) or 0.0, name)))
    return tuple(sorted(listed, key=lambda name: (name.casefold(), name)))


def _check_classes(counts: Counter[str], total: int) -> None:
    if len(counts) == 1:
        raise DataError(
            f'All items are of one class, "{next(iter(counts))}": there is nothing to tell apart.',
            "Give at least two classes: one subfolder each, or two different labels in the label column.",
        )
    numbers = [_number(name) for name in counts]
    if len(counts) > MANY_NUMERIC_CLASSES and all(number is not None for number in numbers):
        whole = all(float(cast(float, number)).is_integer() for number in numbers)
        if not whole or total < 5 * len(counts):
            raise DataError(
                f"The labels are {len(counts):,} different numbers, which would make {len(counts):,} classes.",
                "Choose the regression task to predict the number itself, or another label column.",
                field="task",
            )
    if total >= 20 and len(counts) == total:
        raise DataError(
            f"Each of the {total:,} items has a label of its own, so no class could be learned.",
            "Choose another label column: one whose labels recur.",
            field="label_column",
        )


def _notes(counts: Counter[str], task: Task) -> tuple[str, ...]:
    notes = []
    single = sorted(name for name, count in counts.items() if count == 1)
    if single and task != "anomaly_detection":  # there, all classes but one are anomalies alike
        word = "class has" if len(single) == 1 else "classes have"
        where = " it goes to train and cannot be tested" if task == "classification" else " it can hardly be learned"
        notes.append(
            f"{len(single)} {word} one item only ({some(single)}):{where if len(single) == 1 else _plural(where)}."
        )
    alike: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        alike["".join(name.casefold().split())].append(name)
    for names in alike.values():
        if len(names) > 1:
            quoted = " and ".join(f'"{name}"' for name in sorted(names))
            notes.append(
                f"The classes {quoted} differ by case or spaces only: they were kept apart. "
                "Rename them if they are meant to be one."
            )
    return tuple(notes)


def some(names: Sequence[str], limit: int = 5) -> str:
    """Join the first names for a sentence: ``"cat", "dog" and 3 more``."""
    listed = ", ".join(f'"{name}"' for name in names[:limit])
    return listed if len(names) <= limit else f"{listed} and {len(names) - limit} more"


def _plural(text: str) -> str:
    return text.replace(" it goes", " they go").replace(" it can", " they can")


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

"""What the head of a run has learned, kept in the run folder so that the run can be restored without its data set."""

from __future__ import annotations

from typing import Any

from tlstudio.api import NAMED, TASKS, RunError, TargetInfo
from tlstudio.store.run import Run


def write_target(run: Run, target: TargetInfo) -> None:
    """Keep what the head has learned, so that the run can be restored without its data set."""
    run.write_json("target.json", target_values(target))


def target_values(target: TargetInfo) -> dict[str, Any]:
    """Write a target as plain JSON values."""
    return {
        "task": target.task,
        "classes": list(target.classes),
        "class_counts": list(target.class_counts),
        "mean": target.mean,
        "std": target.std,
        "pairs": target.pairs,
        "size": target.size,
        "characters": target.characters,
        "users": list(target.users),
        "binary": target.binary,
    }


def target_from(values: dict[str, Any]) -> TargetInfo:
    """Read back what `target_values` wrote.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    classes, counts = values["classes"], values["class_counts"]
    if values["task"] not in TASKS:
        raise ValueError(f"the task {str(values['task'])[:40]!r} is not known")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise TypeError("the classes are no list of names")
    if not isinstance(counts, list) or not all(type(count) is int for count in counts) or len(counts) != len(classes):
        raise TypeError("there is not one count for each class")
    if bool(classes) != (TASKS[values["task"]].label in NAMED):
        raise ValueError("the classes do not fit the task")
    mean, std = float(values["mean"]), float(values["std"])
    size = values.get("size", 0)
    if type(size) is not int or size < 0:
        raise TypeError("the number of values in a label is no number")
    characters, pairs = values.get("characters", ""), bool(values.get("pairs", False))
    if not isinstance(characters, str):
        raise TypeError("the characters are no text")
    users, binary = values.get("users", []), bool(values.get("binary", False))
    if not isinstance(users, list) or not all(isinstance(name, str) for name in users):
        raise TypeError("the users are no list of names")
    counted = (tuple(classes), tuple(counts), mean, std, pairs, size, characters)
    return TargetInfo(values["task"], *counted, tuple(users), binary)


def read_target(run: Run) -> TargetInfo:
    """Read what the head of a run has learned.

    Raises:
        RunError: The run ended before it was known, or the file is damaged.
    """
    try:
        return target_from(run.read_json("target.json"))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"target.json of run {run.id} is damaged.", "Train it again.", path=run.folder) from error

"""What the heads check alike before they build."""

from __future__ import annotations

from typing import TypeVar

from tlstudio.api import DataError, Options, TargetInfo, TaskHead

T = TypeVar("T", bound=Options)


def as_options(model: type[T], options: Options) -> T:
    """Return options that are of a model, as that model."""
    if not isinstance(options, model):
        raise TypeError(f"expected {model.__name__}, got {type(options).__name__}")
    return options


def must_be(head: TaskHead, target: TargetInfo) -> None:
    """Refuse a target of another task.

    Raises:
        DataError: It is of another task.
    """
    if target.task != head.task:
        raise DataError(
            f"The head {head.name!r} solves {head.task}, but the data set is for {target.task}.",
            f"Choose the head {target.task!r}, or import the data for {head.task}.",
            field="head",
        )

"""What the heads have in common: an option, and what they check before they build."""

from __future__ import annotations

from typing import Any, TypeVar

from tlstudio.api import DataError, Options, TargetInfo, TaskHead, option

T = TypeVar("T", bound=Options)


def dropout_option(default: float) -> Any:  # noqa: ANN401  a pydantic field, as `option` gives it
    """Declare the option for dropout in front of a head."""
    return option(
        default,
        title="Dropout",
        help="Share of the features that are left out at random while training; guards against learning by heart.",
        ge=0,
        lt=1,
    )


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

"""What several methods share."""

from __future__ import annotations

from typing import TypeVar

from tlstudio.api import Options

T = TypeVar("T", bound=Options)


def options_as(model: type[T], options: Options) -> T:
    """Return options as the model that a method declared.

    Raises:
        TypeError: They belong to another component.
    """
    if not isinstance(options, model):
        raise TypeError(f"expected {model.__name__}, got {type(options).__name__}")
    return options

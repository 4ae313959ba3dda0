"""The hooks that a plugin may implement. Each is called for one plugin at a time and returns a list."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from tlstudio.api.backbones import Backbone, BackboneFamily
from tlstudio.api.components import FineTuningStrategy, TaskHead
from tlstudio.api.formats import DatasetFormat
from tlstudio.api.methods import Method

NAMESPACE = "tlstudio"
hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@hookspec
def register_dataset_formats() -> Sequence[DatasetFormat]:  # type: ignore[empty-body]  # a specification has no body
    """Return formats that the Data page and ``tlstudio import`` can read."""


@hookspec
def register_backbones() -> Sequence[Backbone | BackboneFamily]:  # type: ignore[empty-body]  # a specification
    """Return backbones, and families of backbones that are found by name."""


@hookspec
def register_task_heads() -> Sequence[TaskHead]:  # type: ignore[empty-body]  # a specification has no body
    """Return task heads."""


@hookspec
def register_strategies() -> Sequence[FineTuningStrategy]:  # type: ignore[empty-body]  # a specification
    """Return fine-tuning strategies."""


@hookspec
def register_methods() -> Sequence[Method]:  # type: ignore[empty-body]  # a specification has no body
    """Return methods."""

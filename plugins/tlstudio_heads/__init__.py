"""Task heads that come with TL Studio: classification, multi-label classification and regression."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import TaskHead, hookimpl
from tlstudio_heads.heads import Classification, MultiLabel, Regression

TLSTUDIO_API = "1.0"


@hookimpl
def register_task_heads() -> Sequence[TaskHead]:
    """Return the task heads of this plugin."""
    return [Classification(), MultiLabel(), Regression()]

"""What strategies that fit the head, instead of letting it learn, have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio.api import Problem, Setting, TaskHead

if TYPE_CHECKING:
    from tlstudio.api.nn import TransferModel


def why_not_linear(head: TaskHead) -> str | None:
    """Refuse heads that are not, by default, a linear classification of pooled features."""
    if head.task == "classification" and head.requires == "pooled" and head.is_linear(head.Options()):
        return None
    return f"It fits a linear classification, which {head.title} is not."


def hidden_layer_problems(title: str, setting: Setting) -> list[Problem]:
    """Say that a head has a hidden layer, if it has one."""
    if setting.head.is_linear(setting.head_options):
        return []
    return [Problem("", f"{title} fits a linear head, and this one has a hidden layer.", "Set head.hidden to 0.")]


def fitted_names(model: TransferModel) -> set[str]:
    """Names in the state dict that change where the head is fitted."""
    return {name for name in model.state_dict() if name.startswith("head.")}

"""What ``train --dry-run`` prints: the complete recipe, and what would happen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tlstudio.cli.common import WRONG_USE
from tlstudio.cli.output import Output, size

if TYPE_CHECKING:
    from tlstudio.engine.preflight import Preflight
    from tlstudio.engine.recipe import Recipe


def show_plan(output: Output, recipe: Recipe, plan: Preflight) -> int:
    """Print it; returns the exit code."""
    # As comments, so that the output can be saved and used as a recipe file.
    for sentence in (plan.sentence, *plan.notes):
        output.say(f"# {sentence}")
    for line in _plan_lines(plan):
        output.say(f"# {line}".rstrip())
    output.say()
    output.say(recipe.to_toml().rstrip())
    for problem in plan.problems:
        output.hint(f"Problem: {problem}")
    output.result(
        {
            "recipe": recipe.model_dump(mode="json"),
            "sentence": plan.sentence,
            "notes": plan.notes,
            "problems": [{"where": p.where, "what": p.what, "remedy": p.remedy} for p in plan.problems],
            "trainable_parameters": plan.trainable,
            "total_parameters": plan.total,
            "seconds": plan.seconds,
            "groups": [dataclasses.asdict(group) for group in plan.groups],
            "memory": None if plan.memory is None else {**dataclasses.asdict(plan.memory), "total": plan.memory.total},
        }
    )
    return WRONG_USE if plan.problems else 0


def _plan_lines(plan: Preflight) -> Iterator[str]:
    """What will learn in each part of the model, and what a step holds in memory."""
    if plan.groups:
        yield ""
        yield "What learns, from input to output:"
        width = max(len(group.name) for group in plan.groups)
        for group in plan.groups:
            added = f" ({group.added:,} of them put in)" if group.added else ""
            rate = f", rate {group.learning_rate:.3g}" if group.trainable else ""
            perhaps = ", if it is in the block that is chosen" if group.perhaps else ""
            yield f"  {group.name:<{width}}  {group.trainable:,} of {group.total:,}{added}{rate}{perhaps}"
    if plan.memory is not None:
        need = plan.memory
        parts = {
            "model": need.parameters,
            "gradients": need.gradients,
            "optimizer": need.optimizer,
            "activations of a batch": need.activations,
        }
        told = ", ".join(f"{name} {size(number)}" for name, number in parts.items())
        yield f"Memory: about {size(need.total)} ({told})."

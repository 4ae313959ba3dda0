"""The folder of a run before anything is trained: made for now, made for later, or looked at to go on with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from tlstudio.api import RunError
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.used_plugins import missing_plugins
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def new_run(
    recipe: Recipe,
    project: Project,
    *,
    queued: bool = False,
    made_by: str = "",
    fill: Callable[[Path, str], None] | None = None,
) -> Run:
    """Make the folder of a run that is about to start, or that waits for its turn.

    Args:
        recipe: A complete recipe.
        project: The project, open for writing.
        queued: Whether it waits; see `tlstudio.engine.run_queue`.
        made_by: What makes it of other runs, see `Project.new_run`; empty: it is trained.
        fill: Fills its folder then.

    Raises:
        ProjectError: It cannot be made.
    """
    return project.new_run(
        recipe.to_toml(),
        dataset=recipe.dataset.name,
        revision=recipe.dataset.revision,
        backbone=recipe.backbone.name,
        head=recipe.head.name,
        strategy=recipe.strategy.name,
        status="queued" if queued else "running",
        start_from=recipe.backbone.start_from,
        methods=list(recipe.methods),
        made_by=made_by,
        fill=fill,
        shots=recipe.dataset.shots,
    )


def recipe_to_resume(run: Run, registry: Registry) -> Recipe:
    """Read the recipe of a run, and look whether it can go on here, before anything of it is changed.

    Raises:
        RunError: A plugin is gone, or the recipe is damaged.
    """
    if missing := missing_plugins(run, registry, trains=True):
        raise RunError(f"Run {run.id} cannot go on. {' '.join(missing)}", path=run.folder)
    try:
        return Recipe.model_validate(run.read_recipe())
    except ValidationError as error:
        raise RunError(f"The recipe of run {run.id} is damaged: {error}", path=run.recipe_path) from error

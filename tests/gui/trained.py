"""A project with runs in it, trained once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.conftest import draw_folder
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.execute import execute_run
from tlstudio.engine.recipe import Recipe
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

TINY_VISION: dict[str, Any] = {"name": "test_resnet", "options": {"weights": "random", "image_size": 32}}
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 16, "threads": 1, "device": "cpu"}


def import_shapes(project: Project, folder: Path, registry: Registry) -> None:
    """Bring drawn images into a project as ``shapes``."""
    request, _ = plan_import(registry.formats.values(), folder, name="shapes")
    import_dataset(request, project.datasets_folder)


def tiny_recipe(project: Project, registry: Registry, **values: Any) -> Recipe:
    """A recipe on ``shapes`` that trains in a second or two."""
    revision = project.dataset("shapes")
    said = {
        "dataset": {"name": "shapes", "revision": revision.id},
        "backbone": TINY_VISION,
        "strategy": {"name": "linear_probe", "options": {}},
        "training": QUICK,
    }
    return complete({**said, **values}, revision, registry)


def make_trained(folder: Path, registry: Registry) -> Path:
    """Make a project with two runs: a probe and a full fine-tuning."""
    images = draw_folder(folder / "images", 12)
    with Project.create(folder / "project", "Shapes") as project:
        import_shapes(project, images, registry)
        for strategy in ("linear_probe", "full"):
            recipe = tiny_recipe(project, registry, strategy={"name": strategy, "options": {}})
            execute_run(recipe, project, registry, on_event=lambda _event: None, control=RunControl())
    return folder / "project"


def copied(template: Path, folder: Path) -> Path:
    """Copy a project for one test."""
    shutil.copytree(template, folder)
    return folder

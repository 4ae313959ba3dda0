"""Good things that are copied and then spoilt: a project with runs, exported models, a text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.execute import execute_run
from tlstudio.engine.export import export_run
from tlstudio.selftest.hostile.uses import IMAGE_BACKBONE, IMAGE_OPTIONS
from tlstudio.selftest.material import installed_registry, make_project, unheard
from tlstudio.store.project import Project


def make(folder: Path) -> None:
    """Make all of it: ``images``, ``encoder``, ``project``, ``image-model`` and ``text-model``."""
    registry = installed_registry()
    make_project(folder, registry)
    backbones: dict[str, dict[str, Any]] = {
        "image": {"name": IMAGE_BACKBONE, "options": IMAGE_OPTIONS},
        "text": {"name": "auto_model", "options": {"weights": str(folder / "encoder"), "max_length": 32}},
    }
    with Project.open(folder / "project") as project:
        for modality, backbone in backbones.items():
            training = {"epochs": 1, "batch_size": 8, "device": "cpu", "checkpoint_every": 0}
            strategy = "linear_probe" if modality == "image" else "full"
            values = {"backbone": backbone, "strategy": strategy, "training": training}
            recipe = complete(values, project.dataset(f"{modality}s"), registry)
            run = execute_run(recipe, project, registry, on_event=unheard, control=RunControl())
            export_run(run, folder / f"{modality}-model", registry, project=project)
            if modality == "image":
                run.close()
                run.folder.rename(run.folder.with_name("run-linear_probe"))

"""The models that are on this machine: what they are, where they come from, and how a recipe names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tlstudio.api import TLStudioError
from tlstudio.engine.caches import unknown_in_caches
from tlstudio.engine.licenses import license_of
from tlstudio.engine.model_entry import ModelEntry, Place, size_of, weight_files_of
from tlstudio.engine.own_models import own_models
from tlstudio.store.files import reason

if TYPE_CHECKING:
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run_record import RunSummary

_FINISHED = ("done", "stopped")
_UNTOLD = ("unknown", "that of")


def list_models(registry: Registry, project: Project | None = None) -> list[ModelEntry]:
    """List the models of this machine: the user's, runs of a project, starter packages and caches.

    Takes seconds, since the libraries that know the names are loaded: to be called off the window's thread.

    Args:
        registry: The components.
        project: Its finished runs are listed, too.
    """
    runs = [_of_run(project, row, registry) for row in project.runs() if row.status in _FINISHED] if project else []
    known = list(_of_backbones(registry))
    return [*own_models(), *runs, *known, *_unclaimed([entry.path for entry in known])]


def _of_run(project: Project, row: RunSummary, registry: Registry) -> ModelEntry:
    path = project.runs_folder / row.id
    entry = ModelEntry(f"run:{row.id}", row.id, "run", path, family=row.backbone, start_from=row.id)
    try:
        entry = replace(entry, size=sum(file.stat().st_size for file in weight_files_of(path)))
        backbone = registry.backbone(row.backbone)
        entry = replace(entry, modality=backbone.modality, license=backbone.info().license)
    except (OSError, TLStudioError) as error:
        why = str(error) if isinstance(error, TLStudioError) else f"{path} cannot be read: {reason(error)}."
        entry = replace(entry, why_not=why)
    return replace(entry, origin=f"trained on {row.dataset} {row.revision} by {row.strategy}")


def _of_backbones(registry: Registry) -> Iterator[ModelEntry]:
    """What the listed backbones, and the families that can tell, find on this machine."""
    names = dict.fromkeys(registry.backbones)
    for family in registry.families.values():
        names |= dict.fromkeys(registry.present(family))
    for name in names:
        try:
            backbone = registry.backbone(name)
            found = backbone.find_weights(backbone.Options())
            if found.path is None:
                continue
            facts = backbone.info()
        except (TLStudioError, ValidationError):
            continue  # not on this machine, or a folder of the user's has to be named
        yield ModelEntry(
            id=f"backbone:{name}",
            name=name,
            place=_place(found.origin),
            path=found.path,
            size=found.size or size_of(found.path),
            origin=found.origin,
            license=license_of(found.path) or ("" if facts.license.startswith(_UNTOLD) else facts.license),
            family=name.rpartition("/")[2],
            modality=backbone.modality,
            backbone=name,
            sha256=found.sha256,
        )


def _place(origin: str) -> Place:
    signs: dict[str, Place] = {"starter": "starter", "Hugging Face": "huggingface", "torch's": "torch"}
    return next((place for sign, place in signs.items() if origin.startswith(sign)), "elsewhere")


def _unclaimed(known: list[Path]) -> Iterator[ModelEntry]:
    """What lies in the caches of the libraries besides."""
    for place, name, path in unknown_in_caches(known):
        yield ModelEntry(
            id=f"{place}:{name}",
            name=name,
            place=place,
            path=path,
            size=size_of(path),
            origin="Hugging Face's cache" if place == "huggingface" else "torch's cache",
            license=license_of(path),
            why_not="It cannot be seen which backbone it is of: choose a backbone and give this as its weights.",
        )

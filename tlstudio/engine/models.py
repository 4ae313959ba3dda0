"""The models that are on this machine: what they are, where they come from, and how a recipe names them.

A model of the user's own is a folder in ``models`` of the user's folder, beside what is said of it::

    models/NAME/model.json    what it is and where it came from
                model/        its files, without any code
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from tlstudio.api import Backbone, TLStudioError, WeightsError
from tlstudio.api.archives import is_archive, is_model_file, model_in, unpack_model
from tlstudio.api.files import check_plain_file, is_link, read_text
from tlstudio.api.weights import WEIGHT_SUFFIXES
from tlstudio.engine.caches import unknown_in_caches
from tlstudio.engine.licenses import license_of, license_of_wheel
from tlstudio.startup import user_folder
from tlstudio.store.files import reason, remedy, write_json_atomic

if TYPE_CHECKING:
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run_record import RunSummary

Place = Literal["starter", "huggingface", "torch", "yours", "run", "elsewhere"]
Progress = Callable[[int, int], None]
_FACTS, _FILES = "model.json", "model"
_BLOCK = 2**20
_FINISHED = ("done", "stopped")
_UNTOLD = ("unknown", "that of")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model on this machine.

    Attributes:
        id: Unique and lasting: ``"yours:my-resnet"``, ``"run:2026-..."``.
        name: What to call it.
        place: Where it was found.
        path: Its file or folder.
        size: Bytes.
        origin: Where it came from, for people.
        license: Licence; ``""`` where nothing says it.
        family: Architecture, such as ``"resnet18"`` or ``"bert"``; ``""`` where it is not known.
        modality: What it takes; ``""`` where it is not known.
        backbone: Name of the backbone under which a recipe uses it; ``""``: see `start_from` and `why_not`.
        options: Options of that backbone.
        start_from: What a recipe starts from instead, where it is a run or an exported model.
        why_not: Why it cannot be used as it is; ``""``: it can.
        sha256: Hash of its weights, where it is known; see `hash_model`.
    """

    id: str
    name: str
    place: Place
    path: Path
    size: int = 0
    origin: str = ""
    license: str = ""
    family: str = ""
    modality: str = ""
    backbone: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    start_from: str = ""
    why_not: str = ""
    sha256: str = ""


def models_folder() -> Path:
    """Folder of the models that the user has added; it may be missing."""
    return user_folder() / "models"


def list_models(registry: Registry, project: Project | None = None) -> list[ModelEntry]:
    """List the models of this machine: the user's, runs of a project, starter packages and caches.

    Takes seconds, since the libraries that know the names are loaded: to be called off the window's thread.

    Args:
        registry: The components.
        project: Its finished runs are listed, too.
    """
    runs = [_of_run(project, row, registry) for row in project.runs() if row.status in _FINISHED] if project else []
    known = list(_of_backbones(registry))
    return [*_own(), *runs, *known, *_unclaimed([entry.path for entry in known])]


def hash_model(
    entry: ModelEntry, on_progress: Progress = lambda _done, _total: None, cancelled: Callable[[], bool] = lambda: False
) -> str:
    """Compute the SHA-256 of a model's weights: of the file, or of ``HASH  NAME`` lines where there are several.

    Args:
        entry: The model.
        on_progress: Called with bytes done and their number.
        cancelled: Asked after each part of a megabyte.

    Returns:
        The hash in hexadecimal; ``""`` if it was cancelled.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        files = weight_files_of(entry.path)
        total, done = sum(check_plain_file(path) for path in files), 0
        hashes = []
        for path in files:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    if cancelled():
                        return ""
                    digest.update(block)
                    done += len(block)
                    on_progress(done, total)
            hashes.append((digest.hexdigest(), path.name))
    except OSError as error:
        raise WeightsError(f"{entry.path} cannot be read: {reason(error)}.", remedy(error), path=entry.path) from error
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{value}  {name}\n" for value, name in hashes).encode()).hexdigest()


def weight_files_of(path: Path) -> list[Path]:
    """The weight files of a model, sorted; a run's are those of its best checkpoint."""
    if path.is_file():
        return [path]
    best = path / "checkpoints" / "best"
    if best.is_dir():
        base = path / "checkpoints" / "base.safetensors"
        return [*([base] if base.is_file() else []), best / "model.safetensors"]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in WEIGHT_SUFFIXES and file.is_file())


def add_model(
    source: Path,
    registry: Registry,
    *,
    name: str = "",
    backbone: str = "",
    license: str = "",  # noqa: A002  the word for it everywhere else
    on_progress: Progress = lambda _done, _total: None,
) -> ModelEntry:
    """Copy a model into the user's folder of models, as a whole or not at all. Code that lies beside it is left out.

    Args:
        source: A weight file, a model folder, an exported model, a zip file or a wheel.
        registry: The components; they say which backbone it is of.
        name: What to call it; from the source if empty.
        backbone: The backbone that it is of, where that cannot be seen.
        license: Its licence, where it does not say so itself.
        on_progress: Called with bytes done and their number; may end it all by an exception.

    Raises:
        WeightsError: There is no model, a model of that name is there already, or it cannot be copied.
    """
    name = _plain(name or source.name.removesuffix(source.suffix if not source.is_dir() else ""))
    folder = models_folder() / name
    if folder.exists():
        raise WeightsError(f"There is a model {name!r} already.", "Give another name.", path=folder, field="name")
    staging = None
    try:
        models_folder().mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".new-", dir=models_folder()))
        _copy(source, staging / _FILES, on_progress)
        model = model_in(staging / _FILES, source)
        found, options = _recognised(model, registry, backbone)
        here = model.relative_to(staging).as_posix()
        facts = {
            "format": 1,
            "origin": str(source.absolute()),
            "added": datetime.now(UTC).isoformat(timespec="seconds"),
            "path": here,
            "backbone": found.name if found else "",
            "modality": found.modality if found else "",
            "options": {key: here if value == str(model) else value for key, value in options.items()},
            "license": license or license_of(model) or license_of_wheel(source),
        }
        write_json_atomic(staging / _FACTS, facts)
        staging.rename(folder)
    except (OSError, shutil.Error) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise WeightsError(f"{source} cannot be added: {why}.", path=source) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return _read_own(folder)


def remove_model(entry: ModelEntry) -> None:
    """Delete a model that the user has added, for good.

    Raises:
        WeightsError: It is none of those, or cannot be deleted.
    """
    folder = models_folder() / entry.name
    if entry.place != "yours" or folder.parent != models_folder() or not (folder / _FACTS).is_file():
        raise WeightsError(f"{entry.name} is no model that you have added.", "Delete it where it is.", path=entry.path)
    condemned = folder.with_name(f".old-{entry.name}")
    try:
        folder.rename(condemned)  # a crash in the middle leaves a hidden rest, not half a model
    except OSError as error:
        raise WeightsError(f"{folder} cannot be deleted: {reason(error)}.", remedy(error), path=folder) from error
    shutil.rmtree(condemned, ignore_errors=True)


def _plain(name: str) -> str:
    clean = re.sub(r"[^\w.+-]+", "-", name).strip("-. ")[:80]
    if not clean:
        raise WeightsError(f"{name!r} is no name for a model.", "Use letters and digits.", field="name")
    return clean


def _copy(source: Path, target: Path, on_progress: Progress) -> None:
    if is_archive(source):
        unpack_model(source, target, on_progress)
        return
    if source.is_file():
        if source.suffix.lower() not in WEIGHT_SUFFIXES:
            what = f"{source.name} is no weight file ({', '.join(WEIGHT_SUFFIXES)}), zip file or wheel."
            instead = "Choose another file, or a folder."
            if source.suffix.lower() == ".gguf":
                instead = "Turn it into a model folder first: python -m tlstudio_text.gguf FILE FOLDER."
            raise WeightsError(what, instead, path=source)
        pairs = [(source, Path(source.name))]
    else:
        # The folders of Hugging Face's cache hold links to files; a link to a folder could lead in circles.
        found = (file for file in sorted(source.rglob("*")) if file.is_file() and not _through_link(file, source))
        pairs = [(file, file.relative_to(source)) for file in found if _is_of_model(file.relative_to(source))]
    if not any(path.suffix.lower() in WEIGHT_SUFFIXES for _, path in pairs):
        what = f"There is nothing at {source}." if not source.exists() else f"{source} holds no weights."
        raise WeightsError(what, "Choose a model folder or a weight file.", path=source)
    total, done = sum(file.stat().st_size for file, _ in pairs), 0
    for file, name in pairs:
        check_plain_file(file)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as reading, (target / name).open("xb") as writing:
            while block := reading.read(_BLOCK):
                writing.write(block)
                done += len(block)
                on_progress(done, total)


def _through_link(file: Path, source: Path) -> bool:
    parents = file.relative_to(source).parents
    return any(is_link(source / parent) for parent in parents if parent != Path())


def _is_of_model(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and is_model_file(path.name)


def _recognised(path: Path, registry: Registry, name: str) -> tuple[Backbone | None, Mapping[str, Any]]:
    """Find the backbone under which a model can be used."""
    if name:
        backbone = registry.backbone(name)
        return backbone, backbone.recognise(path) or {"weights": str(path)}
    for backbone in registry.backbones.values():
        if (options := backbone.recognise(path)) is not None:
            return backbone, options
    for family in registry.families.values():
        if (found := family.recognise(path)) is not None:
            return registry.backbone(found), {"weights": str(path)}
    return None, {}


def _own() -> Iterator[ModelEntry]:
    folder = models_folder()
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not place.name.startswith(".") and (place / _FACTS).is_file():
            yield _read_own(place)


def _read_own(folder: Path) -> ModelEntry:
    entry = ModelEntry(f"yours:{folder.name}", folder.name, "yours", folder)
    try:
        facts = json.loads(read_text(folder / _FACTS))
        path = folder / str(facts["path"])
        options = {key: str(path) if value == facts["path"] else value for key, value in facts["options"].items()}
        entry = replace(
            entry,
            path=path,
            origin=f"added from {facts['origin']}",
            license=str(facts["license"]),
            modality=str(facts["modality"]),
            backbone=str(facts["backbone"]),
            family=str(facts["backbone"]),
            options=options,
            size=_size(path),
        )
        if is_export(path):
            return replace(entry, start_from=str(path), backbone="", options={})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return replace(entry, why_not=f"{folder / _FACTS} is damaged ({error}): remove it and add it again.")
    unknown = "" if entry.backbone else "It cannot be seen which backbone it is of: add it again and name the backbone."
    return replace(entry, why_not=unknown)


def is_export(path: Path) -> bool:
    """Whether a folder is a model that the studio has exported."""
    return (path / "labels.json").is_file() and (path / "config.json").is_file()


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
            size=found.size or _size(found.path),
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
            size=_size(path),
            origin="Hugging Face's cache" if place == "huggingface" else "torch's cache",
            license=license_of(path),
            why_not="It cannot be seen which backbone it is of: choose a backbone and give this as its weights.",
        )


def _size(path: Path) -> int:
    try:
        if path.is_file():
            return path.stat().st_size
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    except OSError:
        return 0

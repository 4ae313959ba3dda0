"""Knowing the studio's own folders again: projects, runs and exported models, by the files that they hold."""

from __future__ import annotations

from pathlib import Path

from tlstudio.api import DataError

PROJECT_FILES = frozenset(
    {"tlstudio.json", "project.db", "project.db-wal", "project.db-shm", ".lock", ".lock.json"}
    | {".queue.lock", ".queue.log", ".queue.stop"}
)
PROJECT_FOLDERS = frozenset({"datasets", "runs"})
WRITTEN_FOLDERS = PROJECT_FOLDERS | {"cache", "logs"}
"""Folders of a project in which the studio writes and deletes as it needs."""
BACKUPS = ("backup-format-", ".migrating-format-", ".backup-")
"""Beginnings of the names of what is kept of a project before it is brought up to date."""
RUN_FILES = frozenset({"run.json", "recipe.toml"})
EXPORT_FILES = frozenset({"model.safetensors", "config.json", "labels.json", "preprocessing.json"})
"""Other models have some of these, too; together they are an exported model."""
EXPORT_PARTS = EXPORT_FILES | {"assets", "README.md"}
_EXPORT_NAMES = frozenset(name.casefold() for name in EXPORT_PARTS)


def is_project(folder: Path) -> bool:
    """Whether a folder looks like a project."""
    return _has(folder, "tlstudio.json")


def is_export(folder: Path) -> bool:
    """Whether a folder looks like an exported model."""
    return all(_has(folder, name) for name in EXPORT_FILES)


def refuse_as_source(folder: Path) -> None:
    """Say which command is meant where somebody wants to import a folder of the studio's own.

    Raises:
        DataError: It is a project, a run or an exported model, and no data.
    """
    if is_project(folder):
        what = f"{folder} is a project, not data to import."
        remedy = f"Open it with: tlstudio {folder} - or import the folder or table that its data came from."
    elif is_export(folder):
        what = f"{folder} is an exported model, not data to import."
        remedy = f"Use it with: tlstudio predict {folder} SOURCE - or on the Predict page."
    elif all(_has(folder, name) for name in RUN_FILES):
        what = f"{folder} is a run of a project, not data to import."
        project = folder.absolute().parent.parent
        remedy = f"See it with: tlstudio runs {project} {folder.name} - or export its model with: tlstudio export."
    else:
        kept = _kept_in(folder.absolute())
        if kept is None:
            return
        what = f"{folder} is kept by the project {kept}; what lies there is no data to import."
        remedy = "Import the folder or table that it came from."
    raise DataError(what, remedy, path=folder)


def _kept_in(path: Path) -> Path | None:
    """The project whose data sets and runs a path belongs to."""
    projects = (parent for parent in path.parents if is_project(parent))
    return next((one for one in projects if path.relative_to(one).parts[0].casefold() in PROJECT_FOLDERS), None)


def refuse_as_output(path: Path, *, suffix: str = "") -> None:
    """Keep a result from being written over what the studio itself keeps, or what nobody wants to lose for it.

    Args:
        path: A file or folder that is to be written.
        suffix: For a file, the suffix of its kind: one of another kind that is there is not replaced.

    Raises:
        DataError: A project, an exported model or a file of another kind would be harmed.
    """
    real = path.expanduser().resolve()  # through a link, too
    for folder in real.parents:
        name = real.relative_to(folder).parts[0].casefold()  # Windows and macOS do not tell RUNS from runs
        if is_project(folder) and (name in PROJECT_FILES | WRITTEN_FOLDERS or name.startswith(BACKUPS)):
            what = f"{path} belongs to the project {folder}, which would be damaged."
        elif is_export(folder) and name in _EXPORT_NAMES:
            what = f"{path} belongs to the exported model {folder}, which would be damaged."
        else:
            continue
        raise DataError(what, "Choose another place.", path=path, field="output")
    if suffix and real.exists() and not real.is_file():
        what = f"{path} is a folder or a device, not a file."
        raise DataError(what, f"Give the name of a {suffix} file.", path=path, field="output")
    if suffix and real.exists() and real.suffix.lower() != suffix:
        what = f"{path} exists already and is no {suffix} file; it would be lost."
        raise DataError(what, f"Give a name that ends in {suffix}, or remove that file.", path=path, field="output")


def _has(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except OSError:
        return False  # may not be looked into: then nothing can be written there either

"""Which data a run was made with: written down when it begins, so that nobody takes other data for them later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlstudio.api import DataError, RunError
from tlstudio.data.revision import Revision
from tlstudio.engine.recipe import parse_recipe
from tlstudio.engine.used_plugins import ENVIRONMENT_NAME
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def recorded_data(run: Run) -> Mapping[str, str]:
    """Hashes of the samples that a run has begun with, by `Revision.reference`.

    Empty where it has not begun, or that cannot be told: its record is damaged, or it began before they were kept.
    """
    try:
        values: Any = run.read_json(ENVIRONMENT_NAME)
    except RunError:
        return {}
    data = values.get("data") if isinstance(values, dict) else None
    return {str(name): str(value) for name, value in data.items()} if isinstance(data, dict) else {}


def check_unchanged(revision: Revision, recorded: Mapping[str, str]) -> None:
    """Make sure that a revision is one that a run has begun with.

    A data set that was deleted and imported again under its name can hold anything.

    Args:
        revision: The revision.
        recorded: See `recorded_data`; empty: anything may be.

    Raises:
        DataError: It holds something else, or the run has not begun with a revision of this name.
    """
    if recorded and recorded.get(revision.reference) != revision.sha256:
        there, number = revision.folder.parent.name, revision.folder.name
        what = f"The data set '{there}' ({number}) does not hold what it held when the run began."
        if revision.reference not in recorded:
            what = f"The run did not begin with revision {number} of the data set '{there}'."
        remedy = f"Put back what was in datasets/{there} of the project's folder, or train anew."
        raise DataError(what, remedy, path=revision.folder)


def revision_of(run: Run, project: Project) -> Revision:
    """Open the data set of a run, undivided.

    Raises:
        DataError: It is gone or damaged, or another one has its name now.
        RunError: The recipe of the run is damaged.
    """
    data = parse_recipe(run.read_recipe()).dataset
    revision = project.dataset(data.name, data.revision)
    check_unchanged(revision, recorded_data(run))
    return revision

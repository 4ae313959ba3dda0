"""Which data a run was made with: written down when it begins, so that nobody takes other data for them later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlstudio.api import DataError, RunError
from tlstudio.data.revision import Revision
from tlstudio.engine.used_plugins import ENVIRONMENT_NAME
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def recorded_data(run: Run) -> Mapping[str, str]:
    """Hashes of the samples that a run has begun with, by `Revision.reference`; empty where it has not begun."""
    try:
        values: Any = run.read_json(ENVIRONMENT_NAME)
    except RunError:
        return {}
    data = values.get("data") if isinstance(values, dict) else None
    return {str(name): str(value) for name, value in data.items()} if isinstance(data, dict) else {}


def check_unchanged(revision: Revision, recorded: Mapping[str, str]) -> None:
    """Make sure that a revision is the one of this name that a run has begun with, if it says so.

    A data set that was deleted and imported again under its name can hold anything.

    Raises:
        DataError: It holds something else.
    """
    if recorded.get(revision.reference, revision.sha256) != revision.sha256:
        raise DataError(
            f"The data set '{revision.dataset}' ({revision.id}) does not hold what it held when the run began.",
            f"Put back what was in datasets/{revision.dataset}/{revision.id} of the project's folder, or train anew.",
            path=revision.folder,
        )


def revision_of(run: Run, project: Project) -> Revision:
    """Open the data set of a run, undivided.

    Raises:
        DataError: It is gone or damaged, or another one has its name now.
    """
    summary = run.summary()
    revision = project.dataset(summary.dataset, summary.revision)
    check_unchanged(revision, recorded_data(run))
    return revision

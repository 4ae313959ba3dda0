"""Which columns the data of a run were read from, so that a table like them is read like them."""

from __future__ import annotations

import re

from tlstudio.api import DataError, RunError
from tlstudio.data.names import valid_name
from tlstudio.data.revision_facts import read_facts
from tlstudio.store.format import DATASETS_NAME
from tlstudio.store.run import Run

__all__ = ["chosen_columns", "columns_of"]


def columns_of(run: Run) -> dict[str, str]:
    """Return columns by the option that names them, ``text_column`` say; none where the data set is not there."""
    try:
        data = run.read_recipe()["dataset"]
        name, revision = valid_name(str(data["name"])), str(data["revision"])
        if not re.fullmatch(r"r[1-9][0-9]*", revision):
            return {}
        facts = read_facts(run.folder.parents[1] / DATASETS_NAME / name / revision)
        return chosen_columns(facts["format_options"])
    except (RunError, DataError, LookupError, TypeError):
        return {}


def chosen_columns(options: object) -> dict[str, str]:
    """Pick the columns out of the options of a format; somebody may have sent them."""
    if not isinstance(options, dict):
        return {}
    return {
        str(name): column
        for name, column in options.items()
        if str(name).endswith("_column") and isinstance(column, str) and column
    }

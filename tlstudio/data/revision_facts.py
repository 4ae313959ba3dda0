"""The facts of a revision, and whether its table is the one that they tell of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tlstudio.api import DataError
from tlstudio.api.files import check_plain_file, read_text

FORMAT = 2
"""Version of the layout of a revision's folder that this version writes and reads."""

FACTS_FILE = "revision.json"


def verify_table(table: Path, sha256: str) -> None:
    """Make sure that a table of samples is the one that was imported.

    Raises:
        DataError: It is not, or it cannot be read.
    """
    try:
        check_plain_file(table)
        with table.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"The table of samples {table} cannot be read: {error.strerror}.",
            "Restore it from a backup, or import the data again.",
            path=table,
        ) from error
    if digest != sha256:
        raise DataError(
            f"The table of samples {table} is not the one that was imported: it is damaged or was changed.",
            "Restore it from a backup, or import the data again as a new revision.",
            path=table,
        )


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the facts of a revision.

    Raises:
        DataError: They are missing, damaged, or were written by a newer version.
    """
    path = folder / FACTS_FILE
    try:
        facts = json.loads(read_text(path))
    except FileNotFoundError:
        raise DataError(
            f"{folder} is not a revision of a data set: it has no {FACTS_FILE}.",
            "Choose another revision, or import the data again.",
            path=folder,
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check its access rights.", path=path) from error
    except (ValueError, RecursionError) as error:
        raise damaged_facts(folder, str(error)) from error
    if not isinstance(facts, dict) or type(facts.get("format")) is not int or facts["format"] < 1:
        raise damaged_facts(folder, "it does not say its format")
    if facts["format"] > FORMAT:
        maker = facts.get("app_version", "")
        raise DataError(
            f"The revision {folder} was made by a newer version of TL Studio{f' ({maker})' if maker else ''}: "
            f"its format is {facts['format']}, and this version reads up to {FORMAT}.",
            "Open it with that version or a newer one.",
            path=folder,
        )
    if not isinstance(facts.get("sha256"), str):
        raise damaged_facts(folder, "it has no hash")
    return facts


def damaged_facts(folder: Path, why: str) -> DataError:
    """Say that the facts of a revision cannot be used."""
    return DataError(
        f"The file {folder / FACTS_FILE} is damaged: {why}.",
        "Restore it from a backup, or import the data again.",
        path=folder / FACTS_FILE,
    )

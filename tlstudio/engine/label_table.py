"""The table that goes to the person who labels and comes back: what to label next, and the labels given."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlstudio.api import DataError, Label, Rejected, RunError, Sample, label_text
from tlstudio.api.files import read_text
from tlstudio.api.wording import did_you_mean
from tlstudio.data.labelling import GivenLabel
from tlstudio.data.names import plain_text
from tlstudio.data.own_folders import refuse_as_output
from tlstudio.data.revision import Revision
from tlstudio.engine.active import Candidate, Pool, open_pool
from tlstudio.engine.spreadsheet import harmless, original
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

__all__ = ["COLUMNS", "LabelTable", "read_labels", "write_candidates"]

COLUMNS = ("id", "pool", "source", "text", "predicted", "confidence", "why", "label")
"""Columns of the table; the last is for the person. Only id and label are needed to read it, and pool for new items."""

_DELIMITERS = ",;\t"  # by the settings of the country, spreadsheets save with any of them
_SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class LabelTable:
    """What a table says.

    Attributes:
        given: The labels.
        empty: Number of rows that have no label yet.
        rejected: Rows that cannot be used.
    """

    given: tuple[GivenLabel, ...]
    empty: int
    rejected: tuple[Rejected, ...]


def write_candidates(path: Path, candidates: Sequence[Candidate]) -> None:
    """Write what to label next as a CSV file (UTF-8 with BOM) whose column ``label`` is to be filled in.

    Raises:
        DataError: The file is one of the studio's own.
        RunError: It cannot be written.
    """
    refuse_as_output(path, suffix=".csv")
    staging = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with staging.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for one in candidates:
                sample = one.sample
                confidence = "" if one.confidence is None else f"{one.confidence:.4f}"
                source = str(sample.image or sample.audio or sample.source)
                told = _joined(one.predicted)
                cells = [one.id, one.pool, source, sample.text or "", told, confidence, one.why, ""]
                writer.writerow([harmless(plain_text(cell)) for cell in cells])
        staging.replace(path)
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror or error}."
        raise RunError(what, "Choose another place.", path=path) from error
    finally:
        staging.unlink(missing_ok=True)


def read_labels(path: Path, revision: Revision, project: Project, registry: Registry, pool: str = "") -> LabelTable:
    """Read labels from a CSV file with the columns ``id`` and ``label``.

    A row whose column ``pool`` names a data set or a path is of an item there; one without is of an item of the data
    set itself. Several labels are separated by semicolons.

    Args:
        path: The file, as `write_candidates` has written it, or any other with these columns.
        revision: The data set that is labelled.
        project: Its project.
        registry: The formats, for pools that are paths.
        pool: Where items are whose row names no pool.

    Raises:
        DataError: The file cannot be read, lacks a column, or says nothing of any item that is there.
    """
    given: list[GivenLabel] = []
    rejected: list[Rejected] = []
    pools: dict[str, dict[str, Sample]] = {}
    empty = 0
    for number, row in enumerate(_rows(path), start=2):
        item, label, where = row["id"], row["label"].strip(), row.get("pool", "").strip() or pool
        if not label:
            empty += 1
            continue
        if not where or where.partition("@")[0] == revision.dataset:
            given.append(GivenLabel(item, _label(label, revision)))
            continue
        if where not in pools:
            pools[where] = _by_id(open_pool(project, registry, where, revision))
        if item not in pools[where]:
            rejected.append(Rejected(f"{path.name}, row {number}", f"{where} has no item {item!r}.", "Correct the id."))
            continue
        given.append(GivenLabel(item, _label(label, revision), pools[where][item]))
    if rejected and not given:
        raise DataError(
            f"No label was given: {rejected[0].source}: {rejected[0].reason}", rejected[0].remedy, path=path
        )
    return LabelTable(tuple(given), empty, tuple(rejected))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Check the path.", path=path) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Save it as CSV in UTF-8.", path=path) from error
    text = text.removeprefix("\ufeff")
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        rows = [
            {key: original(cell or "") for key, cell in row.items() if key is not None}
            for row in csv.DictReader(io.StringIO(text), delimiter=delimiter, restval="")
        ]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.", "Save it as CSV in UTF-8.", path=path) from error
    columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    for needed in ("id", "label"):
        if needed not in columns:
            raise DataError(
                f"{path} has no column '{needed}'.",
                f"{did_you_mean(needed, columns, 'Columns')} tlstudio label-next writes such a file.",
                path=path,
            )
    return [{name.strip(): cell for name, cell in row.items()} for row in rows]


def _by_id(pool: Pool) -> dict[str, Sample]:
    return {one.id: one for one in pool.samples if isinstance(one, Sample)}


def _label(text: str, revision: Revision) -> Label:
    """Read a label of the data set's kind; what is no number is rejected where labels are checked."""
    if revision.label_kind == "names":
        return tuple(part.strip() for part in text.split(_SEPARATOR) if part.strip())
    return text


def _joined(label: Label) -> str:
    """Write a label so that it is read back as the same."""
    if isinstance(label, tuple):
        return _SEPARATOR.join(str(part) for part in label)
    return repr(label) if isinstance(label, float) else label_text(label)

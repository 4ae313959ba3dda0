"""What ``run.json`` and the note say of a run: writing the first, reading both, and the row that a table shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlstudio.api.files import is_link, read_text
from tlstudio.store.files import reason, write_atomic, write_json_atomic
from tlstudio.store.process import ProcessMark

RUN_FORMAT = 1
RUN_NAME = "run.json"
NOTE_NAME = "note.json"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as a row of a table.

    Attributes:
        id: Its id, which is also the name of its folder.
        created: When its folder was made, as ISO 8601 in UTC.
        status: ``"queued"`` (it waits for its turn), ``"running"``, ``"done"``, ``"stopped"``, ``"cancelled"``,
            ``"failed"``, ``"interrupted"`` (its process ended without a word) or ``"damaged"`` (its folder cannot be
            read; see `error`).
        dataset: Name of its data set.
        revision: Revision of that data set.
        backbone: Name of its backbone.
        head: Name of its task head.
        strategy: Name of its strategy.
        metrics: Metrics by split and name; empty if it was not evaluated.
        best_epoch: The epoch that was kept, from 1; 0 if there is none.
        seconds: How long it trained.
        error: The sentence that says why it failed; may be empty.
        note: The user's note.
        tags: The user's tags.
        start_from: The run or exported model that it took its backbone from; empty: none.
        made_by: What has made it of other runs, such as ``"soup"``; empty: it was trained.
        methods: Names of its methods.
        shots: It has learned from so many samples of each class; 0: all.
        monitor: The metric that chooses its best epoch; empty: it has not begun, or was made before this was kept.
    """

    id: str
    created: str
    status: str
    dataset: str = ""
    revision: str = ""
    backbone: str = ""
    head: str = ""
    strategy: str = ""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0
    error: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    start_from: str = ""
    made_by: str = ""
    methods: tuple[str, ...] = ()
    shots: int = 0
    monitor: str = ""


def write_new_run(folder: Path, recipe_toml: str, values: Mapping[str, Any], created: str, status: str) -> None:
    """Fill the folder of a run that is about to start in this process, or that waits for its turn.

    Args:
        folder: Its folder, empty.
        recipe_toml: The recipe.
        values: ``dataset``, ``revision``, ``backbone``, ``head``, ``strategy`` and ``start_from``; ``made_by`` where
            it is not trained; ``methods`` and ``shots`` where there are any.
        created: ISO 8601 in UTC.
        status: ``"running"`` or ``"queued"``.
    """
    from tlstudio import __version__

    (folder / "checkpoints").mkdir()
    (folder / "assets").mkdir()
    write_atomic(folder / "recipe.toml", recipe_toml)
    record = {"format": RUN_FORMAT, "app_version": __version__, "created": created, "status": status, **values}
    # That it was queued stays in the record: if its process ends before it has begun, it waits again.
    how = {"queued": True} if status == "queued" else {"process": ProcessMark.here().to_json()}
    write_json_atomic(folder / RUN_NAME, record | how)


def is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run, be it a damaged one; a link to one elsewhere is none of the project's."""
    if folder.name.startswith(".") or is_link(folder):
        return False
    return (folder / RUN_NAME).exists() or (folder / "recipe.toml").exists()


def stamp_of(folder: Path) -> str:
    """A text that changes whenever what `read_record` reads has changed."""
    parts = []
    for name in (RUN_NAME, NOTE_NAME):
        try:
            stat = os.stat(folder / name)  # noqa: PTH116  called for every run at each look at the table
            parts.append(f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}")
        except OSError:
            parts.append("none")
    return " ".join(parts)


def read_record(folder: Path) -> dict[str, Any]:
    """Read what the index keeps of a run: ``run.json`` and the note, or a record that says what is damaged."""
    try:
        record: dict[str, Any] = json.loads(read_text(folder / RUN_NAME))
        if not isinstance(record, dict):
            raise TypeError("it is no object")
        if (version := int(record.get("format", 0))) > RUN_FORMAT:
            raise ValueError(
                f"it was made by TL Studio {record.get('app_version')} (run format {version}); "
                f"this version reads up to format {RUN_FORMAT}"
            )
        summary_of(folder.name, record)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        day = re.match(r"\d{4}-\d{2}-\d{2}", folder.name)
        record = {
            "created": f"{day[0]}T00:00:00+00:00" if day else "",
            "status": "damaged",
            "error": f"{folder / RUN_NAME} cannot be read: {why}.",
        }
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        note = json.loads(read_text(folder / NOTE_NAME))
        record |= {"note": str(note["note"]), "tags": [str(tag) for tag in note["tags"]]}
    return record


def summary_of(run_id: str, record: Mapping[str, Any], *, writable: bool = False) -> RunSummary:
    """Make the row of the table from a record.

    Args:
        run_id: Id of the run.
        record: What `read_record` gave.
        writable: Whether the caller holds the project's write lock. A run of another machine that says it is running
            then cannot be: it would hold the lock.
    """
    status = str(record.get("status", "damaged"))
    if status == "running":
        mark = ProcessMark.from_json(record.get("process"))
        gone = True if mark is None else mark.is_gone()
        if gone or (gone is None and writable):
            status = "queued" if record.get("queued") and not record.get("begun") else "interrupted"
    metrics = {
        str(split): {str(name): float(value) for name, value in values.items()}
        for split, values in dict(record.get("metrics") or {}).items()
    }
    return RunSummary(
        id=run_id,
        created=str(record.get("created", "")),
        status=status,
        dataset=str(record.get("dataset", "")),
        revision=str(record.get("revision", "")),
        backbone=str(record.get("backbone", "")),
        head=str(record.get("head", "")),
        strategy=str(record.get("strategy", "")),
        metrics=metrics,
        best_epoch=int(record.get("best_epoch", 0)),
        seconds=float(record.get("seconds", 0.0)),
        error=str(record.get("error", "")),
        note=str(record.get("note", "")),
        tags=tuple(record.get("tags", ())),
        start_from=str(record.get("start_from", "")),
        made_by=str(record.get("made_by", "")),
        methods=tuple(str(name) for name in record.get("methods", ())),
        shots=int(record.get("shots", 0)),
        monitor=str(record.get("monitor", "")),
    )

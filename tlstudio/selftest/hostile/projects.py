"""Project folders that somebody sent: links, databases and half-done updates that lead the studio elsewhere."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from tlstudio.selftest.hostile.files import HostileFile, Outcome, Site
from tlstudio.selftest.hostile.names import link, pipe, replaced

Write = Callable[[Path, Site], None]
_ODD_RUN = "runs/odd/recipe.toml"
_VIEW = """
DROP TABLE run;
CREATE VIEW run AS WITH RECURSIVE day(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM day)
    SELECT number AS id, '' AS created, '{}' AS record, 'x' AS stamp FROM day WHERE number < 0;
"""
_TRIGGER = """
UPDATE run SET stamp = 'x';
CREATE TRIGGER grow BEFORE INSERT ON run BEGIN
    INSERT INTO followed WITH RECURSIVE day(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM day)
        SELECT number, number, number FROM day;
END;
"""


def files() -> Iterator[HostileFile]:
    """All of them."""
    for name, danger, path, write, outcome in (*_updates(), *_links(), *_indexes(), *_pipes()):
        named = path.split("/")[0] if outcome == "refused" and path != ".lock" else "project"
        yield HostileFile(f"project: {name}", danger, "project folder", path, write, outcome, named)


def _updates() -> Iterator[tuple[str, str, str, Write, Outcome]]:
    """An update that seems to have been interrupted: what it changed is to be put back."""
    removes, replaces = "It has files of others removed.", "It has files of others replaced."
    path = ".migrating-format-1/backup.json"
    for name, wanted in (("above", "../outside"), ("by its path", "{outside}"), ("of the data", "datasets")):
        yield f"an update that removes a folder {name}", removes, path, _backup([wanted], []), "refused"
    yield "an update that replaces a file through a link", replaces, path, _backup([], ["way/secret.txt"]), "refused"
    yield "an update that names numbers", "They are no names.", path, _backup([1], []), "refused"
    unknown = path.replace("1", "9")
    yield "an update of another version", removes, unknown, _backup(["project.db"], []), "refused"


def _backup(missing: list[object], kept: list[object]) -> Write:
    def write(path: Path, site: Site) -> None:
        (path.parent / "way").mkdir(parents=True)
        (path.parent / "way" / "secret.txt").write_text("replaced", encoding="utf-8")
        (site.source / "way").symlink_to(site.outside.parent)
        place = str(site.outside.parent)
        names = [name.replace("{outside}", place) if isinstance(name, str) else name for name in missing]
        # Format 1, as if the update had not come to its end.
        facts = site.source / "tlstudio.json"
        facts.write_text(json.dumps({**json.loads(facts.read_text(encoding="utf-8")), "format": 1}), encoding="utf-8")
        path.write_text(json.dumps({"missing": names, "kept": kept}), encoding="utf-8")

    return write


def _links() -> Iterator[tuple[str, str, str, Write, Outcome]]:
    swept, written = "What it leads to would be swept as the project's.", "What it leads to would be written."
    for path in ("datasets", "runs"):
        yield f"{path} as a link", swept, path, _swept(path), "refused"
    for path in ("datasets/x", "runs/x", "runs/.new-x", "datasets/.importing-x"):
        yield f"{path} as a link", swept, path, _swept(path), "used"
    for path in ("project.db", "project.db-wal", "project.db-shm", "project.db-journal", "project.db of a program"):
        write = _of_a_program if path.endswith("program") else replaced(link("{outside}"))
        yield f"{path} as a link", written, path.split(" ")[0], write, "used"
    yield ".lock as a link", written, ".lock", replaced(link("{outside}")), "refused"
    yield ".lock.json as a link", written, ".lock.json", replaced(link("{outside}")), "used"


def _swept(path: str) -> Write:
    """A link to a folder with what the studio would sweep in one of its own."""

    def write(_path: Path, site: Site) -> None:
        others = site.outside.parent
        (others / ".new-house-plans").mkdir()
        (others / ".new-house-plans" / "plan.txt").write_text("somebody else's", encoding="utf-8")
        for name in (".letter.tmp", "run.json"):
            (others / name).write_text("{}", encoding="utf-8")
            os.utime(others / name, (0, 0))
        replaced(link(str(others)))(site.source / path, site)

    return write


def _of_a_program(path: Path, site: Site) -> None:
    """A link to the database of another program."""
    database = site.outside.with_name("places.sqlite")
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE run (kilometres); PRAGMA user_version = 1;")
    replaced(link(str(database)))(path, site)


def _indexes() -> Iterator[tuple[str, str, str, Write, Outcome]]:
    endless = "Asking it would never end."
    yield "an index that is a view without end", endless, "project.db", _changed(_VIEW), "used"
    yield "an index with a trigger without end", endless, "project.db", _changed(_TRIGGER), "used"
    rows: dict[str, str | bytes] = {
        "that is no JSON": "#",
        "of deep nesting": "[" * 10**5,
        "that is a list": "[]",
        "of bytes": b"\xff\x00\xfe",
        "of a number that is none": '{"best_epoch": "evil"}',
        "of a number without end": '{"best_epoch": 1e999}',
    }
    for name, record in rows.items():
        yield f"an index with a row {name}", "Its reader expects something else.", _ODD_RUN, _row(record), "refused"
    danger = "A database that finds it has the file deleted that it names."
    yield "a journal that names another file", danger, "project.db-journal", _journal, "used"


def _row(record: str | bytes) -> Write:
    """A row that the index takes for what a run folder says: nothing in the folder could be newer."""

    def write(path: Path, site: Site) -> None:
        path.parent.mkdir()
        path.write_text("", encoding="utf-8")
        with closing(sqlite3.connect(site.source / "project.db")) as connection, connection:
            connection.execute("INSERT INTO run VALUES (?, '', ?, 'none none')", (path.parent.name, record))

    return write


def _changed(script: str) -> Write:
    def write(path: Path, _site: Site) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)

    return write


def _journal(path: Path, site: Site) -> None:
    magic, name = bytes.fromhex("d9d505f920a163d7"), os.fsencode(site.outside)
    head = magic + struct.pack(">5I", 0, 0, path.with_name("project.db").stat().st_size // 4096, 512, 4096)
    tail = struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    path.write_bytes(head.ljust(512, b"\0") + tail)


def _pipes() -> Iterator[tuple[str, str, str, Write, Outcome]]:
    waits = "Whoever opens it waits for ever."
    yield "pipe as project.db", waits, "project.db", replaced(pipe), "used"
    yield "pipe as samples.parquet", waits, "datasets/images/r1/samples.parquet", replaced(pipe), "refused"
    yield "pipe as .lock.json", waits, ".lock.json", replaced(pipe), "used"

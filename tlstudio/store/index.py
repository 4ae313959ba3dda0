"""``project.db``: what the run folders say, in one file that answers at once. Losing it costs nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from tlstudio.store.metrics import MetricRow, read_metric_rows
from tlstudio.store.run import EVENTS_NAME
from tlstudio.store.run_record import RunSummary, is_run_folder, read_record, stamp_of, summary_of

T = TypeVar("T")
INDEX_NAME = "project.db"
_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    record TEXT NOT NULL,   -- JSON: all that the run folder says
    stamp TEXT NOT NULL     -- of the files that the record was read from
);
CREATE INDEX run_created ON run (created DESC, id DESC);
CREATE TABLE metric (
    run TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    record TEXT NOT NULL,   -- JSON: what was measured when the epoch ended
    PRIMARY KEY (run, epoch)
) WITHOUT ROWID;
CREATE TABLE followed (
    run TEXT PRIMARY KEY,
    stamp TEXT NOT NULL,    -- of run.json: it changes whenever events are taken back
    size INTEGER NOT NULL   -- so many bytes of the events are in the table above
) WITHOUT ROWID;
"""
_SUFFIXES = ("", "-wal", "-shm", "-journal")
_REFUSED = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
)
"""What SQLite says where the file is whole and the disk is not as it should be."""
_GARBLED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What reading a row raises where SQLite has found the file whole, but what it holds is not what was written."""


class RunIndex:
    """An index of run folders that is brought up to date each time it is asked.

    A missing file is made, a damaged or older one is made anew, a row whose folder has changed is read again, and one
    whose folder is gone is dropped. Safe to use from several threads.

    Args:
        path: The database file, or `None` to keep the index in memory (a project that may only be read).
        runs_folder: Where the run folders are.
    """

    def __init__(self, path: Path | None, runs_folder: Path) -> None:
        self._path = path
        self._runs_folder = runs_folder
        self._lock = threading.RLock()
        self.notes: list[str] = []
        self._spare: RunIndex | None = None
        self._connection = self._open()

    def summaries(self, *, writable: bool) -> list[RunSummary]:
        """All runs, newest first, exactly as their folders are now.

        Args:
            writable: Whether the caller holds the project's write lock, see `summary_of`.
        """
        return self._ask(lambda index: index._select(writable))

    def metric_rows(self, run: str = "") -> list[MetricRow]:
        """What was measured at the end of each epoch of a run, or of all runs; by run and epoch.

        What runs have said since the last look is added in one transaction, however much it is; events that were read
        once are not read again.
        """
        return self._ask(lambda index: index._select_metrics(run))

    def rebuild(self) -> None:
        """Throw everything away and read all run folders again."""
        with self._lock:
            self._connection = self._start_anew(self._connection, "")
            self._refresh()
            self._follow()

    def _ask(self, select: Callable[[RunIndex], T]) -> T:
        """Bring the index up to date and ask it.

        A damaged one is made anew first. While the disk refuses to write it, one in memory answers: the next question
        is put to the file again.
        """
        with self._lock:
            try:
                self._refresh()
                return select(self)
            except sqlite3.ProgrammingError:
                raise  # it is closed: nothing is damaged
            except (sqlite3.DatabaseError, *_GARBLED) as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSED:
                    self._spare = self._spare or RunIndex(None, self._runs_folder)
                    return self._spare._ask(select)
                self._connection = self._start_anew(self._connection, f"was damaged ({error})")
                self._refresh()
                return select(self)

    def close(self) -> None:
        """Close the database; harmless if it is closed."""
        with self._lock:
            self._connection.close()
            if self._spare is not None:
                self._spare.close()

    def _open(self) -> sqlite3.Connection:
        if self._path is not None and not self._path.exists() and self._has_runs():
            self.notes.append(f"The index {self._path.name} was missing and was made from the run folders.")
        connection = None
        try:
            connection = self._connect()
            if connection.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA_VERSION:
                return self._start_anew(connection, "")
            if _tables_of(connection) != _own_tables():  # a view or trigger among them could compute without end
                return self._start_anew(connection, "was damaged (its tables are others)")
            fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            return connection if fault == "ok" else self._start_anew(connection, f"was damaged ({fault})")
        except sqlite3.DatabaseError as error:
            return self._start_anew(connection, f"was damaged ({error})")

    def _start_anew(self, connection: sqlite3.Connection | None, why: str) -> sqlite3.Connection:
        """Replace the file by a new one, or go on in memory where even that fails (disk full, file held open)."""
        if connection is not None:
            connection.close()
        if why and self._path is not None:
            self.notes.append(f"The index {self._path.name} {why} and was made anew from the run folders.")
        try:
            if self._path is not None:
                for suffix in _SUFFIXES:
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._connect()
        except (OSError, sqlite3.Error) as error:
            self.notes.append(f"The index is kept in memory: {INDEX_NAME} cannot be written ({error}).")
            self._path = None
            return self._connect()

    def _has_runs(self) -> bool:
        with suppress(OSError):
            return any(is_run_folder(folder) for folder in self._runs_folder.iterdir())
        return False

    def _connect(self) -> sqlite3.Connection:
        self._check_files()
        # One connection for all threads, each use under the lock; autocommit, transactions are explicit.
        connection = sqlite3.connect(
            ":memory:" if self._path is None else self._path, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if not _tables_of(connection):
                with _transaction(connection):
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _check_files(self) -> None:
        """Keep SQLite from what it would follow or wait for, and from a journal, which can have any file deleted.

        Raises:
            sqlite3.DatabaseError: They are not the plain files that an index has; it never has a journal besides the
                write-ahead log.
        """
        if self._path is None:
            return
        for suffix in _SUFFIXES:
            path = self._path.with_name(self._path.name + suffix)
            with suppress(OSError):  # SQLite says so itself
                if not stat.S_ISREG(path.lstat().st_mode) or suffix == "-journal":
                    raise sqlite3.DatabaseError(f"{path.name} is not of its own making")

    def _select(self, writable: bool) -> list[RunSummary]:
        with closing(self._connection.execute("SELECT id, record FROM run ORDER BY created DESC, id DESC")) as rows:
            return [summary_of(run_id, json.loads(record), writable=writable) for run_id, record in rows]

    def _select_metrics(self, run: str) -> list[MetricRow]:
        self._follow([run] if run else None)
        query = "SELECT run, record FROM metric WHERE ? IN ('', run) ORDER BY run, epoch"
        with closing(self._connection.execute(query, (run,))) as rows:
            return [MetricRow.from_json(run_id, json.loads(record)) for run_id, record in rows]

    def _refresh(self) -> None:
        with closing(self._connection.execute("SELECT id, stamp FROM run")) as rows:
            known: dict[str, str] = dict(rows)
        changed, seen = [], set()
        try:
            entries = list(os.scandir(self._runs_folder))
        except OSError:
            if not self._runs_folder.parent.exists():
                return  # the disk was pulled out: what was known is told until it is back
            entries = []
        for entry in entries:
            folder = Path(entry.path)
            stamp = stamp_of(folder)
            if known.get(entry.name) != stamp:
                if not (entry.is_dir() and is_run_folder(folder) and entry.name == _storable(entry.name)):
                    continue
                record = read_record(folder)
                created = _storable(str(record.get("created", "")))
                changed.append((entry.name, created, json.dumps(record), stamp))
            seen.add(entry.name)
        gone = [(run_id,) for run_id in known.keys() - seen]
        if changed or gone:
            with _transaction(self._connection):
                self._connection.executemany("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?)", changed)
                self._connection.executemany("DELETE FROM run WHERE id = ?", gone)
                self._connection.executemany("DELETE FROM metric WHERE run = ?", gone)
                self._connection.executemany("DELETE FROM followed WHERE run = ?", gone)

    def _follow(self, runs: list[str] | None = None) -> None:
        """Add the metric rows that runs have said since the last look."""
        if not self._runs_folder.parent.exists():
            return
        with closing(self._connection.execute("SELECT id, stamp FROM run")) as rows:
            stamps: dict[str, str] = {run: stamp.split(" ", 1)[0] for run, stamp in rows}
        with closing(self._connection.execute("SELECT run, stamp, size FROM followed")) as rows:
            known: dict[str, tuple[str, int]] = {run: (stamp, size) for run, stamp, size in rows}
        added: list[tuple[str, int, str]] = []
        begun_anew, followed = [], []
        for run in stamps.keys() if runs is None else stamps.keys() & runs:
            events = self._runs_folder / run / EVENTS_NAME
            stamp, start = known.get(run, ("", 0))
            try:
                size = events.stat().st_size if events.exists() else 0
                anew = stamp != stamps[run] or not 0 <= start <= size
                found, end = read_metric_rows(events, run, 0 if anew else start)
            except OSError:
                continue  # a disk that cannot be read just now: what is known stays
            if anew:
                begun_anew.append((run,))
            elif end == start:
                continue
            added += ((run, row.epoch, json.dumps(row.to_json())) for row in found)
            followed.append((run, stamps[run], end))
        if followed:
            with _transaction(self._connection):
                self._connection.executemany("DELETE FROM metric WHERE run = ?", begun_anew)
                self._connection.executemany("INSERT OR REPLACE INTO metric VALUES (?, ?, ?)", added)
                self._connection.executemany("INSERT OR REPLACE INTO followed VALUES (?, ?, ?)", followed)


def _tables_of(connection: sqlite3.Connection) -> list[tuple[str, str, str, str | None]]:
    """All that a database defines: tables and indexes, and views and triggers where somebody made them."""
    with closing(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")) as rows:
        return rows.fetchall()


@cache
def _own_tables() -> list[tuple[str, str, str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _tables_of(connection)


def _storable(text: str) -> str:
    """A text without the halves of characters that JSON and names of files can hold and a database cannot."""
    return text.encode(errors="replace").decode()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise

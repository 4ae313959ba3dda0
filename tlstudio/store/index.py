"""``project.db``: what the run folders say, in one file that answers at once. Losing it costs nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from tlstudio.store.run import is_run_folder, read_record, stamp_of

INDEX_NAME = "project.db"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    record TEXT NOT NULL,   -- JSON: all that the run folder says
    stamp TEXT NOT NULL     -- of the files that the record was read from
);
CREATE INDEX run_created ON run (created DESC, id DESC);
"""


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
        self._connection = self._open()

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """Ids and records of all runs, newest first, exactly as their folders are now."""
        with self._lock:
            try:
                self._refresh()
                return self._select()
            except sqlite3.DatabaseError as error:
                self._connection = self._start_anew(self._connection, f"was damaged ({error})")
                self._refresh()
                return self._select()

    def rebuild(self) -> None:
        """Throw everything away and read all run folders again."""
        with self._lock:
            self._connection = self._start_anew(self._connection, "")
            self._refresh()

    def close(self) -> None:
        """Close the database; harmless if it is closed."""
        with self._lock:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._path is not None and not self._path.exists() and self._has_runs():
            self.notes.append(f"The index {self._path.name} was missing and was made from the run folders.")
        connection = None
        try:
            connection = self._connect()
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
                for suffix in ("", "-wal", "-shm"):
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
        # One connection for all threads, each use under the lock; autocommit, transactions are explicit.
        connection = sqlite3.connect(
            ":memory:" if self._path is None else self._path, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA_VERSION:
                with _transaction(connection):
                    connection.execute("DROP TABLE IF EXISTS run")
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _select(self) -> list[tuple[str, dict[str, Any]]]:
        with closing(self._connection.execute("SELECT id, record FROM run ORDER BY created DESC, id DESC")) as rows:
            return [(run_id, json.loads(record)) for run_id, record in rows]

    def _refresh(self) -> None:
        with closing(self._connection.execute("SELECT id, stamp FROM run")) as rows:
            known: dict[str, str] = dict(rows)
        changed, seen = [], set()
        with suppress(FileNotFoundError), os.scandir(self._runs_folder) as entries:
            for entry in entries:
                folder = Path(entry.path)
                stamp = stamp_of(folder)
                if known.get(entry.name) != stamp:
                    if not (entry.is_dir() and is_run_folder(folder)):
                        continue
                    record = read_record(folder)
                    changed.append((entry.name, str(record.get("created", "")), json.dumps(record), stamp))
                seen.add(entry.name)
        gone = [(run_id,) for run_id in known.keys() - seen]
        if changed or gone:
            with _transaction(self._connection):
                self._connection.executemany("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?)", changed)
                self._connection.executemany("DELETE FROM run WHERE id = ?", gone)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")

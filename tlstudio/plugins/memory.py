"""What is remembered of plugins from one start to the next: hidden files in the user's plugin folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstudio.plugins.records import PluginRecord, State
from tlstudio.plugins.sources import Source

_TRIED_NAME = ".tried.json"
_LOADING = ".loading-"


class PluginMemory:
    """Remembers which plugins were tried as they are now, and which one was being loaded when a start ended.

    A folder that cannot be written only costs time: plugins are tried again.

    Args:
        folder: The user's plugin folder; `None`: nothing is remembered.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._tried: dict[str, dict[str, Any]] = {}
        if folder is None:
            return
        with contextlib.suppress(OSError, ValueError, RecursionError):
            values = json.loads((folder / _TRIED_NAME).read_text(encoding="utf-8"))
            self._tried = {key: value for key, value in values.items() if isinstance(value, dict)}
        self._look_for_ended_starts(folder)

    def verdict(self, source: Source, fingerprint: str) -> PluginRecord | None:
        """What became of a plugin when it was as it is now; `None` if it has to be tried."""
        known = self._tried.get(source.key, {})
        if known.get("fingerprint") != fingerprint:
            return None
        if known.get("state") == "ok":
            return source.record
        state: State = "skipped" if known.get("state") == "skipped" else "failed"
        return replace(
            source.record,
            state=state,
            error=str(known.get("error", "")),
            traceback=str(known.get("traceback", "")),
            remembered=True,
        )

    def remember(self, source: Source, fingerprint: str, record: PluginRecord) -> None:
        """Remember how a trial went. One that merely failed is forgotten: a library may be there the next time."""
        self._tried.pop(source.key, None)
        if record.state == "ok" or record.remembered:
            self._tried[source.key] = {
                "fingerprint": fingerprint,
                "state": record.state,
                "error": record.error,
                "traceback": record.traceback,
            }

    def forget(self, name: str) -> None:
        """Forget what is known of all plugins of a name, so that they are tried again.

        Raises:
            OSError: The folder cannot be written.
        """
        self._tried = {key: value for key, value in self._tried.items() if not key.startswith(f"{name} from ")}
        self._write()

    def save(self) -> None:
        """Keep what is remembered for the next start."""
        with contextlib.suppress(OSError):
            self._write()

    @contextlib.contextmanager
    def loading(self, source: Source, fingerprint: str) -> Iterator[None]:
        """Mark a plugin as being loaded: a mark that is still there when its process is gone tells who ended it."""
        if self._folder is None:
            yield
            return
        import psutil

        mark = self._folder / f"{_LOADING}{os.getpid()}.json"
        values = {"key": source.key, "fingerprint": fingerprint, "started": psutil.Process().create_time()}
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            mark.write_text(json.dumps(values), encoding="utf-8")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)

    def _look_for_ended_starts(self, folder: Path) -> None:
        found = False
        for mark in folder.glob(f"{_LOADING}*.json"):
            with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
                values = json.loads(mark.read_text(encoding="utf-8"))
                if _is_running(int(mark.stem.removeprefix(_LOADING)), float(values["started"])):
                    continue
                self._tried[str(values["key"])] = {
                    "fingerprint": values["fingerprint"],
                    "state": "skipped",
                    "error": "It is skipped because the last start ended while it was loaded.",
                }
                found = True
            with contextlib.suppress(OSError):
                mark.unlink()
        if found:
            self.save()

    def _write(self) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        staged = self._folder / f"{_TRIED_NAME}.{os.getpid()}.new"
        staged.write_text(json.dumps(self._tried, indent=2), encoding="utf-8")
        staged.replace(self._folder / _TRIED_NAME)


def _is_running(pid: int, started: float) -> bool:
    import psutil

    try:
        return abs(psutil.Process(pid).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it is another user's, so the number was given anew
        return False

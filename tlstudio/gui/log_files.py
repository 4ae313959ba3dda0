"""The log of the window, and the report that is offered when the last start did not come to its end.

While the window is open there is a file for it in ``starts`` of the user's folder; a clean end removes it. It says
where the log is, and `faulthandler` writes into it where a crash in native code happened.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import platform
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from PySide6.QtCore import qVersion

from tlstudio import __version__
from tlstudio.privacy import without_secrets
from tlstudio.store.files import open_own
from tlstudio.store.process import ProcessMark

LOG_NAME = "studio.log"
MAX_BYTES = 1_000_000
FILES = 5
FORMAT = "%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"
_LAST_LINES = 120
_SHOWN = 20_000  # characters of where a crash happened
log = logging.getLogger(__name__)


class CleanFormatter(logging.Formatter):
    """Keeps secrets out of the log, also those in tracebacks: a log is handed on when help is needed."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        return without_secrets(super().format(record))


class LogFiles:
    """Where the log goes: ``logs`` in the open project, or in the user's folder while none is open.

    Args:
        home: The user's folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._handler: RotatingFileHandler | None = None
        self.write_to(None)

    @property
    def folder(self) -> Path | None:
        """Where it is now; `None` if it cannot be written."""
        return Path(self._handler.baseFilename).parent if self._handler is not None else None

    def write_to(self, project: Path | None) -> None:
        """Go on in a project, or in the user's folder."""
        folder = (project or self._home) / "logs"
        if folder == self.folder:
            return
        self.close()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            open_own(folder / LOG_NAME, "ab").close()  # somebody who sent the project could have put a link there
            handler = RotatingFileHandler(
                folder / LOG_NAME, maxBytes=MAX_BYTES, backupCount=FILES - 1, encoding="utf-8"
            )
        except OSError as error:
            log.warning("no log file: %s", error)
            return
        handler.setFormatter(CleanFormatter(FORMAT))
        self._handler = handler
        logging.getLogger().addHandler(handler)

    def close(self) -> None:
        """Write no more."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
            self._handler = None


class StartMark:
    """The file that stands for this start until it has come to a clean end.

    Args:
        home: The user's folder.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "starts" / f"{os.getpid()}-{time.time_ns()}.txt"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        self.note(process=ProcessMark.here().to_json(), started=time.time())
        faulthandler.enable(self._file)

    def note(self, **values: Any) -> None:  # noqa: ANN401  JSON values
        """Keep something that the report of a crash will need."""
        with contextlib.suppress(OSError):
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()

    def remove(self) -> None:
        """This start has come to its end."""
        faulthandler.disable()
        self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


@dataclass(frozen=True)
class Crash:
    """A start that did not come to its end.

    Attributes:
        started: When, in seconds since the epoch.
        log: The folder of its log; may be gone.
        where: What `faulthandler` has written; ``""`` if the process was killed or the machine went off.
    """

    started: float
    log: Path
    where: str

    def report(self, environment: Mapping[str, str]) -> str:
        """Write what the people who mend it need, without anything that says who the user is.

        Args:
            environment: The environment variables, whose secrets are left out.
        """
        lines: deque[str] = deque(maxlen=_LAST_LINES)
        with contextlib.suppress(OSError), (self.log / LOG_NAME).open(encoding="utf-8", errors="replace") as file:
            lines.extend(file)
        parts = [
            f"TL Studio {__version__}, Python {platform.python_version()}, Qt {qVersion()}, {platform.platform()}",
            f"Started {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.started))}, ended without a word.",
            "",
            self.where.strip()[:_SHOWN] or "Nothing was written where it ended.",
            "",
            "The last lines of the log:",
            "".join(lines).rstrip() or "(none)",
        ]
        return without_secrets("\n".join(parts), environment)


def take_crash(home: Path) -> Crash | None:
    """Find the newest start that did not come to its end, and forget it and all before: it is offered once."""
    newest = None
    for path in sorted((home / "starts").glob("*.txt"), key=lambda path: path.name.rpartition("-")[2]):
        crash = _read_mark(path)
        if crash is not None:
            newest = crash
            with contextlib.suppress(OSError):
                path.unlink()
    return newest


def _read_mark(path: Path) -> Crash | None:
    """Read what a start has left; `None` if it is still going on."""
    facts: dict[str, Any] = {}
    where = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except OSError:
        return None
    for line in lines:
        try:
            facts.update(json.loads(line))
        except (ValueError, TypeError):
            where.append(line)
    mark = ProcessMark.from_json(facts.get("process"))
    if mark is not None and mark.is_gone() is not True:
        return None
    return Crash(float(facts.get("started", 0.0)), Path(str(facts.get("log", ""))), "".join(where))

"""Trying plugins in processes of their own, before they are let into the studio."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstudio.api.files import text_of
from tlstudio.plugins.records import PluginRecord
from tlstudio.plugins.sources import Source

BUSY_SECONDS = 7
"""How long a plugin may take to be imported, the large libraries that it names not counted."""
MEMORY_LIMIT = 6 * 2**30
"""Bytes that a plugin may ask for while it is imported, where the system can refuse them."""
REPORT_NAME = "report.json"
CRASH_NAME = "crash.log"
_PATIENCE = 60.0  # seconds for the whole process, large libraries on a slow disk and all
_AT_ONCE = max(2, min(4, os.cpu_count() or 2))
_LINE = re.compile(r'File "([^"]*)", line (\d+)')


def try_plugins(folder: Path | None, sources: Sequence[Source]) -> list[PluginRecord]:
    """Import each plugin in a process of its own, some at the same time.

    Args:
        folder: The user's plugin folder.
        sources: The plugins.

    Returns:
        What became of each. One that has ended its process is ``remembered``.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda source: _tried(folder, source), sources))


def _tried(folder: Path | None, source: Source) -> PluginRecord:
    try:
        return _try(folder, source)
    except OSError as error:  # no room for a file, or for a process
        sentence = (
            f"The plugin '{source.record.name}' could not be tried: {error.strerror}. It is tried at the next start."
        )
        return replace(source.record, state="failed", error=sentence)


def _try(folder: Path | None, source: Source) -> PluginRecord:
    command = [sys.executable, "-m", "tlstudio.plugins.trial_process", str(folder or ""), source.key]
    with tempfile.TemporaryDirectory(prefix="tlstudio-plugin-", ignore_cleanup_errors=True) as reports:
        process = subprocess.Popen(  # noqa: S603  this very interpreter with a module of ours
            [*command, reports], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        report = _read_report(Path(reports) / REPORT_NAME)
        crash = text_of(Path(reports) / CRASH_NAME)
    if report is not None:
        return replace(source.record, **report)
    sentence = f"The plugin '{source.record.name}' {_how(code, crash)}{_where(source, crash)} when it is imported."
    return replace(source.record, state="failed", error=sentence, traceback=crash, remembered=True)


def _read_report(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
        return {
            "state": "ok" if values["state"] == "ok" else "failed",
            "provides": tuple(str(one) for one in values["provides"]),
            "error": str(values["error"]),
            "traceback": str(values["traceback"]),
        }
    except (OSError, ValueError, TypeError, LookupError):
        return None  # it has ended before, or has written there itself


def _how(code: int, crash: str) -> str:
    if crash.startswith("Timeout"):
        return f"does not come to an end within {BUSY_SECONDS} seconds"
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"crashes the program ({names.get(-code, f'signal {-code}')})"
    return "crashes the program" if crash else f"ends the program (exit code {code})"


def _where(source: Source, crash: str) -> str:
    """The innermost line of the plugin's own files, as a part of a sentence."""
    own = {str(file) for file in source.files()}
    for file, line in _LINE.findall(crash):
        if file in own:
            return f" at {Path(file).name}, line {line},"
    return ""

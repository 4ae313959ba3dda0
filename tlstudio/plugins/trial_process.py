"""A process in which one plugin is tried: ``python -m tlstudio.plugins.trial_process FOLDER KEY REPORTS``.

FOLDER is the user's plugin folder (empty: none), KEY the key of the plugin. The folder REPORTS gets ``report.json``;
where there is none, the plugin has ended the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import importlib
import json
import os
import re
import sys
from pathlib import Path

import psutil

from tlstudio import startup
from tlstudio.plugins.loading import load_plugin
from tlstudio.plugins.registry import Registry
from tlstudio.plugins.sources import Source, find_sources
from tlstudio.plugins.trial import BUSY_SECONDS, CRASH_NAME, MEMORY_LIMIT, REPORT_NAME

_SLOW = ("torch", "torchvision", "timm", "transformers", "peft", "sklearn")
_IMPORTS = re.compile(rb"^\s*(?:import|from)\s+(\w+)", re.MULTILINE)


def main(folder: str, key: str, report_folder: str) -> None:
    """Import one plugin, write what became of it, and end at once, whatever it has started."""
    startup.stay_offline(os.environ)
    source = next(source for source in find_sources(Path(folder) if folder else None) if source.key == key)
    _import_slow_libraries(source)
    with (Path(report_folder) / CRASH_NAME).open("w", encoding="utf-8") as crash:
        faulthandler.enable(crash)
        # In C, so that it ends a loop that never lets another thread run, and a plugin whose studio is gone.
        faulthandler.dump_traceback_later(BUSY_SECONDS, exit=True, file=crash)
        _limit_memory()
        record = load_plugin(source, Registry())
        values = json.dumps(dataclasses.asdict(record)).encode("ascii")
        (Path(report_folder) / REPORT_NAME).write_bytes(values)
        os._exit(0)


def _import_slow_libraries(source: Source) -> None:
    """Import the large libraries that a plugin names before its time runs: loading them is not its fault."""
    wanted = {
        name.decode("ascii", "replace")
        for file in source.files()
        if file.suffix == ".py"
        for name in _IMPORTS.findall(file.read_bytes())
    }
    for name in _SLOW:
        if name in wanted:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def _limit_memory() -> None:
    """Let the system refuse a plugin what would bring the machine to its knees, where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = getattr(psutil.Process().memory_info(), "data", 0) + MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main(*sys.argv[1:])

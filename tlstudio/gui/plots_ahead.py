"""What plots need, imported in small steps while the window has nothing else to do.

PySide makes its types only when they are looked up, and pyqtgraph looks up all of them while it is imported. Two
threads that do so at once crash the process: nothing of Qt may be imported by a job.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

_FIRST = (
    "xml.etree.ElementTree",
    "cuda.bindings.runtime",  # there or not: pyqtgraph tries it
    "PySide6.QtSvg",
    "PySide6.QtOpenGLWidgets",
)
_TYPES_OF = ("PySide6.QtCore", "PySide6.QtGui", "PySide6.QtWidgets")
_AT_ONCE = 40


def import_plots() -> Iterator[None]:
    """Import pyqtgraph, half a second in all; to be gone on with on the window's thread, a step at a time."""
    for name in _FIRST:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        yield
    for name in _TYPES_OF:
        module = importlib.import_module(name)
        names = dir(module)
        for start in range(0, len(names), _AT_ONCE):
            for each in names[start : start + _AT_ONCE]:
                getattr(module, each, None)
            yield
    importlib.import_module("pyqtgraph")

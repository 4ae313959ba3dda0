"""What trains here: found without loading torch, and watched while the window is open."""

from __future__ import annotations

import os
import platform
import shutil
import sys

from PySide6.QtCore import QObject, QProcess, QTimer, Signal, Slot

WATCH_EVERY = 5_000
"""Milliseconds between two looks at the memory of the GPU."""

_QUERY = ["--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits"]


def cpu_text() -> str:
    """Return such as ``"CPU · 8 threads"``: the threads that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    threads = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return f"CPU · {threads} thread" + ("s" if threads != 1 else "")


def gpu_text(report: str) -> str:
    """Turn the first line of nvidia-smi's answer into such as ``"RTX 4090 · 6.1 of 24 GB"``; ``""`` if it is none.

    Args:
        report: Lines of ``name, MiB in use, MiB in all``.
    """
    line = report.strip().splitlines()[0] if report.strip() else ""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != 3 or not parts[1].isdigit() or not parts[2].isdigit():
        return ""
    name = parts[0].removeprefix("NVIDIA ").removeprefix("GeForce ")
    used, total = int(parts[1]) / 1024, int(parts[2]) / 1024
    return f"{name} · {used:.1f} of {total:.0f} GB"


class DeviceWatch(QObject):
    """Knows the text of the device chip.

    Signals:
        changed(str): The text is another one now.
    """

    changed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        apple = sys.platform == "darwin" and platform.machine() == "arm64"
        self.text = "Apple GPU" if apple else cpu_text()
        self._program = shutil.which("nvidia-smi") or ""
        self._process = QProcess(self)
        self._process.finished.connect(self._read)
        self._timer = QTimer(self)
        self._timer.setInterval(WATCH_EVERY)
        self._timer.timeout.connect(self._look)

    def start(self) -> None:
        """Begin to watch, if there is a GPU to watch."""
        if self._program:
            self._look()
            self._timer.start()

    def stop(self) -> None:
        """Stop watching."""
        self._timer.stop()
        if self._process.state() != QProcess.ProcessState.NotRunning:
            self._process.kill()
            self._process.waitForFinished(1000)

    @Slot()
    def _look(self) -> None:
        if self._process.state() == QProcess.ProcessState.NotRunning:
            self._process.start(self._program, _QUERY)

    @Slot()
    def _read(self) -> None:
        text = gpu_text(bytes(self._process.readAllStandardOutput().data()).decode(errors="replace"))
        if not text:
            # The tool is there but no GPU answers: one look was enough.
            self._timer.stop()
        elif text != self.text:
            self.text = text
            self.changed.emit(text)

"""Garbage that holds parts of the window is collected by the window's own thread.

Python looks for unreachable cycles on whichever thread happens to make the next object. While a job or a run makes
many, that is theirs, and a dialog that was closed, held by nothing but its own slots, would be destroyed on it: Qt
crashes the process then, sooner or later. Here the search is switched off and made on a timer of the window instead.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer, Slot

LOOK_EVERY = 250
"""Milliseconds between two looks at how many objects were made."""


class GarbageCollection(QObject):
    """Collects when CPython would, but on the thread that it lives on.

    The rule is that of CPython's three generations: the youngest are looked through when more than `gc.get_threshold`
    were made, the middle ones after so many such searches, and all objects after so many again *and* once those that
    were added to the oldest are a quarter of them
    (https://devguide.python.org/internals/garbage-collector/, "Collecting the oldest generation").
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._was_enabled = False
        self._oldest = 0
        self._added = 0
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_EVERY)
        self._timer.timeout.connect(self._look)

    def start(self) -> None:
        """Take over from Python."""
        if not self._timer.isActive():
            self._was_enabled = gc.isenabled()
            gc.disable()
            self._oldest = len(gc.get_objects(generation=2))
            self._timer.start()

    def stop(self) -> None:
        """Give back to Python, if it was the one that collected."""
        if self._timer.isActive():
            self._timer.stop()
            if self._was_enabled:
                gc.enable()

    @Slot()
    def _look(self) -> None:
        made, young, middle = gc.get_count()
        most_made, most_young, most_middle = gc.get_threshold()
        if made <= most_made:
            return
        if young <= most_young:
            gc.collect(0)
        elif middle <= most_middle or self._added <= self._oldest // 4:
            reached = len(gc.get_objects(generation=0)) + len(gc.get_objects(generation=1))
            self._added += max(0, reached - gc.collect(1))
        else:
            gc.collect()
            self._oldest, self._added = len(gc.get_objects(generation=2)), 0

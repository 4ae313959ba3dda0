"""The queue on the Train page: this run or the plan for the next one, how many wait, start and stop."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget

from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.texts import push_button, text_label


class QueueButton(QPushButton):
    """Starts the queue of the project, or stops it; hidden while no run waits.

    Args:
        state: Where the queue is.
        role: As in `push_button`.
        name: Object name.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, role: str, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", role)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAutoDefault(False)
        self._state = state
        self.clicked.connect(self._on_clicked)
        state.queue.changed.connect(self.refresh)
        state.project_changed.connect(self.refresh)
        self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Say what a press would do now."""
        queue, project = self._state.queue, self._state.project
        if queue.on:
            text, hint = self.tr("Stop t&he queue"), self.tr("The present run goes on; the others stay queued")
        else:
            count = self.tr("Start {0} queue&d runs").format(queue.waiting)
            text = count if queue.waiting != 1 else self.tr("Start the queue&d run")
            hint = self.tr("One after the other, each in a process of its own, also when this window is closed")
        self.setText(text)
        self.setAccessibleName(text.replace("&", ""))
        self.setToolTip(hint)
        self.setVisible(queue.waiting > 0)
        self.setEnabled(project is not None and project.writable)

    @Slot()
    def _on_clicked(self) -> None:
        queue = self._state.queue
        queue.stop() if queue.on else queue.start()


class QueueRow(QWidget):
    """Shown while a run is under way or some wait.

    Args:
        state: Where the queue is.
        parent: Parent widget.

    Signals:
        chosen(bool): Whether the user wants to plan the next run, or to see the one that goes.
    """

    chosen = Signal(bool)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_queue_row")
        self._queue = state.queue
        self._live = self._button(self.tr("Th&is run"), "train_show_live", self.tr("Curves and figures of the run"))
        self._plan = self._button(
            self.tr("Pl&an the next"), "train_show_plan", self.tr("Put the next run together; this one goes on")
        )
        self._group = QButtonGroup(self)
        self._group.addButton(self._live)
        self._group.addButton(self._plan)
        self._group.buttonClicked.connect(lambda button: self.chosen.emit(button is self._plan))
        self._waiting = text_label("", "small", "train_queue_waiting")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(self._live)
        row.addWidget(self._plan)
        row.addStretch(1)
        row.addWidget(self._waiting)
        row.addWidget(QueueButton(state, "link", "train_queue_go"))

    def _button(self, text: str, name: str, hint: str) -> QPushButton:
        button = push_button(text, "chip", name, hint=hint)
        button.setCheckable(True)
        return button

    def show_state(self, *, running: bool, planning: bool) -> None:
        """Show whether a run is under way, and whether it or the plan for the next one is seen."""
        (self._plan if planning else self._live).setChecked(True)
        self._live.setVisible(running)
        self._plan.setVisible(running)
        # Where it can be started, the button says how many.
        self._waiting.setText(self.tr("{0} queued").format(self._queue.waiting) if self._queue.on else "")
        self._waiting.setVisible(self._queue.waiting > 0)
        self.setVisible(running or self._queue.waiting > 0)

"""The bar at the top: project, data set, device, and what the current run is doing."""

from __future__ import annotations

from PySide6.QtCore import QPointF, Qt, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from tlstudio.gui.device import DeviceWatch
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import set_role
from tlstudio.gui.widgets.texts import text_label

HEIGHT = 48
_DOT = 8


class RunChip(QLabel):
    """A pill with a dot and the run's state; hidden while no run was started."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.setObjectName("topbar_run")
        self.setAccessibleName(self.tr("State of the run"))
        self.setProperty("role", "chip_active")
        self.setContentsMargins(_DOT + 8, 0, 0, 0)
        self.setVisible(False)
        state.run_state_changed.connect(self.show_state)

    @Slot()
    def show_state(self) -> None:
        """Show what the run is doing now."""
        run = self._state.run_state
        set_role(self, "chip_active" if run.active else "chip")
        self.setText(run.text)
        self.setVisible(bool(run.text))

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw the pill and the dot."""
        super().paintEvent(event)
        theme, run = self._state.theme, self._state.run_state
        colour = theme.accent if run.active else {"done": theme.good, "failed": theme.bad}.get(run.status, theme.faint)
        if run.phase == "paused":
            colour = theme.caution
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colour))
        painter.drawEllipse(QPointF(13 + _DOT / 2, self.height() / 2), _DOT / 2, _DOT / 2)
        painter.end()


class TopBar(QFrame):
    """Project / data set and revision at the left; chips at the right."""

    def __init__(self, state: AppState, device: DeviceWatch, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("topbar")
        self.setProperty("role", "topbar")
        self.setFixedHeight(HEIGHT)
        self._state = state
        self._project = text_label("", "section", "topbar_project")
        self._slash = text_label("/", "second", "topbar_slash")
        self._dataset = text_label("", "second", "topbar_dataset", elide=True)
        self._device = text_label("", "chip", "topbar_device")
        self._device.setAccessibleName(self.tr("Device that trains"))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(20, 0, 16, 0)
        layout.setSpacing(8)
        layout.addWidget(self._project)
        layout.addWidget(self._slash)
        layout.addWidget(self._dataset, 1)
        if state.manager.safe_mode:
            chip = text_label(self.tr("Safe mode"), "chip", "topbar_safe_mode")
            chip.setToolTip(self.tr("Only the plugins that come with TL Studio are loaded."))
            layout.addWidget(chip, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self._device, 0, Qt.AlignmentFlag.AlignVCenter)
        self._queued = text_label("", "chip", "topbar_queued")
        layout.addWidget(self._queued, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(RunChip(state), 0, Qt.AlignmentFlag.AlignVCenter)
        state.queue.changed.connect(self._show_queue)
        state.project_changed.connect(self.refresh)
        state.dataset_selected.connect(self.refresh)
        state.datasets_changed.connect(self.refresh)
        device.changed.connect(self._show_device)
        self._show_device(device.text)
        self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Read project and data set anew."""
        project = self._state.project
        self._project.setText(project.name if project else self.tr("No project open"))
        self._project.setToolTip(str(project.folder) if project else "")
        parts = [self._state.dataset]
        if self._state.revision:
            parts.append(self.tr("revision {0}").format(self._state.revision.removeprefix("r")))
        self._dataset.setText(" · ".join(part for part in parts if part))
        self._slash.setVisible(bool(self._state.dataset))
        self._show_queue()

    @Slot()
    def _show_queue(self) -> None:
        queue = self._state.queue
        text = self.tr("{0} queued").format(queue.waiting)
        self._queued.setText(text)
        self._queued.setAccessibleName(text)
        self._queued.setToolTip(
            self.tr("They begin one after the other, also without this window.")
            if queue.on
            else self.tr("They begin when the queue is started, on the Train or the Runs page.")
        )
        self._queued.setVisible(queue.waiting > 0)

    @Slot(str)
    def _show_device(self, text: str) -> None:
        self._device.setText(text)
        self._device.setVisible(bool(text))

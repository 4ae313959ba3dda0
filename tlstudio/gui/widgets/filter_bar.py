"""The filters above the items of a data set: class, split, text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QLocale, QSignalBlocker, QTimer, Signal, Slot
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QWidget

from tlstudio.api import SPLITS
from tlstudio.gui.widgets.sample_filter import SampleFilter

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision

TYPING_PAUSE = 250
"""Milliseconds after the last keystroke before the search begins."""


class FilterBar(QWidget):
    """Two lists and a search field.

    Signals:
        changed(): Something else is wanted; while typing only after a pause.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("data_filters")
        self.class_box = QComboBox()
        self.class_box.setObjectName("data_filter_class")
        self.class_box.setAccessibleName(self.tr("Show the class"))
        self.class_box.setFixedWidth(168)
        self.class_box.currentIndexChanged.connect(self._chosen)
        self.split_box = QComboBox()
        self.split_box.setObjectName("data_filter_split")
        self.split_box.setAccessibleName(self.tr("Show the split"))
        self.split_box.setFixedWidth(116)
        titles = {"train": self.tr("Train"), "validation": self.tr("Validation"), "test": self.tr("Test")}
        self.split_box.addItem(self.tr("All splits"), "")
        for split in SPLITS:
            self.split_box.addItem(titles[split], split)
        self.split_box.currentIndexChanged.connect(self._chosen)
        self.search = QLineEdit()
        self.search.setObjectName("data_search")
        self.search.setAccessibleName(self.tr("Search"))
        self.search.setPlaceholderText(self.tr("Search"))
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumWidth(96)
        self.search.setMaximumWidth(200)
        self.search.textChanged.connect(self._typed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addStretch()
        layout.addWidget(self.class_box)
        layout.addWidget(self.split_box)
        layout.addWidget(self.search, 1)
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_PAUSE)
        self._typing.timeout.connect(self.changed)

    def wanted(self, ids: tuple[str, ...] | None = None) -> SampleFilter:
        """Return what is asked for.

        Args:
            ids: Only these.
        """
        return SampleFilter(
            label=str(self.class_box.currentData() or ""),
            split=str(self.split_box.currentData() or ""),
            text=self.search.text().strip(),
            ids=ids,
        )

    def offer(self, revision: Revision) -> None:
        """Offer the classes of a revision with their counts, and ask for nothing."""
        totals: dict[str, int] = dict.fromkeys(revision.classes, 0)
        for counts in revision.class_counts().values():
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
        with QSignalBlocker(self.class_box):
            self.class_box.clear()
            self.class_box.addItem(self.tr("All classes"), "")
            for name in revision.classes:
                self.class_box.addItem(f"{name}  {QLocale().toString(totals[name])}", name)
        self.class_box.setVisible(bool(revision.classes))
        self.reset()

    def reset(self) -> None:
        """Ask for nothing, without telling."""
        self._typing.stop()
        with QSignalBlocker(self.class_box), QSignalBlocker(self.split_box), QSignalBlocker(self.search):
            self.class_box.setCurrentIndex(0)
            self.split_box.setCurrentIndex(0)
            self.search.clear()

    @Slot()
    def _chosen(self) -> None:
        self._typing.stop()
        self.changed.emit()

    @Slot()
    def _typed(self) -> None:
        self._typing.start()

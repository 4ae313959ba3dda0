"""Model and drawing of the list in a picker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSize,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from tlstudio.gui.theme import Theme
from tlstudio.gui.widgets.candidates import Candidate

CANDIDATE_ROLE = Qt.ItemDataRole.UserRole + 1
Index = QModelIndex | QPersistentModelIndex


class CandidateModel(QAbstractListModel):
    """Candidates in rows; one that does not fit can be looked at but is told as not fitting."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._candidates: list[Candidate] = []
        self.chosen = ""
        self._typed = False  # whether the last one was typed by the user

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All candidates in the order of the rows."""
        return self._candidates

    def set_candidates(self, candidates: Sequence[Candidate]) -> None:
        """Show other candidates."""
        self.beginResetModel()
        self._candidates = list(candidates)
        self._typed = False
        self.endResetModel()

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Append candidates."""
        if candidates:
            first = len(self._candidates)
            self.beginInsertRows(QModelIndex(), first, first + len(candidates) - 1)
            self._candidates += candidates
            self.endInsertRows()

    def set_typed(self, candidate: Candidate | None) -> None:
        """Show one that was typed behind the others, in the place of the one typed before, unless it is among them."""
        if self._typed:
            last = len(self._candidates) - 1
            if candidate is not None and candidate.name == self._candidates[last].name:
                return
            self.beginRemoveRows(QModelIndex(), last, last)
            self._candidates.pop()
            self.endRemoveRows()
        self._typed = candidate is not None and all(each.name != candidate.name for each in self._candidates)
        if self._typed and candidate is not None:
            self.add([candidate])

    def replace(self, candidate: Candidate) -> None:
        """Put in what has been read of a candidate."""
        for row, known in enumerate(self._candidates):
            if known.name == candidate.name and known.family == candidate.family:
                self._candidates[row] = candidate
                index = self.index(row)
                self.dataChanged.emit(index, index)
                return

    def rowCount(self, parent: Index | None = None) -> int:  # Qt override
        """Number of candidates."""
        return 0 if parent is not None and parent.isValid() else len(self._candidates)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401  Qt override
        """What a row shows."""
        if not index.isValid():
            return None
        candidate = self._candidates[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{candidate.title} {candidate.name} {candidate.family}"
        if role == CANDIDATE_ROLE:
            return candidate
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ". ".join([candidate.title, candidate.facts, *candidate.reasons])
        return None


class CandidateFilter(QSortFilterProxyModel):
    """Keeps the rows that hold every word that is searched."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._words: tuple[str, ...] = ()

    def search(self, text: str) -> None:
        """Keep only rows with all of these words in title, name, family, description or source."""
        words = tuple(text.casefold().split())
        if words != self._words:
            self._words = words
            self.invalidate()

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:  # Qt override
        """Whether a row holds every word."""
        if not self._words:
            return True
        candidate: Candidate = self.sourceModel().index(row, 0, parent).data(CANDIDATE_ROLE)
        parts = (candidate.title, candidate.name, candidate.family, candidate.description, candidate.source)
        text = " ".join(parts).casefold()
        return all(word in text for word in self._words)


class CandidateDelegate(QStyledItemDelegate):
    """Draws a candidate: title, facts, and the reason where it does not fit."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # Qt override
        """Two lines of text."""
        return QSize(200, 2 * QFontMetrics(option.font).height() + 20)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Draw one row."""
        candidate: Candidate = index.data(CANDIDATE_ROLE)
        theme = self._theme
        out = bool(candidate.reasons)
        area: QRect = option.rect.adjusted(4, 2, -4, -2)
        state = option.state
        selected = bool(state & QStyle.StateFlag.State_Selected)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if selected or state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.accent_soft if selected else theme.hover))
            painter.drawRoundedRect(area, 8, 8)
        inner = area.adjusted(12, 6, -12, -6)
        title_font = QFont(option.font)
        title_font.setWeight(QFont.Weight.DemiBold)
        metrics = QFontMetrics(title_font)
        side = candidate.family or ""
        small = QFontMetrics(option.font)
        side_width = small.horizontalAdvance(side) + 8 if side and candidate.name else 0
        painter.setFont(title_font)
        painter.setPen(QColor(theme.second if out else theme.text))
        painter.drawText(
            QRect(inner.x(), inner.y(), inner.width() - side_width, metrics.height()),
            int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter),
            metrics.elidedText(candidate.title, Qt.TextElideMode.ElideRight, inner.width() - side_width),
        )
        painter.setFont(option.font)
        painter.setPen(QColor(theme.second))
        if side_width:
            painter.drawText(
                QRect(inner.right() - side_width, inner.y(), side_width, small.height()),
                int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
                side,
            )
        line = " ".join(candidate.reasons) if out else candidate.facts or ("" if candidate.read else "…")
        if out:
            painter.setPen(QColor(theme.caution))
        painter.drawText(
            QRect(inner.x(), inner.bottom() - small.height() + 1, inner.width(), small.height()),
            int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter),
            small.elidedText(line, Qt.TextElideMode.ElideRight, inner.width()),
        )
        painter.restore()

"""Labels, buttons and lines to fill in, in the roles that the style sheet knows."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics, QHelpEvent, QPainter, QPaintEvent, QTextLayout, QTextOption
from PySide6.QtWidgets import (
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QToolTip,
    QWidget,
)


class ElidedLabel(QLabel):
    """A one-line label that ends in an ellipsis where there is no room, and then tells the whole in its tooltip."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._full = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(text)

    @property
    def full_text(self) -> str:
        """The text without any ellipsis."""
        return self._full

    def setText(self, text: str) -> None:  # Qt override
        """Show a text; line breaks become spaces."""
        flat = " ".join(text.split()) if text.strip() else text
        if flat != self._full:
            self._full = flat
            super().setText(flat)

    def minimumSizeHint(self) -> QSize:  # Qt override
        """Any width will do; the height is one line."""
        return QSize(12, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt override
        """Draw as much of the text as fits."""
        area = self.contentsRect()
        shown = self.fontMetrics().elidedText(self._full, Qt.TextElideMode.ElideRight, area.width())
        if (shown != self._full) != bool(self.toolTip()):
            self.setToolTip(self._full if shown != self._full else "")
        painter = QPainter(self)
        QStyle.drawItemText(
            self.style(),
            painter,
            area,
            int(self.alignment() | Qt.AlignmentFlag.AlignVCenter),
            self.palette(),
            self.isEnabled(),
            shown,
            self.foregroundRole(),
        )


class ElidedBox(QComboBox):
    """A box whose text ends in an ellipsis where there is no room; its tooltip tells the whole."""

    def initStyleOption(self, option: QStyleOptionComboBox) -> None:  # Qt override
        """Give the style as much of the text as fits."""
        super().initStyleOption(option)
        field = QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, field, self).width()
        option.currentText = self.fontMetrics().elidedText(option.currentText, Qt.TextElideMode.ElideRight, room)

    def event(self, event: QEvent) -> bool:  # Qt override
        """Where the text is cut and nothing else is to be told, let the tooltip be the text."""
        if event.type() == QEvent.Type.ToolTip and not self.toolTip() and isinstance(event, QHelpEvent):
            QToolTip.showText(event.globalPos(), self.currentText(), self)
            return True
        return super().event(event)


def text_label(text: str, role: str, name: str, *, elide: bool = False, wrap: bool = False) -> QLabel:
    """Make a label in a role of the style sheet.

    Args:
        text: Its text, taken as plain text.
        role: Such as ``"title"``, ``"section"``, ``"caption"``, ``"figure"``, ``"second"``, ``"faint"`` or ``""``.
        name: Object name.
        elide: Whether it ends in an ellipsis instead of asking for room.
        wrap: Whether it breaks into lines.
    """
    label = ElidedLabel(text) if elide else QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setObjectName(name)
    label.setWordWrap(wrap)
    if role:
        label.setProperty("role", role)
    if wrap:
        label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
    return label


def push_button(text: str, role: str, name: str, *, accessible: str = "", hint: str = "") -> QPushButton:
    """Make a button in a role: ``"primary"``, ``"secondary"``, ``"quiet"``, ``"link"`` or ``"danger"``.

    Args:
        text: Its text; ``&`` marks the mnemonic.
        role: Its role.
        name: Object name.
        accessible: What a screen reader says, if not the text.
        hint: Tooltip.
    """
    button = QPushButton(text)
    button.setObjectName(name)
    button.setProperty("role", role)
    button.setAccessibleName(accessible or text.replace("&", ""))
    button.setToolTip(hint)
    button.setCursor(Qt.CursorShape.PointingHandCursor)
    button.setAutoDefault(False)
    return button


def titled_edit(name: str, title: str, text: str = "") -> tuple[QLabel, QLineEdit]:
    """Make a line to fill in, and the label in front of it.

    Args:
        name: Object name.
        title: Text of the label; ``&`` marks the mnemonic.
        text: What it holds at first.
    """
    edit = QLineEdit(text)
    edit.setObjectName(name)
    edit.setAccessibleName(title.replace("&", ""))
    label = QLabel(title)
    label.setObjectName(f"{name}_label")
    label.setProperty("role", "second")
    label.setBuddy(edit)
    return label, edit


def draw_lines(painter: QPainter, text: str, area: QRect, metrics: QFontMetrics) -> None:
    """Draw the beginning of a text: as many whole lines as there is room for, the last one elided.

    The lines stand apart as the font says. Characters borrowed from another font do not push them apart, so no line
    is cut in half.

    Args:
        painter: Has font and pen set.
        text: As long as it likes; line breaks count as in any text.
        area: Where, in pixels.
        metrics: Of the painter's font.
    """
    lines = max(1, area.height() // metrics.lineSpacing())
    layout = QTextLayout(text, painter.font())
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    layout.setTextOption(option)
    layout.beginLayout()
    y = area.top()
    for number in range(lines):
        line = layout.createLine()
        if not line.isValid():
            break
        line.setLineWidth(area.width())
        part = text[line.textStart() : line.textStart() + line.textLength()]
        if number == lines - 1:
            part = metrics.elidedText(text[line.textStart() :], Qt.TextElideMode.ElideRight, area.width())
        row = QRect(area.left(), y, area.width(), metrics.lineSpacing())
        painter.drawText(row, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), part)
        y += metrics.lineSpacing()
    layout.endLayout()

"""A card with a small caption over a large figure, and one line below it."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QSizePolicy, QVBoxLayout, QWidget

from tlstudio.gui.widgets.texts import ElidedLabel, text_label


class StatCard(QFrame):
    """Shows one figure.

    Args:
        name: Object name.
        caption: What the figure is; shown in small capitals.
        parent: Parent widget.
    """

    def __init__(self, name: str, caption: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", "card")
        self.setAccessibleName(caption)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(96)
        self._caption = text_label(caption.upper(), "caption", f"{name}_caption", elide=True)
        self._figure = text_label("—", "figure", f"{name}_figure", elide=True)
        self._detail = text_label(" ", "second", f"{name}_detail", elide=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 6, 10)
        layout.setSpacing(1)
        for label in (self._caption, self._figure, self._detail):
            layout.addWidget(label)

    @property
    def figure(self) -> str:
        """The figure as it is shown."""
        return self._figure.full_text if isinstance(self._figure, ElidedLabel) else self._figure.text()

    def set_caption(self, caption: str) -> None:
        """Say what the figure is."""
        self._caption.setText(caption.upper())
        self.setAccessibleName(caption)

    def show_figure(self, figure: str, detail: str = "") -> None:
        """Show a figure and the line below it; does nothing where both are as before."""
        if figure != self.figure:
            self._figure.setText(figure)
        self._detail.setText(detail or " ")
        self.setAccessibleDescription(f"{figure} {detail}".strip())

"""Dialogs: a question, an error with its report, a text to read. All are window-modal and block nothing."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, Qt, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from tlstudio.gui.errors import is_for_user, remedy_of, report_of, sentence_of
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import mono_font
from tlstudio.gui.widgets.icons import IconLabel
from tlstudio.gui.widgets.texts import push_button, text_label
from tlstudio.privacy import without_secrets


class Sheet(QDialog):
    """Base of all dialogs: heading, content, a row of buttons at the right. Deleted when closed.

    Args:
        name: Object name.
        title: Heading and window title.
        parent: The window.
        width: Width in device-independent pixels.
    """

    def __init__(self, name: str, title: str, parent: QWidget, *, width: int = 480) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowModality(Qt.WindowModality.WindowModal)
        self.setMinimumWidth(width)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 20, 24, 20)
        self.column.setSpacing(8)
        self.head = QHBoxLayout()
        self.head.setSpacing(10)
        self.head.addWidget(text_label(title, "heading", f"{name}_heading", wrap=True), 1)
        self.column.addLayout(self.head)
        self.body = QVBoxLayout()
        self.body.setSpacing(8)
        self.column.addLayout(self.body, 1)
        self.column.addSpacing(8)
        self.buttons = QHBoxLayout()
        self.buttons.setSpacing(8)
        self.buttons.addStretch()
        self.column.addLayout(self.buttons)

    def add_button(self, text: str, role: str, name: str, pressed: Callable[[], object]) -> QPushButton:
        """Add a button at the right end of the row; returns it."""
        button = push_button(text, role, name)
        button.clicked.connect(lambda _checked=False: pressed())
        button.setDefault(role == "primary")
        self.buttons.addWidget(button)
        margins = self.column.contentsMargins()
        needed = self.buttons.sizeHint().width() + margins.left() + margins.right()
        self.setMinimumWidth(max(self.minimumWidth(), needed))
        return button


class Question(Sheet):
    """A question with the answer that keeps everything at hand.

    Args:
        name: Object name; the buttons are ``<name>_yes`` and ``<name>_no``.
        title: The question.
        text: What each answer means.
        yes: Text of the button that does it.
        no: Text of the button that does nothing.
        on_yes: Called for yes.
        parent: The window.
        danger: Whether yes cannot be undone.
        other: Text and callback of a third answer; its button is ``<name>_other``.
    """

    def __init__(
        self,
        name: str,
        title: str,
        text: str,
        *,
        yes: str,
        no: str,
        on_yes: Callable[[], None],
        parent: QWidget,
        danger: bool = False,
        other: tuple[str, Callable[[], None]] | None = None,
    ) -> None:
        super().__init__(name, title, parent)
        self.body.addWidget(text_label(text, "second", f"{name}_text", wrap=True))
        self.add_button(no, "secondary", f"{name}_no", self.reject)
        if other is not None:
            self.add_button(other[0], "secondary", f"{name}_other", lambda: self._answer(other[1]))
        self.add_button(yes, "danger" if danger else "primary", f"{name}_yes", lambda: self._answer(on_yes))

    def _answer(self, do: Callable[[], None]) -> None:
        self.accept()
        do()


class TextSheet(Sheet):
    """A longer text to read and copy; what nobody wants to hand on with it is left out.

    Args:
        name: Object name.
        title: Heading.
        text: The text.
        parent: The window.
        mono: Whether it is set in a font of fixed width.
    """

    def __init__(self, name: str, title: str, text: str, parent: QWidget, *, mono: bool = False) -> None:
        super().__init__(name, title, parent, width=640)
        text = without_secrets(text)
        self.body.addWidget(text_box(text, f"{name}_text", title, mono=mono))
        self.add_button(self.tr("&Copy"), "secondary", f"{name}_copy", self._copy)
        self.add_button(self.tr("C&lose"), "primary", f"{name}_close", self.accept)
        self._text = text

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._text)


class ErrorDialog(Sheet):
    """An error: a sentence with what to do for the user's own, a report to copy for a bug.

    Args:
        error: The exception.
        state: Where the theme is.
        parent: The window.
    """

    def __init__(self, error: BaseException, state: AppState, parent: QWidget) -> None:
        bug = not is_for_user(error)
        title = QCoreApplication.translate(
            "ErrorDialog", "Something went wrong in TL Studio" if bug else "That did not work"
        )
        super().__init__("error_dialog", title, parent, width=520)
        self.head.insertWidget(0, IconLabel(state, "error" if bug else "warning", "bad", 22))
        self._report = report_of(error)
        self.sentence = text_label(sentence_of(error), "", "error_dialog_sentence", wrap=True)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.body.addWidget(self.sentence)
        if remedy := remedy_of(error):
            self.body.addWidget(text_label(remedy, "second", "error_dialog_remedy", wrap=True))
        if bug:
            self.body.addWidget(
                text_label(
                    self.tr("This is a mistake in the program, not in your data. Nothing was sent anywhere."),
                    "second",
                    "error_dialog_bug",
                    wrap=True,
                )
            )
            box = text_box(self._report, "error_dialog_report", self.tr("Report"), mono=True)
            box.setMinimumHeight(180)
            self.body.addWidget(box, 1)
            self.add_button(self.tr("&Copy report"), "secondary", "error_dialog_copy", self._copy)
        self.add_button(self.tr("C&lose"), "primary", "error_dialog_close", self.accept)

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._report)


def text_box(text: str, name: str, accessible: str, *, mono: bool = False) -> QPlainTextEdit:
    """Make a box with text that can be read and copied but not changed."""
    box = QPlainTextEdit(text)
    box.setObjectName(name)
    box.setAccessibleName(accessible)
    box.setReadOnly(True)
    box.setTabChangesFocus(True)
    if mono:
        box.setProperty("role", "mono")
        box.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        box.setFont(mono_font())
    return box

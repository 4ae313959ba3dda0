"""What stands below the form of the Train page: what will happen, in a sentence, and the buttons of the moment."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from tlstudio.gui.recipe_draft import Checked, RecipeDraft
from tlstudio.gui.state import AppState
from tlstudio.gui.theme import set_role
from tlstudio.gui.widgets.recipe_menu import RecipeMenu
from tlstudio.gui.widgets.texts import push_button, text_label

_HELP_MS = 6000


class TrainFoot(QWidget):
    """A sentence, and either the buttons that start a run or its reins.

    Args:
        state: What the pages share.
        draft: The recipe, for its menu.
        parent: Parent widget.
    """

    def __init__(self, state: AppState, draft: RecipeDraft, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_foot")
        self.sentence = text_label("", "small", "train_sentence", wrap=True)
        self.sentence.setAlignment(Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft)
        # Room for two lines at all times: nothing below may move while a button is being pressed.
        self.sentence.setMinimumHeight(2 * self.sentence.fontMetrics().height() + 2)
        self._buttons = QStackedWidget()
        self._buttons.setObjectName("train_buttons")
        self._buttons.addWidget(self._make_start(state, draft))
        self._buttons.addWidget(self._make_reins())
        self._buttons.setFixedHeight(36)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 6, 0)
        layout.setSpacing(8)
        layout.addWidget(self.sentence)
        layout.addWidget(self._buttons)
        self._sentence_text = ""
        self._fault = False
        self._help_timer = QTimer(self)
        self._help_timer.setSingleShot(True)
        self._help_timer.setInterval(_HELP_MS)
        self._help_timer.timeout.connect(self._show_sentence)
        draft.checked.connect(self._show_folds)

    def _make_start(self, state: AppState, draft: RecipeDraft) -> QWidget:
        self.train_button = push_button(self.tr("&Train"), "primary", "train_start")
        self.queue_button = push_button(
            self.tr("Add to &queue"),
            "secondary",
            "train_queue",
            hint=self.tr(
                "Lets this run wait for its turn. Queued runs go on one after the other, also without the window"
            ),
        )
        more = push_button(self.tr("&Recipe"), "secondary", "train_recipe_menu")
        self.recipe_menu = RecipeMenu(state, draft, more)
        more.setMenu(self.recipe_menu)
        return _row((more, 0), (self.queue_button, 1), (self.train_button, 1))

    def _make_reins(self) -> QWidget:
        self.pause_button = push_button(
            self.tr("&Pause"), "secondary", "train_pause", hint=self.tr("Waits before the next step; nothing is lost")
        )
        self.stop_button = push_button(
            self.tr("&Stop and keep best"),
            "primary",
            "train_stop",
            hint=self.tr("Ends after this step, keeps the best epoch and evaluates it"),
        )
        self.cancel_button = push_button(
            self.tr("Ca&ncel"),
            "quiet",
            "train_cancel",
            hint=self.tr("Ends after this step without an evaluation; what was best so far is kept"),
        )
        return _row((self.pause_button, 0), (self.stop_button, 1), (self.cancel_button, 0))

    @Slot(object)
    def _show_folds(self, checked: Checked) -> None:
        """Say on the button how many runs it starts, or of which fold the one is."""
        data = checked.recipe.dataset if checked.recipe is not None else None
        text = self.tr("&Train")
        if checked.folds:
            text = self.tr("&Train {0} folds").format(checked.folds)
        elif data is not None and data.folds:
            text = self.tr("&Train fold {0}").format(data.fold)
        self.train_button.setText(text)
        self.train_button.setAccessibleName(text.replace("&", ""))
        hint = self.tr("Queues a run for each fold and starts the queue; each goes on in a process of its own")
        self.train_button.setToolTip(hint if checked.folds else "")

    def set_sentence(self, text: str, *, fault: bool = False) -> None:
        """Say what will happen, or what is wrong: nothing else takes the place of that."""
        self._sentence_text, self._fault = text, fault
        self._help_timer.stop()
        self._show_sentence()

    @Slot()
    def _show_sentence(self) -> None:
        self.sentence.setText(self._sentence_text)
        self.sentence.setToolTip(self._sentence_text)

    @Slot(str)
    def show_help(self, text: str) -> None:
        """Explain a field for a while; the sentence then comes back, at once where the text is empty."""
        if text and not self._fault:
            self.sentence.setText(text)
            self._help_timer.start()
        else:
            self._help_timer.stop()
            self._show_sentence()

    @property
    def running(self) -> bool:
        """Whether the reins are shown."""
        return self._buttons.currentIndex() == 1

    def show_turn(self, *, must_wait: bool) -> None:
        """Say whether a run can start now, or can only be queued."""
        self.train_button.setVisible(not must_wait)
        set_role(self.queue_button, "primary" if must_wait else "secondary")

    def show_running(self, running: bool, *, paused: bool, ending: bool, waiting: bool) -> None:
        """Show the buttons of the moment; see `TrainSetup.show_running`."""
        self._buttons.setCurrentIndex(1 if running else 0)
        self.pause_button.setText(self.tr("&Continue") if paused else self.tr("&Pause"))
        self.pause_button.setAccessibleName(self.tr("Continue") if paused else self.tr("Pause"))
        self.pause_button.setEnabled(not ending and not waiting)
        self.stop_button.setEnabled(not ending)


def _row(*buttons: tuple[QPushButton, int]) -> QWidget:
    widget = QWidget()
    row = QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(8)
    for button, stretch in buttons:
        row.addWidget(button, stretch)
    return widget

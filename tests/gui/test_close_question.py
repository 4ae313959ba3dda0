"""The question before a window with a run is closed: each answer says what becomes of the run and of the queue."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QAbstractButton, QLabel, QWidget
from pytestqt.qtbot import QtBot

from tlstudio.gui.close_question import ask_to_close
from tlstudio.gui.state import AppState
from tlstudio.gui.widgets.dialogs import Question

LATER = "Stop it, keep all for later"


@pytest.mark.parametrize(
    ("outlives", "on", "waiting", "answers", "said"),
    [
        (False, False, 0, {"yes": "Stop, keep and close", "no": "Go on training"}, "go on with it from the Runs page."),
        (
            False,
            False,
            2,
            {"yes": "Stop, keep and close", "no": "Go on training"},
            "What is queued stays queued.",
        ),
        (
            False,
            True,
            2,
            {"yes": LATER, "other": "Stop it and begin the queued runs", "no": "Go on training"},
            "or stay queued until you start them.",
        ),
        (
            True,
            False,
            0,
            {"yes": "Leave it running", "other": "Stop and keep", "no": "Do not close"},
            "you can go on from there.",
        ),
        (
            True,
            False,
            1,
            {"yes": "Leave it running", "other": "Stop and keep", "no": "Do not close"},
            "What is queued stays queued.",
        ),
        (
            True,
            True,
            1,
            {"yes": "Leave it and the queue running", "other": LATER, "no": "Do not close"},
            "if it stops, they stay queued.",
        ),
    ],
)
def test_each_answer_says_what_becomes_of_the_run_and_of_what_is_queued(
    state: AppState, qtbot: QtBot, outlives: bool, on: bool, waiting: int, answers: dict[str, str], said: str
) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.show()
    state.queue.on, state.queue.waiting = on, waiting
    ask_to_close(window, state.queue, lambda *, leave=False: None, outlives=outlives)
    question = window.findChild(Question, "close_question")
    assert isinstance(question, Question)
    buttons = {
        button.objectName().removeprefix("close_question_"): button.text().replace("&", "")
        for button in question.findChildren(QAbstractButton)
    }
    assert buttons == answers
    for button in question.findChildren(QAbstractButton):
        assert button.width() >= button.sizeHint().width(), "its text is cut off"
    text = question.findChild(QLabel, "close_question_text")
    assert isinstance(text, QLabel)
    assert text.text().endswith(said)
    question.reject()

"""A run as its events tell it, and the thread that sends them."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from tests.gui.trained import tiny_recipe
from tlstudio.engine.events import EpochEnded, Paused, Progress, Resumed, RunEnded, RunEvent, RunStarted, StepLogged
from tlstudio.gui import run_work
from tlstudio.gui.run_story import RunStory
from tlstudio.gui.state import AppState
from tlstudio.gui.training_worker import TrainingSession
from tlstudio.store.project import Project

LONG = 60_000


def test_a_story_tells_phase_and_part_done() -> None:
    story = RunStory()
    assert story.nutshell().phase == "preparing"
    started = RunStarted("r", 4, 10, 100, 20, 5, 50, "cpu", "loss", "min")
    story.take([Progress("Computing features", 50, 50)])
    assert (story.nutshell().text, story.fraction) == ("Computing features", 1.0)
    story.take([started])
    assert (story.nutshell().text, story.fraction) == ("Training 0 %", 0.0)
    events: list[RunEvent] = [StepLogged(5, 0.5, 1.0, {"head": 0.1}, 10.0, 1.0, 9.0)]
    story.take(events)
    assert story.nutshell().text == "Training 12 %"
    assert story.epoch_now == 1
    story.take([EpochEnded(4, 40, 0.1, {"loss": 0.2}, True, 4, 8.0)])
    assert story.fraction == pytest.approx(0.96)
    story.take([RunEnded("r", "done", {}, 4, 9.0)])
    assert (story.fraction, story.nutshell().status, story.seconds) == (1.0, "done", 9.0)


@pytest.mark.parametrize(("trainable", "told"), [(0, "validation"), (50, "train loss")])
def test_a_loss_is_told_of_what_learns_only(trainable: int, told: str) -> None:
    story = RunStory()
    ended = EpochEnded(1, 10, 0.0, {"accuracy": 0.5}, True, 1, 1.0)
    story.take([RunStarted("r", 1, 10, 100, 20, trainable, 50, "cpu", "accuracy", "max"), ended])
    assert story.log[-1].startswith(f"Epoch 1: {told} ")


def test_after_a_pause_while_features_are_computed_the_run_still_prepares() -> None:
    story = RunStory()
    story.take([Progress("Computing features", 1, 2), Paused()])
    assert story.nutshell().phase == "paused"
    story.take([Resumed(), Progress("Computing features", 2, 2)])
    assert story.nutshell().phase == "preparing"


def test_the_worker_sends_every_event_and_ends_its_thread(
    state: AppState, shapes_project: Project, qtbot: QtBot
) -> None:
    recipe = tiny_recipe(shapes_project, state.registry)
    session = TrainingSession(run_work.execute(recipe, shapes_project, state.registry, in_process=False))
    heard: list[RunEvent] = []
    session.worker.happened.connect(heard.append)
    with qtbot.waitSignal(session.ended, timeout=LONG):
        session.start()
    drained = session.drain()
    assert isinstance(drained[0], RunEvent)
    assert isinstance(drained[-1], RunEnded)
    assert sum(isinstance(event, RunEnded) for event in drained) == 1
    assert session.drain() == []
    assert not session.running
    qtbot.waitUntil(lambda: len(heard) == len(drained))
    session.deleteLater()

"""How often checkpoints are written, and that it is told where that is not as often as asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from tlstudio.engine import saving
from tlstudio.engine.checkpoint import Checkpoints, CheckpointState
from tlstudio.engine.control import RunControl
from tlstudio.engine.events import Note, RunEvent
from tlstudio.engine.saving import Pace, Saver


def test_one_slow_write_does_not_put_off_the_checkpoints_after_it() -> None:
    pace = Pace(3.0)
    pace.add(8.0)
    assert pace.pause == 30.0, "it may be slow by chance"
    pace.add(0.05)
    assert pace.pause == 3.0
    for cost in (8.0, 7.0, 9.0, 6.0):
        pace.add(cost)
    assert pace.pause == 3.0
    pace.add(8.0)
    assert pace.pause == pytest.approx(6.0 / 0.025), "all of the last ones were slow"
    for _ in range(5):
        pace.add(100.0)
    assert pace.pause == 600.0
    assert Pace(1000.0).told == 5.0, "the first one comes early"
    always = Pace(0.0)
    always.add(8.0)
    assert always.pause == 0.0


def test_that_checkpoints_come_less_often_than_asked_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_SHARE", 1e-9)  # so that every write is a slow one
    model = nn.Linear(2, 2)
    heard: list[RunEvent] = []
    saver = Saver(Checkpoints(tmp_path, set(model.state_dict())), 1e-9, RunControl(), heard.append)
    try:
        for step in range(3):
            saver.save(["last"], model, CheckpointState(1, step), {})
            saver.finish()
            assert not saver.due
    finally:
        saver.close()
    (told,) = (event.text for event in heard if isinstance(event, Note))
    assert told.startswith("Checkpoints come every 30 s and not every 1e-09 s, as writing one takes ")

"""Every event becomes one line of JSON and comes back the same."""

from __future__ import annotations

import json

import pytest

from tlstudio.engine.events import (
    CheckpointSaved,
    EpochEnded,
    Note,
    Paused,
    Progress,
    Resumed,
    RunEnded,
    RunEvent,
    RunStarted,
    StepLogged,
    TextsWritten,
    from_json,
    to_json,
)

EVENTS: list[RunEvent] = [
    RunStarted("r", 3, 10, 100, 20, 5, 50, "cpu", "accuracy", "max"),
    Progress("Computing features", 3, 9),
    StepLogged(1, 0.1, 2.5, {"head": 1e-3}, 12.5, 0.2, None),
    EpochEnded(1, 10, 2.0, {"loss": 1.5, "accuracy": 0.5}, True, 1, 3.0, (("图/1.png", "circle\n", 4.5),)),
    TextsWritten(1, (("row 1", "Wie heißt du?", "Anna", "Anna\n\tAnna"), ("row 2", "", "东京", ""))),
    CheckpointSaved(1, "best", 0.01),
    Paused(),
    Resumed(),
    Note("a sentence", "warning"),
    RunEnded("r", "done", {"test": {"accuracy": 0.75}}, 1, 3.5),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_its_line(event: RunEvent) -> None:
    line = to_json(event, time=12.5)
    assert "\n" not in line
    assert json.loads(line)["event"] == type(event).__name__
    assert from_json(line) == (event, 12.5)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"event": "Bomb", "time": 1}',
        '{"event": "Paused"}',
        "null",
        pytest.param('{"a":' * 100_000, id="nested too deeply"),
    ],
)
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not an event"):
        from_json(line)

"""The check that closes windows: it is itself a test of the whole program, from its start to its end."""

from __future__ import annotations

import random
from pathlib import Path

from tlstudio.selftest.close import KINDS, run_trials


def test_a_window_that_is_closed_during_a_run_ends_in_time_and_leaves_a_whole_project(tmp_path: Path) -> None:
    seed = next(seed for seed in range(100) if random.Random(seed).sample(KINDS, len(KINDS))[0] == ("stop", "window"))
    trials = list(run_trials(tmp_path, 1, seed))
    assert [trial.name for trial in trials] == ["stop, run in a window"]
    assert trials[0].survived, trials[0].details

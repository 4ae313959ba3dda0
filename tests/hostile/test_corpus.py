"""A small sample of the hostile files; ``tlstudio selftest --only hostile --thorough`` uses all of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tlstudio.selftest.hostile import CHECK, corpus, run_trials


def test_there_are_at_least_200_hostile_files_for_every_place() -> None:
    files = corpus()
    assert 200 <= len(files) <= CHECK.thorough
    assert len({file.name for file in files}) == len(files)
    assert all(file.danger.endswith(".") for file in files)
    assert min(Counter(file.place for file in files).values()) >= 3


def test_hostile_files_run_nothing_write_nowhere_and_are_told(tmp_path: Path) -> None:
    trials = list(run_trials(tmp_path, count=6, seed=7))
    assert len(trials) == 6
    assert [trial.details for trial in trials if not trial.survived] == []

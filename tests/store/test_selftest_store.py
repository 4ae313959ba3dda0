"""The self-test of projects passes, and would not pass if something were lost."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tlstudio.selftest.store import Said, Story, _event, _faults_of_the_index, _faults_of_the_project, run_trials
from tlstudio.store import Project, Run


def test_a_killed_writer_loses_nothing_and_one_of_many_gets_the_lock(tmp_path: Path) -> None:
    trials = list(run_trials(tmp_path, 8, seed=3))
    assert [trial.details for trial in trials if not trial.survived] == []
    assert Counter(trial.name for trial in trials) == {"killed while writing": 8, "race for the right to write": 16}


@pytest.fixture
def told(tmp_path: Path) -> tuple[Run, Story]:
    """A project with one run of six events, and the story that its writer told."""
    with Project.create(tmp_path / "p") as project:
        run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="full")
        for number in range(1, 7):
            run.append_event(_event(number))
        run.finish("done")
        run.set_note("a note")
        assert len(project.metric_rows()) == 2
    return run, Story({run.id: Said("done", "a note", events=6, rows=2)})


def faults(run: Run, story: Story) -> str:
    folder = run.folder.parents[1]
    return "; ".join(
        _faults_of_the_index(folder, folder.parent / "copy", story) + _faults_of_the_project(folder, story)
    )


def test_a_whole_project_has_no_faults(told: tuple[Run, Story]) -> None:
    assert faults(*told) == ""


def lose_an_event(run: Run) -> None:
    os.truncate(run.events_path, run.events_path.stat().st_size - 5)


def lose_the_status(run: Run) -> None:
    run.finish("failed")


def lose_the_note(run: Run) -> None:
    run.set_note("another")


def lose_the_run(run: Run) -> None:
    run.folder.rename(run.folder.parents[2] / "elsewhere")


def leave_half_a_run(run: Run) -> None:
    (run.folder.parent / "half").mkdir()


def lose_a_row(run: Run) -> None:
    with sqlite3.connect(run.folder.parents[1] / "project.db") as connection:
        connection.execute("DELETE FROM metric WHERE epoch = 2")
    connection.close()


def lose_the_index(run: Run) -> None:
    (run.folder.parents[1] / "project.db").unlink()


def damage_the_index(run: Run) -> None:
    path = run.folder.parents[1] / "project.db"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xa5" * (len(data) - 8192))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_an_event, "6 events were written, 5 are there"),
        (lose_the_status, "is failed, not done"),
        (lose_the_note, "has the note 'another'"),
        (lose_the_run, "lost: "),
        (leave_half_a_run, "half-made: half"),
        (lose_a_row, "2 rows were committed, 1 are there"),
        (lose_the_index, "an index with committed rows is gone"),
        (damage_the_index, "integrity_check"),
    ],
)
def test_whatever_is_lost_is_found(told: tuple[Run, Story], damage: Callable[[Run], None], said: str) -> None:
    damage(told[0])
    try:
        found = faults(*told)
    except sqlite3.DatabaseError as error:
        found = f"integrity_check: {error}"
    assert said in found


def test_what_the_writer_was_about_may_be_done_or_not(told: tuple[Run, Story]) -> None:
    run, story = told
    story.doing = ("note", run.id, "another")
    assert faults(run, story) == ""
    story.doing = ("note", run.id, "another")
    run.set_note("another")
    assert faults(run, story) == ""

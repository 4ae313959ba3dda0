"""``project.db`` is an index: whatever happens to it, the run folders win."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tlstudio.store import MetricRow, Project, Run, RunSummary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Project.create(tmp_path / "p") as project:
        for number, strategy in enumerate(("linear_probe", "full", "lora")):
            run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy=strategy)
            run.finish("done", {"test": {"accuracy": number / 10}}, number, 1.5)
        project.set_note(run.id, "a note", ["tag"])
        project.runs()
    return tmp_path / "p"


def listed(folder: Path) -> tuple[list[RunSummary], list[str]]:
    with Project.open(folder) as project:
        return project.runs(), project.notes


def test_the_index_equals_a_rebuild(folder: Path) -> None:
    with Project.open(folder) as project:
        before = project.runs()
        assert [summary.strategy for summary in before] == ["lora", "full", "linear_probe"]
        assert before[0].metrics == {"test": {"accuracy": 0.2}}
        project.rebuild_index()
        assert project.runs() == before
    with Project.open(folder, write=False) as reader:
        assert reader.runs() == before


def test_the_index_is_a_durable_database(folder: Path) -> None:
    with Project.open(folder) as project:
        connection = project._index._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert not (folder / "project.db-wal").exists()


def remove(path: Path) -> None:
    path.unlink()


def no_database(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scrambled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : len(data)] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def other_schema(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE run; CREATE TABLE run (something); PRAGMA user_version = 99;")
    connection.close()


def without_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE run;")
    connection.close()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage", [remove, no_database, empty, truncated, scrambled, other_schema, without_table, a_folder]
)
def test_a_damaged_index_is_made_anew_from_the_run_folders(folder: Path, damage: Callable[[Path], None]) -> None:
    before, notes = listed(folder)
    assert notes == []
    damage(folder / "project.db")
    after, notes = listed(folder)
    assert after == before
    if damage in (remove, no_database, truncated, scrambled):
        assert any("from the run folders" in note for note in notes)
    if damage is not a_folder:
        assert listed(folder) == (before, [])


def test_runs_that_changed_behind_the_index_are_read_again(folder: Path) -> None:
    before, _ = listed(folder)
    shutil.rmtree(folder / "runs" / before[0].id)
    shutil.copytree(folder / "runs" / before[1].id, folder / "runs" / "2020-01-01-001-copied")
    with Project.open(folder) as project:
        project.run(before[2].id).record_metrics("test", {"accuracy": 0.9})
        after = {summary.id: summary for summary in project.runs()}
        assert set(after) == {before[1].id, before[2].id, "2020-01-01-001-copied"}
        assert after[before[2].id].metrics["test"] == {"accuracy": 0.9}
        project.rebuild_index()
        assert {summary.id: summary for summary in project.runs()} == after


def test_a_folder_that_turns_into_a_plain_one_is_dropped(folder: Path) -> None:
    before, _ = listed(folder)
    for name in ("run.json", "recipe.toml"):
        (folder / "runs" / before[0].id / name).unlink()
    assert [summary.id for summary in listed(folder)[0]] == [summary.id for summary in before[1:]]


def test_an_index_that_cannot_be_used_while_open_is_made_anew(folder: Path) -> None:
    with Project.open(folder) as project:
        before = project.runs()
        project._index._connection.execute("DROP TABLE run")
        assert project.runs() == before


def end_epoch(run: Run, epoch: int, **validation: float) -> None:
    run.append_event(json.dumps({"event": "StepLogged", "step": 10 * epoch, "loss": 0.5}))
    values = {"epoch": epoch, "step": 10 * epoch, "train_loss": 0.5, "validation": validation, "is_best": epoch == 1}
    run.append_event(json.dumps({"event": "EpochEnded", "time": 0.0, **values, "best_epoch": 1}))
    run.close()


def new_run(project: Project) -> Run:
    return project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="full")


def test_metric_rows_follow_a_run_while_it_streams_and_equal_a_rebuild(folder: Path) -> None:
    with Project.open(folder) as project:
        run, other = new_run(project), new_run(project)
        assert project.metric_rows(run.id) == []
        for epoch in (1, 2, 3):
            end_epoch(run, epoch, accuracy=epoch / 10, loss=math.inf)
            rows = project.metric_rows(run.id)
            assert [row.epoch for row in rows] == list(range(1, epoch + 1))
        assert rows[0] == MetricRow(run.id, 1, 10, 0.5, {"accuracy": 0.1, "loss": math.inf}, True)
        end_epoch(other, 1)
        run.finish("done")
        rows = project.metric_rows()
        assert [(row.run, row.epoch) for row in rows] == [(run.id, 1), (run.id, 2), (run.id, 3), (other.id, 1)]
        project.rebuild_index()
        assert project.metric_rows() == rows
        other.finish("cancelled")
        project.delete_run(other.id)
        assert project.metric_rows() == rows[:3]
    with Project.open(folder, write=False) as reader:
        assert reader.metric_rows() == rows[:3]


def test_metric_rows_are_committed_to_the_database(folder: Path) -> None:
    with Project.open(folder) as project:
        run = new_run(project)
        end_epoch(run, 1)
        project.metric_rows()
        with sqlite3.connect(folder / "project.db") as connection:
            assert connection.execute("SELECT run, epoch FROM metric").fetchall() == [(run.id, 1)]
        connection.close()


def test_rows_that_a_run_has_taken_back_are_dropped(folder: Path) -> None:
    with Project.open(folder) as project:
        run = new_run(project)
        end_epoch(run, 1, accuracy=0.1)
        size = run.sync_events()
        end_epoch(run, 2, accuracy=0.2)
        assert len(project.metric_rows(run.id)) == 2
        run.cut_events(size)
        assert [row.epoch for row in project.metric_rows(run.id)] == [1]
        run.record_metrics("validation", {"accuracy": 0.1})  # as a run that goes on does: its record is written anew
        end_epoch(run, 2, accuracy=0.3)
        end_epoch(run, 3, accuracy=0.4)
        assert [row.validation["accuracy"] for row in project.metric_rows(run.id)] == [0.1, 0.3, 0.4]
        run.close()


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"event": "EpochEnded"}',
        '{"event": "EpochEnded", "epoch": Infinity, "step": 1, "train_loss": 1, "validation": {}, "is_best": true}',
        '{"event": "EpochEnded", "epoch": 1, "step": 1, "train_loss": 1, "validation": 3, "is_best": true}',
        '["EpochEnded"' + "[" * 100_000,
    ],
)
def test_a_damaged_event_costs_its_own_row_only(folder: Path, line: str) -> None:
    with Project.open(folder) as project:
        run = new_run(project)
        end_epoch(run, 1)
        run.append_event(line)
        end_epoch(run, 2)
        run.close()
        with run.events_path.open("ab") as file:
            file.write(b'{"event": "EpochEnded", "epo')
        assert [row.epoch for row in project.metric_rows(run.id)] == [1, 2]


def test_an_index_of_an_earlier_version_is_made_anew(folder: Path) -> None:
    before, _ = listed(folder)
    connection = sqlite3.connect(folder / "project.db")
    connection.executescript("DROP TABLE metric; DROP TABLE followed; PRAGMA user_version = 1;")
    connection.close()
    assert listed(folder) == (before, [])


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        ("run", '"', "#"),  # one bit
        ("run", '"best_epoch": 1', '"best_epoch": []'),
        ("run", '"metrics": {', '"metrics": [1], "x": {'),
        ("run", '"seconds": 1.5', '"seconds": ' + "[" * 100_000),
        ("run", "{", "[{"),
        ("metric", '"', "#"),
        ("metric", '"epoch": 1', '"epoch": 1e999'),
    ],
)
def test_rows_that_do_not_say_what_was_written_are_read_from_the_run_folders(
    folder: Path, table: str, old: str, new: str
) -> None:
    with Project.open(folder) as project:
        run = new_run(project)
        end_epoch(run, 1)
        run.finish("done", best_epoch=1, seconds=1.5)
        runs, rows = project.runs(), project.metric_rows()
    connection = sqlite3.connect(folder / "project.db")
    with connection:
        assert connection.execute(f"UPDATE {table} SET record = replace(record, ?, ?)", (old, new)).rowcount
    connection.close()
    with Project.open(folder) as project:
        assert (project.runs(), project.metric_rows()) == (runs, rows)
    with Project.open(folder) as project:
        assert (project.runs(), project.metric_rows()) == (runs, rows)


def test_a_place_in_the_events_that_cannot_be_is_none(folder: Path) -> None:
    with Project.open(folder) as project:
        run = new_run(project)
        end_epoch(run, 1)
        run.close()
        rows = project.metric_rows()
        project._index._connection.execute("UPDATE followed SET size = -1")
        assert project.metric_rows() == rows


def test_a_run_folder_whose_name_no_database_can_hold_is_left_out(folder: Path) -> None:
    before, _ = listed(folder)
    try:
        shutil.copytree(folder / "runs" / before[0].id, folder / "runs" / "\udcff-full")
    except (OSError, UnicodeError):
        pytest.skip("this system has no such names")
    assert listed(folder) == (before, [])


def test_a_record_with_half_a_character_is_listed(folder: Path) -> None:
    with Project.open(folder) as project:
        run = project.run(project.runs()[0].id)
        run.write_json("run", run.read_json("run") | {"created": "a", "dataset": "b"})
        text = (run.folder / "run.json").read_text()
        (run.folder / "run.json").write_text(text.replace('"a"', '"\\ud800"').replace('"b"', '"\\udfff"'))
        assert {summary.id: summary.dataset for summary in project.runs()}[run.id] == "\udfff"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a path")
def test_a_pipe_in_the_place_of_events_is_not_waited_for(folder: Path) -> None:
    with Project.open(folder) as project:
        run, other = new_run(project), new_run(project)
        os.mkfifo(run.events_path)
        end_epoch(other, 1)
        assert [row.run for row in project.metric_rows()] == [other.id]

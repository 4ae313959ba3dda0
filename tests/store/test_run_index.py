"""``project.db`` is an index: whatever happens to it, the run folders win."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tlstudio.store import Project, RunSummary


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

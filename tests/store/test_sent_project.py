"""A project that somebody sent may hold links, pipes and databases of any kind: nothing outside of it is changed."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tlstudio.api import DataError, ProjectError, RunError
from tlstudio.data import import_dataset, plan_import
from tlstudio.plugins import Registry
from tlstudio.store import Project

CHOICE: dict[str, Any] = {"dataset": "d", "revision": "r1", "backbone": "b", "head": "h", "strategy": "full"}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "proj") as made:
        yield made


def folder_of_others(folder: Path) -> Path:
    """A folder with what the studio would sweep in its own."""
    (folder / ".new-house-plans").mkdir(parents=True)
    (folder / ".new-house-plans" / "plan.txt").write_text("years of work")
    (folder / ".letter.tmp").write_text("not yet saved")
    (folder / "run.json").write_text("{}")
    os.utime(folder / ".letter.tmp", (0, 0))
    return folder


@pytest.mark.parametrize("name", ["datasets", "runs", "cache", "logs"])
def test_a_project_whose_folders_are_links_is_not_changed_nor_what_they_lead_to(project: Project, name: str) -> None:
    project.close()
    others = folder_of_others(project.folder.parent / "others")
    before = sorted(others.rglob("*"))
    if (project.folder / name).exists():
        (project.folder / name).rmdir()
    (project.folder / name).symlink_to(others)
    with pytest.raises(ProjectError, match=f"its folder {name} is a link.* Put the folder itself in the place"):
        Project.open(project.folder)
    assert sorted(others.rglob("*")) == before
    with Project.open(project.folder, write=False) as reader:
        assert reader.runs() == []


def test_a_run_or_data_set_that_is_a_link_is_none_of_the_projects(project: Project, registry: Registry) -> None:
    project.close()
    others = folder_of_others(project.folder.parent / "others")
    before = sorted(others.rglob("*"))
    table = project.folder.parent / "a.csv"
    table.write_text("text,label\n" + "".join(f"item {n},{'ab'[n % 2]}\n" for n in range(40)))
    (project.datasets_folder / "birds").symlink_to(others)
    for number in range(1, 4):
        (project.runs_folder / f"{datetime.now().astimezone():%Y-%m-%d}-{number:03d}-full").symlink_to(others)
    (project.runs_folder / ".new-1").symlink_to(others)
    with Project.open(project.folder) as opened:
        assert (opened.runs(), opened.datasets()) == ([], [])
        with pytest.raises(RunError, match="There is no run"):
            opened.run(f"{datetime.now().astimezone():%Y-%m-%d}-001-full")
        run = opened.new_run("", **CHOICE)
        assert [summary.id for summary in opened.runs()] == [run.id]
        request, _ = plan_import(registry.formats.values(), table, name="birds")
        with pytest.raises(DataError, match="birds is a link"):
            import_dataset(request, opened.datasets_folder)
    assert sorted(others.rglob("*")) == before


A_VIEW = """
CREATE VIEW run AS WITH RECURSIVE day(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM day)
    SELECT '' || number AS id, '' AS created, '{}' AS record, 'x' AS stamp FROM day WHERE number < 0;
CREATE TABLE metric (run, epoch, record);
CREATE TABLE followed (run, stamp, size);
PRAGMA user_version = 2;
"""
A_TRIGGER = """
CREATE TRIGGER grow AFTER INSERT ON run BEGIN
    INSERT INTO metric WITH RECURSIVE day(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM day)
        SELECT number, number, '{}' FROM day;
END;
"""


@pytest.fixture
def impatient() -> Iterator[None]:
    """What computes or waits without end fails the test after a while."""

    def late(*_: object) -> None:
        raise TimeoutError("it is not done with")

    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no timers")
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 30)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("script", "anew"), [(A_VIEW, True), (A_TRIGGER, False)])
def test_an_index_that_computes_without_end_is_made_anew(project: Project, script: str, anew: bool) -> None:
    run = project.new_run("", **CHOICE)
    project.close()
    if anew:
        (project.folder / "project.db").unlink()
    connection = sqlite3.connect(project.folder / "project.db")
    connection.executescript(script)
    connection.close()
    with Project.open(project.folder) as opened:
        assert [summary.id for summary in opened.runs()] == [run.id]
        assert any("its tables are others" in note for note in opened.notes)
    with Project.open(project.folder) as opened:
        assert opened.notes == []


@pytest.mark.parametrize("name", ["checkpoints", "assets", "predictions"])
def test_a_run_with_a_link_in_it_is_not_carried_out(project: Project, name: str) -> None:
    run = project.new_run("", **CHOICE, status="queued")
    others = folder_of_others(project.folder.parent / "others")
    before = sorted(others.rglob("*"))
    if (run.folder / name).is_dir():
        (run.folder / name).rmdir()
    (run.folder / name).symlink_to(others)
    with pytest.raises(RunError, match=f"cannot be written: {name} in it is a link"), run.carrying_out():
        raise AssertionError("it is carried out")
    assert [summary.status for summary in project.runs()] == ["queued"]
    assert sorted(others.rglob("*")) == before


def others_database(path: Path) -> tuple[int, str]:
    """What is in the database of another program; it is made where it is missing."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS run (kilometres)")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (table,) = connection.execute("SELECT sql FROM sqlite_master").fetchone()
    connection.close()
    return version, table


def test_a_link_in_the_place_of_the_index_leads_to_no_change_elsewhere(project: Project) -> None:
    project.close()
    path = project.folder.parent / "places.sqlite"
    before, index = others_database(path), project.folder / "project.db"
    for suffix in ("", "-wal", "-shm", "-journal"):
        link = index.with_name(index.name + suffix)
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        with Project.open(project.folder) as opened:
            assert opened.runs() == []
            assert any(f"{link.name} is not of its own making" in note for note in opened.notes)
            assert not link.is_symlink()
        assert others_database(path) == before


@pytest.mark.usefixtures("impatient")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a path")
def test_a_pipe_in_the_place_of_the_index_is_not_waited_for(project: Project) -> None:
    project.close()
    (project.folder / "project.db").unlink()
    os.mkfifo(project.folder / "project.db")
    with Project.open(project.folder) as opened:
        assert opened.runs() == []
    assert (project.folder / "project.db").is_file()


def test_a_journal_that_names_another_file_does_not_have_it_deleted(project: Project) -> None:
    """SQLite rolls back a journal that it finds, and removes the file that the journal calls the one above it."""
    project.runs()
    project.close()
    thesis = project.folder.parent / "thesis.txt"
    thesis.write_text("years of work")
    magic, name = bytes.fromhex("d9d505f920a163d7"), os.fsencode(thesis)
    pages = (project.folder / "project.db").stat().st_size // 4096
    head = magic + struct.pack(">5I", 0, 0, pages, 512, 4096)
    tail = struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    (project.folder / "project.db-journal").write_bytes(head.ljust(512, b"\0") + tail)
    with Project.open(project.folder) as opened:
        assert opened.runs() == []
    assert thesis.read_text() == "years of work"
    assert not (project.folder / "project.db-journal").exists()


@pytest.mark.usefixtures("impatient")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a path")
def test_a_pipe_in_the_place_of_the_holders_note_is_not_waited_for(project: Project) -> None:
    note = project.folder / ".lock.json"
    note.unlink()
    os.mkfifo(note)
    with pytest.raises(ProjectError, match="already open for writing in another program"):
        Project.open(project.folder)


def test_a_link_in_the_place_of_the_lock_is_not_written_through(project: Project) -> None:
    project.close()
    letter = project.folder.parent / "letter.txt"
    letter.write_text("somebody else's")
    (project.folder / ".lock").unlink(missing_ok=True)
    (project.folder / ".lock").symlink_to(letter)
    with pytest.raises(ProjectError, match="can only be read, not changed"):
        Project.open(project.folder)
    assert letter.read_text() == "somebody else's"

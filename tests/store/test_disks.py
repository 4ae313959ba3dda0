"""A full, read-only or vanished disk at each write of a project: a sentence, nothing lost or half-made, and on it goes.

Real disks are made where the tests may mount them; a limit on the size of files stands for a full one elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tlstudio.api import TLStudioError
from tlstudio.data import import_dataset, plan_import
from tlstudio.plugins import Registry
from tlstudio.selftest.store import _event
from tlstudio.store import Project, Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Disks are limited and mounted in the way of POSIX")
_SIZE = 32 * 2**20  # an import wants 16 MiB to spare


def mount(*arguments: str) -> bool:
    """Mount something; False where the tests may not."""
    with contextlib.suppress(OSError):
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
    return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk; an ordinary folder where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = mount("-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder))
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def no_more_room(disk: Path) -> Iterator[None]:
    """No file may become larger: what is written fails as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not one byte is left on the disk."""
    if not disk.is_mount():
        pytest.skip("No disk can be mounted here.")
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (2**20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    try:
        yield
    finally:
        (disk / "filler").unlink()


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """The disk has become read-only, as Linux does with one that fails."""
    if not (disk.is_mount() and mount("--bind", str(disk), str(disk))):
        pytest.skip("No disk can be mounted here.")
    try:
        assert mount("-o", "remount,bind,ro", str(disk))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextlib.contextmanager
def vanished(disk: Path) -> Iterator[None]:
    """The disk was pulled out, and comes back."""
    away = disk / "away"
    (disk / "project").rename(away)
    try:
        yield
        assert not (disk / "project").exists()  # nothing was written where the disk has been
    finally:
        away.rename(disk / "project")


Condition = Callable[[Path], AbstractContextManager[None]]


@dataclass
class Material:
    """What the writes are tried on."""

    project: Project
    done: Run
    going: Run
    table: Path
    registry: Registry


@pytest.fixture
def material(disk: Path, tmp_path: Path, registry: Registry) -> Iterator[Material]:
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"a text {n},{n % 2}\n" for n in range(300)))
    with Project.create(disk / "project") as project:
        done, going = new_run(project), new_run(project)
        for run in (done, going):
            for number in range(1, 7):
                run.append_event(_event(number))
        done.finish("cancelled", {"validation": {"accuracy": 0.5}}, 1, 1.0)
        done.set_note("before")
        project.metric_rows()
        yield Material(project, done, going, tmp_path / "texts.csv", registry)
        going.close()


def new_run(project: Project) -> Run:
    return project.new_run("epochs = 1\n", dataset="d", revision="r1", backbone="b", head="h", strategy="full")


def make_a_project(material: Material) -> None:
    Project.create(material.project.folder / "inside").close()


def make_a_run(material: Material) -> None:
    new_run(material.project)


def add_an_event(material: Material) -> None:
    material.going.append_event(json.dumps({"event": "Note", "text": "x" * 10_000}))


def write_a_file(material: Material) -> None:
    material.done.write_json("environment", {"a": "x" * 10_000})


def finish(material: Material) -> None:
    material.going.finish("done", {"test": {"accuracy": 1.0}})


def record_metrics(material: Material) -> None:
    material.done.record_metrics("test", {"accuracy": 0.4})


def note(material: Material) -> None:
    material.project.set_note(material.done.id, "after")


def rename(material: Material) -> None:
    material.project.rename("Another name")


def go_on(material: Material) -> None:
    material.project.resume_run(material.done.id)


def bring_in(material: Material) -> None:
    request, _ = plan_import(material.registry.formats.values(), material.table)
    import_dataset(request, material.project.datasets_folder)


def delete(material: Material) -> None:
    material.project.delete_run(material.done.id)


def state(folder: Path) -> dict[str, bytes]:
    """All that a project holds, but its index and lock."""
    files = (path for path in folder.rglob("*") if path.is_file())
    passing = ("project.db", ".lock", "filler")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith(passing)}


WRITES = [make_a_project, make_a_run, add_an_event, write_a_file, finish, record_metrics, note, rename, go_on, bring_in]


@pytest.mark.parametrize("condition", [no_more_room, full, read_only, vanished])
@pytest.mark.parametrize("write", [*WRITES, delete])
def test_a_write_that_the_disk_refuses_is_told_loses_nothing_and_is_done_later(
    material: Material, disk: Path, write: Callable[[Material], None], condition: Condition
) -> None:
    if write is delete and condition in (full, no_more_room):
        pytest.skip("Deleting needs no room.")
    if write is make_a_project and condition is vanished:
        pytest.skip("A new project gets the folders above it, too.")
    material.going.close()  # so that adding an event has to open the file, as it does after a pause
    project = material.project
    before, runs, rows = state(project.folder), project.runs(), project.metric_rows()
    with condition(disk):
        with pytest.raises(TLStudioError) as told:
            write(material)
        assert str(told.value).endswith(".")
        assert [run.id for run in project.runs()] == [run.id for run in runs]
    assert state(project.folder) == before
    assert (project.runs(), project.metric_rows()) == (runs, rows)
    write(material)
    assert state(project.folder) != before
    project.rebuild_index()
    assert len(project.runs()) == len(runs) + (write is make_a_run) - (write is delete)


@pytest.mark.parametrize("condition", [no_more_room, full, read_only])
def test_the_index_answers_although_the_disk_takes_nothing_and_is_written_later(
    material: Material, disk: Path, condition: Condition
) -> None:
    project = material.project
    with contextlib.ExitStack() as stack:
        material.going.append_event(_event(7))
        material.going.append_event(_event(8))
        material.going.append_event(_event(9))
        material.done.set_note("x" * 100_000)  # a record that the index has no room for
        stack.enter_context(condition(disk))
        assert [len(run.note) for run in project.runs()] == [0, 100_000]
        assert len(project.metric_rows(material.going.id)) == 3
        assert (project._index._spare is None) == (condition is read_only)  # there, what is open may still be written
    assert [len(run.note) for run in project.runs()] == [0, 100_000]
    assert len(project.metric_rows(material.going.id)) == 3
    project.close()
    with Project.open(project.folder) as opened:
        assert opened.notes == []  # the index was never taken for damaged


def test_an_event_that_fits_by_half_is_whole_when_it_is_written_again(material: Material, disk: Path) -> None:
    import resource

    run = material.going
    before = list(run.event_lines())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (run.events_path.stat().st_size + 20, hard))
    try:
        for _ in range(3):
            with pytest.raises(TLStudioError, match="could not be written"):
                run.append_event(_event(7))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(run.event_lines()) == before
    for number in (7, 8):
        run.append_event(_event(number))
    assert list(run.event_lines()) == [*before, _event(7), _event(8)]


@pytest.mark.parametrize("condition", [no_more_room, full, read_only])
def test_a_project_that_cannot_be_opened_for_writing_is_whole_and_opens_later(
    material: Material, disk: Path, condition: Condition
) -> None:
    material.going.close()
    material.project.close()
    folder = material.project.folder
    before = state(folder)
    with condition(disk):
        with pytest.raises(TLStudioError):
            Project.open(folder)
        with Project.open(folder, write=False) as reader:
            assert len(reader.runs()) == 2
            assert len(reader.metric_rows()) == 4
    assert state(folder) == before
    with Project.open(folder) as opened:
        assert opened.notes == []
        assert len(opened.runs()) == 2


@pytest.mark.parametrize("condition", [no_more_room, full, read_only])
def test_an_older_project_stays_as_it_was_while_there_is_no_room_for_its_backup(
    material: Material, disk: Path, condition: Condition
) -> None:
    material.going.close()
    material.project.close()
    folder = material.project.folder
    (folder / "tlstudio.json").write_text('{"format": 1, "name": "old"}')
    before = state(folder)
    with condition(disk), pytest.raises(TLStudioError):
        Project.open(folder)
    assert state(folder) == before
    with Project.open(folder) as opened:
        assert opened.name == "old"
        assert any("kept in backup-format-1" in line for line in opened.notes)

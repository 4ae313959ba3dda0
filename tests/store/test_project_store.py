"""What a project folder promises: made whole, opened safely, written by one, never lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tlstudio.api import DataError, ProjectError, RunError
from tlstudio.data import import_dataset, plan_import
from tlstudio.data.revision import TABLE_FILE
from tlstudio.plugins import Registry
from tlstudio.store import Project, Run

CHOICE: dict[str, Any] = {"dataset": "d", "revision": "r1", "backbone": "b", "head": "h", "strategy": "linear_probe"}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "proj") as made:
        yield made


def new_run(project: Project, **changes: Any) -> Run:
    return project.new_run('name = "x"\n', **{**CHOICE, **changes})


def run_python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, timeout=60)


def test_a_created_project_can_be_opened_again(tmp_path: Path) -> None:
    with Project.create(tmp_path / "a" / "b", "My name") as made:
        assert made.writable
        assert made.notes == []
    with Project.open(tmp_path / "a" / "b") as opened:
        assert opened.name == "My name"
        assert (opened.datasets(), opened.runs()) == ([], [])
        assert opened.notes == []


@pytest.mark.parametrize("name", ["Vögel und Bäume", "鳥の写真", "طيور", "a 'quoted' \"name\"", "🦉", "50 % #1?"])
def test_names_in_any_script_and_with_spaces_work(tmp_path: Path, name: str) -> None:
    with Project.create(tmp_path / name) as made:
        run = new_run(made, strategy=name)
        run.finish("done")
    with Project.open(tmp_path / name) as opened:
        assert opened.name == name
        assert [summary.id for summary in opened.runs()] == [run.id]
        assert opened.run(run.id).status == "done"


def test_a_folder_with_other_files_is_not_made_a_project(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ProjectError, match="not an empty folder"):
        Project.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_project_is_not_made_twice(project: Project) -> None:
    with pytest.raises(ProjectError, match="is a project already"):
        Project.create(project.folder)


def test_a_path_that_is_too_long_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="longer than the system allows"):
        Project.create(tmp_path / ("x" * 300))
    with pytest.raises(ProjectError, match="longer than the system allows"):
        Project.open(tmp_path / ("x" * 300))


def test_a_path_below_a_file_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="cannot be made"):
        Project.create(tmp_path / "file" / "project")


def test_what_is_no_project_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"is not a TL Studio project: it holds no tlstudio\.json"):
        Project.open(tmp_path)
    with pytest.raises(ProjectError, match="does not exist"):
        Project.open(tmp_path / "missing")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"name": "x"}', b"\xff\xfe\x00", b"", b'{"format": "one"}', b'{"format": true}', b'{"format": -3}'],
)
def test_a_damaged_project_file_gets_a_sentence_with_the_way_out(project: Project, content: bytes) -> None:
    project.close()
    (project.folder / "tlstudio.json").write_bytes(content)
    with pytest.raises(ProjectError, match=r"tlstudio\.json is damaged: .* not affected"):
        Project.open(project.folder)
    (project.folder / "tlstudio.json").write_text('{"format": 1}')
    Project.open(project.folder).close()


def test_a_project_of_a_newer_version_names_both_versions(project: Project) -> None:
    project.close()
    (project.folder / "tlstudio.json").write_text('{"format": 7, "name": "x", "app_version": "3.2.1"}')
    with pytest.raises(ProjectError, match=r"TL Studio 3\.2\.1 \(project format 7\); this is TL Studio .*up to 2"):
        Project.open(project.folder)


def test_a_second_writer_is_told_who_holds_the_project(tmp_path: Path) -> None:
    with (
        Project.create(tmp_path / "p", program="tlstudio train") as first,
        pytest.raises(ProjectError, match=rf"tlstudio train \(user .+ on .+, process {os.getpid()}, since 20..-"),
    ):
        Project.open(first.folder)
    Project.open(tmp_path / "p").close()


def test_another_process_may_read_but_not_write(project: Project) -> None:
    new_run(project)
    code = """
import sys
from pathlib import Path
from tlstudio.api import ProjectError
from tlstudio.store import Project
with Project.open(Path(sys.argv[1]), write=False) as p:
    print(len(p.runs()), p.runs()[0].status)
try:
    Project.open(Path(sys.argv[1]))
except ProjectError as error:
    print(error)
"""
    output = run_python(code, str(project.folder)).stdout.splitlines()
    assert output[0] == "1 running"
    assert f"process {os.getpid()}" in output[1]


def test_the_lock_of_a_killed_process_is_free(project: Project) -> None:
    folder = project.folder
    project.close()
    code = """
import sys, time
from pathlib import Path
from tlstudio.store import Project
p = Project.open(Path(sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(ProjectError, match=f"process {child.pid}"):
            Project.open(folder)
        child.kill()
    Project.open(folder).close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_the_lock_of_a_killed_process_is_free_within_a_second_although_a_process_that_it_forked_lives_on(
    project: Project,
) -> None:
    folder = project.folder
    project.close()
    code = """
import os, sys, time
from pathlib import Path
from tlstudio.store import Project
p = Project.open(Path(sys.argv[1]))
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        start = time.monotonic()
        while True:
            try:
                Project.open(folder).close()
                break
            except ProjectError:
                assert time.monotonic() - start < 1.0
        os.kill(child, signal.SIGKILL)


def test_a_note_of_a_holder_that_is_gone_holds_nothing_though_its_number_was_given_anew(project: Project) -> None:
    project.close()
    holder = {
        "program": "TL Studio",
        "user": "u",
        "host": "h",
        "pid": os.getpid(),
        "since": "2026-01-01T00:00:00+00:00",
    }
    (project.folder / ".lock.json").write_text(json.dumps(holder))
    with Project.open(project.folder, program="another") as opened:
        assert opened.writable
        assert json.loads((project.folder / ".lock.json").read_text())["program"] == "another"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no read-only folders")
def test_a_read_only_folder_can_be_read_and_says_why_it_cannot_be_written(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p") as project:
        new_run(project).finish("done")
    folders = [path for path in (tmp_path / "p").rglob("*") if path.is_dir()] + [tmp_path / "p"]
    above = [part for part in (tmp_path, *tmp_path.parents) if part.is_relative_to(tempfile.gettempdir())]
    for part in above[:-1]:  # pytest makes them for its own user alone
        part.chmod(part.stat().st_mode | 0o055)
    for part in folders:
        part.chmod(0o555)
    code = """
import os, sqlite3, sys
from pathlib import Path
import psutil
from tlstudio.api import ProjectError
from tlstudio.store import Project
if os.geteuid() == 0:
    os.setuid(65534)  # nobody: permissions do not apply to root
with Project.open(Path(sys.argv[1]), write=False) as p:
    print([run.status for run in p.runs()])
    try:
        p.set_note(p.runs()[0].id, "x")
    except ProjectError as error:
        print(error)
for make in (Project.open, lambda folder: Project.create(folder / "inside")):
    try:
        make(Path(sys.argv[1]))
    except ProjectError as error:
        print(error)
"""
    (tmp_path / "p" / ".lock").unlink(missing_ok=True)
    before = sorted(path.name for path in (tmp_path / "p").iterdir())
    result = run_python(code, str(tmp_path / "p"))
    for part in folders:
        part.chmod(0o755)
    assert result.stderr == ""
    read, note, write, create = result.stdout.splitlines()
    assert read == "['done']"
    assert "open for reading only" in note
    assert "can only be read, not changed: you may not write there" in write
    assert "cannot be made: you may not write there" in create
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == before


def test_reading_writes_nothing(project: Project) -> None:
    new_run(project).finish("done")
    project.close()
    (project.folder / "project.db").unlink()
    before = sorted(path.name for path in project.folder.iterdir())
    with Project.open(project.folder, write=False) as reader:
        assert len(reader.runs()) == 1
    assert sorted(path.name for path in project.folder.iterdir()) == before


def test_run_ids_count_up_and_name_the_strategy(project: Project) -> None:
    first, second = new_run(project), new_run(project, strategy="lora")
    assert first.id.endswith("-001-linear_probe")
    assert second.id.endswith("-002-lora")
    assert [summary.id for summary in project.runs()] == [second.id, first.id]


def test_run_ids_go_on_beyond_999(project: Project) -> None:
    first = new_run(project)
    first.folder.rename(first.folder.with_name(first.id.replace("-001-", "-999-")))
    assert "-1000-" in new_run(project).id


@pytest.mark.parametrize("id_", ["", ".", "..", "../runs", "nothing", "2026-11-21-001-linear_prob"])
def test_an_unknown_run_gets_a_sentence(project: Project, id_: str) -> None:
    run = new_run(project)
    run.folder.rename(run.folder.with_name("2026-11-21-001-linear_probe"))
    with pytest.raises(RunError, match="There is no run"):
        project.run(id_)
    with pytest.raises(RunError, match="Did you mean 2026-11-21-001-linear_probe"):
        project.run("2026-11-21-001-linear_prob")


def test_an_unknown_data_set_gets_a_sentence_with_near_names(project: Project) -> None:
    with pytest.raises(DataError, match="Import one first"):
        project.dataset("birds")
    (project.datasets_folder / "birds" / "r2").mkdir(parents=True)
    (project.datasets_folder / "birds" / "r10").mkdir()
    (project.datasets_folder / "birds" / ".r11-staged").mkdir()
    (project.datasets_folder / "empty").mkdir()
    assert project.datasets() == ["birds"]
    assert project.revisions("birds") == ["r2", "r10"]
    with pytest.raises(DataError, match="Did you mean birds"):
        project.dataset("bird")
    with pytest.raises(DataError, match=r"no revision 'r3'\. Revisions: r2, r10\."):
        project.dataset("birds", "r3")


def test_a_running_run_is_not_deleted_and_a_finished_one_is(project: Project) -> None:
    run = new_run(project)
    with pytest.raises(RunError, match="still running"):
        project.delete_run(run.id)
    run.finish("cancelled")
    project.delete_run(run.id)
    assert project.runs() == []
    assert list(project.runs_folder.iterdir()) == []


def test_notes_and_tags_are_kept_in_the_run_folder(project: Project) -> None:
    run = new_run(project)
    project.set_note(run.id, "best so far\n鳥", ["paper", "keep"])
    run.finish("done")
    project.rebuild_index()
    summary = project.runs()[0]
    assert (summary.note, summary.tags, summary.status) == ("best so far\n鳥", ("paper", "keep"), "done")
    assert json.loads((run.folder / "note.json").read_text(encoding="utf-8"))["tags"] == ["paper", "keep"]


def test_a_project_can_be_renamed(project: Project) -> None:
    project.rename("  A better\nname ")
    with pytest.raises(ProjectError, match="needs a name"):
        project.rename("  ")
    with Project.open(project.folder, write=False) as reader:
        assert reader.name == project.name == "A better name"
        with pytest.raises(ProjectError, match="reading only"):
            reader.rename("x")


def test_what_a_crash_left_half_made_is_swept_when_opened(project: Project) -> None:
    project.close()
    (project.runs_folder / ".new-1" / "checkpoints").mkdir(parents=True)
    (project.runs_folder / ".deleted-2").mkdir()
    (project.runs_folder / "my own folder").mkdir()
    (project.datasets_folder / ".importing-3" / "media").mkdir(parents=True)
    (project.folder / ".tlstudio.json.1-2.tmp").write_text("half")
    os.utime(project.folder / ".tlstudio.json.1-2.tmp", (0, 0))
    with Project.open(project.folder) as opened:
        assert opened.runs() == []
    assert [path.name for path in project.runs_folder.iterdir()] == ["my own folder"]
    assert list(project.datasets_folder.iterdir()) == []
    assert list(project.folder.glob("*.tmp")) == []


def test_a_training_thread_writes_while_another_reads(project: Project) -> None:
    errors: list[BaseException] = []

    def train() -> None:
        try:
            for _ in range(10):
                run = new_run(project)
                for step in range(20):
                    run.append_event(json.dumps({"event": "StepLogged", "step": step}))
                run.finish("done", {"test": {"accuracy": 0.5}})
        except BaseException as error:  # noqa: BLE001  handed to the thread that asserts
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    while thread.is_alive():
        for summary in project.runs():
            assert summary.status in ("running", "done")
            for line in project.run(summary.id).event_lines():
                json.loads(line)
    thread.join()
    assert errors == []
    assert [summary.status for summary in project.runs()] == ["done"] * 10


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_writer_leaves_an_interrupted_run_and_an_index_that_agrees(project: Project) -> None:
    folder = project.folder
    project.close()
    code = """
import json, sys
from pathlib import Path
from tlstudio.store import Project
p = Project.open(Path(sys.argv[1]))
run = p.new_run("x = 1", dataset="d", revision="r1", backbone="b", head="h", strategy="full")
p.runs()
step = 0
while True:
    step += 1
    run.append_event(json.dumps({"event": "StepLogged", "step": step}))
    run.write_json("state", {"step": step, "padding": "x" * 10000})
    p.runs()
    if step == 50:
        print("writing", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        child.send_signal(signal.SIGKILL)
    with Project.open(folder) as opened:
        listed = opened.runs()
        assert [summary.status for summary in listed] == ["interrupted"]
        run = opened.run(listed[0].id)
        steps = [json.loads(line)["step"] for line in run.event_lines()]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= 50
        assert run.read_json("state")["step"] in (len(steps), len(steps) - 1)
        opened.rebuild_index()
        assert opened.runs() == listed
        opened.delete_run(run.id)


def test_a_table_is_verified_once_and_again_after_it_was_touched(
    project: Project, tmp_path: Path, registry: Registry
) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"a text {n},{n % 2}\n" for n in range(20)))
    request, _ = plan_import(registry.formats.values(), tmp_path / "a.csv")
    table = import_dataset(request, project.datasets_folder).revision.folder / TABLE_FILE
    assert project.dataset("a").sha256 == project.dataset("a").sha256
    content, stat = table.read_bytes(), table.stat()
    table.write_bytes(content[::-1])
    os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    project.dataset("a")  # looks untouched: it is not read as a whole again
    os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    for _ in range(2):
        with pytest.raises(DataError, match="not the one that was imported"):
            project.dataset("a")


def test_a_queued_run_is_listed_survives_and_is_begun_by_one_alone(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p") as project:
        run, other = new_run(project, status="queued"), new_run(project, status="queued")
        assert run.read_recipe() == {"name": "x"}
        assert run.own_process is None
    with Project.open(tmp_path / "p") as project:
        project.rebuild_index()
        assert [(row.id, row.status) for row in project.runs()] == [(other.id, "queued"), (run.id, "queued")]
        assert project.resume_run(run.id).status == "running"
        assert not run.take(), "it is begun already"
        with pytest.raises(RunError, match="still running"):
            project.delete_run(run.id)
        project.delete_run(other.id)
        assert not other.take(), "it is gone"
        assert not other.folder.exists(), "and nobody who asks for it makes it anew"
        assert [row.id for row in project.runs()] == [run.id]


def test_a_queued_run_that_cannot_be_deleted_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "it is open in another program", str(target))

    with Project.create(tmp_path / "p") as project:
        run = new_run(project, status="queued")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", refuse)
            with pytest.raises(ProjectError, match="could not be deleted"):
                project.delete_run(run.id)
        assert run.status == "queued"
        assert run.take()


def test_a_queued_run_that_is_deleted_is_begun_by_nobody_while_its_folder_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Project.create(tmp_path / "p") as project:
        run = new_run(project, status="queued")
        rename = Path.rename
        taken: list[bool] = []

        def try_to_take(self: Path, target: Path) -> Path:
            taken.append(run.take())
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", try_to_take)
        project.delete_run(run.id)
        assert taken == [False]

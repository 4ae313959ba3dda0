"""What a run folder promises: it is the truth, whole at every moment, and readable after a crash."""

from __future__ import annotations

import json
import math
import os
import socket
from pathlib import Path

import pytest

from tlstudio.api import ProjectError, RunError
from tlstudio.store import Project, Run
from tlstudio.store.files import write_atomic
from tlstudio.store.process import ProcessMark


@pytest.fixture
def run(tmp_path: Path) -> Run:
    with Project.create(tmp_path / "p") as project:
        return project.new_run(
            "[training]\nepochs = 3\n", dataset="d", revision="r1", backbone="b", head="h", strategy="full"
        )


def edit(run: Run, **changes: object) -> None:
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_new_run_is_running_and_holds_its_recipe(run: Run) -> None:
    assert run.status == "running"
    assert run.read_recipe() == {"training": {"epochs": 3}}
    assert run.metrics() == {}
    assert run.assets.is_dir()
    assert list(run.event_lines()) == []


def test_a_finished_run_says_how_it_ended(run: Run) -> None:
    run.finish("failed", {"validation": {"accuracy": 0.5, "loss": math.inf}}, 2, 1.5, "Out of memory.")
    summary = run.summary()
    assert (summary.status, summary.best_epoch, summary.seconds, summary.error) == ("failed", 2, 1.5, "Out of memory.")
    assert run.metrics() == {"validation": {"accuracy": 0.5, "loss": math.inf}}
    run.record_metrics("test", {"accuracy": 0.4})
    assert run.metrics()["test"] == {"accuracy": 0.4}
    assert run.metrics()["validation"]["accuracy"] == 0.5


def test_a_run_cannot_finish_as_running(run: Run) -> None:
    with pytest.raises(ValueError, match="not a status"):
        run.finish("running")


def test_events_are_in_the_file_at_once(run: Run) -> None:
    run.append_event('{"a": 1}')
    run.append_event('{"text": "鳥\u2028"}\n')
    assert list(Run(run.folder).event_lines()) == ['{"a": 1}', '{"text": "鳥\u2028"}']
    run.close()
    run.append_event('{"b": 2}')
    assert len(list(run.event_lines())) == 3
    run.close()


@pytest.mark.parametrize("rest", [b'{"step": 2, "lo', b"{", b"\x00" * 50, b'{"text": "\xe9', b"x" * 200_000])
def test_a_torn_last_line_is_left_out_and_the_next_event_is_whole(run: Run, rest: bytes) -> None:
    run.append_event('{"step": 1}')
    run.close()
    with run.events_path.open("ab") as file:
        file.write(rest)
    assert list(run.event_lines()) == ['{"step": 1}']
    run.append_event('{"step": 2}')
    assert list(run.event_lines()) == ['{"step": 1}', '{"step": 2}']
    run.close()


def test_events_that_are_torn_from_the_first_line_on_start_anew(run: Run) -> None:
    run.events_path.write_bytes(b'{"step"')
    run.append_event('{"step": 1}')
    assert list(run.event_lines()) == ['{"step": 1}']
    run.close()


def test_json_files_come_back_and_missing_or_damaged_ones_get_a_sentence(run: Run) -> None:
    run.write_json("versions", {"torch": "2", "鳥": [1, None]})
    assert run.read_json("versions.json") == {"torch": "2", "鳥": [1, None]}
    with pytest.raises(RunError, match=r"has no other\.json"):
        run.read_json("other")
    for content in ("{", "[" * 100_000):
        (run.folder / "versions.json").write_text(content)
        with pytest.raises(RunError, match="damaged"):
            run.read_json("versions")


@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_metrics_do_not_replace_a_damaged_record(run: Run, content: str) -> None:
    (run.folder / "run.json").write_text(content)
    with pytest.raises(RunError, match="damaged"):
        run.record_metrics("test", {"accuracy": 1.0})
    assert (run.folder / "run.json").read_text() == content


def test_a_damaged_note_is_no_note(run: Run) -> None:
    (run.folder / "note.json").write_text("[" * 100_000)
    assert run.summary().note == ""


def test_a_damaged_process_mark_is_that_of_a_process_that_is_gone(run: Run) -> None:
    edit(run, process={"pid": math.inf, "started": 1, "host": socket.gethostname()})
    assert run.status == "interrupted"


@pytest.mark.parametrize("content", ["= 1", "a = " + "[" * 100_000], ids=["no name", "nested too deeply"])
def test_a_damaged_recipe_gets_a_sentence(run: Run, content: str) -> None:
    run.recipe_path.write_text(content)
    with pytest.raises(RunError, match="recipe of run"):
        run.read_recipe()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "[1]",
        '{"metrics": 3}',
        '{"format": 1, "metrics": {"test": {"a": "x"}}}',
        pytest.param("[" * 100_000, id="nested too deeply"),
        '{"format": 1, "best_epoch": Infinity}',
        '{"format": 1, "best_epoch": "x", "process": {"pid": Infinity, "started": 1, "host": "h"}}',
    ],
)
def test_a_damaged_record_is_listed_as_damaged(run: Run, content: str) -> None:
    (run.folder / "run.json").write_text(content)
    summary = run.summary()
    assert summary.status == "damaged"
    assert "run.json cannot be read" in summary.error
    with Project.open(run.folder.parents[1]) as project:
        assert [listed.status for listed in project.runs()] == ["damaged"]


def test_a_run_of_a_newer_version_says_so(run: Run) -> None:
    edit(run, format=9, app_version="5.0")
    assert "made by TL Studio 5.0 (run format 9)" in run.summary().error


def test_a_run_whose_process_number_was_given_anew_is_interrupted(run: Run) -> None:
    edit(run, process={"pid": os.getpid(), "started": 1.0, "host": socket.gethostname()})
    assert run.status == "interrupted"


def test_a_process_is_known_again_after_the_clock_was_set(run: Run) -> None:
    mark = ProcessMark.here().to_json()
    edit(run, process={**mark, "started": mark["started"] + 3600})
    assert run.status == "running"
    edit(run, process={**mark, "started": mark["started"] + 3600, "since_boot": mark["since_boot"] + 60})
    assert run.status == "interrupted", "a later process with the same number"
    edit(run, process={**mark, "started": math.nan, "since_boot": math.nan})
    assert run.status == "interrupted"


@pytest.mark.parametrize("begun", ["x", [1], {}, math.inf, None])
def test_a_run_that_does_not_say_how_often_it_was_begun_keeps_no_other_from_the_list(run: Run, begun: object) -> None:
    edit(run, process={**ProcessMark.here().to_json(), "host": "elsewhere"}, begun=begun)
    assert run.begun == 0
    for write in (False, True):
        with Project.open(run.folder.parents[1], write=write) as project:
            assert [row.id for row in project.runs()] == [run.id]


def test_events_are_not_written_or_read_through_a_link(run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text('{"mine": 1}\n')
    run.events_path.symlink_to(victim)
    for attempt in (lambda: run.append_event("{}"), lambda: run.cut_events(0), lambda: list(run.event_lines())):
        with pytest.raises(RunError, match="a link"):
            attempt()
    assert victim.read_text() == '{"mine": 1}\n'


def test_a_run_of_another_machine_is_interrupted_only_for_who_holds_the_lock(run: Run) -> None:
    edit(run, process={"pid": os.getpid(), "started": 1.0, "host": "elsewhere"})
    folder = run.folder.parents[1]
    with Project.open(folder, write=False) as reader:
        assert reader.runs()[0].status == "running"
    with Project.open(folder) as writer:
        assert writer.runs()[0].status == "interrupted"


def test_an_atomic_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert path.read_text() == "old"
    with pytest.raises(ProjectError, match="folder does not exist"):
        write_atomic(tmp_path / "missing" / "file", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProjectError, match="could not be written"):
        write_atomic(tmp_path / "folder", "x")
    assert sorted(part.name for part in tmp_path.iterdir()) == ["file", "folder"]

"""Runs that wait, on the command line."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.cli.conftest import TINY, Tlstudio
from tlstudio.engine.run_queue import is_worked_off
from tlstudio.store import Project


def test_queued_runs_are_worked_off_in_their_order_and_a_failed_one_is_told(tlstudio: Tlstudio, folder: Path) -> None:
    assert tlstudio("queue", folder, "--json").json["runs"] == []
    queued = []
    for _ in range(2):
        added = tlstudio("train", folder, *TINY, "-o", "training.epochs=1", "--queue", "--json")
        assert added.code == 0, added.err
        assert added.json["status"] == "queued"
        queued.append(added.json["run"])
    listed = tlstudio("runs", folder, "--json").json["runs"]
    assert [(run["run"], run["status"]) for run in listed] == [(run, "queued") for run in reversed(queued)]
    assert "queued" in tlstudio("runs", folder).out
    assert tlstudio("evaluate", folder, "latest").code == 2, "nothing was begun yet"
    with Project.open(folder) as project:
        broken = project.run(queued[1])
        broken.write_recipe(broken.recipe_path.read_text(encoding="utf-8").replace("random", "/nowhere.safetensors"))
    worked_off = tlstudio("queue", folder)
    assert worked_off.code == 1
    first, second, *table = [line for line in worked_off.out.splitlines() if line]
    assert first.startswith(f"Run {queued[0]}: done in ")
    assert second.startswith(f"Run {queued[1]}: failed in ")
    assert "nowhere.safetensors" in second
    assert [line.split()[:2] for line in table] == [["run", "status"], [queued[0], "done"], [queued[1], "failed"]]


def test_the_queue_is_sent_away_and_stopped(tlstudio: Tlstudio, folder: Path) -> None:
    run = tlstudio("train", folder, *TINY, "-o", "training.epochs=1", "--queue", "--json").json["run"]
    stopped = tlstudio("queue", folder, "--stop", "--json")
    assert stopped.code == 0
    assert stopped.json["queued"] == [run]
    sent = tlstudio("queue", folder, "--detach", "--json")
    assert sent.json["queued"] == [run]
    deadline = time.monotonic() + 120
    with Project.open(folder, write=False) as project:
        while project.run(run).status != "done" or is_worked_off(project):
            assert time.monotonic() < deadline
            threading.Event().wait(0.1)


def test_what_does_not_go_together_is_refused(tlstudio: Tlstudio, folder: Path) -> None:
    assert tlstudio("queue", folder, "--stop", "--detach").code == 2
    refused = tlstudio("train", folder, "--queue", "--detach")
    assert refused.code == 2
    assert "--queue trains nothing now" in refused.err

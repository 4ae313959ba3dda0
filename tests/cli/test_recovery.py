"""Runs that were cut off or sent away, and the self-test, on the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import TINY, Tlstudio


def test_a_run_is_sent_away_followed_cancelled_and_gone_on_with(tlstudio: Tlstudio, folder: Path) -> None:
    sent = tlstudio("train", folder, *TINY, "--strategy", "full", "-o", "training.epochs=40", "--detach", "--json")
    assert sent.code == 0, sent.err
    assert sent.json["status"] == "running"
    run = sent.json["run"]
    assert tlstudio("resume", folder, run).code == 2  # it is under way
    cancelled = tlstudio("attach", folder, run, "--cancel", "--json")
    assert cancelled.code == 130, cancelled.err
    assert cancelled.json["status"] == "cancelled"
    assert tlstudio("attach", folder, run).code == 2  # nobody carries it out any more
    done = tlstudio("resume", folder, "latest", "--json")
    assert done.code == 0, done.err
    assert done.json["run"] == run
    assert done.json["status"] == "done"
    again = tlstudio("resume", folder, run)
    assert again.code == 2
    assert "nothing to go on with" in again.err


def test_the_selftest_counts_what_it_tried_and_refuses_unknown_checks(tlstudio: Tlstudio) -> None:
    tried = tlstudio("selftest", "--only", "resume", "--count", "2", "--seed", "3", "--json")
    assert tried.code == 0, tried.err
    assert [(row["check"], row["tried"], row["survived"]) for row in tried.json["checks"]] == [("resume", 2, 2)]
    unknown = tlstudio("selftest", "--only", "luck")
    assert unknown.code == 2
    assert "resume" in unknown.err
    told = " ".join(tlstudio("selftest", "--help").out.split())
    assert all(name in told for name in unknown.err.partition("there are ")[2].rstrip(".\n").split(", "))

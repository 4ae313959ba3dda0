"""Jobs: results, failures, progress and cancel arrive on the window's thread; no thread is left."""

from __future__ import annotations

import threading

import pytest
import shiboken6
from PySide6.QtCore import QThread
from pytestqt.qtbot import QtBot

from tlstudio.gui.workers import JobContext, JobRunner


@pytest.fixture
def runner(qtbot: QtBot) -> JobRunner:
    return JobRunner()


def test_a_result_comes_back_on_the_window_s_thread(runner: JobRunner, qtbot: QtBot) -> None:
    here = QThread.currentThread()
    seen: list[object] = []

    def work(_context: JobContext) -> bool:
        return QThread.currentThread() is here

    def done(same: bool) -> None:
        seen.extend((same, QThread.currentThread() is here))

    job = runner.start(work, "work", done)
    qtbot.waitUntil(lambda: job not in runner.jobs)
    assert seen == [False, True]


def test_a_failure_goes_to_on_error_or_to_the_signal(runner: JobRunner, qtbot: QtBot) -> None:
    def fail(_context: JobContext) -> None:
        raise ValueError("no")

    errors: list[Exception] = []
    runner.start(fail, "one", lambda _result: None, errors.append)
    qtbot.waitUntil(lambda: not runner.jobs)
    assert isinstance(errors[0], ValueError)
    with qtbot.waitSignal(runner.failed) as caught:
        runner.start(fail, "two", lambda _result: None)
    assert caught.args is not None
    assert caught.args[0][0] == "two"
    qtbot.waitUntil(lambda: not runner.jobs)


def test_progress_is_seen_and_gives_the_time_left(runner: JobRunner, qtbot: QtBot) -> None:
    go_on = threading.Event()

    def work(context: JobContext) -> None:
        context.progress(10, 10, "counting")
        go_on.wait(5)

    job = runner.start(work, "work", lambda _result: None)
    qtbot.waitUntil(lambda: job.done == 10)
    assert (job.total, job.text) == (10, "counting")
    job.started -= 10
    assert job.seconds_left == 0
    go_on.set()
    qtbot.waitUntil(lambda: not runner.jobs)


def test_a_cancelled_job_ends_without_a_callback(runner: JobRunner, qtbot: QtBot) -> None:
    called: list[object] = []
    started = threading.Event()

    def work(context: JobContext) -> None:
        started.set()
        while not context.cancelled():
            threading.Event().wait(0.01)
        raise RuntimeError("cancelled")

    job = runner.start(work, "work", called.append, called.append)
    qtbot.waitUntil(started.is_set)
    states: list[str] = []
    job.ended.connect(lambda ended: states.append(ended.state))
    job.cancel()
    qtbot.waitUntil(lambda: not runner.jobs)
    assert states == ["cancelled"]
    assert called == []


def test_cancelling_a_job_that_is_over_and_deleted_does_nothing(runner: JobRunner, qtbot: QtBot) -> None:
    done: list[int] = []
    job = runner.start(lambda _context: 7, "work", done.append)
    qtbot.waitUntil(lambda: not shiboken6.isValid(job))
    job.cancel()
    assert (done, job.state, job.cancelling) == ([7], "done", False)


def test_a_job_with_the_same_key_takes_the_place_of_the_one_before(runner: JobRunner, qtbot: QtBot) -> None:
    results: list[int] = []
    gate = threading.Event()

    def slow(_context: JobContext) -> int:
        gate.wait(5)
        return 1

    runner.start(slow, "first", results.append, key="same")
    runner.start(lambda _context: 2, "second", results.append, key="same")
    gate.set()
    qtbot.waitUntil(lambda: not runner.jobs)
    assert results == [2]


def test_more_jobs_than_threads_wait_for_their_turn(runner: JobRunner, qtbot: QtBot) -> None:
    results: list[int] = []
    for number in range(10):
        runner.start(lambda _context, n=number: n, f"job {number}", results.append)  # type: ignore[misc]
    assert sum(job.state == "running" for job in runner.jobs) == 3
    qtbot.waitUntil(lambda: not runner.jobs)
    assert sorted(results) == list(range(10))


def test_shutting_down_cancels_waits_and_calls_nothing_back(runner: JobRunner, qtbot: QtBot) -> None:
    called: list[object] = []

    def work(context: JobContext) -> None:
        while not context.cancelled():
            threading.Event().wait(0.01)

    for number in range(5):
        runner.start(work, f"job {number}", called.append, called.append)
    assert runner.shut_down(5)
    assert called == []
    assert runner.start(work, "late", called.append).state == "cancelled"

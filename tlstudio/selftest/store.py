"""A process that writes into a project is killed at random moments; many ask for the right to write at once.

Whatever the writer has said is done must be there afterwards, in the folders and in the index; what it was about when
it was killed may have been done or not, but never by half.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tlstudio.api import ProjectError
from tlstudio.engine.processes import quick_processes
from tlstudio.selftest import Check, Trial
from tlstudio.store.index import INDEX_NAME
from tlstudio.store.lock import ProjectLock
from tlstudio.store.project import Project
from tlstudio.store.run import Run

_RACES_A_KILL = 2
_RIVALS = 4
_WHILE_WRITING = 0.8  # of the kills come after the first word of the writer; the others also while it opens
_KILL_WITHIN = 0.25  # seconds after the first word, or after the start
_FREED_WITHIN = 1.0  # seconds after the holder of the lock was killed
_PATIENCE = 30.0  # seconds after which a process that says nothing is given up
_MOST_RUNS = 12


@dataclass(slots=True)
class Said:
    """What the writer has said of a run.

    Attributes:
        status: As it will be after the kill.
        note: The note.
        events: Lines that are in the file.
        rows: Metric rows that are committed to the index.
    """

    status: str = "interrupted"
    note: str = ""
    events: int = 0
    rows: int = 0


@dataclass(slots=True)
class Story:
    """What a project must hold.

    Attributes:
        runs: By id.
        doing: What the writer was about; its words are told before it begins.
    """

    runs: dict[str, Said] = field(default_factory=dict)
    doing: tuple[Any, ...] = ()

    def hear(self, words: tuple[Any, ...]) -> None:
        """Take in one message of the writer: ``("begin", what, ...)`` or ``("done", ...)``."""
        if words[0] == "begin":
            self.doing = words[1:]
            return
        match self.doing:
            case ("new",):
                self.runs[words[1]] = Said()
            case ("event", run):
                self.runs[run].events += 1
            case ("finish", run, status):
                self.runs[run].status = status
            case ("note", run, note):
                self.runs[run].note = note
            case ("delete", run):
                del self.runs[run]
            case ("look",):
                for run, count in words[1].items():
                    self.runs[run].rows = count
        self.doing = ()


# -- the process that writes ------------------------------------------------------------------------------------


def _write(folder: Path, seed: int, ear: Connection) -> None:
    rng = random.Random(seed)  # noqa: S311  no secret
    with Project.open(folder) as project:
        streaming: list[tuple[Run, int]] = []  # with the events so far
        while True:
            over = [summary.id for summary in project.runs() if summary.status != "running"]
            chance = rng.random()
            if not streaming or (chance < 0.05 and len(streaming) < 3):
                ear.send(("begin", "new"))
                run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="full")
                ear.send(("done", run.id))
                streaming.append((run, 0))
            elif chance < 0.1:
                run, _ = streaming.pop(rng.randrange(len(streaming)))
                status = rng.choice(("done", "stopped", "cancelled", "failed"))
                ear.send(("begin", "finish", run.id, status))
                run.finish(status, {"validation": {"accuracy": rng.random()}}, 1, 1.0)
                ear.send(("done",))
            elif chance < 0.2:
                note = f"note {rng.random()}"
                run_id = rng.choice([*over, streaming[0][0].id])
                ear.send(("begin", "note", run_id, note))
                project.set_note(run_id, note)
                ear.send(("done",))
            elif over and (chance < 0.22 or len(over) > _MOST_RUNS):
                run_id = rng.choice(over)
                ear.send(("begin", "delete", run_id))
                project.delete_run(run_id)
                ear.send(("done",))
            elif chance < 0.5:
                ear.send(("begin", "look"))
                counts: dict[str, int] = {}
                for row in project.metric_rows():
                    counts[row.run] = counts.get(row.run, 0) + 1
                ear.send(("done", counts))
            else:
                place = rng.randrange(len(streaming))
                run, count = streaming[place]
                for _ in range(rng.randrange(1, 12)):
                    count += 1
                    ear.send(("begin", "event", run.id))
                    run.append_event(_event(count))
                    ear.send(("done",))
                streaming[place] = run, count


def _event(number: int) -> str:
    """The event of this number; every third is the end of an epoch."""
    if number % 3:
        return json.dumps({"event": "StepLogged", "time": 0.0, "step": number, "loss": 1 / number})
    values = {"epoch": number // 3, "step": number, "train_loss": 1 / number, "best_epoch": 1, "seconds": 0.0}
    validation = {"accuracy": number / (number + 1), "loss": 1 / number}
    return json.dumps({"event": "EpochEnded", "time": 0.0, **values, "validation": validation, "is_best": True})


# -- who kills it and looks what is left ------------------------------------------------------------------------


def _kill_trials(context: BaseContext, folder: Path, count: int, rng: random.Random) -> Iterator[Trial]:
    project, story, number = folder / "project", Story(), 0
    Project.create(project).close()
    for _ in range(count):
        ear, mouth = context.Pipe(duplex=False)
        arguments = (project, rng.randrange(2**32), mouth)
        process = _start(context, _write, arguments)
        mouth.close()
        if rng.random() < _WHILE_WRITING:
            ear.poll(_PATIENCE)
        deadline = time.monotonic() + rng.uniform(0.0, _KILL_WITHIN)
        with contextlib.suppress(EOFError):
            while ear.poll(max(0.0, deadline - time.monotonic())) and time.monotonic() < deadline:
                story.hear(ear.recv())
        ended_by_itself = process.exitcode is not None
        process.kill()
        process.join(_PATIENCE)
        with contextlib.suppress(EOFError, OSError):
            while True:
                story.hear(ear.recv())
        ear.close()
        try:
            faults = ["the writer ended by itself"] if ended_by_itself else []
            faults += _faults_of_the_index(project, folder / "copy", story)
            faults += _faults_of_the_project(project, story)
        except (ProjectError, OSError, sqlite3.Error) as error:
            faults = [f"{type(error).__name__}: {error}"]
        yield Trial("killed while writing", not faults, "; ".join(faults))
        if faults:  # the next ones begin with a project that is whole; this one is kept
            number += 1
            project, story = folder / f"project-{number}", Story()
            Project.create(project).close()


def _faults_of_the_index(project: Path, copy: Path, story: Story) -> list[str]:
    """Look at the database as the killed process has left it, before anything can have mended it."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for suffix in ("", "-wal"):
        if (file := project / f"{INDEX_NAME}{suffix}").exists():
            shutil.copyfile(file, copy / file.name)
    if not (copy / INDEX_NAME).exists():
        return ["an index with committed rows is gone"] if any(said.rows for said in story.runs.values()) else []
    with contextlib.closing(sqlite3.connect(copy / INDEX_NAME)) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            return [f"integrity_check: {verdict}"]
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'metric'").fetchone()[0]:
            return ["the tables are gone"] if any(said.rows for said in story.runs.values()) else []
        rows = dict(connection.execute("SELECT run, count(*) FROM metric GROUP BY run").fetchall())
    return [
        f"{run}: {said.rows} rows were committed, {rows.get(run, 0)} are there"
        for run, said in story.runs.items()
        if rows.get(run, 0) < said.rows and story.doing != ("delete", run)
    ]


def _faults_of_the_project(folder: Path, story: Story) -> list[str]:
    """Open the project, compare it with the story, and let the story go on from what is there."""
    faults: list[str] = []
    start = time.monotonic()
    project = Project.open(folder)
    if (seconds := time.monotonic() - start) > _FREED_WITHIN:
        faults.append(f"it took {seconds:.1f} s to open it")
    with project:
        faults += project.notes
        listed = {summary.id: summary for summary in project.runs()}
        rows = project.metric_rows()
        missing = story.runs.keys() - listed
        if missing - ({story.doing[1]} if story.doing[:1] == ("delete",) else set()):
            faults.append(f"lost: {', '.join(sorted(missing))}")
        added = listed.keys() - story.runs
        if len(added) > (story.doing == ("new",)):
            faults.append(f"never said to be made: {', '.join(sorted(added))}")
        for run_id in listed.keys() - missing:
            summary, said = listed[run_id], story.runs.get(run_id, Said())
            allowed = {said.status, *(story.doing[2:] if story.doing[:2] == ("finish", run_id) else ())}
            if summary.status not in allowed:
                faults.append(f"{run_id} is {summary.status}, not {' or '.join(sorted(allowed))}: {summary.error}")
            allowed = {said.note, *(story.doing[2:] if story.doing[:2] == ("note", run_id) else ())}
            if summary.note not in allowed:
                faults.append(f"{run_id} has the note {summary.note!r}")
            lines = list(project.run(run_id).event_lines())
            extra = len(lines) - said.events
            if lines != [_event(number) for number in range(1, len(lines) + 1)] or extra < 0:
                faults.append(f"{run_id}: {said.events} events were written, {len(lines)} are there")
            elif extra > (story.doing == ("event", run_id)):
                faults.append(f"{run_id}: {extra} events more than were written")
            counted = sum(row.run == run_id for row in rows)
            if counted != len(lines) // 3:
                faults.append(f"{run_id}: {counted} rows for {len(lines) // 3} epochs")
            story.runs[run_id] = Said(summary.status, summary.note, len(lines), counted)
        for run_id in missing:
            del story.runs[run_id]
        story.doing = ()
        if half := [entry.name for entry in project.runs_folder.iterdir() if entry.name not in listed]:
            faults.append(f"half-made: {', '.join(half)}")
        before = project.runs(), rows
        project.rebuild_index()
        if (project.runs(), project.metric_rows()) != before:
            faults.append("the rebuilt index differs from the old one")
    return faults


# -- many ask for the right to write at once --------------------------------------------------------------------


def _compete(folder: Path, orders: Connection) -> None:
    """Try to take the lock at the moment that is told, until it is killed or told to end."""
    lock, marker = ProjectLock(folder), folder / "held"
    while moment := orders.recv():
        while time.monotonic() < moment:
            pass
        try:
            lock.acquire("selftest")
        except ProjectError:
            orders.send(False)
            continue
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            orders.send(True)
        except FileExistsError:
            orders.send("two held it at once")
        orders.recv()
        marker.unlink(missing_ok=True)
        lock.release()
        orders.send(True)


def _race_trials(context: BaseContext, folder: Path, count: int, rng: random.Random) -> Iterator[Trial]:
    project = folder / "raced"
    Project.create(project).close()
    rivals: list[tuple[BaseProcess, Connection]] = []
    killed_at: float | None = None
    try:
        for number in range(count):
            while len(rivals) < _RIVALS:
                ours, theirs = context.Pipe()
                rivals.append((_start(context, _compete, (project, theirs)), ours))
                theirs.close()
            moment = time.monotonic() + 0.002
            for _, orders in rivals:
                orders.send(moment)
            answers = [_answer(orders) for _, orders in rivals]
            winners = [rival for rival, answer in zip(rivals, answers, strict=True) if answer is not False]
            details = "" if sorted(map(str, answers)) == ["False"] * (_RIVALS - 1) + ["True"] else str(answers)
            if killed_at is not None and time.monotonic() - killed_at > _FREED_WITHIN:
                details = f"a stale lock was freed after {time.monotonic() - killed_at:.1f} s"
            killed_at = None
            for process, orders in winners:
                if number % 5 == 4 or rng.random() < 0.05:
                    rivals.remove((process, orders))
                    process.kill()
                    process.join(_PATIENCE)
                    orders.close()
                    (project / "held").unlink(missing_ok=True)
                    killed_at = time.monotonic()
                else:
                    orders.send(True)
                    _answer(orders)
            yield Trial("race for the right to write", not details, details)
    finally:
        for process, orders in rivals:
            process.kill()
            process.join(_PATIENCE)
            orders.close()


def _answer(orders: Connection) -> object:
    return orders.recv() if orders.poll(_PATIENCE) else "no answer"


# -- both -------------------------------------------------------------------------------------------------------


def run_trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """Kill a writer ``count`` times, and race for the lock twice as often."""
    context, rng = quick_processes(__name__, "psutil", "filelock"), random.Random(seed)  # noqa: S311  no secret
    yield from _kill_trials(context, folder, count, rng)
    yield from _race_trials(context, folder, count * _RACES_A_KILL, rng)


def _start(context: BaseContext, target: Any, arguments: tuple[Any, ...]) -> BaseProcess:  # noqa: ANN401  any function
    process: BaseProcess = context.Process(target=target, args=arguments, daemon=True)  # type: ignore[attr-defined]
    process.start()
    return process


CHECK = Check(
    name="store",
    title="A project whose writer is killed at random moments is whole, and only one can write at a time",
    count=20,
    thorough=500,
    run=run_trials,
    left_out=("Power loss: the disk's own cache cannot be cut off here.",),
)

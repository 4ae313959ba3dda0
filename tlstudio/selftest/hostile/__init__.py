"""Hostile files reach the studio in every place that takes a file; each is used in a watched process of its own."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

from tlstudio.engine.processes import quick_processes
from tlstudio.selftest import Check, Trial
from tlstudio.selftest.hostile import archives, images, labelled, models, names, pickles, projects, settings, tables
from tlstudio.selftest.hostile.files import HostileFile, Place, Site
from tlstudio.selftest.hostile.watch import Watch, limit_memory, peak_memory, silent, snapshot
from tlstudio.startup import stay_offline

MOST_MEMORY = 2**30
"""Bytes that a file may cost, beyond what the studio takes anyway."""

MOST_TIME = 60.0
"""Seconds that a file may cost."""

_SAFETY = 4 * 2**30  # a bomb beyond all bounds must not take the machine with it


@dataclass(slots=True)
class Report:
    """What became of one file.

    Attributes:
        refusals: Sentences that refuse it.
        faults: What must not be.
        memory: Bytes that it cost.
        seconds: Time that it took.
    """

    refusals: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    memory: int = 0
    seconds: float = 0.0


def corpus() -> list[HostileFile]:
    """All hostile files, always in the same order."""
    families = (pickles, archives, models, images, names, tables, labelled, settings, projects)
    return [file for family in families for file in family.files()]


def run_trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """Use ``count`` of the hostile files, all of them where there are no more."""
    stay_offline(os.environ)
    everything = corpus()
    random.Random(seed).shuffle(everything)  # noqa: S311  no secret
    context = quick_processes(
        __name__,
        f"{__name__}.uses",
        "torchvision.models",
        "transformers.models.bert",
        "timm",
        "torchmetrics",
        "pyarrow.parquet",
        "soundfile",
    )
    make_material(context, folder / "material")
    tried = 0
    for number, file in enumerate(everything):
        if tried == count:
            return
        report = try_file(context, file, Site(folder / str(number), folder / "material"))
        if report is not None:
            tried += 1
            yield Trial(file.place, not report.faults, "; ".join([file.name, *report.faults]) if report.faults else "")


def make_material(context: BaseContext, folder: Path) -> None:
    """Make the good things, in a process of their own: training leaves threads behind.

    Raises:
        RuntimeError: It has failed.
    """
    process = context.Process(target=_make_material, args=(folder,))  # type: ignore[attr-defined]
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the material could not be made (exit code {process.exitcode})")


def _make_material(folder: Path) -> None:
    from tlstudio.selftest.hostile.material import make

    make(folder)


def try_file(context: BaseContext, file: HostileFile, site: Site) -> Report | None:
    """Use one hostile file; `None` where this system cannot have such a file."""
    from tlstudio.selftest.hostile.uses import prepare

    try:
        given = prepare(file, site)
    except (OSError, NotImplementedError, AttributeError, UnicodeError):
        shutil.rmtree(site.folder, ignore_errors=True)
        return None
    unchanged = {path: snapshot(path) for path in (site.canary.parent, site.outside.parent, site.material)}
    if file.place != "project folder":
        unchanged[site.source] = snapshot(site.source)
    report = _in_child(context, file, given, site)
    for folder, before in unchanged.items():
        after = snapshot(folder)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        report.faults += [f"{path} was changed" for path in changed[:3]]
    report.faults += _judge(file, report)
    shutil.rmtree(site.folder, ignore_errors=True)
    return report


def _judge(file: HostileFile, report: Report) -> list[str]:
    faults = []
    said = " ".join(report.refusals)
    if file.outcome == "refused" and not report.refusals and not report.faults:
        faults.append("nothing refuses it")
    elif file.outcome == "refused" and report.refusals and not _names(said, file.must_name):
        faults.append(f"no sentence names it: {said[:300]!r}")
    elif file.outcome == "used" and report.refusals:
        faults.append(f"it is refused: {said[:300]!r}")
    if report.memory > MOST_MEMORY:
        faults.append(f"it costs {report.memory / 2**20:.0f} MiB of memory")
    return faults


def _names(said: str, name: str) -> bool:
    return name in said or os.fsencode(name).decode("utf-8", "replace") in said


def _in_child(context: BaseContext, file: HostileFile, given: Path, site: Site) -> Report:
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(file.place, given, site, sending))  # type: ignore[attr-defined]
    start = time.monotonic()
    process.start()
    sending.close()
    report = Report()
    try:
        if receiving.poll(MOST_TIME):
            values = json.loads(receiving.recv_bytes())
            report = Report(**values)
        else:
            report.faults.append(f"it is not done with after {MOST_TIME:.0f} s")
    except EOFError:
        process.join()
        report.faults.append(f"the process ended with exit code {process.exitcode}")
    finally:
        process.join(5.0)
        if process.is_alive():
            process.kill()
            process.join()
        receiving.close()
    report.seconds = time.monotonic() - start
    return report


def _child(place: Place, given: Path, site: Site, sending: Connection) -> None:
    """Use one file, watched, and send what was heard and seen."""
    from tlstudio.selftest.hostile.uses import use
    from tlstudio.selftest.material import installed_registry

    stay_offline(os.environ)
    importlib.import_module("torchmetrics")  # with it comes matplotlib, which makes folders of its own
    sys.dont_write_bytecode = True
    temporary = site.folder / "temporary"
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    registry = installed_registry()
    limit_memory(_SAFETY)
    writable = (site.output, temporary, *([site.source] if place == "project folder" else []))
    watch = Watch(writable, site.source)
    report = Report()
    before = peak_memory()

    def tried() -> None:
        heard = use(place, given, site, registry)
        report.refusals += [*heard.refusals, *(heard.notes if heard.refusals else ())]
        report.faults += heard.faults

    watch.begin()
    if trace := silent(tried):
        report.faults.append(f"it ends in a traceback: {trace[-1500:]}")
    report.faults += watch.seen[:3]
    report.memory = peak_memory() - before
    values = {"refusals": report.refusals[:200], "faults": report.faults, "memory": report.memory}
    sending.send_bytes(json.dumps(values).encode())


CHECK = Check(
    name="hostile",
    title="Hostile files are told by name, run no code, write nowhere else, crash nothing and take no memory",
    count=40,
    thorough=800,
    run=run_trials,
    left_out=("Faults inside of the decoders that do no visible harm: they are looked for by their makers.",),
)

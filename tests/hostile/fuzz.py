"""Fuzz the readers of recipes, projects and runs, led by the lines of ours that the bytes come to.

``python -m tests.hostile.fuzz TARGET FOLDER [-max_total_time=600 ...]``

Targets are the keys of `TARGETS`; the folder, an empty one, gets what is tried. What follows goes to libFuzzer
(https://llvm.org/docs/LibFuzzer.html) through atheris. Whatever comes out of a reader that is no sentence ends it, with
the bytes that did it in a file ``crash-...`` in the folder.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # there for Linux alone

with atheris.instrument_imports(include=["tlstudio", "tomllib"]):
    from tlstudio.api import TLStudioError
    from tlstudio.engine.events import EpochEnded, from_json, to_json
    from tlstudio.engine.recipe import parse_recipe, read_recipe_file
    from tlstudio.engine.target import read_target
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run

RECIPE = b"""format = 1
dataset = {name = "d", revision = "r1"}
backbone = {name = "b", options = {weights = "random"}}
head = {name = "h"}
strategy = "full"
[training]
epochs = 3
learning_rate = 1e-3
"""
RECORD = b"""{"format": 1, "created": "2026-11-22T00:00:00+00:00", "status": "done", "dataset": "d", "revision": "r1",
"backbone": "b", "head": "h", "strategy": "s", "metrics": {"test": {"accuracy": 1.0}}, "best_epoch": 1,
"process": {"pid": 1, "started": 0.5, "host": "h"}, "tags": ["a"], "note": "n"}"""
EVENT = to_json(
    EpochEnded(1, 3, 0.5, {"accuracy": 1.0}, is_best=True, best_epoch=1, seconds=2.0, worst=(("a", "b", 0.5),)),
    time=1.0,
)
PROJECT = b'{"format": 2, "min_reader": 1, "name": "p", "created": "2026-11-22T00:00:00+00:00", "app_version": "1"}'


def recipe(folder: Path, data: bytes, suffix: str) -> None:
    """Read a recipe file."""
    path = folder / f"recipe{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(TLStudioError):
        parse_recipe(read_recipe_file(path))


def project_file(folder: Path, data: bytes) -> None:
    """Open a project with another file of facts."""
    (folder / "project" / "tlstudio.json").write_bytes(data)
    with contextlib.suppress(TLStudioError), Project.open(folder / "project", write=False) as project:
        project.runs()


def run_file(folder: Path, data: bytes, name: str) -> None:
    """List and read a run with another file."""
    place = next((folder / "project" / "runs").iterdir())
    (place / name).write_bytes(data)
    with Project.open(folder / "project", write=False) as project:
        if len(project.runs()) != 1:
            raise AssertionError("a run has vanished from the list")
    run = Run(place)
    for read in (run.summary, run.read_recipe, lambda: read_target(run), lambda: list(run.event_lines())):
        with contextlib.suppress(TLStudioError):
            read()


def event(_folder: Path, data: bytes) -> None:
    """Read one line of events."""
    with contextlib.suppress(ValueError):
        from_json(data.decode("utf-8", "replace"))


TARGETS: dict[str, tuple[Callable[[Path, bytes], None], bytes]] = {
    "recipe.toml": (lambda folder, data: recipe(folder, data, ".toml"), RECIPE),
    "recipe.json": (lambda folder, data: recipe(folder, data, ".json"), RECORD),
    "tlstudio.json": (project_file, PROJECT),
    "run.json": (lambda folder, data: run_file(folder, data, "run.json"), RECORD),
    "target.json": (lambda folder, data: run_file(folder, data, "target.json"), b'{"task": "classification"}'),
    "event": (event, EVENT.encode()),
}


def main(target: str, folder: Path, arguments: Sequence[str]) -> None:
    """Fuzz one target until libFuzzer has enough, which then ends the process."""
    use, example = TARGETS[target]
    with Project.create(folder / "project") as project:
        project.new_run("format = 1", dataset="d", revision="r1", backbone="b", head="h", strategy="s").finish("done")
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "example").write_bytes(example)
    options = ["-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={folder}/"]
    atheris.Setup(["fuzz", str(corpus), *options, *arguments], lambda data: use(folder, data))
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"Give a target ({', '.join(TARGETS)}) and an empty folder.")
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])

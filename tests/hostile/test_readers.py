"""Readers of recipes, projects and runs: whatever is in a file, only sentences come out and nothing is written."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlstudio.api import Sample, TLStudioError
from tlstudio.engine.events import from_json
from tlstudio.engine.predict import samples_in
from tlstudio.engine.recipe import parse_recipe, read_recipe_file
from tlstudio.engine.target import read_target
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(
    ["format", "name", "created", "status", "metrics", "tags", "note", "process", "epoch", "event", "time", "worst",
     "dataset", "backbone", "head", "strategy", "training", "options", "epochs", "task", "classes", "class_counts",
     "mean", "std", "min_reader", "app_version", "seconds", "best_epoch", "run"]
) | st.text(max_size=8)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6))
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=8)
BYTES = st.one_of(
    st.binary(max_size=200),
    OBJECTS.map(lambda value: json.dumps(value).encode()),
    VALUES.map(lambda value: json.dumps(value).encode()),
    OBJECTS.map(lambda value: json.dumps(value).encode()[:-3]),
)


def state_of(folder: Path) -> dict[Path, bytes]:
    """Content of all files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def toml(value: dict[str, Any]) -> bytes:
    """Write as TOML what TOML can hold."""
    try:
        return tomli_w.dumps(value).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError):
        return repr(value).encode("utf-8", "surrogatepass")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with one run."""
    with Project.create(tmp_path / "project") as project:
        run = project.new_run("format = 1", dataset="d", revision="r1", backbone="b", head="h", strategy="s")
        run.finish("done")
        return project.folder


@FEW
@given(data=BYTES | OBJECTS.map(toml), suffix=st.sampled_from([".toml", ".json"]))
def test_a_recipe_file(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"recipe{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(TLStudioError):
        parse_recipe(read_recipe_file(path))
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()


def test_a_recipe_of_ten_thousand_tables_in_each_other_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[" + "a." * 10_000 + "a]\nb = 1", encoding="utf-8")
    with pytest.raises(TLStudioError, match=r"recipe\.toml is not valid"):
        read_recipe_file(path)


def test_half_a_letter_in_a_text_to_predict_is_replaced(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "half \\ud800 a letter"}\n{"text": "a whole one"}\n', encoding="utf-8")
    samples = samples_in(path, "text", registry, {"text_column": "text"})
    assert [item.text for item in samples if isinstance(item, Sample)] == ["half \ufffd a letter", "a whole one"]


@FEW
@given(data=BYTES)
def test_a_project_file(folder: Path, data: bytes) -> None:
    (folder / "tlstudio.json").write_bytes(data)
    before = state_of(folder)
    with contextlib.suppress(TLStudioError), Project.open(folder, write=False) as project:
        project.runs()
        project.datasets()
    assert state_of(folder) == before


@FEW
@given(name=st.sampled_from(["run.json", "note.json", "target.json", "recipe.toml", "events.jsonl"]), data=BYTES)
def test_the_files_of_a_run(folder: Path, name: str, data: bytes) -> None:
    place = next((folder / "runs").iterdir())
    (place / name).write_bytes(data)
    before = state_of(folder)
    with Project.open(folder, write=False) as project:
        assert len(project.runs()) == 1
        run = Run(place)
        for read in (run.read_recipe, run.summary, lambda: read_target(run), lambda: list(run.event_lines())):
            with contextlib.suppress(TLStudioError):
                read()
    assert state_of(folder) == before


@FEW
@given(data=BYTES)
def test_a_line_of_events(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        from_json(data.decode("utf-8", "replace"))

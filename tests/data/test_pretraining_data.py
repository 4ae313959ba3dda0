"""Data that are learned from without labels: any format gives them, and no page fails on them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import draw_folder
from tlstudio.api import Modality
from tlstudio.data import import_dataset, plan_import
from tlstudio.data.audit import find_problems
from tlstudio.data.revision import Revision
from tlstudio.data.statistics import class_histogram, target_values
from tlstudio.gui.widgets.data_overview import measure
from tlstudio.plugins import Registry
from tlstudio.testing import tiny_samples


def _flat_images(folder: Path) -> Path:
    source = folder / "pictures"
    source.mkdir()
    for number, file in enumerate(sorted(draw_folder(folder / "drawn", 4).rglob("*.png"))):
        file.rename(source / f"{number}.png")
    return source


def _table(folder: Path, name: str, rows: Sequence[Sequence[object]]) -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def _texts(folder: Path) -> Path:
    return _table(
        folder, "texts.csv", [["text"], *([f"the text number {n} says {n * 7} things of its own"] for n in range(20))]
    )


def _rows(folder: Path) -> Path:
    named: list[list[object]] = [
        ["name", "age", "town"],
        *([f"person {n}", n * 3 % 50, "abc"[n % 3] * 3] for n in range(40)),
    ]
    return _table(folder, "people.csv", named)


def _running_text(folder: Path) -> Path:
    path = folder / "book.txt"
    path.write_text(" ".join(f"word{n % 97} and{n % 31}" for n in range(4000)), encoding="utf-8")
    return path


def _recordings(folder: Path) -> Path:
    source = folder / "recordings"
    source.mkdir()
    for number, sample in enumerate(tiny_samples("audio", "classification", folder, count=6)):
        assert sample.audio is not None
        (source / f"{number}.wav").write_bytes(sample.audio.read_bytes())
    return source


def _labelled_images(folder: Path) -> Path:
    return draw_folder(folder / "classes", 4)


@pytest.mark.parametrize(
    ("make", "modality", "count"),
    [
        (_flat_images, "image", 12),
        (_labelled_images, "image", 12),
        (_texts, "text", 20),
        (_running_text, "text", 40),
        (_rows, "table", 40),
        (_recordings, "audio", 6),
    ],
)
def test_any_data_are_imported_without_labels_and_looked_through(
    make: Callable[[Path], Path], modality: Modality, count: int, registry: Registry, tmp_path: Path
) -> None:
    request, _ = plan_import(registry.formats.values(), make(tmp_path), task="pretraining")
    report = import_dataset(request, tmp_path / "datasets")
    revision = Revision.open(report.revision.folder)
    assert (revision.task, revision.modality, revision.classes) == ("pretraining", modality, ())
    assert len(revision) >= count
    assert not report.rejected
    assert {sample.label for sample in revision.samples(revision.indices("train"))} == {None}
    assert {revision.label(0), *revision.labels(revision.indices("validation"))} == {None}
    assert len(revision.indices("train")) >= len(revision.indices("validation")) > 0
    assert revision.target_info().classes == ()
    assert {finding.kind for finding in find_problems(revision)} <= {"short_sounds", "small_images", "duplicates"}
    assert class_histogram(revision).total.size == 0
    assert all(not values.size for values in target_values(revision).values())
    assert measure(revision).targets.size == 0


def test_columns_that_name_the_row_are_left_out_and_no_column_is_taken_for_a_label(
    registry: Registry, tmp_path: Path
) -> None:
    request, _ = plan_import(registry.formats.values(), _rows(tmp_path), task="pretraining")
    revision = import_dataset(request, tmp_path / "datasets").revision
    assert set(revision.sample(0).values or {}) == {"age", "town"}


def test_the_same_data_with_labels_are_another_revision(registry: Registry, tmp_path: Path) -> None:
    source = _labelled_images(tmp_path)
    plain, _ = plan_import(registry.formats.values(), source, name="images", task="pretraining")
    named, _ = plan_import(registry.formats.values(), source, name="images")
    revisions = [import_dataset(request, tmp_path / "datasets").revision for request in (plain, named)]
    assert [(one.id, one.task) for one in revisions] == [("r1", "pretraining"), ("r2", "classification")]

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tlstudio.api import DataError, Label
from tlstudio.data import Revision
from tlstudio.data.annotations import Annotations
from tlstudio.data.statistics import class_histogram, image_sizes, target_values, text_lengths
from tlstudio.store.project import Project


@pytest.fixture
def shapes(shapes_project: Project) -> Revision:
    """The data set of drawn shapes."""
    return Revision.open(shapes_project.datasets_folder / "shapes" / "r1")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "revision.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_revision_gives_its_samples_by_row_id_and_split(shapes: Revision) -> None:
    assert len(shapes) == 48
    for split in ("train", "validation", "test"):
        rows = shapes.indices(split)
        assert rows.dtype == np.int64
        assert all(shapes.sample(row).split == split for row in rows)
    sample = shapes.sample(-1)
    assert shapes.index_of(sample.id) == 47
    assert shapes.label(47) == sample.label == "圆环"
    assert shapes.sample_text(0) == "circle/circle_00.png"
    with pytest.raises(IndexError):
        shapes.sample(48)
    with pytest.raises(DataError, match="no item 'nothing'"):
        shapes.index_of("nothing")


def test_the_target_is_described_from_train_alone(shapes: Revision) -> None:
    info = shapes.target_info()
    assert info.classes == ("circle", "square", "圆环")
    assert sum(info.class_counts) == len(shapes.indices("train"))


def test_a_revision_of_the_first_format_opens_as_it_was(reviews_project: Project) -> None:
    revision = reviews_project.dataset("reviews")
    before = [revision.sample(row) for row in range(len(revision))]
    path = revision.folder / "samples.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["pair", "annotation"]), path)
    edit(revision.folder, format=1, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    old = Revision.open(revision.folder)
    assert [old.sample(row) for row in range(len(old))] == before
    assert list(old.samples(np.arange(len(old)))) == before
    assert not old.target_info().pairs


def test_a_moved_revision_still_finds_its_images(shapes: Revision, tmp_path: Path) -> None:
    shutil.copytree(shapes.folder, tmp_path / "moved")
    image = Revision.open(tmp_path / "moved").sample(0).image
    assert image is not None
    assert image.is_relative_to(tmp_path / "moved")
    assert image.is_file()


def test_a_changed_table_is_refused(shapes: Revision) -> None:
    path = shapes.folder / "samples.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="not the one that was imported"):
        Revision.open(shapes.folder)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        Revision.open(shapes.folder)


def test_a_newer_revision_names_its_maker(shapes: Revision) -> None:
    edit(shapes.folder, format=99, app_version="9.1")
    with pytest.raises(
        DataError, match=r"newer version of TL Studio \(9\.1\).*format is 99, and this version reads up to 2"
    ):
        Revision.open(shapes.folder)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        "{}",
        '{"format": 1}',
        '{"format": true, "sha256": "x"}',
        '{"format": -3, "sha256": "x"}',
        '{"format": 1, "sha256": "x"',
        pytest.param("[" * 100_000, id="nested too deeply"),
    ],
)
def test_damaged_facts_are_a_sentence(shapes: Revision, content: str) -> None:
    (shapes.folder / "revision.json").write_text(content)
    with pytest.raises(DataError, match="damaged"):
        Revision.open(shapes.folder)


@pytest.mark.parametrize("change", [{"task": "sorting"}, {"modality": "sound"}, {"rows": math.inf}, {"classes": 5}])
def test_facts_that_cannot_be_are_a_sentence(shapes: Revision, change: dict[str, object]) -> None:
    edit(shapes.folder, **change)
    with pytest.raises(DataError, match="damaged"):
        Revision.open(shapes.folder)


def test_a_folder_that_is_no_revision_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a revision"):
        Revision.open(tmp_path)


def test_statistics_fit_the_table(shapes: Revision) -> None:
    histogram = class_histogram(shapes)
    assert histogram.total.tolist() == [16, 16, 16]
    assert histogram.counts["train"].sum() == len(shapes.indices("train"))
    width, height = image_sizes(shapes)
    assert set(width.tolist()) == set(height.tolist()) == {48}
    assert len(text_lengths(shapes)) == 0
    assert len(target_values(shapes)["train"]) == 0


def test_texts_numbers_and_several_labels_are_kept(reviews_project: Project) -> None:
    folder = reviews_project.datasets_folder
    reviews, scores, topics = (Revision.open(folder / name / "r1") for name in ("reviews", "scores", "topics"))
    assert reviews.sample(0).text == reviews.sample_text(0)
    assert len(reviews.sample_text(0, 10)) <= 10
    assert text_lengths(reviews)[0] == len(reviews.sample_text(0))
    label: Label = topics.label(0)
    assert isinstance(label, tuple)
    assert set(label) <= set(topics.classes)
    assert isinstance(scores.label(0), float)
    assert len(target_values(scores)["train"]) == len(scores.indices("train"))
    info = scores.target_info()
    assert info.mean == pytest.approx(scores.values()[scores.indices("train")].mean())
    assert scores.class_counts() == {"train": {}, "validation": {}, "test": {}}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_in_the_place_of_the_table_is_not_waited_for(shapes: Revision) -> None:
    (shapes.folder / "samples.parquet").unlink()
    os.mkfifo(shapes.folder / "samples.parquet")
    with pytest.raises(DataError, match="cannot be read: it is a pipe or device, not a file"):
        Revision.open(shapes.folder)


def forge(revision: Revision, task: str, **columns: list[object]) -> Revision:
    """Change the table as somebody would who knows how it is guarded."""
    path = revision.folder / "samples.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)
    edit(revision.folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), task=task)
    return Revision.open(revision.folder)


@pytest.mark.parametrize(
    ("task", "annotation"),
    [
        ("detection", "[" * 100_000),
        ("detection", '[["a"]]'),
        ("detection", '[["a", 1, 2, 3, 4, 5, 6, 7]]'),
        ("token_classification", '{"a": 1}'),
        ("token_classification", '[["a", "x", 1]]'),
        ("segmentation", '{"names": ["a"], "png": "?"}'),
        ("segmentation", "3"),
        ("segmentation", json.dumps({"names": ["a"] * 300, "png": ""})),
        ("forecasting", f"[1{'0' * 400}]"),
        ("forecasting", "no json"),
    ],
)
def test_a_label_that_nobody_has_imported_is_a_sentence(shapes: Revision, task: str, annotation: str) -> None:
    forged = forge(shapes, task, annotation=[annotation] * 48)
    for use in (lambda: forged.sample(0), lambda: forged.label(0), lambda: forged.labels(np.arange(3))):
        with pytest.raises(DataError, match="holds a label that cannot be read"):
            use()


def test_rows_of_numbers_that_differ_in_length_are_a_sentence(shapes: Revision) -> None:
    forged = forge(shapes, "forecasting", annotation=["[1.0]", "[1.0, 2.0]"] * 24)
    with pytest.raises(DataError, match="holds a label that cannot be read"):
        forged.target_info()


@pytest.mark.parametrize("values", ["[" * 100_000, "[1]", '{"a": {"b": 1}}', '{"a": [[1]]}', "no json"])
def test_columns_that_nobody_has_imported_are_a_sentence(shapes: Revision, values: str) -> None:
    forged = forge(shapes, "classification", values=[values] * 48, text=[None] * 48)
    for use in (lambda: forged.sample(0), lambda: forged.sample_text(0)):
        with pytest.raises(DataError, match="holds a row of values that cannot be read"):
            use()


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("split", ["left"] * 48, "has a split 'left'"),
        ("image", [[1]] * 48, "cannot be read"),
        ("id", [None] * 48, "cannot be read"),
    ],
)
def test_columns_of_another_kind_are_a_sentence(shapes: Revision, name: str, values: list[object], told: str) -> None:
    forged = forge(shapes, "classification", **{name: values})
    with pytest.raises(DataError, match=told):
        forged.sample(0)


def test_annotations_are_read_as_they_are_asked_for_and_do_not_fill_memory(tmp_path: Path) -> None:
    written = [f"{row:04}" * 2500 for row in range(200)]
    table = pa.table({"id": [str(row) for row in range(200)], "annotation": pa.array(written, pa.large_string())})
    pq.write_table(table, tmp_path / "samples.parquet", row_group_size=10)
    annotations = Annotations(tmp_path / "samples.parquet", 200, most=350_000)
    assert annotations.size == 0
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(200), 2))
    for part in np.split(rows, 20):
        assert annotations.take(part) == [written[row] for row in part]
        assert annotations.size < 350_000
    with pytest.raises(DataError, match="it has 200 rows"):
        Annotations(tmp_path / "samples.parquet", 201)


def test_labels_of_any_order_are_those_of_their_rows_and_not_in_the_table(shapes: Revision) -> None:
    forged = forge(shapes, "forecasting", annotation=[f"[{row}.0]" for row in range(48)])
    assert "annotation" not in forged.table.column_names
    assert forged.labels(np.array([5, 0, 47, 5])) == [(5.0,), (0.0,), (47.0,), (5.0,)]
    assert [sample.label for sample in forged.samples(np.array([9, 3]))] == [(9.0,), (3.0,)]
    assert forged.label(-1) == (47.0,)

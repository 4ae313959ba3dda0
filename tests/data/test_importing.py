from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw_folder
from tlstudio.api import DataError, ProblemsError, Task, TLStudioError
from tlstudio.data import Cancelled, ImportReport, import_dataset, plan_import
from tlstudio.data.rows import RowWriter
from tlstudio.plugins import Registry

Importer = Callable[..., ImportReport]


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """A folder for data sets that does not exist yet."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project" / "datasets"


@pytest.fixture
def bring(registry: Registry, datasets: Path) -> Importer:
    """Plan and import in one go."""

    def run(
        source: Path,
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
        **plan: Any,
    ) -> ImportReport:
        request, _ = plan_import(registry.formats.values(), source, **plan)
        return import_dataset(request, datasets, on_progress=on_progress, cancelled=cancelled)

    return run


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def some_rows(count: int) -> list[list[str]]:
    return [["text", "label"], *([f"text number {n}", "good" if n % 2 else "bad"] for n in range(count))]


def left_in(folder: Path) -> list[str]:
    return sorted(str(item.relative_to(folder)) for item in folder.rglob("*")) if folder.exists() else []


def test_images_are_copied_measured_and_found_again(bring: Importer, shapes_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = bring(shapes_folder, on_progress=lambda done, total: seen.append((done, total)))
    revision = report.revision
    assert len(revision) == 48
    assert revision.classes == ("circle", "square", "圆环")
    assert report.rejected == ()
    assert seen[0] == (1, 48)
    assert seen[-1] == (48, 48)
    sample = revision.sample(revision.index_of("圆环/圆环_03.png"))
    assert sample.label == "圆环"
    assert sample.image is not None
    assert sample.image.is_relative_to(revision.folder / "media")
    assert sample.image.read_bytes() == (shapes_folder / "圆环" / "圆环_03.png").read_bytes()
    assert revision.table.column("width").to_pylist() == [48] * 48


def test_images_may_stay_where_they_are(bring: Importer, shapes_folder: Path) -> None:
    revision = bring(shapes_folder, copy_files=False).revision
    assert not (revision.folder / "media").exists()
    assert revision.sample(0).image == shapes_folder / "circle" / "circle_00.png"


def test_importing_again_makes_the_next_revision_with_the_same_ids_and_splits(
    bring: Importer, shapes_folder: Path
) -> None:
    one = bring(shapes_folder, name="shapes").revision
    other = bring(shapes_folder, name="shapes", seed=1).revision
    two = bring(shapes_folder, name="shapes").revision
    assert (one.id, other.id, two.id) == ("r1", "r2", "r3")
    assert one.table.equals(two.table)
    assert other.table.column("split") != one.table.column("split")


def test_importing_what_has_not_changed_makes_no_revision_and_says_so(
    bring: Importer, shapes_folder: Path, datasets: Path
) -> None:
    one, two = bring(shapes_folder, name="shapes"), bring(shapes_folder, name="shapes")
    assert (one.unchanged, two.unchanged) == (False, True)
    assert two.revision == one.revision
    assert "Nothing has changed since revision r1" in two.notes[0]
    assert [folder.name for folder in (datasets / "shapes").iterdir()] == ["r1"]


def test_importing_again_mends_a_damaged_revision(bring: Importer, shapes_folder: Path) -> None:
    one = bring(shapes_folder, name="shapes").revision
    next((one.folder / "media").glob("*/*")).unlink()
    assert bring(shapes_folder, name="shapes").revision.id == "r2"
    (one.folder.parent / "r2" / "samples.parquet").write_bytes(b"")
    assert bring(shapes_folder, name="shapes").revision.id == "r3"


def test_identical_content_lands_in_one_split(bring: Importer, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "images", 12)
    for number in range(10):
        copy = folder / "square" / f"copy_{number}.png"
        copy.write_bytes((folder / "circle" / f"circle_{number % 3:02}.png").read_bytes())
    revision = bring(folder).revision
    splits: dict[str, set[str]] = defaultdict(set)
    for row, digest in enumerate(revision.table.column("hash").to_pylist()):
        splits[str(digest)].add(revision.split(row))
    assert len(splits) == 36
    assert all(len(names) == 1 for names in splits.values())


@pytest.mark.parametrize("after", [0, 1, 10, 47])
def test_a_cancelled_import_leaves_nothing(bring: Importer, shapes_folder: Path, datasets: Path, after: int) -> None:
    done = 0

    def count(now: int, total: int) -> None:
        nonlocal done
        done = now

    with pytest.raises(Cancelled):
        bring(shapes_folder, on_progress=count, cancelled=lambda: done >= after)
    assert left_in(datasets) == []


def test_a_cancelled_import_of_a_table_leaves_nothing(bring: Importer, tmp_path: Path, datasets: Path) -> None:
    source = write_csv(tmp_path / "texts.csv", some_rows(2000))
    bring(source)
    before = left_in(datasets)
    asked = 0

    def later() -> bool:
        nonlocal asked
        asked += 1
        return asked > 20

    with pytest.raises(Cancelled):
        bring(source, cancelled=later)
    assert left_in(datasets) == before


def test_every_unusable_image_is_rejected_with_a_sentence_and_the_rest_goes_on(bring: Importer, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "images", 4)
    good = (folder / "circle" / "circle_00.png").read_bytes()
    (folder / "circle" / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "circle" / "empty.jpg").write_bytes(b"")
    (folder / "circle" / "no image.png").write_bytes(b"hello, I am a text")
    (folder / "circle" / "phone.heic").write_bytes(b"ftypheic")
    huge = Image.new("1", (20_000, 10_000))
    huge.save(folder / "circle" / "huge.png")
    report = bring(folder)
    assert len(report.revision) == 12
    reasons = {item.source: f"{item.reason} {item.remedy}" for item in report.rejected}
    assert set(reasons) == {
        f"circle/{name}" for name in ("cut.png", "empty.jpg", "huge.png", "no image.png", "phone.heic")
    }
    assert "damaged" in reasons["circle/cut.png"]
    assert "0 bytes" in reasons["circle/empty.jpg"]
    assert "200 megapixels" in reasons["circle/huge.png"]
    assert "not an image" in reasons["circle/no image.png"]
    assert "HEIC" in reasons["circle/phone.heic"]
    assert "not a format" not in reasons["circle/no image.png"]
    assert "Open it in an image program and save it again" in reasons["circle/no image.png"]
    assert not report.notes  # the list says it all
    assert report.revision.report() == (report.rejected, report.notes)


def test_odd_images_are_taken_in(bring: Importer, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "images", 3)
    noise = np.random.default_rng(0).integers(0, 255, (40, 30, 4), dtype=np.uint8)
    Image.fromarray(noise, "RGBA").convert("CMYK").save(folder / "circle" / "cmyk.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "circle" / "sixteen.png")
    frames = [Image.fromarray(noise[..., :3]), Image.fromarray(noise[::-1, :, :3])]
    frames[0].save(folder / "circle" / "moving.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    frames[0].save(folder / "circle" / "turned.jpg", exif=exif)
    report = bring(folder)
    assert report.rejected == ()
    row = report.revision.index_of("circle/turned.jpg")
    assert report.revision.table.column("width")[row].as_py() == 40
    assert report.revision.table.column("height")[row].as_py() == 30


def test_one_class_alone_is_refused_before_anything_is_decoded(bring: Importer, tmp_path: Path, datasets: Path) -> None:
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "1.png").write_bytes(b"never opened")
    with pytest.raises(DataError, match='All items are of one class, "cat"'):
        bring(tmp_path / "images")
    assert left_in(datasets) == []


def test_a_class_of_one_item_and_classes_that_differ_by_case_are_noted(bring: Importer, tmp_path: Path) -> None:
    rows = [["text", "label"], *([f"text {n}", "Cat" if n % 2 else "cat "] for n in range(20)), ["alone", "dog"]]
    report = bring(write_csv(tmp_path / "a.csv", rows))
    assert report.revision.classes == ("Cat", "cat", "dog")
    assert '1 class has one item only ("dog"): it goes to train and cannot be tested.' in report.notes
    assert any('The classes "Cat" and "cat" differ by case or spaces only' in note for note in report.notes)
    assert report.revision.split(report.revision.index_of("row 22")) == "train"


def test_hundreds_of_numeric_classes_are_refused_with_the_way_out(bring: Importer, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", [["text", "score"], *([f"text {n}", f"{n / 7:.3f}"] for n in range(400))])
    assert bring(source).revision.task == "regression"
    with pytest.raises(DataError, match=r"400 different numbers.*regression"):
        bring(source, task="classification")


def test_nothing_labelled_is_refused(bring: Importer, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", some_rows(10))
    with pytest.raises(DataError, match=r"Nothing in .* is labelled"):
        bring(source, options={"label_column": ""})
    with pytest.raises(DataError, match=r"Nothing in .* is labelled"):
        bring(draw_folder(tmp_path / "images", 2), options={"labels": "none"})


def test_missing_labels_are_rejected_by_row_and_the_rest_goes_on(bring: Importer, tmp_path: Path) -> None:
    rows = some_rows(30)
    rows[5][1] = " "
    rows[9][0] = ""
    report = bring(write_csv(tmp_path / "a.csv", rows))
    assert [(item.source, item.reason) for item in report.rejected] == [
        ("a.csv, row 6", "It has no label."),
        ("a.csv, row 10", "It has no text."),
    ]
    assert len(report.revision) == 28


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_other_tasks_keep_their_labels(bring: Importer, tmp_path: Path, task: Task) -> None:
    labels = [["a;b", "b", ""][n % 3] if task == "multi_label" else str(n / 3) for n in range(60)]
    rows = [["text", "target"], *([f"text {n}", label] for n, label in enumerate(labels))]
    revision = bring(write_csv(tmp_path / "a.csv", rows), task=task).revision
    info = revision.target_info()
    if task == "regression":
        assert revision.label(3) == 1.0
        assert revision.classes == ()
        assert 5 < info.mean < 15
        assert info.std > 1
    else:
        assert revision.label(0) == ("a", "b")
        assert revision.label(2) == ()
        assert info.classes == ("a", "b")
        assert info.class_counts == (14, 28)


def test_all_mistakes_of_a_plan_are_told_at_once(registry: Registry, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "a.csv", some_rows(5))
    with pytest.raises(ProblemsError) as caught:
        plan_import(
            registry.formats.values(),
            source,
            name="a/b",
            format="text_table",
            options={"labl": 1, "has_header": "perhaps"},
            fractions=(0.5, 0.1, 0.1),
        )
    assert [problem.where for problem in caught.value.problems] == ["fractions", "name", "labl", "has_header"] or [
        problem.where for problem in caught.value.problems
    ] == ["fractions", "name", "has_header", "labl"]


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"format": "text_tabel"}, 'Did you mean "text_table"?'),
        ({"options": {"text_column": "txet"}}, 'has no column "txet".*"text", "label".*Did you mean "text"'),
        ({"task": "classify"}, "no task 'classify'"),
        ({"name": "con"}, "reserved by Windows"),
    ],
)
def test_one_mistake_is_a_sentence(registry: Registry, tmp_path: Path, plan: dict[str, Any], says: str) -> None:
    source = write_csv(tmp_path / "a.csv", some_rows(5))
    with pytest.raises(TLStudioError, match=says):
        plan_import(registry.formats.values(), source, **plan)


def test_a_source_that_is_not_there_names_its_neighbour(registry: Registry, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", some_rows(5))
    with pytest.raises(DataError, match=r'no file or folder .*Did you mean "reviews.csv"'):
        plan_import(registry.formats.values(), tmp_path / "review.csv")


def test_a_name_that_differs_by_case_only_is_refused(bring: Importer, shapes_folder: Path) -> None:
    bring(shapes_folder, name="Shapes")
    with pytest.raises(DataError, match='data set "Shapes" already'):
        bring(shapes_folder, name="shapes")


def test_ids_with_dots_never_leave_the_revision(bring: Importer, tmp_path: Path, datasets: Path) -> None:
    folder = draw_folder(tmp_path / "images", 4)
    rows = [["image", "label"]]
    rows += [[f"../images/circle/../{kind}/{kind}_{n:02}.png", kind] for kind in ("circle", "square") for n in range(4)]
    (tmp_path / "table").mkdir()
    revision = bring(write_csv(tmp_path / "table" / "a.csv", rows)).revision
    assert revision.sample(0).id.startswith("../images")
    files = {path.resolve() for path in tmp_path.rglob("*.png") if folder not in path.parents}
    assert files == {path.resolve() for path in (datasets / "a" / "r1" / "media").rglob("*.png")}
    assert len(files) == 8


def test_a_read_only_project_is_told(bring: Importer, shapes_folder: Path, datasets: Path) -> None:
    datasets.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"datasets.*Nothing was imported"):
        bring(shapes_folder)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are a matter of POSIX")
def test_a_disk_that_fills_up_gets_a_sentence_and_nothing_is_left(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    noise = np.random.default_rng(0)
    rows = [["text", "label"]]
    rows += [["".join(chr(c) for c in noise.integers(97, 123, 400)), "ab"[n % 2]] for n in range(2000)]
    write_csv(source, rows)
    script = """
import resource, sys
from pathlib import Path
from tlstudio.plugins import PluginManager
from tlstudio.data import plan_import, import_dataset
manager = PluginManager(); manager.discover()
request, _ = plan_import(manager.registry.formats.values(), Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    import_dataset(request, Path(sys.argv[2]))
except Exception as error:
    print(type(error).__name__, error)
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(source), str(tmp_path / "datasets")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDEVMODE": "1"},
    )
    assert result.stdout.startswith("DataError The disk of"), result.stderr
    assert "is full" in result.stdout
    assert left_in(tmp_path / "datasets") == []


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    from tlstudio.data.staging import check_space

    with pytest.raises(DataError, match=r"needs about .* TB on the disk of .* free"):
        check_space(tmp_path / "not" / "yet", 10**18)


def test_too_little_space_is_told_of_the_folder_that_the_user_knows(
    bring: Importer, tmp_path: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_csv(tmp_path / "a.csv", some_rows(20))
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match=rf"on the disk of {re.escape(str(datasets))}, and 0 bytes are free"):
        bring(source)


def test_targets_that_no_model_can_compute_with_are_rejected_with_row_and_value(
    bring: Importer, tmp_path: Path
) -> None:
    rows = [["text", "label"], *([f"text number {n}", f"{n}.5"] for n in range(20))]
    rows += [["a text", "1e308"], ["a text", "-3.5e38"], ["a text", "3.4e38"]]
    report = bring(write_csv(tmp_path / "a.csv", rows), task="regression")
    assert len(report.revision) == 21
    assert [item.source for item in report.rejected] == ["a.csv, row 22", "a.csv, row 23"]
    assert "1e+308" in report.rejected[0].reason


def test_ids_that_a_format_gives_twice_are_made_unique(bring: Importer, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "images", 3)
    names = ["circle/circle_00.png", "circle/circle_00.png", "square/square_00.png", "square/square_01.png"]
    rows = [["image", "label"], *([name, name[:6]] for name in names)]
    revision = bring(write_csv(folder / "a.csv", rows)).revision
    ids = revision.table.column("id").to_pylist()
    assert len(set(ids)) == 4
    assert ids[:2] == ["circle/circle_00.png", "circle/circle_00.png (row 3)"]


def test_the_row_writer_makes_repeated_ids_unique(tmp_path: Path) -> None:
    from tlstudio.api import Sample
    from tlstudio.data.prepare import Prepared

    writer = RowWriter(tmp_path, "classification")
    for name in ("a", "a", "b", "a (2)", "a"):
        writer.add(Prepared(Sample(name, text="x", label="y"), "0" * 64))
    writer.finish(["train"] * 5, tmp_path / "out.parquet", lambda: False)
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "out.parquet").column("id").to_pylist() == ["a", "a (3)", "b", "a (2)", "a (4)"]


def test_lone_surrogates_become_readable(bring: Importer, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    lines = [{"text": f"odd \ud800 {n}", "label": "ab"[n % 2]} for n in range(10)]
    source.write_text("\n".join(json.dumps(line) for line in lines))
    revision = bring(source).revision
    assert revision.sample(0).text == "odd \ufffd 0"


def test_a_hundred_thousand_rows_take_seconds(bring: Importer, tmp_path: Path) -> None:
    source = write_csv(
        tmp_path / "a.csv",
        [
            ["text", "label"],
            *([f"row {n} has some words in it, and {n * 7} more", f"class {n % 40}"] for n in range(100_000)),
        ],
    )
    start = time.process_time()
    revision = bring(source).revision
    assert time.process_time() - start < 30
    assert len(revision) == 100_000
    assert len(revision.classes) == 40


def test_imports_at_the_same_time_become_different_revisions(
    registry: Registry, shapes_folder: Path, datasets: Path
) -> None:
    requests = [plan_import(registry.formats.values(), shapes_folder, name="shapes", seed=n)[0] for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda request: import_dataset(request, datasets), requests))
    assert sorted(report.revision.id for report in reports) == ["r1", "r2", "r3", "r4"]
    assert sorted(folder.name for folder in datasets.iterdir()) == ["shapes"]
    assert len({report.revision.sha256 for report in reports}) == 4

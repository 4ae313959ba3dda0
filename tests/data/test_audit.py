from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw_folder
from tlstudio.api.images import open_image
from tlstudio.data import Revision, import_dataset, plan_import
from tlstudio.data.audit import Finding, find_problems
from tlstudio.data.fingerprint import dhash
from tlstudio.data.near import near_groups
from tlstudio.plugins import Registry


def bring(registry: Registry, source: Path, tmp_path: Path) -> Revision:
    request, _ = plan_import(registry.formats.values(), source)
    return import_dataset(request, tmp_path / "datasets").revision


def table(path: Path, rows: Sequence[tuple[str, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def by_kind(revision: Revision) -> dict[str, Finding]:
    findings = find_problems(revision)
    assert len({finding.kind for finding in findings}) == len(findings)
    ids = set(revision.table.column("id").to_pylist())
    assert all(set(finding.ids) <= ids for finding in findings)
    return {finding.kind: finding for finding in findings}


def test_a_sound_data_set_has_no_problems(registry: Registry, tmp_path: Path) -> None:
    rows = [("text", "label"), *((f"a text of words {n}", "ab"[n % 2]) for n in range(60))]
    assert find_problems(bring(registry, table(tmp_path / "a.csv", rows), tmp_path)) == ()


def test_leaks_conflicts_and_duplicates_are_told_apart(registry: Registry, tmp_path: Path) -> None:
    rows = [("text", "label", "split")]
    rows += [(f"a text of words {n}", "ab"[n % 2], ("train", "validation", "test")[n % 3]) for n in range(60)]
    rows += [("leaking text here", "a", "train"), ("leaking text here", "a", "test")]
    rows += [("disputed text here", "a", "train"), ("disputed text here", "b", "train")]
    rows += [("merely repeated text", "b", "train")] * 3
    found = by_kind(bring(registry, table(tmp_path / "a.csv", rows), tmp_path))
    assert found["leak"].ids == ("row 62", "row 63")
    assert found["leak"].severity == "error"
    assert found["conflict"].ids == ("row 64", "row 65")
    assert set(found["duplicates"].ids) == {f"row {n}" for n in range(64, 69)}
    assert "(3 too many)" in found["duplicates"].what
    assert next(iter(found)) == "leak"


def test_unequal_tiny_and_unlearnable_classes_are_told(registry: Registry, tmp_path: Path) -> None:
    rows = [("text", "label", "split")]
    rows += [(f"big {n} words", "big", ("train", "validation", "test")[n % 3]) for n in range(120)]
    rows += [("small one here", "small", "train"), ("small two here", "small", "validation")]
    rows += [("never learned this", "late", "test")]
    found = by_kind(bring(registry, table(tmp_path / "a.csv", rows), tmp_path))
    assert found["not_in_train"].ids == ("row 124",)
    assert found["not_in_test"].ids == ("row 122", "row 123")
    assert found["tiny_class"].ids == ("row 122", "row 123")
    assert "120 times fewer" in found["imbalance"].what


def test_look_alikes_across_splits_are_found(registry: Registry, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "images", 20)
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    original = Image.fromarray(smooth).resize((200, 200), Image.Resampling.BICUBIC)
    for number in range(12):
        original.resize((200 - 7 * number, 200 - 7 * number)).save(folder / "circle" / f"again_{number:02}.png")
    found = by_kind(bring(registry, folder, tmp_path))
    assert {item for item in found["near_duplicates"].ids if "again" in item} == {
        f"circle/again_{number:02}.png" for number in range(12)
    }


def test_odd_sizes_lengths_and_targets_are_told(registry: Registry, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "images", 6)
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise[:20, :20]).save(folder / "circle" / "tiny.png")
    Image.fromarray(noise[:40]).save(folder / "circle" / "strip.png")
    found = by_kind(bring(registry, folder, tmp_path))
    assert found["small_images"].ids == ("circle/tiny.png",)
    assert found["long_images"].ids == ("circle/strip.png",)
    rows = [("text", "score"), *((f"a text of words {n}", str(n / 7)) for n in range(90))]
    rows += [("x", "5.5"), ("word " * 5000, "5.5"), ("slipped decimal point", "99999")]
    found = by_kind(bring(registry, table(tmp_path / "b.csv", rows), tmp_path))
    assert found["short_texts"].ids == ("row 92",)
    assert found["long_texts"].ids == ("row 93",)
    assert found["outliers"].ids == ("row 94",)


def test_what_was_left_out_is_remembered(registry: Registry, tmp_path: Path) -> None:
    rows = [("text", "label"), *((f"a text of words {n}", "ab"[n % 2]) for n in range(60)), ("no label", "")]
    found = by_kind(bring(registry, table(tmp_path / "a.csv", rows), tmp_path))
    assert "a.csv, row 62: It has no label." in found["left_out"].what


def test_an_image_saved_again_keeps_its_difference_hash_nearly(shapes_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((300, 300))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.jpg", quality=80)
    one, two = (np.frombuffer(dhash(open_image(tmp_path / name)), np.uint8) for name in ("a.png", "a.jpg"))
    assert np.bitwise_count(one ^ two).sum() <= 3


def test_near_groups_equal_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (60, 128), dtype=np.uint8)
    copies = np.repeat(bits[:20], 3, axis=0)
    for row in copies:
        row[rng.choice(128, int(rng.integers(0, 4)), replace=False)] ^= 1
    hashes = np.concatenate([bits, copies])
    packed = [np.packbits(row).tobytes() for row in hashes]
    groups = near_groups([*packed, None, b"\0" * 16, b"\0" * 16])
    distance = (hashes[:, None] != hashes[None]).sum(axis=-1)
    linked = {(int(i), int(j)) for i, j in zip(*np.nonzero(distance <= 3), strict=True) if i < j}
    together = {(i, j) for group in groups for i in group for j in group if i < j}
    assert linked <= together
    assert len(groups) == 20
    assert all(len({row if row < 60 else (row - 60) // 3 for row in group}) == 1 for group in groups)


@pytest.mark.parametrize("count", [0, 1])
def test_few_images_have_no_look_alikes(count: int) -> None:
    assert near_groups([b"\x5a" * 16] * count) == []

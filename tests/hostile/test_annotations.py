"""Readers of boxes: whatever annotations say, samples, rejections and sentences come out, and nothing is written."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tlstudio.api import DataError, Rejected, Sample
from tlstudio.data.labels import WrongLabel, checked_label
from tlstudio_formats.coco import CocoBoxes
from tlstudio_formats.voc import VocBoxes
from tlstudio_formats.yolo import YoloBoxes

MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = st.sampled_from(["", "nan", "inf", "-1", "1e400", "9" * 5000, "a.png", "../a.png", "\0", "\ud800", "0", "1"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ODD
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ODD, inner, max_size=3))
IMAGES = st.fixed_dictionaries(
    {"id": st.sampled_from([1, "1", 2]) | VALUES, "file_name": st.just("a.png") | VALUES},
    optional={"width": st.just(40) | VALUES, "height": st.just(30) | VALUES},
)
EDGES = st.floats(-5, 45) | LEAVES
ANNOTATIONS = st.fixed_dictionaries(
    {"image_id": st.just(1) | VALUES, "category_id": st.just(1) | VALUES},
    optional={"bbox": st.lists(EDGES, min_size=4, max_size=4) | VALUES, "iscrowd": VALUES},
)
CATEGORIES = st.fixed_dictionaries({"id": st.just(1) | VALUES}, optional={"name": st.just("cat") | VALUES})
TAGS = st.sampled_from(
    ["object", "name", "bndbox", "xmin", "ymin", "xmax", "ymax", "size", "width", "height", "filename", "difficult"]
)


def elements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(TAGS, st.lists(inner, max_size=5)).map(lambda made: f"<{made[0]}>{''.join(made[1])}</{made[0]}>")


XML = st.recursive(ODD.filter(lambda text: "\ud800" not in text), elements, max_leaves=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture that annotations may be for."""
    Image.new("RGB", (40, 30), "grey").save(tmp_path / "a.png")
    return tmp_path


def read(format_: CocoBoxes | YoloBoxes | VocBoxes, path: Path) -> None:
    """Read and preview; what comes out is checked as at import."""
    assert 0 <= format_.detect(path) <= 1
    with contextlib.suppress(DataError):
        format_.preview(path)
    with contextlib.suppress(DataError):
        for item in format_.read(path, format_.Options(), "detection"):
            if isinstance(item, Rejected):
                assert item.reason
                assert len(item.reason) < 1000
                continue
            assert isinstance(item, Sample)
            assert item.image is not None
            assert item.image.resolve().is_relative_to(path if path.is_dir() else path.parent)
            assert isinstance(checked_label(item.label, "detection", "", (40, 30)), (tuple, WrongLabel))


@MANY
@given(
    images=st.lists(IMAGES, max_size=3) | VALUES,
    annotations=st.lists(ANNOTATIONS, max_size=4) | VALUES,
    categories=st.lists(CATEGORIES, max_size=2) | VALUES,
    cut=st.integers(0, 60) | st.just(0),
)
def test_coco(folder: Path, images: Any, annotations: Any, categories: Any, cut: int) -> None:
    path = folder / "boxes.json"
    content = {"file_name": 1, "images": images, "annotations": annotations, "categories": categories}
    data = json.dumps(content).encode("utf-8", "surrogatepass")
    path.write_bytes(data[: len(data) - cut])
    read(CocoBoxes(), path)


@MANY
@given(
    labels=st.lists(st.lists(ODD | st.floats().map(str) | st.text(max_size=5), max_size=9).map(" ".join), max_size=4),
    description=VALUES | st.text(max_size=40),
)
def test_yolo(folder: Path, labels: list[str], description: Any) -> None:
    (folder / "a.txt").write_text("\n".join(labels), encoding="utf-8", errors="surrogatepass")
    text = description if isinstance(description, str) else json.dumps({"names": description})
    (folder / "data.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    read(YoloBoxes(), folder)


@MANY
@given(parts=st.lists(XML, max_size=6), cut=st.integers(0, 30) | st.just(0))
def test_voc(folder: Path, parts: list[str], cut: int) -> None:
    text = f"<annotation><filename>a.png</filename>{''.join(parts)}</annotation>"
    (folder / "a.xml").write_text(text[: len(text) - cut], encoding="utf-8")
    read(VocBoxes(), folder)

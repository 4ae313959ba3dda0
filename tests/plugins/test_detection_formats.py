"""Boxes in the files of COCO, YOLO and PASCAL VOC, and what is wrong with files of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.scenes import THINGS, Scene, compose, voc_xml, write_coco, write_voc, write_yolo
from tlstudio.api import Box, DataError, Rejected, Sample
from tlstudio.data import import_dataset, plan_import
from tlstudio.plugins import Registry
from tlstudio.testing import check_format
from tlstudio_formats import json_members
from tlstudio_formats.coco import CocoBoxes
from tlstudio_formats.json_members import members
from tlstudio_formats.voc import VocBoxes
from tlstudio_formats.yolo import YoloBoxes

Format = CocoBoxes | YoloBoxes | VocBoxes
SMALL = (96, 64)


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Scene]]:
    """Small pictures in three splits, some of which show nothing."""
    counts = {"train": 9, "val": 2, "test": 2}
    return {name: compose(count, seed=n, size=SMALL, sides=(16, 40)) for n, (name, count) in enumerate(counts.items())}


def read(format_: Format, path: Path, **options: object) -> list[Sample | Rejected]:
    return list(format_.read(path, format_.Options.model_validate(options), "detection"))


def one(format_: Format, path: Path, **options: object) -> Sample | Rejected:
    (item,) = read(format_, path, **options)
    return item


def reason(item: Sample | Rejected) -> str:
    assert isinstance(item, Rejected), item
    return item.reason


def boxes(item: Sample | Rejected) -> tuple[Any, ...]:
    assert isinstance(item, Sample), item
    assert isinstance(item.label, tuple)
    return item.label


def near(found: tuple[Any, ...], expected: tuple[Box, ...]) -> bool:
    """Whether boxes are the same but for the digits that a file leaves out."""
    return [box.name for box in found] == [box.name for box in expected] and all(
        abs(getattr(one, edge) - getattr(other, edge)) < 1e-4
        for one, other in zip(found, expected, strict=True)
        for edge in ("left", "top", "right", "bottom")
    )


@pytest.mark.parametrize(
    ("format_", "write"),
    [(CocoBoxes(), write_coco), (YoloBoxes(), write_yolo), (VocBoxes(), write_voc)],
    ids=["coco", "yolo", "voc"],
)
def test_boxes_and_splits_are_read_and_the_format_is_found(
    format_: Format,
    write: Callable[[Path, dict[str, list[Scene]]], Path],
    splits: dict[str, list[Scene]],
    registry: Registry,
    tmp_path: Path,
) -> None:
    source = write(tmp_path / "data", splits)
    assert next(found.name for _, found in registry.detect_format(source)) == format_.name
    samples = check_format(format_, source, "detection")
    truth = {scene.name: (scene.boxes, split) for split, scenes in splits.items() for scene in scenes}
    assert len(samples) == len(truth) == 13
    words = {"train": "train", "val": "validation", "test": "test"}
    for sample in samples:
        assert sample.image is not None
        expected, split = truth[sample.image.stem]
        assert near(boxes(sample), expected)
        assert sample.split == words[split]
    assert () in [sample.label for sample in samples], "an image of nothing is a sample"
    assert {item.split for item in read(format_, source, splits="ignore") if isinstance(item, Sample)} == {None}
    request, preview = plan_import(registry.formats.values(), source)
    assert (request.format.name, request.task, preview.count) == (format_.name, "detection", 13)
    assert any(row["boxes"] not in ("", "none") for row in preview.rows)
    revision = import_dataset(request, tmp_path / "datasets").revision
    assert revision.classes == THINGS
    assert [len(revision.indices(split)) for split in ("train", "validation", "test")] == [9, 2, 2]


# COCO


def coco(folder: Path, **changes: object) -> Path:
    """A picture of 40 x 30 pixels and its file."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), "grey").save(folder / "a.png")
    content: dict[str, object] = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 20]}],
        "categories": [{"id": 7, "name": "cat"}],
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def test_crowds_are_left_out_and_counted(tmp_path: Path) -> None:
    boxed = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5]}
    path = coco(tmp_path, annotations=[{**boxed, "iscrowd": 1}, {**boxed, "iscrowd": 0}])
    assert boxes(one(CocoBoxes(), path)) == (Box("cat", 0, 0, 5, 5),)
    assert CocoBoxes().detect(path) == 0.97
    assert "1 boxes around crowds are left out." in CocoBoxes().preview(path).notes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": [{"id": 1, "file_name": "../secret.png"}]}, "leads out of the folder"),
        ({"images": [{"id": 1, "file_name": "/etc/passwd"}]}, "leads out of the folder"),
        ({"images": [{"id": 1, "file_name": "C:\\secret.png"}]}, "leads out of the folder"),
        ({"images": [{"id": 1, "file_name": {"a": 1}}]}, "leads out of the folder"),
        ({"images": [{"id": 1, "file_name": "a" * 5000}]}, "There is no such image"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 60}]}, "for an image of 80 x 60 px"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 40}]}, "in the image on its side"),
        ({"annotations": [{"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]}]}, "There is no category 9"),
        ({"annotations": [{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3]}]}, "is no box of four numbers"),
        ({"annotations": [{"image_id": 1, "category_id": 7, "bbox": [1, None, [], 4]}]}, "is no box of four numbers"),
    ],
)
def test_what_is_wrong_with_an_image_of_coco_is_said(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"not for others")
    assert said in reason(one(CocoBoxes(), coco(tmp_path / "data", **changes)))


def test_boxes_of_images_that_are_not_listed_are_told(tmp_path: Path) -> None:
    annotations = [{"image_id": number, "category_id": 7, "bbox": [1, 2, 3, 4]} for number in (1, 5, 5, "b")]
    found, lost = read(CocoBoxes(), coco(tmp_path, annotations=annotations))
    assert len(boxes(found)) == 1
    assert reason(lost) == "Boxes are given for 2 images that are not listed (5, b)."


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ("[NaN, 2, 3, 4]", "an edge that is no number"),
        ("[1, 2, 1e999, 4]", "an edge that is no number"),
        (f"[1, 2, {10**400}, 4]", "an edge that is no number"),
        ("[1, 2, 0, 4]", "has no area"),
        ("[1, 2, -3, 4]", "has no area"),
        ("[30, 2, 20, 4]", "juts out of the image"),
    ],
)
def test_boxes_that_cannot_be_are_caught_at_import(box: str, said: str, registry: Registry, tmp_path: Path) -> None:
    path = coco(tmp_path / "data", images=[{"id": n, "file_name": f"{n}.png"} for n in range(1, 9)])
    for n in range(1, 9):
        Image.new("RGB", (40, 30), (30 * n, 99, 7)).save(path.parent / f"{n}.png")
    good = ",".join(json.dumps({"id": n, "image_id": n, "category_id": 7, "bbox": [n, 2, 10, 20]}) for n in range(2, 9))
    content = json.loads(path.read_text())
    bad = f'{{"id": 1, "image_id": 1, "category_id": 7, "bbox": {box}}}'
    images, categories = (json.dumps(content[name]) for name in ("images", "categories"))
    path.write_text(f'{{"images": {images}, "annotations": [{bad}, {good}], "categories": {categories}}}')
    request, _ = plan_import(registry.formats.values(), path)
    report = import_dataset(request, tmp_path / "datasets")
    (rejected,) = report.rejected
    assert said in rejected.reason
    assert len(report.revision) == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [' + "[" * 100_000, "nested too deeply"),
        ('{"images": [{"id": 1}', "is missing"),
        ('{"images": [{"id": 1}]} and more', "more behind its end"),
        ('{"images": [1]}', 'something in "images" is no object'),
        ('{"images": [{"file_name": "a.png"}]}', 'something in "images" has no id'),
        ('{"images": [{"id": 1, "file_name": "a\x00"}]}', "no valid JSON"),
        ('{"images": [{"id": ' + "9" * 10_000 + "}]}", "no valid JSON"),
        ('{"images": []}', "lists no images"),
        ('{"images": [], 1: 2}', "is missing"),
    ],
)
def test_a_file_that_is_no_coco_is_refused_in_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    marks = '"categories": [], "file_name": 0, '
    path.write_text(text.replace("{", "{" + marks, 1))
    with pytest.raises(DataError, match=said):
        read(CocoBoxes(), path)


def test_members_of_a_large_file_are_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    items = [{"id": n, "text": "ä" * (n % 997)} for n in range(6000)]
    path.write_text(json.dumps({"info": {"a": [1, 2]}, "items": items, "number": 123456}, indent=1), encoding="utf-8")
    assert path.stat().st_size > 3 * 2**20
    found = list(members(path))
    assert found[0] == ("info", {"a": [1, 2]})
    assert [value for name, value in found if name == "items"] == items
    assert found[-1] == ("number", 123456)


def test_a_value_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_members, "_LONGEST", 2**16)
    path = tmp_path / "large.json"
    path.write_text('{"images": "' + "a" * 2**22)
    with pytest.raises(DataError, match="far too long"):
        list(members(path))


def test_images_of_two_splits_may_have_the_same_names(splits: dict[str, list[Scene]], tmp_path: Path) -> None:
    for split in ("train", "valid"):
        folder = tmp_path / split
        path = coco(folder, annotations=[{"image_id": 1, "category_id": 7, "bbox": [1, 2, len(split), 20]}])
        path.rename(folder / "_annotations.coco.json")
    found = read(CocoBoxes(), tmp_path)
    assert [(item.split, item.image) for item in found if isinstance(item, Sample)] == [
        ("train", tmp_path / "train" / "a.png"),
        ("validation", tmp_path / "valid" / "a.png"),
    ]
    assert [item.id for item in found if isinstance(item, Sample)] == ["train/a.png", "valid/a.png"]


def test_images_of_coco_may_be_counted_from_1_in_each_split(splits: dict[str, list[Scene]], tmp_path: Path) -> None:
    counted = {
        name: [replace(scene, name=f"{number:03}") for number, scene in enumerate(scenes)]
        for name, scenes in splits.items()
    }
    found = check_format(CocoBoxes(), write_coco(tmp_path / "data", counted), "detection")
    assert len(found) == 13
    truth = {f"{name}2017/{scene.name}.jpg": scene.boxes for name, scenes in counted.items() for scene in scenes}
    assert {sample.id: sample.label for sample in found} == truth


def test_images_are_found_in_the_folder_that_is_chosen(tmp_path: Path) -> None:
    path = coco(tmp_path / "data")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(path.parent / "a.png", elsewhere / "a.png")
    assert "There is no such image" in reason(one(CocoBoxes(), path))
    assert len(boxes(one(CocoBoxes(), path, image_folder=str(elsewhere)))) == 1


def test_captions_of_coco_are_no_boxes(tmp_path: Path) -> None:
    path = tmp_path / "captions_train2017.json"
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "caption": "A cat."}]}
    path.write_text(json.dumps(content))
    assert CocoBoxes().detect(path) == 0.0


def test_an_image_that_a_note_turns_counts_upright(tmp_path: Path) -> None:
    path = coco(tmp_path, images=[{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30), "grey").save(tmp_path / "a.jpg", exif=exif)
    assert "upright it is 30 x 40 px" in reason(one(CocoBoxes(), path))
    upright = coco(tmp_path, images=[{"id": 1, "file_name": "a.jpg", "width": 30, "height": 40}])
    assert len(boxes(one(CocoBoxes(), upright))) == 1


# YOLO


def yolo(folder: Path, labels: str, names: str | None = "names: [cat, dog]\n") -> Path:
    """A picture of 40 x 30 pixels with labels beside it."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), "grey").save(folder / "a.png")
    (folder / "a.txt").write_text(labels)
    if names is not None:
        (folder / "data.yaml").write_text(names)
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [cat, dog]", "dog"),
        ("names: {0: cat, 1: dog}", "dog"),
        ("nc: 2\nnames:\n  '1': dog\n", "dog"),
        ("path: x\n", "1"),
        (None, "1"),
    ],
)
def test_the_classes_of_yolo_have_the_names_of_its_description(
    names: str | None, expected: str, tmp_path: Path
) -> None:
    (box,) = boxes(one(YoloBoxes(), yolo(tmp_path, "1 0.5 0.5 0.5 1.0\n", names)))
    assert box == Box(expected, 10, 0, 30, 30)


def test_classes_are_named_by_a_list_and_by_a_file_that_is_chosen(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "data", "1 0.5 0.5 0.5 1.0\n", None)
    (folder / "classes.txt").write_text("cat\nhorse\n\n")
    assert boxes(one(YoloBoxes(), folder))[0].name == "horse"
    (tmp_path / "mine.yaml").write_text("names: [a, b]")
    assert boxes(one(YoloBoxes(), folder, names_file=str(tmp_path / "mine.yaml")))[0].name == "b"
    with pytest.raises(DataError, match=r"gone\.yaml cannot be read"):
        read(YoloBoxes(), folder, names_file="gone.yaml")


def test_the_description_itself_may_be_chosen(splits: dict[str, list[Scene]], tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "data", splits)
    assert YoloBoxes().detect(folder / "data.yaml") == YoloBoxes().detect(folder) == 0.96
    assert len(check_format(YoloBoxes(), folder / "data.yaml", "detection")) == 13


def test_a_polygon_becomes_the_box_around_it(tmp_path: Path) -> None:
    folder = yolo(tmp_path, "0 0.25 0.5 0.5 0.0 0.75 0.5\n")
    assert boxes(one(YoloBoxes(), folder)) == (Box("cat", 10, 0, 30, 15),)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("2 0.5 0.5 0.5 0.5", "There is no class 2: 2 are named"),
        ("-1 0.5 0.5 0.5 0.5", "is no class and shares"),
        ("cat 0.5 0.5 0.5 0.5", "is no class and shares"),
        ("nan 0.5 0.5 0.5 0.5", "is no class and shares"),
        ("1e400 0.5 0.5 0.5 0.5", "is no class and shares"),
        ("0 0.5 x 0.5 0.5", "is no class and shares"),
        ("0 0.5 0.5", "has 2 numbers behind the class"),
        ("0 0.5 0.5 0.5 0.5 0.9", "has 5 numbers behind the class"),
        ("0 20 15 10 10", "is not in shares of the image"),
    ],
)
def test_what_is_wrong_with_a_line_of_yolo_is_said(labels: str, said: str, tmp_path: Path) -> None:
    assert said in reason(one(YoloBoxes(), yolo(tmp_path, labels)))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("names: !!python/object/apply:os.system ['touch ran']", "no valid YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: *b", "refers to parts of itself"),
        ("names: {999999999: cat}", "not numbered from 0"),
        ("names: [[cat], {dog: 1}]", "names are no words"),
        ("names: [" + "[" * 5000, "nested too deeply|no valid YAML"),
        ("names: [\x00]", "no valid YAML"),
        ("#" * 2**19, "more than 256 KiB"),
    ],
)
def test_a_hostile_description_is_refused_in_a_sentence(
    names: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = yolo(tmp_path / "data", "0 0.5 0.5 0.5 0.5", names)
    with pytest.raises(DataError, match=said):
        read(YoloBoxes(), folder)
    assert not (tmp_path / "ran").exists()


def test_a_wrong_line_does_not_hide_that_it_is_yolo(tmp_path: Path) -> None:
    assert YoloBoxes().detect(yolo(tmp_path / "some", "0 0.5 0.5 0.1 0.1\n1 7 0.5 0.1 0.1\n")) == 0.96
    assert YoloBoxes().detect(yolo(tmp_path / "most", "a caption\nof two lines\n0 0.5 0.5 0.1 0.1\n")) == 0.0


def test_a_folder_without_labels_is_no_yolo(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("0 0.5 0.5 0.5 0.5")
    assert YoloBoxes().detect(tmp_path) == 0.0
    with pytest.raises(DataError, match="has YOLO labels"):
        read(YoloBoxes(), tmp_path)
    (tmp_path / "a.txt").write_text("A caption of the picture.")
    assert YoloBoxes().detect(tmp_path) == 0.0


# PASCAL VOC


def voc(folder: Path, xml: str) -> Path:
    """A picture of 40 x 30 pixels with an XML file beside it."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), "grey").save(folder / "a.png")
    (folder / "a.xml").write_text(xml)
    return folder


THING = (
    "<object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>40</xmax>"
    "<ymax>30</ymax></bndbox></object>"
)


def test_corners_of_voc_are_pixels_counted_from_1(tmp_path: Path) -> None:
    folder = voc(tmp_path, f"<annotation><filename>a.png</filename>{THING}</annotation>")
    assert boxes(one(VocBoxes(), folder)) == (Box("cat", 0, 2, 40, 30),)
    assert boxes(one(VocBoxes(), folder, first_pixel=0)) == (Box("cat", 1, 3, 40, 30),)
    assert boxes(one(VocBoxes(), folder, difficult="leave_out")) == ()


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "has a DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "has a DOCTYPE"),
        ("<annotation>&b;</annotation>", "undefined entity"),
        ("<annotation>" * 1000, "nested too deeply"),
        ("<annotation><object>", "no element found"),
        ("<html><object/></html>", "begins with <html>"),
        ("", "no element found"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "unknown encoding"),
        (f"<annotation>{' ' * 2**22}</annotation>", "more than 4 MiB"),
        ("<annotation><object><name>cat</name></object></annotation>", 'The thing "cat" has no box'),
        ("<annotation><size><width>4</width><height>3</height></size></annotation>", "for an image of 4 x 3 px"),
    ],
)
def test_what_is_wrong_with_a_file_of_voc_is_said(xml: str, said: str, tmp_path: Path) -> None:
    assert said in reason(one(VocBoxes(), voc(tmp_path, xml)))


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "gone.png"])
def test_the_image_of_a_file_of_voc_lies_beside_it(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "secret.png")
    folder = voc(tmp_path / "data", f"<annotation><filename>{name}</filename></annotation>")
    item = one(VocBoxes(), folder)
    assert isinstance(item, Sample)
    assert item.image == folder / "a.png"
    (folder / "a.png").unlink()
    assert "is not there" in reason(one(VocBoxes(), folder))


def test_folders_tell_the_splits_where_no_lists_do(splits: dict[str, list[Scene]], tmp_path: Path) -> None:
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        scene = splits["train"][0]
        scene.image.save(tmp_path / split / f"{scene.name}.jpg")
        (tmp_path / split / f"{scene.name}.xml").write_text(voc_xml(scene))
    found = read(VocBoxes(), tmp_path)
    assert [item.split for item in found if isinstance(item, Sample)] == ["train", "validation"]


@pytest.mark.parametrize("format_", [CocoBoxes(), YoloBoxes(), VocBoxes()], ids=["coco", "yolo", "voc"])
def test_nothing_is_found_where_nothing_is(format_: Format, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (empty, tmp_path / "gone", tmp_path / "gone.json"):
        assert format_.detect(path) == 0.0
        with pytest.raises(DataError):
            read(format_, path)


def test_an_image_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    path = coco(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    assert "not an image that can be read" in reason(one(CocoBoxes(), path))

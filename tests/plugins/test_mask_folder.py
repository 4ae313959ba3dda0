"""Images with masks: which belong together, and what the values of the masks stand for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlstudio.api import DataError, Mask, Rejected, Sample
from tlstudio.api.masks import mask_values
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.data.unlabelled import samples_in
from tlstudio.plugins import Registry
from tlstudio.testing import check_format
from tlstudio_formats.mask_classes import MaskClass, classes_in, written_classes
from tlstudio_formats.mask_folder import MaskFolder

VALUES = np.array([[0, 0, 1, 1], [0, 2, 2, 255], [0, 0, 0, 1]], dtype=np.uint8)


def write_image(path: Path, size: tuple[int, int] = (4, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


def write_mask(path: Path, values: np.ndarray = VALUES, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image = image.convert("P")
        image.putdata(values.flatten().tolist())
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, *range(3, 250)] + [7] * 512)
    image.save(path)


def layout(folder: Path, names: Sequence[tuple[str, str]], values: np.ndarray = VALUES) -> Path:
    for image, mask in names:
        if image:
            write_image(folder / image)
        if mask:
            write_mask(folder / mask, values)
    return folder


def read(folder: Path, **options: Any) -> list[Sample | Rejected]:
    format_ = MaskFolder()
    return list(format_.read(folder, format_.Options.model_validate(options), "segmentation"))


def named_values(item: Sample | Rejected) -> list[list[str]]:
    """The class of each pixel, ``"-"`` where there is none."""
    assert isinstance(item, Sample), item
    assert isinstance(item.label, Mask)
    names = dict(enumerate(item.label.names))
    return [[names.get(int(value), "-") for value in row] for row in mask_values(item.label)]


BY_NUMBER = [["0", "0", "1", "1"], ["0", "2", "2", "-"], ["0", "0", "0", "1"]]


@pytest.mark.parametrize(
    "names",
    [
        [("images/a.jpg", "masks/a.png"), ("images/b.jpg", "masks/b.png")],
        [("images/x/a.png", "masks/x/a.png"), ("images/y/a.png", "masks/y/a.png")],
        [("JPEGImages/a.jpg", "SegmentationClass/a.png")],
        [("a.jpg", "a_mask.png"), ("b.png", "b_mask.png")],
        [("train/images/a.jpg", "train/labels/a.png"), ("val/images/b.jpg", "val/labels/b.png")],
        [("img/train/a.jpg", "mask/train/a.png")],
        [("images/a.jpg", "masks/a_mask.png")],
        [("photos of 2020/a.jpg", "masks/a.png"), ("photos of 2020/b.jpg", "masks/b.bmp")],
    ],
    ids=lambda names: names[0][0],
)
def test_images_find_their_masks(names: list[tuple[str, str]], tmp_path: Path) -> None:
    layout(tmp_path, names)
    assert MaskFolder().detect(tmp_path) > 0.95
    samples = check_format(MaskFolder(), tmp_path, "segmentation")
    assert sorted(sample.id for sample in samples) == sorted(image for image, _ in names)
    assert all(named_values(sample) == BY_NUMBER for sample in samples)
    for sample in samples:
        assert sample.split == {"train": "train", "val": "validation"}.get(
            next((part for part in Path(sample.id).parts if part in ("train", "val")), "")
        )


def test_what_has_no_partner_is_told(tmp_path: Path) -> None:
    layout(tmp_path, [("images/a.jpg", "masks/a.png"), ("images/b.jpg", ""), ("", "masks/c.png"), ("images/d.jpg", "")])
    (tmp_path / "masks" / "d.png").write_bytes(b"no image")
    rejected = {item.source: item.reason for item in read(tmp_path) if isinstance(item, Rejected)}
    assert rejected == {
        "images/b.jpg": "It has no mask.",
        "images/d.jpg": "Its mask masks/d.png is not an image that can be read.",
        "masks/c.png": "There is no image to this mask.",
    }
    assert "1 of 3 images have no mask." in MaskFolder().preview(tmp_path).notes


def test_an_image_never_takes_the_mask_of_another_one_of_its_name(tmp_path: Path) -> None:
    layout(tmp_path, [("images/train/1.jpg", "masks/train/1.png"), ("images/val/1.jpg", "")])
    kept, alone = read(tmp_path)
    assert isinstance(kept, Sample)
    assert isinstance(alone, Rejected)
    assert (kept.id, alone.source, alone.reason) == ("images/train/1.jpg", "images/val/1.jpg", "It has no mask.")


def test_a_folder_of_classes_is_not_taken_for_masks(tmp_path: Path, registry: Registry) -> None:
    for name in ("mask", "no_mask"):
        for number in range(4):
            write_image(tmp_path / name / f"{name}{number}.png")
    assert MaskFolder().detect(tmp_path) == 0.0
    assert registry.detect_format(tmp_path)[0][1].name == "image_folder"
    with pytest.raises(DataError, match=r"No image in .* has a mask"):
        read(tmp_path)


def test_a_folder_of_masks_is_chosen_by_itself_and_predicted_without_them(tmp_path: Path, registry: Registry) -> None:
    layout(tmp_path, [(f"images/{n}.png", f"masks/{n}.png") for n in range(4)])
    request, preview = plan_import(registry.formats.values(), tmp_path)
    assert (request.format.name, request.task, preview.count) == ("mask_folder", "segmentation", 4)
    assert preview.rows[0] == {"image": "images/0.png", "mask": "masks/0.png", "classes": "0, 1, 2"}
    items = samples_in(tmp_path, registry.formats.values(), "image")
    assert [item.id for item in items if isinstance(item, Sample)] == [f"images/{n}.png" for n in range(4)]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "sky\nroad\ncar\n"),
        ("labels.txt", "0: sky\n1: road\n2: car\n255: void\n"),
        ("classes.csv", "id,name,r,g,b\n0,sky,0,0,0\n1,road,9,9,9\n2,car,1,2,3\n"),
        ("class_dict.csv", "name,r,g,b\nsky,0,0,0\nroad,9,9,9\ncar,1,2,3\n"),
        ("classes.json", '["sky", "road", "car"]'),
        ("classes.json", '{"0": "sky", "1": "road", "2": "car"}'),
        ("classes.json", '{"sky": 0, "road": 1, "car": 2}'),
        (
            "classes.json",
            '{"classes": [{"id": 2, "name": "car", "color": "#010203"}, {"id": 0, "name": "sky"}, '
            '{"id": 1, "name": "road"}]}',
        ),
    ],
)
def test_names_come_from_the_file_of_classes(file: str, text: str, tmp_path: Path) -> None:
    layout(tmp_path, [("images/a.jpg", "masks/a.png")])
    (tmp_path / file).write_text(text, encoding="utf-8")
    (sample,) = read(tmp_path)
    names = {"0": "sky", "1": "road", "2": "car", "-": "-"}
    assert named_values(sample) == [[names[name] for name in row] for row in BY_NUMBER]
    assert f"The classes were found in {file}." in MaskFolder().preview(tmp_path).notes


@pytest.mark.parametrize("mode", ["L", "P"])
def test_names_background_and_unlabelled_pixels_are_as_the_user_says(mode: str, tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg")
    write_mask(tmp_path / "masks/a.png", mode=mode)
    (sample,) = read(tmp_path, classes="sky, road, car", ignored=1, background="ignore")
    assert isinstance(sample, Rejected)
    assert sample.reason == "Its mask has values that stand for no class: 255."
    (sample,) = read(tmp_path, classes="0=sky, 1=road, 2=road, 255=car", ignored=None, background="ignore")
    assert named_values(sample) == [["-", "-", "road", "road"], ["-", "road", "road", "car"], ["-", "-", "-", "road"]]


def test_black_and_white_masks_have_two_classes_without_a_word(tmp_path: Path, registry: Registry) -> None:
    values = np.where(VALUES > 0, 255, 0).astype(np.uint8)
    layout(tmp_path, [(f"images/{n}.png", f"masks/{n}.png") for n in range(4)], values)
    request, preview = plan_import(registry.formats.values(), tmp_path)
    assert preview.rows[0]["classes"] == "background, foreground"
    report = import_dataset(request, tmp_path / "datasets")
    assert not report.rejected
    label = report.revision.sample(0).label
    assert isinstance(label, Mask)
    assert label.names == ("background", "foreground")
    assert mask_values(label).tolist() == (values // 255).tolist()


def test_coloured_masks_are_read_by_their_table_and_other_colours_are_told(tmp_path: Path) -> None:
    colours = np.zeros((3, 4, 3), dtype=np.uint8)
    colours[1:, :, 0] = 128
    for name in ("a", "b"):
        write_image(tmp_path / f"images/{name}.jpg")
        write_mask(tmp_path / f"masks/{name}.png", colours)
        colours[0, 0] = (1, 2, 3)
    first, second = read(tmp_path)
    assert isinstance(first, Rejected)
    assert "has colours, and nothing says what they stand for" in first.reason
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncell:128,0,0::\n")
    first, second = read(tmp_path)
    assert named_values(first) == [["background"] * 4, ["cell"] * 4, ["cell"] * 4]
    assert isinstance(second, Rejected)
    assert second.reason == "Its mask has colours that stand for no class: #010203."


def test_grey_masks_that_were_saved_with_colours_or_16_bits_are_read(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg")
    write_image(tmp_path / "images/b.jpg")
    write_mask(tmp_path / "masks/a.png", np.stack([VALUES] * 3, axis=2))
    write_mask(tmp_path / "masks/b.tif", VALUES.astype(np.uint16) * 100)
    first, second = read(tmp_path)
    assert named_values(first) == BY_NUMBER
    assert named_values(second)[1] == ["0", "200", "200", "25500"]


def test_a_mask_of_single_things_or_of_another_size_is_told(tmp_path: Path, registry: Registry) -> None:
    layout(tmp_path, [(f"images/{n}.png", f"masks/{n}.png") for n in range(4)])
    write_mask(tmp_path / "masks/1.png", np.arange(12 * 10, dtype=np.uint8).reshape(10, 12))
    write_image(tmp_path / "images/2.png", (8, 6))
    write_mask(tmp_path / "masks/3.png", np.full((3, 4), 255, dtype=np.uint8))
    request, _ = plan_import(registry.formats.values(), tmp_path)
    report = import_dataset(request, tmp_path / "datasets")
    assert [(item.source, item.reason) for item in report.rejected] == [
        ("images/1.png", "Its mask has 120 different values, far more than classes."),
        ("images/2.png", "Its mask is 4 x 3 px, the image is 8 x 6 px."),
        ("images/3.png", "Its mask has no labelled pixel."),
    ]
    assert len(report.revision) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.csv", "id,r,g,b\n0,0,0,0\n"),
        ("classes.csv", "id,name\nx,sky\n"),
        ("classes.csv", "id,name,r,g,b\n0,sky,300,0,0\n"),
        ("classes.json", "[[1]]"),
        ("classes.json", "3"),
        ("classes.json", "{nonsense"),
        ("classes.txt", "\n\n"),
    ],
)
def test_a_file_of_classes_that_says_nothing_is_told(file: str, text: str, tmp_path: Path) -> None:
    layout(tmp_path, [("images/a.jpg", "masks/a.png")])
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"does not say which class|names no classes|no valid JSON"):
        read(tmp_path)
    with pytest.raises(DataError):
        read(tmp_path, classes_file="is not there.txt")


def test_written_names_have_all_a_value_or_none() -> None:
    assert written_classes("sky; road") == [MaskClass(0, "sky"), MaskClass(1, "road")]
    assert written_classes("7=sky, 9: road") == [MaskClass(7, "sky"), MaskClass(9, "road")]
    with pytest.raises(DataError, match="Some of the class names have a value"):
        written_classes("sky, 9=road")


def test_too_many_classes_are_told(tmp_path: Path) -> None:
    layout(tmp_path, [("images/a.jpg", "masks/a.png")])
    (tmp_path / "classes.json").write_text(json.dumps([f"c{n}" for n in range(300)]))
    assert len(classes_in(tmp_path / "classes.json")) == 300
    with pytest.raises(DataError, match="There are 300 classes; at most 255"):
        read(tmp_path)


def test_masks_in_a_form_that_is_not_read_are_not_silently_taken_for_a_class(
    tmp_path: Path, registry: Registry
) -> None:
    for folder in ("images", "masks"):
        for number in range(3):
            write_image(tmp_path / "scans" / folder / f"{number}.jpg")
    _, preview = plan_import(registry.formats.values(), tmp_path / "scans", name="scans")
    assert any("these are no classes" in note for note in preview.notes)

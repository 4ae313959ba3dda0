"""Pictures composed from the drawings of the demo, with boxes and masks, in the files that annotation tools write."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tlstudio.api import Box

__all__ = ["THINGS", "Scene", "compose", "write_coco", "write_masks", "write_voc", "write_yolo"]

DRAWINGS = Path(__file__).parents[1] / "resources" / "demo" / "clipart15"
THINGS = ("flower", "roadsign", "vehicle")


@dataclass(frozen=True)
class Scene:
    """A picture with the boxes in it, and the number of the thing at each pixel, from 1; 0 is the ground."""

    name: str
    image: Image.Image
    boxes: tuple[Box, ...]
    mask: Image.Image


def compose(
    count: int,
    *,
    seed: int,
    things: Sequence[str] = THINGS,
    part: slice = slice(None),
    size: tuple[int, int] = (320, 240),
    sides: tuple[int, int] = (48, 140),
    most: int = 4,
) -> list[Scene]:
    """Compose pictures.

    Args:
        count: How many; every eighth shows nothing.
        seed: Two calls with the same seed compose the same.
        things: Folders of the drawings: the classes.
        part: Which drawings of each are taken, so that splits have none in common.
        size: Width and height of the pictures.
        sides: Shortest and longest of the longer sides of things.
        most: Things in a picture.
    """
    made = random.Random(seed)
    drawings = {thing: sorted((DRAWINGS / thing).glob("*.jpg"))[part] for thing in things}
    scenes = []
    for number in range(count):
        image, mask, boxes = _background(size, made), Image.new("L", size), list[Box]()
        for _ in range(0 if number % 8 == 7 else made.randint(1, most)):
            thing = made.choice(things)
            value = things.index(thing) + 1
            box = _place(image, mask, thing, value, made.choice(drawings[thing]), made.randint(*sides), boxes, made)
            boxes += [box] if box else []
        scenes.append(Scene(f"{seed}_{number:04}", image, tuple(boxes), mask))
    return scenes


def _background(size: tuple[int, int], made: random.Random) -> Image.Image:
    """A few soft patches of colour with the noise of a camera."""
    few = np.array([[[made.randrange(90, 256) for _ in range(3)] for _ in range(4)] for _ in range(3)], dtype=np.uint8)
    soft = np.asarray(Image.fromarray(few).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    noise = np.random.default_rng(made.randrange(2**32)).normal(0, 6, soft.shape)
    return Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8))


def _place(
    image: Image.Image,
    mask: Image.Image,
    thing: str,
    value: int,
    drawing: Path,
    side: int,
    taken: Sequence[Box],
    made: random.Random,
) -> Box | None:
    """Paste a drawing without its white ground; `None` where there is no room."""
    with Image.open(drawing) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    ink = (pixels.min(axis=2) < 235).astype(np.uint8) * 255
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    scale = side / max(cut[2] - cut[0], cut[3] - cut[1])
    width, height = (max(8, round(scale * length)) for length in (cut[2] - cut[0], cut[3] - cut[1]))
    for _ in range(20):
        if width >= image.width or height >= image.height:
            return None
        left, top = made.randrange(image.width - width), made.randrange(image.height - height)
        box = Box(thing, left, top, left + width, top + height)
        if not any(_touch(box, other) for other in taken):
            drawn, shape = (Image.fromarray(each).crop(cut).resize((width, height)) for each in (pixels, ink))
            image.paste(drawn, (left, top), shape)
            mask.paste(value, (left, top), shape.point(lambda ink: 255 if ink > 127 else 0))
            return box
    return None


def _touch(some: Box, other: Box) -> bool:
    across = min(some.right, other.right) - max(some.left, other.left)
    return across > 0 and min(some.bottom, other.bottom) > max(some.top, other.top)


def write_coco(folder: Path, splits: Mapping[str, Sequence[Scene]], things: Sequence[str] = THINGS) -> Path:
    """Write ``annotations/instances_train2017.json`` and ``train2017/*.jpg`` for each split, as COCO has them."""
    (folder / "annotations").mkdir(parents=True)
    categories = [{"id": 3 * n + 1, "name": name, "supercategory": "thing"} for n, name in enumerate(things)]
    ids = {str(category["name"]): category["id"] for category in categories}
    for split, scenes in splits.items():
        (folder / f"{split}2017").mkdir()
        images, annotations = list[dict[str, object]](), list[dict[str, object]]()
        for number, scene in enumerate(scenes, start=1):
            name = f"{scene.name}.jpg"
            scene.image.save(folder / f"{split}2017" / name, quality=90)
            width, height = scene.image.size
            images.append({"id": number, "file_name": name, "width": width, "height": height, "license": 1})
            for box in scene.boxes:
                edges = [box.left, box.top, box.right - box.left, box.bottom - box.top]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": ids[box.name],
                        "bbox": edges,
                        "area": edges[2] * edges[3],
                        "iscrowd": 0,
                        "segmentation": [],
                    }
                )
        content = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_yolo(folder: Path, splits: Mapping[str, Sequence[Scene]], things: Sequence[str] = THINGS) -> Path:
    """Write ``images/train/*.jpg``, ``labels/train/*.txt`` and data.yaml, as Ultralytics has them."""
    for split, scenes in splits.items():
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for scene in scenes:
            scene.image.save(images / f"{scene.name}.jpg", quality=90)
            width, height = scene.image.size
            lines = [
                f"{things.index(box.name)} {(box.left + box.right) / 2 / width:.8f} "
                f"{(box.top + box.bottom) / 2 / height:.8f} {(box.right - box.left) / width:.8f} "
                f"{(box.bottom - box.top) / height:.8f}\n"
                for box in scene.boxes
            ]
            if lines:  # images of nothing have no file
                (labels / f"{scene.name}.txt").write_text("".join(lines), encoding="utf-8")
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(things))
    lists = "".join(f"{split}: images/{split}\n" for split in splits)
    (folder / "data.yaml").write_text(f"path: ../here\n{lists}names:\n{names}", encoding="utf-8")
    return folder


def write_masks(folder: Path, splits: Mapping[str, Sequence[Scene]], things: Sequence[str] = THINGS) -> Path:
    """Write ``images/train/*.jpg``, ``masks/train/*.png`` and classes.txt; values stand for ground and things."""
    for split, scenes in splits.items():
        images, masks = folder / "images" / split, folder / "masks" / split
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for scene in scenes:
            scene.image.save(images / f"{scene.name}.jpg", quality=90)
            scene.mask.save(masks / f"{scene.name}.png")
    (folder / "classes.txt").write_text("\n".join(("ground", *things)) + "\n", encoding="utf-8")
    return folder


def write_voc(folder: Path, splits: Mapping[str, Sequence[Scene]]) -> Path:
    """Write Annotations, JPEGImages and ImageSets, as PASCAL VOC has them."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for split, scenes in splits.items():
        for scene in scenes:
            scene.image.save(folder / "JPEGImages" / f"{scene.name}.jpg", quality=90)
            (folder / "Annotations" / f"{scene.name}.xml").write_text(voc_xml(scene), encoding="utf-8")
        listed = "".join(f"{scene.name}\n" for scene in scenes)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(listed, encoding="utf-8")
    return folder


def voc_xml(scene: Scene) -> str:
    """What the XML file of a picture says: corners are pixels that are counted from 1."""
    things = "".join(
        f"<object><name>{box.name}</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{box.left + 1:.0f}</xmin><ymin>{box.top + 1:.0f}</ymin><xmax>{box.right:.0f}</xmax>"
        f"<ymax>{box.bottom:.0f}</ymax></bndbox><part><name>top</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"
        for box in scene.boxes
    )
    width, height = scene.image.size
    return (
        f"<annotation><folder>VOC2012</folder><filename>{scene.name}.jpg</filename><source><database>Drawings"
        f"</database></source><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"<segmented>0</segmented>{things}</annotation>"
    )

"""Boxes as COCO has them: one JSON file for all images of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import Box, DataError, DatasetFormat, Preview, Rejected, Sample, Split, Task, option
from tlstudio_formats.boxes import (
    BoxOptions,
    boxes_preview,
    checked_size,
    images_in,
    inside,
    is_file,
    number,
    split_in,
)
from tlstudio_formats.json_members import members
from tlstudio_formats.walking import entries, subfolders

_HEAD = 2**16
_MOST_FILES = 200
_FOLDERS = 2000  # that images may lie in
_TRIED = 50  # images that are looked for to find their folder


class CocoOptions(BoxOptions):
    """How COCO JSON is read."""

    image_folder: str = option(
        "",
        title="Image folder",
        help="The folder that the names of the images start from. Empty: it is looked for beside the JSON files.",
        browse="folder",
    )
    labels: Literal["boxes", "none"] = option(
        "boxes",
        title="Labels",
        help="none: the images without their boxes; of a folder all, listed or not.",
        advanced=True,
    )


@dataclass(slots=True)
class _Content:
    """What a file of annotations says.

    Attributes:
        images: File name, width and height by id.
        boxes: Category, left, top, width and height, by the id of the image.
        categories: Names by id.
        crowds: Boxes around crowds, which are left out.
        unreadable: Problem of an annotation by the id of the image.
    """

    images: dict[object, tuple[object, object, object]] = field(default_factory=dict)
    boxes: dict[object, list[tuple[int | str | None, float, float, float, float]]] = field(default_factory=dict)
    categories: dict[object, str] = field(default_factory=dict)
    crowds: int = 0
    unreadable: dict[object, str] = field(default_factory=dict)


class CocoBoxes(DatasetFormat):
    """COCO: ``instances_train2017.json`` and folders of images."""

    name = "coco_boxes"
    title = "Boxes in images (COCO)"
    description = (
        "A COCO JSON file, or a folder with several (instances_train.json, instances_val.json) and their images. "
        "Boxes around crowds (iscrowd) are left out."
    )
    modality = "image"
    tasks: tuple[Task, ...] = ("detection",)
    Options = CocoOptions

    def detect(self, path: Path) -> float:
        """Look for JSON with images, categories and boxes."""
        try:
            return 0.97 if _files(path) else 0.0
        except OSError:
            return 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first images with their boxes."""
        given = dict(options or {})
        chosen = CocoOptions.model_validate({name: given[name] for name in given if name in CocoOptions.model_fields})
        contents = _contents(path)
        crowds = sum(content.crowds for _, content in contents)
        notes = [f"{crowds:,} boxes around crowds are left out."] if crowds else []
        if len(contents) > 1:
            notes.append(f"Read are {', '.join(_below(file, path) for file, _ in contents[:10])}.")
        count = sum(len(content.images) for _, content in contents)
        return boxes_preview(
            _samples(path, contents, chosen), {**chosen.model_dump(), **given}, count=count, notes=notes
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample an image, in the order of the files; its id is its name."""
        if not isinstance(options, CocoOptions):
            raise TypeError("options must be CocoOptions")
        if options.labels == "none" and path.is_dir():
            yield from images_in(path)
        else:
            yield from _samples(path, _contents(path), options)

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the boxes out, right or wrong."""
        return {"labels": "none"}


def _samples(path: Path, contents: list[tuple[Path, _Content]], options: CocoOptions) -> Iterator[Sample | Rejected]:
    seen: set[Path] = set()
    boxed = options.labels == "boxes"
    several = len(contents) > 1
    for file, content in contents:
        folder = _image_folder(path, file, content, options)
        split = split_in([file.parent.name, file.stem]) if options.splits == "files" and several else None
        for identity, (name, width, height) in content.images.items():
            source = f"{file.name}, image {str(name)[:200]}"
            place = inside(folder, name)
            if place is None:
                remedy = "Give the path of the image below the folder of the images."
                yield Rejected(source, "Its file name is none, or leads out of the folder of the images.", remedy)
            elif not is_file(place):
                yield Rejected(source, f"There is no such image in {folder}.", "Copy it there, or choose the folder.")
            elif place in seen:
                yield Rejected(source, "It is listed already.", "Let each image stand in one place.")
            else:
                seen.add(place)
                # Each split may count its images from 1.
                shown = place.relative_to(path).as_posix() if several and place.is_relative_to(path) else str(name)
                if boxed:
                    yield _sample(shown, place, content, identity, (width, height), split, source)
                else:
                    yield Sample(id=shown, image=place, split=split, source=source)
        if boxed and (lost := [str(identity)[:40] for identity in content.boxes if identity not in content.images]):
            what = f"Boxes are given for {len(lost):,} images that are not listed ({', '.join(lost[:3])})."
            yield Rejected(file.name, what, "List the images, or take the boxes out.")


def _sample(
    name: str,
    path: Path,
    content: _Content,
    identity: object,
    told: tuple[object, object],
    split: Split | None,
    source: str,
) -> Sample | Rejected:
    if identity in content.unreadable:
        return Rejected(source, content.unreadable[identity], "Correct it, or leave the image out.")
    size = checked_size(path, told)
    if isinstance(size, DataError):
        return Rejected.because(source, size)
    boxes = []
    for category, left, top, width, height in content.boxes.get(identity, ()):
        if category not in content.categories:
            return Rejected(source, f"There is no category {str(category)[:60]}.", "Add it to the categories.")
        boxes.append(Box(content.categories[category], left, top, left + width, top + height))
    return Sample(id=name, image=path, label=tuple(boxes), split=split, source=source)


def _contents(path: Path) -> list[tuple[Path, _Content]]:
    """Read all files of annotations.

    Raises:
        DataError: There is none, one cannot be read, or there is no image in them.
    """
    try:
        files = _files(path)
        if not files:
            what = f"There is no COCO JSON with images, annotations and categories in {path}."
            raise DataError(what, "Choose the JSON file, or the folder that holds it.", path=path)
        contents = [(file, _content(file)) for file in files]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its rights.", path=path) from error
    if not any(content.images for _, content in contents):
        raise DataError(f"{path.name} lists no images.", "Export it again.", path=path)
    return contents


def _content(path: Path) -> _Content:
    content = _Content()
    for member, value in members(path):
        if member not in ("images", "annotations", "categories"):
            continue
        if not isinstance(value, dict):
            raise DataError(
                f'{path.name}: something in "{member}" is no object with fields.', "Export it again.", path=path
            )
        identity = _key(value.get("image_id" if member == "annotations" else "id"))
        if identity is None:
            raise DataError(f'{path.name}: something in "{member}" has no id.', "Export it again.", path=path)
        if member == "images":
            content.images[identity] = (value.get("file_name"), value.get("width"), value.get("height"))
        elif member == "categories":
            content.categories[identity] = str(value.get("name", identity))
        elif value.get("iscrowd"):
            content.crowds += 1
        else:
            box = value.get("bbox")
            edges = [found for edge in box if (found := number(edge)) is not None] if isinstance(box, list) else []
            if not isinstance(box, list) or not len(edges) == len(box) == 4:
                content.unreadable[identity] = f"{str(box)[:80]} is no box of four numbers: left, top, width, height."
                continue
            left, top, width, height = edges
            content.boxes.setdefault(identity, []).append((_key(value.get("category_id")), left, top, width, height))
    return content


def _key(value: object) -> int | str | None:
    """An id, by which things are found; `None` where it is none."""
    return value if isinstance(value, (int, str)) else None


def _files(path: Path) -> list[Path]:
    """The files of annotations at a path, in a folder or in the folders below it; those for boxes where some say so.

    Raises:
        OSError: A folder may not be read.
    """
    if path.is_file():
        return [path] if _looks_like_coco(path) else []
    if not path.is_dir():
        return []
    found = [Path(entry.path) for folder in (path, *subfolders(path)[:_MOST_FILES]) for entry in _jsons(folder)]
    fitting = [file for file in found[:_MOST_FILES] if _looks_like_coco(file)]
    return [file for file in fitting if file.name.startswith("instances")] or fitting


def _jsons(folder: Path) -> list[Any]:
    return [entry for entry in entries(folder) if entry.name.lower().endswith(".json") and entry.is_file()]


def _looks_like_coco(path: Path) -> bool:
    """Whether a JSON file has images, and boxes with categories, by its beginning and its end."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        text = file.read(_HEAD)
        if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return False
        file.seek(max(len(text), path.stat().st_size - _HEAD))
        text += file.read(_HEAD)
    listed = b'"images"' in text and b'"file_name"' in text
    return b'"categories"' in text and b'"segments_info"' not in text and (listed or b'"bbox"' in text)


def _image_folder(path: Path, file: Path, content: _Content, options: CocoOptions) -> Path:
    """The folder under which most images of a file are found."""
    root = path if path.is_dir() else file.parent
    if options.image_folder.strip():
        return root / Path(options.image_folder).expanduser()
    if path.is_file() and root.name.casefold() == "annotations":
        root = root.parent
    names = [name for name, _, _ in list(content.images.values())[:_TRIED]]
    folders = [file.parent, root]
    for folder in subfolders(root)[:_FOLDERS]:
        folders += [folder, *subfolders(folder)[: _FOLDERS // 10]]
    # Two splits may have images of the same names: the folder called like the file comes first.
    words = file.stem.casefold().removeprefix("instances_")
    split = split_in([file.parent.name, file.stem])
    folders.sort(key=lambda folder: (folder.name.casefold() != words, split_in([folder.name]) != split))
    hits = {folder: sum(is_file(inside(folder, name)) for name in names) for folder in dict.fromkeys(folders)}
    return max(hits, key=lambda folder: hits[folder])


def _below(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix() if file != path else file.name

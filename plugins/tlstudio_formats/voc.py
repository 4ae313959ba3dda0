"""Boxes as PASCAL VOC has them: an XML file for each image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from xml.parsers import expat

from tlstudio import api
from tlstudio.api import Box, DataError, DatasetFormat, Preview, Rejected, Sample, Split, Task, option
from tlstudio.api.files import check_plain_file, read_text
from tlstudio.api.images import IMAGE_SUFFIXES
from tlstudio_formats.boxes import (
    BoxOptions,
    boxes_preview,
    checked_size,
    inside,
    is_file,
    number,
    split_in,
)
from tlstudio_formats.walking import relative, walk

_MOST_BYTES = 2**22
_DEEPEST = 32
_LOOKED_AT = 20_000
_LISTS: dict[str, Split] = {"trainval": "train", "train": "train", "val": "validation", "test": "test"}
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images")


class VocOptions(BoxOptions):
    """How PASCAL VOC is read."""

    difficult: Literal["keep", "leave_out"] = option(
        "keep",
        title="Difficult things",
        help="leave_out: boxes that are marked as difficult are left out, as in the original competition.",
    )
    first_pixel: int = option(
        1,
        title="First pixel",
        help="1 in PASCAL VOC: corners are pixels that belong to the box, counted from 1. 0: corners are its edges.",
        ge=0,
        le=1,
        advanced=True,
    )


class VocBoxes(DatasetFormat):
    """PASCAL VOC: ``Annotations/1.xml`` and ``JPEGImages/1.jpg``, or both files side by side."""

    name = "voc_boxes"
    title = "Boxes in images (PASCAL VOC)"
    description = (
        "A folder with an XML file for each image, in Annotations and JPEGImages or side by side. ImageSets, or train, "
        "val and test folders, tell the splits."
    )
    modality = "image"
    tasks: tuple[Task, ...] = ("detection",)
    Options = VocOptions

    def detect(self, path: Path) -> float:
        """Look for an annotation of an image."""
        if not path.is_dir():
            return 0.0
        for place, item in enumerate(walk(path, path)):
            if isinstance(item, Path) and item.suffix.lower() == ".xml":
                try:
                    with item.open("rb") as file:
                        return 0.97 if b"<annotation" in file.read(2**12) else 0.0
                except OSError:
                    return 0.0
            if place > _LOOKED_AT:
                break
        return 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first images with their boxes."""
        given = dict(options or {})
        chosen = VocOptions.model_validate({name: given[name] for name in given if name in VocOptions.model_fields})
        files = _annotations(path)
        items = self.read(path, chosen, "detection")
        return boxes_preview(items, {**chosen.model_dump(), **given}, count=len(files), notes=())

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample an XML file, sorted by path; its id is the path of the image."""
        if not isinstance(options, VocOptions):
            raise TypeError("options must be VocOptions")
        seen: set[Path] = set()
        lists = lru_cache(maxsize=None)(_splits)
        for file in _annotations(path):
            source = relative(file, path)
            try:
                read = _read(file)
            except (OSError, ValueError, LookupError, expat.ExpatError) as error:
                yield Rejected(source, f"It cannot be read: {error}.", "Write it again, as plain XML.")
                continue
            image = _image(file, read.filename)
            if image is None:
                yield Rejected(source, f"Its image {read.filename[:200]} is not there.", "Copy it there.")
            elif image in seen:
                yield Rejected(source, f"The image {image.name} has boxes in another file.", "Keep one of them.")
            else:
                seen.add(image)
                split = None
                if options.splits == "files":
                    split = lists(file.parent.parent).get(file.stem) or split_in(file.relative_to(path).parts[:-1])
                yield _sample(read, image, relative(image, path), split, options, source)


@dataclass(slots=True)
class _Thing:
    """What an XML file says of one thing."""

    name: str = ""
    difficult: bool = False
    edges: dict[str, float | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Annotation:
    """What an XML file says of an image."""

    filename: str = ""
    width: str = ""
    height: str = ""
    things: list[_Thing] = field(default_factory=list)

    def take(self, path: tuple[str, ...], text: str) -> None:
        """Take in the text of an element; parts of a thing (the head of a person) have longer paths."""
        match path:
            case ("filename",):
                self.filename = text
            case ("size", "width"):
                self.width = text
            case ("size", "height"):
                self.height = text
            case ("object", "name"):
                self.things[-1].name = text
            case ("object", "difficult"):
                self.things[-1].difficult = text not in ("", "0")
            case ("object", "bndbox", "xmin" | "ymin" | "xmax" | "ymax" as edge):
                self.things[-1].edges[edge] = number(text)


def _read(path: Path) -> _Annotation:
    """Read an XML file without anything that could make it grow or lead elsewhere.

    Raises:
        OSError, ValueError, LookupError, ExpatError: It cannot be read.
    """
    if check_plain_file(path) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES // 2**20} MiB")
    annotation = _Annotation()
    open_elements: list[str] = []
    texts: list[list[str]] = []

    def begin(name: str, _attributes: dict[str, str]) -> None:
        open_elements.append(name)
        texts.append([])
        if len(open_elements) > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if open_elements[0] != "annotation":
            raise ValueError(f"it begins with <{name[:40]}> instead of <annotation>")
        if open_elements[1:] == ["object"]:
            annotation.things.append(_Thing())

    def end(_name: str) -> None:
        annotation.take(tuple(open_elements[1:]), "".join(texts.pop()).strip())
        open_elements.pop()

    def refuse(*_: object) -> None:
        raise ValueError("it has a DOCTYPE, which may make a file grow without end or read others, and is refused")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text) if texts else None
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(path.read_bytes(), True)
    return annotation


def _sample(
    read: _Annotation, image: Path, name: str, split: Split | None, options: VocOptions, source: str
) -> Sample | Rejected:
    size = checked_size(image, (read.width, read.height))
    if isinstance(size, DataError):
        return Rejected.because(source, size)
    boxes = []
    for thing in read.things:
        if thing.difficult and options.difficult == "leave_out":
            continue
        left, top, right, bottom = (thing.edges.get(edge) for edge in ("xmin", "ymin", "xmax", "ymax"))
        if left is None or top is None or right is None or bottom is None:
            what = f'The thing "{thing.name[:60]}" has no box with xmin, ymin, xmax and ymax.'
            return Rejected(source, what, "Write its <bndbox>, or leave it out.")
        # Of pixels that belong to the box, counted from 1, it begins before the first and ends behind the last.
        first = options.first_pixel
        boxes.append(Box(thing.name, left - first, top - first, right, bottom))
    return Sample(id=name, image=image, label=tuple(boxes), split=split, source=source)


def _annotations(path: Path) -> list[Path]:
    """The XML files below a folder.

    Raises:
        DataError: There are none.
    """
    if not path.is_dir():
        raise DataError(f"{path} is no folder.", "Choose the folder that holds Annotations.", path=path)
    files = [item for item in walk(path, path) if isinstance(item, Path) and item.suffix.lower() == ".xml"]
    if not files:
        raise DataError(f"There are no XML files in {path}.", "Choose the folder that holds Annotations.", path=path)
    return files


def _image(file: Path, name: str) -> Path | None:
    """The image that an XML file is for: by the name in it, or by its own."""
    folders = [*(file.parent.parent / name for name in _IMAGE_FOLDERS), file.parent]
    if file.parent.name != "Annotations":
        folders.reverse()
    for folder in folders:
        places = [inside(folder, name), *(folder / f"{file.stem}{suffix}" for suffix in _suffixes())]
        for place in places:
            if place is not None and place.suffix.lower() in IMAGE_SUFFIXES and is_file(place):
                return place
    return None


def _suffixes() -> list[str]:
    return [case for suffix in (".jpg", *sorted(IMAGE_SUFFIXES)) for case in (suffix, suffix.upper())]


def _splits(folder: Path) -> dict[str, Split]:
    """The splits that ImageSets tells, by the names of files without their suffix."""
    found: dict[str, Split] = {}
    for name, split in _LISTS.items():
        for lists in (folder / "ImageSets" / "Main", folder / "ImageSets"):
            try:
                listed = read_text(lists / f"{name}.txt", encoding="utf-8-sig")
            except (OSError, ValueError):
                continue
            found.update(dict.fromkeys((line.split()[0] for line in listed.splitlines() if line.strip()), split))
    return found

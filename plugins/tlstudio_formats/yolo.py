"""Boxes as YOLO has them: a text file beside each image or in a folder of labels, in shares of the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import Box, DataError, DatasetFormat, Preview, Rejected, Sample, Task, option
from tlstudio.api.files import check_plain_file, read_text
from tlstudio_formats.boxes import BoxOptions, boxes_preview, checked_size, images_in, is_image, number, split_in
from tlstudio_formats.walking import entries, relative, walk

_MOST_BYTES = 2**22  # of the labels of an image
_MOST_YAML = 2**18  # of the description of a data set; PyYAML is slow
_YAML = frozenset({".yaml", ".yml"})
_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "names.txt")
_LOOKED_AT = 300


class YoloOptions(BoxOptions):
    """How YOLO labels are read."""

    names_file: str = option(
        "",
        title="Names of the classes",
        help="data.yaml, or a text file with one name a line. Empty: it is looked for in the folder.",
        browse="file",
    )
    labels: Literal["boxes", "none"] = option(
        "boxes", title="Labels", help="none: all images, without their boxes.", advanced=True
    )


class YoloBoxes(DatasetFormat):
    """YOLO: ``images/train/1.jpg`` and ``labels/train/1.txt``, or both files side by side."""

    name = "yolo_boxes"
    title = "Boxes in images (YOLO)"
    description = (
        "A folder of images and text files with a line for each box: class, centre and size in shares of the image. "
        "Names of the classes come from data.yaml or classes.txt; train, val and test folders are kept."
    )
    modality = "image"
    tasks: tuple[Task, ...] = ("detection",)
    Options = YoloOptions

    def detect(self, path: Path) -> float:
        """Look for images with labels that can be read."""
        try:
            root = _root(path)
            if root is None:
                return 0.0
            images = islice(
                (item for item in walk(root, root) if isinstance(item, Path) and is_image(item)), _LOOKED_AT
            )
            labels = islice((file for file in map(_labels_of, images) if file.is_file()), 20)
            read = [_lines(file) for file in labels]
            boxes = [line for lines in read for line in lines]
            good = sum(isinstance(_parts(line, (1, 1), None), Box) for line in boxes)
            fits = bool(read) and 2 * good >= len(boxes)  # what is wrong with the others is told at import
        except (OSError, ValueError, DataError):
            return 0.0
        return 0.96 if fits else 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first images with their boxes."""
        given = dict(options or {})
        chosen = YoloOptions.model_validate({name: given[name] for name in given if name in YoloOptions.model_fields})
        root = _existing_root(path)
        found = _names(path, root, chosen)
        source = _Source(root, found.names if found else (), chosen)
        if found:
            notes = [f"The classes are named in {found.file.name}: {', '.join(found.names[:10])}."]
        else:
            notes = ["No file names the classes, so their numbers are their names. Choose data.yaml or classes.txt."]
        return boxes_preview(
            source.samples(), {**chosen.model_dump(), **given}, count=len(source.images()), notes=notes
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample an image, sorted by path; its id is its path. An image without labels has no boxes."""
        if not isinstance(options, YoloOptions):
            raise TypeError("options must be YoloOptions")
        root = _existing_root(path)
        if options.labels == "none":
            yield from images_in(root)
            return
        found = _names(path, root, options)
        yield from _Source(root, found.names if found else (), options).samples()

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the boxes out, right or wrong."""
        return {"labels": "none"}


@dataclass(frozen=True, slots=True)
class _Names:
    """Names of the classes by their number, and where they stand."""

    names: tuple[str, ...]
    file: Path


@dataclass(frozen=True, slots=True)
class _Source:
    """A folder of images with labels."""

    root: Path
    names: Sequence[str]
    options: YoloOptions

    def images(self) -> list[Path]:
        """The images, of which some may have no labels.

        Raises:
            DataError: None has labels.
        """
        found = [item for item in walk(self.root, self.root) if isinstance(item, Path) and is_image(item)]
        folders = {_labels_of(image).parent for image in found if _labels_of(image).is_file()}
        if any(_in_images(image) for image in found if _labels_of(image).parent in folders):
            found = [image for image in found if _in_images(image)]
        labelled = [image for image in found if _labels_of(image).parent in folders]
        if not labelled:
            raise DataError(
                f"No image in {self.root} has YOLO labels.",
                "Put them beside the images, or images/1.jpg and labels/1.txt.",
                path=self.root,
            )
        return labelled

    def samples(self) -> Iterator[Sample | Rejected]:
        """Read them."""
        for item in walk(self.root, self.root):
            if isinstance(item, Rejected):
                yield item
        for image in self.images():
            yield self._sample(image)

    def _sample(self, image: Path) -> Sample | Rejected:
        source = relative(image, self.root)
        size = checked_size(image)
        if isinstance(size, DataError):
            return Rejected.because(source, size)
        labels = _labels_of(image)
        try:
            lines = _lines(labels) if labels.is_file() else []
        except (OSError, ValueError) as error:
            return Rejected(source, f"Its labels {labels.name} cannot be read: {error}.", "Write them again.")
        boxes = []
        for line in lines:
            box = _parts(line, size, self.names)
            if isinstance(box, str):
                return Rejected(source, box, "Correct the line, or leave it out.")
            boxes.append(box)
        split = split_in(image.relative_to(self.root).parts[:-1]) if self.options.splits == "files" else None
        return Sample(id=source, image=image, label=tuple(boxes), split=split, source=source)


def _root(path: Path) -> Path | None:
    """The folder of a data set that is given as a folder or by its data.yaml."""
    if path.is_dir():
        return path
    return path.parent if path.suffix.lower() in _YAML and path.is_file() else None


def _existing_root(path: Path) -> Path:
    root = _root(path)
    if root is None:
        raise DataError(f"{path} is neither a folder nor a data.yaml.", "Choose the folder of the data set.", path=path)
    return root


def _in_images(image: Path) -> bool:
    return "images" in image.parts[:-1]


def _labels_of(image: Path) -> Path:
    """Where the labels of an image are: beside it, or in ``labels`` instead of ``images``."""
    folders = list(image.parts[:-1])
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, f"{image.stem}.txt")


def _lines(path: Path) -> list[str]:
    """Lines that are not empty; raises OSError or ValueError."""
    if check_plain_file(path) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES // 2**20} MiB")
    return [line for line in read_text(path, encoding="utf-8-sig").splitlines() if line.strip()]


def _parts(line: str, size: tuple[int, int], names: Sequence[str] | None) -> Box | str:
    """Read a line: a box of four numbers, or the box around a polygon; or a sentence that says what is wrong.

    Args:
        line: The line.
        size: Width and height of the image.
        names: The classes; empty: there are only numbers; `None`: they do not matter.
    """
    kind, *cells = line.split()
    values = [found for cell in cells if (found := number(cell)) is not None]
    place = number(kind)
    if place is None or not place.is_integer() or place < 0 or len(values) < len(cells):
        return f'"{line[:80]}" is no class and shares of the image.'
    if names and place >= len(names):
        return f"There is no class {place:.0f}: {len(names)} are named, counted from 0."
    name = names[int(place)] if names else f"{place:.0f}"
    width, height = size
    if len(values) == 4:
        x, y, across, down = values
        left, right, top, bottom = x - across / 2, x + across / 2, y - down / 2, y + down / 2
    elif len(values) >= 6 and len(values) % 2 == 0:
        left, right, top, bottom = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    else:
        return f'"{line[:80]}" has {len(values)} numbers behind the class, where a box has 4 and a polygon 6 or more.'
    if max(map(abs, (left, top, right, bottom))) > 2:
        return f'"{line[:80]}" is not in shares of the image, which are 0 to 1.'
    return Box(name, left * width, top * height, right * width, bottom * height)


def _names(path: Path, root: Path, options: YoloOptions) -> _Names | None:
    """Find the names of the classes.

    Raises:
        DataError: The file that was chosen, or a data.yaml, has none.
    """
    chosen = options.names_file.strip()
    if chosen:
        file = root / Path(chosen).expanduser()
        return _read_names(file) or _none_in(file)
    if path.is_file():
        return _read_names(path) or _none_in(path)
    try:
        files = [Path(entry.path) for entry in entries(root) if entry.is_file()]
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}.", "Check its rights.", path=root) from error
    described = [file for file in files if file.suffix.lower() in _YAML]
    listed = [folder / name for name in _NAME_LISTS for folder in (root, root / "labels") if (folder / name).is_file()]
    return next((found for file in (*described, *listed) if (found := _read_names(file))), None)


def _none_in(file: Path) -> _Names:
    raise DataError(
        f"{file.name} does not name the classes.",
        'Write "names: [cat, dog]" into a YAML file, or one name a line into a text file.',
        path=file,
        field="names_file",
    )


def _read_names(file: Path) -> _Names | None:
    """Read names by number; `None` where a YAML file has none.

    Raises:
        DataError: It cannot be read.
    """
    try:
        if check_plain_file(file) > _MOST_YAML:
            raise ValueError(f"it has more than {_MOST_YAML // 2**10} KiB")
        text = read_text(file, encoding="utf-8-sig")
        names = _from_yaml(text) if file.suffix.lower() in _YAML else text.splitlines()
    except (OSError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).replace("\n", " ")
        raise DataError(f"{file.name} cannot be read: {why}.", "Correct it.", path=file, field="names_file") from error
    while names and not names[-1].strip():
        names.pop()
    return _Names(tuple(name.strip() or str(place) for place, name in enumerate(names)), file) if names else None


def _from_yaml(text: str) -> list[str]:
    """The names in a description of a data set.

    Raises:
        ValueError: It is no YAML, or repeats parts of itself, by which a small file may grow without end.
    """
    import yaml

    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise ValueError("it refers to parts of itself (*), which is not read")
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"it is no valid YAML: {error}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        by_number = {int(key): name for key, name in names.items() if number(key) is not None}
        if not by_number or min(by_number) < 0 or max(by_number) > 10 * len(by_number) + 1000:
            raise ValueError("its names are not numbered from 0")
        names = [by_number.get(place, "") for place in range(max(by_number) + 1)]
    if not isinstance(names, list):
        return []
    if not all(isinstance(name, (str, int, float)) for name in names):
        raise ValueError("its names are no words")
    return [str(name) for name in names]

"""Folders of images and masks, which give each pixel a class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Mask, Preview, Rejected, Sample, Split, Task, label_text, option
from tlstudio.api.images import IMAGE_SUFFIXES
from tlstudio_formats.mask_classes import CLASS_FILES, MaskClass, MaskReader, classes_in, written_classes
from tlstudio_formats.values import SPLIT_WORDS
from tlstudio_formats.walking import entries, relative, subfolders, walk

MASK_SUFFIXES = frozenset({".png", ".bmp", ".gif", ".tif", ".tiff"})
"""Kinds of file that keep every pixel as it was."""

_IMAGE_FOLDERS = frozenset({"image", "images", "img", "imgs", "jpegimages", "photos", "leftimg8bit", "inputs"})
_MASK_FOLDERS = frozenset(
    {
        *("mask", "masks", "label", "labels", "annotation", "annotations", "gt", "groundtruth", "ground_truth"),
        *("seg", "segmentation", "segmentations", "segmentationclass", "segmentationclassraw", "targets"),
    }
)
_MASK_NAME = re.compile(r"(?i)(.+?)[ _.-](?:masks?|labels?|seg|segmentation|gt|annotation)$")
_DETECT = 5000
_SHOWN = 20


class MaskFolderOptions(api.Options):
    """How images with masks are read."""

    classes: str = option(
        "",
        title="Class names",
        help="What the values of the masks stand for: background, road, car for 0, 1, 2 - or 0=background, 255=road. "
        "Empty: the file of classes, or else the values themselves.",
    )
    classes_file: str = option(
        "",
        title="File of classes",
        help="One name a line; or CSV or JSON with id, name and, for coloured masks, r, g and b. Empty: classes.txt, "
        "classes.csv or the like in the folder or beside the masks.",
        browse="file",
    )
    ignored: int | None = option(
        255,
        title="Unlabelled value",
        help="Pixels with this value are neither learned nor counted. Empty: there are none.",
        ge=0,
        le=65_535,
    )
    background: Literal["class", "ignore"] = option(
        "class",
        title="Background (0)",
        help="class: what belongs to nothing is learned as a class. ignore: value 0 means that nothing is known.",
    )
    splits: Literal["folders", "ignore"] = option(
        "folders",
        title="Split folders",
        help="folders: what lies in train, val and test folders stays in that split. ignore: splits are new.",
    )
    labels: Literal["masks", "none"] = option(
        "masks", title="Labels", help="none: the images alone, without their masks.", advanced=True
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """An image, and its mask if it has one."""

    image: Path
    mask: Path | None


class MaskFolder(DatasetFormat):
    """Images and masks in sibling folders, or side by side."""

    name = "mask_folder"
    title = "Images with masks"
    description = (
        "A folder of images and one of masks (images/a.jpg, masks/a.png), or both side by side (a.jpg, a_mask.png); "
        "the value of each pixel of a mask is its class."
    )
    modality = "image"
    tasks: tuple[Task, ...] = ("segmentation",)
    Options = MaskFolderOptions

    def detect(self, path: Path) -> float:
        """Look whether most images have a mask."""
        if not path.is_dir():
            return 0.0
        files = [item for item in islice(walk(path, path), _DETECT) if isinstance(item, Path)]
        pairs, alone = _paired(files, path)
        found = sum(pair.mask is not None for pair in pairs)
        # Where the walk ended early, many partners lie beyond.
        most = len(pairs) if len(files) == _DETECT else len(pairs) + len(alone)
        return 0.96 if found and 2 * found >= most else 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first images with the classes of their masks."""
        given = dict(options or {})
        chosen = MaskFolderOptions.model_validate(
            {name: given[name] for name in given if name in MaskFolderOptions.model_fields}
        )
        pairs = [item for item in _pairs(path) if isinstance(item, Pair)]
        shown = [pair for pair in pairs if pair.mask is not None][:_SHOWN]
        suggested, notes = _suggested(path, chosen, given, shown)
        reader = _reader(path, suggested)
        rows = []
        for pair in shown:
            row = {"image": relative(pair.image, path), "mask": relative(pair.mask or pair.image, path)}
            try:
                label = reader.read(pair.mask or pair.image)
                row["classes"] = label_text(label)
            except DataError as error:
                row["classes"] = error.what
            rows.append(row)
        if missing := sum(pair.mask is None for pair in pairs):
            notes.append(f"{missing} of {len(pairs)} images have no mask.")
        return Preview(
            columns=("image", "mask", "classes"),
            rows=tuple(rows),
            options={**suggested.model_dump(), **given},
            task="segmentation",
            count=len(pairs),
            notes=tuple(notes),
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample an image; its id is its path below the source."""
        if not isinstance(options, MaskFolderOptions):
            raise TypeError("options must be MaskFolderOptions")
        masked = options.labels == "masks"
        reader = _reader(path, options) if masked else None
        for item in _pairs(path, masked=masked):
            if isinstance(item, Rejected):
                yield item
                continue
            source = relative(item.image, path)
            label: Mask | None = None
            if reader is not None:
                try:
                    if item.mask is None:
                        raise DataError("It has no mask.", "Paint one, or take the image out.")
                    label = reader.read(item.mask)
                except DataError as error:
                    what = error.what
                    if item.mask is not None and error.path is not None:  # which of the two files it is
                        mask = Rejected.because(relative(item.mask, path), error)
                        of_it = mask.reason.startswith("It ")
                        what = f"Its mask {mask.source}{mask.reason[2:] if of_it else f': {mask.reason}'}"
                    yield Rejected(source, what, error.remedy)
                    continue
            split = _split_of(item.image, path) if options.splits == "folders" else None
            yield Sample(id=source, image=item.image, label=label, split=split, source=source)

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the masks out."""
        return {"labels": "none"}


def _pairs(path: Path, *, masked: bool = True) -> Iterator[Pair | Rejected]:
    """Yield each image with its mask, then masks that belong to no image.

    Raises:
        DataError: There is no such folder, or no image in it has a mask although they are asked for.
    """
    if not path.is_dir():
        raise DataError(f"There is no folder {path}.", "Choose the folder that holds images and masks.", path=path)
    files = list(walk(path, path))
    pairs, alone = _paired([item for item in files if isinstance(item, Path)], path)
    if masked and not any(pair.mask for pair in pairs):
        raise DataError(
            f"No image in {path} has a mask.",
            "Put images and masks of the same names into folders images and masks, or name them a.jpg and a_mask.png.",
            path=path,
        )
    yield from (item for item in files if isinstance(item, Rejected))
    yield from pairs
    for mask in alone if masked else ():
        yield Rejected(relative(mask, path), "There is no image to this mask.", "Add the image, or remove the mask.")


def _paired(files: list[Path], root: Path) -> tuple[list[Pair], list[Path]]:
    """Find out which files are images and which are masks, and what belongs together."""
    images: list[tuple[tuple[str, ...], Path]] = []
    loose: list[tuple[tuple[str, ...], Path]] = []  # in no folder that says what they are
    masks: dict[tuple[str, ...], Path] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix not in IMAGE_SUFFIXES:
            continue
        folders = [part.casefold() for part in file.relative_to(root).parts[:-1]]
        place = next((n for n in reversed(range(len(folders))) if folders[n] in _IMAGE_FOLDERS | _MASK_FOLDERS), None)
        key = (*(name for n, name in enumerate(folders) if n != place), file.stem.casefold())
        match = _MASK_NAME.fullmatch(file.stem)
        if place is not None and folders[place] in _IMAGE_FOLDERS:
            images.append((key, file))
        elif place is not None and suffix in MASK_SUFFIXES:
            masks.setdefault(key, file)
            if match:
                masks.setdefault((*key[:-1], match[1].casefold()), file)
        elif place is None and match and suffix in MASK_SUFFIXES:
            masks.setdefault((*key[:-1], match[1].casefold()), file)
        elif place is None:
            loose.append((key, file))
    chosen = images or loose
    # A name may tell as much as a path, where no other image or mask has it: 1.jpg in val is not that in train.
    by_name, of_images = Counter(key[-1] for key in masks), Counter(key[-1] for key, _ in chosen)
    named = {key[-1]: file for key, file in masks.items() if by_name[key[-1]] == of_images[key[-1]] == 1}
    pairs = [Pair(file, masks.get(key) or named.get(key[-1])) for key, file in chosen]
    used = {pair.mask for pair in pairs}
    return pairs, sorted(set(masks.values()) - used)


def _split_of(image: Path, root: Path) -> Split | None:
    folders = image.relative_to(root).parts[:-1]
    return next((SPLIT_WORDS[name.casefold()] for name in folders if name.casefold() in SPLIT_WORDS), None)


def _classes(path: Path, options: MaskFolderOptions) -> tuple[list[MaskClass], str]:
    """What values stand for, and which file said so."""
    if options.classes.strip():
        return written_classes(options.classes), ""
    if options.classes_file.strip():
        file = path / Path(options.classes_file.strip()).expanduser()
        return classes_in(file), file.name
    for folder in (path, *subfolders(path)):
        try:
            present = {entry.name.casefold(): Path(entry.path) for entry in entries(folder) if entry.is_file()}
        except OSError:
            continue  # images in it are told one by one
        if found := next((present[name] for name in CLASS_FILES if name in present), None):
            return classes_in(found), relative(found, path)
    return [], ""


def _reader(path: Path, options: MaskFolderOptions) -> MaskReader:
    classes, _ = _classes(path, options)
    return MaskReader(classes, ignored=options.ignored, background=options.background == "class")


def _suggested(
    path: Path, chosen: MaskFolderOptions, given: Mapping[str, Any], shown: list[Pair]
) -> tuple[MaskFolderOptions, list[str]]:
    """Fill in what the masks tell: black and white ones have two classes, and white is not unlabelled."""
    classes, file = _classes(path, chosen)
    if classes:
        return chosen, [f"The classes were found in {file}."] if file else []
    found: set[str] = set()
    for pair in shown:
        try:
            found.update(MaskReader([], ignored=None, background=True).read(pair.mask or pair.image).names)
        except DataError:
            continue  # it is told in its row
    if found == {"0", "255"} and not given.keys() & {"classes", "ignored"}:
        two = chosen.model_copy(update={"classes": "0=background, 255=foreground", "ignored": None})
        return two, ["The masks are black and white: black is the background, white the foreground."]
    return chosen, [
        "Nothing says what the values of the masks stand for, so that they are the names of the classes. Give names, "
        "or write a file classes.txt with one name a line."
    ]

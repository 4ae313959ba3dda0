"""What the formats with one subfolder a class have in common, be the files images, texts or recordings."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Split, Task, option
from tlstudio_formats.walking import Layout, find_layout, link_notes, relative, subfolders, walk

_COUNT = 200_000
_DETECT = 5000

_ANNOTATED = frozenset({"masks", "mask", "labels", "annotations", "segmentation", "annotated", "ground_truth", "gt"})
"""Names of folders that hold what belongs to images in another folder, and are hardly those of classes."""


class FolderOptions(api.Options):
    """How a folder is read."""

    labels: Literal["folders", "none"] = option(
        "folders",
        title="Labels",
        help="folders: each subfolder is a class. none: all files, at any depth, without labels.",
    )
    splits: Literal["folders", "ignore"] = option(
        "folders",
        title="Split folders",
        help="folders: train, val and test folders above the classes are kept as they are. ignore: splits are new.",
    )
    groups: Literal["none", "subfolders"] = option(
        "none",
        title="Groups",
        help="subfolders: files of one folder below a class (a patient, say) never straddle two splits.",
        advanced=True,
    )


class ClassFolders(DatasetFormat):
    """Base of formats with one subfolder a class.

    Attributes:
        things: What the files are, in the plural, for sentences.
        example: A path of an item, for sentences.
    """

    things: str
    example: str
    Options = FolderOptions

    @abstractmethod
    def wanted(self, path: Path) -> bool:
        """Whether a file is an item, by its name."""

    @abstractmethod
    def make(self, path: Path, source: str) -> Sample | Rejected:
        """Read a file into a sample whose id is `source`, without its label."""

    def unwanted(self, path: Path, source: str) -> Rejected | None:
        """Say why a file that looks as if it should be an item is none; `None`: it is of no interest."""
        return None

    def detect(self, path: Path) -> float:
        """Look whether there are subfolders with items, or items alone."""
        if path.is_file():
            return 0.3 if self.wanted(path) else 0.0
        if not path.is_dir():
            return 0.0
        # Some files of each subfolder: one of them may hold thousands of something else.
        below = subfolders(path)
        each = max(20, _DETECT // (len(below) + 1))
        files = [item for item in islice(walk(path, path, deep=False), each) if isinstance(item, Path)]
        inside = False
        for folder in below:
            found = [item for item in islice(walk(folder, path), each) if isinstance(item, Path)]
            inside = inside or any(map(self.wanted, found))
            files += found
        count = sum(map(self.wanted, files))
        if not count:
            return 0.0
        return (0.9 if inside else 0.3) * (0.5 + count / len(files) / 2)

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first files of each class in turn."""
        given = dict(options or {})
        chosen = FolderOptions.model_validate(
            {name: given[name] for name in given if name in FolderOptions.model_fields}
        )
        layout = self._layout(path, chosen)
        labelled = chosen.labels == "folders" and bool(layout.splits or subfolders(layout.root))
        counts: Counter[str] = Counter()
        rows: dict[str, list[dict[str, str]]] = {}
        left_out: list[str] = []
        total = 0
        for item in self._files(path, layout, chosen):
            if isinstance(item, Rejected):
                continue
            file, label, split = item
            if not self.wanted(file):
                left_out.append(file.name)
                continue
            total += 1
            counts[label or ""] += 1
            shown = rows.setdefault(label or "", [])
            if len(shown) < 20:
                shown.append({"file": relative(file, path), "label": label or "", "split": split or ""})
            if total >= _COUNT:
                break
        if not total:
            raise self._empty(path)
        notes = self._notes(path, layout, left_out)
        classes = [name for name in counts if name]
        if _ANNOTATED & {name.lower() for name in classes}:
            called = ", ".join(f"'{name}'" for name in classes[:5])
            notes.append(
                f"The folders are called {called}: where one holds masks or boxes of another's images, these are "
                "no classes. Masks are PNG files; choose the format of masks or boxes yourself."
            )
        if chosen.labels == "folders" and not classes:
            notes.append(f"There are no subfolders: give each class its own, such as {self.example}.")
        return Preview(
            columns=("file", "label", "split"),
            rows=tuple(_in_turn(rows, 20)),
            options={**chosen.model_dump(), **given},
            task="classification" if labelled and classes else None,
            count=total if total < _COUNT else None,
            notes=tuple(notes),
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield every file below the class folders, sorted by path; its id is its path below the source."""
        if not isinstance(options, FolderOptions):
            raise TypeError("options must be FolderOptions")
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.", "Check the path.", path=path)
        if options.labels == "folders" and task == "regression":
            raise DataError(
                "Names of folders are classes, and regression needs a number for each item.",
                "Choose classification, or write the numbers into a table.",
                field="task",
            )
        found = False
        layout = self._layout(path, options)
        for item in self._files(path, layout, options):
            if isinstance(item, Rejected):
                yield item
                continue
            file, label, split = item
            source = relative(file, path)
            if not self.wanted(file):
                unwanted = self.unwanted(file, source)
                if unwanted is not None:
                    yield unwanted
                continue
            found = True
            if options.labels == "folders" and label is None:
                remedy = "It lies outside the class folders: move it into that of its class."
                yield Rejected(source, "It has no label.", remedy)
                continue
            sample = self.make(file, source)
            if isinstance(sample, Sample):
                sample = replace(
                    sample,
                    label=(label,) if task == "multi_label" and label is not None else label,
                    group=self._group(file, layout, options),
                    split=split,
                    source=source,
                )
            yield sample
        if not found:
            raise self._empty(path)

    def without_labels(self) -> Mapping[str, Any]:
        """Take all files, at any depth."""
        return {"labels": "none"}

    def _layout(self, path: Path, options: FolderOptions) -> Layout:
        if options.labels == "none" or not path.is_dir():
            return Layout(path, {})
        return find_layout(path, self.wanted, use_splits=options.splits == "folders")

    def _files(
        self, path: Path, layout: Layout, options: FolderOptions
    ) -> Iterator[tuple[Path, str | None, Split | None] | Rejected]:
        """Yield all files with their class and split."""
        if path.is_file():
            yield path, None, None
            return
        if options.labels == "none":
            for item in walk(path, path):
                yield item if isinstance(item, Rejected) else (item, None, None)
            return
        for item in walk(layout.root, path):
            if isinstance(item, Rejected):
                yield item
                continue
            parts = item.relative_to(layout.root).parts
            split = layout.splits.get(parts[0]) if layout.splits else None
            depth = 1 if layout.splits else 0
            inside = len(parts) > depth + 1 and (split is not None or not layout.splits)
            yield item, parts[depth].strip() if inside else None, split

    def _group(self, file: Path, layout: Layout, options: FolderOptions) -> str:
        if options.groups == "none" or options.labels == "none":
            return ""
        parts = file.relative_to(layout.root).parts
        depth = 2 if layout.splits else 1
        return "/".join(parts[: depth + 1]) if len(parts) > depth + 1 else ""

    def _notes(self, path: Path, layout: Layout, left_out: list[str]) -> list[str]:
        notes = []
        if layout.root != path:
            notes.append(f"The classes were found in {relative(layout.root, path)}.")
        if layout.splits:
            listed = ", ".join(f"{name} ({split})" for name, split in layout.splits.items())
            notes.append(f"Split folders are kept as they are: {listed}.")
        if left_out:
            listed = ", ".join(left_out[:3]) + (f" and {len(left_out) - 3} more" if len(left_out) > 3 else "")
            notes.append(f"Files that are no {self.things} are left out: {listed}.")
        links = [item.source for item in link_notes(layout.root)] if path.is_dir() else []
        if links:
            notes.append(f"Links to folders and broken links are not followed: {', '.join(links[:3])}.")
        return notes

    def _empty(self, path: Path) -> DataError:
        if path.is_dir() and not any(path.iterdir()):
            what = f"The folder {path} is empty."
        else:
            what = f"There are no {self.things} in {path}."
        return DataError(what, f"Put each class into a subfolder of its own, such as {self.example}.", path=path)


def _in_turn(rows: Mapping[str, list[dict[str, str]]], count: int) -> Iterator[dict[str, str]]:
    """Yield rows of all classes by turns."""
    given = 0
    for place in range(count):
        for shown in rows.values():
            if place < len(shown) and given < count:
                given += 1
                yield shown[place]

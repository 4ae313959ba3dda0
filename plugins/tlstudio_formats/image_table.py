"""Tables with a column of paths to images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Task, option
from tlstudio_formats.columns import guess_columns
from tlstudio_formats.sources import TABLE_SUFFIXES, open_table
from tlstudio_formats.table_options import RowReader, TableOptions, open_with, preview_table
from tlstudio_formats.values import as_text


class ImageColumn(api.Options):
    """Where the images are."""

    image_column: str = option("", title="Image column", help="The column that holds the paths of the images.")
    image_folder: str = option(
        "",
        title="Image folder",
        help="The folder that the paths start from. Empty: the folder of the table.",
        browse="folder",
    )


class ImageTableOptions(TableOptions, ImageColumn):  # in this order the form begins with the image column
    """How a table of images is read."""


class ImageTable(DatasetFormat):
    """CSV, TSV, JSON lines or Parquet: the path of one image a row."""

    name = "image_table"
    title = "Table of images"
    description = "A CSV, TSV, JSONL or Parquet file with a column of image paths and one of labels."
    modality = "image"
    Options = ImageTableOptions

    def detect(self, path: Path) -> float:
        """Look for a column of image paths."""
        try:
            if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
                return 0.0
            table = open_table(path)
            found = guess_columns(table.columns, table.head(100), ("image", "label"))
        except (DataError, OSError, ValueError):
            return 0.0
        if not found["image"]:
            return 0.0
        return 0.95 if found["label"] else 0.65

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows, guess the columns and find the folder that the paths start from."""
        given = dict(options or {})
        preview, table, rows = preview_table(path, given, "image")
        suggested = dict(preview.options)
        notes = list(preview.notes)
        column = suggested["image_column"]
        if column:
            place = table.columns.index(column)
            paths = [as_text(row[place]).strip() for row in rows[:20]]
            if "image_folder" not in given:
                suggested["image_folder"] = _find_folder(path, paths)
            base = _base(path, str(suggested.get("image_folder", "")))
            missing = [text for text in paths if text and not _is_file(base, text)]
            if missing:
                notes.append(
                    f"{len(missing)} of the first {len(paths)} images are not in {base}: {missing[0]}, for instance. "
                    "Choose the image folder."
                )
        return Preview(preview.columns, preview.rows, suggested, preview.task, preview.count, tuple(notes))

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a row; its id is the path as the table has it."""
        if not isinstance(options, ImageTableOptions):
            raise TypeError("options must be ImageTableOptions")
        table = open_with(path, options)
        if not options.image_column:
            listed = ", ".join(f'"{name}"' for name in table.columns)
            raise DataError(
                f"No image column is chosen for {path.name}. Its columns are: {listed}.",
                "Choose the column that holds the paths.",
                path=path,
                field="image_column",
            )
        base = _base(path, options.image_folder)
        if not base.is_dir():
            raise DataError(
                f"There is no folder {base} to look for images in.", "Choose the image folder.", field="image_folder"
            )
        reader = RowReader(table, options, task, {"image_column": options.image_column})
        seen: set[str] = set()
        for row in table.rows(reader.columns):
            if isinstance(row, Rejected):
                yield row
                continue
            number, cells = row
            read = reader.read(number, cells)
            if isinstance(read, Rejected):
                yield read
                continue
            text = as_text(reader.cell(cells, options.image_column)).strip()
            why, remedy = _why_not(base, text)
            if why:
                yield Rejected(read.source, why, remedy)
                continue
            name = text if text not in seen else f"{text} (row {number})"
            seen.add(text)
            yield Sample(
                id=name,
                image=_resolve(base, text),
                label=read.label,
                group=read.group,
                split=read.split,
                source=read.source,
            )

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the columns for learning empty."""
        return {"label_column": "", "group_column": "", "split_column": ""}


def _why_not(base: Path, text: str) -> tuple[str, str]:
    if not text:
        return "It names no image.", "Write the path of its image, or leave the row out."
    if text.casefold().startswith(("http://", "https://", "s3://", "gs://", "ftp://")):
        return f"{text} is a web address, and nothing is fetched.", "Download the image and write its path."
    if not _is_file(base, text):
        return f"There is no image {text} in {base}.", "Correct the path, or choose another image folder."
    return "", ""


def _base(table: Path, folder: str) -> Path:
    return (table.parent / Path(folder).expanduser()) if folder.strip() else table.parent


def _resolve(base: Path, text: str) -> Path:
    path = base / text
    if not path.exists() and "\\" in text:
        return base / text.replace("\\", "/")
    return path


def _is_file(base: Path, text: str) -> bool:
    try:
        return _resolve(base, text).is_file()
    except (OSError, ValueError):
        return False  # too long, or with a NUL


def _find_folder(table: Path, paths: Sequence[str]) -> str:
    """Return the folder beside the table under which most paths are found, ``""`` for the table's own."""

    def hits(base: Path) -> int:
        return sum(_is_file(base, text) for text in paths if text)

    best, most = "", hits(table.parent)
    if most < len(paths):
        try:
            folders = sorted(item for item in islice(table.parent.iterdir(), 200) if item.is_dir())
        except OSError:
            return ""
        for folder in folders:
            count = hits(folder)
            if count > most:
                best, most = folder.name, count
    return best

"""Tables with a column of paths to files: what those of images and of recordings have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from tlstudio import api
from tlstudio.api import MODALITIES, DataError, Preview, Rejected, Sample, Task
from tlstudio_formats.columns import guess_columns
from tlstudio_formats.sources import Table
from tlstudio_formats.table_format import TableFormat
from tlstudio_formats.table_options import RowReader, TableOptions, open_with, preview_table
from tlstudio_formats.values import as_text


class MediaTable(TableFormat):
    """Base of formats with the path of one file a row.

    Attributes:
        role: What the files are: ``"image"`` or ``"audio"``. The options are named after it.
        with_text: Whether each row has a text, too, in a column that the option ``text_column`` names.
    """

    role: ClassVar[Literal["image", "audio"]]
    with_text: ClassVar[bool] = False
    Options: ClassVar[type[TableOptions]] = TableOptions

    def fit(self, table: Table) -> float:
        """Look for a column of such paths."""
        found = guess_columns(table.columns, table.head(100), (*self._roles, "label"))
        if not all(found[role] for role in self._roles):
            return 0.0
        return 0.95 if found["label"] else 0.65

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows, guess the columns and find the folder that the paths start from."""
        given = dict(options or {})
        preview, table, rows = preview_table(path, given, *self._roles)
        suggested = dict(preview.options)
        notes = list(preview.notes)
        column = suggested[f"{self.role}_column"]
        if column:
            place = table.columns.index(column)
            paths = [as_text(row[place]).strip() for row in rows[:20]]
            if self._folder_option not in given:
                suggested[self._folder_option] = find_folder(path, paths)
            base = folder_of(path, str(suggested.get(self._folder_option, "")))
            missing = [text for text in paths if text and not is_file(base, text)]
            if missing:
                items = MODALITIES[self.role].items
                notes.append(
                    f"{len(missing)} of the first {len(paths)} {items} are not in {base}: {missing[0]}, for instance. "
                    f"Choose the {self.role} folder."
                )
        return Preview(preview.columns, preview.rows, suggested, preview.task, preview.count, tuple(notes))

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a row; its id is the path as the table has it."""
        if not isinstance(options, self.Options):
            raise TypeError(f"options must be {self.Options.__name__}")
        chosen = options.model_dump()
        column, folder = str(chosen[f"{self.role}_column"]), str(chosen[self._folder_option])
        table = open_with(path, options)
        columns = {name: str(chosen[name]) for name in (f"{role}_column" for role in self._roles)}
        if lacking := next((role for role in self._roles if not columns[f"{role}_column"]), ""):
            remedy = f"Choose the column that holds the {'paths' if lacking == self.role else 'texts'}."
            raise table.without_column(lacking, remedy, f"{lacking}_column")
        base = folder_of(path, folder)
        if not base.is_dir():
            raise DataError(
                f"There is no folder {base} to look for {MODALITIES[self.role].items} in.",
                f"Choose the {self.role} folder.",
                field=self._folder_option,
            )
        reader = RowReader(table, options, task, columns)
        seen: set[str] = set()
        for row in reader.rows():
            if isinstance(row, Rejected):
                yield row
                continue
            number, cells, read = row
            text = as_text(reader.cell(cells, column)).strip()
            why, remedy = self._why_not(base, text)
            if why:
                yield Rejected(read.source, why, remedy)
                continue
            words = None
            if self.with_text:
                words = as_text(reader.cell(cells, columns["text_column"])).replace("\0", "").strip()
                if not words:
                    yield Rejected(read.source, "It has no text.", "Write its text, or leave the row out.")
                    continue
            name = text if text not in seen else f"{text} (row {number})"
            seen.add(text)
            file = resolved(base, text)
            yield Sample(
                id=name,
                text=words,
                image=file if self.role == "image" else None,
                audio=file if self.role == "audio" else None,
                label=read.label,
                group=read.group,
                split=read.split,
                source=read.source,
            )

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the columns for learning empty."""
        return {"label_column": "", "group_column": "", "split_column": ""}

    @property
    def _roles(self) -> tuple[str, ...]:
        return (self.role, "text") if self.with_text else (self.role,)

    @property
    def _folder_option(self) -> str:
        return f"{self.role}_folder"

    def _why_not(self, base: Path, text: str) -> tuple[str, str]:
        item = MODALITIES[self.role].item
        if not text:
            return f"It names no {item}.", f"Write the path of its {item}, or leave the row out."
        if text.casefold().startswith(("http://", "https://", "s3://", "gs://", "ftp://")):
            return f"{text} is a web address, and nothing is fetched.", f"Download the {item} and write its path."
        if not is_file(base, text):
            return f"There is no {item} {text} in {base}.", f"Correct the path, or choose another {self.role} folder."
        return "", ""


def folder_of(table: Path, folder: str) -> Path:
    """The folder that paths start from: the one that is said, or the table's own."""
    return (table.parent / Path(folder).expanduser()) if folder.strip() else table.parent


def resolved(base: Path, text: str) -> Path:
    """The file that a path means, also where it was written on Windows."""
    path = base / text
    if not path.exists() and "\\" in text:
        return base / text.replace("\\", "/")
    return path


def is_file(base: Path, text: str) -> bool:
    """Whether a path names a file."""
    try:
        return resolved(base, text).is_file()
    except (OSError, ValueError):
        return False  # too long, or with a NUL


def find_folder(table: Path, paths: Sequence[str]) -> str:
    """Return the folder beside the table under which most paths are found, ``""`` for the table's own."""

    def hits(base: Path) -> int:
        return sum(is_file(base, text) for text in paths if text)

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

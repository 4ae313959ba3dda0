"""Tables with a column of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import Preview, Rejected, Sample, Source, Task, option
from tlstudio_formats.columns import guess_columns
from tlstudio_formats.sources import SPREADSHEET_SUFFIXES, Table
from tlstudio_formats.table_format import TableFormat
from tlstudio_formats.table_notes import who_rated_what
from tlstudio_formats.table_options import RowReader, TableOptions, open_with, preview_table
from tlstudio_formats.values import as_text


class TextColumn(api.Options):
    """Where the texts are."""

    text_column: str = option("", title="Text column", help="The column that holds the texts.")
    pair_column: str = option(
        "",
        title="Second text column",
        help="For pairs of texts: sentences to be compared, a claim and its source. Empty: single texts.",
    )


class TextTableOptions(TableOptions, TextColumn):  # in this order the form begins with the text column
    """How a table of texts is read."""


class TextTable(TableFormat):
    """CSV, TSV, JSON lines or Parquet: one text a row."""

    name = "text_table"
    title = "Table of texts"
    description = "A CSV, TSV, JSONL or Parquet file with a column of texts and one of labels."
    modality = "text"
    Options = TextTableOptions
    unreadable = 0.02

    def look(self, source: Source) -> float:
        """Take a spreadsheet, too, so that the user is told what to do with it."""
        score = super().look(source)
        spreadsheet = source.path.suffix.lower() in SPREADSHEET_SUFFIXES and source.path.is_file()
        return max(score, 0.01) if spreadsheet else score

    def fit(self, table: Table) -> float:
        """Look at the columns of the first rows."""
        found = guess_columns(table.columns, table.head(100), ("image", "text", "label"))
        if not found["text"]:
            return 0.1
        score = 0.9 if found["label"] else 0.6
        return score / 2 if found["image"] else score

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows and guess the columns."""
        found, table, _ = preview_table(path, options or {}, "text")
        return replace(found, notes=(*found.notes, *who_rated_what(table.columns, options or {})))

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a row; its id tells the row."""
        if not isinstance(options, TextTableOptions):
            raise TypeError("options must be TextTableOptions")
        table = open_with(path, options)
        if not options.text_column:
            raise table.without_column("text", "Choose the column that holds the texts.", "text_column")
        reader = RowReader(
            table, options, task, {"text_column": options.text_column, "pair_column": options.pair_column}
        )
        for row in reader.rows():
            if isinstance(row, Rejected):
                yield row
                continue
            number, cells, read = row
            text = as_text(reader.cell(cells, options.text_column)).replace("\0", "").strip()
            if not text:
                yield Rejected(read.source, "It has no text.", "Write its text, or leave the row out.")
                continue
            pair = None
            if options.pair_column:
                pair = as_text(reader.cell(cells, options.pair_column)).replace("\0", "").strip()
                if not pair:
                    yield Rejected(read.source, "It has no second text.", "Write it, or leave the row out.")
                    continue
            yield Sample(
                id=f"row {number}",
                text=text,
                pair=pair,
                label=read.label,
                group=read.group,
                split=read.split,
                source=read.source,
            )

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the columns for learning empty."""
        return {"label_column": "", "group_column": "", "split_column": ""}

"""Tables whose rows are the samples: numbers, categories and dates, and a column to be learned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import DataError, Preview, Rejected, Sample, Task, option
from tlstudio_formats.cells import CellReader, cell_reader, columns_in, words_in
from tlstudio_formats.column_names import ID_NAMES, LABEL_NAMES, TEXT_NAMES
from tlstudio_formats.columns import Look, guess_columns, look_at, named
from tlstudio_formats.sources import Table
from tlstudio_formats.table_format import TableFormat
from tlstudio_formats.table_notes import goes_on, who_rated_what
from tlstudio_formats.table_options import RowReader, TableOptions, open_as_given, open_with, preview_table
from tlstudio_formats.values import as_text

_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


class ValueColumns(api.Options):
    """What is learned from."""

    columns: str = option(
        "",
        title="Columns",
        help="The columns to learn from, with commas between. Empty: all that have no other part to play.",
    )
    leave_out: str = option(
        "",
        title="Leave out",
        help="Columns that nothing is learned from, with commas between: row numbers, and what is known only "
        "afterwards.",
    )
    categories: str = option(
        "",
        title="Categories",
        help="Columns whose numbers are names, such as codes and postal codes, with commas between.",
    )
    missing: str = option(
        "?, -, NA, none",
        title="Words for nothing",
        help="What stands in a cell for a missing value besides an empty cell, with commas between.",
        advanced=True,
    )
    decimal_comma: bool = option(
        False,
        title="Decimal comma",
        help="Whether 3,5 is a number. Of files with another delimiter than the comma this is so anyway.",
        advanced=True,
    )


class ValueTableOptions(TableOptions, ValueColumns):  # in this order the form begins with the columns
    """How a table of values is read."""


class ValueTable(TableFormat):
    """CSV, TSV, JSON lines or Parquet: a sample a row, its cells being what is learned from."""

    name = "table"
    title = "Table of values"
    description = (
        "A CSV, TSV, JSONL or Parquet file with columns of numbers, categories and dates, and a column to be learned "
        "from them."
    )
    modality = "table"
    Options = ValueTableOptions

    def fit(self, table: Table) -> float:
        """Look for several columns of values and none of texts or files."""
        return _fit(table, table.head(200))

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows, and say what each column was taken for."""
        given = dict(options or {})
        if "label_column" not in given:
            table = open_as_given(path, given)
            guess, sure = guess_label(table, table.head(200))
            found, table, rows = preview_table(path, {**given, "label_column": guess})
            notes = [] if sure else [f'No column is named as what is to be learned: the last, "{guess}", is suggested.']
        else:
            found, table, rows = preview_table(path, given)
            notes = []
        suggested = dict(found.options)
        if "leave_out" not in given and not given.get("columns"):
            left_out = _row_names(table, rows, _roles(suggested))
            if left_out:
                suggested["leave_out"] = ", ".join(left_out)
                notes.append(f"Left out, as each row has its own: {', '.join(left_out)}.")
        # What the user has set is judged where it is read: here, a form may still be half filled.
        chosen = ValueTableOptions.model_validate(suggested)
        readers = _readers(table, rows, chosen)
        for kind, words in (("number", "Numbers"), ("word", "Categories"), ("date", "Dates")):
            of_kind = [reader.name for reader in readers if reader.kind == kind]
            if of_kind:
                more = f" and {len(of_kind) - 12} more" if len(of_kind) > 12 else ""
                notes.append(f"{words}: {', '.join(of_kind[:12])}{more}.")
        notes += who_rated_what(table.columns, given) or goes_on(table, rows, given)
        return Preview(found.columns, found.rows, suggested, found.task, found.count, (*found.notes, *notes))

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a row; its id tells the row."""
        if not isinstance(options, ValueTableOptions):
            raise TypeError("options must be ValueTableOptions")
        table = open_with(path, options)
        readers = _readers(table, table.head(), options)
        if not readers:
            raise DataError(
                f"No column of {path.name} is left to learn from.", "Leave out fewer.", path=path, field="columns"
            )
        rows = RowReader(table, options, task, {f"column {place}": each.name for place, each in enumerate(readers)})
        for row in rows.rows():
            if isinstance(row, Rejected):
                yield row
                continue
            number, cells, read = row
            try:
                values = {reader.name: reader(rows.cell(cells, reader.name)) for reader in readers}
            except ValueError as error:
                yield Rejected(read.source, str(error), "Correct the cell, or leave it empty.")
                continue
            yield Sample(
                id=f"row {number}",
                values=values,
                label=read.label,
                group=read.group,
                split=read.split,
                source=read.source,
            )

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the columns for learning empty, and no column out: the model knows which it takes."""
        return {"label_column": "", "group_column": "", "split_column": "", "leave_out": ""}

    def for_pretraining(self) -> Mapping[str, Any]:
        """Leave the columns for learning empty; which columns name the row is seen in the data."""
        return {"label_column": "", "group_column": "", "split_column": ""}


def guess_label(table: Table, rows: Sequence[Sequence[Any]]) -> tuple[str, bool]:
    """Return the column that is to be learned, and whether its name says so; the last one is it by custom."""
    other = set(guess_columns(table.columns, rows, ("group", "split")).values())
    free = [name for name in table.columns if name not in other]
    by_name = [name for name in free if named(name, LABEL_NAMES) == 1]
    if by_name:
        return by_name[-1], True
    free = [name for name in free if named(name, ID_NAMES) == 0]
    return (free[-1] if free else "", False)


def _roles(options: Mapping[str, Any]) -> set[str]:
    return {str(options.get(f"{role}_column", "")) for role in ("label", "group", "split")} - {""}


def _readers(table: Table, rows: Sequence[Sequence[Any]], options: ValueTableOptions) -> list[CellReader]:
    """What reads each column that is learned from."""
    left_out = set(columns_in(options.leave_out, table, "leave_out")) | _roles(options.model_dump())
    names = columns_in(options.columns, table, "columns") or [name for name in table.columns if name not in left_out]
    as_words = set(columns_in(options.categories, table, "categories"))
    missing = words_in(options.missing)
    return [
        cell_reader(
            name,
            [row[place] for row in rows],
            decimal_comma=table.decimal_comma or options.decimal_comma,
            missing=missing,
            words=name in as_words,
        )
        for name in names
        if name  # an object of JSON may have a field without a name
        for place in [table.columns.index(name)]
    ]


def _row_names(table: Table, rows: Sequence[Sequence[Any]], roles: set[str]) -> list[str]:
    """Columns that name the row: each cell is another, and no number with a fraction or date."""
    found = []
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in rows]
        look = look_at(cells)
        if name in roles or look.num_distinct < 20 or look.distinct < 1:
            continue
        words = look.numbers < 0.5 and cell_reader(name, cells).kind == "word"
        counted = named(name, ID_NAMES) == 1 and all(as_text(cell).strip().lstrip("-").isdigit() for cell in cells)
        if words or counted:
            found.append(name)
    return found


def _fit(table: Table, rows: Sequence[Sequence[Any]]) -> float:
    label, sure = guess_label(table, rows)
    numbers = words = 0
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in rows]
        look = look_at(cells)
        if _is_text(name, look) or look.images > 0.5 or _are_files(cells):
            return 0.04
        if any(isinstance(cell, (list, dict, bytes)) for cell in cells):
            return 0.02
        if name == label or look.filled == 0:
            continue
        kind = cell_reader(name, cells, decimal_comma=table.decimal_comma, missing=words_in("?, -, NA")).kind
        numbers += kind != "word"
        words += kind == "word"
    if numbers >= 1 and numbers + words >= 2:
        return 0.93 if sure else 0.92
    if words >= 3:
        return 0.91
    return 0.3 if numbers else 0.05


def _is_text(name: str, look: Look) -> bool:
    if look.filled == 0 or look.numbers > 0.5 or look.distinct <= 0.5:
        return False
    return (look.spaces > 0.5 and look.length > 30) or (named(name, TEXT_NAMES) == 1 and look.length > 3)


def _are_files(cells: Sequence[Any]) -> bool:
    texts = [as_text(cell).strip() for cell in cells]
    return sum(_FILE.search(text) is not None for text in texts) > 0.8 * len(texts)

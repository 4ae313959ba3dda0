"""What the formats for tables of texts and of images have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlstudio.api import Label, Options, Preview, Rejected, Split, Task, option
from tlstudio_formats.columns import guess_columns
from tlstudio_formats.sources import Table, open_table, preview_rows
from tlstudio_formats.values import as_text, is_missing, parse_label, parse_split, suggest_task


class TableOptions(Options):
    """How a table is read."""

    label_column: str = option(
        "", title="Label column", help="The column to be learned. Empty: the items are read without labels."
    )
    group_column: str = option(
        "",
        title="Group column",
        help="Rows with the same value here (patient, plate, instrument) never straddle two splits. May be empty.",
    )
    split_column: str = option(
        "", title="Split column", help="Says train, validation or test for each row. Empty: rows are split at random."
    )
    label_separator: str = option(
        "",
        title="Label separator",
        help="What separates several labels in one cell, for the multi-label task. Empty: ; or |.",
        advanced=True,
    )
    has_header: bool = option(
        True, title="First row has names", help="Whether the first row of a CSV file names the columns.", advanced=True
    )
    delimiter: str = option(
        "", title="Delimiter", help="The character between fields of a CSV file. Empty: it is detected.", advanced=True
    )
    encoding: str = option(
        "",
        title="Encoding",
        help="Such as utf-8, cp1252 or gb18030. Empty: it is detected.",
        advanced=True,
    )


@dataclass(frozen=True, slots=True)
class Cells:
    """What every table row has, whatever its items are.

    Attributes:
        label: The label, `None` where the label column is empty.
        group: The group, or ``""``.
        split: The prescribed split, or `None`.
        source: The row, for messages.
    """

    label: Label
    group: str
    split: Split | None
    source: str


def open_with(path: Path, options: TableOptions) -> Table:
    """Open a table as its options say.

    Raises:
        DataError: It cannot be read.
    """
    return open_table(path, encoding=options.encoding, delimiter=options.delimiter, has_header=options.has_header)


def open_as_given(path: Path, given: Mapping[str, Any]) -> Table:
    """Open a table as far as the user has set how; the rest is detected.

    Raises:
        DataError: It cannot be read.
    """
    header = given.get("has_header")
    return open_table(
        path,
        encoding=str(given.get("encoding", "")),
        delimiter=str(given.get("delimiter", "")),
        has_header=None if header is None else bool(header),
    )


def preview_table(
    path: Path, given: Mapping[str, Any], *item_roles: str
) -> tuple[Preview, Table, list[tuple[Any, ...]]]:
    """Open a table and look at it; see `preview_of`.

    Returns:
        The preview, the table and its first rows.

    Raises:
        DataError: It cannot be read, or a column that the user names does not exist.
    """
    table = open_as_given(path, given)
    return preview_of(table, given, *item_roles), table, table.head()


def preview_of(table: Table, given: Mapping[str, Any], *item_roles: str) -> Preview:
    """Look at a table and guess its columns.

    Args:
        table: The table.
        given: Options that the user has set.
        item_roles: What columns hold the items: ``"text"``, ``"image"``, both; none: all that have no other role.

    Raises:
        DataError: A column that the user names does not exist.
    """
    roles = (*item_roles, "label", "group", "split")
    chosen = {f"{role}_column": str(given[f"{role}_column"]) for role in roles if f"{role}_column" in given}
    table.check_columns(chosen)
    rows = table.head()
    free = [name for name in table.columns if name not in chosen.values()]
    places = [table.columns.index(name) for name in free]
    open_roles = [role for role in roles if f"{role}_column" not in chosen]
    guessed = guess_columns(free, [[row[place] for place in places] for row in rows], open_roles)
    mapping = {**{f"{role}_column": name for role, name in guessed.items()}, **chosen}
    task: Task | None = None
    notes = list(table.notes)
    label_column = mapping["label_column"]
    if label_column:
        place = table.columns.index(label_column)
        values = [row[place] for row in rows]
        task, note = suggest_task(values, decimal_comma=table.decimal_comma)
        if note:
            notes.append(note)
        missing = sum(is_missing(value) for value in values)
        if missing and task != "multi_label":
            word = "row has" if missing == 1 else "rows have"
            notes.append(f"{missing} of the first {len(values)} {word} no label and will be left out.")
    elif "label_column" not in given:
        notes.append("No label column was found: choose one.")
    missing_roles = (role for role in item_roles if not mapping[f"{role}_column"])
    notes += [f"No {role} column was found: choose one." for role in missing_roles]
    options = {**mapping, **{name: value for name, value in given.items() if name not in mapping}}
    if "has_header" not in options and hasattr(table, "has_header"):
        options["has_header"] = bool(table.has_header)
    return Preview(
        columns=table.columns,
        rows=preview_rows(table, rows),
        options=options,
        task=task,
        count=table.count_rows(),
        notes=tuple(notes),
    )


class RowReader:
    """Reads what every row has besides its item.

    Args:
        table: The table.
        options: Its options; their columns are checked to exist.
        task: What the labels are for.

    Raises:
        DataError: A column does not exist.
    """

    def __init__(self, table: Table, options: TableOptions, task: Task, extra: Mapping[str, str]) -> None:
        named = {
            **extra,
            "label_column": options.label_column,
            "group_column": options.group_column,
            "split_column": options.split_column,
        }
        table.check_columns(named)
        self.columns = list(dict.fromkeys(name for name in named.values() if name))
        self._table = table
        self._options = options
        self._task = task
        self._place = {name: place for place, name in enumerate(self.columns)}
        self._groups: dict[str, str] = {}

    def rows(self) -> Iterator[tuple[int, tuple[Any, ...], Cells] | Rejected]:
        """Yield each row: its number, its cells, and what it has besides its item."""
        for row in self._table.rows(self.columns):
            if isinstance(row, Rejected):
                yield row
                continue
            read = self._read(*row)
            yield read if isinstance(read, Rejected) else (*row, read)

    def _read(self, number: int, cells: tuple[Any, ...]) -> Cells | Rejected:
        """Read a row; rejected with its number where its label or split does not fit."""
        options = self._options
        source = f"{self._table.path.name}, row {number}"
        label: Label = None
        split: Split | None = None
        group = ""
        try:
            if options.label_column:
                label = parse_label(
                    cells[self._place[options.label_column]],
                    self._task,
                    options.label_separator,
                    decimal_comma=self._table.decimal_comma,
                )
            if options.split_column:
                split = parse_split(cells[self._place[options.split_column]])
        except ValueError as error:
            return Rejected(source, str(error), "Correct the row, or leave it out.")
        if options.group_column:
            group = as_text(cells[self._place[options.group_column]]).strip()
        return Cells(label, group, split, source)

    def cell(self, cells: tuple[Any, ...], column: str) -> Any:  # noqa: ANN401  a cell of any column
        """Return the cell of a column."""
        return cells[self._place[column]]

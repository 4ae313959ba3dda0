"""Tables of every kind behind one face: their columns, and their rows with the numbers that a person sees."""

from __future__ import annotations

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tlstudio.api import DataError, Rejected
from tlstudio_formats.delimited import Record, read_records, sniff
from tlstudio_formats.encodings import check_encoding, detect_encoding
from tlstudio_formats.headers import check_names, check_width, distinct, is_header
from tlstudio_formats.values import as_text

DELIMITED_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".psv"})
JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
TABLE_SUFFIXES = DELIMITED_SUFFIXES | JSON_SUFFIXES | PARQUET_SUFFIXES
SPREADSHEET_SUFFIXES = frozenset({".xls", ".xlsx", ".xlsm", ".ods", ".numbers"})

_LOOK = 1000
_LOOK_LETTERS = 2**22
_ENCODING_BYTES = 2**24
_COUNT_BYTES = 2**24
_MAX_JSON_ARRAY = 2**28

Row = tuple[int, tuple[Any, ...]]
"""Number of a row as an editor shows it (in Parquet: counted from 1), and the cells that were asked for."""


class Table(ABC):
    """A table file.

    Attributes:
        path: The file.
        columns: Names of its columns.
        notes: Sentences about what is unusual in it.
        count: Number of rows if it is known without reading them all.
        decimal_comma: Whether ``3,5`` is to be read as a number.
    """

    path: Path
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()
    count: int | None = None
    decimal_comma = False

    @abstractmethod
    def rows(self, columns: Sequence[str], *, beginning: bool = False) -> Iterator[Row | Rejected]:
        """Yield the cells of some columns, row by row.

        Args:
            columns: Names of the columns.
            beginning: Whether the first megabytes are enough: then the rest of a large file is left alone.
        """

    def head(self, count: int = _LOOK) -> list[tuple[Any, ...]]:
        """Return the cells of all columns of the first rows, of fewer where they are long; a thousand are kept."""
        return self._head[:count] if count <= _LOOK else self._read_head(count)

    @cached_property
    def _head(self) -> list[tuple[Any, ...]]:
        return self._read_head(_LOOK)

    def _read_head(self, count: int) -> list[tuple[Any, ...]]:
        rows = _first(self.rows(self.columns, beginning=True), count)
        return [row[1] for row in rows if not isinstance(row, Rejected)]

    def count_rows(self) -> int | None:
        """Count the rows, those that cannot be read included; `None` where it would take long."""
        if self.count is None and self.path.stat().st_size <= _COUNT_BYTES:
            self.count = sum(1 for _ in self.rows(self.columns[:1]))
        return self.count

    def check_columns(self, wanted: dict[str, str]) -> None:
        """Make sure that columns exist.

        Args:
            wanted: Names of columns by the option that names them; ``""`` is skipped.

        Raises:
            DataError: One does not; the sentence lists those that do, and the nearest.
        """
        for field, name in wanted.items():
            if name and name not in self.columns:
                listed = ", ".join(f'"{column}"' for column in self.columns[:30])
                more = f" and {len(self.columns) - 30} more" if len(self.columns) > 30 else ""
                raise DataError(
                    f'{self.path.name} has no column "{name}". Its columns are: {listed}{more}.',
                    _nearest(name, self.columns) or "Choose one of them.",
                    path=self.path,
                    field=field,
                )

    def without_column(self, role: str, remedy: str, field: str) -> DataError:
        """Make the error that a column which must be there was not chosen.

        Args:
            role: What the column is for: ``"text"``.
            remedy: What to choose.
            field: The option that names it.
        """
        listed = ", ".join(f'"{name}"' for name in self.columns)
        what = f"No {role} column is chosen for {self.path.name}. Its columns are: {listed}."
        return DataError(what, remedy, path=self.path, field=field)


def open_table(path: Path, *, encoding: str = "", delimiter: str = "", has_header: bool | None = None) -> Table:
    """Open a table by the suffix of its name.

    Args:
        path: The file.
        encoding: Encoding of a text file; ``""``: detect.
        delimiter: Delimiter of a delimited file; ``""``: detect.
        has_header: Whether the first row of a delimited file names the columns; `None`: look.

    Raises:
        DataError: It cannot be read, or has no rows.
    """
    suffix = path.suffix.lower()
    if suffix in SPREADSHEET_SUFFIXES:
        raise DataError(
            f"{path.name} is a spreadsheet, which is not read directly.",
            "Save the sheet as CSV (UTF-8) and choose that file.",
            path=path,
        )
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty (0 bytes).", "Export it again.", path=path)
        if suffix in PARQUET_SUFFIXES:
            return ParquetTable(path)
        if suffix in JSON_SUFFIXES:
            return JsonTable(path, encoding)
        return DelimitedTable(path, encoding, delimiter, has_header)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", "Check that it exists and may be read.", path=path
        ) from error


class DelimitedTable(Table):
    """CSV, TSV and their kin."""

    def __init__(self, path: Path, encoding: str, delimiter: str, has_header: bool | None) -> None:
        self.path = path
        self._encoding = encoding
        self._dialect, notes = sniff(path, encoding=encoding, delimiter=delimiter)
        records = islice(read_records(path, self._dialect, letters=_LOOK_LETTERS), 200)
        first = [item.fields for item in records if isinstance(item, Record)]
        if not first:
            raise DataError(f"{path.name} has no rows.", "Export it again.", path=path)
        check_width(path, len(first[0]))
        self.has_header = is_header(first) if has_header is None else has_header
        names = [name.strip("\ufeff \t\r\n") for name in first[0]] if self.has_header else [""] * len(first[0])
        check_names(path, names)
        self.columns = distinct(names)
        if not self.has_header:
            notes.append("The first row holds data and no names: the columns are numbered.")
        if self._dialect.delimiter == "\x1f":
            notes.append("The file has one column.")
        self.notes = tuple(notes)
        self.decimal_comma = self._dialect.delimiter != ","

    def rows(self, columns: Sequence[str], *, beginning: bool = False) -> Iterator[Row | Rejected]:
        """Yield the cells as text; a row with more fields than columns is rejected."""
        places = [self.columns.index(name) for name in columns]
        width = len(self.columns)
        dialect = self._dialect
        if not beginning and not self._encoding:
            # The beginning may be plain ASCII and a letter far below not: now all of the file counts.
            dialect = replace(dialect, encoding=detect_encoding(self.path).name)
        letters = _LOOK_LETTERS if beginning else -1
        for record in read_records(self.path, dialect, start=1 if self.has_header else 0, letters=letters):
            if isinstance(record, Rejected):
                yield record
                continue
            fields = record.fields
            if len(fields) != width:
                if len(fields) > width and any(field.strip() for field in fields[width:]):
                    yield Rejected(
                        f"{self.path.name}, row {record.first}",
                        f"It has {len(fields)} fields, and there are {width} columns.",
                        'Enclose fields that contain the delimiter in quotation marks (").',
                    )
                    continue
                fields = fields + [""] * (width - len(fields))
            yield record.first, tuple(fields[place] for place in places)


class JsonTable(Table):
    """One JSON object a line, or one array of objects."""

    def __init__(self, path: Path, encoding: str) -> None:
        self.path = path
        self._encoding = encoding
        found = detect_encoding(path, _ENCODING_BYTES)
        self.notes = (found.note,) if found.note and not encoding else ()
        self._name = check_encoding(encoding) if encoding else found.name
        with path.open(encoding=self._name, errors="replace") as file:
            self._is_array = file.read(4096).lstrip("\ufeff \t\r\n").startswith("[")
        names: dict[str, None] = {}
        objects = self._objects(self._name)
        self._kept = first = list(_first(objects, _LOOK))
        for item in first:
            if not isinstance(item, Rejected):
                names.update(dict.fromkeys(item[1]))
        if not names:
            why = first[0].reason if first and isinstance(first[0], Rejected) else "It has no objects."
            raise DataError(
                f"{path.name} has no rows that can be read. {why}",
                'Write one object a line, such as {"text": "...", "label": "..."}.',
                path=path,
            )
        check_width(path, len(names))
        check_names(path, names)
        self.columns = tuple(names)
        self.count = len(first) if next(objects, None) is None else None

    def rows(self, columns: Sequence[str], *, beginning: bool = False) -> Iterator[Row | Rejected]:
        """Yield the cells as JSON has them; what an object lacks is `None`."""
        name = self._name if beginning or self._encoding else detect_encoding(self.path).name
        objects = self._objects(name)
        if beginning:
            whole = self.count == len(self._kept)
            objects = iter(self._kept) if whole else chain(self._kept, islice(objects, len(self._kept), None))
        for item in objects:
            if isinstance(item, Rejected):
                yield item
            else:
                yield item[0], tuple(item[1].get(name) for name in columns)

    def _objects(self, encoding: str) -> Iterator[tuple[int, dict[str, Any]] | Rejected]:
        if self._is_array:
            yield from self._array(encoding)
            return
        with self.path.open(encoding=encoding, errors="replace") as file:
            for number, line in enumerate(file, 1):
                text = line.strip("\ufeff\0 \t\r\n")
                if not text:
                    continue
                try:
                    value = json.loads(text)
                except (ValueError, RecursionError) as error:
                    what = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
                    yield self._reject(number, f"It is not valid JSON: {what}.")
                    continue
                if isinstance(value, dict):
                    yield number, value
                else:
                    yield self._reject(number, "It is not a JSON object.")

    def _array(self, encoding: str) -> Iterator[tuple[int, dict[str, Any]] | Rejected]:
        if self.path.stat().st_size > _MAX_JSON_ARRAY:
            raise DataError(
                f"{self.path.name} is one JSON array of more than {_MAX_JSON_ARRAY // 2**20} MiB.",
                "Write one object a line (JSONL), which can be read piece by piece.",
                path=self.path,
            )
        try:
            values = json.loads(self.path.read_text(encoding=encoding, errors="replace").lstrip("\ufeff"))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path.name} is not valid JSON: {error}.", "Export it again.", path=self.path
            ) from error
        for number, value in enumerate(values, 1):
            if isinstance(value, dict):
                yield number, value
            else:
                yield self._reject(number, "It is not a JSON object.")

    def _reject(self, number: int, reason: str) -> Rejected:
        return Rejected(f"{self.path.name}, row {number}", reason, 'Write it as {"text": "...", "label": "..."}.')


class ParquetTable(Table):
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                self.columns = tuple(schema.names)
                self.count = file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        check_width(path, len(self.columns))
        if not self.columns or not self.count:
            raise DataError(f"{path.name} has no rows.", "Export it again.", path=path)
        self.notes = tuple(
            f'The column "{field.name}" holds the images themselves, of which only the paths are read. '
            "Write the images into files beside the table, under these paths."
            for field in schema
            if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
        )

    def rows(self, columns: Sequence[str], *, beginning: bool = False) -> Iterator[Row | Rejected]:
        """Yield the cells as Python values; rows are counted from 1."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = 0
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=64, columns=list(dict.fromkeys(columns))):
                    cells = {name: batch.column(name).to_pylist() for name in set(columns)}
                    for row in zip(*(cells[name] for name in columns), strict=True):
                        number += 1
                        yield number, tuple(_plain(cell) for cell in row)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path.name} is not a Parquet file that can be read: {error}.", "Export it again.", path=self.path
        )


def _plain(cell: Any) -> Any:  # noqa: ANN401  a cell of any column
    if isinstance(cell, dict) and "bytes" in cell:
        return cell.get("path") or ""  # images as some libraries store them
    return cell.replace("\0", "") if isinstance(cell, str) else cell


def _first(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yield the first rows; fewer where their cells are long."""
    letters = 0
    for item in islice(items, count):
        yield item
        if not isinstance(item, Rejected):
            cells = item[1].values() if isinstance(item[1], dict) else item[1]
            letters += sum(len(cell) for cell in cells if isinstance(cell, str))
        if letters > _LOOK_LETTERS:
            return


def _nearest(name: str, columns: Sequence[str]) -> str:
    folded = {column.casefold().strip(): column for column in reversed(columns)}
    near = difflib.get_close_matches(name.casefold().strip(), folded, n=1, cutoff=0.5)
    return f'Did you mean "{folded[near[0]]}"?' if near else ""


def preview_rows(table: Table, rows: Sequence[Sequence[Any]], count: int = 20) -> tuple[dict[str, str], ...]:
    """Return the first rows as short texts by column."""
    return tuple(
        {name: _short(as_text(cell)) for name, cell in zip(table.columns, row, strict=True)} for row in rows[:count]
    )


def _short(text: str, length: int = 500) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"

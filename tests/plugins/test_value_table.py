"""Tables of values: what is recognised, what is refused, and what they are not mistaken for."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tlstudio.api import DataError, Preview, Rejected, Sample, Task
from tlstudio.testing import check_format
from tlstudio_formats.dates import DateReader, date_way
from tlstudio_formats.series import SeriesTable
from tlstudio_formats.text_table import TextTable
from tlstudio_formats.value_table import ValueTable, ValueTableOptions

HEADER = ("id", "age", "city", "joined", "income", "outcome")


def people(count: int = 40) -> list[tuple[str, ...]]:
    return [
        (
            str(1000 + n),
            str(20 + n % 50),
            ("Berlin", "New York", "Oslo")[n % 3],
            f"2021-{1 + n % 12:02}-{1 + n % 28:02}",
            f"{1000.5 + n}",
            "yes" if n % 2 else "no",
        )
        for n in range(count)
    ]


def write(path: Path, rows: Sequence[Sequence[str]], *, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "people.csv", [HEADER, *people()])


def look(path: Path, **options: Any) -> Preview:
    return ValueTable().preview(path, options)


def read(path: Path, task: Task = "classification", **options: Any) -> list[Sample | Rejected]:
    chosen = ValueTableOptions.model_validate(dict(look(path, **options).options))
    return list(ValueTable().read(path, chosen, task))


def test_numbers_categories_and_dates_are_told_apart_and_row_numbers_are_left_out(table: Path) -> None:
    found = look(table)
    assert (found.options["label_column"], found.options["leave_out"]) == ("outcome", "id")
    assert found.task == "classification"
    assert {"Numbers: age, income.", "Categories: city.", "Dates: joined."} <= set(found.notes)
    first = read(table)[0]
    assert isinstance(first, Sample)
    assert first.values == {"age": 20.0, "city": "Berlin", "joined": "2021-01-01T00:00:00", "income": 1000.5}
    assert (first.id, first.label, first.source) == ("row 2", "no", "people.csv, row 2")


def test_the_contract_of_formats_is_kept(table: Path) -> None:
    assert len(check_format(ValueTable(), table, "classification")) == 40


def test_a_table_of_values_is_neither_taken_for_texts_nor_are_texts_taken_for_values(
    table: Path, tmp_path: Path
) -> None:
    assert ValueTable().detect(table) > max(TextTable().detect(table), SeriesTable().detect(table))
    texts = [(f"a sentence with number {n} and some more words in it", str(n % 7), "ab"[n % 2]) for n in range(30)]
    prose = write(tmp_path / "texts.csv", [("remark", "score", "kind"), *texts])
    assert TextTable().detect(prose) > ValueTable().detect(prose)
    short = write(
        tmp_path / "short.csv", [("text", "price", "label"), *((f"word{n}", "1", "ab"[n % 2]) for n in range(9))]
    )
    assert TextTable().detect(short) > ValueTable().detect(short)
    files = write(
        tmp_path / "files.csv", [("image", "age", "label"), *((f"a{n}.png", "1", "ab"[n % 2]) for n in range(9))]
    )
    assert ValueTable().detect(files) < 0.1


def test_words_for_nothing_and_empty_cells_are_missing(tmp_path: Path) -> None:
    rows = [("1", "a", "x"), ("?", "-", "y"), ("", "NA", "x"), ("nan", "b", "y"), *[("2", "a", "x")] * 60]
    values = [
        item.values
        for item in read(write(tmp_path / "a.csv", [("n", "c", "label"), *rows]))
        if isinstance(item, Sample)
    ]
    assert values[1] == values[2] == {"n": None, "c": None}
    assert values[3] == {"n": None, "c": "b"}


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999", "twelve", "=1+1"])
def test_a_cell_that_is_no_finite_number_costs_its_row_and_says_so(tmp_path: Path, cell: str) -> None:
    rows = [("n", "m", "label"), *((str(n), str(n % 5), "ab"[n % 2]) for n in range(60)), (cell, "1", "a")]
    found = read(write(tmp_path / "a.csv", rows))
    assert len(found) == 61
    last = found[-1]
    assert isinstance(last, Rejected)
    assert last.reason == f'Its "n" is no finite number: "{cell}".'


def test_a_whole_number_of_json_that_no_computer_computes_with_is_refused(tmp_path: Path) -> None:
    lines = [f'{{"n": {n}, "m": {n % 5}, "label": "{"ab"[n % 2]}"}}' for n in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, f'{{"n": {"9" * 400}, "m": 1, "label": "a"}}']))
    last = read(tmp_path / "a.jsonl")[-1]
    assert isinstance(last, Rejected)
    assert last.reason.startswith('Its "n" is no finite number: "9999')


def test_a_huge_number_is_kept(tmp_path: Path) -> None:
    rows = [("n", "m", "label"), *((str(n), str(n % 5), "ab"[n % 2]) for n in range(60)), ("1e300", "1", "a")]
    last = read(write(tmp_path / "a.csv", rows))[-1]
    assert isinstance(last, Sample)
    assert last.values == {"n": 1e300, "m": 1.0}


def test_columns_are_chosen_left_out_and_read_as_words(table: Path) -> None:
    def values(**options: Any) -> Any:
        first = read(table, **options)[0]
        assert isinstance(first, Sample)
        return first.values

    assert list(values(columns="age, city")) == ["age", "city"]
    assert list(values(leave_out='["id", "city"]')) == ["age", "joined", "income"]
    assert values(categories="age")["age"] == "20"
    with pytest.raises(DataError, match=r'people\.csv has no column "ages".*Did you mean "age"'):
        values(leave_out="ages")
    with pytest.raises(DataError, match="no valid JSON"):
        values(columns="[age")


def test_decimal_commas_are_numbers_with_semicolons_or_where_the_user_says_so(tmp_path: Path) -> None:
    rows = [(f"{n},5", f"{n}", "ab"[n % 2]) for n in range(30)]
    path = write(tmp_path / "a.csv", [("n", "m", "label"), *rows], delimiter=";")
    first = read(path)[0]
    assert isinstance(first, Sample)
    assert first.values == {"n": 0.5, "m": 0.0}
    quoted = write(tmp_path / "b.csv", [("n", "m", "label"), *rows])
    with_commas = read(quoted, decimal_comma=True)[1]
    as_words = read(quoted)[1]
    assert isinstance(with_commas, Sample)
    assert isinstance(as_words, Sample)
    assert (with_commas.values or {})["n"] == 1.5
    assert (as_words.values or {}).get("n", "1,5") == "1,5"


def test_groups_splits_and_several_labels_are_read(tmp_path: Path) -> None:
    rows = [(str(n), str(n * n), f"p{n % 4}", ("train", "test")[n % 2], "a;b" if n % 3 else "a") for n in range(30)]
    path = write(tmp_path / "a.csv", [("n", "m", "patient", "split", "labels"), *rows])
    assert look(path).task == "multi_label"
    second = read(path, "multi_label")[1]
    assert isinstance(second, Sample)
    assert (second.label, second.group, second.split) == (("a", "b"), "p1", "test")
    assert second.values == {"n": 1.0, "m": 1.0}


def test_json_and_parquet_keep_their_types(tmp_path: Path) -> None:
    import datetime
    import decimal

    day = datetime.date(2024, 2, 29)
    columns = {
        "flag": [True, False] * 10,
        "price": [decimal.Decimal("1.50")] * 20,
        "day": [day] * 20,
        "y": ["a", "b"] * 10,
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    first = read(tmp_path / "a.parquet")[0]
    assert isinstance(first, Sample)
    assert first.values == {"flag": "true", "price": 1.5, "day": "2024-02-29T00:00:00"}
    lines = [json.dumps({"flag": n % 2 == 0, "n": n / 2, "label": "ab"[n % 2]}) for n in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    second = read(tmp_path / "a.jsonl")[1]
    assert isinstance(second, Sample)
    assert second.values == {"flag": "false", "n": 0.5}


def test_lists_in_cells_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"n": [1, 2], "m": 1, "label": "a"}) for _ in range(5)))
    with pytest.raises(DataError, match='column "n" are lists or objects'):
        read(tmp_path / "a.jsonl")


def test_without_a_named_label_the_last_column_is_suggested_and_that_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("a", "b", "c"), *((str(n), str(n / 7), str(n / 3)) for n in range(30))])
    found = look(path)
    assert found.options["label_column"] == "c"
    assert any('the last, "c", is suggested' in note for note in found.notes)
    assert found.task == "regression"


def test_rows_in_the_order_of_a_date_are_said_to_be_perhaps_a_series(tmp_path: Path) -> None:
    rows = [(f"2024-03-{day:02}", str(day), str(day / 3)) for day in range(1, 9)]
    path = write(tmp_path / "a.csv", [("date", "sales", "temp"), *rows])
    how = '--format series -o "format.time_column=date" -o "format.target_column=sales"'
    assert any(how in note for note in look(path).notes)
    assert not any(how in note for note in look(path, label_column="temp").notes), "the user knows what is learned"
    mixed = write(tmp_path / "b.csv", [("date", "sales", "temp"), *rows[4:], *rows[:4], *rows[2:6]])
    assert not any(how in note for note in look(mixed).notes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2024-02-29", "2024-02-29T00:00:00"),
        ("2024/2/9 07:05", "2024-02-09T07:05:00"),
        ("2024-02-29T10:00:00+02:00", "2024-02-29T10:00:00"),
        ("29.02.2024", "2024-02-29T00:00:00"),
        ("29/02/2024 10:30", "2024-02-29T10:30:00"),
        ("02/29/2024", "2024-02-29T00:00:00"),
        ("2024-02", "2024-02-01T00:00:00"),
    ],
)
def test_dates_are_read_as_people_write_them(text: str, told: str) -> None:
    way = date_way([text] * 3)
    assert way is not None
    date = DateReader(way)(text)
    assert date is not None
    assert date.isoformat() == told


@pytest.mark.parametrize("text", ["20240229", "1.5", "12/2024/1", "yesterday", "2024-13-01", "9" * 30])
def test_what_is_no_date_is_none(text: str) -> None:
    assert date_way([text] * 3) is None

"""Series: windows that never look ahead, tables in the order of time, and files of the archives."""

from __future__ import annotations

import csv
import datetime
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tlstudio.api import DataError, Rejected, Sample, Task
from tlstudio.testing import check_format
from tlstudio_formats.series import SeriesTable
from tlstudio_formats.series_options import SeriesOptions
from tlstudio_formats.ts_files import TsFiles
from tlstudio_formats.value_table import ValueTable
from tlstudio_formats.windows import cut_points, windows


def write_series(path: Path, count: int = 200, *, shops: int = 1) -> Path:
    """Hours of sales; the value tells the hour, so that a test knows from which row a number comes."""
    begin = datetime.datetime(2024, 1, 1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "shop", "sales", "weather"])
        for hour in range(count):
            for shop in range(shops):
                time = (begin + datetime.timedelta(hours=hour)).isoformat(sep=" ")
                writer.writerow([time, f"shop {shop}", hour + 1000 * shop, f"{math.sin(hour):.3f}"])
    return path


def read(path: Path, task: Task = "forecasting", **options: Any) -> list[Sample | Rejected]:
    chosen = SeriesOptions.model_validate(dict(SeriesTable().preview(path, options).options))
    return list(SeriesTable().read(path, chosen, task))


def samples(path: Path, task: Task = "forecasting", **options: Any) -> list[Sample]:
    found = read(path, task, **options)
    assert all(isinstance(item, Sample) for item in found)
    return [item for item in found if isinstance(item, Sample)]


def test_no_split_sees_a_time_of_another_one_and_each_is_later_than_the_one_before(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.csv", shops=3)
    seen: dict[str | None, set[int]] = {}
    for sample in samples(path, length=12, horizon=5, target_column="sales"):
        values, label = (sample.values or {})["sales"], sample.label
        assert isinstance(values, tuple)
        assert isinstance(label, tuple)
        hours = [int(float(str(value))) % 1000 for value in (*values, *label)]
        assert hours == list(range(hours[0], hours[0] + 17)), "what is forecast follows the window at once"
        seen.setdefault(sample.split, set()).update(hours)
    assert max(seen["train"]) < min(seen["validation"])
    assert max(seen["validation"]) < min(seen["test"])
    assert set.union(*seen.values()) == set(range(200)), "no time is lost"


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("horizon", [0, 4])
def test_windows_lie_wholly_in_their_split(horizon: int, step: int) -> None:
    times = np.arange(100.0) * 60
    cuts = cut_points(times, 0.2, 0.2)
    found = list(windows(times, 8, horizon, step, cuts))
    borders = {"train": (0, cuts[0]), "validation": cuts, "test": (cuts[1], np.inf)}
    for window in found:
        low, high = borders[window.split]
        assert window.end - window.start == 8
        assert window.until - window.end == horizon
        assert low <= times[window.start] <= times[window.until - 1] < high
    assert {window.split for window in found} == set(borders)


def test_shares_of_nothing_leave_no_windows_there() -> None:
    times = np.arange(50.0)
    assert {window.split for window in windows(times, 4, 1, 1, cut_points(times, 0.0, 0.0))} == {"train"}


@pytest.mark.parametrize("share", ["validation_share", "test_share"])
def test_no_split_is_left_to_be_cut_from_windows_that_overlap(share: str) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        SeriesOptions.model_validate({share: 0.0})


def test_rows_come_in_the_order_of_time_whatever_the_file_says(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.csv")
    head, *rows = path.read_text().splitlines()
    (tmp_path / "b.csv").write_text("\n".join([head, *reversed(rows)]))
    options: dict[str, Any] = {"length": 12, "horizon": 5, "target_column": "sales", "time_column": "time"}
    assert [s.values for s in samples(path, **options)] == [s.values for s in samples(tmp_path / "b.csv", **options)]


def test_the_one_that_is_forecast_comes_first_and_all_numbers_are_known(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.csv")
    first = samples(path, length=12, horizon=5, target_column="weather")[0]
    assert list(first.values or {}) == ["weather", "sales"]
    only = samples(path, length=12, horizon=5, target_column="weather", value_columns="weather")[0]
    assert list(only.values or {}) == ["weather"]


def test_a_table_in_the_order_of_time_is_detected_and_windows_are_suggested(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.csv", shops=2)
    assert SeriesTable().detect(path) > ValueTable().detect(path)
    found = SeriesTable().preview(path)
    assert (found.options["time_column"], found.options["series_column"]) == ("time", "shop")
    assert found.task == "forecasting"
    check_format(SeriesTable(), write_series(tmp_path / "b.csv"), "forecasting")


def test_for_prediction_each_series_is_one_sample_with_all_that_is_known(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.csv", shops=2)
    found = samples(path, **SeriesTable().without_labels())
    assert [sample.id for sample in found] == ["shop 0", "shop 1"]
    values = (found[1].values or {})["sales"]
    assert isinstance(values, tuple)
    assert (len(values), values[-1]) == (200, 1199.0)


def test_a_label_column_is_that_of_the_last_row_of_a_window(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,x,state\n" + "\n".join(f"{n},{n / 3},{'on' if n % 20 < 10 else 'off'}" for n in range(200)))
    found = samples(path, "classification", time_column="t", label_column="state", length=5, value_columns="x")
    for sample in found:
        last = int(str(sample.id).removeprefix("until "))
        assert sample.label == ("on" if last % 20 < 10 else "off")


def test_gaps_are_kept_as_such_and_a_gap_in_what_is_forecast_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,x\n" + "\n".join(f"{n},{'' if n == 30 else n}" for n in range(200)))
    found = read(path, time_column="t", length=8, horizon=2)
    told = [item for item in found if isinstance(item, Rejected)]
    assert [(item.source, item.reason) for item in told] == [
        ("a.csv, row 32", 'Its "x" is missing: the 2 windows that were to forecast it are left out.')
    ]
    gap = next(item for item in found if isinstance(item, Sample) and item.id == "until 32")
    values = (gap.values or {})["x"]
    assert isinstance(values, tuple)
    assert [math.isnan(value) for value in values] == [False] * 5 + [True] + [False] * 2


def test_what_is_too_short_or_no_number_or_no_time_gets_a_sentence(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.csv", 30)
    with pytest.raises(
        DataError, match=r"no window of 20 rows and 5 to be forecast \(25 in all\) .* 167 rows would do"
    ):
        read(path, length=20, horizon=5)
    bad = tmp_path / "b.csv"
    rows = [f"2024-01-{1 + n // 24:02} {n % 24:02}:00,{n}" for n in range(100)]
    bad.write_text("\n".join(["time,x", *rows[:50], "never,5", "2024-01-03 02:30,inf", *rows[50:]]))
    told = [item for item in read(bad, length=4, horizon=1) if isinstance(item, Rejected)]
    assert [item.reason for item in told] == ['Its time is none: "never".', 'Its "x" is no finite number: "inf".']
    with pytest.raises(DataError, match='has no column "sale"'):
        read(path, target_column="sale")


def test_notes_say_what_will_be_forecast_from_what_and_how_time_is_cut(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.csv", shops=2)
    found = SeriesTable().preview(path, {"length": 12})
    assert found.notes[0].startswith(
        'The next 3 values of "sales" are forecast from 12 past ones of "sales", "weather", in the order of "time", in '
        'each of the 2 series of "shop"'
    )
    told = SeriesTable().splits_told(SeriesOptions(validation_share=0.1, test_share=0.3))
    assert "the first 60% of it, the next 10% and the last 30%" in told
    assert not SeriesTable().preview(path, SeriesTable().without_labels()).notes, "nothing is learned"


def test_notes_say_in_which_rows_times_repeat_or_leap_and_values_or_columns_are_lacking(tmp_path: Path) -> None:
    days = [str(datetime.date(2024, 1, 1) + datetime.timedelta(days=day)) for day in range(60)]
    days[10] = days[9]
    days[40:] = [str(datetime.date(2024, 3, 1) + datetime.timedelta(days=day)) for day in range(20)]
    rows = [f"{day},{'' if n == 20 else n},{'x' if n % 2 else n}" for n, day in enumerate(days)]
    (tmp_path / "a.csv").write_text("\n".join(["date,sales,odd", *rows]))
    columns, same, leaps, missing = SeriesTable().preview(tmp_path / "a.csv").notes[1:]
    assert '"odd" ("x", for instance)' in columns
    assert "1 row has the time of another: row 12 that of row 11 (2024-01-10)." in same
    assert "2024-01-10 and 2024-01-12 (row 13); 2024-02-09 and 2024-03-01 (row 42)." in leaps
    assert '"sales" in row 22.' in missing


@pytest.mark.parametrize(("second", "found"), [("shop", "shop"), ("hour", "")])
def test_few_whole_numbers_tell_series_apart_unless_they_are_times(tmp_path: Path, second: str, found: str) -> None:
    rows = [f"2024-01-{day:02},{shop},{day * shop}" for day in range(1, 31) for shop in (1, 2, 3)]
    (tmp_path / "a.csv").write_text("\n".join([f"date,{second},sales", *rows]))
    preview = SeriesTable().preview(tmp_path / "a.csv")
    assert preview.options["series_column"] == found
    assert any("60 rows have the time of another" in note for note in preview.notes) == (not found)


def test_one_spoilt_cell_costs_its_row_and_not_its_column(tmp_path: Path) -> None:
    rows = [f"2024-01-{n:02},{'x' if n == 7 else n}" for n in range(1, 13)]
    (tmp_path / "a.csv").write_text("\n".join(["date,sales", *rows]))
    told, series = read(tmp_path / "a.csv", **SeriesTable().without_labels())
    assert isinstance(told, Rejected)
    assert (told.source, told.reason) == ("a.csv, row 8", 'Its "sales" is no finite number: "x".')
    assert isinstance(series, Sample)
    assert list(series.values or {}) == ["sales"]


def test_a_series_that_is_too_short_among_others_is_told(tmp_path: Path) -> None:
    rows = [f"{n},{name},{n}" for name, count in (("long", 100), ("short", 6)) for n in range(count)]
    (tmp_path / "a.csv").write_text("\n".join(["t,name,x", *rows]))
    found = read(tmp_path / "a.csv", time_column="t", series_column="name", length=5, horizon=2)
    (told,) = [item for item in found if isinstance(item, Rejected)]
    assert told.source == 'a.csv, series "short", rows 102 to 107'
    assert "a window takes 7 rows" in told.reason


def test_times_are_told_apart_to_the_millisecond_and_kept_for_what_follows(tmp_path: Path) -> None:
    rows = [f"2024-01-01 00:00:{n / 10:06.3f},{n}" for n in reversed(range(30))]
    (tmp_path / "a.csv").write_text("\n".join(["time,x", *rows]))
    (series,) = samples(tmp_path / "a.csv", **SeriesTable().without_labels())
    assert (series.values or {})["x"] == tuple(range(30)), "tenths of a second order the rows, too"
    assert series.times[-1] == "2024-01-01 00:00:02.900000"


TS = """# a comment
@problemName tiny
@timeStamps false
@univariate false
@classLabel true up down
@data
1,2,3:10,20,30:up
3,2,1:30,20,?:down
1,x,3:1,2,3:up
"""


def test_files_of_the_archives_are_read_with_their_splits(tmp_path: Path) -> None:
    (tmp_path / "tiny_TRAIN.ts").write_text(TS)
    (tmp_path / "tiny_TEST.ts").write_text(TS)
    assert TsFiles().detect(tmp_path) > 0.9
    found = list(TsFiles().read(tmp_path, TsFiles.Options(), "classification"))
    good = [item for item in found if isinstance(item, Sample)]
    assert [item.split for item in good] == ["test", "test", "train", "train"]
    assert good[0].values == {"channel 1": (1.0, 2.0, 3.0), "channel 2": (10.0, 20.0, 30.0)}
    assert [item.label for item in good[:2]] == ["up", "down"]
    second = (good[1].values or {})["channel 2"]
    assert isinstance(second, tuple)
    assert math.isnan(second[2])
    assert [item.source for item in found if isinstance(item, Rejected)] == [
        "tiny_TEST.ts, line 9",
        "tiny_TRAIN.ts, line 9",
    ]
    assert len(check_format(TsFiles(), tmp_path / "tiny_TEST.ts", "classification")) == 2


def test_a_file_without_data_or_with_time_stamps_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text("@classLabel true a b\n1,2,3:a\n")
    with pytest.raises(DataError, match="no line @data"):
        list(TsFiles().read(tmp_path / "a.ts", TsFiles.Options(), "classification"))
    (tmp_path / "b.ts").write_text(re.sub("timeStamps false", "timeStamps true", TS))
    with pytest.raises(DataError, match="time stamp"):
        list(TsFiles().read(tmp_path / "b.ts", TsFiles.Options(), "classification"))

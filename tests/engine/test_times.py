"""Times of what is forecast."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tlstudio.api import Prediction, Sample
from tlstudio.engine.times import forecast_cells, forecast_header, last_and_next


@pytest.mark.parametrize(
    ("times", "last", "following"),
    [
        (["2024-02-27", "2024-02-28"], "2024-02-28", ["2024-02-29", "2024-03-01"]),
        (
            ["2024-01-01 22:00:00", "2024-01-01 23:00:00"],
            "2024-01-01 23:00:00",
            "2024-01-02 00:00:00|2024-01-02 01:00:00",
        ),
        (["2023-10-15", "2023-11-15", "2023-12-15"], "2023-12-15", ["2024-01-15", "2024-02-15"]),
        (["2023-11-30", "2023-12-31"], "2023-12-31", ["2024-01-31", "2024-02-29"]),
        (["2022-07-01", "2022-10-01"], "2022-10-01", ["2023-01-01", "2023-04-01"]),
        (["0.1", "0.2", "0.3"], "0.3", ["0.4", "0.5"]),
        ([*(f"2024-01-{day:02}" for day in range(1, 13)), "2024-01-15"], "2024-01-15", ["2024-01-16", "2024-01-17"]),
        (["2024-01-04", "2024-01-05", "2024-01-08"], "2024-01-08", []),
        (["2024-01-05", "2024-01-05"], "2024-01-05", []),
        (["9999-12-30", "9999-12-31"], "9999-12-31", []),
        (["2024-01-05"], "2024-01-05", []),
        (["yesterday", "today"], "today", []),
        ([], "", []),
    ],
)
def test_times_go_on_at_the_step_that_nearly_all_have(
    times: Sequence[str], last: str, following: Sequence[str] | str
) -> None:
    expected = following.split("|") if isinstance(following, str) else list(following)
    assert last_and_next(times, 2) == (last, expected)


def test_forecasts_have_columns_of_times_only_where_there_are_some() -> None:
    dated, plain = Sample("a", times=("2024-01-05", "2024-01-05")), Sample("b")
    assert forecast_header("sales", 2, [plain]) == ["sales +1", "sales +2"]
    assert forecast_header("sales", 2, [plain, dated])[2:] == ["last time", "time +1", "time +2"]
    assert forecast_cells(2, dated, Prediction((1.5, 2.0))) == ["1.5", "2.0", "2024-01-05", "", ""]
    assert forecast_cells(2, plain, Prediction((1.5, 2.0))) == ["1.5", "2.0"]

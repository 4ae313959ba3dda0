"""Items that cannot be used: each reason is told once, and where an item is stands beside it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlstudio.api import DataError, Rejected
from tlstudio.data.rejections import causes_of, none_left


@pytest.mark.parametrize(
    ("source", "what", "path", "reason"),
    [
        ("a.csv, row 3", "a.csv, row 3 lacks a column.", None, "It lacks a column."),
        ("a.csv, row 3", 'The "age" of a.csv, row 3 is no number.', None, 'The "age" is no number.'),
        ("birds/a.png", "a.png is damaged.", "/x/birds/a.png", "It is damaged."),
        ("birds/a.png", "/x/birds/a.png is no longer there.", "/x/birds/a.png", "It is no longer there."),
        ("a.csv, row 3", "a.png is damaged.", "/x/a.png", "a.png is damaged."),
    ],
)
def test_where_an_item_is_is_not_said_twice(source: str, what: str, path: str | None, reason: str) -> None:
    error = DataError(what, "Mend it.", path=Path(path) if path else None)
    assert Rejected.because(source, error) == Rejected(source, reason, "Mend it.")


def test_a_reason_that_many_share_is_told_once_with_the_first_of_them() -> None:
    rejected = [Rejected(f"a.csv, row {number}", "It is empty.", "Fill it.") for number in range(2, 1002)]
    rejected.insert(0, Rejected("a.csv, row 1", "It is odd."))
    first, second = map(str, causes_of(rejected))
    assert first == "a.csv, row 2, row 3, row 4 and 997 more: Each is empty. Fill it."
    assert second == "a.csv, row 1: It is odd."
    told = str(none_left(rejected, Path("a.csv"), "predicted"))
    assert told.splitlines() == ["None of the 1,001 items of a.csv can be predicted.", f"  {first}", f"  {second}"]

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlstudio.api import DataError
from tlstudio.data.names import MAX_NAME, plain_text, safe_name, valid_name


@pytest.mark.parametrize("name", ["leaves", "Leaves 2026", "叶子", "листья", "a-b_c.d", "naïve"])
def test_names_in_any_script_are_valid(name: str) -> None:
    assert valid_name(f"  {name} ") == name


def test_the_same_name_typed_in_two_ways_is_one() -> None:
    assert valid_name("nai\u0308ve") == valid_name("na\u00efve")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "needs a name"),
        ("   ", "needs a name"),
        ("a/b", "contains '/'"),
        ("..", "full stop"),
        (".hidden", "full stop"),
        ("a\\b", "contains"),
        ("a\0b", "contains"),
        ("what?", "contains"),
        ("CON", "reserved by Windows"),
        ("com1.data", "reserved by Windows"),
        ("x" * 81, "81 characters long"),
    ],
)
def test_names_that_no_folder_may_have_are_refused(name: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        valid_name(name)
    assert caught.value.field == "name"


@given(st.text())
def test_a_safe_name_is_valid_whatever_it_was_made_of(text: str) -> None:
    name = safe_name(text)
    assert valid_name(name) == name
    assert len(name) <= MAX_NAME


@given(st.text(st.characters()))
def test_plain_text_can_always_be_written(text: str) -> None:
    plain_text(text).encode("utf-8")


def test_surrogate_pairs_are_joined() -> None:
    assert plain_text("\ud83d\ude42 \ud83d") == "\U0001f642 \ufffd"

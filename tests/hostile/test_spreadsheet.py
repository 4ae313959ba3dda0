"""Cells of predictions: no spreadsheet takes one for a formula, and each reads back as it was."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlstudio.engine.spreadsheet import harmless, original

TEXTS = st.text(alphabet=st.sampled_from("ab1.,;'\" =+-@\t\r\n\uff1d"), max_size=12) | st.text(max_size=30)


@given(TEXTS)
def test_a_cell_reads_back_as_it_was(cell: str) -> None:
    assert original(harmless(cell)) == cell


@given(TEXTS)
def test_no_piece_of_a_cell_is_a_formula(cell: str) -> None:
    written = harmless(cell)
    pieces = [piece for row in csv.reader(io.StringIO(written, newline=""), delimiter=";") for piece in row]
    for piece in [written, *pieces]:
        if piece.startswith(("=", "+", "-", "@")):
            float(cell)  # a number is the only thing that may begin so


@pytest.mark.parametrize("cell", ["=1+1", "a;=1+1", "a\n=1+1", "a\t@SUM(1)", "';=1", "\uff1d1", '";=1+1', "'=1"])
def test_each_beginning_gets_an_apostrophe(cell: str) -> None:
    assert harmless(cell).count("'") == cell.count("'") + 1

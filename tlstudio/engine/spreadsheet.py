"""Cells of a CSV file that no spreadsheet takes for a formula, and that read back as they were.

A spreadsheet runs what begins with ``=``, ``+``, ``-`` or ``@`` (OWASP, CSV injection), also where it cuts a cell in
pieces: at a semicolon, a tab or a line break, by the settings of the country. Each such place gets an apostrophe; a
reader that knows of it takes it away again with `original`. Numbers stay as they are.
"""

from __future__ import annotations

import re

# What a spreadsheet skips, and what it then takes for a formula; some take the wide signs of Asian keyboards, too.
_FORMULA = r"(?=['\" ]*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r])"
_BEGINNING = r"(?:\A|(?<=[;\t\r\n]))"
_DANGEROUS = re.compile(_BEGINNING + _FORMULA)
_MARKED = re.compile(_BEGINNING + "'" + _FORMULA)


def harmless(cell: str) -> str:
    """Keep a spreadsheet from taking a cell, or a part of it, for a formula; numbers stay as they are."""
    try:
        float(cell)
    except ValueError:
        return _DANGEROUS.sub("'", cell)
    return cell


def original(cell: str) -> str:
    """Give back what `harmless` was given."""
    return _MARKED.sub("", cell)

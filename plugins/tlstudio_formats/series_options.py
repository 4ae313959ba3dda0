"""Options of the format for tables in the order of time."""

from __future__ import annotations

from tlstudio import api
from tlstudio.api import option


class SeriesOptions(api.Options):
    """How series are read and cut."""

    time_column: str = option(
        "", title="Time column", help="Date, time or number that orders the rows. Empty: as they come."
    )
    target_column: str = option(
        "", title="Forecast", help="The column of numbers that is to be forecast. Empty: the first of the values."
    )
    value_columns: str = option(
        "", title="Values", help="The columns of numbers that are known, with commas between. Empty: all."
    )
    label_column: str = option(
        "",
        title="Label column",
        help="To learn what a window is instead of what follows it: the label in its last row counts.",
    )
    series_column: str = option(
        "",
        title="Series column",
        help="Says which series a row belongs to (sensor, shop, patient). Empty: there is one.",
    )
    length: int = option(48, title="Window", help="How many values the model looks at.", unit="rows", ge=2, le=100_000)
    horizon: int = option(
        12,
        title="Horizon",
        help="How many values it forecasts. 0: none, and each series is one sample from its beginning to its end.",
        unit="rows",
        ge=0,
        le=10_000,
    )
    step: int = option(1, title="Step", help="A window begins every so many rows.", unit="rows", ge=1, le=100_000)
    validation_share: float = option(
        0.15, title="Validation", help="Share of the time that is for validation: what follows train.", gt=0, lt=1
    )
    test_share: float = option(0.15, title="Test", help="Share of the time that is for test: the end.", gt=0, lt=1)
    has_header: bool = option(
        True, title="First row has names", help="Whether the first row of a CSV file names the columns.", advanced=True
    )
    delimiter: str = option(
        "", title="Delimiter", help="The character between fields of a CSV file. Empty: it is detected.", advanced=True
    )
    encoding: str = option(
        "", title="Encoding", help="Such as utf-8, cp1252 or gb18030. Empty: it is detected.", advanced=True
    )

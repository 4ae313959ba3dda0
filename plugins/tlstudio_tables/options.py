"""Options of the backbones for tables and series."""

from __future__ import annotations

from typing import Literal

from tlstudio.api import Options, option

Scaling = Literal["quantile", "standard"]


def dropout_option() -> float:
    """Declare the dropout that all of them have."""
    value: float = option(
        0.1,
        title="Dropout",
        help="Share of the features inside that are left out at random while training; guards against learning by "
        "heart.",
        ge=0,
        lt=1,
    )
    return value


class TableOptions(Options):
    """How a network for rows is built."""

    width: int = option(96, title="Width", help="Numbers that stand for one column inside the network.", ge=8, le=2048)
    layers: int = option(3, title="Layers", help="How many layers follow each other.", ge=1, le=48)
    dropout: float = dropout_option()
    scaling: Scaling = option(
        "quantile",
        title="Scaling of numbers",
        help="'quantile' goes by the rank among the training rows, which outliers and odd units do not disturb; "
        "'standard' by mean and standard deviation, which keeps distances.",
    )
    max_categories: int = option(
        1000,
        title="Most values of a category",
        help="Of each column of words, the most frequent values are known; all others count as unknown.",
        ge=2,
        le=1_000_000,
        advanced=True,
    )


class TransformerOptions(TableOptions):
    """The same with attention between the columns."""

    heads: int = option(8, title="Attention heads", help="Must divide the width.", ge=1, le=64, advanced=True)


class SeriesOptions(Options):
    """How a network for series is built."""

    width: int = option(64, title="Width", help="Numbers that stand for one part of the series.", ge=8, le=2048)
    layers: int = option(3, title="Layers", help="How many layers follow each other.", ge=1, le=48)
    dropout: float = dropout_option()
    window_scaling: bool = option(
        True,
        title="Scale each window",
        help="Each window is scaled by its own mean and spread, so that a level never seen before does no harm "
        "(RevIN). Off where the level itself tells something: then the training data's mean and spread count.",
    )


class PatchOptions(SeriesOptions):
    """The same with attention between patches."""

    patch: int = option(8, title="Patch", help="Values in a row that become one token.", unit="values", ge=1, le=4096)
    stride: int = option(4, title="Stride", help="A patch begins every so many values.", unit="values", ge=1, le=4096)
    heads: int = option(8, title="Attention heads", help="Must divide the width.", ge=1, le=64, advanced=True)

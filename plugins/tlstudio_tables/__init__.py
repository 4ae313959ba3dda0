"""Backbones for rows of tables and for time series."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import Backbone, BackboneFamily, hookimpl

TLSTUDIO_API = "1.0"


@hookimpl
def register_backbones() -> Sequence[Backbone | BackboneFamily]:
    """Return the backbones. Does not import torch."""
    from tlstudio_tables.backbones import FTTransformer, TableMLP
    from tlstudio_tables.series_backbones import PatchTransformer, SeriesResNet

    return [FTTransformer(), TableMLP(), PatchTransformer(), SeriesResNet()]

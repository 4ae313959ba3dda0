"""Backbones for time series. Light: torch is imported when a network is built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tlstudio.api import Options as BaseOptions
from tlstudio.api import Preprocessor, Sample, options_as
from tlstudio_tables.backbones import FittedBackbone
from tlstudio_tables.facts import series_in
from tlstudio_tables.options import PatchOptions, SeriesOptions
from tlstudio_tables.series_facts import SeriesFacts, SeriesPreprocessor, fit_series

if TYPE_CHECKING:
    from tlstudio.api.nn import BackboneModule


class SeriesBackbone(FittedBackbone[SeriesFacts]):
    """A network for one or several series that are known at the same times."""

    _provides = frozenset({"pooled", "tokens"})
    _input = "a window of one or several series"
    Options: ClassVar[type[BaseOptions]] = SeriesOptions

    def why_not(self, sample: Sample) -> str | None:
        """Refuse rows without series."""
        return None if series_in(sample) else f"{self.title} takes series, and the data set has single values."

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write channels and length."""
        self._known(None).write(folder)

    def _facts_of(self, options: BaseOptions, samples: Iterable[Sample]) -> SeriesFacts:
        return fit_series(samples)

    def _read(self, assets: Path) -> SeriesFacts:
        return SeriesFacts.read(assets)

    def _preprocessor(self, options: BaseOptions, facts: SeriesFacts) -> Preprocessor:
        return SeriesPreprocessor(facts, window_scaling=options_as(SeriesOptions, options).window_scaling)


class PatchTransformer(SeriesBackbone):
    """PatchTST (Nie et al. 2023, arXiv:2211.14730)."""

    name = "patch_transformer"
    title = "Patch transformer"
    description = (
        "A transformer whose tokens are pieces of a time series, after PatchTST. For forecasting, and for telling "
        "what a window is."
    )
    Options: ClassVar[type[BaseOptions]] = PatchOptions
    _source = "arXiv:2211.14730"

    def _network(self, options: BaseOptions, facts: SeriesFacts) -> BackboneModule:
        from tlstudio_tables.blocks import check_heads
        from tlstudio_tables.series_networks import PatchNetwork

        chosen = options_as(PatchOptions, options)
        check_heads(chosen.width, chosen.heads)
        return PatchNetwork(facts, chosen)


class SeriesResNet(SeriesBackbone):
    """ResNet for time series (Wang et al. 2017, arXiv:1611.06455)."""

    name = "series_resnet"
    title = "ResNet for series"
    description = (
        "Convolutions over time: finds shapes wherever they are in a window. A strong first choice for classes."
    )
    _source = "arXiv:1611.06455"

    def _network(self, options: BaseOptions, facts: SeriesFacts) -> BackboneModule:
        from tlstudio_tables.series_networks import ConvolutionNetwork

        return ConvolutionNetwork(facts, options_as(SeriesOptions, options))

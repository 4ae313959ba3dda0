"""Backbones for rows of tables. Light: torch is imported when a network is built."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

from tlstudio.api import (
    Augmentation,
    Backbone,
    BackboneInfo,
    DataError,
    FeatureKind,
    Modality,
    Preprocessor,
    Sample,
    WeightsInfo,
    options_as,
)
from tlstudio.api import Options as BaseOptions
from tlstudio_tables.facts import TableFacts, fit_table, series_in
from tlstudio_tables.hiding import HidingPreprocessor
from tlstudio_tables.options import TableOptions, TransformerOptions
from tlstudio_tables.preprocessor import TablePreprocessor

if TYPE_CHECKING:
    from tlstudio.api.nn import BackboneModule

Facts = TypeVar("Facts")


class FittedBackbone(Backbone, Generic[Facts]):
    """A backbone that is shaped by the columns of its data. There are no weights for all data: one's own come first."""

    modality: Modality = "table"
    free_options = ("dropout",)
    facts: Facts | None = None
    _provides: frozenset[FeatureKind] = frozenset({"pooled"})
    _input: str
    _source: str

    def info(self) -> BackboneInfo:
        """Give what is known before its data are; width and size depend on options and columns and are given as 0."""
        return BackboneInfo(
            modality="table",
            provides=self._provides,
            num_features=0,
            num_parameters=0,
            license="that of your own data: it begins with random weights",
            input=self._input,
            source=self._source,
        )

    def find_weights(self, options: BaseOptions) -> WeightsInfo:
        """Say that weights are random: an earlier run is where others come from."""
        return WeightsInfo(path=None, origin="random weights")

    def fit(self, options: BaseOptions, samples: Iterable[Sample]) -> Self:
        """Learn the columns of the training rows; see `Backbone.fit`."""
        fitted = copy.copy(self)
        fitted.facts = self._facts_of(options, samples)
        return fitted

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the network with random weights for the columns that `fit` has learned."""
        return self._network(options, self._known(None))

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the network for the columns in the assets."""
        return self._network(options, self._known(assets))

    def preprocessor(
        self,
        options: BaseOptions,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor. Rows are not varied, whatever the augmentation."""
        return self._preprocessor(options, self._known(assets))

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name none: what could be changed of a row without changing what it says is not known."""
        return ["none"]

    def _known(self, assets: Path | None) -> Facts:
        if assets is not None:
            return self._read(assets)
        if self.facts is None:
            raise DataError(
                f"{self.name} does not know the columns of its data yet.", "Call fit with the training rows."
            )
        return self.facts

    @abstractmethod
    def _facts_of(self, options: BaseOptions, samples: Iterable[Sample]) -> Facts:
        """Look through the training rows."""

    @abstractmethod
    def _read(self, assets: Path) -> Facts:
        """Read what was learned of them."""

    @abstractmethod
    def _network(self, options: BaseOptions, facts: Facts) -> BackboneModule:
        """Build the network."""

    @abstractmethod
    def _preprocessor(self, options: BaseOptions, facts: Facts) -> Preprocessor:
        """Make the preprocessor."""


class TableBackbone(FittedBackbone[TableFacts]):
    """A network for rows of numbers, categories and dates."""

    _provides = frozenset({"pooled", "values"})
    _input = "numbers, categories and dates of a row"
    Options: ClassVar[type[BaseOptions]] = TableOptions

    def why_not(self, sample: Sample) -> str | None:
        """Refuse series."""
        if series := series_in(sample):
            return f'{self.title} takes one value a column, and "{series[0]}" holds a series.'
        return None

    def preprocessor(
        self,
        options: BaseOptions,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor. Rows are not varied; of those that are to be restored, columns are hidden."""
        if wanted == "values":
            return HidingPreprocessor(self._known(assets))
        return super().preprocessor(options, augmentation=augmentation, assets=assets, wanted=wanted)

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write the columns."""
        self._known(None).write(folder)

    def _facts_of(self, options: BaseOptions, samples: Iterable[Sample]) -> TableFacts:
        return fit_table(samples, max_categories=options_as(TableOptions, options).max_categories)

    def _read(self, assets: Path) -> TableFacts:
        return TableFacts.read(assets)

    def _preprocessor(self, options: BaseOptions, facts: TableFacts) -> Preprocessor:
        return TablePreprocessor(facts)


class FTTransformer(TableBackbone):
    """FT-Transformer (Gorishniy et al. 2021, arXiv:2106.11959)."""

    name = "ft_transformer"
    title = "FT-Transformer"
    description = (
        "A transformer whose tokens are the columns of a row: numbers, categories and dates. What one table has "
        "taught it about a column goes on with the column of the same name in the next."
    )
    Options: ClassVar[type[BaseOptions]] = TransformerOptions
    _provides = frozenset({"pooled", "tokens", "values"})
    _source = "arXiv:2106.11959"

    def _network(self, options: BaseOptions, facts: TableFacts) -> BackboneModule:
        from tlstudio_tables.blocks import check_heads
        from tlstudio_tables.networks import TransformerNetwork

        chosen = options_as(TransformerOptions, options)
        check_heads(chosen.width, chosen.heads)
        return TransformerNetwork(facts, chosen)


class TableMLP(TableBackbone):
    """An MLP with residual layers (Gorishniy et al. 2021, arXiv:2106.11959)."""

    name = "table_mlp"
    title = "MLP for tables"
    description = (
        "A small network of residual layers on the columns of a row. Much faster than a transformer, and as good "
        "on many tables."
    )
    _source = "arXiv:2106.11959"

    def _network(self, options: BaseOptions, facts: TableFacts) -> BackboneModule:
        from tlstudio_tables.networks import ResidualNetwork

        return ResidualNetwork(facts, options_as(TableOptions, options))

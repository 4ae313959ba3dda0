"""A backbone that goes on where an earlier run has left it, for a new task. Imports torch."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tlstudio.api import (
    Augmentation,
    Backbone,
    BackboneInfo,
    FeatureKind,
    Options,
    Preprocessor,
    Problem,
    ProblemsError,
    RunError,
    Sample,
    TLStudioError,
    WeightsError,
    WeightsInfo,
)
from tlstudio.engine.export import check_assets
from tlstudio.engine.parts import Parts, find_parts
from tlstudio.engine.recipe import Recipe, mistakes
from tlstudio.engine.source import FIELD, Ancestor, Source, find_source

if TYPE_CHECKING:
    from tlstudio.api.nn import BackboneModule
    from tlstudio.plugins import Registry


class ContinuedBackbone(Backbone):
    """A backbone with the weights of an earlier run instead of its pretrained ones.

    Args:
        backbone: The backbone as it is registered.
        start_from: What it goes on from, as in a recipe.
        runs_folder: The runs of the project.
        registry: The components.
        fitted: The backbone after it has looked at the data, where it does so; its shape and assets are then its own.

    Attributes:
        notes: What could not be taken over when it was loaded last, as sentences.
    """

    def __init__(
        self,
        backbone: Backbone,
        start_from: str,
        runs_folder: Path,
        registry: Registry,
        fitted: Backbone | None = None,
    ) -> None:
        self.name, self.title, self.description = backbone.name, backbone.title, backbone.description
        self.modality = backbone.modality
        self.free_options = backbone.free_options
        self.notes: list[str] = []
        self._backbone = backbone
        self._fitted = fitted
        self._start_from = start_from
        self._runs_folder = runs_folder
        self._registry = registry

    def info(self) -> BackboneInfo:
        """Give the facts of the backbone."""
        return self._backbone.info()

    def why_not(self, sample: Sample) -> str | None:
        """Say why the backbone cannot take samples like this one."""
        return self._backbone.why_not(sample)

    def fit(self, options: Options, samples: Iterable[Sample]) -> Backbone:
        """Let the backbone look at the data."""
        fitted = self._backbone.fit(options, samples)
        if fitted is self._backbone:
            return self
        return ContinuedBackbone(self._backbone, self._start_from, self._runs_folder, self._registry, fitted)

    def find_weights(self, options: Options) -> WeightsInfo:
        """Say where the checkpoint is that it goes on from.

        Raises:
            ProblemsError: Nothing can start from it, or its backbone or options are others.
        """
        source = self._source()
        if problems := self._problems(source, options):
            raise ProblemsError(mistakes(len(problems)), problems)
        return source.find_weights()

    def load(self, options: Options) -> BackboneModule:
        """Build the backbone with what the source has learned.

        Raises:
            RunError: The source is damaged.
            WeightsError: Its weights do not fit.
        """
        source = self._source()
        try:
            state = source.state(self._registry)
        except RunError as error:
            remedy = error.remedy or "Start from another one, or make this one anew."
            raise RunError(error.what, remedy, path=error.path, field=FIELD) from error
        fitted = self._fitted
        module = fitted.load(options) if fitted else self._backbone.restore(options, source.assets)
        try:
            self.notes = module.take_over(state, source.assets)
        except WeightsError as error:
            raise WeightsError(error.what, error.remedy, path=source.folder, field=FIELD) from error
        return module

    def preprocessor(
        self,
        options: Options,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor, from the assets of the source where nothing else says how."""
        if assets is None and self._fitted is None:
            assets = self._source().assets
        backbone = self._fitted or self._backbone
        return backbone.preprocessor(options, augmentation=augmentation, assets=assets, wanted=wanted)

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name those of the backbone."""
        return self._backbone.augmentations(wanted)

    def save_assets(self, options: Options, folder: Path) -> None:
        """Copy those of the source, so that it is not needed again, or write those of the data."""
        if self._fitted is not None:
            self._fitted.save_assets(options, folder)
            return
        assets = self._source().assets
        check_assets(assets)
        shutil.copytree(assets, folder, dirs_exist_ok=True)

    def restore(self, options: Options, assets: Path) -> BackboneModule:
        """Build the same network without weights."""
        return self._backbone.restore(options, assets)

    def lineage(self) -> tuple[Ancestor, ...]:
        """Name the runs that have led to it, the oldest first."""
        return self._source().lineage()

    def _source(self) -> Source:
        return find_source(self._start_from, self._runs_folder)

    def _problems(self, source: Source, options: Options) -> list[Problem]:
        if gone := source.why_not(self._registry):
            return [Problem(FIELD, f"{_sentence(source.title)} cannot be used: {' '.join(gone)}")]
        if kept := source.stays_in(self._registry):
            what = (
                f"{_sentence(source.title)} has a backbone with {kept} in it, which cannot be taken out or folded in."
            )
            return [Problem(FIELD, what, "Start from a run with another strategy.")]
        try:
            same = self._registry.backbone(source.backbone.name).name == self.name
        except TLStudioError:
            same = False
        if not same:
            what = f"{_sentence(source.title)} has the backbone {source.backbone.name}, not {self.name}."
            return [Problem("backbone.name", what, "Leave the backbone out: it is that of the run.")]
        try:
            before = self._backbone.Options.model_validate(source.backbone.options).model_dump()
        except ValidationError:
            what = f"The options of {source.title} do not fit the backbone as it is installed now."
            return [Problem(FIELD, what, "Install the plugins that it was made with.")]
        return [
            Problem(
                f"backbone.{name}",
                f"{_sentence(source.title)} has {before[name]!r} here, and its weights go with that.",
                "Leave the option out: it is that of the run.",
            )
            for name, value in options.model_dump().items()
            if name not in self.free_options and before[name] != value
        ]


def starting_parts(recipe: Recipe, registry: Registry, runs_folder: Path) -> Parts:
    """Look up the components of a run that is about to begin; its backbone brings its first weights along.

    Args:
        recipe: The recipe.
        registry: The components.
        runs_folder: The runs of the project.

    Raises:
        ProblemsError: With every unknown name and every wrong option.
    """
    return started(find_parts(recipe, registry), recipe, registry, runs_folder)


def started(parts: Parts, recipe: Recipe, registry: Registry, runs_folder: Path) -> Parts:
    """Let the backbone go on from what the recipe names, if it names anything."""
    if not recipe.backbone.start_from:
        return parts
    return replace(parts, backbone=ContinuedBackbone(parts.backbone, recipe.backbone.start_from, runs_folder, registry))


def _sentence(title: str) -> str:
    return title[:1].upper() + title[1:]

"""Two backbones side by side, one for the image of a sample and one for its text. Light to import."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model, model_validator

from tlstudio import api
from tlstudio.api import (
    Augmentation,
    Backbone,
    BackboneInfo,
    FeatureKind,
    Options,
    Preprocessor,
    Sample,
    TLStudioError,
    WeightsInfo,
)
from tlstudio.plugins.sources import packed, unpacked

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import BackboneModule

PLUS = "+"
"""Stands between the names of two joined backbones."""


def join(image: Backbone, text: Backbone) -> JoinedBackbone:
    """Make one backbone of two, with the options of both."""
    options = _joined_options(image.Options, text.Options)
    # Options belong to a class, and there is one for each two models of options.
    joined: JoinedBackbone = type("JoinedBackbone", (JoinedBackbone,), {"Options": options})(image, text)
    return joined


class JoinedBackbone(Backbone):
    """A backbone for images and one for texts; `join` makes it.

    The pooled features of both lie side by side, so that any head on pooled features learns from both (late fusion);
    heads that weigh them against each other find their widths in `FeatureShape.parts`. Its options are those of the
    two with the prefixes ``image_`` and ``text_``.

    Args:
        image: Takes the image of a sample.
        text: Takes its text.
    """

    modality = "image+text"

    def __init__(self, image: Backbone, text: Backbone) -> None:
        self.name = f"{image.name}{PLUS}{text.name}"
        self.title = f"{image.title} {PLUS} {text.title}"
        self.description = f"{image.title} looks at the image and {text.title} reads the text of each sample."
        self.free_options = [f"image_{name}" for name in image.free_options]
        self.free_options += [f"text_{name}" for name in text.free_options]
        self._image = image
        self._text = text

    def info(self) -> BackboneInfo:
        """Give the facts of both."""
        facts = []
        for side, part in self._parts():
            with _of(side):
                facts.append(part.info())
                if "pooled" not in facts[-1].provides:
                    what = f"{part.title} gives no pooled features, so that it cannot be joined with another backbone."
                    raise TLStudioError(what, "Choose another backbone.", field="backbone.name")
        image, text = facts
        known = image.num_features and text.num_features
        same = image.license == text.license
        return BackboneInfo(
            modality="image+text",
            provides=frozenset({"pooled", "parts"}),
            num_features=image.num_features + text.num_features if known else 0,
            num_parameters=image.num_parameters + text.num_parameters if known else 0,
            license=image.license if same else f"image: {image.license}; text: {text.license}",
            input=f"image: {image.input}; text: {text.input}",
            source=f"image: {image.source}; text: {text.source}",
            parts=(image.num_features, text.num_features),
        )

    def why_not(self, sample: Sample) -> str | None:
        """Say why one of the two cannot take samples like this one."""
        return self._image.why_not(sample) or self._text.why_not(sample)

    def fit(self, options: api.Options, samples: Iterable[Sample]) -> Backbone:
        """Let both look at the samples."""
        fitted = []
        for (side, part), seen in zip(self._parts(), itertools.tee(samples), strict=True):
            with _of(side):
                fitted.append(part.fit(_own(options, side, part.Options), seen))
        image, text = fitted
        return self if image is self._image and text is self._text else join(image, text)

    def find_weights(self, options: api.Options) -> WeightsInfo:
        """Say where the weights of both are."""
        found = tuple(self._of_each(options, lambda part, own, _: part.find_weights(own)))
        path = next((one.path for one in found if one.path is not None), None)
        origin = "; ".join(dict.fromkeys(one.origin for one in found))
        return WeightsInfo(path, origin, sum(one.size for one in found), parts=found)

    def load(self, options: api.Options) -> BackboneModule:
        """Build both networks with their weights."""
        from tlstudio.plugins.joined_network import JoinedNetwork

        return JoinedNetwork(*self._of_each(options, lambda part, own, _: part.load(own)))

    def restore(self, options: api.Options, assets: Path) -> BackboneModule:
        """Build both networks from their assets."""
        from tlstudio.plugins.joined_network import JoinedNetwork

        return JoinedNetwork(*self._of_each(options, lambda part, own, side: part.restore(own, assets / side)))

    def preprocessor(
        self,
        options: api.Options,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessors of both."""

        def made(part: Backbone, own: api.Options, side: str) -> Preprocessor:
            folder = None if assets is None else assets / side
            # The few words beside an image can ill spare one.
            varied: Augmentation = augmentation if part is self._image else "none"
            return part.preprocessor(own, augmentation=varied, assets=folder)

        return JoinedPreprocessor(*self._of_each(options, made))

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name those of the image; the text stays as it is."""
        return self._image.augmentations("pooled")

    def save_assets(self, options: api.Options, folder: Path) -> None:
        """Write the assets of both, each into a folder of its own."""

        def write(part: Backbone, own: api.Options, side: str) -> None:
            (folder / side).mkdir()
            part.save_assets(own, folder / side)

        for _ in self._of_each(options, write):
            pass

    def _parts(self) -> tuple[tuple[str, Backbone], tuple[str, Backbone]]:
        return ("image", self._image), ("text", self._text)

    def _of_each(self, options: api.Options, ask: Callable[[Backbone, api.Options, str], Any]) -> Iterator[Any]:
        for side, part in self._parts():
            with _of(side):
                yield ask(part, _own(options, side, part.Options), side)


class JoinedPreprocessor(Preprocessor):
    """Prepares the image and the text of each sample; the names of their inputs begin with ``image_`` and ``text_``.

    Args:
        image: Prepares the image.
        text: Prepares the text.
    """

    def __init__(self, image: Preprocessor, text: Preprocessor) -> None:
        self._sides = {"image": image, "text": text}

    def __getstate__(self) -> dict[str, Any]:
        """Take along where what is of the user's own plugins is."""
        return {side: packed(part) for side, part in self._sides.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Import the plugins first."""
        self._sides = {side: unpacked(part) for side, part in state.items()}

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return what each of the two makes of the sample, by ``"image"`` and ``"text"``."""
        return {side: part(sample, seed) for side, part in self._sides.items()}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Join what each of the two has prepared."""
        return {
            f"{side}_{name}": tensor
            for side, part in self._sides.items()
            for name, tensor in part.collate([item[side] for item in items]).items()
        }

    def length(self, sample: Sample) -> int:
        """Measure the text: images are all of one size."""
        return self._sides["text"].length(sample)

    def is_cut(self, sample: Sample) -> bool:
        """Whether the end of the text is left out: images are never cut for being long."""
        return self._sides["text"].is_cut(sample)

    @property
    def limit(self) -> str:
        """How much of the text is taken."""
        return self._sides["text"].limit

    def describe(self) -> dict[str, Any]:
        """Describe both."""
        return {side: part.describe() for side, part in self._sides.items()}


@functools.cache
def _joined_options(image: type[Options], text: type[Options]) -> type[Options]:
    """Make a flat model of two, with prefixed names."""
    models = {"image": image, "text": text}
    fields: dict[str, Any] = {}
    for side, model in models.items():
        for name, info in model.model_fields.items():
            given: dict[str, Any] = {"default": info.default}
            if info.default_factory is not None:
                given = {"default_factory": info.default_factory}
            field = Field(
                **given,
                title=f"{side.capitalize()}: {info.title or name}",
                description=info.description,
                json_schema_extra=info.json_schema_extra,
            )
            annotation: Any = info.annotation
            for rule in info.metadata:
                annotation = Annotated[annotation, rule]
            fields[f"{side}_{name}"] = (annotation, field)

    def check(options: Options) -> Options:
        for side, model in models.items():
            _own(options, side, model)  # for what a model checks besides its fields
        return options

    checks: dict[str, Any] = {"check": model_validator(mode="after")(check)}
    made: type[Options] = create_model("JoinedOptions", __base__=Options, __validators__=checks, **fields)
    return made


def _own(options: Options, side: str, model: type[Options]) -> Options:
    """Return the options of one of the two."""
    return model.model_validate({name: getattr(options, f"{side}_{name}") for name in model.model_fields})


@contextlib.contextmanager
def _of(side: str) -> Iterator[None]:
    """Let an error about an option name it as the joined backbone does."""
    try:
        yield
    except TLStudioError as error:
        section, dot, name = error.field.partition(".")
        if section == "backbone" and dot and name != "name":
            error.field = f"{section}.{side}_{name}"
        raise

"""What all image backbones have in common, whichever library builds the network."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from tlstudio.api import (
    Augmentation,
    Backbone,
    BackboneInfo,
    FeatureKind,
    Features,
    TLStudioError,
    WeightsError,
    WeightsInfo,
)
from tlstudio.api import Options as BaseOptions
from tlstudio.api.archives import given_path
from tlstudio.api.weights import weight_file
from tlstudio_vision.images import InputSettings
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.preprocessor import ImagePreprocessor, WholeImagePreprocessor
from tlstudio_vision.sizes import WRONG_SIZE, try_size

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import BackboneModule

Source = Literal["pretrained", "random", "file"]


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Pretrained weights that are on this machine.

    Attributes:
        info: Where they are.
        settings: How their images are prepared.
    """

    info: WeightsInfo
    settings: InputSettings


@dataclass(frozen=True, slots=True)
class Facts:
    """What a library says of a model beside its shape.

    Attributes:
        license: Licence of the pretrained weights.
        source: Paper or page.
    """

    license: str
    source: str


class VisionBackbone(Backbone):
    """An image backbone by name.

    Args:
        name: Name under which it is registered.
        title: What the user reads.
        description: What it is and when to choose it.

    Attributes:
        library: Which library's networks are looked at first to say what weights that do not fit are of.
    """

    modality = "image"
    free_options = ("drop_path",)
    library: str = ""
    Options: ClassVar[type[BaseOptions]] = VisionOptions

    def __init__(self, name: str, title: str, description: str) -> None:
        self.name = name
        self.title = title
        self.description = description
        self._info: BackboneInfo | None = None

    # What a library has to answer.

    @abstractmethod
    def _network(self, options: VisionOptions) -> BackboneModule:
        """Build the network with random weights on torch's current device."""

    @abstractmethod
    def _fill(self, network: BackboneModule, state: dict[str, Tensor], path: Path, options: VisionOptions) -> None:
        """Load a state dict into the network, whatever head it had."""

    @abstractmethod
    def _pretrained(self) -> Pretrained:
        """Find the pretrained weights; raises WeightsError if they are not on this machine."""

    @abstractmethod
    def _read_pretrained(self, path: Path) -> dict[str, Tensor]:
        """Read what `_pretrained` has found."""

    @abstractmethod
    def _settings(self) -> InputSettings:
        """Say how images are prepared where no pretrained weights are used."""

    @abstractmethod
    def _facts(self) -> Facts:
        """Give licence and source."""

    # The contract.

    def info(self) -> BackboneInfo:
        """Give its facts, measured on a network without storage; kept after the first call."""
        if self._info is None:
            self._info = self._measure()
        return self._info

    def find_weights(self, options: BaseOptions) -> WeightsInfo:
        """Say where the weights are that `load` would read.

        Raises:
            WeightsError: They are not on this machine.
        """
        chosen = _vision(options)
        match source_of(chosen):
            case "random":
                return WeightsInfo(path=None, origin="random weights")
            case "pretrained":
                return self._pretrained().info
        path = weight_file(given_path(chosen.weights))
        return WeightsInfo(path=path, origin="your file", size=path.stat().st_size)

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the network with its pretrained weights.

        Raises:
            WeightsError: Missing, unsafe or damaged weights, or keys or shapes that do not fit.
        """
        from tlstudio.api.weights import read_state_dict

        chosen = _vision(options)
        found = self.find_weights(chosen)
        if found.path is None:
            network = self._built(chosen)
            self._check_size(network, chosen)
            return network
        pretrained = source_of(chosen) == "pretrained"
        state = self._read_pretrained(found.path) if pretrained else read_state_dict(found.path)
        network = self._built(chosen)
        try:
            self._fill(network, state, found.path, chosen)
        except WeightsError as error:
            from tlstudio_vision.nearest import nearest

            sentence = nearest(state, self.library, but=self.name) or error.remedy
            raise WeightsError(error.what, sentence, path=found.path, field=error.field) from error
        self._check_size(network, chosen)
        return network

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the same network without pretrained weights."""
        return self._built(_vision(options))

    def _built(self, options: VisionOptions) -> BackboneModule:
        network, info = self._network(options), self.info()
        network.map_channels, network.map_strides = info.map_channels, info.map_strides
        return network

    def preprocessor(
        self,
        options: BaseOptions,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> ImagePreprocessor:
        """Make the preprocessor, from the assets if they are given."""
        settings = InputSettings.read(assets) if assets is not None else None
        settings = settings or self._chosen_settings(_vision(options))
        if wanted != "maps":
            return ImagePreprocessor(settings, augmentation)
        # Where a map's last cells jut out of the input, no cell lies quite where it should.
        return WholeImagePreprocessor(settings.in_steps_of(max(self.info().map_strides, default=1)), augmentation)

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name all: where places in an image matter, what changes no more than colours is left of the policies."""
        return get_args(Augmentation)

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write how images are prepared, so that it no longer depends on which weights this machine has."""
        self._chosen_settings(_vision(options)).write(folder)

    def _chosen_settings(self, options: VisionOptions) -> InputSettings:
        settings = self._settings()
        if source_of(options) == "pretrained":
            # Where they are missing `load` says so; how images are prepared can be told without them.
            with contextlib.suppress(WeightsError):
                settings = self._pretrained().settings
        return settings if options.image_size is None else settings.at_size(options.image_size)

    def _check_size(self, network: BackboneModule, options: VisionOptions) -> None:
        """Try an image of the chosen size, so that one that does not fit is told before the run."""
        if options.image_size is None:
            return
        try:
            try_size(network, options.image_size, options.image_size)
        except WRONG_SIZE as error:
            raise self._wrong_size(options, error) from error

    def _not_for_classification(self) -> TLStudioError:
        return TLStudioError(
            f"{self.name} was not made for classification: it gives no pooled features.",
            "Choose another backbone.",
            field="backbone.name",
        )

    def _wrong_size(self, options: VisionOptions, error: Exception) -> TLStudioError:
        own = self._settings()
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return TLStudioError(
            f"{self.name} cannot work on images of {options.image_size} x {options.image_size} px: {reason}",
            f"Leave the image size empty ({own.width} px) or choose a multiple of it.",
            field="backbone.image_size",
        )

    def _measure(self) -> BackboneInfo:
        from tlstudio.api.nn import count_parameters

        settings = self._settings()
        network, features = self._tried(settings)
        if features.pooled is None or features.pooled.ndim != 2:
            raise self._not_for_classification()
        facts = self._facts()
        provides: set[FeatureKind] = {"pooled"}
        if features.tokens is not None:
            provides.add("tokens")
        if features.maps:
            from tlstudio_vision.maps import strides

            provides.add("maps")
        return BackboneInfo(
            modality="image",
            provides=frozenset(provides),
            num_features=int(features.pooled.shape[-1]),
            num_parameters=count_parameters(network)[1],
            license=facts.license,
            input=f"{settings.width} x {settings.height} px, RGB",
            source=facts.source,
            map_channels=tuple(int(each.shape[1]) for each in features.maps),
            map_strides=strides(features.maps, settings.height) if features.maps else (),
        )

    def _tried(self, settings: InputSettings) -> tuple[BackboneModule, Features]:
        """Run an image of nothing through the network, once for each kind of features."""
        import torch

        options = VisionOptions(weights="random")

        def tried() -> tuple[BackboneModule, Features]:
            network = self._network(options).eval()
            inputs = {"pixels": torch.zeros(1, 3, settings.height, settings.width)}
            features: Features = network(inputs)
            network.wanted = "maps"
            # A few networks of timm have a way to maps that does not work.
            with contextlib.suppress(RuntimeError, TypeError, ValueError, AttributeError, AssertionError, IndexError):
                features.maps = network(inputs).maps
            return network, features

        with torch.no_grad():
            try:
                # Nothing is drawn on "meta": the random state of a run that trains beside this stays as it is.
                with torch.device("meta"):
                    return tried()
            except (NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError) as error:
                if isinstance(error, NotImplementedError) and "meta" not in str(error):
                    raise self._not_for_classification() from error
            # Some networks compute their shape from tensors while they are built, which "meta" cannot.
            try:
                with torch.random.fork_rng(devices=[]):
                    return tried()
            except (NotImplementedError, AttributeError) as error:
                raise self._not_for_classification() from error


def source_of(options: VisionOptions) -> Source:
    """Where the option asks for weights from."""
    if options.weights == "pretrained":
        return "pretrained"
    return "random" if options.weights == "random" else "file"


def _vision(options: BaseOptions) -> VisionOptions:
    if not isinstance(options, VisionOptions):
        raise TypeError(f"image backbones take VisionOptions, not {type(options).__name__}")
    return options

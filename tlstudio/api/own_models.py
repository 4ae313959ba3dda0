"""An architecture of one's own as a backbone, in a few lines of a plugin. Light to import."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlstudio.api.archives import given_path
from tlstudio.api.backbones import Augmentation, Backbone, Preprocessor
from tlstudio.api.data import MODALITIES, Modality, Sample
from tlstudio.api.errors import DataError, PluginError
from tlstudio.api.facts import BackboneInfo, WeightsInfo
from tlstudio.api.features import FeatureKind, Features
from tlstudio.api.inputs import GEOMETRY, IMAGE_SIZE
from tlstudio.api.options import Options as BaseOptions
from tlstudio.api.options import option
from tlstudio.api.weights import fit_state_dict, read_state_dict, sha256_of, weight_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tlstudio.api.nn import BackboneModule
    from tlstudio.api.own_networks import OwnNetwork

__all__ = ["ModuleBackbone", "module_backbone"]

_WEIGHTS = "backbone.weights"


class ModuleOptions(BaseOptions):
    """How an architecture of one's own is filled."""

    weights: str = option(
        "pretrained",
        title="Weights",
        help="'pretrained' takes the file that the plugin names, 'random' starts from scratch; otherwise the path of a "
        "weight file, of a folder with model.safetensors, or of a zip file or wheel that holds one.",
        browse="any",
    )


class ModuleBackbone(Backbone):
    """A backbone around any `torch.nn.Module`; see `module_backbone`."""

    Options: ClassVar[type[BaseOptions]] = ModuleOptions

    def __init__(
        self,
        name: str,
        build: Callable[[], nn.Module],
        *,
        modality: Modality,
        shape: tuple[int, ...],
        prepare: Callable[[Sample], Tensor] | None,
        mean: Sequence[float],
        std: Sequence[float],
        weights: str | Path,
        left_out: Sequence[str],
        title: str,
        description: str,
        license: str,  # noqa: A002  the word for it everywhere else
        source: str,
    ) -> None:
        if prepare is None and (modality != "image" or len(shape) != 3 or shape[0] != 3):
            raise PluginError(
                f"The backbone '{name}' takes {MODALITIES[modality].items} as {shape}: module_backbone needs prepare=, "
                "a function that turns a Sample into such a tensor.",
                "For images of shape (3, height, width) it may be left out.",
            )
        self.name, self.modality = name, modality
        self.title = title or name
        self.description = description or f"{name}, an architecture of one's own."
        self._build = build
        self._shape = shape
        self._prepare = prepare
        self._mean, self._std = tuple(mean), tuple(std)
        self._weights = str(weights)
        self._left_out = tuple(left_out)
        self._license, self._source = license, source
        self._info: BackboneInfo | None = None

    def info(self) -> BackboneInfo:
        """Give its facts, measured on an input of zeros; kept after the first call."""
        if self._info is None:
            import torch

            with torch.random.fork_rng(devices=[]):
                self._info = self._measured(self._module())
        return self._info

    def find_weights(self, options: BaseOptions) -> WeightsInfo:
        """Say where the weights are."""
        chosen = str(options.model_dump()["weights"])
        given = self._weights if chosen in ("pretrained", "") else chosen
        if given in ("random", ""):
            return WeightsInfo(None, "random weights")
        path = weight_file(given_path(given))
        return WeightsInfo(path, "your file", path.stat().st_size)

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the network and fill it."""
        path = self.find_weights(options).path
        module = self._module()
        if path is not None:
            state = read_state_dict(path)
            fit_state_dict(module.module, state, path=path, optional=lambda key: key.startswith(self._left_out))
        return self._with_shape(module)

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the same network."""
        return self._with_shape(self._module())

    def preprocessor(
        self,
        options: BaseOptions,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor."""
        # Features that an earlier run has kept are none of a plugin that was changed since.
        code = _code_of(self._build)
        if self._prepare is not None:
            return OwnPreprocessor(self._prepare, self._shape, code)
        mirrored, placed = augmentation != "none", wanted == "maps"
        return SquareImage(self._shape, self._mean, self._std, code, mirrored=mirrored, placed=placed)

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name those of images; what is prepared by the plugin's own function is not varied."""
        if self._prepare is not None:
            return ["none"]
        return super().augmentations(wanted)

    def _module(self) -> OwnNetwork:
        from tlstudio.api.own_networks import OwnNetwork

        return OwnNetwork(self._build(), self.name)

    def _with_shape(self, module: OwnNetwork) -> OwnNetwork:
        shape = self.info().shape
        module.num_features = shape.num_features
        module.map_channels, module.map_strides = shape.map_channels, shape.map_strides
        return module

    def _measured(self, module: OwnNetwork) -> BackboneInfo:
        import torch

        from tlstudio.api.nn import count_parameters

        with torch.no_grad():
            features: Features = module.eval()({"inputs": torch.zeros(2, *self._shape)})
        provides: set[FeatureKind] = {"pooled"}
        if features.tokens is not None:
            provides.add("tokens")
        if features.maps and self.modality == "image":
            provides.add("maps")
        maps = features.maps if "maps" in provides else ()
        sides = " x ".join(str(side) for side in self._shape)
        return BackboneInfo(
            modality=self.modality,
            provides=frozenset(provides),
            num_features=int(features.require("pooled").shape[1]),
            num_parameters=count_parameters(module)[1],
            license=self._license,
            input=f"{self._shape[2]} x {self._shape[1]} px, RGB" if self._prepare is None else sides,
            source=self._source,
            map_channels=tuple(int(each.shape[1]) for each in maps),
            map_strides=tuple(round(self._shape[-1] / each.shape[-1]) for each in maps),
        )


class OwnPreprocessor(Preprocessor):
    """What a function of the plugin makes of each sample.

    Args:
        prepare: The function.
        shape: Shape of what it gives.
        code: Hash of the plugin.
    """

    def __init__(self, prepare: Callable[[Sample], Tensor], shape: tuple[int, ...], code: str) -> None:
        self._prepare = prepare
        self._shape = shape
        self._code = code

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``inputs``."""
        import torch

        value = torch.as_tensor(self._prepare(sample), dtype=torch.float32)
        if tuple(value.shape) != self._shape:
            what = f"The plugin made {tuple(value.shape)} of {sample.source or sample.id} instead of {self._shape}."
            raise DataError(what, "Mend its function prepare.")
        return {"inputs": value}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack them."""
        return _stacked(items)

    def describe(self) -> dict[str, Any]:
        """Name the function."""
        name = getattr(self._prepare, "__qualname__", type(self._prepare).__name__)
        prepare = f"{self._prepare.__module__}.{name}"
        return {"prepare": prepare, "shape": list(self._shape), "plugin_sha256": self._code}


class SquareImage(Preprocessor):
    """Scales a whole image to the size of the network and standardises its colours.

    Args:
        shape: ``(3, height, width)``.
        mean: Mean of each colour in 0..1.
        std: Spread of each colour.
        code: Hash of the plugin.
        mirrored: Whether training images are mirrored half of the time.
        placed: Whether to tell where the image lies (see `GEOMETRY`).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        code: str,
        *,
        mirrored: bool,
        placed: bool,
    ) -> None:
        self._shape, self._mean, self._std, self._code = shape, mean, std, code
        self._mirrored, self._placed = mirrored, placed

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return ``inputs`` ``[3, height, width]``, and where they lie if that is wanted."""
        import numpy as np
        import torch

        from tlstudio.api.images import open_image

        if sample.image is None:
            raise DataError(f"{sample.source or sample.id} has no image.", "Choose a data set of images.")
        _, height, width = self._shape
        image = open_image(sample.image)
        across, down = width / image.width, height / image.height
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self._mean, self._std))
        pixels = (np.asarray(image.resize((width, height)), dtype=np.float32) / np.float32(255) - mean) / std
        turned = self._mirrored and seed is not None and np.random.default_rng(seed).random() < 0.5
        if turned:
            pixels = pixels[:, ::-1]
        item: dict[str, Any] = {"inputs": torch.from_numpy(pixels.transpose(2, 0, 1).copy())}
        if self._placed:
            row = [-across, 0.0, float(width)] if turned else [across, 0.0, 0.0]
            item[GEOMETRY] = torch.tensor([row, [0.0, down, 0.0]], dtype=torch.float32)
            item[IMAGE_SIZE] = torch.tensor([image.height, image.width])
        return item

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack them."""
        return _stacked(items)

    def describe(self) -> dict[str, Any]:
        """Give size and colours."""
        colours = {"mean": list(self._mean), "std": list(self._std)}
        return {"shape": list(self._shape), **colours, "plugin_sha256": self._code}


def _code_of(build: Callable[[], object]) -> str:
    """Hash the file that a function is in; ``""`` where that cannot be told."""
    try:
        return sha256_of(Path(inspect.getfile(build)))
    except (OSError, TypeError):
        return ""


def _stacked(items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    import torch

    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def module_backbone(
    name: str,
    build: Callable[[], nn.Module],
    *,
    modality: Modality = "image",
    shape: tuple[int, ...] = (3, 224, 224),
    prepare: Callable[[Sample], Tensor] | None = None,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    weights: str | Path = "random",
    left_out: Sequence[str] = (),
    title: str = "",
    description: str = "",
    license: str = "your own",  # noqa: A002  the word for it everywhere else
    source: str = "your own",
) -> Backbone:
    """Turn any `torch.nn.Module` into a backbone.

    Called with one tensor ``[B, *shape]``, the module returns features ``[B, D]``; or tokens ``[B, T, D]``; or a map
    ``[B, C, H, W]``, or several from fine to coarse; their means are then the pooled features. Or it returns
    `Features`.

    Args:
        name: Unique name of the backbone.
        build: Makes the module with random weights; always the same one.
        modality: What it takes in.
        shape: Shape of the tensor that it takes for one sample.
        prepare: Turns a sample into that tensor; must be a function of the plugin's module, so that loader processes
            find it. `None`: the image, scaled to the shape, with the colours standardised.
        mean: Mean of the colours in 0..1 where there is no `prepare`.
        std: Spread of the colours.
        weights: File with its pretrained state dict; ``"random"``: there is none.
        left_out: Beginnings of the keys in that file that belong to the head of the original task.
        title: What the user reads; the name if empty.
        description: What it is and when to choose it.
        license: Licence of the weights.
        source: Paper or page.
    """
    return ModuleBackbone(
        name,
        build,
        modality=modality,
        shape=shape,
        prepare=prepare,
        mean=mean,
        std=std,
        weights=weights,
        left_out=left_out,
        title=title,
        description=description,
        license=license,
        source=source,
    )

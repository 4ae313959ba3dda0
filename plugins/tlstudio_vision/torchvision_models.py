"""Image backbones of torchvision, by torchvision's own names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import Backbone, BackboneFamily, TLStudioError, WeightsError, WeightsInfo
from tlstudio.api.weights import fit_state_dict, read_state_dict
from tlstudio_vision.base import Facts, Pretrained, VisionBackbone
from tlstudio_vision.cache import file_name, hash_prefix, in_torch_hub, torch_hub_folder
from tlstudio_vision.images import InputSettings
from tlstudio_vision.nearest import OLD_MOBILENET_KEY, recognised
from tlstudio_vision.options import VisionOptions

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.models._api import WeightsEnum

    from tlstudio.api.nn import BackboneModule

PREFIX = "torchvision/"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class TorchvisionBackbone(VisionBackbone):
    """A backbone of torchvision.

    Args:
        architecture: torchvision's name.
        title: What the user reads.
        description: What it is and when to choose it.
    """

    library = "torchvision"

    def __init__(self, architecture: str, *, title: str = "", description: str = "") -> None:
        super().__init__(
            architecture,
            title or architecture,
            description or f"{architecture} as torchvision builds it.",
        )

    def _network(self, options: VisionOptions) -> BackboneModule:
        from torchvision.models._api import get_model

        from tlstudio_vision.torchvision_network import TorchvisionNetwork

        arguments: dict[str, Any] = {}
        if self.name in {"googlenet", "inception_v3"}:
            # Their published weights expect this rescaling; the auxiliary heads are for training from scratch only.
            arguments = {"aux_logits": False, "transform_input": True, "init_weights": True}
        if self.name.startswith("vit_"):
            # vit_h_14 is built for 224 px by default, but every published weight of it is for another size.
            arguments["image_size"] = options.image_size or self._settings().height
        if options.image_size is not None and self.name.startswith("maxvit_"):
            arguments["input_size"] = (options.image_size, options.image_size)
        if options.drop_path is not None:
            arguments["stochastic_depth_prob"] = options.drop_path
        try:
            model = get_model(self.name, weights=None, **arguments)
        except TypeError as error:
            if "stochastic_depth_prob" not in arguments:
                raise
            raise TLStudioError(
                f"{self.name} has no stochastic depth.", "Leave that field empty.", field="backbone.drop_path"
            ) from error
        except (ValueError, AssertionError, RuntimeError) as error:
            if options.image_size is None:
                raise
            raise self._wrong_size(options, error) from error
        return TorchvisionNetwork(model)

    def _fill(self, network: BackboneModule, state: dict[str, Tensor], path: Path, options: VisionOptions) -> None:
        from tlstudio_vision.torchvision_network import TorchvisionNetwork

        if not isinstance(network, TorchvisionNetwork):
            raise TypeError(f"not a torchvision network: {type(network).__name__}")
        if self.name == "mobilenet_v2" and OLD_MOBILENET_KEY in state:
            state = {_mobilenet_key(key): value for key, value in state.items()}
        if self.name.startswith("densenet"):
            state = {_densenet_key(key): value for key, value in state.items()}
        table = "encoder.pos_embedding"
        if options.image_size is not None and self.name.startswith("vit_") and table in state:
            state = {**state, table: _resized_table(state[table], network.model.get_parameter(table))}
        removed = (network.removed, "AuxLogits", "aux1", "aux2")
        fit_state_dict(
            network.model, state, path=path, optional=lambda key: any(key.startswith(f"{head}.") for head in removed)
        )

    def _pretrained(self) -> Pretrained:
        for weights in self._weights():
            path = in_torch_hub(weights.url)
            if path is not None:
                origin = f"torch's cache ({weights.name})"
                return Pretrained(WeightsInfo(path=path, origin=origin, size=path.stat().st_size), _settings(weights))
        weights = self._weights()[0]
        raise WeightsError(
            f"The pretrained weights of {self.name} are not on this machine.",
            f"On a machine with a network get {file_name(weights.url)} from {weights.url} and put it into "
            f"{torch_hub_folder()}, or give its path as weights (weights=FILE); 'random' starts from scratch.",
            field="backbone.weights",
        )

    def _read_pretrained(self, path: Path) -> dict[str, Tensor]:
        return read_state_dict(path, sha256=hash_prefix(path.name))

    def _settings(self) -> InputSettings:
        return _settings(self._weights()[0])

    def _facts(self) -> Facts:
        meta = self._weights()[0].meta
        return Facts(
            license=str(meta.get("license", "unknown: see the weights")),
            source=str(meta.get("recipe", "https://docs.pytorch.org/vision/stable/models.html")),
        )

    def _weights(self) -> list[WeightsEnum]:
        """All published weights, torchvision's own choice first."""
        from torchvision.models._api import get_model_weights

        known = get_model_weights(self.name)
        default = known["DEFAULT"]
        return [default, *(weights for weights in known if weights is not default)]


def _settings(weights: WeightsEnum) -> InputSettings:
    preset = weights.transforms()
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    return InputSettings(
        height=crop,
        width=crop,
        resize_height=resize,
        resize_width=resize,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation="bicubic" if preset.interpolation.value == "bicubic" else "bilinear",
    )


def _densenet_key(key: str) -> str:
    # torchvision's published DenseNet files still have the names of 2017: norm.1 for what is now norm1.
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)


_MOBILENET_FIRST = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
_MOBILENET_LATER = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}


def _mobilenet_key(key: str) -> str:
    # As before torchvision joined a convolution with its normalisation and activation: many files have these names.
    found = re.fullmatch(r"features\.(\d+)\.conv\.(\d)\.(\w+)", key)
    if found is None:
        return key
    names = _MOBILENET_FIRST if found[1] == "1" else _MOBILENET_LATER
    return f"features.{found[1]}.conv.{names.get(found[2], found[2])}.{found[3]}"


def _resized_table(table: Tensor, wanted: Tensor) -> Tensor:
    """Interpolate a position table ``[1, 1 + n * n, D]`` to another number of patches."""
    import math

    import torch
    from torch.nn import functional

    if table.ndim != 3 or table.shape == wanted.shape or table.shape[-1] != wanted.shape[-1]:
        return table
    token, grid = table[:, :1], table[:, 1:]
    old, new = math.isqrt(grid.shape[1]), math.isqrt(wanted.shape[1] - 1)
    if old * old != grid.shape[1]:
        return table
    image = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    image = functional.interpolate(image, size=(new, new), mode="bicubic", align_corners=True)
    return torch.cat([token, image.permute(0, 2, 3, 1).reshape(1, new * new, -1)], dim=1)


class TorchvisionFamily(BackboneFamily):
    """All image classification networks of torchvision; each also answers to ``torchvision/NAME``."""

    name = "torchvision"
    title = "torchvision"
    modality = "image"

    def __init__(self) -> None:
        self._members: dict[str, TorchvisionBackbone] = {}

    def names(self) -> Sequence[str]:
        """List the names of all members."""
        from torchvision import models
        from torchvision.models._api import list_models

        return list_models(module=models)

    def present(self) -> Sequence[str]:
        """List the members of which torch's cache has a file."""
        from torchvision.models._api import get_model_weights

        folder = torch_hub_folder()
        files = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        if not files:
            return []
        return [name for name in self.names() if files & {file_name(one.url) for one in get_model_weights(name)}]

    def recognise(self, path: Path) -> str | None:
        """Name the network that a weight file is of, if it is a common one."""
        return recognised(path, "torchvision")

    def get(self, name: str) -> Backbone | None:
        """Return a member by name, or `None`."""
        plain = name.removeprefix(PREFIX)
        if plain not in self._members:
            if plain not in self.names():
                return None
            self._members[plain] = TorchvisionBackbone(plain)
        return self._members[plain]

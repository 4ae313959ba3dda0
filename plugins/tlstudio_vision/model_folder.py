"""Reading the folder of an image model in Hugging Face's layout; see `tlstudio.api.model_folders`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import WeightsError, model_folders
from tlstudio.api.model_folders import FIELD, first_line, quiet, read_json
from tlstudio_vision.images import INTERPOLATIONS, InputSettings, Interpolation

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

PREFIX_TOKENS = {
    "vit": 1,
    "deit": 2,
    "dinov2": 1,
    "dinov2_with_registers": 1,
    "clip_vision_model": 1,
    "siglip_vision_model": 0,
}
"""Plain vision transformers by ``model_type``, with the tokens before those of the patches."""

CONVOLUTIONAL = frozenset({"convnext", "convnextv2", "resnet"})
TWO_TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Models of images and texts, of which the half for images is taken."""

SUPPORTED = frozenset({*PREFIX_TOKENS, *CONVOLUTIONAL, *TWO_TOWERS})

PREPROCESSOR = "preprocessor_config.json"
_RESAMPLE: dict[object, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_MOST_PATCHES = 2**16
_MOST_BLOCKS = 1000
_WIDEST = 2**16


def read_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of an image model, of a model with two halves that of the one for images.

    Raises:
        WeightsError: See `model_folders.read_config`; or its sizes cannot be.
    """
    config: Any = model_folders.read_config(folder, SUPPORTED, _unknown)
    if config.model_type in TWO_TOWERS:
        config = config.vision_config
    if why := _cannot_be(config):
        raise WeightsError(
            f"{folder / 'config.json'} describes a model that cannot be: {why}.",
            "Copy the folder again.",
            path=folder,
            field=FIELD,
        )
    result: PreTrainedConfig = config
    return result


def _unknown(folder: Path, kind: str) -> WeightsError:
    return WeightsError(
        f"The model in {folder} ({kind[:60]}) is not a model of images that can be used here.",
        "Choose one such as ViT, DeiT, DINOv2, CLIP, SigLIP, ConvNeXt or ResNet.",
        path=folder,
        field=FIELD,
    )


def _cannot_be(config: Any) -> str:  # noqa: ANN401  configurations have no types
    if config.num_channels != 3:
        return f"it takes images of {str(config.num_channels)[:20]} channels instead of 3"
    if str(config.model_type) in PREFIX_TOKENS:
        side, patch = config.image_size, config.patch_size
        if not (isinstance(side, int) and isinstance(patch, int) and 0 < patch <= side):
            return "image_size and patch_size are no whole numbers above 0"
        return "" if (side // patch) ** 2 <= _MOST_PATCHES else f"it cuts an image into {side // patch}² patches"
    sizes: Any = getattr(config, "hidden_sizes", None)
    depths: Any = getattr(config, "depths", None)
    for name, values, most in (("hidden_sizes", sizes, _WIDEST), ("depths", depths, _MOST_BLOCKS)):
        if not isinstance(values, list | tuple) or not all(type(v) is int and 0 < v <= most for v in values):
            return f"{name} are no whole numbers from 1 to {most}"
    return "" if 0 < len(sizes) == len(depths) <= 8 else "hidden_sizes and depths do not go together"


def model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Find the class that computes features for a configuration that `read_config` has given."""
    from transformers import CLIPVisionModel, SiglipVisionModel
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    if config.model_type == "clip_vision_model":
        return CLIPVisionModel
    if config.model_type == "siglip_vision_model":
        return SiglipVisionModel
    found: Any = MODEL_MAPPING[type(config)]
    model: type[PreTrainedModel] = found
    return model


def new_model(config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    """Build a model with random weights, in 32-bit precision.

    Raises:
        WeightsError: Its sizes do not go together.
    """
    kind: Any = model_class(config)
    try:
        with quiet():
            model: Any = kind(config, **_arguments(kind))
    except Exception as error:  # each kind of model has errors of its own
        raise WeightsError(
            f"{folder / 'config.json'} describes a model that cannot be built: {first_line(error)}",
            "Copy the folder again.",
            path=folder,
            field=FIELD,
        ) from error
    return _without_mask_token(model.float())


def filled_model(config: PreTrainedConfig, state: Mapping[str, Tensor], source: Path) -> PreTrainedModel:
    """Build a model and load weights into it, whatever head or other half they had.

    Raises:
        WeightsError: Keys are missing, of another shape, or belong to more layers than the model has.
    """
    kind = model_class(config)
    tower = "vision_model."
    if any(tower in key for key in state):
        state = {key.partition(tower)[2]: value for key, value in state.items() if tower in key}
    return _without_mask_token(model_folders.filled_model(kind, config, state, source, **_arguments(kind)))


def _without_mask_token(model: PreTrainedModel) -> PreTrainedModel:
    """Take off what DINOv2 has of its pretraining: nothing would ever reach it."""
    embeddings: Any = getattr(model, "embeddings", None)
    if getattr(embeddings, "mask_token", None) is not None:
        embeddings.mask_token = None
    return model


def _arguments(kind: type[PreTrainedModel]) -> dict[str, Any]:
    """Leave out a pooling layer that would be trained anew for nothing: the class token says as much."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}


def read_settings(folder: Path) -> InputSettings:
    """Read how images are prepared from ``preprocessor_config.json``.

    Raises:
        WeightsError: It is missing or damaged, or says what is not known here.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        raise WeightsError(
            f"{folder} has no {PREPROCESSOR}, which says how images are prepared.",
            "Save the image processor into the same folder: processor.save_pretrained(FOLDER).",
            path=folder,
            field=FIELD,
        )
    given = read_json(path)
    try:
        settings = _settings(given)
        settings.check()
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise WeightsError(
            f"{path} does not say how images are prepared: {error}.", "Copy the folder again.", path=path, field=FIELD
        ) from error
    return settings


def _settings(given: Mapping[str, Any]) -> InputSettings:
    if abs(given.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-6 or not given.get("do_rescale", True):
        raise ValueError("its values are scaled otherwise than to 0..1")
    height, width, squashed = _size(given["size"])
    normalised = given.get("do_normalize", True)
    mean, std = (tuple(given[key]) if normalised else (value,) * 3 for key, value in _NORMAL)
    interpolation = _RESAMPLE.get(given.get("resample", 2), INTERPOLATIONS[1])
    if given.get("do_center_crop") or "crop_pct" not in given:
        crop = given.get("crop_size", given["size"]) if given.get("do_center_crop") else given["size"]
        crop_height, crop_width, _ = _size(crop)
    else:  # ConvNeXt: small images are scaled to a larger size and cut, large ones are squashed
        crop_height, crop_width, squashed = height, width, height >= 384
        if not squashed:
            height = width = int(height / given["crop_pct"])
    return InputSettings(
        crop_height,
        crop_width,
        height,
        width,
        mean,
        std,
        interpolation,
        crop_mode="squash" if squashed else "center",
    )


_NORMAL = (("image_mean", 0.0), ("image_std", 1.0))


def _size(size: object) -> tuple[int, int, bool]:
    """Height and width, and whether the image is squashed to them."""
    if isinstance(size, int):
        return size, size, False
    if isinstance(size, dict) and "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"], False
    if isinstance(size, dict):
        return size["height"], size["width"], True
    raise TypeError("its size is neither a number nor height and width")

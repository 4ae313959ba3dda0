"""Seeing which common network weights are of, that do not fit where they were given or come without a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tlstudio.api import WeightsError
from tlstudio.api.weights import read_state_dict, weight_file

if TYPE_CHECKING:
    from torch import Tensor, nn

OLD_MOBILENET_KEY = "features.2.conv.7.weight"
"""Of MobileNetV2 as torchvision named its layers before it joined a convolution with what follows."""

_HEAD = 2  # keys of the layer that names the classes, which is of any width or left out
_NEAR = 0.3  # share of the keys; names that two networks have in common by chance are fewer


def _names(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


TORCHVISION = _names(
    "resnet18 resnet34 resnet50 resnet101 resnet152 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large vit_b_16",
    "vit_b_32 vit_l_16 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 convnext_tiny convnext_small",
    "convnext_base vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg16_bn vgg19_bn densenet121 densenet169 swin_t swin_s alexnet",
    "squeezenet1_0 squeezenet1_1 shufflenet_v2_x1_0 wide_resnet50_2 resnext50_32x4d efficientnet_v2_s mnasnet1_0",
)
TIMM = _names(
    "resnet18 resnet26 resnet34 resnet50 resnet101 vit_tiny_patch16_224 vit_small_patch16_224 vit_base_patch16_224",
    "vit_base_patch32_224 deit_tiny_patch16_224 deit_small_patch16_224 convnext_tiny convnext_small",
    "tf_efficientnet_lite0 tf_efficientnet_lite1 tf_efficientnet_lite2 efficientnet_b0 efficientnet_b1",
    "mobilenetv2_100 mobilenetv3_small_100 mobilenetv3_large_100 swin_tiny_patch4_window7_224 regnety_004",
    "regnety_008 edgenext_small vit_small_patch14_dinov2",
)

# Building a network takes a tenth of a second and more, even without storage: only these are tried, by the first
# letters of their keys.
_SIGNS = {
    "layer1.": ("resnet", "wide_resnet", "resnext"),
    "features.denseblock1.": ("densenet",),
    "encoder.layers.": ("vit_",),
    "features.0.0.": ("mobilenet", "efficientnet", "convnext", "swin"),
    "features.0.weight": ("vgg", "alexnet", "squeezenet"),
    "features.3.squeeze.": ("squeezenet",),
    "blocks.0.": ("vit_", "deit_", "tf_", "efficientnet", "mobilenet"),
    "stage2.": ("shufflenet",),
    "stages.": ("convnext", "edgenext"),
    "s1.": ("regnet",),
    "layers.0.": ("swin", "mnasnet"),
}


@dataclass(frozen=True, slots=True)
class Match:
    """The network that weights are most like.

    Attributes:
        name: Its name as a backbone.
        same: How many of its keys they have in its shape.
        keys: How many it has.
        exact: Whether nothing differs but the layer that names the classes.
    """

    name: str
    same: int
    keys: int
    exact: bool


def nearest(state: Mapping[str, Tensor], library: str, *, but: str) -> str:
    """Say in a sentence which of the common networks a state dict is of, or is nearest to; ``""``: of none.

    Args:
        state: The weights.
        library: ``"torchvision"`` or ``"timm"``, whichever is to be tried first.
        but: The network that was chosen: that it is near is known.
    """
    libraries = ("timm", "torchvision") if library == "timm" else ("torchvision", "timm")
    found = best_match(state, libraries)
    if found is None or found.name == but:
        return ""
    if found.exact:
        return f"They are those of {found.name}: choose that backbone."
    return f"Nearest to them is {found.name}: {found.same:,} of its {found.keys:,} keys fit."


def recognised(path: Path, library: str) -> str | None:
    """Name the network of a library that a weight file is of, or return `None`.

    Args:
        path: The file, or a folder with one.
        library: ``"torchvision"`` or ``"timm"``.
    """
    try:
        state = read_state_dict(weight_file(path))
    except WeightsError:
        return None
    if library == "torchvision" and OLD_MOBILENET_KEY in state:
        return "mobilenet_v2"
    found = best_match(state, (library,))
    return found.name if found is not None and found.exact else None


def best_match(state: Mapping[str, Tensor], libraries: Sequence[str]) -> Match | None:
    """Compare a state dict with the common networks of some libraries, by the shapes of their keys."""
    import torch

    given = {key: tuple(value.shape) for key, value in state.items()}
    best: Match | None = None
    share = _NEAR
    families = tuple(
        name for sign, names in _SIGNS.items() if any(key.startswith(sign) for key in given) for name in names
    )
    for name, build in _candidates(libraries):
        if not name.removeprefix("timm/").startswith(families):
            continue
        try:
            with torch.device("meta"):
                own = {key: tuple(value.shape) for key, value in build().state_dict().items()}
        except (NotImplementedError, RuntimeError, TypeError, ValueError):
            continue  # a network that computes with its weights while it is built
        same = sum(given.get(key) == shape for key, shape in own.items())
        apart = max(len(own), len(given)) - same
        if apart <= _HEAD:
            return Match(name, same, len(own), exact=True)
        if same / (same + apart) > share:
            best, share = Match(name, same, len(own), exact=False), same / (same + apart)
    return best


def _candidates(libraries: Sequence[str]) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    import timm
    from torchvision.models._api import get_model

    for library in libraries:
        if library == "torchvision":
            yield from ((name, partial(get_model, name, weights=None)) for name in TORCHVISION)
        else:
            known = (name for name in TIMM if timm.is_model(name))
            yield from ((f"timm/{n}" if n in TORCHVISION else n, partial(timm.create_model, n)) for n in known)

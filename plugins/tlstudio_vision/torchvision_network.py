"""A torchvision network as a backbone. Imports torch and torchvision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor, nn
from torchvision import models
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.mobilenetv3 import MobileNetV3

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio_vision.maps import grid, pyramid

CONTAINERS = ("features", "layers", "blocks", "trunk_output", "encoder.layers")


class TorchvisionNetwork(BackboneModule):
    """A classification network without its last linear layer.

    It gives pooled features: what the last linear layer took in. Vision transformers also give their patch tokens.
    Where maps are wanted it gives those instead: of a plain vision transformer its patches as one map, of all others
    but GoogLeNet and Inception one for each resolution.

    Args:
        model: A network of `torchvision.models`; its last layer is taken off.

    Attributes:
        model: The network.
        removed: Name of the layer that was taken off; keys that begin with it belong to the original task.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.removed, self.num_features = _remove_last_layer(model)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``pixels``, ``[B, 3, H, W]``."""
        m, x = self.model, inputs["pixels"]
        if self.wanted == "maps":
            return Features(maps=self._maps(x))
        if isinstance(m, models.VisionTransformer):
            tokens = m.encoder(_with_class_token(m, m._process_input(x)))
            return Features(pooled=m.heads(tokens[:, 0]), tokens=tokens[:, 1:])
        return Features(pooled=m(x))

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps from fine to coarse; none where the network is not known."""
        m, height = self.model, x.shape[-2]
        match m:
            case models.VisionTransformer():
                tokens = m.encoder(_with_class_token(m, m._process_input(x)))
                return (grid(tokens, height // m.patch_size, x.shape[-1] // m.patch_size),)
            case models.ResNet():
                x = m.maxpool(m.relu(m.bn1(m.conv1(x))))
                outputs = _outputs((m.layer1, m.layer2, m.layer3, m.layer4), x)
            case models.RegNet():
                outputs = _outputs(m.trunk_output.children(), m.stem(x))
            case models.ShuffleNetV2():
                x = m.maxpool(m.conv1(x))
                outputs = _outputs((m.stage2, m.stage3, m.stage4, m.conv5), x)
            case models.MNASNet():
                outputs = _outputs(m.layers.children(), x)
            case models.MaxVit():
                outputs = _outputs(m.blocks.children(), m.stem(x))
            case models.SwinTransformer():
                outputs = (y.permute(0, 3, 1, 2) for y in _outputs((*m.features.children(), m.norm), x))
            case models.DenseNet():
                outputs = _outputs((*m.features.children(), nn.ReLU()), x)
            case (
                models.EfficientNet()
                | MobileNetV2()
                | MobileNetV3()
                | models.ConvNeXt()
                | models.SqueezeNet()
                | models.VGG()
                | models.AlexNet()
            ):
                outputs = _outputs(m.features.children(), x)
            case _:
                return ()
        return pyramid(outputs, height)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stages or layers in the order of the network."""
        present = {name for name, _ in self.model.named_modules()}
        return natural_groups(self.model, [name for name in CONTAINERS if name in present])


def _outputs(modules: Iterable[nn.Module], x: Tensor) -> Iterator[Tensor]:
    for module in modules:
        x = module(x)
        yield x


def _with_class_token(model: models.VisionTransformer, patches: Tensor) -> Tensor:
    import torch

    return torch.cat([model.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)


def _remove_last_layer(model: nn.Module) -> tuple[str, int]:
    """Take off the layer that names the classes; returns its name and the width of what it takes in."""
    if isinstance(model, models.SqueezeNet):
        last_layer = model.get_submodule("classifier.1")
        if not isinstance(last_layer, nn.Conv2d):
            raise TypeError("SqueezeNet no longer ends in a convolution")
        model.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1))
        return "classifier", last_layer.in_channels
    name, last = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    holder = model.get_submodule(parent)
    setattr(holder, child, nn.Identity())
    if isinstance(holder, nn.Sequential) and child.isdigit() and int(child) > 0:
        before = str(int(child) - 1)
        if isinstance(holder.get_submodule(before), nn.Dropout):
            # The head that comes instead has a dropout of its own.
            setattr(holder, before, nn.Identity())
    return name, last.in_features

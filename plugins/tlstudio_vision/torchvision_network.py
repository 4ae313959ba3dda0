"""A torchvision network as a backbone. Imports torch and torchvision."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.mobilenetv3 import MobileNetV3

from tlstudio.api import Features
from tlstudio.api.layers import natural_groups
from tlstudio.api.nn import BackboneModule, LayerGroup

CONTAINERS = ("features", "layers", "blocks", "trunk_output", "encoder.layers")


class TorchvisionNetwork(BackboneModule):
    """A classification network without its last linear layer.

    It gives pooled features: what the last linear layer took in. Vision transformers also give their patch tokens,
    and all but GoogLeNet and Inception their feature maps, one for each resolution.

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
        match m:
            case models.VisionTransformer():
                tokens = m.encoder(_with_class_token(m, m._process_input(x)))
                return Features(pooled=m.heads(tokens[:, 0]), tokens=tokens[:, 1:])
            case models.ResNet():
                x = m.maxpool(m.relu(m.bn1(m.conv1(x))))
                maps = _outputs((m.layer1, m.layer2, m.layer3, m.layer4), x)
                pooled = m.fc(m.avgpool(maps[-1]).flatten(1))
            case models.RegNet():
                maps = _outputs(m.trunk_output.children(), m.stem(x))
                pooled = m.fc(m.avgpool(maps[-1]).flatten(1))
            case models.ShuffleNetV2():
                maps = _outputs((m.stage2, m.stage3, m.stage4), m.maxpool(m.conv1(x)))
                maps = (*maps[:-1], m.conv5(maps[-1]))
                pooled = m.fc(maps[-1].mean((2, 3)))
            case models.MNASNet():
                maps = _finest(_outputs(m.layers.children(), x))
                pooled = m.classifier(maps[-1].mean((2, 3)))
            case models.MaxVit():
                maps = _outputs(m.blocks.children(), m.stem(x))
                pooled = m.classifier(maps[-1])
            case models.DenseNet():
                maps = _finest(_outputs(m.features.children(), x))
                maps = (*maps[:-1], functional.relu(maps[-1]))
                pooled = m.classifier(functional.adaptive_avg_pool2d(maps[-1], 1).flatten(1))
            case models.SwinTransformer():
                maps = _finest(tuple(y.permute(0, 3, 1, 2) for y in _outputs(m.features.children(), x)))
                last = m.norm(maps[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                maps = (*maps[:-1], last)
                pooled = m.head(m.flatten(m.avgpool(last)))
            case MobileNetV2():
                maps = _finest(_outputs(m.features.children(), x))
                pooled = m.classifier(functional.adaptive_avg_pool2d(maps[-1], 1).flatten(1))
            case models.ConvNeXt():
                maps = _finest(_outputs(m.features.children(), x))
                pooled = m.classifier(m.avgpool(maps[-1]))
            case models.SqueezeNet():
                maps = _finest(_outputs(m.features.children(), x))
                pooled = m.classifier(maps[-1]).flatten(1)
            case models.EfficientNet() | MobileNetV3() | models.VGG() | models.AlexNet():
                maps = _finest(_outputs(m.features.children(), x))
                pooled = m.classifier(m.avgpool(maps[-1]).flatten(1))
            case _:
                return Features(pooled=m(x))
        return Features(pooled=pooled, maps=maps)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stages or layers in the order of the network."""
        present = {name for name, _ in self.model.named_modules()}
        return natural_groups(self.model, [name for name in CONTAINERS if name in present])


def _outputs(modules: Iterable[nn.Module], x: Tensor) -> tuple[Tensor, ...]:
    outputs = []
    for module in modules:
        x = module(x)
        outputs.append(x)
    return tuple(outputs)


def _finest(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Keep the last output of each resolution."""
    following: tuple[Tensor | None, ...] = (*outputs[1:], None)
    return tuple(
        y for y, after in zip(outputs, following, strict=True) if after is None or after.shape[-1] != y.shape[-1]
    )


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

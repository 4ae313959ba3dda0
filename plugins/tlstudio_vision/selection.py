"""The image backbones that are offered before anybody has searched for a name."""

from __future__ import annotations

from tlstudio_vision.base import VisionBackbone
from tlstudio_vision.timm_models import TimmBackbone
from tlstudio_vision.torchvision_models import TorchvisionBackbone


def selection() -> list[VisionBackbone]:
    """Make the starter backbones and a short choice of others. Imports no heavy library."""
    return [
        TimmBackbone(
            "tf_efficientnet_lite0",
            title="EfficientNet-Lite0",
            description="Small and quick on a CPU, trained on ImageNet; its weights come with the starter extra. "
            "A good first choice for photos.",
        ),
        TimmBackbone(
            "tf_efficientnet_lite2",
            title="EfficientNet-Lite2",
            description="A little larger and more accurate than Lite0, on larger images; its weights come with the "
            "starter extra.",
        ),
        *(TorchvisionBackbone(name, title=title, description=text) for name, title, text in _TORCHVISION),
    ]


_TORCHVISION = (
    ("resnet18", "ResNet-18", "The classic small residual network: robust, well understood, a fair baseline."),
    ("resnet50", "ResNet-50", "The most used residual network: more accurate than ResNet-18, twice as slow."),
    ("mobilenet_v2", "MobileNetV2", "Made for phones: few parameters, quick on a CPU."),
    ("mobilenet_v3_small", "MobileNetV3 small", "The quickest here: for very large collections on a CPU."),
    ("mobilenet_v3_large", "MobileNetV3 large", "Quick on a CPU and more accurate than the small one."),
    ("efficientnet_b0", "EfficientNet-B0", "Accurate for its size; slower than its few parameters suggest."),
    ("efficientnet_v2_s", "EfficientNetV2-S", "Accurate on larger images; wants a GPU."),
    ("convnext_tiny", "ConvNeXt-Tiny", "A modern convolutional network: accurate, easy to fine-tune; wants a GPU."),
    ("densenet121", "DenseNet-121", "Reuses features of all layers; often met in medical imaging."),
    ("regnet_y_400mf", "RegNetY-400MF", "Small and accurate, with channel attention."),
    ("vit_b_16", "ViT-B/16", "The vision transformer: strong with good pretraining and a GPU, slow on a CPU."),
    ("swin_t", "Swin-T", "A transformer over shifted windows: sees fine detail; wants a GPU."),
)

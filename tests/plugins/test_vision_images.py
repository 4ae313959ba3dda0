"""How images are prepared for the image backbones."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plugins.vision_helpers import PHOTOS
from tlstudio.api import DataError, Sample, WeightsError
from tlstudio_vision.images import InputSettings
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.preprocessor import ImagePreprocessor
from tlstudio_vision.timm_models import TimmBackbone
from tlstudio_vision.torchvision_models import TorchvisionBackbone


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
    kinds = ("none", "light", "strong", "randaugment", "trivialaugment", "contrastive")
    for augmentation, seed in zip(kinds, (None, 1, 2, 3, 4, 5), strict=True):
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


@pytest.mark.parametrize("augmentation", ["light", "strong", "contrastive", "randaugment", "trivialaugment"])
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


def test_views_for_contrastive_learning_lose_their_colours_in_a_fifth_and_keep_them_in_another() -> None:
    from tlstudio_vision.augment import Dice, distort

    pixels = torch.randint(0, 256, (3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made = [distort(pixels, Dice(seed)) for seed in range(600)]
    assert {(each.dtype, each.shape) for each in made} == {(torch.uint8, pixels.shape)}
    grey = sum(torch.equal(each[0], each[1]) and torch.equal(each[1], each[2]) for each in made)
    untouched = sum(torch.equal(each, pixels) for each in made)
    assert grey / 600 == pytest.approx(0.2, abs=0.05)
    # Neither jittered nor grey, and not blurred, or by less than a step of 8 bits.
    assert 0.05 < untouched / 600 < 0.2


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


@pytest.mark.parametrize("content", ['{"height": 3}', "[" * 100_000], ids=["incomplete", "nested too deeply"])
def test_damaged_assets_are_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessing.json").write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match="does not say how images are prepared"):
        TimmBackbone("test_vit").preprocessor(VisionOptions(), assets=tmp_path)

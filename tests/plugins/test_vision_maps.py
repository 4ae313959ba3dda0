"""Feature maps of image backbones, and where on their input each pixel of an image lies."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.plugins.vision_helpers import RANDOM, check_groups, member, pixels
from tlstudio.api import GEOMETRY, IMAGE_SIZE, Augmentation, Sample
from tlstudio_vision.base import VisionBackbone
from tlstudio_vision.images import InputSettings
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.preprocessor import WholeImagePreprocessor
from tlstudio_vision.timm_models import TimmBackbone, TimmFamily
from tlstudio_vision.torchvision_models import TorchvisionBackbone, TorchvisionFamily

PYRAMIDS = {  # by torchvision's name: strides of the maps
    "densenet121": (4, 8, 16, 32),
    "mnasnet0_5": (4, 8, 16, 32),
    "mobilenet_v2": (4, 8, 16, 32),
    "mobilenet_v3_small": (4, 8, 16, 32),
    "regnet_y_400mf": (4, 8, 16, 32),
    "resnet18": (4, 8, 16, 32),
    "shufflenet_v2_x0_5": (8, 16, 32),
    "squeezenet1_1": (4, 8, 16),
    "swin_t": (4, 8, 16, 32),
    "vit_b_32": (32,),
}
TIMM_PYRAMIDS = {
    "test_resnet": (4, 8, 16, 32),
    "test_efficientnet": (4, 8, 16, 32),
    "test_vit": (16,),
    "test_convnext": (4, 8, 16, 32),
    "tf_efficientnet_lite2": (4, 8, 16, 32),
    "swin_tiny_patch4_window7_224": (4, 8, 16, 32),
    "eva02_tiny_patch14_224": (14,),
    "levit_128s": (16, 32, 64),
}


def backbone_of(name: str) -> VisionBackbone:
    backbone = TorchvisionBackbone(name) if name in PYRAMIDS else member(TimmFamily(TorchvisionFamily()), name)
    assert isinstance(backbone, VisionBackbone)
    return backbone


@pytest.mark.parametrize(("name", "strides"), [*PYRAMIDS.items(), *TIMM_PYRAMIDS.items()])
def test_maps_go_from_fine_to_coarse_and_are_what_was_declared(name: str, strides: tuple[int, ...]) -> None:
    backbone = backbone_of(name)
    info = backbone.info()
    assert info.map_strides == strides
    assert ("maps" in info.provides) == bool(strides)
    size = 224 if name != "test_vit" else 160
    network = backbone.load(RANDOM).eval()
    assert (network.map_channels, network.map_strides) == (info.map_channels, strides)
    names = set(network.state_dict())
    check_groups(network, network.layer_groups())
    network.wanted = "maps"
    with torch.inference_mode():
        maps = network(pixels(size, count=1)).maps
    assert tuple(each.shape[1] for each in maps) == info.map_channels
    for each, stride in zip(maps, strides, strict=True):
        assert each.shape[2] == each.shape[3]
        assert abs(each.shape[3] - size / stride) <= 1  # a convolution without padding loses a cell
    assert set(network.state_dict()) == names


@pytest.mark.parametrize("backbone", [TorchvisionBackbone("resnet18"), TimmBackbone("test_efficientnet")])
def test_maps_are_computed_only_where_they_are_wanted_and_make_no_pooled_ones(backbone: VisionBackbone) -> None:
    network = backbone.load(RANDOM).eval()
    with torch.inference_mode():
        plain = network(pixels(64))
        network.wanted = "maps"
        dense = network(pixels(64))
        network.wanted = "pooled"
        again = network(pixels(64))
    assert plain.maps == again.maps == ()
    assert dense.pooled is None
    assert torch.equal(plain.require("pooled"), again.require("pooled"))


def test_what_pooled_features_are_the_mean_of_is_the_coarsest_map() -> None:
    for backbone in (TorchvisionBackbone("resnet18"), TimmBackbone("test_efficientnet"), TimmBackbone("test_vit")):
        network = backbone.load(RANDOM).eval()
        with torch.inference_mode():
            plain = network(pixels(160))
            network.wanted = "maps"
            last = network(pixels(160)).maps[-1]
        if plain.tokens is None:
            assert torch.allclose(last.mean((2, 3)), plain.require("pooled"), atol=1e-5)
        else:
            assert torch.equal(last.flatten(2).transpose(1, 2), plain.tokens)


# Where pixels lie


def settings(width: int = 96) -> InputSettings:
    return InputSettings(96, width, 110, 110, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def marked_image(size: tuple[int, int], point: tuple[int, int], radius: int) -> Image.Image:
    image = Image.new("RGB", size, "black")
    box = (point[0] - radius, point[1] - radius, point[0] + radius - 1, point[1] + radius - 1)
    ImageDraw.Draw(image).ellipse(box, fill="white")
    return image


def brightest(values: torch.Tensor) -> tuple[float, float]:
    """The middle of what is bright, in pixels from the upper left corner of the input."""
    grey = values.mean(0).double().clamp(min=0)
    grey[grey < 0.2 * grey.max()] = 0
    ys, xs = torch.meshgrid(torch.arange(grey.shape[0]) + 0.5, torch.arange(grey.shape[1]) + 0.5, indexing="ij")
    return float((grey * xs).sum() / grey.sum()), float((grey * ys).sum() / grey.sum())


def told(item: dict[str, torch.Tensor], point: tuple[float, float]) -> tuple[float, float]:
    x, y = (item[GEOMETRY] @ torch.tensor([*point, 1.0])).tolist()
    return x, y


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(("suffix", "size"), [("png", (301, 203)), ("jpg", (1597, 1201)), ("jpg", (90, 70))])
def test_a_point_lies_where_the_geometry_says(
    tmp_path: Path, orientation: int, suffix: str, size: tuple[int, int]
) -> None:
    # The camera's own pixels are such that the upright image has its mark at this point.
    upright = size if orientation < 5 else size[::-1]
    point = (round(upright[0] * 0.7), round(upright[1] * 0.4))
    turns = Image.Transpose
    back = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_90,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_270,
    }
    image = marked_image(upright, point, max(6, size[0] // 30))
    stored = image.transpose(back[orientation]) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, quality=95)
    seen = 0
    modes: list[tuple[Augmentation, int | None]] = [("none", None), ("light", 0), ("light", 1), ("strong", 3)]
    for augmentation, seed in modes:
        item = WholeImagePreprocessor(settings(), augmentation)(Sample("a", image=path), seed)
        assert item[IMAGE_SIZE].tolist() == [upright[1], upright[0]]
        x, y = told(item, point)
        if 8 < x < 88 and 8 < y < 88:  # neither outside nor cut
            found = brightest(item["pixels"])
            assert abs(found[0] - x) < 0.4, (augmentation, seed, found, (x, y))
            assert abs(found[1] - y) < 0.4, (augmentation, seed, found, (x, y))
            seen += 1
    assert seen >= 3


@pytest.mark.parametrize("size", [(1, 1), (400, 3), (3, 400), (96, 96), (640, 480), (7, 9)])
def test_an_image_of_any_shape_is_kept_whole_and_in_its_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "white").save(tmp_path / "a.png")
    sample = Sample("a", image=tmp_path / "a.png")
    item = WholeImagePreprocessor(settings(width=128))(sample)
    corner = told(item, (0.0, 0.0)), told(item, (float(size[0]), float(size[1])))
    assert corner[0] == (0.0, 0.0)
    width, height = corner[1]
    assert width <= 128
    assert height <= 96
    assert width == 128 or height == 96
    assert item["pixels"].shape == (3, 96, 128)
    assert int((item["pixels"][0] > 0.99).sum()) == width * height, "nothing of it is missing"
    assert min(width, height) == 1 or width / height == pytest.approx(size[0] / size[1], rel=0.06)


def test_variation_derives_from_the_seed_alone_and_keeps_boxes_upright(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    sample = Sample("a", image=tmp_path / "a.png")
    modes: tuple[Augmentation, ...] = ("light", "strong", "randaugment", "trivialaugment")
    for augmentation in modes:
        prepare = WholeImagePreprocessor(settings(), augmentation)
        copy = pickle.loads(pickle.dumps(prepare))
        items = [prepare(sample, seed) for seed in range(12)]
        for seed, item in enumerate(items):
            other = copy(sample, seed)
            assert all(torch.equal(item[name], other[name]) for name in item)
            assert item[GEOMETRY][0, 1] == item[GEOMETRY][1, 0] == 0.0
        assert len({tuple(item[GEOMETRY].flatten().tolist()) for item in items}) == len(items)
        assert {bool(item[GEOMETRY][0, 0] < 0) for item in items} == {True, False}
        batch = prepare.collate(items)
        assert batch[GEOMETRY].shape == (12, 2, 3)
        assert batch[IMAGE_SIZE].tolist() == [[60, 90]] * 12


def test_the_input_is_a_multiple_of_the_coarsest_cell_and_follows_the_image_size(tmp_path: Path) -> None:
    for name, size, expected in itertools.chain(
        [("tf_efficientnet_lite2", None, 256), ("resnet18", None, 224)],
        [("resnet18", 100, 96), ("resnet18", 20, 32), ("test_vit", 96, 96)],
    ):
        backbone = TorchvisionBackbone(name) if name == "resnet18" else TimmBackbone(name)
        options = VisionOptions(weights="random", image_size=size)
        folder = tmp_path / f"{name}{size}"
        folder.mkdir()
        backbone.save_assets(options, folder)
        for assets in (None, folder):
            prepare = backbone.preprocessor(options, assets=assets, wanted="maps")
            assert (prepare.settings.height, prepare.settings.width) == (expected, expected)

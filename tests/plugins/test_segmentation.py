"""The segmentation head: targets, loss, metrics, and predictions of the size of the image."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score

from tlstudio.api import (
    GEOMETRY,
    IMAGE_SIZE,
    UNLABELLED,
    DataError,
    Features,
    FeatureShape,
    Label,
    Mask,
    Prediction,
    Sample,
    TargetInfo,
)
from tlstudio.api.masks import class_values, mask_of, mask_values, pixel_shares
from tlstudio.api.nn import HeadModule
from tlstudio.testing import check_head, tiny_samples, tiny_target
from tlstudio_heads.segmentation_heads import Segmentation
from tlstudio_heads.segmentation_metrics import PixelMetrics
from tlstudio_vision.images import InputSettings
from tlstudio_vision.preprocessor import WholeImagePreprocessor

CLASSES = ("cell", "ground", "wall")
TARGET = TargetInfo("segmentation", classes=CLASSES, class_counts=(8, 8, 2))
SHAPE = FeatureShape(8, (6, 8), (4, 8))


def head(shape: FeatureShape = SHAPE, **options: object) -> HeadModule:
    return Segmentation().build(shape, TARGET, Segmentation.Options.model_validate({"dropout": 0.0, **options}))


def random_mask(rng: np.random.Generator, size: tuple[int, int]) -> Mask:
    """Patches of the three classes, and some pixels that nobody has labelled."""
    patches = rng.integers(0, 3, (size[0] // 10 + 1, size[1] // 10 + 1)).astype(np.uint8)
    values: NDArray[np.uint8] = patches.repeat(10, axis=0).repeat(10, axis=1)[: size[0], : size[1]]
    values[rng.random(size) < 0.05] = UNLABELLED
    return mask_of(values, CLASSES)


@pytest.mark.parametrize("options", [{}, {"loss": "cross_entropy+dice", "class_weights": "balanced", "width": 24}])
def test_the_head_keeps_the_contract(tmp_path: Path, options: dict[str, object]) -> None:
    samples = tiny_samples("image", "segmentation", tmp_path)
    check_head(
        Segmentation(), tiny_target("segmentation"), samples, options=Segmentation.Options.model_validate(options)
    )


@pytest.mark.parametrize("strides", [(16,), (14,), (4, 8), (2, 4, 8)])
def test_outputs_have_cells_of_about_four_pixels_whatever_maps_there_are(strides: tuple[int, ...]) -> None:
    sides = [4] if len(strides) == 1 else [64 // stride for stride in strides]
    maps = tuple(torch.randn(2, 8, side, side) for side in sides)
    assert head(FeatureShape(8, (8,) * len(strides), strides))(Features(maps=maps)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("size", [(60, 90), (301, 123), (8, 40)])
def test_what_is_encoded_is_decoded_to_the_same_mask(tmp_path: Path, size: tuple[int, int], seed: int | None) -> None:
    rng = np.random.default_rng(0)
    label = random_mask(rng, size)
    Image.new("RGB", size[::-1], "white").save(tmp_path / "a.png")
    settings = InputSettings(128, 160, 128, 160, mean=(0, 0, 0), std=(1, 1, 1))
    prepare = WholeImagePreprocessor(settings, "light")
    item = prepare(Sample("a", image=tmp_path / "a.png"), seed)
    module = head()
    target = module.encoder()([label], [item])
    assert target.shape == (1, 128, 160)
    shown = item["pixels"][0] > 0.99
    assert set(target[0][~shown].flatten().tolist()) <= {UNLABELLED}, "where there is no image, nothing is learned"
    # Certain outputs, as fine as the input.
    output = torch.nn.functional.one_hot(target.long().clamp(max=2), 3).movedim(3, 1) * 30.0
    (prediction,) = module.decode(output, prepare.collate([item]))
    assert isinstance(prediction.value, Mask)
    found, truth = class_values(prediction.value, CLASSES), mask_values(label)
    assert found.shape == size
    # Only what was on the input can be known, and borders move by a pixel of the coarser of both.
    rows, columns = np.indices(size) + 0.5
    x, y = np.einsum("ij,jhw->ihw", item[GEOMETRY].numpy(), np.stack([columns, rows, np.ones_like(rows)]))
    known = (truth != UNLABELLED) & (x > 1) & (x < 159) & (y > 1) & (y < 127)
    scale = float(item[GEOMETRY].abs()[:, :2].max())
    assert (found == truth)[known].mean() > (0.9 if scale >= 1 else 0.75)
    assert prediction.certainty is not None
    assert 0.5 < prediction.certainty <= 1.0


def test_a_large_image_is_decoded_as_if_every_pixel_were_looked_at() -> None:
    torch.manual_seed(0)
    output = torch.nn.functional.interpolate(torch.randn(1, 3, 6, 6), size=(16, 16), mode="bicubic")
    size = (900, 700)
    inputs = {
        "pixels": torch.zeros(1, 3, 64, 64),
        GEOMETRY: torch.tensor([[[60 / 700, 0, 2.0], [0, 64 / 900, 0.0]]]),
        IMAGE_SIZE: torch.tensor([size]),
    }
    value = head().decode(output, inputs)[0].value
    assert isinstance(value, Mask)
    y = np.clip((np.arange(900) + 0.5) * 64 / 900 / 4 - 0.5, 0, 15)
    x = np.clip(((np.arange(700) + 0.5) * 60 / 700 + 2) / 4 - 0.5, 0, 15)
    logits = output[0].numpy()
    top, left = np.minimum(y.astype(int), 14), np.minimum(x.astype(int), 14)
    down, across = (y - top)[:, None], (x - left)[None]
    upper = logits[:, top][:, :, left] * (1 - across) + logits[:, top][:, :, left + 1] * across
    lower = logits[:, top + 1][:, :, left] * (1 - across) + logits[:, top + 1][:, :, left + 1] * across
    expected = (upper * (1 - down) + lower * down).argmax(axis=0)
    assert (class_values(value, CLASSES) == expected).mean() > 0.99


def test_the_loss_is_the_mean_over_labelled_pixels_of_each_image() -> None:
    torch.manual_seed(0)
    output = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 4, 4), dtype=torch.uint8)
    target[0, :2] = UNLABELLED
    target[1] = UNLABELLED
    logits = output[0].numpy()
    terms = [
        math.log(np.exp(logits[:, y, x]).sum()) - logits[int(target[0, y, x]), y, x] for y in (2, 3) for x in range(4)
    ]
    losses = head().loss(output, target)
    assert losses[0].item() == pytest.approx(sum(terms) / 8, abs=1e-6)
    assert losses[1].item() == 0.0, "nothing is learned from an image without labelled pixels"


def test_class_weights_and_dice_do_what_they_say() -> None:
    torch.manual_seed(0)
    output, target = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    weights = np.array([18 / (3 * 8), 18 / (3 * 8), 18 / (3 * 2)])
    log = output.log_softmax(1)[0].numpy()
    each = np.array([[-log[int(target[0, y, x]), y, x] for x in range(4)] for y in range(4)])
    used = weights[target[0].numpy()]
    expected = (each * used).sum() / used.sum()
    assert head(class_weights="balanced").loss(output, target).item() == pytest.approx(expected, abs=1e-5)
    p = output.softmax(1)[0].numpy()
    dice = []
    for k in range(3):
        truth = target[0].numpy() == k
        dice.append(1 - (2 * p[k][truth].sum() + 1) / (p[k].sum() + truth.sum() + 1))
    both = head(loss="cross_entropy+dice").loss(output, target).item()
    assert both == pytest.approx(each.mean() + np.mean(dice), abs=1e-5)


def test_metrics_are_those_of_scikit_learn_over_all_pixels() -> None:
    rng = np.random.default_rng(0)
    for absent in (False, True):
        metrics = PixelMetrics(("a", "b", "never", "c"))
        truth: list[NDArray[np.uint8]] = []
        found: list[NDArray[np.uint8]] = []
        for number in range(5):
            size = (17 + number, 23)
            right = rng.integers(0, 2 if absent else 3, size).astype(np.uint8)
            said = np.where(rng.random(size) < 0.6, right, rng.integers(0, 2, size)).astype(np.uint8)
            ignored = rng.random(size) < 0.1
            label = mask_of(np.where(ignored, UNLABELLED, right).astype(np.uint8), ("a", "b", "c"))
            # Its classes stand in another order: names count, not values.
            prediction = Prediction(mask_of(np.array([1, 0, 2], dtype=np.uint8)[said], ("b", "a", "c")))
            metrics.update([prediction], [Sample(str(number), label=label)])
            truth.append(right[~ignored])
            found.append(said[~ignored])
        y, p = np.concatenate(truth), np.concatenate(found)
        wanted = {
            "mean_iou": jaccard_score(y, p, average="macro"),
            "mean_dice": f1_score(y, p, average="macro"),
            "pixel_accuracy": float((y == p).mean()),
        }
        assert metrics.compute() == pytest.approx(wanted, abs=1e-6)


def test_metrics_of_nothing_are_numbers() -> None:
    assert set(PixelMetrics(("a", "b")).compute().values()) == {0.0}


def test_shares_of_pixels_are_told_largest_first() -> None:
    values = np.array([[0, 1, 1, 1], [1, 1, 2, UNLABELLED]], dtype=np.uint8)
    assert list(pixel_shares(mask_of(values, CLASSES)).items()) == [("ground", 0.625), ("cell", 0.125), ("wall", 0.125)]


@pytest.mark.parametrize("classes", [(), ("only",), tuple(f"c{n}" for n in range(256))])
def test_too_few_or_too_many_classes_are_told(classes: tuple[str, ...]) -> None:
    target = dataclasses.replace(TARGET, classes=classes, class_counts=(1,) * len(classes))
    with pytest.raises(DataError, match="needs 2 to 255 classes"):
        Segmentation().build(SHAPE, target, Segmentation.Options())


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (None, "has no mask"),
        ("x", "is no mask"),
        (mask_of(np.zeros((2, 2), dtype=np.uint8), ("sky",)), "'sky' of a mask is none"),
    ],
)
def test_labels_of_another_kind_are_told(label: Label, words: str) -> None:
    item = {"pixels": torch.zeros(3, 4, 4), GEOMETRY: torch.eye(2, 3)}
    with pytest.raises(DataError, match=words):
        head().encoder()([label], [item])

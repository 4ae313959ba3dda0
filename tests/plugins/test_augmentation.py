"""Policies for images make torchvision's own changes; texts lose and swap words; what cannot be varied is told."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from tlstudio.api import GEOMETRY, Augmentation, ProblemsError, Sample
from tlstudio.engine.advise import complete
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.components import TinyConvNet
from tlstudio_text.augment import vary
from tlstudio_vision.augment import Dice
from tlstudio_vision.images import InputSettings
from tlstudio_vision.policies import LEVELS, RANDOM_LEVEL, change, changed
from tlstudio_vision.preprocessor import WholeImagePreprocessor

KINDS = {
    "Identity": "identity",
    "ShearX": "shear x",
    "ShearY": "shear y",
    "TranslateX": "shift x",
    "TranslateY": "shift y",
    "Rotate": "rotate",
    "Brightness": "brightness",
    "Color": "colour",
    "Contrast": "contrast",
    "Sharpness": "sharpness",
    "Posterize": "posterize",
    "Solarize": "solarize",
    "AutoContrast": "level",
    "Equalize": "equalize",
}
FILL = [10, 20, 30]


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 56), dtype=np.uint8))


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_every_change_of_every_strength_is_that_of_torchvision(policy: str, pixels: torch.Tensor) -> None:
    bilinear, transforms = InterpolationMode.BILINEAR, cast("Any", v2)  # it does not say what it exports
    theirs = transforms.RandAugment if policy == "randaugment" else transforms.TrivialAugmentWide
    theirs = theirs(interpolation=bilinear, fill=FILL)
    assert set(theirs._AUGMENTATION_SPACE) == set(KINDS)
    for name, (strengths, signed) in theirs._AUGMENTATION_SPACE.items():
        found = strengths(LEVELS + 1, *pixels.shape[-2:])
        for level in range(LEVELS + 1) if policy == "trivialaugment" else [RANDOM_LEVEL]:
            for sign in (1.0, -1.0) if signed else (1.0,):
                strength = 0.0 if found is None else sign * round(float(found[level]), 5)  # 32 bits
                expected = theirs._apply_image_or_video_transform(pixels, name, strength, bilinear, theirs._fill)
                mine = change(pixels, policy, KINDS[name], level, sign, FILL)
                # Both round; and a threshold in 32 bits can fall on either side of a value of pixels.
                apart = (mine.int() - expected.int()).abs() > 1
                assert apart.float().mean() < 0.01, (name, level, sign)


def test_randaugment_makes_two_changes_and_trivialaugment_one_of_any_strength(
    pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int, float]] = []

    def note(image: torch.Tensor, policy: str, kind: str, level: int, sign: float, fill: object) -> torch.Tensor:
        made.append((kind, level, sign))
        return image

    monkeypatch.setattr("tlstudio_vision.policies.change", note)
    for seed in range(1000):
        changed(pixels, "randaugment", FILL, Dice(seed))
    assert len(made) == 2000
    assert {level for _, level, _ in made} == {RANDOM_LEVEL}
    counts = Counter(kind for kind, _, _ in made)
    assert set(counts) == set(KINDS.values())
    assert max(abs(count - 2000 / 14) for count in counts.values()) < 5 * math.sqrt(2000 / 14)
    made.clear()
    for seed in range(1000):
        changed(pixels, "trivialaugment", FILL, Dice(seed), in_place=True)
    assert len(made) == 1000
    assert {level for _, level, _ in made} == set(range(LEVELS + 1))
    assert not {kind for kind, _, _ in made} & {"shear x", "shear y", "shift x", "shift y", "rotate"}
    assert {sign for kind, _, sign in made if kind == "contrast"} == {1.0, -1.0}
    assert {sign for kind, _, sign in made if kind == "solarize"} == {1.0}


def test_where_places_matter_a_policy_moves_things_no_further_than_light_does(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    sample = Sample("a", image=tmp_path / "a.png")
    settings = InputSettings(32, 32, 36, 36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    light = WholeImagePreprocessor(settings, "light")
    names: tuple[Augmentation, ...] = ("randaugment", "trivialaugment")
    for name in names:
        varied = WholeImagePreprocessor(settings, name)
        same = [torch.equal(varied(sample, seed)["pixels"], light(sample, seed)["pixels"]) for seed in range(20)]
        assert not all(same)
        assert all(torch.equal(varied(sample, n)[GEOMETRY], light(sample, n)[GEOMETRY]) for n in range(20))


TEXT = "  The quick brown fox,  which was hungry, jumps over\nthe lazy dog and runs away from it as fast as it can. "


def test_words_are_swapped_or_left_out_by_the_seed_alone() -> None:
    words, before = TEXT.split(), random.getstate()
    lost, moved = [], []
    for seed in range(2000):
        varied = vary(TEXT, "strong", seed)
        assert varied == vary(TEXT, "strong", seed)
        found = varied.split()
        if Counter(found) == Counter(words):
            moved.append(sum(a != b for a, b in zip(found, words, strict=True)))
        else:
            rest = iter(words)
            assert all(word in rest for word in found), "the order of what stays is kept"
            lost.append(1 - len(found) / len(words))
    assert random.getstate() == before
    assert max(moved) <= 4  # a tenth of 22 words, as many swaps
    untouched = (1 - 0.1) ** len(words)
    assert len(lost) / 2000 == pytest.approx(0.5 * (1 - untouched), abs=0.04)
    assert np.mean(lost) == pytest.approx(0.1 / (1 - untouched), rel=0.1)
    light = [vary(TEXT, "light", seed).split() for seed in range(500)]
    assert np.mean([len(found) for found in light]) > np.mean(
        [len(vary(TEXT, "strong", n).split()) for n in range(500)]
    )


@pytest.mark.parametrize("text", ["", " ", "word", " a\n", "。"])
def test_a_text_without_two_words_stays_as_it_is(text: str) -> None:
    assert {vary(text, "strong", seed) for seed in range(20)} == {text}


def test_at_least_a_word_stays_and_signs_without_spaces_are_words() -> None:
    assert all(vary("good film", "strong", seed).strip() for seed in range(500))
    varied = {vary("这部电影很好看我非常喜欢它", "strong", seed) for seed in range(50)}
    assert len(varied) > 10
    assert all(len(text) >= 8 for text in varied)


def test_texts_are_varied_where_one_vector_of_each_is_taken_and_pairs_on_both_sides(registry: Registry) -> None:
    backbone = registry.backbone("all-MiniLM-L6-v2")
    strong, plain = (backbone.preprocessor(backbone.Options(), augmentation=name) for name in ("strong", "none"))
    sample = Sample("a", text=TEXT, pair=TEXT)
    expected = plain(sample)
    assert strong(sample) == expected
    assert strong(sample, 3) == strong(sample, 3)
    assert any(strong(sample, seed) != expected for seed in range(5))
    tokens = backbone.preprocessor(backbone.Options(), augmentation="strong", wanted="tokens")
    assert all(tokens(sample, seed) == expected for seed in range(5))


def test_what_a_modality_cannot_vary_is_told_and_never_chosen_by_itself(
    reviews_project: Project, registry: Registry
) -> None:
    revision = reviews_project.dataset("reviews")
    assert complete({"strategy": "full"}, revision, registry).training.augmentation == "none"
    values: dict[str, Any] = {"strategy": "full", "training": {"augmentation": "trivialaugment"}}
    with pytest.raises(ProblemsError, match="texts cannot be varied by trivialaugment") as caught:
        complete(values, revision, registry)
    assert [problem.where for problem in caught.value.problems] == ["training.augmentation"]
    assert "none or light or strong" in caught.value.problems[0].remedy
    values["training"]["augmentation"] = "light"
    assert complete(values, revision, registry).training.augmentation == "light"
    assert complete({**values, "strategy": "linear_probe"}, revision, registry).training.augmentation == "light"
    assert registry.backbone("all-MiniLM-L6-v2").augmentations("tokens") == ["none"]
    assert registry.backbone("table_mlp").augmentations("pooled") == ["none"]
    joined = registry.backbone("tf_efficientnet_lite0+all-MiniLM-L6-v2")
    assert "randaugment" in joined.augmentations("parts")
    assert "randaugment" not in TinyConvNet().augmentations("pooled")

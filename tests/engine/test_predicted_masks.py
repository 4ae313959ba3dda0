"""The folder of predicted masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlstudio.api import DataError, RunError, Sample
from tlstudio.api.masks import mask_of
from tlstudio.engine.predicted_masks import PredictedMasks

CLASSES = ("a", "b", "c")


def test_images_of_the_same_name_get_masks_of_their_own_with_the_values_of_the_classes(tmp_path: Path) -> None:
    masks = PredictedMasks(tmp_path / "out.csv", CLASSES)
    # Names stand for classes, not values: here "c" is 0.
    one, other = (mask_of(np.array([[0, 1]], dtype=np.uint8), names) for names in (("c", "a"), ("b", "c")))
    paths = [masks.write(Sample(name), mask) for name, mask in (("x/1.png", one), ("y/1.JPG", other), ("../1", one))]
    assert paths == ["out_masks/1.png", "out_masks/1 (2).png", "out_masks/1 (3).png"]
    assert not masks.folder.exists(), "it appears as a whole"
    masks.finish()
    masks.discard()
    assert sorted(file.name for file in masks.folder.iterdir()) == ["1 (2).png", "1 (3).png", "1.png", "classes.csv"]
    with Image.open(tmp_path / paths[0]) as image:
        assert np.asarray(image).tolist() == [[2, 0]]
        assert image.convert("RGB").getpixel((0, 0)) == (0, 128, 0)
    table = (masks.folder / "classes.csv").read_text(encoding="utf-8").splitlines()
    assert table == ["id,name,r,g,b", "0,a,0,0,0", "1,b,128,0,0", "2,c,0,128,0"]


def test_what_is_there_is_not_replaced_and_what_was_not_finished_goes(tmp_path: Path) -> None:
    masks = PredictedMasks(tmp_path / "out.csv", CLASSES)
    masks.write(Sample("1"), mask_of(np.zeros((2, 2), dtype=np.uint8), ("a",)))
    masks.discard()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out_masks").mkdir()
    (tmp_path / "out_masks" / "mine.txt").touch()
    with pytest.raises(RunError, match="is not empty"):
        PredictedMasks(tmp_path / "out.csv", CLASSES)


def test_a_mask_of_another_class_is_refused(tmp_path: Path) -> None:
    masks = PredictedMasks(tmp_path / "out.csv", CLASSES)
    with pytest.raises(DataError, match="'sky' of a mask is none of the 3"):
        masks.write(Sample("1"), mask_of(np.zeros((2, 2), dtype=np.uint8), ("sky",)))
    masks.discard()

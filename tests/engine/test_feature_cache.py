"""Features that an earlier run has kept are used while they are right, and never fill the disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import draw_folder
from tlstudio.api import RunError, WeightsInfo
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.feature_cache import cache_path, compute_features, make_room, mark_used
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.components import TinyConvNet


@pytest.mark.parametrize("copied", [True, False])
def test_a_change_of_a_referenced_image_is_noticed(
    *, copied: bool, project: Project, registry: Registry, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "pictures", 2)
    request, _ = plan_import(registry.formats.values(), folder, name="d", copy_files=copied)
    import_dataset(request, project.datasets_folder)
    tiny = TinyConvNet()
    options = tiny.Options()

    def path() -> Path:
        revision = project.dataset("d")
        return cache_path(
            tmp_path, revision, tiny, options, tiny.find_weights(options), tiny.preprocessor(options), seed=0
        )

    before = path()
    assert path() == before
    image = next(folder.rglob("*.png"))
    os.utime(image, ns=(0, 0))
    assert (path() == before) == copied  # a copy is not touched by what happens to the original


def test_a_change_of_a_referenced_recording_or_of_a_part_of_the_weights_is_noticed(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    for name in ("high", "low"):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for number in range(3):
            soundfile.write(tmp_path / "sounds" / name / f"{number}.wav", np.full(160, 0.1 * number), 16_000)
    request, _ = plan_import(registry.formats.values(), tmp_path / "sounds", name="d", copy_files=False)
    import_dataset(request, project.datasets_folder)
    tiny = TinyConvNet()
    (tmp_path / "weights").mkdir()
    part = tmp_path / "weights" / "model-00001-of-00002.safetensors"
    part.write_bytes(b"1")

    def path() -> Path:
        weights = WeightsInfo(part.parent, "your file")
        options = tiny.Options()
        return cache_path(tmp_path, project.dataset("d"), tiny, options, weights, tiny.preprocessor(options), seed=0)

    before = path()
    os.utime(part, ns=(0, 0))
    between = path()
    os.utime(tmp_path / "sounds" / "high" / "1.wav", ns=(0, 0))
    assert len({before, between, path()}) == 3


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    names = ["used first", "used again", "used last"]
    for age, name in enumerate(names):
        np.save(tmp_path / f"{name}.npy", np.zeros((10, 4), dtype=np.float32))
        os.utime(tmp_path / f"{name}.npy", (age, age))
    (tmp_path / "killed.123.part").touch()
    size = (tmp_path / "used last.npy").stat().st_size
    mark_used(tmp_path / "used again.npy")
    make_room(tmp_path, 0, limit=3 * size)
    assert {path.stem for path in tmp_path.iterdir()} == set(names)
    make_room(tmp_path, size, limit=3 * size)
    assert {path.stem for path in tmp_path.iterdir()} == {"used again", "used last"}
    make_room(tmp_path, size, limit=2 * size)
    assert {path.stem for path in tmp_path.iterdir()} == {"used again"}
    make_room(tmp_path, 3 * size, limit=2 * size)
    assert not list(tmp_path.iterdir())


def test_features_are_not_kept_where_the_disk_of_the_project_has_been(shapes_project: Project, tmp_path: Path) -> None:
    tiny = TinyConvNet()
    options = tiny.Options()
    with pytest.raises(RunError, match="does not exist") as told:
        compute_features(
            tmp_path / "mount" / "cache" / "features.npy",
            shapes_project.dataset("shapes"),
            tiny.load(options),
            tiny.preprocessor(options),
            device=torch.device("cpu"),
            batch_size=8,
            num_workers=0,
            on_progress=lambda _done, _total: None,
        )
    assert isinstance(told.value.__cause__, OSError), "a run waits for the disk then"
    assert not (tmp_path / "mount").exists()

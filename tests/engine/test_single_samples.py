"""BatchNorm cannot learn from a single value of a channel: it is told, or does not come to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import Heard
from tlstudio.api.methods import DataStream
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.method_building import stream_batch
from tlstudio.engine.preflight import preflight
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

# Its last maps are of one pixel.
SMALL_IMAGES: dict[str, Any] = {
    "backbone": {"name": "mobilenet_v3_small", "options": {"weights": "random", "image_size": 32}},
    "strategy": "full",
    "training": {"batch_size": 1, "epochs": 1, "augmentation": "none"},
}


def test_batches_of_one_sample_under_batchnorm_are_told_before_a_run_and_by_it(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    revision = shapes_project.dataset("shapes")
    recipe = complete(SMALL_IMAGES, revision, registry)
    plan = preflight(recipe, revision, registry)
    assert [problem.where for problem in plan.problems] == ["training.batch_size"]
    execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
    ended = heard.of(RunEnded)[0]
    assert (ended.status, ended.traceback) == ("failed", "")
    assert "BatchNorm cannot learn from a single sample" in ended.error
    assert "batch size to 2 or more" in ended.error


@pytest.mark.parametrize(("ratio", "batch_size", "count"), [(0.01, 8, 2), (0.5, 8, 4), (0.01, 1, 1), (3.0, 1, 3)])
def test_a_stream_gives_no_sample_alone_unless_the_runs_batches_are_of_one(
    ratio: float, batch_size: int, count: int
) -> None:
    assert stream_batch(DataStream("others", ratio=ratio), batch_size) == count

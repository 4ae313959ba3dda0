"""What a run tells of layer groups that begin to learn one after the other."""

from __future__ import annotations

import math

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.engine.advise import complete
from tlstudio.engine.events import StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


def test_each_step_tells_how_many_groups_have_joined_and_no_rate_of_those_that_have_not(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    values = {
        "dataset": {"shots": 2},
        "backbone": TINY_VISION,
        "strategy": "gradual_unfreezing",
        "training": {"epochs": 3, "batch_size": 3, "warmup": 0.0, "schedule": "constant", "augmentation": "none"},
    }
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
    steps = heard.of(StepLogged)
    assert [event.quantities for event in steps] == [{"unfrozen groups": n} for n in (0, 0, 1, 1, 2, 2)]
    for event in steps:
        joined = math.ceil(event.epoch) - 1
        names = list(event.learning_rates)
        assert names[0] == "head"
        learning = [name for name, rate in event.learning_rates.items() if rate > 0]
        assert learning == names[: joined + 1], "from the head down, those that have joined"
        assert learning == [name for name, norm in event.gradient_norms.items() if norm > 0]
        assert len(names) > 3

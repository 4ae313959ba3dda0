"""Mistakes of every kind with methods beside few samples: told in one error, before any backbone is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import draw_folder, import_reviews
from tests.engine.conftest import Heard
from tests.engine.test_method_checks import against
from tlstudio import api
from tlstudio.api import BackboneInfo
from tlstudio.api.nn import BackboneModule
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.testing.components import TinyConvNet, TinyTextEncoder


class Loading(TinyConvNet):
    """A backbone that remembers how often it was loaded, or built for the weights of a run."""

    name = "loading"

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def info(self) -> BackboneInfo:
        """Give the facts of the same network, without building this one."""
        return TinyConvNet().info()

    def load(self, options: api.Options) -> BackboneModule:
        """Load it, and remember so."""
        self.loads.append("load")
        return TinyConvNet().load(options)

    def restore(self, options: api.Options, assets: Path) -> BackboneModule:
        """Build it for weights that are there, and remember so."""
        self.loads.append("restore")
        return TinyConvNet().restore(options, assets)


@pytest.fixture
def loading(registry: Registry) -> Iterator[Loading]:
    backbone = Loading()
    label = registry.add(backbone)
    yield backbone
    registry.remove(label)


@pytest.fixture
def reading(registry: Registry) -> Iterator[str]:
    backbone = TinyTextEncoder()
    label = registry.add(backbone)
    yield backbone.name
    registry.remove(label)


def train(project: Project, registry: Registry, backbone: str, dataset: str) -> Run:
    heard = Heard()
    values = {"backbone": backbone, "strategy": "full", "training": {"epochs": 1, "batch_size": 16}}
    recipe = complete(values, project.dataset(dataset), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return run


def test_a_teacher_or_an_earlier_run_that_takes_other_items_is_refused_with_both(
    two_projects: Project, reviews_csv: Path, registry: Registry, reading: str
) -> None:
    import_reviews(two_projects, reviews_csv, registry)
    run = train(two_projects, registry, reading, "reviews")
    what = f"The model of run {run.id} takes texts, the data set has images. Choose a run on a data set of images."
    for name, options in {
        "distillation": {"teacher": run.id},
        "lwf": {"teacher": run.id},
        "ewc": {"run": run.id, "dataset": "others"},
    }.items():
        told = against(two_projects, registry, methods={name: options})
        assert told == [f"methods.{name}.{'run' if name == 'ewc' else 'teacher'}: {what}"]
    # Of the same items, it is none of this that speaks against it.
    beside: dict[str, Any] = {"methods": {"lwf": {"teacher": run.id}}, "training": {"augmentation": "none"}}
    (other,) = against(two_projects, registry, "reviews", backbone=reading, **beside)
    assert other.startswith("methods.lwf.teacher: the run does not start from this one")


def test_a_class_with_fewer_samples_than_the_shots_is_named_with_its_number_and_no_other_is(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "uneven", 12)
    for image in sorted((folder / "square").iterdir())[5:]:
        image.unlink()
    request, _ = plan_import(registry.formats.values(), folder, name="uneven", task="classification")
    import_dataset(request, project.datasets_folder)
    counts = project.dataset("uneven").class_counts()["train"]
    few = counts["square"]
    assert 0 < few < 6 <= min(count for name, count in counts.items() if name != "square")
    (told,) = against(project, registry, "uneven", shots=6)
    what = f"There are not 6 samples of each class in the train split of 'uneven': 'square' has {few}."
    assert told == f"dataset.shots: {what} Set dataset.shots to {few} or less, or import more data."
    assert against(project, registry, "uneven", shots=few) == []


def test_all_mistakes_are_told_in_one_error_and_nothing_is_loaded_until_there_are_none(
    two_projects: Project, registry: Registry, loading: Loading
) -> None:
    teacher = train(two_projects, registry, loading.name, "shapes")
    assert loading.loads, "that it is loaded is noticed"
    loading.loads.clear()
    methods: dict[str, Any] = {
        "ema": {},
        "swa": {},
        "replay": {"datasets": "gone@r1"},
        "coral": {"target": "others", "strength": -1},
        "distillation": {"teacher": teacher.id},
        "lwf": {"teacher": teacher.id},
        "ewc": {"run": "gone", "dataset": "others"},
    }
    training = {"epochs": 8, "batch_size": 4, "augmentation": "none"}
    told = against(two_projects, registry, shots=500, backbone=loading.name, methods=methods, training=training)
    for sentence in (
        "dataset.shots: There are not 500 samples of each class in the train split of 'shapes': 'circle' has 11",
        "methods.coral.strength: -1 is not allowed: it must be at least 0",
        "methods.replay.datasets: There is no data set 'gone' in this project. Import it, or name one that is there",
        "methods.swa: Average over epochs (SWA) and Moving average of the weights (EMA) exclude each other.",
        "methods.lwf.teacher: the run does not start from this one",
        "methods.ewc.run: There is no run 'gone' in this project.",
    ):
        assert sum(one.startswith(sentence) for one in told) == 1, (sentence, told)
    assert len(told) == 6, told
    assert loading.loads == []
    assert len(two_projects.runs()) == 1
    mended = {"ema": {}, "replay": {"datasets": "others"}, "coral": {"target": "others"}}
    mended["distillation"] = methods["distillation"]
    assert against(two_projects, registry, shots=4, backbone=loading.name, methods=mended, training=training) == []
    assert loading.loads == []

"""The samples that come beside those of a run: which ones, how many of each class, and in which views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION
from tlstudio.api import Augmentation, DataStream, Method, Options, View
from tlstudio.api.method_modules import Inputs, MethodContext, MethodModule, StreamBatch, TrainingStep
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import build_model, preprocessor_of
from tlstudio.engine.control import RunControl
from tlstudio.engine.datasets import Batch, sample_seed
from tlstudio.engine.devices import make_fabric
from tlstudio.engine.loading import at_once
from tlstudio.engine.method_building import Workshop, stream_rows
from tlstudio.engine.methods import ChosenMethod, Methods
from tlstudio.engine.parts import find_parts
from tlstudio.engine.recipe import learned_from
from tlstudio.engine.streams import stream_seed
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target

STEPS = 3


def workshop_of(project: Project, registry: Registry, methods: dict[str, Any]) -> Workshop:
    """What a run with some methods would have."""
    training = {"batch_size": 4, "seed": 5, "device": "cpu"}
    values = {"backbone": TINY_VISION, "strategy": "full", "methods": methods, "training": training}
    revision = project.dataset("shapes")
    recipe = complete({**values, "dataset": {"shots": 2}}, revision, registry)
    parts, few = find_parts(recipe, registry), learned_from(recipe, revision)
    model = build_model(parts, parts.backbone.load(parts.backbone_options), few.target_info())
    fabric = make_fabric("cpu", "32")
    options, control = recipe.training, RunControl()

    def nothing() -> Any:
        raise AssertionError("no method goes through the samples of the run by itself")

    return Workshop(parts, few, model, model, registry, options, None, fabric, control, at_once, nothing, STEPS)


def batches_of(workshop: Workshop, stream: str, count: int = STEPS) -> list[Batch]:
    """The first batches of a stream."""
    return list(workshop.streams(workshop.build())[stream].batches(0, count))


def test_the_light_view_of_fixmatch_is_its_weak_one_and_each_view_is_varied_by_itself(
    shapes_project: Project, registry: Registry
) -> None:
    workshop = workshop_of(shapes_project, registry, {"fixmatch": {"ratio": 1.0}})
    (batch,) = batches_of(workshop, "fixmatch/unlabelled", 1)
    assert list(batch.views) == ["weak"]
    rows = np.asarray(workshop.revision.left_aside)[batch.positions.numpy()]
    seed = stream_seed(5, "fixmatch", "unlabelled")
    views: list[tuple[Inputs, Augmentation, str]] = [
        (batch.inputs, "strong", ""),
        (batch.views["weak"], "light", "weak"),
    ]
    for found, augmentation, view in views:
        prepare = preprocessor_of(workshop.parts, augmentation=augmentation)
        items = [prepare(workshop.revision.sample(int(row)), sample_seed(seed, 0, int(row), view)) for row in rows]
        for name, expected in prepare.collate(items).items():
            assert torch.equal(found[name], expected), augmentation


def test_replay_goes_through_exactly_the_kept_samples_as_many_of_each_class(
    two_projects: Project, registry: Registry
) -> None:
    workshop = workshop_of(two_projects, registry, {"replay": {"datasets": "others", "kept": 7, "ratio": 1.75}})
    first, second, third = batches_of(workshop, "replay/others@r1")
    assert [len(one.positions) for one in (first, second, third)] == [7, 7, 7]
    for batch in (first, second, third):  # a batch is a round here
        assert sorted(batch.positions.tolist()) == list(range(7))
        assert sorted(Counter(batch.targets.tolist()).values()) == [2, 2, 3]
    assert first.positions.tolist() != second.positions.tolist(), "each round has another order"


@pytest.fixture
def uneven(two_projects: Project, registry: Registry, tmp_path: Path) -> Project:
    """With a data set of which one class has few samples."""
    folder = draw_folder(tmp_path / "uneven", 12, seed=6)
    for path in sorted((folder / "square").iterdir())[4:]:
        path.unlink()
    request, _ = plan_import(registry.formats.values(), folder, name="uneven", task="classification")
    import_dataset(request, two_projects.datasets_folder)
    return two_projects


def test_of_a_small_class_all_are_kept_and_the_others_share_what_is_left(uneven: Project) -> None:
    own, data = uneven.dataset("shapes"), uneven.dataset("uneven")
    there = Counter(data.labels(data.indices("train")))
    small = there["square"]
    assert small < 4

    def kept(limit: int, seed: int = 0) -> np.ndarray:
        return stream_rows(DataStream("earlier", "uneven", labelled=True, limit=limit), data, own, seed)

    for limit in (1, 3, 3 * small, 3 * small + 5, 2):
        rows = kept(limit)
        assert len(set(rows.tolist())) == len(rows) == limit
        assert set(rows.tolist()) <= set(data.indices("train").tolist())
        assert rows.tolist() == kept(limit).tolist()
        counts = Counter(data.labels(rows))
        big = [counts[name] for name in data.classes if name != "square"]
        assert max(big) - min(big) <= 1
        assert counts["square"] == small if limit >= 3 * small else abs(counts["square"] - max(big)) <= 1
    assert kept(8, 0).tolist() != kept(8, 1).tolist()
    assert kept(0).tolist() == kept(1000).tolist() == data.indices("train").tolist()


def test_of_numbers_just_as_many_are_kept_as_were_asked_for(reviews_project: Project) -> None:
    own, scores = reviews_project.dataset("reviews"), reviews_project.dataset("scores")
    stream = DataStream("earlier", "scores", labelled=True, limit=9)
    rows = [stream_rows(stream, scores, own, seed).tolist() for seed in (0, 0, 1)]
    assert [len(set(one)) for one in rows] == [9, 9, 9]
    assert rows[0] == rows[1] != rows[2]


class Looking(MethodModule):
    """Keeps what a step shows it of a stream."""

    seen: StreamBatch

    def extra_loss(self, step: TrainingStep) -> torch.Tensor | None:
        self.seen = step.streams["beside"]
        return None


class Look(Method):
    """The method of the module above."""

    name, title, description = "look", "Look", "Keeps what it is shown."

    def streams(self, options: Options) -> Sequence[DataStream]:
        views = {"strong": View("strong"), "weak": View("light"), "plain": View("none")}
        return [DataStream("beside", "others", views=views)]

    def build(self, context: MethodContext, options: Options) -> MethodModule:
        return Looking(context)


def test_what_a_stream_brings_is_shown_as_its_first_view_and_the_others_by_their_names(
    registry: Registry, tmp_path: Path
) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    context = method_context(registry.head("classification"), samples, target)
    module, step = Looking(context), training_step(context)
    methods = Methods((ChosenMethod(Look(), Look.Options()),), {"look": module})
    strong, weak, plain = ({name: x + number for name, x in step.inputs.items()} for number in (1, 2, 3))
    none, at = torch.empty(len(samples), 0), torch.arange(len(samples))
    beside = Batch(strong, none, at, views={"weak": weak, "plain": plain})
    methods.extra_loss(step, Batch(step.inputs, step.targets, at, streams={"look/beside": beside}))
    assert module.seen.views.keys() == {"strong", "weak", "plain"}
    assert module.seen.views["strong"] is strong
    assert module.seen.views["weak"] is weak
    assert module.seen.views["plain"] is plain

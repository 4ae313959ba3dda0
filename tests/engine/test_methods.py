"""Methods stand beside a strategy: their streams, views, weights and state are part of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import added
from tests.engine.conftest import TINY_VISION, Heard
from tests.engine.resuming import at_step, gone_on_with
from tlstudio import api
from tlstudio.api import DataStream, Method, Options, Problem, ProblemsError, Setting, Situation, View, option
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep, rampup
from tlstudio.api.nn import HeadModule, TargetEncoder
from tlstudio.engine import method_building
from tlstudio.engine.advise import complete, set_values
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.events import EpochEnded, Progress, RunEvent, RunStarted, StepLogged
from tlstudio.engine.execute import execute_run
from tlstudio.engine.method_checks import misfits
from tlstudio.engine.parts import find_parts
from tlstudio.engine.recipe import learned_from
from tlstudio.engine.streams import StreamSampler
from tlstudio.engine.used_plugins import missing_plugins
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.testing.methods import method_context, training_step
from tlstudio.testing.samples import tiny_samples, tiny_target
from tlstudio_strategies.full import Full


class BusyOptions(Options):
    """Options of the method below."""

    dataset: str = option("others", title="Source", help="Another data set.", browse="dataset")
    strength: float = option(0.5, title="Lambda", help="Weight of the other loss.", ge=0, le=1)


class BusyModule(MethodModule):
    """Uses everything that a method can: labels and views of streams, own weights, noise, and averaged weights."""

    steps: Tensor
    epochs: Tensor
    drawn: Tensor

    def __init__(self, context: MethodContext, strength: float) -> None:
        super().__init__(context)
        self.other_head: HeadModule = context.new_head(context.targets["source"])
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.register_buffer("drawn", torch.zeros(()))
        self._strength = strength
        for number, parameter in enumerate(context.model.parameters()):
            self.register_buffer(f"mean_{number}", parameter.detach().clone())
        self.lambda_now = 0.0

    def encoder(self, stream: str) -> TargetEncoder:
        return self.other_head.encoder()

    def begin(self) -> None:
        _, classes = next(iter(self.context.batches("")))
        assert len(classes.unique()) > 1, "a batch of one class tells statistics of layers nothing of the others"

    def on_epoch_start(self, epoch: int) -> None:
        self.epochs += 1
        self.drawn = torch.rand(())

    def transform(self, step: TrainingStep) -> None:
        step.inputs = {
            name: x + self.drawn / (100 * self.epochs) * torch.randn_like(x) for name, x in step.inputs.items()
        }

    def losses(self, step: TrainingStep, losses: Tensor) -> Tensor:
        assert step.computed()[1].shape[0] == len(losses)
        return losses * 0.9

    def extra_loss(self, step: TrainingStep) -> Tensor:
        source, unshown = step.streams["source"], step.streams["unshown"]
        assert source.targets is not None
        features, _ = step.forward(source.inputs)
        weak, strong = (step.forward(unshown.views[name])[1] for name in ("weak", "strong"))
        again, _ = step.forward(step.views["again"])
        self.lambda_now = self._strength * rampup(step.progress, "linear")
        other = self.other_head.loss(self.other_head(features), source.targets).mean()
        return (
            other * self.lambda_now + (weak - strong).square().mean() + again.require("pooled").square().mean() * 1e-3
        )

    def backward(self, compute: Callable[[], Tensor]) -> Tensor:
        compute()
        return compute()

    def after_step(self) -> None:
        self.steps += 1
        for number, parameter in enumerate(self.context.model.parameters()):
            self.get_buffer(f"mean_{number}").lerp_(parameter.detach(), 0.5)

    @contextlib.contextmanager
    def evaluated(self) -> Iterator[None]:
        parameters = list(self.context.model.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for number, parameter in enumerate(parameters):
                parameter.copy_(self.get_buffer(f"mean_{number}"))
            yield
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)

    def quantities(self) -> Mapping[str, float]:
        return {"lambda": self.lambda_now}


class Busy(Method):
    """The method of the module above."""

    name, title, description = "busy", "Busy", "Does everything."
    Options = BusyOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        if setting.streams["source"].count < 10:
            return [Problem("strength", "is too much for so little.")]
        return ()

    def streams(self, options: api.Options) -> Sequence[DataStream]:
        assert isinstance(options, BusyOptions)
        views = {"weak": View("light"), "strong": View("strong")}
        return [
            DataStream("source", options.dataset, labelled=True, ratio=0.5),
            DataStream("unshown", rows="unshown", views=views),
        ]

    def views(self, options: api.Options) -> Mapping[str, View]:
        return {"again": View("strong")}

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        assert isinstance(options, BusyOptions)
        return BusyModule(context, options.strength)


@pytest.fixture
def busy(registry: Registry) -> Iterator[Registry]:
    with added(registry, Busy()):
        yield registry


def values(**training: Any) -> dict[str, Any]:
    return {
        "dataset": {"shots": 4},
        "backbone": TINY_VISION,
        "strategy": "full",
        "methods": {"busy": {"dataset": "others"}},
        "training": {"epochs": 3, "batch_size": 4, "checkpoint_every": 0, "augmentation": "light", **training},
    }


def train(project: Project, registry: Registry, heard: Heard, recipe: dict[str, Any]) -> Run:
    completed = complete(recipe, project.dataset("shapes"), registry)
    return execute_run(completed, project, registry, on_event=heard, control=heard.control)


def is_step(number: int, event: RunEvent) -> bool:
    return isinstance(event, StepLogged) and event.step == number


def test_a_method_uses_streams_views_and_weights_of_its_own_and_a_cut_off_run_ends_bit_for_bit(
    two_projects: Project, busy: Registry
) -> None:
    whole, cuts = gone_on_with(two_projects, busy, values(), at_step(7), at_step(5))
    assert [cut.step for cut in cuts] == [6, 4]  # between two epochs, and in the middle of one
    steps = whole.of(StepLogged)
    assert len(steps) == 9  # 3 classes of 4, in batches of 4, three times
    assert [event.quantities["busy/lambda"] for event in steps] == pytest.approx([0.5 * n / 9 for n in range(9)])
    assert all(event.gradient_norms["head"] > 0 for event in steps)
    assert any(name.startswith("busy") for name in steps[0].learning_rates)
    run = two_projects.run(two_projects.runs()[0].id)
    assert run.read_recipe()["methods"] == {"busy": {"dataset": "others@r1"}}


def test_the_weights_that_a_method_puts_in_for_the_validation_are_those_that_are_kept(
    two_projects: Project, busy: Registry
) -> None:
    heard = Heard()
    run = train(two_projects, busy, heard, values(epochs=1))
    _, model = load_run_model(run, busy)
    from safetensors.torch import load_file

    state = load_file(run.folder / "checkpoints" / "last" / "training.safetensors")
    means = {int(name.rpartition("_")[2]): value for name, value in state.items() if "mean_" in name}
    kept = list(model.parameters())
    assert len(means) == len(kept)
    assert all(torch.equal(means[number], parameter) for number, parameter in enumerate(kept))
    raw = load_file(run.folder / "checkpoints" / "last" / "model.safetensors")
    assert not torch.equal(raw["head.output.weight"], model.head.output.weight)  # type: ignore[union-attr,arg-type]
    assert heard.of(EpochEnded)[0].is_best

    # Nothing of it stays in the model, so that it is needed no more, but for going on.
    recipe = run.recipe_path.read_text("utf-8")
    run.recipe_path.write_text(recipe.replace("methods.busy", "methods.gone"), "utf-8")
    load_run_model(run, busy)
    assert not missing_plugins(run, busy)
    assert "method 'gone'" in missing_plugins(run, busy, trains=True)[0]


def test_everything_that_is_wrong_with_methods_is_told_at_once_before_anything_is_loaded(
    two_projects: Project, busy: Registry
) -> None:
    recipe = values(batch_size=64)
    recipe["methods"] = {"busy": {"dataset": "other", "strength": 2}, "bussy": {}, "l2_sp": {"alpha": "much"}}
    with pytest.raises(ProblemsError) as caught:
        complete(recipe, two_projects.dataset("shapes"), busy)
    told = {problem.where: str(problem) for problem in caught.value.problems}
    assert "1" in told["methods.busy.strength"]
    assert "busy" in told["methods.bussy"]
    assert "methods.l2_sp.alpha" in told
    recipe["methods"] = {"busy": {"dataset": "other"}}
    with pytest.raises(ProblemsError) as caught:
        complete(recipe, two_projects.dataset("shapes"), busy)
    told_now = " ".join(str(problem) for problem in caught.value.problems)
    assert "no data set 'other'" in told_now
    assert "others" in told_now
    assert "fewer than a batch of 64" in told_now


class Loner(Busy):
    """As the other, but alone."""

    name = "loner"
    title = "Loner"
    excludes = ("l2_sp",)


def test_what_a_method_cannot_stand_beside_is_said_and_what_a_setting_would_mend_is_not(
    two_projects: Project, busy: Registry
) -> None:
    label = busy.add(Loner())
    try:
        revision = two_projects.dataset("shapes")
        recipe = complete(values() | {"methods": {"l2_sp": {}}}, revision, busy)
        few = learned_from(recipe, revision)
        found = misfits(recipe, find_parts(recipe, busy), few, few.target_info(), busy)
        assert found["loner"] == "Not together with Stay near the start (L2-SP)."
        assert "l2_sp" not in found
        assert "busy" not in found
        probe = complete({**values(), "methods": {}, "strategy": "linear_probe"}, revision, busy)
        found = misfits(probe, find_parts(probe, busy), few, few.target_info(), busy)
        assert "nothing to pull" in found["l2_sp"]
        assert "loner" not in found
    finally:
        busy.remove(label)


def test_shots_more_than_a_class_has_are_told_with_what_there_is(shapes_project: Project, registry: Registry) -> None:
    revision = shapes_project.dataset("shapes")
    with pytest.raises(ProblemsError, match="There are not 500 samples of each class"):
        complete({"dataset": {"shots": 500}, "backbone": TINY_VISION}, revision, registry)


def test_few_samples_are_drawn_by_the_seed_from_each_class_and_the_rest_is_left_aside(
    shapes_project: Project,
) -> None:
    revision = shapes_project.dataset("shapes")
    few, again, other = revision.few(3, 0), revision.few(3, 0), revision.few(3, 1)
    assert few.indices("train").tolist() == again.indices("train").tolist() != other.indices("train").tolist()
    assert few.class_counts()["train"] == dict.fromkeys(revision.classes, 3)
    both = np.concatenate([few.indices("train"), np.asarray(few.left_aside)])
    assert sorted(both.tolist()) == revision.indices("train").tolist()
    assert few.indices("test").tolist() == revision.indices("test").tolist()


def test_a_stream_goes_through_all_of_its_samples_before_any_comes_again() -> None:
    sampler = StreamSampler(count=7, batch_size=3, seed=1)
    sampler.batches = 14
    keys = [key for batch in sampler for key in batch]
    assert len(keys) == 42
    for number in range(6):
        assert sorted(position for where, position in keys if where == number) == list(range(7))
    sampler.first_batch, sampler.batches = 5, 9
    assert [key for batch in sampler for key in batch] == keys[15:]


def test_options_of_methods_are_set_by_name() -> None:
    found = set_values({"methods": {"mixup": {"alpha": 1}}}, ["methods.mixup.alpha=0.4", "dataset.shots=8"])
    assert found == {"methods": {"mixup": {"alpha": 0.4}}, "dataset": {"shots": 8}}
    with pytest.raises(ProblemsError, match="which option"):
        set_values({}, ["methods.mixup=3"])


def test_l2_sp_is_half_alpha_times_the_squared_distance_from_the_start(registry: Registry, tmp_path: Path) -> None:
    samples, target = tiny_samples("image", "classification", tmp_path), tiny_target("classification")
    context = method_context(registry.head("classification"), samples, target)
    method = registry.method("l2_sp")
    module = method.build(context, method.Options.model_validate({"alpha": 0.3, "beta": 0.2}))
    module.begin()
    assert not list(module.parameters())  # nothing of the model has become a part of it
    first = [parameter.detach().double() for parameter in context.model.backbone.parameters()]
    with torch.no_grad():
        for parameter in context.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    pairs = zip(context.model.backbone.parameters(), first, strict=True)
    moved = sum(float((p.detach().double() - start).square().sum()) for p, start in pairs)
    head = sum(float(p.detach().double().square().sum()) for p in context.model.head.parameters())
    penalty = module.extra_loss(training_step(context))
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(0.15 * moved + 0.1 * head, rel=1e-5)
    assert module.quantities()["distance from the start"] == pytest.approx(moved**0.5, rel=1e-5)


def test_events_of_older_runs_without_quantities_are_still_read() -> None:
    from tlstudio.engine.events import from_json

    line = (
        '{"event": "StepLogged", "time": 1.0, "step": 1, "epoch": 0.1, "loss": 1.0, "learning_rates": {}, '
        '"samples_per_second": 1.0, "seconds": 1.0}'
    )
    event: RunEvent = from_json(line)[0]
    assert isinstance(event, StepLogged)
    assert event.quantities == {}


class Counting(Full):
    """Recommends as many epochs as there are samples."""

    name = "counting"

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        return {"epochs": situation.num_train}


def test_what_is_recommended_is_for_as_many_samples_as_are_learned_from(
    shapes_project: Project, registry: Registry
) -> None:
    revision = shapes_project.dataset("shapes")
    label = registry.add(Counting())
    values: dict[str, Any] = {"backbone": TINY_VISION, "strategy": "counting"}
    few, every = ({**values, "dataset": {"shots": 2}}, values)
    assert complete(few, revision, registry).training.epochs == 6
    assert complete(every, revision, registry).training.epochs == len(revision.indices("train"))
    registry.remove(label)


def test_what_a_method_does_before_the_first_step_is_told_and_can_be_cancelled(
    shapes_project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cancelling(Heard):
        def __call__(self, event: RunEvent) -> None:
            super().__call__(event)
            if isinstance(event, Progress) and event.done:
                self.control.cancel()

    monkeypatch.setattr(method_building, "_TOLD_AFTER", 0.0)  # as if it took longer than that
    values = {"backbone": TINY_VISION, "strategy": "lp_ft", "training": {"batch_size": 4}}
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    heard = Cancelling()
    run = execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
    (told,) = [event for event in heard.of(Progress) if event.done]
    train = len(shapes_project.dataset("shapes").indices("train"))
    assert (told.done, told.total) == (4, train)
    assert told.what.endswith(": going through the samples")
    assert run.status == "cancelled"
    assert heard.of(RunStarted)
    assert not heard.of(StepLogged)

"""One run from beginning to end, on real images and texts, by real small networks."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.engine.advise import complete
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.evaluate import evaluate_run, read_evaluation
from tlstudio.engine.events import (
    CheckpointSaved,
    EpochEnded,
    Note,
    Paused,
    Progress,
    Resumed,
    RunEnded,
    RunEvent,
    RunStarted,
    StepLogged,
    from_json,
)
from tlstudio.engine.execute import execute_run
from tlstudio.engine.random_state import random_state_aside
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def train(project: Project, registry: Registry, heard: Heard, dataset: str, values: dict[str, Any]) -> Run:
    """Complete a recipe and execute it."""
    recipe = complete(values, project.dataset(dataset), registry)
    return execute_run(recipe, project, registry, on_event=heard, control=heard.control)


def full(epochs: int = 2, **training: Any) -> dict[str, Any]:
    """A recipe for fine-tuning all of a tiny network."""
    options = {"epochs": epochs, "batch_size": 8, "augmentation": "light", **training}
    return {"backbone": TINY_VISION, "strategy": "full", "training": options}


def test_a_run_ends_done_with_metrics_and_leaves_everything_in_its_folder(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    run = train(shapes_project, registry, heard, "shapes", full(epochs=3))
    ended = heard.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "done", ended.error or ended.traceback
    assert {"accuracy", "f1_macro", "loss"} <= set(ended.metrics["test"])
    assert run.summary().monitor == heard.of(RunStarted)[0].monitor == "f1_macro"
    assert [event.epoch for event in heard.of(EpochEnded)] == [1, 2, 3]
    assert len(heard.of(RunStarted)) == 1
    assert heard.of(StepLogged)[-1].epoch == pytest.approx(3.0)
    assert {event.kind for event in heard.of(CheckpointSaved)} == {"best", "last"}

    names = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert {
        "recipe.toml",
        "events.jsonl",
        "environment.json",
        "target.json",
        "checkpoints/best/model.safetensors",
        "checkpoints/last/model.safetensors",
        "predictions/test.parquet",
        "predictions/validation.parquet",
    } <= names
    recorded = [from_json(line)[0] for line in run.event_lines()]
    assert recorded == heard.events
    assert shapes_project.runs()[0].metrics == {k: dict(v) for k, v in ended.metrics.items()}
    assert run.read_recipe()["dataset"] == {"name": "shapes", "revision": "r1"}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(shapes_project: Project, registry: Registry) -> None:
    losses = []
    for seed in (3, 3, 4):
        heard = Heard()
        train(shapes_project, registry, heard, "shapes", full(epochs=1, seed=seed))
        losses.append([event.loss for event in heard.of(StepLogged)])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_loader_processes_do_not_change_what_is_learned(shapes_project: Project, registry: Registry) -> None:
    losses = []
    for workers in (0, 1):
        heard = Heard()
        train(shapes_project, registry, heard, "shapes", full(epochs=1, num_workers=workers))
        losses.append([event.loss for event in heard.of(StepLogged)])
    assert losses[0]
    assert losses[0] == losses[1]


def test_accumulated_small_batches_make_as_many_steps_as_the_large_batch(
    shapes_project: Project, registry: Registry
) -> None:
    steps = []
    for batch_size, accumulate in ((16, 1), (4, 4)):
        heard = Heard()
        train(shapes_project, registry, heard, "shapes", full(1, batch_size=batch_size, accumulate=accumulate))
        steps.append((heard.of(RunStarted)[0].steps_per_epoch, heard.of(EpochEnded)[0].step))
    assert steps[0] == steps[1]


def test_a_linear_probe_computes_features_once_and_uses_them_again(shapes_project: Project, registry: Registry) -> None:
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "training": {"epochs": 4}}
    first, second = Heard(), Heard()
    run = train(shapes_project, registry, first, "shapes", values)
    train(shapes_project, registry, second, "shapes", values)
    assert any(event.what == "Computing features" for event in first.of(Progress))
    assert not any(event.what == "Computing features" for event in second.of(Progress))
    assert any("used again" in event.text for event in second.of(Note))
    changed = load_file(run.folder / "checkpoints" / "best" / "model.safetensors")
    assert all(name.startswith("head.") for name in changed)


def test_evaluating_again_from_the_checkpoint_gives_the_recorded_results(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    run = train(shapes_project, registry, heard, "shapes", full())
    stored = read_evaluation(run, "test")
    again = evaluate_run(run, shapes_project, registry, split="test")
    assert again.metrics == pytest.approx(stored.metrics, abs=1e-5)
    assert stored.confusion is not None
    assert stored.confusion.sum() == len(shapes_project.dataset("shapes").indices("test")) == len(stored.items)
    assert [item.loss for item in stored.items] == sorted((item.loss for item in stored.items), reverse=True)
    assert sum(row.support for row in stored.per_class) == len(stored.items)


@pytest.mark.starter
@pytest.mark.parametrize(("dataset", "metric"), [("reviews", "accuracy"), ("scores", "mae"), ("topics", "f1_macro")])
def test_each_text_task_trains_with_the_default_recipe(
    dataset: str, metric: str, reviews_project: Project, registry: Registry, heard: Heard
) -> None:
    run = train(reviews_project, registry, heard, dataset, {"training": {"epochs": 3}})
    ended = heard.events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "done", ended.error or ended.traceback
    assert metric in ended.metrics["test"]
    assert len(read_evaluation(run).items) == len(reviews_project.dataset(dataset).indices("test"))


class ActingListener(Heard):
    """Asks something of the run when it hears the n-th event of a kind."""

    def __init__(self, kind: type[RunEvent], count: int, ask: str) -> None:
        super().__init__()
        self._kind, self._count, self._ask = kind, count, ask

    def __call__(self, event: RunEvent) -> None:
        super().__call__(event)
        if isinstance(event, self._kind) and len(self.of(self._kind)) == self._count:
            getattr(self.control, self._ask)()
        if isinstance(event, Paused):
            self.control.resume()


def test_cancel_ends_after_the_step_and_keeps_no_result(shapes_project: Project, registry: Registry) -> None:
    heard = ActingListener(StepLogged, 2, "cancel")
    run = train(shapes_project, registry, heard, "shapes", full(epochs=50))
    assert len(heard.of(StepLogged)) == 2
    assert [event.status for event in heard.of(RunEnded)] == ["cancelled"]
    assert run.status == "cancelled"
    assert run.metrics() == {}


def test_cancel_while_evaluating_ends_at_the_next_batch(shapes_project: Project, registry: Registry) -> None:
    heard = ActingListener(Progress, 2, "cancel")  # the first is of loading the backbone
    run = train(shapes_project, registry, heard, "shapes", full(epochs=1, batch_size=2))
    assert [event.what for event in heard.of(Progress)][1:] == ["Evaluating on the validation split"]
    assert heard.of(RunEnded)[0].status == "cancelled"
    assert run.metrics() == {}
    assert run.best_checkpoint.is_dir()


def test_a_run_that_is_to_end_cannot_be_paused() -> None:
    control = RunControl()
    control.stop()
    control.pause()
    assert not control.paused
    assert control.wait_while_paused(pytest.fail, pytest.fail) == 0.0


def test_stop_keeps_the_best_and_evaluates_it(shapes_project: Project, registry: Registry) -> None:
    heard = ActingListener(EpochEnded, 1, "stop")
    train(shapes_project, registry, heard, "shapes", full(epochs=50))
    ended = heard.of(RunEnded)[0]
    assert ended.status == "stopped"
    assert ended.best_epoch == 1
    assert "accuracy" in ended.metrics["test"]


def test_stop_within_the_first_epoch_still_keeps_a_model(shapes_project: Project, registry: Registry) -> None:
    heard = ActingListener(StepLogged, 1, "stop")
    run = train(shapes_project, registry, heard, "shapes", full(epochs=50))
    assert heard.of(RunEnded)[0].status == "stopped"
    assert read_evaluation(run).metrics["accuracy"] >= 0


def test_pause_waits_and_goes_on_with_the_same_result(shapes_project: Project, registry: Registry) -> None:
    plain, paused = Heard(), ActingListener(StepLogged, 2, "pause")
    train(shapes_project, registry, plain, "shapes", full())
    train(shapes_project, registry, paused, "shapes", full())
    assert len(paused.of(Paused)) == len(paused.of(Resumed)) == 1
    assert [event.loss for event in paused.of(StepLogged)] == [event.loss for event in plain.of(StepLogged)]


def test_early_stopping_ends_before_the_last_epoch(shapes_project: Project, registry: Registry, heard: Heard) -> None:
    values = full(epochs=40, early_stopping=2, learning_rate=1e-7)
    train(shapes_project, registry, heard, "shapes", values)
    epochs = heard.of(EpochEnded)
    assert len(epochs) < 40
    assert epochs[-1].epoch == epochs[-1].best_epoch + 2


def test_keeping_the_last_epoch_takes_the_last_whatever_was_better(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    train(shapes_project, registry, heard, "shapes", full(epochs=4, keep="last"))
    epochs = heard.of(EpochEnded)
    assert heard.of(RunEnded)[0].best_epoch == 4
    assert heard.of(RunEnded)[0].metrics["validation"] == pytest.approx(dict(epochs[-1].validation), abs=1e-5)
    best = max(epochs, key=lambda event: (event.validation["f1_macro"], -event.validation["loss"]))
    assert epochs[-1].best_epoch == best.epoch
    assert [event.epoch for event in epochs if event.is_best][-1] == best.epoch


def test_keeping_the_last_epoch_writes_it_once_and_not_each_epoch(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    train(shapes_project, registry, heard, "shapes", full(epochs=3, keep="last"))
    kept = [event.epoch for event in heard.of(CheckpointSaved) if event.kind == "best"]
    assert kept == [3]


def test_stop_in_the_middle_of_an_epoch_keeps_what_is_there_where_the_last_is_kept(
    shapes_project: Project, registry: Registry
) -> None:
    heard = ActingListener(StepLogged, 7, "stop")  # an epoch has 4 steps or more
    run = train(shapes_project, registry, heard, "shapes", full(epochs=50, keep="last"))
    ended, last = heard.of(RunEnded)[0], heard.of(EpochEnded)[-1]
    assert ended.status == "stopped"
    assert ended.best_epoch == last.epoch
    assert last.step == 7
    assert read_evaluation(run, "validation").metrics == pytest.approx(dict(last.validation), abs=1e-5)


def test_the_time_of_a_run_is_that_of_all_of_it(shapes_project: Project, registry: Registry, heard: Heard) -> None:
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "training": {"epochs": 1}}
    run = train(shapes_project, registry, heard, "shapes", values)
    times = [from_json(line)[1] for line in run.event_lines()]
    assert heard.of(RunEnded)[0].seconds >= times[-2] - times[0] - 0.01  # the end itself is written later
    assert run.summary().seconds == heard.of(RunEnded)[0].seconds


def test_a_pause_while_features_are_computed_is_told_and_left_out_of_the_time(
    shapes_project: Project, registry: Registry
) -> None:
    heard = ActingListener(Progress, 2, "pause")  # the first is of loading the backbone
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "training": {"epochs": 1}}
    train(shapes_project, registry, heard, "shapes", values)
    names = [type(event).__name__ for event in heard.events]
    assert names.index("Paused") < names.index("Resumed") < names.index("RunStarted")
    assert heard.of(RunEnded)[0].status == "done"
    assert heard.control.waited > 0


def test_an_evaluation_can_be_cancelled_and_leaves_what_was_stored(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    run = train(shapes_project, registry, heard, "shapes", full(epochs=1, batch_size=2))
    control, done = RunControl(), []

    def progress(count: int, _total: int) -> None:
        done.append(count)
        control.cancel()

    with pytest.raises(Interrupted):
        evaluate_run(run, shapes_project, registry, on_progress=progress, control=control)
    assert done == [2]
    assert read_evaluation(run).metrics == heard.of(RunEnded)[0].metrics["test"]


RANDOM_SUM = """
import torch
from tlstudio.api import FineTuningStrategy, hookimpl

TLSTUDIO_API = "1.0"


class Undetermined(FineTuningStrategy):
    name, title, description = "undetermined", "Undetermined", "Uses an operation without a deterministic form."

    def prepare(self, model, options):
        pass

    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup
        return [ParamGroup("all", list(model.parameters()), learning_rate)]

    def extra_loss(self, model, options, num_train):
        return torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0])).sum()


@hookimpl
def register_strategies():
    return [Undetermined()]
"""


def test_an_operation_without_a_deterministic_form_is_told_in_a_sentence(
    shapes_project: Project, heard: Heard, tmp_path: Path
) -> None:
    (tmp_path / "undetermined.py").write_text(RANDOM_SUM, encoding="utf-8")
    manager = PluginManager(tmp_path)
    manager.discover()
    values = {**full(1, deterministic=True, device="cpu"), "strategy": "undetermined"}
    train(shapes_project, manager.registry, heard, "shapes", values)
    ended = heard.of(RunEnded)[0]
    assert ended.status == "failed"
    assert ended.error.endswith("not deterministic on this device: put_. Switch 'deterministic' off.")
    assert not ended.traceback


class DisturbedListener(Heard):
    """After the first step, another thread draws random numbers of its own until the next step or a moment later."""

    def __init__(self) -> None:
        super().__init__()
        self._inside, self._next_step = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._draw)

    def _draw(self) -> None:
        with random_state_aside():
            torch.rand(1000)
            self._inside.set()
            self._next_step.wait(0.3)

    def __call__(self, event: RunEvent) -> None:
        super().__call__(event)
        if isinstance(event, StepLogged) and len(self.of(StepLogged)) == 1:
            self._thread.start()
            self._inside.wait()
        elif isinstance(event, StepLogged):
            self._next_step.set()
        elif isinstance(event, RunEnded):
            self._thread.join()


def test_what_is_built_beside_a_run_does_not_change_it(shapes_project: Project, registry: Registry) -> None:
    values = {**full(epochs=1, device="cpu"), "head": {"name": "classification", "options": {"dropout": 0.5}}}
    losses = []
    for heard in (Heard(), DisturbedListener()):
        train(shapes_project, registry, heard, "shapes", values)
        losses.append([event.loss for event in heard.of(StepLogged)])
    assert losses[0] == losses[1]


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    values = full(epochs=30, learning_rate=10.0, optimizer="sgd", clip_norm=0.0, warmup=0.0, l1=10.0)
    run = train(shapes_project, registry, heard, "shapes", values)
    ended = heard.of(RunEnded)[0]
    assert ended.status == "failed"
    assert "no longer a number" in ended.error
    assert "learning rate" in ended.error
    assert run.status == "failed"


def test_a_bug_in_a_listener_free_part_ends_with_a_traceback(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    recipe = complete(full(), shapes_project.dataset("shapes"), registry)
    for path in (shapes_project.datasets_folder / "shapes" / "r1").rglob("*.png"):
        path.unlink()
    execute_run(recipe, shapes_project, registry, on_event=heard, control=RunControl())
    ended = heard.of(RunEnded)[0]
    assert ended.status == "failed"
    assert "no longer there" in ended.error
    assert not ended.traceback  # a missing file is no bug


@pytest.mark.parametrize("files_are_gone", [False, True])
def test_a_run_puts_threads_and_determinism_back_however_it_ends(
    *, files_are_gone: bool, shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    threads = torch.get_num_threads()
    recipe = complete(full(1, threads=threads + 1, deterministic=True), shapes_project.dataset("shapes"), registry)
    if files_are_gone:
        for path in (shapes_project.datasets_folder / "shapes" / "r1").rglob("*.png"):
            path.unlink()
    state = torch.get_rng_state()
    run = execute_run(recipe, shapes_project, registry, on_event=heard, control=RunControl())
    assert heard.of(RunEnded)[0].status == ("failed" if files_are_gone else "done")
    assert run.read_json("environment")["threads"] == threads + 1
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_both_cpu_precisions_train(precision: str, shapes_project: Project, registry: Registry, heard: Heard) -> None:
    train(shapes_project, registry, heard, "shapes", full(epochs=1, precision=precision))
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0].error


def test_predictions_are_kept_with_ids_labels_and_outputs(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    run = train(shapes_project, registry, heard, "shapes", full(epochs=1))
    table = pq.read_table(run.folder / "predictions" / "test.parquet")
    revision = shapes_project.dataset("shapes")
    assert table["id"].to_pylist() == [revision.sample(int(i)).id for i in revision.indices("test")]
    assert {json.loads(str(text)) for text in table["predicted"].to_pylist()} <= set(revision.classes)
    assert torch.tensor(table["output"].to_pylist()).shape == (len(table), 3)


def test_a_damaged_checkpoint_is_refused_with_a_sentence(
    shapes_project: Project, registry: Registry, heard: Heard
) -> None:
    run = train(shapes_project, registry, heard, "shapes", full(epochs=1))
    weights = run.folder / "checkpoints" / "best" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Exception, match="is damaged: its hash"):
        evaluate_run(run, shapes_project, registry)


def test_run_folders_can_be_moved_with_their_project(
    shapes_project: Project, registry: Registry, heard: Heard, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, heard, "shapes", full(epochs=1))
    metrics = read_evaluation(run).metrics
    shapes_project.close()
    moved = tmp_path / "移动 moved"
    shapes_project.folder.rename(moved)
    with Project.open(moved) as project:
        again = evaluate_run(project.run(run.id), project, registry)
    assert again.metrics == pytest.approx(metrics, abs=1e-5)

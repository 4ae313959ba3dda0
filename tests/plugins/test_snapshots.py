"""Snapshot ensembles: the learning rate of the paper, what is kept of a run, and that it predicts together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.engine.conftest import TINY_VISION, Heard
from tests.engine.test_methods import is_step
from tlstudio.api import ProblemsError, RunError
from tlstudio.cli.main import run as command
from tlstudio.engine.advise import complete
from tlstudio.engine.ensembles import EnsemblePredictor, measure_ensemble
from tlstudio.engine.events import CheckpointSaved, RunEvent
from tlstudio.engine.execute import execute_run, resume_run
from tlstudio.engine.predict import Predictor
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.testing.methods import method_context
from tlstudio.testing.samples import tiny_samples, tiny_target


def test_the_learning_rate_is_that_of_the_paper_and_weights_are_kept_where_a_cycle_ends(
    registry: Registry, tmp_path: Path
) -> None:
    samples = tiny_samples("image", "classification", tmp_path)
    context = method_context(registry.head("classification"), samples, tiny_target("classification"))
    method = registry.method("snapshots")

    def curve(epochs: int, cycles: int, per_epoch: int) -> tuple[list[float], list[int]]:
        steps = epochs * per_epoch
        options = method.Options.model_validate({"cycles": cycles})
        module = method.build(replace(context, epochs=epochs, steps=steps), options)
        kept = []
        for epoch in range(epochs):
            module.on_epoch_start(epoch)
            kept.append(module.snapshot())
        assert 0.0 <= module.learning_rate(1.0, 0.3) < 0.5, "asked for behind the last step, too"
        return [module.learning_rate(step / steps, 0.3) for step in range(steps)], kept

    for epochs, cycles, per_epoch in ((12, 4, 7), (6, 6, 5), (10, 2, 1)):
        found, kept = curve(epochs, cycles, per_epoch)
        total = epochs * per_epoch
        length = np.ceil(total / cycles)
        t = np.arange(1, total + 1, dtype=np.float64)
        paper = 0.5 * (np.cos(np.pi * np.mod(t - 1, length) / length) + 1)
        np.testing.assert_allclose(found, paper, rtol=0, atol=1e-12)
        ends = [epoch for epoch in range(1, epochs + 1) if epoch % (epochs // cycles) == 0]
        assert [epoch for epoch, number in enumerate(kept, start=1) if number] == ends
        assert [number for number in kept if number] == list(range(1, cycles + 1))
    found, kept = curve(5, 2, 3)  # no even share: one cycle of three epochs, one of two
    assert kept == [0, 0, 1, 0, 2]
    assert [step for step, rate in enumerate(found) if rate == 1.0] == [0, 9]


def snapshots(run: Run) -> list[dict[str, torch.Tensor]]:
    paths = sorted((run.folder / "checkpoints").glob("snapshot-*/model.safetensors"))
    return [load_file(path) for path in paths]


def test_the_snapshots_of_a_run_predict_together_and_are_the_same_where_it_was_gone_on_with(
    shapes_project: Project, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    class Cancelling(Heard):
        def __call__(self, event: RunEvent) -> None:
            super().__call__(event)
            if is_step(8, event):  # in the third epoch: the first cycle is over
                self.control.cancel()

    project = shapes_project
    values: dict[str, Any] = {
        "dataset": {"shots": 4},
        "backbone": TINY_VISION,
        "strategy": "full",
        "training": {"epochs": 4, "batch_size": 4, "learning_rate": 0.01, "checkpoint_every": 0},
        "methods": {"snapshots": {"cycles": 2}},
    }
    recipe = complete(values, project.dataset("shapes"), registry)
    whole, cancelled = Heard(), Cancelling()
    runs = [execute_run(recipe, project, registry, on_event=one, control=one.control) for one in (whole, cancelled)]
    saved = [event for event in whole.of(CheckpointSaved) if event.kind.startswith("snapshot")]
    assert [(event.kind, event.epoch) for event in saved] == [("snapshot-1", 2), ("snapshot-2", 4)]
    resumed = Heard()
    resume_run(runs[1].id, project, registry, on_event=resumed, control=resumed.control)
    first, second = snapshots(runs[0]), snapshots(project.run(runs[1].id))
    assert len(first) == len(second) == 2
    for mine, theirs in zip(first, second, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert any(not torch.equal(first[0][name], first[1][name]) for name in first[0])

    revision = project.dataset("shapes")
    indices = revision.indices("test")
    samples = [revision.sample(int(index)) for index in indices]
    alone = [Predictor.from_run(runs[0], registry, kind=f"snapshot-{number}") for number in (1, 2)]
    shares = np.mean([one.outputs(samples).double().softmax(dim=1).numpy() for one in alone], axis=0)
    together = EnsemblePredictor.from_runs([runs[0]], registry)
    assert together.title == f"{runs[0].id} snapshot 1 + {runs[0].id} snapshot 2"
    np.testing.assert_allclose(together.outputs(samples).double().softmax(dim=1).numpy(), shares, atol=1e-6)
    report = measure_ensemble([runs[0]], project, registry)
    truth = np.array([revision.classes.index(str(sample.label)) for sample in samples])
    assert report.together["test"]["accuracy"] == pytest.approx((shares.argmax(axis=1) == truth).mean())
    assert report.runs == tuple(f"{runs[0].id} snapshot {number}" for number in (1, 2))

    values["methods"] = {"snapshots": {"cycles": 5}, "swa": {}}
    values["training"]["early_stopping"] = 2
    with pytest.raises(ProblemsError, match="5 cycles need 5 epochs or more, and the run has 4") as told:
        complete(values, revision, registry)
    assert "exclude each other" in str(told.value)
    assert "Set training.early_stopping to 0." in str(told.value)
    project.close()
    capsys.readouterr()
    assert command(["ensemble", str(project.folder), runs[0].id, "--json"]).code == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["together"]["test"]["accuracy"] == pytest.approx(report.together["test"]["accuracy"])
    shutil.rmtree(runs[0].folder / "checkpoints" / "snapshot-1")
    with pytest.raises(RunError, match=f"{runs[0].id} has kept a single snapshot, and none is there that it could"):
        measure_ensemble([runs[0]], project, registry)

"""Methods beside strategies under which a part of the backbone learns: all else, BatchNorm too, stays bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import draw_folder
from tests.plugins.watching import HEAD, LAYER, LORA, STAGE_2, Bench, State, copied, moved, opened
from tlstudio.api import ProblemsError
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.assemble import load_run_model
from tlstudio.plugins import Registry

STRATEGIES = {"partial": STAGE_2, "lora": LORA}
PROJECTION = {"head.projection.0.weight", "head.projection.0.bias", "head.projection.2.weight"}


@dataclass(frozen=True)
class Case:
    """A run with one method.

    Attributes:
        options: Of the method; ``EARLIER`` stands for the id of an earlier run.
        dataset: What is learned.
        goes_on: Whether the run starts from the earlier one and takes its head over.
        head: All of the head that moves.
    """

    options: dict[str, Any] = field(default_factory=dict)
    dataset: str = "shapes"
    goes_on: bool = False
    head: frozenset[str] = frozenset(HEAD)


EARLIER = "EARLIER"
TAKEN_OVER = frozenset(LAYER)  # what such a head has measured of features is known

CASES = {
    "joint": Case({"source": "others"}),
    "coral": Case({"target": "others", "layers": "both"}),
    "mmd": Case({"target": "others"}),
    "dann": Case({"target": "others"}),
    "l2_sp": Case(),
    "fixmatch": Case({"threshold": 0.3, "ratio": 1}),
    "pseudo_labels": Case({"dataset": "others", "threshold": 0.1, "rises_from": 0.0, "rises_to": 0.1}),
    "mixup": Case(),
    "cutmix": Case({"mixup": 0.5}),
    "sam": Case({"adaptive": True}),
    "ema": Case(),
    "swa": Case({"start": 0.0}),
    "snapshots": Case({"cycles": 2}),
    "wise_ft": Case(dataset="others", goes_on=True, head=TAKEN_OVER),
    "distillation": Case({"teacher": EARLIER}),
    "lwf": Case({"teacher": EARLIER}, "others", goes_on=True, head=TAKEN_OVER),
    "replay": Case({"datasets": "shapes", "kept": 6}, "others", goes_on=True, head=TAKEN_OVER),
    "ewc": Case({"run": EARLIER, "dataset": "shapes", "samples": 6}, "others", goes_on=True, head=TAKEN_OVER),
    "momentum_contrast": Case({"momentum": 0.9, "queue": 10}, "plain", head=frozenset(PROJECTION)),
}
REFUSED = {
    ("ewc", "lora"): (
        "Elastic weights (EWC) holds the weights of the backbone, and LoRA leaves these as they are.",
        "Choose a strategy under which they learn, such as full.",
    )
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Bench]:
    """Where runs are watched, with the data set ``plain`` that has no labels besides."""
    folder = tmp_path_factory.mktemp("bench")
    with opened(folder, registry) as bench:
        source = draw_folder(folder / "plain", 5, seed=5)
        request, _ = plan_import(registry.formats.values(), source, name="plain", task="pretraining")
        import_dataset(request, bench.project.datasets_folder)
        yield bench


@pytest.fixture(scope="module")
def earlier(bench: Bench) -> tuple[str, State]:
    """An earlier run, its id and its model."""
    run, _, _ = bench.run("full")
    return run.id, copied(load_run_model(run, bench.registry)[1].state_dict())


def test_every_bundled_method_has_a_case(registry: Registry) -> None:
    assert CASES.keys() == registry.methods.keys() - {"watch"}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", CASES)
def test_beside_a_method_moves_what_the_strategy_teaches_and_frozen_layers_keep_weights_and_statistics(
    name: str, strategy: str, bench: Bench, earlier: tuple[str, State]
) -> None:
    case, (run_id, taught) = CASES[name], earlier
    options = {key: run_id if value == EARLIER else value for key, value in case.options.items()}
    parts: dict[str, Any] = {"shots": 0} if case.dataset == "plain" else {}
    if case.goes_on:
        parts = {"backbone": {"start_from": run_id}, "head": {"name": "classification", "take_over": True}}
    if (name, strategy) in REFUSED:
        with pytest.raises(ProblemsError) as caught:
            bench.run(strategy, {name: options}, case.dataset, **parts)
        (problem,) = caught.value.problems
        assert (problem.what, problem.remedy) == REFUSED[name, strategy]
        return
    run, seen, _ = bench.run(strategy, {name: options}, case.dataset, **parts)
    expected = STRATEGIES[strategy] | case.head
    assert moved(seen.start, seen.ended[-1]) == expected
    assert moved(seen.ended[0], seen.begun[1]) == set(), "to validate moves nothing"
    _, kept = load_run_model(run, bench.registry)
    assert moved(seen.start, kept.state_dict()) == expected
    teachers = [model for module in seen.modules for model in module.context.models.values()]
    assert len(teachers) == (EARLIER in case.options.values())
    for teacher in teachers:
        assert moved(taught, teacher.state_dict()) == set()

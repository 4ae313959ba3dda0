"""Each bundled method in a real run: it ends, says its quantities, and goes on bit for bit after it was cut off."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import TINY_VISION
from tests.engine.resuming import at_step, gone_on_with
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.events import StepLogged
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


@dataclass(frozen=True)
class Case:
    """A run with methods.

    Attributes:
        methods: As in a recipe.
        quantities: Names of what it must tell at each step.
        strategy: The strategy, as in a recipe.
        dataset: Further values of the data set, such as shots.
        training: Further training options.
        without_labels: Whether its data have none.
    """

    methods: dict[str, dict[str, Any]]
    quantities: tuple[str, ...] = ()
    strategy: Any = "full"
    dataset: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    without_labels: bool = False


# The data sets "shapes" and "others" have the same three classes of drawings; "others" are drawn with another seed.
CASES = {
    "fixmatch": Case(
        {"fixmatch": {"ratio": 2, "threshold": 0.3}},
        ("fixmatch/pseudo-label rate", "fixmatch/mean confidence", "fixmatch/unlabelled loss"),
    ),
    "pseudo labels of another data set": Case(
        {"pseudo_labels": {"dataset": "others"}}, ("pseudo_labels/pseudo-label rate", "pseudo_labels/lambda")
    ),
    "momentum_contrast": Case(
        {"momentum_contrast": {"momentum": 0.9, "queue": 10}},
        ("momentum_contrast/queue accuracy",),
        without_labels=True,
    ),
    "pairs of setfit": Case({}, ("setfit/similarity within classes",), strategy="setfit"),
    "wise_ft": Case({"wise_ft": {}}, strategy="lp_ft"),
    "l2_sp": Case({"l2_sp": {}}, ("l2_sp/distance from the start",)),
    "joint": Case(
        {"joint": {"source": "others", "schedule": "falling", "ratio": 0.5}},
        ("joint/lambda", "joint/target loss", "joint/source loss"),
    ),
    "coral": Case({"coral": {"target": "others", "layers": "both"}}, ("coral/lambda", "coral/coral loss")),
    "mmd": Case({"mmd": {"target": "others", "schedule": "linear"}}, ("mmd/lambda", "mmd/mmd")),
    "dann": Case({"dann": {"target": "others"}}, ("dann/lambda", "dann/domain accuracy", "dann/domain loss")),
    "lp_ft": Case({}, ("head_first/loss of the probe",), strategy="lp_ft"),
    "surgical": Case({}, ("chosen_block/first group that learns",), strategy="surgical"),
    "mixup": Case({"mixup": {"probability": 0.7}}, ("mixup/lambda",)),
    "mixup of kept features": Case({"mixup": {}}, ("mixup/lambda",), "linear_probe"),
    "cutmix": Case({"cutmix": {"mixup": 0.5}}, ("cutmix/lambda",)),
    "sam": Case({"sam": {"adaptive": True}}, ("sam/sharpness",), training={"accumulate": 2, "epochs": 4}),
    "ema": Case({"ema": {}}, ("ema/decay",), "lora"),
    "snapshots": Case({"snapshots": {"cycles": 2}}, ("snapshots/cycle",)),
    "swa": Case({"swa": {"start": 0.0}}, ("swa/averaged epochs",)),
}


NEED_A_RUN = {"distillation", "lwf", "ewc", "replay"}  # an earlier one: tried in test_continual_methods.py


def test_every_bundled_method_has_a_case(registry: Registry) -> None:
    tried = NEED_A_RUN.union(name for case in CASES.values() for name in case.methods)
    assert tried == set(registry.methods)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_run_with_methods_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(
    case: Case, two_projects: Project, registry: Registry
) -> None:
    dataset, few = "shapes", {"shots": 4}
    if case.without_labels:
        source = Path(two_projects.dataset("others").source)
        request, _ = plan_import(registry.formats.values(), source, name="plain", task="pretraining")
        import_dataset(request, two_projects.datasets_folder)
        dataset, few = "plain", {}
    training = {"epochs": 2, "batch_size": 4, "augmentation": "light", **case.training}
    recipe = {
        "dataset": {"name": dataset, **few, **case.dataset},
        "backbone": TINY_VISION,
        "strategy": case.strategy,
        "methods": case.methods,
        "training": training,
    }
    whole, cuts = gone_on_with(two_projects, registry, recipe, at_step(5))
    assert [cut.step for cut in cuts] == [4]  # behind the first epoch, where some of them begin
    for event in whole.of(StepLogged):
        assert set(case.quantities) <= set(event.quantities)

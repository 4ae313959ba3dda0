"""Runs and data sets that a method cannot name are told before they are chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import import_reviews
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.method_choice import misfits_in, unfit_choices
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


def test_data_sets_of_other_items_and_the_own_one_where_it_is_refused_cannot_be_named(
    shapes_project: Project, reviews_csv: Path, registry: Registry
) -> None:
    import_reviews(shapes_project, reviews_csv, registry)
    values = {
        "backbone": {"name": "test_resnet", "options": {"weights": "random", "image_size": 32}},
        "training": {"batch_size": 4},
        "methods": {"joint": {}, "ewc": {}, "fixmatch": {}},
    }
    offered = {"dataset": ["reviews@r1", "shapes@r1"], "datasets": ["reviews", "shapes"]}
    unfit = unfit_choices(values, offered, shapes_project.dataset("shapes"), registry)
    other = "The data set 'reviews' has texts, the one that is learned has images. Choose a data set of images."
    assert unfit["methods.joint.source"] == {
        "reviews": other,
        "shapes": "'shapes' is what the run itself learns from. Name another data set with labels.",
    }
    assert unfit["methods.ewc.dataset"] == {"reviews@r1": other}, "its run is not chosen yet"
    assert unfit["methods.fixmatch.dataset"]["reviews@r1"] == other


def test_methods_that_need_a_run_or_a_data_set_are_told_not_to_fit_before_one_is_named(
    shapes_project: Project, shapes_folder: Path, registry: Registry
) -> None:
    needing = {"distillation", "ewc", "lwf", "replay"}
    for name in needing:
        assert any(field.is_required() for field in registry.method(name).Options.model_fields.values())

    def told(dataset: str = "shapes", **chosen: Any) -> dict[str, str]:
        backbone = {"name": "test_resnet", "options": {"weights": "random", "image_size": 32}}
        values = {"backbone": backbone, "training": {"batch_size": 4}, **chosen}
        found = misfits_in(values, shapes_project.dataset(dataset), registry)
        return {name: reason for name, reason in found.items() if name in needing}

    assert told(strategy="full") == {}, "a name is all that is missing"
    still = "leaves the backbone as it is: nothing is forgotten. Choose a strategy under which the backbone learns."
    for methods in ({}, {"lwf": {}, "ewc": {"strength": 1.0}}):
        assert told(strategy="linear_probe", methods=methods) == dict.fromkeys(("lwf", "ewc"), f"Linear probe {still}")
    assert told(strategy="lora").keys() == {"ewc"}
    request, _ = plan_import(registry.formats.values(), shapes_folder, name="unlabelled", task="pretraining")
    import_dataset(request, shapes_project.datasets_folder)
    refused = told("unlabelled", head="contrastive", strategy="full")
    assert refused.keys() == {"distillation", "lwf"}
    assert all(reason.startswith("A model can imitate another one in classification") for reason in refused.values())

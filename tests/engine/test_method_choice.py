"""Runs and data sets that a method cannot name are told before they are chosen."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import import_reviews
from tlstudio.engine.method_choice import unfit_choices
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

"""Folds: every sample is held out once, classes are spread, and what belongs together stays so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.engine.conftest import TINY_VISION, draw_rare
from tlstudio.api import DataError, ProblemsError
from tlstudio.data.folds import assign_folds, classes_left_out
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.checking import check_folds
from tlstudio.engine.looking import notes_on_fold
from tlstudio.engine.recipe import learned_from
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


def test_each_sample_is_held_out_once_and_the_test_split_never(shapes_project: Project) -> None:
    revision = shapes_project.dataset("shapes")
    views = [revision.fold(number, 4, seed=1) for number in (1, 2, 3, 4)]
    assert views == revision.in_folds(4, seed=1)
    assert classes_left_out(dict(enumerate(views, start=1)), 4) == []
    held = np.concatenate([view.indices("validation") for view in views])
    pool = np.sort(np.concatenate([revision.indices("train"), revision.indices("validation")]))
    assert np.array_equal(np.sort(held), pool)
    for view in views:
        assert np.array_equal(view.indices("test"), revision.indices("test"))
        assert np.array_equal(np.sort(np.concatenate([view.indices("train"), view.indices("validation")])), pool)
        counts = view.class_counts()
        assert sum(counts["validation"].values()) == len(view.indices("validation"))
        spread = [counts["validation"][name] for name in view.classes]
        assert max(spread) - min(spread) <= 1
        assert view.target_info().class_counts == tuple(counts["train"][name] for name in view.classes)
    few = views[0].few(2, seed=0)
    assert np.array_equal(few.indices("validation"), views[0].indices("validation"))
    assert len(few.indices("train")) == 6
    again = revision.fold(2, 4, seed=1)
    assert np.array_equal(again.indices("validation"), views[1].indices("validation"))
    other = revision.fold(2, 4, seed=2)
    assert not np.array_equal(other.indices("validation"), views[1].indices("validation"))


def test_groups_and_equal_contents_are_never_divided() -> None:
    rng = np.random.default_rng(0)
    labels = [str(name) for name in rng.choice(["a", "b"], 60)]
    groups = [f"g{number // 3}" if number < 30 else "" for number in range(60)]
    contents = [f"c{number // 2}" if number >= 30 else f"d{number}" for number in range(60)]
    folds = assign_folds(labels, groups, contents, task="classification", folds=5, seed=0)
    for number in range(0, 30, 3):
        assert len(set(folds[number : number + 3].tolist())) == 1
    for number in range(30, 60, 2):
        assert folds[number] == folds[number + 1]
    assert set(folds.tolist()) == set(range(5))


def test_numbers_are_spread_by_their_size() -> None:
    values = [float(value) for value in np.random.default_rng(0).normal(size=200)]
    folds = assign_folds(values, [""] * 200, list(range(200)), task="regression", folds=4, seed=0)
    means = [np.mean(np.array(values)[folds == number]) for number in range(4)]
    assert max(means) - min(means) < 0.25


def test_folds_that_cannot_be_are_told(shapes_project: Project) -> None:
    revision = shapes_project.dataset("shapes")
    for number, folds in ((0, 3), (4, 3), (1, 1)):
        with pytest.raises(DataError, match=f"There is no fold {number} of {folds}"):
            revision.fold(number, folds, 0)
    with pytest.raises(DataError, match="cannot be divided into 99 folds"):
        revision.fold(1, 99, 0)


def test_classes_that_a_fold_does_not_have_are_named_with_it(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    folder = draw_rare(tmp_path / "rare")
    request, _ = plan_import(registry.formats.values(), folder, name="rare", task="classification")
    import_dataset(request, project.datasets_folder)
    rare = project.dataset("rare")
    views = dict(enumerate(rare.in_folds(4, seed=0), start=1))
    (held,) = [number for number, view in views.items() if "square" in view.labels(view.indices("validation"))]
    first, second, third = (number for number in views if number != held)
    unseen = f"No sample of 'square' is in the train split of fold {held} of 4: what was never seen cannot be"
    unmeasured = f"No sample of 'square' is in the validation split of folds {first}, {second} and {third} of 4: how"
    told = classes_left_out(views, 4)
    assert [sentence[: len(start)] for sentence, start in zip(told, (unseen, unmeasured), strict=True)] == [
        unseen,
        unmeasured,
    ]
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "dataset": {"folds": 4, "fold": held}}
    recipe = complete(values, rare, registry)
    assert check_folds(recipe, rare) == told
    assert [note.text for note in notes_on_fold(recipe, learned_from(recipe, rare))] == told[:1]
    plain = complete({**values, "dataset": {}}, rare, registry)
    assert notes_on_fold(plain, rare) == []
    one_of_each = recipe.model_copy(update={"dataset": recipe.dataset.model_copy(update={"shots": 1})})
    with pytest.raises(ProblemsError) as caught:
        check_folds(one_of_each, rare)
    (problem,) = caught.value.problems
    assert problem.where == "dataset.shots"
    assert problem.what.startswith(f"Fold {held} of 4: There are not 1 samples of each class")

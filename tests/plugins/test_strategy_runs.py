"""Each bundled strategy, and each way to learn without labels, goes on bit for bit after a power cut."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_segmentation import draw
from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION
from tests.engine.resuming import at_step, gone_on_with
from tests.plugins.test_method_runs import CASES as METHOD_CASES
from tests.plugins.test_text import write_model
from tlstudio.api import Task
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.events import EpochEnded, Note, Progress, RunEvent
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.samples import write_text_table

VIT = {"name": "test_vit", "options": {"weights": "random", "image_size": 160}}
BERT: dict[str, Any] = {"name": "auto_model", "options": {"max_length": 12}}
TABLE = {"name": "table_mlp", "options": {"width": 8, "layers": 1}}


IMAGES = {"name": "shapes", "shots": 2}
TEXTS = {"name": "texts", "shots": 2}


def second_epoch(event: RunEvent) -> bool:
    """The moment when the second epoch is measured, and its checkpoint is not made."""
    return isinstance(event, EpochEnded) and event.epoch == 2


@dataclass(frozen=True)
class Case:
    """A run of two epochs of two steps, if nothing else is said.

    Attributes:
        backbone: As in a recipe; `BERT` gets its folder.
        strategy: Name of the strategy.
        options: Of the strategy.
        dataset: As in a recipe.
        training: Further training options.
        methods: As in a recipe.
        cuts: When the power is lost, and the step from which the run then goes on: one in the second epoch.
    """

    backbone: dict[str, Any]
    strategy: str
    options: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=lambda: IMAGES)
    training: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    cuts: tuple[tuple[Callable[[RunEvent], bool], int], ...] = ((at_step(4), 3),)


# In the first epoch before the start is kept that WiSE-FT needs, and in the second behind it.
AROUND_THE_START = ((at_step(2), 1), (at_step(4), 3))

CASES = {
    "partial": Case(TINY_VISION, "partial", {"groups": 2}, training={"augmentation": "randaugment"}),
    "gradual unfreezing, where a group has joined": Case(
        TINY_VISION,
        "gradual_unfreezing",
        training={"augmentation": "strong"},
        methods={"wise_ft": {}},
        cuts=AROUND_THE_START,
    ),
    "surgical, of a named block": Case(
        TINY_VISION, "surgical", {"block": "middle"}, training={"augmentation": "trivialaugment"}
    ),
    "bitfit, with scales": Case(TINY_VISION, "bitfit", {"norm_scales": True}),
    "lp_ft, of a head on maps": Case(
        TINY_VISION,
        "lp_ft",
        {"head_epochs": 1},
        {"name": "scenes"},
        training={"batch_size": 4},
        methods={"wise_ft": {}},
        cuts=AROUND_THE_START,
    ),
    "nearest mean, which learns nothing by steps": Case(TINY_VISION, "nearest_mean", cuts=((second_epoch, 0),)),
    "vpt": Case(VIT, "vpt"),
    "dora": Case(BERT, "lora", {"use_dora": True, "dropout": 0.1}, TEXTS, {"augmentation": "strong"}),
    "qlora": Case(BERT, "qlora", {}, TEXTS),
    "lokr": Case(BERT, "lokr", {}, TEXTS),
    "oft": Case(BERT, "oft", {}, TEXTS),
    "ia3": Case(BERT, "ia3", {}, TEXTS),
    "adapters": Case(BERT, "adapters", {}, TEXTS),
    "prompt tuning": Case(BERT, "prompt_tuning", {}, TEXTS),
    "prefix tuning": Case(BERT, "prefix_tuning", {}, TEXTS),
    "two views without labels": Case(
        TINY_VISION, "full", {}, {"name": "plain images"}, {"batch_size": 6, "augmentation": "contrastive"}
    ),
    "hidden words": Case(BERT, "full", {}, {"name": "plain texts"}, {"batch_size": 8, "augmentation": "none"}),
    "hidden columns": Case(TABLE, "full", {}, {"name": "plain rows"}, {"batch_size": 8, "augmentation": "none"}),
}


def test_every_bundled_strategy_has_a_case(registry: Registry) -> None:
    of_methods = {case.strategy for case in METHOD_CASES.values()}
    assert of_methods.union(case.strategy for case in CASES.values()) == set(registry.strategies)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Project]:
    """A project with small data sets of all kinds, and a small BERT in ``bert``."""
    folder = tmp_path_factory.mktemp("strategies")
    images = draw_folder(folder / "images", 6)
    texts = write_text_table(folder / "texts.csv", each=8)
    for number in range(10):
        draw(folder / "scenes" / "images" / f"{number}.png", folder / "scenes" / "masks" / f"{number}.png", number)
    rows = folder / "rows.csv"
    with rows.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "weight", "colour"])
        writer.writerows([number, number * 1.5 + number % 5, "red" if number % 3 else "blue"] for number in range(24))
    (folder / "bert").mkdir()
    write_model(folder / "bert", "bert", num_hidden_layers=2)
    sets: dict[str, tuple[Path, Task | None]] = {
        "shapes": (images, None),
        "plain images": (images, "pretraining"),
        "texts": (texts, None),
        "plain texts": (texts, "pretraining"),
        "scenes": (folder / "scenes", None),
        "plain rows": (rows, "pretraining"),
    }
    with Project.create(folder / "project") as project:
        for name, (source, task) in sets.items():
            request, _ = plan_import(registry.formats.values(), source, name=name, task=task)
            import_dataset(request, project.datasets_folder)
        yield project


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(
    case: Case, ready: Project, registry: Registry
) -> None:
    backbone = case.backbone
    if backbone is BERT:
        backbone = {**BERT, "options": {**BERT["options"], "weights": str(ready.folder.parent / "bert")}}
    recipe = {
        "dataset": case.dataset,
        "backbone": backbone,
        "strategy": {"name": case.strategy, "options": case.options},
        "methods": case.methods,
        "training": {"epochs": 2, "batch_size": 3, "learning_rate": 0.01, "augmentation": "light", **case.training},
    }
    _, cuts = gone_on_with(ready, registry, recipe, *(moment for moment, _ in case.cuts))
    assert [cut.step for cut in cuts] == [step for _, step in case.cuts]


def test_the_patience_of_early_stopping_goes_on_too(ready: Project, registry: Registry) -> None:
    recipe = {
        "dataset": IMAGES,
        "backbone": TINY_VISION,
        "strategy": "linear_probe",
        # So slowly that nothing gets better: the first epoch stays the best.
        "training": {"epochs": 9, "batch_size": 3, "learning_rate": 1e-30, "early_stopping": 3, "weight_decay": 0.0},
    }

    def stopped(event: RunEvent) -> bool:
        return isinstance(event, Progress) and event.what.startswith("Evaluating")

    whole, (waiting, behind) = gone_on_with(ready, registry, recipe, at_step(6), stopped)
    assert (waiting.step, behind.step) == (5, 8)
    for heard in (whole, waiting.heard, behind.heard):
        assert len(heard.of(EpochEnded)) == 4
        assert any(note.text.startswith("Stopped early") for note in heard.of(Note))

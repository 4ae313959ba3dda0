"""Restoring hidden columns of rows: what is hidden, how it is measured, and runs that learn by it."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import Heard
from tlstudio.api import TARGETS, Cell, Features, FeatureShape, Prediction, Sample, TargetInfo
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.events import EpochEnded, Note, RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.predict import Predictor
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing import check_strategy
from tlstudio_heads.masked_heads import MaskedValues
from tlstudio_tables.backbones import FTTransformer, TableMLP
from tlstudio_tables.facts import fit_table
from tlstudio_tables.hiding import FARTHEST, HidingPreprocessor
from tlstudio_tables.preprocessor import FIRST, MISSING, TablePreprocessor

TARGET = TargetInfo("pretraining")
SMALL = {"width": 16, "layers": 2}


def _rows(count: int) -> list[Sample]:
    made = random.Random(0)
    rows = []
    for number in range(count):
        size = made.gauss(10, 3)
        kind = "large" if size > 10 else "small"
        values: dict[str, Cell] = {
            "size": size,
            "weight": None if number % 7 == 3 else 2 * size + made.gauss(0, 0.1),
            "kind": kind,
            "day": f"2024-{1 + number % 12:02}-{1 + number % 28:02}",
            "colour": made.choice(["red", "green", "blue"]),
        }
        rows.append(Sample(f"row {number}", values=values))
    return rows


def test_columns_are_hidden_with_all_their_parts_and_only_what_is_there() -> None:
    rows = _rows(60)
    facts = fit_table(rows, max_categories=100)
    hide, plain = HidingPreprocessor(facts), TablePreprocessor(facts)
    count = len(facts.numbers)
    names = [*(each.column for each in facts.numbers), *(each.name for each in facts.words)]
    seen: dict[str, int] = {}
    for seed in range(400):
        row = rows[seed % 60]
        item, before = hide(row, seed), plain(row)
        hidden = {at for at, value in enumerate(item[TARGETS]) if not math.isnan(value)}
        columns = {names[at] for at in hidden}
        filled = sum(cell is not None for cell in (row.values or {}).values())
        assert len(columns) == max(1, round(0.3 * filled))
        assert hidden == {at for at, name in enumerate(names) if name in columns}
        for at, name in enumerate(names):
            now = item["numbers"][at] if at < count else item["words"][at - count]
            was = before["numbers"][at] if at < count else before["words"][at - count]
            if at not in hidden:
                assert now == was or (math.isnan(now) and math.isnan(was))
                continue
            assert name != "weight" or (row.values or {})["weight"] is not None
            seen[name] = seen.get(name, 0) + 1
            if at < count:
                column = facts.numbers[at]
                assert math.isnan(now)
                assert item[TARGETS][at] == pytest.approx(
                    max(-FARTHEST, min(FARTHEST, (was - column.mean) / column.std))
                )
            else:
                assert now == MISSING
                assert item[TARGETS][at] == was >= FIRST
    assert seen.keys() == set(names)


def test_what_is_hidden_follows_the_seed_and_without_one_the_row() -> None:
    rows = _rows(30)
    hide = HidingPreprocessor(fit_table(rows, max_categories=100))

    def targets(number: int, seed: int | None = None, name: str = "") -> str:
        row = rows[number]
        return str(hide(Sample(name or row.id, values=row.values), seed)[TARGETS])

    assert targets(0, 3, "a") == targets(0, 3, "b")
    assert len({targets(0, seed) for seed in range(8)}) > 1
    assert targets(0) == targets(0)
    assert len({targets(0, None, str(number)) for number in range(8)}) > 1
    empty = Sample("x", values=dict.fromkeys(rows[0].values or {}))
    assert all(math.isnan(value) for value in hide(empty)[TARGETS])


def test_loss_and_metrics_are_mean_squares_and_cross_entropies_of_what_was_hidden() -> None:
    torch.manual_seed(0)
    head = MaskedValues().build(FeatureShape(4, restored=(1, 3, 1, 4)), TARGET, MaskedValues().Options()).double()
    nan = math.nan
    target = torch.tensor([[0.5, nan, nan, 3.0], [nan, 2.0, -1.0, nan], [nan] * 4], dtype=torch.float64)
    pooled = torch.randn(3, 4, dtype=torch.float64)
    output = head(Features(pooled=pooled))
    out = output.tolist()

    def cross_entropy(scores: list[float], place: int) -> float:
        return math.log(sum(math.exp(score) for score in scores)) - scores[place]

    squares = ((out[0][0] - 0.5) ** 2, (out[1][4] + 1.0) ** 2)
    expected = [
        (squares[0] + cross_entropy(out[0][5:9], 3)) / 2,
        (cross_entropy(out[1][1:4], 2) + squares[1]) / 2,
        0.0,
    ]
    assert head.loss(output, target).tolist() == pytest.approx(expected, rel=1e-6)
    metrics = head.metrics()
    metrics.update(output.detach()[:2].float(), target[:2].float())
    metrics.update(output.detach()[2:].float(), target[2:].float())
    told = metrics.compute()
    assert float(told["rmse"]) == pytest.approx(math.sqrt(sum(squares) / 2), rel=1e-5)
    found = [max(range(4), key=out[0][5:9].__getitem__) == 3, max(range(3), key=out[1][1:4].__getitem__) == 2]
    assert float(told["masked_accuracy"]) == pytest.approx(sum(found) / 2)


@pytest.mark.parametrize("strategy", ["full", "partial", "lora"])
def test_every_strategy_moves_what_it_says(strategy: str, registry: Registry, tmp_path: Path) -> None:
    backbone = FTTransformer() if strategy == "lora" else TableMLP()
    options = backbone.Options.model_validate({**SMALL, **({"heads": 2} if strategy == "lora" else {})})
    chosen = registry.strategy(strategy)
    check_strategy(chosen, backbone, MaskedValues(), _rows(8), TARGET, tmp_path, backbone_options=options)


def test_a_run_restores_columns_and_one_with_labels_starts_from_it(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    rows = [dict(row.values or {}) for row in _rows(60)]
    for name, extra in (("plain", {}), ("labelled", {"label": "kind"})):
        path = tmp_path / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            kept = [{**row, **({"label": row["kind"]} if extra else {})} for row in rows]
            for row in kept:
                if extra:
                    del row["kind"]
            writer = csv.DictWriter(file, kept[0])
            writer.writeheader()
            writer.writerows(kept)
        request, _ = plan_import(registry.formats.values(), path, task=None if extra else "pretraining")
        import_dataset(request, project.datasets_folder)

    def train(dataset: str, values: dict[str, Any]) -> tuple[Any, Heard]:
        heard = Heard()
        training = {"epochs": 30 if dataset == "plain" else 1, "batch_size": 16, "learning_rate": 0.01}
        recipe = complete({**values, "training": training}, project.dataset(dataset), registry)
        run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
        assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
        return run, heard

    run, heard = train("plain", {"backbone": {"name": "table_mlp", "options": SMALL}})
    recipe = run.read_recipe()
    assert (recipe["head"]["name"], recipe["strategy"]["name"]) == ("masked_values", "full")
    ended = heard.of(EpochEnded)
    assert ended[0].validation.keys() == {"loss", "rmse", "masked_accuracy"}
    assert min(event.validation["loss"] for event in ended) < 0.8 * ended[0].validation["loss"]
    labelled, told = train("labelled", {"backbone": {"start_from": run.id}, "strategy": "linear_probe"})
    assert any("4 of 4 columns go on" in event.text for event in told.of(Note))
    before, after = (load_run_model(one, registry)[1].backbone.state_dict() for one in (run, labelled))
    same = [name for name in after if "embedding" not in name and not name.endswith("bias")]
    assert all(torch.equal(after[name], before[name]) for name in same if after[name].shape == before[name].shape)
    ((_, prediction),) = Predictor.from_run(labelled, registry).predict([project.dataset("labelled").sample(0)])
    assert isinstance(prediction, Prediction)
    assert prediction.value in ("large", "small")

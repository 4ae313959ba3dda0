"""Networks for rows of tables: what they learn of the training rows, what they refuse, what goes on by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer

from tlstudio.api import Cell, DataError, Sample, Task, WeightsError
from tlstudio.plugins import PluginManager, Registry
from tlstudio.testing import check_backbone, check_strategy, tiny_samples, tiny_target
from tlstudio_tables.backbones import FTTransformer, TableMLP
from tlstudio_tables.facts import DATE_PARTS, TableFacts, fit_table, number_of
from tlstudio_tables.networks import TableNetwork
from tlstudio_tables.options import TableOptions, TransformerOptions
from tlstudio_tables.preprocessor import FIRST, MISSING, UNKNOWN, TablePreprocessor
from tlstudio_tables.tokenizer import Scale

SMALL: dict[str, dict[str, object]] = {
    "ft_transformer": {"width": 16, "layers": 2, "heads": 2},
    "table_mlp": {"width": 16, "layers": 2, "scaling": "standard"},
    "patch_transformer": {"width": 16, "layers": 2, "heads": 2, "patch": 4, "stride": 2},
    "series_resnet": {"width": 16, "layers": 2, "window_scaling": False},
}
SERIES = ("patch_transformer", "series_resnet")
POOLED: tuple[Task, ...] = ("classification", "multi_label", "regression", "anomaly_detection")
STRATEGIES = ("linear_probe", "partial", "gradual_unfreezing", "full", "lora", "lora+dora", "lora+attention+dropout")
COMBINATIONS = [
    (backbone, task, strategy)
    for backbone in SMALL
    for task in (*POOLED, *(("forecasting",) if backbone in SERIES else ()))
    for strategy in STRATEGIES
    if "+attention" not in strategy or "transformer" in backbone
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by being shared between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def registry() -> Registry:
    manager = PluginManager()
    manager.discover()
    return manager.registry


def samples_for(backbone: str, task: Task, folder: Path) -> list[Sample]:
    samples = tiny_samples("table", task, folder, count=2)
    if backbone in SERIES and task != "forecasting":
        series = tiny_samples("table", "forecasting", folder, count=2)
        samples = [replace(sample, values=other.values) for sample, other in zip(samples, series, strict=True)]
    return samples


@pytest.mark.parametrize(("backbone", "task", "strategy"), COMBINATIONS)
def test_what_fits_together_trains_what_it_says_and_is_restored_exactly(
    backbone: str, task: Task, strategy: str, registry: Registry, tmp_path: Path
) -> None:
    name, *extra = strategy.split("+")
    options: dict[str, object] = {"rank": 2} if name == "lora" else {}
    options |= {"use_dora": True} if "dora" in extra else {}
    options |= {"target": "attention", "dropout": 0.2} if "attention" in extra else {}
    used, tuning = registry.backbone(backbone), registry.strategy(name)
    check_strategy(
        tuning,
        used,
        registry.head(task),
        samples_for(backbone, task, tmp_path),
        tiny_target(task),
        tmp_path,
        options=tuning.Options.model_validate(options),
        backbone_options=used.Options.model_validate(SMALL[backbone]),
        epochs=4 if name == "gradual_unfreezing" else 2,
    )


@pytest.mark.parametrize("backbone", SMALL)
def test_each_backbone_is_what_it_says(backbone: str, registry: Registry, tmp_path: Path) -> None:
    used = registry.backbone(backbone)
    options = used.Options.model_validate(SMALL[backbone])
    check_backbone(used, samples_for(backbone, "classification", tmp_path), tmp_path, options=options)


def test_the_facts_can_be_told_before_the_data_are_known(registry: Registry) -> None:
    for name in SMALL:
        info = registry.backbone(name).info()
        assert (info.modality, info.num_features) == ("table", 0)


def rows(*values: Mapping[str, Cell]) -> list[Sample]:
    return [Sample(str(n), values=row, source=f"row {n}") for n, row in enumerate(values)]


PEOPLE = rows(
    *(
        {
            "age": float(20 + n),
            "town": ("Berlin", "Oslo", None)[n % 3],
            "joined": f"2020-{1 + n % 12:02}-05T12:00:00",
            "code": float(n % 4) if n % 2 else "x",
            "empty": None,
        }
        for n in range(60)
    )
)


def test_columns_are_learned_from_the_training_rows() -> None:
    facts = fit_table(PEOPLE, max_categories=1000)
    assert [each.name for each in facts.numbers] == ["age", *(f"joined ({part})" for part in DATE_PARTS)]
    words = {each.name: each.words for each in facts.words}
    assert words == {"town": ("Berlin", "Oslo"), "code": ("x", "1", "3")}, "a number among words is a word"
    assert facts.columns == ("age", "joined", "town", "code"), "an empty column is left out"
    assert facts.numbers[0].mean == 49.5


def test_the_most_frequent_values_of_a_category_are_kept() -> None:
    values = rows(*({"c": word} for word in "aaaabbbccd"))
    assert fit_table(values, max_categories=2).words[0].words == ("a", "b")


def test_facts_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    facts = fit_table(PEOPLE, max_categories=10)
    facts.write(tmp_path)
    assert TableFacts.read(tmp_path) == facts
    stored = json.loads((tmp_path / "columns.json").read_text())
    for change in ({"std": 0.0}, {"mean": math.inf}, {"quantiles": [1.0]}, {"part": "week"}):
        damaged = {**stored, "numbers": [{**stored["numbers"][0], **change}]}
        (tmp_path / "columns.json").write_text(json.dumps(damaged))
        with pytest.raises(WeightsError, match="cannot be read"):
            TableFacts.read(tmp_path)
    (tmp_path / "columns.json").unlink()
    with pytest.raises(WeightsError, match=r"columns\.json"):
        TableFacts.read(tmp_path)


def test_a_date_is_taken_apart_so_that_the_turn_of_the_year_is_no_jump() -> None:
    last, first = (
        np.array([number_of(f"{day}T00:00:00", part) for part in DATE_PARTS]) for day in ("2023-12-31", "2024-01-01")
    )
    assert np.abs(last - first).max() < 0.95
    assert number_of("2024-07-01T06:00:00", "hour sin") == pytest.approx(1.0)
    assert number_of("2024-07-01T06:00:00", "year") == pytest.approx(2024.5, abs=0.01)


def test_ranks_are_those_of_scikit_learn() -> None:
    made = np.random.default_rng(0)
    values = np.concatenate([made.exponential(size=400), np.full(100, 0.5)])
    facts = fit_table(rows(*({"x": float(value)} for value in values)), max_categories=2)
    scale = Scale(facts, "quantile")
    asked = np.concatenate([values[::7], [-5.0, 50.0]])
    ours = scale(torch.tensor(asked, dtype=torch.float32).unsqueeze(1)).squeeze(1).numpy()
    theirs = QuantileTransformer(n_quantiles=129, output_distribution="normal", subsample=None).fit(values[:, None])
    expected = np.clip(theirs.transform(asked[:, None])[:, 0], -3.0902, 3.0902)
    assert np.abs(ours - expected).max() < 0.02


@pytest.mark.parametrize("scaling", ["quantile", "standard"])
def test_scaled_numbers_are_finite_whatever_comes(scaling: Any) -> None:
    constant = fit_table(rows(*({"x": 5.0} for _ in range(9))), max_categories=2)
    wide = fit_table(rows(*({"x": float(n) * 1e30} for n in range(9))), max_categories=2)
    for facts in (constant, wide):
        numbers = torch.tensor([[5.0], [0.0], [3e38], [-3e38], [1e-40]])
        assert torch.isfinite(Scale(facts, scaling)(numbers)).all()


def test_new_values_are_unknown_missing_ones_missing_and_new_columns_are_left_aside() -> None:
    preprocess = TablePreprocessor(fit_table(PEOPLE, max_categories=10))
    row = {"age": None, "town": "Rome", "joined": None, "code": 1.0, "colour": "red"}
    item = preprocess(Sample("1", values=row))
    assert all(math.isnan(number) for number in item["numbers"])
    assert item["words"] == [UNKNOWN, FIRST + 1]
    assert preprocess(Sample("1", values={**row, "town": None}))["words"][0] == MISSING
    assert "colour" in preprocess.remark(Sample("1", values=row))
    assert not preprocess.remark(Sample("1", values={"age": 1.0}))


def test_words_that_were_not_learned_are_told_with_their_number_and_rows_without_anything_are_empty() -> None:
    preprocess = TablePreprocessor(fit_table(PEOPLE, max_categories=10))
    row = {name: cell for name, cell in (PEOPLE[0].values or {}).items() if name in preprocess.facts.columns}
    new = [Sample(str(n), values={**row, "town": town}) for n, town in enumerate(("Rome", "Bonn", "Rome", None))]
    (note,) = preprocess.notes([Sample("1", values=row), *new])
    assert note == 'In "town", 3 rows have what the model has not learned of: "Rome", "Bonn". It counts as unknown.'
    assert not preprocess.notes([Sample("1", values=row)])
    nothing = {"age": None, "town": None, "joined": None, "code": math.nan, "colour": "red"}
    assert preprocess.is_empty(Sample("1", values=nothing))
    assert not preprocess.is_empty(Sample("1", values={**nothing, "town": "Rome"}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"age": "old"}, "\"age\" of row 7 is no finite number: 'old'"),
        ({"age": math.inf}, '"age" of row 7 is no finite number'),
        ({"joined": "soon"}, "\"joined\" of row 7 is no date: 'soon'"),
        ({"joined": 5.0}, '"joined" of row 7 is no date'),
        ({"age": (1.0, 2.0)}, '"age" of row 7 is no finite number'),
        ({"town": (1.0, 2.0)}, '"town" of row 7 is a series'),
    ],
)
def test_a_cell_of_another_kind_is_refused_in_a_sentence(change: dict[str, Cell], says: str) -> None:
    preprocess = TablePreprocessor(fit_table(PEOPLE, max_categories=10))
    with pytest.raises(DataError, match=says):
        preprocess(Sample("1", values={**(PEOPLE[0].values or {}), **change}, source="row 7"))


def test_a_column_that_lacks_is_named() -> None:
    preprocess = TablePreprocessor(fit_table(PEOPLE, max_categories=10))
    with pytest.raises(DataError, match=r'row 7 lacks "joined", "town", "code", which the model takes; it has .*"age"'):
        preprocess(Sample("1", values={"age": 1.0}, source="row 7"))
    with pytest.raises(DataError, match=r'trained on: "Town" must be "town"\.'):
        preprocess(Sample("1", values={"Town": "Rome"}))


def test_backbones_for_rows_and_for_series_refuse_each_others_data(registry: Registry, tmp_path: Path) -> None:
    row = tiny_samples("table", "classification", tmp_path)[0]
    series = tiny_samples("table", "forecasting", tmp_path)[0]
    for name in SMALL:
        used = registry.backbone(name)
        good, bad = (series, row) if name in SERIES else (row, series)
        assert used.why_not(good) is None
        assert used.why_not(bad)
        with pytest.raises(DataError):
            used.fit(used.Options(), [bad])
        with pytest.raises(DataError, match="does not know the columns of its data yet"):
            used.load(used.Options())


def network(values: list[Sample], seed: int, **options: Any) -> tuple[TableNetwork, TableMLP]:
    torch.manual_seed(seed)
    backbone = TableMLP().fit(TableOptions(), values)
    chosen = TableOptions.model_validate({"width": 8, "layers": 1, **options})
    module = backbone.load(chosen)
    assert isinstance(module, TableNetwork)
    return module, backbone


def test_what_two_tables_share_goes_on_by_name_with_its_scale(tmp_path: Path) -> None:
    first = rows(*({"age": float(n), "town": ("Berlin", "Oslo")[n % 2], "old": float(n)} for n in range(20)))
    second = rows(*({"new": float(n), "town": ("Oslo", "Rome")[n % 2], "age": 100.0 + n} for n in range(20)))
    source, source_backbone = network(first, 0)
    source_backbone.save_assets(TableOptions(), tmp_path)
    target, target_backbone = network(second, 1)
    told = target.take_over(source.state_dict(), tmp_path)
    assert told == [
        "2 of 3 columns go on with what was learned of them.",
        "New columns begin anew: new.",
        "Columns that are not in this data were left behind: old.",
        "1 values of categories are new and begin anew.",
    ]
    ours, theirs = target.columns, source.columns
    assert torch.equal(ours.weight[1], theirs.weight[0])
    assert not ours.weight[0].any(), "what is new adds nothing at first"
    assert not ours.bias[0].any()
    assert float(ours.scale.mean[1]) == 9.5, "a number goes on in the scale that its weights were learned with"
    oslo, rome, berlin = FIRST, FIRST + 1, FIRST
    assert torch.equal(ours.embedding.weight[oslo], theirs.embedding.weight[berlin + 1])
    assert not ours.embedding.weight[rome].any()
    same_layer = "layers.0.feed_forward.up.weight"
    assert torch.equal(target.state_dict()[same_layer], source.state_dict()[same_layer])
    same = TablePreprocessor(target_backbone.facts or TableFacts((), ()))
    shared: dict[str, Cell] = {"age": 7.0, "town": "Oslo"}
    tokens = ours(same.collate([same(Sample("1", values={**shared, "new": 0.0}))]))
    other = TablePreprocessor(source_backbone.facts or TableFacts((), ()))
    expected = theirs(other.collate([other(Sample("1", values={**shared, "old": 0.0}))]))
    assert torch.equal(tokens[0, 1], expected[0, 0]), "age"
    assert torch.equal(tokens[0, 2], expected[0, 2]), "town"


def test_another_width_or_kind_of_network_is_refused(tmp_path: Path) -> None:
    source, backbone = network(PEOPLE, 0)
    backbone.save_assets(TableOptions(), tmp_path)
    wide, _ = network(PEOPLE, 0, width=16)
    with pytest.raises(WeightsError, match="another kind or width"):
        wide.take_over(source.state_dict(), tmp_path)
    transformer = FTTransformer().fit(TransformerOptions(), PEOPLE).load(TransformerOptions(width=8, heads=2, layers=1))
    with pytest.raises(WeightsError, match="do not fit"):
        transformer.take_over(source.state_dict(), tmp_path)

"""Networks for series, and the head that forecasts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tlstudio.api import SCALE, DataError, Prediction, Sample, TargetInfo, TLStudioError, WeightsError
from tlstudio.data.unlabelled import samples_in
from tlstudio.plugins import Registry
from tlstudio.testing import check_head, tiny_samples, tiny_target
from tlstudio_heads.forecast_heads import Forecasting
from tlstudio_heads.forecast_module import ForecastEncoder, ForecastMetrics
from tlstudio_tables.options import PatchOptions, SeriesOptions
from tlstudio_tables.series_backbones import PatchTransformer, SeriesResNet
from tlstudio_tables.series_facts import SeriesFacts, SeriesPreprocessor, fit_series


def windows(**channels: list[float]) -> list[Sample]:
    """One sample for each column, with the channels by name."""
    return [Sample("1", values={name: tuple(values) for name, values in channels.items()}, source="rows 1 to 9")]


def test_scales_are_those_of_the_training_windows_and_gaps_do_not_count(tmp_path: Path) -> None:
    facts = fit_series(windows(a=[1.0, math.nan, 3.0], b=[5.0, 5.0, 5.0]))
    assert [(each.name, each.mean, each.std) for each in facts.channels] == [("a", 2.0, 1.0), ("b", 5.0, 1.0)]
    assert (facts.length, facts.shortest) == (3, 3)
    facts.write(tmp_path)
    assert SeriesFacts.read(tmp_path) == facts
    stored = json.loads((tmp_path / "channels.json").read_text())
    damaged: list[dict[str, object]] = [{"length": 0}, {"channels": []}, {"shortest": 9}]
    for change in damaged:
        (tmp_path / "channels.json").write_text(json.dumps({**stored, **change}))
        with pytest.raises(WeightsError, match="cannot be read"):
            SeriesFacts.read(tmp_path)


def test_each_window_is_scaled_by_itself_and_the_end_of_what_is_longer_counts() -> None:
    facts = fit_series(windows(a=[0.0, 1.0, 2.0, 3.0]))
    preprocess = SeriesPreprocessor(facts, window_scaling=True)
    item = preprocess(windows(a=[9.0, 9.0, 100.0, 110.0, 120.0, 130.0])[0])
    assert item[SCALE] == pytest.approx((115.0, np.std([100, 110, 120, 130])))
    assert item["series"].mean() == pytest.approx(0.0, abs=1e-6)
    assert item["series"].std() == pytest.approx(1.0, abs=1e-5)
    fixed = SeriesPreprocessor(facts, window_scaling=False)(windows(a=[1.0, 1.0, 1.0, 1.0])[0])
    assert fixed[SCALE] == pytest.approx((1.5, facts.channels[0].std))


def test_gaps_are_filled_by_what_was_known_last_and_nothing_is_ever_infinite() -> None:
    facts = fit_series(windows(a=[0.0, 1.0, 2.0, 3.0]))
    preprocess = SeriesPreprocessor(facts, window_scaling=False)
    mean, std = facts.channels[0].mean, facts.channels[0].std
    filled = preprocess(windows(a=[math.nan, 1.0, math.nan, 3.0])[0])["series"][0] * std + mean
    assert filled == pytest.approx([1.0, 1.0, 1.0, 3.0])
    for odd in ([math.nan] * 4, [5.0] * 4, [math.inf, 1.0, -math.inf, 2.0], [1e300, -1e300, 0.0, 1.0]):
        for scaled in (True, False):
            item = SeriesPreprocessor(facts, window_scaling=scaled)(windows(a=odd)[0])
            assert np.isfinite(item["series"]).all()
            assert all(map(math.isfinite, item[SCALE]))


def test_what_is_missing_or_too_short_is_refused_in_a_sentence() -> None:
    preprocess = SeriesPreprocessor(fit_series(windows(a=[0.0, 1.0, 2.0, 3.0])), window_scaling=True)
    with pytest.raises(DataError, match='rows 1 to 9 has no series "a", which the model takes; it has "b"'):
        preprocess(windows(b=[1.0, 2.0, 3.0, 4.0])[0])
    with pytest.raises(DataError, match="has 2 rows, and the model needs 4 at least"):
        preprocess(windows(a=[1.0, 2.0])[0])
    with pytest.raises(DataError, match="not those of the samples before it"):
        fit_series([*windows(a=[1.0]), *windows(b=[1.0])])


def test_a_file_too_short_for_the_window_is_read_as_a_series_and_told_what_it_lacks(
    tmp_path: Path, registry: Registry
) -> None:
    preprocess = SeriesPreprocessor(fit_series(windows(sales=[float(n) for n in range(20)])), window_scaling=True)
    path = tmp_path / "new.csv"
    path.write_text("\n".join(["date,sales,temp", *(f"2024-01-{n:02},{n},{n % 3}" for n in range(1, 9))]))
    (sample,) = samples_in(path, registry.formats.values(), "table", takes=preprocess.takes)
    assert isinstance(sample, Sample)
    with pytest.raises(DataError, match=r"new\.csv, rows 2 to 9 has 8 rows, and the model needs 20 at least"):
        preprocess(sample)
    assert preprocess.forecast_name == "sales"
    assert preprocess.remark(sample) == 'The model does not know "temp": what is there does not count.'


def test_a_series_of_which_nothing_is_known_where_the_network_looks_is_empty() -> None:
    preprocess = SeriesPreprocessor(fit_series(windows(a=[0.0, 1.0, 2.0])), window_scaling=True)
    assert preprocess.is_empty(windows(a=[5.0, math.nan, math.nan, math.nan])[0])
    assert not preprocess.is_empty(windows(a=[math.nan, math.nan, 5.0, math.nan])[0])
    assert not preprocess.is_empty(windows(b=[1.0])[0]), "that it lacks is told otherwise"


def test_a_table_without_numbers_is_read_as_rows_so_that_the_column_it_lacks_is_named(
    tmp_path: Path, registry: Registry
) -> None:
    path = tmp_path / "new.csv"
    path.write_text("area,city\n100,Oslo\nbig,Atlantis\n")
    preprocess = SeriesPreprocessor(fit_series(windows(sales=[1.0, 2.0])), window_scaling=True)
    found = samples_in(path, registry.formats.values(), "table", takes=preprocess.takes, task="forecasting")
    assert isinstance(found[0], Sample)
    with pytest.raises(DataError, match='has no series "sales", which the model takes'):
        preprocess(found[0])


def test_series_of_any_length_are_read_where_those_of_training_differ() -> None:
    preprocess = SeriesPreprocessor(
        fit_series([*windows(a=[0.0, 1.0, 2.0, 3.0]), *windows(a=[0.0, 1.0, 2.0])]), window_scaling=False
    )
    assert preprocess(windows(a=[5.0, 6.0])[0])["series"].shape == (1, 4)


def test_patches_that_are_longer_than_the_window_are_refused() -> None:
    fitted = PatchTransformer().fit(PatchOptions(), windows(a=[1.0, 2.0, 3.0]))
    with pytest.raises(TLStudioError, match="3 values, fewer than one patch of 8"):
        fitted.load(PatchOptions())
    with pytest.raises(TLStudioError, match="cannot be divided among 3 attention heads"):
        fitted.load(PatchOptions(patch=2, heads=3))


def test_the_channels_of_two_data_sets_go_on_by_name_and_a_single_one_under_any(tmp_path: Path) -> None:
    options = SeriesOptions(width=8, layers=1)
    torch.manual_seed(0)
    backbone = SeriesResNet().fit(options, windows(a=[1.0, 2.0, 4.0], b=[1.0, 3.0, 9.0]))
    source = backbone.load(options)
    backbone.save_assets(options, tmp_path)
    other = SeriesResNet().fit(options, windows(c=[0.0, 1.0, 5.0], b=[1.0, 3.0, 9.0])).load(options)
    assert other.take_over(source.state_dict(), tmp_path) == [
        "New channels begin anew: c.",
        "Channels that are not in this data were left behind: a.",
    ]
    state, learned = other.state_dict(), source.state_dict()
    assert torch.equal(state["channels.weight"][1], learned["channels.weight"][1])
    assert not state["channels.weight"][0].any(), "what is new adds nothing at first"
    assert torch.equal(state["norm.weight"], learned["norm.weight"])
    longer = SeriesResNet().fit(options, windows(a=[1.0, 2.0, 4.0, 5.0], b=[1.0, 3.0, 9.0, 5.0])).load(options)
    with pytest.raises(WeightsError, match="looks at 3 values, this data has windows of 4"):
        longer.take_over(source.state_dict(), tmp_path)
    alone = SeriesResNet().fit(options, windows(x=[1.0, 2.0, 4.0]))
    (tmp_path / "alone").mkdir()
    alone.save_assets(options, tmp_path / "alone")
    named_otherwise = SeriesResNet().fit(options, windows(y=[1.0, 2.0, 4.0])).load(options)
    assert named_otherwise.take_over(alone.load(options).state_dict(), tmp_path / "alone") == []


def test_the_forecasting_head_keeps_the_contract(tmp_path: Path) -> None:
    check_head(Forecasting(), tiny_target("forecasting"), tiny_samples("table", "forecasting", tmp_path))


def test_forecasts_are_in_the_unit_of_the_series() -> None:
    target = TargetInfo("forecasting", size=2)
    labels = [(110.0, 130.0), (1.0, 2.0)]
    items = [{SCALE: (100.0, 10.0)}, {SCALE: (0.0, 1.0)}]
    encoded = ForecastEncoder(target)(labels, items)
    assert encoded.tolist() == [[1.0, 3.0], [1.0, 2.0]]
    from tlstudio.api import FeatureShape

    head = Forecasting().build(FeatureShape(4), target, Forecasting.Options())
    inputs = {SCALE: torch.tensor([[100.0, 10.0], [0.0, 1.0]])}
    assert [prediction.value for prediction in head.decode(encoded, inputs)] == labels
    with pytest.raises(DataError, match="has 3 values to be forecast, and the model forecasts 2"):
        ForecastEncoder(target)([(1.0, 2.0, 3.0)], items)


def test_errors_are_those_of_the_definitions_and_the_naive_forecast_has_a_mase_of_one() -> None:
    sample = Sample("1", values={"a": (1.0, 4.0, math.nan)}, label=(5.0, 8.0))
    metrics = ForecastMetrics()
    metrics.update([Prediction((5.0, 6.0))], [sample])
    assert metrics.compute() == pytest.approx({"mae": 1.0, "rmse": math.sqrt(2), "mase": 2 / 5})
    naive = ForecastMetrics()
    naive.update([Prediction((4.0, 4.0))], [sample])
    assert naive.compute()["mase"] == 1.0


def test_a_head_that_reads_inputs_is_never_trained_on_features_alone() -> None:
    from tlstudio.engine.assemble import caches_features
    from tlstudio.engine.parts import Parts
    from tlstudio.testing import tiny_backbones
    from tlstudio_heads.heads import Regression
    from tlstudio_strategies.probe import LinearProbe

    backbone, probe = tiny_backbones("table")[0], LinearProbe()
    for head, cached in ((Regression(), True), (Forecasting(), False)):
        parts = Parts(backbone, backbone.Options(), head, head.Options(), probe, probe.Options())
        assert caches_features(parts) is cached

"""How numbers are written, and the interval of a share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QLocale

from tlstudio.gui.titles import quantity_title
from tlstudio.gui.widgets import figures
from tlstudio.plugins import Registry


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (10_250, "10,250"), (390_215, "390 k"), (3_390_215, "3.4 M"), (1_235_000_000, "1.2 B")],
)
def test_counts(number: int, text: str) -> None:
    assert figures.count_text(number) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (18_826_032, "19 MB"), (5_400_000_000, "5.4 GB")]
)
def test_sizes(size: int, text: str) -> None:
    assert figures.size_text(size) == text


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("C", "22 Nov 2026, 00:20"),
        ("en_GB", "22 Nov 2026, 00:20"),
        ("de_DE", "22. Nov. 2026, 00:20"),
        ("zh_CN", "2026年11月22日, 00:20"),
    ],
)
def test_moments_are_written_in_the_order_of_the_locale(locale: str, text: str) -> None:
    assert figures.moment_text("2026-11-22T00:20:00", QLocale(locale)) == text
    assert figures.moment_text("", QLocale(locale)) == ""


@pytest.mark.parametrize(("name", "short"), [("balanced_accuracy", "Balanced acc."), ("accuracy", "Accuracy")])
def test_long_metrics_have_a_short_title_for_cards(name: str, short: str) -> None:
    assert figures.metric_title(name, short=True) == short
    assert figures.metric_title("balanced_accuracy") == "Balanced accuracy"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (48, "0:48"), (48.2, "0:48"), (75.4, "1:15"), (81, "1:21"), (3727, "1:02:07"), (3909, "1:05:09")],
)
def test_durations(seconds: float, text: str) -> None:
    assert figures.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8421, "0.842"), (0.0, "0.000"), (3.2e-5, "3.2e-5"), (123.45, "123.5"), (1234.5, "1,234"), (float("nan"), "—")],
)
def test_measured_numbers(value: float, text: str) -> None:
    assert figures.number_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(3e-4, "3e-4"), (0.001, "0.001"), (1e-05, "1e-5"), (32, "32"), (True, "True"), (None, "")]
)
def test_settings_are_written_as_people_type_them(value: object, text: str) -> None:
    assert figures.setting_text(value) == text


@given(st.floats(1e-12, 1e6))
def test_a_written_setting_reads_back_nearly_the_same(value: float) -> None:
    assert float(figures.setting_text(value)) == pytest.approx(value, rel=1e-5)


def test_the_wilson_interval_agrees_with_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    assert figures.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert figures.wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert figures.wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert figures.wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_the_loss_is_looked_at_only_where_there_is_nothing_else() -> None:
    metrics = {"loss": 0.5, "recall_macro": 0.7, "f1_macro": 0.8, "accuracy": 0.9}
    assert figures.main_metrics(metrics) == ["accuracy", "f1_macro", "recall_macro"]
    assert figures.main_metrics({"loss": 0.5}) == ["loss"]


def test_what_a_part_of_a_strategy_tells_has_the_title_of_the_strategy(registry: Registry) -> None:
    told = {name: quantity_title(registry, name) for name in ("head_first/loss of the probe", "l2_sp/x", "gone/x", "x")}
    assert told == {
        "head_first/loss of the probe": "Probe, then full fine-tuning (LP-FT) · loss of the probe",
        "l2_sp/x": f"{registry.methods['l2_sp'].title} · x",
        "gone/x": "gone · x",
        "x": "X",
    }

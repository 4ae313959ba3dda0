"""Columns of tables that give the target away, never change or hold hardly anything."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tlstudio.data import Revision, import_dataset, plan_import
from tlstudio.data.audit import Finding, find_problems
from tlstudio.data.columns import column_facts
from tlstudio.plugins import Registry


def bring(registry: Registry, path: Path, rows: Sequence[Sequence[object]]) -> Revision:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    request, _ = plan_import(registry.formats.values(), path, format="table")
    return import_dataset(request, path.parent / "datasets").revision


def by_kind(revision: Revision) -> dict[str, Finding]:
    return {finding.kind: finding for finding in find_problems(revision)}


def test_a_column_that_is_the_label_in_other_words_is_told(registry: Registry, tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [("n", "code", "town", "label")]
    rows += [(f"{n / 7:.4f}", 10 + n % 2, ("Oslo", "Rome")[n // 2 % 2], ("no", "yes")[n % 2]) for n in range(60)]
    found = by_kind(bring(registry, tmp_path / "a.csv", rows))
    assert found["target_leak"].severity == "error"
    assert '"code" is the label in other words' in found["target_leak"].what


def test_a_number_on_another_scale_is_told_and_one_with_noise_is_not(registry: Registry, tmp_path: Path) -> None:
    rows = [("fahrenheit", "near", "target")]
    rows += [(f"{32 + 1.8 * n}", f"{n + (n * 37 % 11) / 10}", f"{n}.5") for n in range(80)]
    facts = {each.name: each for each in column_facts(bring(registry, tmp_path / "a.csv", rows))}
    assert facts["fahrenheit"].tells_target
    assert not facts["near"].tells_target


def test_columns_that_never_change_or_are_empty_are_told(registry: Registry, tmp_path: Path) -> None:
    rows = [("n", "unit", "rare", "label")]
    rows += [(f"{n / 3:.3f}", "kg", "seen" if n == 5 else "", "ab"[n // 3 % 2]) for n in range(60)]
    found = by_kind(bring(registry, tmp_path / "a.csv", rows))
    assert '"unit" is the same in each row' in found["constant_columns"].what
    assert '"rare" is empty in more than 90% of the rows' in found["empty_columns"].what
    assert "target_leak" not in found


def test_what_a_column_holds_is_counted_without_what_is_missing(registry: Registry, tmp_path: Path) -> None:
    rows = [("n", "town", "label")]
    rows += [("" if n % 4 == 0 else f"{n}", ("Oslo", "", "Rome", "Rome")[n % 4], "ab"[n % 2]) for n in range(60)]
    facts = {each.name: each for each in column_facts(bring(registry, tmp_path / "a.csv", rows))}
    assert (facts["n"].filled, facts["n"].low, facts["n"].high) == (0.75, 1.0, 59.0)
    assert (facts["town"].filled, facts["town"].different) == (0.75, 2)


def test_a_sound_table_and_a_sound_series_have_no_such_problems(registry: Registry, tmp_path: Path) -> None:
    rows = [("n", "town", "label")]
    rows += [(f"{n * 37 % 61}", ("Oslo", "Rome", "Bern")[n % 3], "ab"[n // 5 % 2]) for n in range(60)]
    assert by_kind(bring(registry, tmp_path / "a.csv", rows)) == {}
    path = tmp_path / "b.csv"
    path.write_text("t,x\n" + "\n".join(f"{n},{n * 37 % 61 + n / 1000}" for n in range(200)), encoding="utf-8")
    request, _ = plan_import(registry.formats.values(), path, format="series", options={"length": 8, "horizon": 2})
    assert by_kind(import_dataset(request, tmp_path / "datasets").revision) == {}

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlstudio.api import DataError, Label, Split, Task
from tlstudio.data.splits import Fractions, assign_splits, check_fractions

NAMES = ("train", "validation", "test")


def split(
    labels: Sequence[Label],
    groups: Sequence[str] | None = None,
    prescribed: Sequence[Split | None] | None = None,
    contents: Sequence[object] | None = None,
    *,
    task: Task = "classification",
    fractions: Fractions = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> list[Split]:
    count = len(labels)
    return assign_splits(
        labels,
        groups or [""] * count,
        prescribed or [None] * count,
        task=task,
        fractions=fractions,
        seed=seed,
        contents=contents,
    )


def by_class(labels: Sequence[Label], splits: Sequence[Split]) -> dict[Label, Counter[Split]]:
    counts: dict[Label, Counter[Split]] = defaultdict(Counter)
    for label, name in zip(labels, splits, strict=True):
        counts[label][name] += 1
    return counts


rows = st.lists(
    st.tuples(
        st.sampled_from("abcd"),  # class
        st.sampled_from(["", "", "", "g1", "g2", "g3", "g4"]),  # group
        st.integers(0, 60),  # content
    ),
    min_size=1,
    max_size=120,
)


@given(rows, st.integers(0, 5))
def test_groups_and_identical_content_never_straddle_two_splits(items: list[tuple[str, str, int]], seed: int) -> None:
    labels, groups, contents = ([row[place] for row in items] for place in range(3))
    splits = split(list(map(str, labels)), list(map(str, groups)), None, contents, seed=seed)
    for keys in (groups, contents):
        seen: dict[object, set[str]] = defaultdict(set)
        for key, name in zip(keys, splits, strict=True):
            if key != "":
                seen[key].add(name)
        assert all(len(names) == 1 for names in seen.values())


@given(rows, st.integers(0, 5))
def test_the_same_seed_gives_the_same_splits(items: list[tuple[str, str, int]], seed: int) -> None:
    labels, groups, contents = [r[0] for r in items], [r[1] for r in items], [r[2] for r in items]
    assert split(labels, groups, None, contents, seed=seed) == split(labels, groups, None, contents, seed=seed)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=300), st.integers(0, 3))
def test_every_class_is_in_train_and_as_far_as_it_goes_in_the_others(labels: list[str], seed: int) -> None:
    counts = by_class(labels, split(labels, seed=seed))
    for label, total in Counter(labels).items():
        found = counts[label]
        assert found["train"] >= 1
        if total >= 3:
            assert found["test"] >= 1
            assert found["validation"] >= 1
        if total >= 20:
            assert abs(found["test"] - 0.15 * total) <= 1
            assert abs(found["validation"] - 0.15 * total) <= 1


@given(rows)
def test_a_class_of_several_units_is_never_missing_in_train(items: list[tuple[str, str, int]]) -> None:
    labels, contents = [row[0] for row in items], [row[2] for row in items]
    units: dict[str, set[int]] = defaultdict(set)
    mixed: dict[int, set[str]] = defaultdict(set)
    for label, content in zip(labels, contents, strict=True):
        units[label].add(content)
        mixed[content].add(label)
    if any(len(classes) > 1 for classes in mixed.values()):
        return  # a unit of several classes can be wanted in two places at once
    counts = by_class(labels, split(labels, None, None, contents))
    for label in units:
        assert counts[label]["train"] >= 1


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"train": 1}),
        (2, {"train": 1, "test": 1}),
        (3, {"train": 1, "validation": 1, "test": 1}),
        (4, {"train": 2, "validation": 1, "test": 1}),
        (20, {"train": 14, "validation": 3, "test": 3}),
    ],
)
def test_a_small_class_goes_to_train_then_test_then_validation(count: int, expected: dict[str, int]) -> None:
    labels = ["big"] * 100 + ["small"] * count
    assert by_class(labels, split(labels))["small"] == expected


def test_two_classes_of_one_item_each_both_stay_in_train() -> None:
    assert split(["a", "b"]) == ["train", "train"]


def test_many_small_classes_starve_neither_validation_nor_test() -> None:
    labels = [f"c{number // 10}" for number in range(1000)]
    counts = Counter(split(labels))
    assert counts["train"] == 700
    assert counts["test"] == counts["validation"] == 150


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, *NAMES])), min_size=1, max_size=80),
)
def test_what_the_source_prescribes_for_validation_and_test_is_kept(items: list[tuple[str, Split | None]]) -> None:
    prescribed = [row[1] for row in items]
    splits = split([row[0] for row in items], None, prescribed)
    for wanted, got in zip(prescribed, splits, strict=True):
        if wanted in ("validation", "test"):
            assert got == wanted
    if set(prescribed) == set(NAMES):
        assert all(got == "train" for wanted, got in zip(prescribed, splits, strict=True) if wanted != got)


def test_validation_is_cut_from_train_where_the_source_has_train_and_test_alone() -> None:
    labels = ["a", "b"] * 100
    given: tuple[Split, Split] = ("train", "test")
    prescribed = [given[number >= 160] for number in range(200)]
    splits = split(labels, None, prescribed)
    assert splits[160:] == ["test"] * 40
    counts = by_class(labels[:160], splits[:160])
    assert counts["a"] == counts["b"] == {"train": 68, "validation": 12}


def test_what_is_prescribed_for_train_stays_where_the_rest_suffices() -> None:
    given: tuple[Split, None] = ("train", None)
    prescribed = [given[number >= 100] for number in range(200)]
    splits = split(["a", "b"] * 100, None, prescribed)
    assert splits[:100] == ["train"] * 100
    assert Counter(splits[100:]) == {"train": 40, "validation": 30, "test": 30}


def test_a_copy_without_prescription_follows_its_original_to_test() -> None:
    splits = split(["a"] * 6, None, ["test", None, "train", None, None, None], [1, 1, 2, 2, 3, 4])
    assert splits[:4] == ["test", "test", "train", "train"]


def test_groups_of_one_class_each_are_stratified() -> None:
    labels = [("ab")[(number // 10) % 2] for number in range(400)]
    groups = [f"patient {number // 10}" for number in range(400)]
    counts = by_class(labels, split(labels, groups))
    for label in "ab":
        assert 120 <= counts[label]["train"] <= 160
        assert counts[label]["test"] >= 20
        assert counts[label]["validation"] >= 20


def test_a_huge_group_goes_to_train() -> None:
    groups = ["huge"] * 60 + [f"g{number // 4}" for number in range(40)]
    splits = split(["a", "b"] * 50, groups)
    assert set(splits[:60]) == {"train"}
    assert set(splits) == set(NAMES)


def test_a_number_is_stratified_by_quantiles() -> None:
    values = np.random.default_rng(0).lognormal(size=1000)
    splits = np.array(split(values.tolist(), task="regression"))
    for low, high in ((0, 10), (45, 55), (90, 100)):
        inside = (values >= np.percentile(values, low)) & (values <= np.percentile(values, high))
        assert abs((splits[inside] == "test").mean() - 0.15) < 0.04


def test_the_rarest_label_of_several_is_in_every_split() -> None:
    labels: list[Label] = [("common", "rare") if number % 20 == 0 else ("common",) for number in range(400)]
    counts = by_class(labels, split(labels, task="multi_label"))
    assert counts["common", "rare"] == {"train": 14, "validation": 3, "test": 3}


def test_a_share_of_zero_leaves_a_split_empty() -> None:
    assert Counter(split(["a", "b"] * 50, fractions=(0.8, 0.2, 0.0))) == {"train": 80, "validation": 20}
    assert set(split(["a"] * 3 + ["b"], fractions=(1.0, 0.0, 0.0))) == {"train"}


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (0.7, 0.3), (float("nan"),) * 3]
)
def test_shares_that_are_none_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(DataError) as caught:
        check_fractions(fractions)
    assert caught.value.field == "fractions"


def test_no_samples_have_no_splits() -> None:
    assert split([]) == []


def test_a_hundred_thousand_rows_with_groups_take_seconds() -> None:
    rng = np.random.default_rng(0)
    labels = [f"c{number}" for number in rng.integers(0, 500, 100_000)]
    groups = [f"g{number}" for number in rng.integers(0, 30_000, 100_000)]
    start = time.process_time()
    splits = split(labels, groups, None, rng.integers(0, 1_000_000, 100_000).tolist())
    assert time.process_time() - start < 10
    assert len(splits) == 100_000


def test_texts_to_be_written_are_split_though_no_two_are_the_same() -> None:
    labels = [f"text {number}" for number in range(100)]
    splits = assign_splits(labels, [""] * 100, [None] * 100, task="generation")
    assert Counter(splits) == {"train": 70, "validation": 15, "test": 15}
    grouped = assign_splits(labels, [f"file {n // 5}" for n in range(100)], [None] * 100, task="generation")
    assert all(len(set(grouped[start : start + 5])) == 1 for start in range(0, 100, 5))
    assert set(grouped) == {"train", "validation", "test"}

"""Dividing samples into train, validation and test: stratified, leak-free, and the same for the same seed.

Samples that share a group or the very same content form one *unit*, which never straddles two splits. Each unit
goes where its strata (classes; the rarest label of a multi-label sample; quantile bins of a number) lack most,
largest unit first; units of one sample, usually nearly all, are then dealt out at random, stratum by stratum.
Dealing by the rarest label first follows Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label
data" (ECML PKDD 2011). Time and memory grow linearly but for sorting.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tlstudio.api import SPLITS, TASKS, DataError, Label, Split, Task, label_names
from tlstudio.data.units import join_units

Fractions = tuple[float, float, float]
Codes = npt.NDArray[np.int64]

TRAIN, VALIDATION, TEST = range(3)
NUM_BINS = 10
"""Quantile bins by which a regression target is stratified (fewer where there are fewer than 100 samples)."""


def check_fractions(fractions: Sequence[float]) -> Fractions:
    """Return the shares of train, validation and test, checked.

    Raises:
        DataError: They are not three shares of one, or nothing is left to train on.
    """
    shares = tuple(float(share) for share in fractions)
    if len(shares) != 3 or not all(math.isfinite(share) and 0 <= share <= 1 for share in shares):
        raise DataError(
            "The shares of train, validation and test must be three numbers from 0 to 1.",
            "For instance 0.7, 0.15, 0.15.",
            field="fractions",
        )
    if abs(sum(shares) - 1) > 1e-6:
        raise DataError(
            f"The shares of train, validation and test add up to {sum(shares):g}, not to 1.",
            "For instance 0.7, 0.15, 0.15.",
            field="fractions",
        )
    if shares[0] <= 0:
        raise DataError("The share of train is 0: there would be nothing to learn from.", field="fractions")
    return shares


def assign_splits(
    labels: Sequence[Label],
    groups: Sequence[str],
    prescribed: Sequence[Split | None],
    *,
    task: Task,
    fractions: Fractions = (0.7, 0.15, 0.15),
    seed: int = 0,
    contents: Sequence[object] | npt.NDArray[np.uint64] | None = None,
) -> list[Split]:
    """Give each sample its split.

    A stratum of one unit goes to train, of two to train and test, of three or more to all. What the source
    prescribes is kept. Where it prescribes some splits but not validation or not test, that one is cut from the
    samples without a prescription or, where these do not suffice, from those for training. A sample without
    prescription follows its group or its duplicates.

    Args:
        labels: Label of each sample.
        groups: Group of each sample; ``""``: none.
        prescribed: The split that the source prescribes, or `None`.
        task: What the labels are for.
        fractions: Shares of train, validation and test; they add up to 1.
        seed: The same seed gives the same splits of the same samples.
        contents: Something equal for samples of identical content (a hash), or `None`: not known.

    Raises:
        DataError: The fractions are not shares of one.
    """
    shares = check_fractions(fractions)
    count = len(labels)
    if count == 0:
        return []
    units = join_units(groups, contents, count)
    fixed = _follow_units(_prescribed_codes(prescribed), units)
    result = np.full(count, TRAIN, dtype=np.int64)
    held_out = fixed > TRAIN
    result[held_out] = fixed[held_out]

    wanted = np.array(shares)
    for split in (VALIDATION, TEST):
        if (fixed == split).any():
            wanted[split] = 0.0
    candidates = ~held_out
    if (fixed == TRAIN).any():
        free = fixed < 0
        needed = wanted[1:].sum() * candidates.sum()
        if free.sum() >= needed:
            # Cut the missing splits from the free samples alone: the share of these is so much the larger.
            wanted[1:] *= candidates.sum() / max(1, free.sum())
            candidates = free
    wanted[TRAIN] = max(0.0, 1.0 - wanted[1:].sum())
    rows = np.flatnonzero(candidates)
    if len(rows) and wanted[1:].sum() > 0:
        strata = strata_of([labels[row] for row in rows.tolist()], task)
        result[rows] = _Deal(strata, units[rows], wanted, np.random.default_rng(seed)).deal()
    return [SPLITS[code] for code in result.tolist()]


def _prescribed_codes(prescribed: Sequence[Split | None]) -> Codes:
    code = {None: -1, "train": TRAIN, "validation": VALIDATION, "test": TEST}
    return np.fromiter((code[split] for split in prescribed), dtype=np.int64, count=len(prescribed))


def _follow_units(fixed: Codes, units: Codes) -> Codes:
    """Let samples without prescription follow their unit: to test before validation before train."""
    if not (fixed >= 0).any():
        return fixed
    strongest = np.full(int(units.max()) + 1, -1, dtype=np.int64)
    np.maximum.at(strongest, units, fixed)
    return np.where(fixed < 0, strongest[units], fixed)


def strata_of(labels: Sequence[Label], task: Task) -> Codes:
    """Number the strata from 0; every number in between occurs."""
    kind = TASKS[task].label
    if kind == "number":
        return _quantile_bins(np.array([math.nan if x is None else x for x in labels], dtype=np.float64))
    if kind in ("text", "none"):  # of texts, hardly two are the same
        return np.zeros(len(labels), dtype=np.int64)
    if kind != "name":
        sets = [label_names(label) for label in labels]
        frequency = Counter(name for names in sets for name in set(names))
        keys = [min(names, key=lambda name: (frequency[name], name)) if names else None for names in sets]
    else:
        keys = [cast("str | None", label) for label in labels]
    coded = pa.array(keys, pa.large_string()).dictionary_encode(null_encoding="encode")
    return np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _quantile_bins(values: npt.NDArray[np.float64]) -> Codes:
    bins = max(1, min(NUM_BINS, len(values) // 10))
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, bins + 1)[1:-1])) if bins > 1 else np.array([])
    codes = np.searchsorted(edges, np.nan_to_num(values), side="right")
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


class _Deal:
    """Deals units out so that each stratum comes near its targets.

    Args:
        strata: Stratum of each row ``[N]``.
        units: Unit of each row ``[N]``.
        shares: Wanted share of each split ``[3]``; 0 leaves a split empty.
        rng: Source of all chance.
    """

    def __init__(self, strata: Codes, units: Codes, shares: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        self.strata = strata
        self.units = np.unique(units, return_inverse=True)[1].astype(np.int64)
        self.rng = rng
        self.num_strata = int(strata.max()) + 1
        self.sizes = np.bincount(self.units)
        self.shares = shares
        self.target = _targets(*self._count_strata(), shares)
        self.have = np.zeros((self.num_strata, 3), dtype=np.int64)
        self.split_of_unit = np.full(len(self.sizes), TRAIN, dtype=np.int64)

    def _count_strata(self) -> tuple[Codes, Codes]:
        """Rows and units of each stratum."""
        pairs = np.unique(self.strata * len(self.sizes) + self.units)
        units = np.bincount(pairs // len(self.sizes), minlength=self.num_strata)
        return np.bincount(self.strata, minlength=self.num_strata), units

    def deal(self) -> Codes:
        """Return the split of each row ``[N]``."""
        if (self.sizes > 1).any():
            self._deal_large_units()
        self._deal_single_rows()
        self._fill_empty_splits()
        return self.split_of_unit[self.units]

    def _deal_large_units(self) -> None:
        """Put each unit of several rows where its strata lack most, the largest first."""
        rows = np.flatnonzero(self.sizes[self.units] > 1)
        pairs, counts = np.unique(self.units[rows] * self.num_strata + self.strata[rows], return_counts=True)
        unit_of_pair = pairs // self.num_strata
        starts = np.flatnonzero(np.r_[True, unit_of_pair[1:] != unit_of_pair[:-1]])
        ends = np.r_[starts[1:], len(pairs)].tolist()
        names = unit_of_pair[starts]
        chance = self.rng.random(len(names))
        strata_of_pair, count_of_pair = (pairs % self.num_strata).tolist(), counts.tolist()
        lack = (self.target - self.have).astype(float).tolist()
        units_left = np.bincount(pairs % self.num_strata, minlength=self.num_strata)
        singles = np.bincount(self.strata[self.sizes[self.units] == 1], minlength=self.num_strata)
        left = (units_left + singles).tolist()  # units of each stratum that are not dealt yet
        allowed = [split for split in range(3) if self.shares[split] > 0 or split == TRAIN]
        seen = [[False] * 3 for _ in range(self.num_strata)]
        starts_list = starts.tolist()
        for position in np.lexsort((chance, -self.sizes[names])).tolist():
            span = range(starts_list[position], ends[position])
            best, best_score = TRAIN, -math.inf
            for split in allowed:
                score = sum(count_of_pair[pair] * lack[strata_of_pair[pair]][split] for pair in span)
                for pair in span:
                    stratum = strata_of_pair[pair]
                    # As many units left as splits that still lack this stratum: each must get one now.
                    due = [s for s in (TRAIN, TEST, VALIDATION) if self.target[stratum, s] > 0 and not seen[stratum][s]]
                    if due and left[stratum] <= len(due) and split == due[0]:
                        score += len(self.strata) * 1.0
                if score > best_score:
                    best, best_score = split, score
            self.split_of_unit[names[position]] = best
            for pair in span:
                stratum = strata_of_pair[pair]
                lack[stratum][best] -= count_of_pair[pair]
                seen[stratum][best] = True
                left[stratum] -= 1
        self.have = self.target - np.array(lack).astype(np.int64)

    def _deal_single_rows(self) -> None:
        """Deal out the units of one row, by rank in a random order of their stratum."""
        rows = np.flatnonzero(self.sizes[self.units] == 1)
        if not len(rows):
            return
        strata = self.strata[rows]
        available = np.bincount(strata, minlength=self.num_strata)
        reserve = ((self.have[:, TRAIN] == 0) & (available > 0)).astype(np.int64)  # train gets one of each stratum
        test = np.clip(self.target[:, TEST] - self.have[:, TEST], 0, available - reserve)
        validation = np.clip(self.target[:, VALIDATION] - self.have[:, VALIDATION], 0, available - reserve - test)
        order = np.lexsort((self.rng.random(len(rows)), strata))
        first = np.r_[0, np.cumsum(available)[:-1]]
        rank = np.arange(len(rows)) - first[strata[order]]
        stratum = strata[order]
        split = np.where(rank < test[stratum], TEST, TRAIN)
        split = np.where((split == TRAIN) & (rank < (test + validation)[stratum]), VALIDATION, split)
        self.split_of_unit[self.units[rows[order]]] = split

    def _fill_empty_splits(self) -> None:
        """Give a split that came out empty units of another one; a stratum never loses its last unit in train."""
        for split, other in ((TEST, VALIDATION), (VALIDATION, TEST)):
            if self.shares[split] == 0 or (self.split_of_unit == split).any():
                continue
            owned = np.flatnonzero(self.split_of_unit == other)
            if len(owned) >= 2:
                given = self._smallest(owned)[: len(owned) // 2]
            else:
                given = self._smallest(self._dispensable())[:1]
            self.split_of_unit[given] = split

    def _smallest(self, units: Codes) -> Codes:
        return units[np.lexsort((self.rng.random(len(units)), self.sizes[units]))]

    def _dispensable(self) -> Codes:
        """Units in train whose every stratum has another unit there."""
        pairs = np.unique(self.units * self.num_strata + self.strata)
        unit, stratum = pairs // self.num_strata, pairs % self.num_strata
        in_train = self.split_of_unit[unit] == TRAIN
        num_units = np.bincount(stratum[in_train], minlength=self.num_strata)
        needed = np.zeros(len(self.sizes), dtype=bool)
        needed[unit[num_units[stratum] < 2]] = True
        return np.flatnonzero((self.split_of_unit == TRAIN) & ~needed)


def _targets(rows: Codes, units: Codes, shares: npt.NDArray[np.float64]) -> Codes:
    """Rows of each stratum that each split should get ``[C, 3]``, by largest remainders.

    Every wanted split gets at least one row of a stratum that has units enough: train first, then test.
    """
    exact = rows[:, None] * shares
    target = np.floor(exact + 1e-9).astype(np.int64)
    remainder = exact - target
    # Ties between validation and test: by turns, so that many small strata do not starve one of them.
    turn = np.arange(len(rows)) % 2 * 2 - 1
    remainder[:, VALIDATION] += 1e-6 * turn
    remainder[:, TEST] -= 1e-6 * turn
    remainder[:, shares == 0] = -1
    order = np.argsort(-remainder, axis=1, kind="stable")
    missing = rows - target.sum(axis=1)
    for place in range(3):
        get = missing > place
        target[np.flatnonzero(get), order[get, place]] += 1
    for split, least_units in ((TEST, 2), (VALIDATION, 3)):
        if shares[split] == 0:
            continue
        wanting = np.flatnonzero((target[:, split] == 0) & (units >= least_units))
        giver = np.argmax(target[wanting], axis=1)
        target[wanting, giver] -= 1
        target[wanting, split] += 1
    empty = np.flatnonzero((target[:, TRAIN] == 0) & (rows > 0))
    giver = np.argmax(target[empty], axis=1)
    target[empty, giver] -= 1
    target[empty, TRAIN] += 1
    return target

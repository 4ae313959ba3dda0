"""Looking for what could spoil a result: leaks, conflicts, imbalance, odd items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tlstudio.data.columns import column_facts
from tlstudio.data.near import near_groups
from tlstudio.data.revision import Revision
from tlstudio.data.statistics import class_histogram, image_sizes, sound_lengths, sound_peaks, text_lengths
from tlstudio.data.targets import some

Severity = Literal["info", "warning", "error"]

IMBALANCE = 10.0
"""How many times the smallest class the largest may be."""
TINY_CLASS = 5
"""Training samples that a class should have at least."""
SMALL_IMAGE = 32
"""Pixels; images with a shorter side hold little to see."""
LONG_IMAGE = 5.0
"""How many times its short side an image's long side may be."""
SHORT_TEXT = 3
"""Characters that a text should have at least."""
LONG_TEXT = 20_000
"""Characters; most models read the beginning of such a text alone."""
SHORT_SOUND = 0.1
"""Seconds; shorter sounds hold little to hear."""
LONG_SOUND = 30.0
"""Seconds; most models take the beginning of such a sound alone."""
SILENCE = 0.001
"""Largest sample of a sound that counts as silent: 60 dB below full scale."""
MOSTLY_EMPTY = 0.1
"""Share of the rows in which a column should hold something."""
OUTLIER = 6.0
"""Standard deviations that a regression target may be away from the mean."""


@dataclass(frozen=True)
class Finding:
    """One problem that was found.

    Attributes:
        kind: What it is, for programs: ``"leak"``, ``"imbalance"``, ...
        title: A few words.
        what: Sentences: what was found, why it matters, and what to do.
        ids: The items behind it.
        severity: ``"error"``: results will be wrong; ``"warning"``: they may suffer; ``"info"``: good to know.
    """

    kind: str
    title: str
    what: str
    ids: tuple[str, ...]
    severity: Severity


def find_problems(revision: Revision) -> tuple[Finding, ...]:
    """Look through a revision, the gravest findings first. Reads the table alone, no images."""
    found = [
        *_duplicates(revision),
        *_near_duplicates(revision),
        *_classes(revision),
        *_targets(revision),
        *_images(revision),
        *_texts(revision),
        *_columns(revision),
        *_sounds(revision),
        *_left_out(revision),
    ]
    rank = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: rank[finding.severity]))


def _ids(revision: Revision, rows: Sequence[int]) -> tuple[str, ...]:
    column = revision.table.column("id")
    return tuple(str(column[int(row)].as_py()) for row in rows)


def _items(count: int, verb: str = "have") -> str:
    if count == 1:
        return f"1 item {_SINGULAR[verb]}"
    return f"{count:,} items {verb}"


_SINGULAR = {"have": "has", "occur": "occurs", "are": "is", "could": "could"}


def _duplicates(revision: Revision) -> Iterator[Finding]:
    """Items of exactly the same content: across splits, with different labels, or merely repeated."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(revision.table.column("hash").to_pylist()):
        rows_of[str(digest)].append(row)
    leaks: list[int] = []
    conflicts: list[int] = []
    repeated: list[int] = []
    extra = 0
    for rows in rows_of.values():
        if len(rows) == 1:
            continue
        if len({revision.split(row) for row in rows}) > 1:
            leaks += rows
        else:
            repeated += rows
            extra += len(rows) - 1
        if len({revision.label(row) for row in rows}) > 1:
            conflicts += rows
    if leaks:
        yield Finding(
            "leak",
            "Same content in several splits",
            f"{_items(len(leaks))} the same content as an item of another split, because the source says so. "
            "A test on what was learned by heart looks better than it is. Take the copies out of the source, or "
            "import it with new splits.",
            _ids(revision, leaks),
            "error",
        )
    if conflicts:
        yield Finding(
            "conflict",
            "Same content, different labels",
            f"{_items(len(conflicts))} the same content but not the same label: one of them must be wrong. "
            "Correct the labels and import again.",
            _ids(revision, conflicts),
            "warning",
        )
    if repeated:
        yield Finding(
            "duplicates",
            "Exact duplicates",
            f"{_items(len(repeated), 'occur')} more than once with exactly the same content ({extra:,} too many). "
            "They were kept in one split, so they do no harm, but they count more than others.",
            _ids(revision, repeated),
            "info",
        )


def _near_duplicates(revision: Revision) -> Iterator[Finding]:
    if revision.modality != "image" or revision.task == "recommendation":  # there, each image is rated by many
        return
    digests = revision.table.column("hash").to_pylist()
    across: list[int] = []
    groups = 0
    for rows in near_groups(revision.table.column("dhash").to_pylist()):
        if len({digests[row] for row in rows}) > 1 and len({revision.split(row) for row in rows}) > 1:
            across += rows
            groups += 1
    if across:
        word = "group" if groups == 1 else "groups"
        yield Finding(
            "near_duplicates",
            "Look-alikes in several splits",
            f"{len(across):,} items ({groups:,} {word}) look nearly the same and lie in different splits: scaled or "
            "saved again, perhaps. If they are copies, a test on them looks better than it is. Look at them, take "
            "copies out, or keep them together by a group column.",
            _ids(revision, across),
            "warning",
        )


def _classes(revision: Revision) -> Iterator[Finding]:
    if revision.label_kind == "number":
        return
    histogram = class_histogram(revision)
    train, total = histogram.counts["train"], histogram.total
    names = histogram.classes
    held_out = [name for name, learned in zip(names, train, strict=True) if not learned]
    if held_out:
        yield Finding(
            "not_in_train",
            "Classes that cannot be learned",
            f"No item of {some(held_out)} is in train: what was never seen cannot be recognised. "
            "Change the splits in the source, or import it with new splits.",
            _ids(revision, _rows_of(revision, held_out)),
            "error",
        )
    untested = [name for name, count in zip(names, histogram.counts["test"], strict=True) if not count]
    if untested and len(revision.indices("test")):
        yield Finding(
            "not_in_test",
            "Classes that are not tested",
            f"No item of {some(untested)} is in test: nothing will be known of how well they are recognised.",
            _ids(revision, _rows_of(revision, untested)),
            "info",
        )
    tiny = [name for name, count in zip(names, train, strict=True) if 0 < count < TINY_CLASS]
    if tiny:
        verb = "has" if len(tiny) == 1 else "have"
        yield Finding(
            "tiny_class",
            "Very small classes",
            f"{some(tiny)} {verb} fewer than {TINY_CLASS} items in train. Add items, or join the classes with others.",
            _ids(revision, _rows_of(revision, tiny)),
            "warning",
        )
    if len(names) > 1 and total.min() > 0 and total.max() >= IMBALANCE * total.min():
        large, small = names[int(total.argmax())], names[int(total.argmin())]
        yield Finding(
            "imbalance",
            "Unequal classes",
            f'The class "{large}" has {total.max():,} items, "{small}" has {total.min():,}: '
            f"{total.max() / total.min():.0f} times fewer. Look at macro-F1 rather than accuracy, use class weights, "
            "or add items.",
            _ids(revision, _rows_of(revision, [small])),
            "warning",
        )


def _rows_of(revision: Revision, classes: Sequence[str]) -> list[int]:
    wanted = set(classes)
    if revision.label_kind == "name":
        labels = revision.table.column("label").to_pylist()
        return [row for row, name in enumerate(labels) if name in wanted]
    several = revision.table.column("labels").to_pylist()
    return [row for row, labels in enumerate(several) if wanted.intersection(labels or ())]


def _targets(revision: Revision) -> Iterator[Finding]:
    if revision.label_kind != "number":
        return
    values = revision.values()
    deviation = values.std()
    far = np.flatnonzero(np.abs(values - values.mean()) > OUTLIER * deviation)
    if deviation > 0 and len(far):
        yield Finding(
            "outliers",
            "Targets far from all others",
            f"{_items(len(far))} targets more than {OUTLIER:g} standard deviations from the mean. "
            "Check them: a slipped decimal point spoils the whole fit.",
            _ids(revision, far.tolist()),
            "warning",
        )


def _images(revision: Revision) -> Iterator[Finding]:
    width, height = image_sizes(revision)
    small = np.flatnonzero(np.minimum(width, height) < SMALL_IMAGE)
    if len(small):
        yield Finding(
            "small_images",
            "Tiny images",
            f"{_items(len(small))} a side of less than {SMALL_IMAGE} pixels: they are blown up for the model.",
            _ids(revision, small.tolist()),
            "info",
        )
    long = np.flatnonzero(np.maximum(width, height) > LONG_IMAGE * np.minimum(width, height))
    if len(long):
        yield Finding(
            "long_images",
            "Very long images",
            f"{_items(len(long), 'are')} more than {LONG_IMAGE:g} times as long as they are wide or high: "
            "most models look at the middle alone.",
            _ids(revision, long.tolist()),
            "info",
        )


def _texts(revision: Revision) -> Iterator[Finding]:
    lengths = text_lengths(revision)
    short = np.flatnonzero(lengths < SHORT_TEXT)
    if len(short):
        yield Finding(
            "short_texts",
            "Very short texts",
            f"{_items(len(short))} fewer than {SHORT_TEXT} characters: there is hardly anything to learn from.",
            _ids(revision, short.tolist()),
            "info",
        )
    long = np.flatnonzero(lengths > LONG_TEXT)
    if len(long):
        yield Finding(
            "long_texts",
            "Very long texts",
            f"{_items(len(long))} more than {LONG_TEXT:,} characters: most models read the beginning alone.",
            _ids(revision, long.tolist()),
            "info",
        )


def _sounds(revision: Revision) -> Iterator[Finding]:
    lengths = sound_lengths(revision)
    silent = np.flatnonzero(sound_peaks(revision) < SILENCE)
    if len(silent):
        yield Finding(
            "silent_sounds",
            "Silent recordings",
            f"{_items(len(silent), 'are')} silent: there is nothing to hear. Take them out, unless silence is what "
            "their label says.",
            _ids(revision, silent.tolist()),
            "warning",
        )
    short = np.flatnonzero(lengths < SHORT_SOUND)
    if len(short):
        yield Finding(
            "short_sounds",
            "Very short recordings",
            f"{_items(len(short), 'are')} shorter than {SHORT_SOUND:g} s: there is hardly anything to hear.",
            _ids(revision, short.tolist()),
            "info",
        )
    long = np.flatnonzero(lengths > LONG_SOUND)
    if len(long):
        yield Finding(
            "long_sounds",
            "Very long recordings",
            f"{_items(len(long), 'are')} longer than {LONG_SOUND:g} s: most models take the beginning alone. "
            "Cut them into pieces if what matters may come later.",
            _ids(revision, long.tolist()),
            "info",
        )


def _columns(revision: Revision) -> Iterator[Finding]:
    facts = column_facts(revision)
    telling = [each.name for each in facts if each.tells_target]
    if telling:
        yield Finding(
            "target_leak",
            "A column gives the label away",
            f"{some(telling)} {_is_or_are(telling)} the label in other words: each value goes with one label, and the "
            "other way round. A model will look at nothing else. If it is not known beforehand, import the table again "
            "without it.",
            (),
            "error",
        )
    empty = [each.name for each in facts if each.filled < MOSTLY_EMPTY]
    if empty:
        yield Finding(
            "empty_columns",
            "Columns with hardly anything in them",
            f"{some(empty)} {_is_or_are(empty)} empty in more than {1 - MOSTLY_EMPTY:.0%} of the rows. That is "
            "allowed; leave them out if what is missing tells nothing.",
            (),
            "info",
        )
    constant = [each.name for each in facts if each.constant and each.filled >= MOSTLY_EMPTY]
    if constant:
        yield Finding(
            "constant_columns",
            "Columns that never change",
            f"{some(constant)} {_is_or_are(constant)} the same in each row: there is nothing to learn from that.",
            (),
            "info",
        )


def _is_or_are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _left_out(revision: Revision) -> Iterator[Finding]:
    rejected, _ = revision.report()
    if rejected:
        first = rejected[0]
        verb = "was" if len(rejected) == 1 else "were"
        yield Finding(
            "left_out",
            "Left out at import",
            f"{_items(len(rejected), 'could')} not be used and {verb} left out. First: {first.source}: {first.reason}",
            (),
            "info",
        )

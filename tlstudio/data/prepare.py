"""Checking samples before they enter a revision: every image is decoded once, every text and label looked at."""

from __future__ import annotations

import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlstudio.api import TASKS, DataError, Label, Rejected, Sample, Span, Task, label_names
from tlstudio.api.images import IMAGE_SUFFIXES, image_size, open_image
from tlstudio.data.fingerprint import dhash, file_hash, text_hash
from tlstudio.data.names import plain_text
from tlstudio.data.revision import MEDIA_FOLDER

LARGEST_TARGET = float(np.finfo(np.float32).max)
"""Models compute in 32 bits."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sample that was checked.

    Attributes:
        sample: The sample; its label has the type of the task.
        hash: SHA-256 of the file or text.
        image: Its path as it is stored: relative to the revision or absolute; `None` for a text.
        width: Pixels, upright; `None` for a text.
        height: Pixels, upright; `None` for a text.
        dhash: Perceptual hash; `None` for a text.
    """

    sample: Sample
    hash: str
    image: str | None = None
    width: int | None = None
    height: int | None = None
    dhash: bytes | None = None


class Cancelled(Exception):  # noqa: N818  not an error: the user asked for it
    """The user has cancelled; nothing is left behind."""


def prepare_texts(
    samples: Iterable[Sample | Rejected], task: Task, cancelled: Callable[[], bool]
) -> Iterator[Prepared | Rejected]:
    """Check samples of text, in their order.

    Raises:
        Cancelled: As soon as `cancelled` says so.
    """
    for number, sample in enumerate(samples):
        if number % 64 == 0 and cancelled():
            raise Cancelled
        if isinstance(sample, Rejected):
            yield sample
        elif sample.text is None or not sample.text.strip():
            yield Rejected(sample.source or sample.id, "It has no text.", "Write its text, or take it out.")
        else:
            text = plain_text(sample.text)
            if TASKS[task].label == "spans" and len(text) != len(sample.text):
                reason = "Its text has broken characters, so that positions in it do not hold."
                yield Rejected(sample.source or sample.id, reason, "Save it as UTF-8.")
                continue
            checked = _checked(sample, task, text)
            if isinstance(checked, Rejected):
                yield checked
            else:
                # A record separator keeps ("ab", "c") and ("a", "bc") apart.
                yield Prepared(checked, text_hash(text if checked.pair is None else f"{text}\x1e{checked.pair}"))


def prepare_images(
    samples: Iterable[Sample | Rejected], task: Task, media: Path | None, cancelled: Callable[[], bool]
) -> Iterator[Prepared | Rejected]:
    """Decode, hash and copy images in a few threads, in their order.

    Args:
        samples: The samples.
        task: What their labels are for.
        media: Folder that the files are copied into, named by content; `None` leaves them where they are.
        cancelled: Asked before each image.

    Raises:
        Cancelled: As soon as `cancelled` says so; images under way (one a thread) are finished first.
        OSError: A copy cannot be written.
    """
    workers = max(2, min(8, os.cpu_count() or 2))
    waiting: deque[Future[Prepared | Rejected]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="import")
    try:
        for sample in samples:
            if cancelled():
                raise Cancelled
            waiting.append(pool.submit(_prepare_image, sample, task, media))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            if cancelled():
                raise Cancelled
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_image(sample: Sample | Rejected, task: Task, media: Path | None) -> Prepared | Rejected:
    if isinstance(sample, Rejected):
        return sample
    checked = _checked(sample, task, None)
    if isinstance(checked, Rejected):
        return checked
    source = sample.source or sample.id
    path = checked.image
    if path is None:
        return Rejected(source, "It has no image.", "Give the path of its image, or take it out.")
    try:
        # JPEGs are read to their end but decoded small: a fraction of the time, and damage is still found.
        fingerprint = dhash(open_image(path, at_most=64))
        width, height = image_size(path)
        digest = file_hash(path)
    except DataError as error:
        return Rejected(source, error.what, error.remedy)
    except OSError as error:
        return Rejected(source, f"The file cannot be read: {error.strerror}.", "Copy it again or check its disk.")
    if media is None:
        stored = str(path.absolute())
        if plain_text(stored) != stored:
            return Rejected(source, "Its path is not valid text (UTF-8).", "Rename it, or import with copying.")
        return Prepared(checked, digest, stored, width, height, fingerprint)
    suffix = path.suffix.lower()
    # Named by content alone: nothing of the source's names or ids can lead out of the folder.
    relative = Path(digest[:2]) / f"{digest[2:34]}{suffix if suffix in IMAGE_SUFFIXES else '.img'}"
    _copy(path, media / relative)
    return Prepared(checked, digest, f"{MEDIA_FOLDER}/{relative.as_posix()}", width, height, fingerprint)


def _copy(source: Path, target: Path) -> None:
    """Copy a file; the same content may be on its way from another thread."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
    shutil.copyfile(source, part)
    part.replace(target)


def _checked(sample: Sample, task: Task, text: str | None) -> Sample | Rejected:
    """Return the sample with its label in the type of the task, its words valid and trimmed, and the text given."""
    label = _label(sample.label, task, text or "")
    if isinstance(label, _Wrong):
        return Rejected(plain_text(sample.source or sample.id), label.reason, label.remedy)
    return Sample(
        id=plain_text(sample.id),
        image=sample.image,
        text=text,
        pair=plain_text(sample.pair) if sample.pair is not None else None,
        label=label,
        group=plain_text(sample.group).strip() if sample.group else "",
        split=sample.split,
        source=plain_text(sample.source),
    )


@dataclass(frozen=True, slots=True)
class _Wrong:
    reason: str
    remedy: str


def _label(label: Label, task: Task, text: str) -> Label | _Wrong:
    kind = TASKS[task].label
    if label is None:
        return _Wrong("It has no label.", "Write its label, or take it out.")
    if kind == "spans":
        return _spans(label, text, alternatives=task == "question_answering")
    if kind == "name":
        name = "" if isinstance(label, tuple) else plain_text(str(label)).strip()
        return name or _Wrong("It has no single label.", "Give it one class, or choose the multi-label task.")
    if kind == "names":
        names = label_names(label) if isinstance(label, tuple) else (str(label),)
        return tuple(dict.fromkeys(clean for name in names if (clean := plain_text(name).strip())))
    try:
        number = math.nan if isinstance(label, tuple) else float(label)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return _Wrong(f"Its label {label!r} is not a number.", "Write a number, or take it out.")
    if abs(number) > LARGEST_TARGET:
        return _Wrong(
            f"Its label {number:g} is beyond {LARGEST_TARGET:.1e}, the largest number that a model can compute with.",
            "Correct it, take it out, or use a logarithm of the labels.",
        )
    return number


def _spans(label: Label, text: str, *, alternatives: bool) -> Label | _Wrong:
    """Check that spans lie in their text and, unless each is one of several answers, that none overlaps another.

    They come back in the order of the text; alternatives stay as they are, the first being the main one.
    """
    spans = [part for part in label if isinstance(part, Span)] if isinstance(label, tuple) else []
    if not isinstance(label, tuple) or len(spans) < len(label):
        return _Wrong("Its label is no list of spans.", "Give start, end and name of each part of the text.")
    behind = 0
    cleaned = []
    for span in spans if alternatives else sorted(spans, key=lambda span: (span.start, span.end)):
        name = plain_text(span.name).strip()
        told = f'The span "{name}" from {span.start} to {span.end}'
        if not name:
            return _Wrong(f"The span from {span.start} to {span.end} has no name.", "Give it one.")
        if not 0 <= span.start < span.end <= len(text):
            return _Wrong(
                f"{told} is not inside the text, which has {len(text)} characters.",
                "Positions count characters from 0; the end is the one behind the last.",
            )
        if span.start < behind and not alternatives:
            return _Wrong(f"{told} overlaps the one before it.", "Let each character belong to one span at most.")
        behind = span.end
        cleaned.append(Span(name, span.start, span.end))
    return tuple(cleaned)

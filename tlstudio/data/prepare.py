"""Checking samples before they enter a revision: every file is decoded once, every text and label looked at."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlstudio.api import TASKS, DataError, Rejected, Sample, Task
from tlstudio.api.images import IMAGE_SUFFIXES, image_size, open_image
from tlstudio.api.sounds import SOUND_SUFFIXES, open_sound
from tlstudio.data.cells import cells_json
from tlstudio.data.fingerprint import dhash, file_hash, text_hash
from tlstudio.data.labels import WrongLabel, checked_label
from tlstudio.data.names import plain_text
from tlstudio.data.revision import MEDIA_FOLDER


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sample that was checked.

    Attributes:
        sample: The sample; its label has the type of the task.
        hash: SHA-256 of the file, the text, both or the row.
        file: Path of its image or sound as it is stored: relative to the revision or absolute; `None`: it has none.
        width: Pixels of an image, upright.
        height: Pixels of an image, upright.
        seconds: Length of a sound.
        peak: Largest sample of a sound, in 0..1.
        dhash: Perceptual hash of an image.
    """

    sample: Sample
    hash: str
    file: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    peak: float | None = None
    dhash: bytes | None = None


_Looked = dict[Path, tuple[dict[str, Any], str]]
"""Facts and hashes of files that several samples are of."""


class Cancelled(Exception):  # noqa: N818  not an error: the user asked for it
    """The user has cancelled; nothing is left behind."""


def content_hash(sample: Sample, digest: str = "") -> str:
    """Return the SHA-256 of what a sample is without its label.

    Args:
        sample: The sample; its texts are valid Unicode.
        digest: SHA-256 of its file, if it has one.
    """
    if sample.values is not None:
        return text_hash(cells_json(sample.values))
    told = [part for part in (sample.text, sample.pair, sample.user, sample.item) if part is not None]
    # A record separator keeps ("ab", "c") and ("a", "bc") apart.
    return text_hash("\x1e".join([digest, *told] if digest else told)) if told else digest


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
                yield Prepared(checked, content_hash(checked))


def prepare_rows(
    samples: Iterable[Sample | Rejected], task: Task, cancelled: Callable[[], bool]
) -> Iterator[Prepared | Rejected]:
    """Check rows of a table, in their order.

    Raises:
        Cancelled: As soon as `cancelled` says so.
    """
    for number, sample in enumerate(samples):
        if number % 64 == 0 and cancelled():
            raise Cancelled
        if isinstance(sample, Rejected):
            yield sample
        elif sample.values is None or all(cell in (None, "", ()) for cell in sample.values.values()):
            yield Rejected(sample.source or sample.id, "It has no values.", "Fill its columns, or take it out.")
        else:
            checked = _checked(sample, task)
            if isinstance(checked, Rejected):
                yield checked
            else:
                yield Prepared(checked, content_hash(checked))


def prepare_files(
    samples: Iterable[Sample | Rejected],
    task: Task,
    media: Path | None,
    cancelled: Callable[[], bool],
    *,
    with_text: bool = False,
) -> Iterator[Prepared | Rejected]:
    """Decode, hash and copy images or sounds in a few threads, in their order.

    Args:
        samples: The samples.
        task: What their labels are for.
        media: Folder that the files are copied into, named by content; `None` leaves them where they are.
        cancelled: Asked before each file.
        with_text: Whether each must have a text, too.

    Raises:
        Cancelled: As soon as `cancelled` says so; files under way (one a thread) are finished first.
        OSError: A copy cannot be written.
    """
    workers = max(2, min(8, os.cpu_count() or 2))
    waiting: deque[Future[Prepared | Rejected]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="import")
    looked: _Looked = {}
    try:
        for sample in samples:
            if cancelled():
                raise Cancelled
            waiting.append(pool.submit(_prepare_file, sample, task, media, looked, with_text=with_text))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            if cancelled():
                raise Cancelled
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_file(
    sample: Sample | Rejected, task: Task, media: Path | None, looked: _Looked, *, with_text: bool
) -> Prepared | Rejected:
    if isinstance(sample, Rejected):
        return sample
    source = sample.source or sample.id
    path = sample.image or sample.audio
    if path is None:
        return Rejected(source, "It has no file.", "Give the path of its file, or take it out.")
    text = plain_text(sample.text) if with_text and sample.text is not None else None
    if with_text and not (text and text.strip()):
        return Rejected(source, "It has no text.", "Write its text, or take it out.")
    try:
        if (found := looked.get(path)) is None:
            found = (_image_facts(path) if sample.image is not None else _sound_facts(path), file_hash(path))
            if sample.item is not None:  # rated by many
                looked[path] = found
        facts, digest = found
    except DataError as error:
        return Rejected.because(source, error)
    except OSError as error:
        return Rejected(source, f"The file cannot be read: {error.strerror}.", "Copy it again or check its disk.")
    size = (facts["width"], facts["height"]) if sample.image is not None else None
    checked = _checked(sample, task, text, size=size)
    if isinstance(checked, Rejected):
        return checked
    content = content_hash(checked, digest)
    if media is None:
        stored = str(path.absolute())
        if plain_text(stored) != stored:
            return Rejected(source, "Its path is not valid text (UTF-8).", "Rename it, or import with copying.")
        return Prepared(checked, content, stored, **facts)
    suffix = path.suffix.lower()
    known = suffix in (IMAGE_SUFFIXES if sample.image is not None else SOUND_SUFFIXES)
    # Named by content alone: nothing of the source's names or ids can lead out of the folder.
    relative = Path(digest[:2]) / f"{digest[2:34]}{suffix if known else '.img' if sample.image is not None else '.snd'}"
    _copy(path, media / relative)
    return Prepared(checked, content, f"{MEDIA_FOLDER}/{relative.as_posix()}", **facts)


def _image_facts(path: Path) -> dict[str, Any]:
    # JPEGs are read to their end but decoded small: a fraction of the time, and damage is still found.
    fingerprint = dhash(open_image(path, at_most=64))
    width, height = image_size(path)
    return {"width": width, "height": height, "dhash": fingerprint}


def _sound_facts(path: Path) -> dict[str, Any]:
    sound, rate = open_sound(path)
    return {"seconds": len(sound) / rate, "peak": float(max(sound.max(), -sound.min()))}


def _copy(source: Path, target: Path) -> None:
    """Copy a file; the same content may be on its way from another thread."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
    shutil.copyfile(source, part)
    part.replace(target)


def _checked(
    sample: Sample, task: Task, text: str | None = None, *, size: tuple[int, int] | None = None
) -> Sample | Rejected:
    """Return the sample with its label in the type of the task, its words valid and trimmed, and the text given."""
    label = checked_label(sample.label, task, text or "", size)
    if isinstance(label, WrongLabel):
        return Rejected(plain_text(sample.source or sample.id), label.reason, label.remedy)
    return replace(
        sample,
        id=plain_text(sample.id),
        text=text,
        pair=plain_text(sample.pair) if sample.pair is not None else None,
        user=plain_text(sample.user) if sample.user is not None else None,
        item=plain_text(sample.item) if sample.item is not None else None,
        label=label,
        group=plain_text(sample.group).strip() if sample.group else "",
        source=plain_text(sample.source),
    )

"""Checking labels before they enter a revision: each has the type of its task, and lies inside its sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tlstudio.api import TASKS, UNLABELLED, Box, DataError, Label, Mask, Span, Task, label_names
from tlstudio.api.masks import mask_of, mask_values
from tlstudio.data.names import plain_text

LARGEST_TARGET = float(np.finfo(np.float32).max)
"""Models compute in 32 bits."""


@dataclass(frozen=True, slots=True)
class WrongLabel:
    """Why a label cannot be used, and what to do about it."""

    reason: str
    remedy: str


def checked_label(label: Label, task: Task, text: str, size: tuple[int, int] | None = None) -> Label | WrongLabel:
    """Return a label in the type of its task, its names valid and trimmed, or say what is wrong with it.

    Args:
        label: As the format gave it.
        task: What it is for.
        text: The text of the sample, for spans.
        size: Width and height of its upright image in pixels, for masks and boxes.
    """
    kind = TASKS[task].label
    if kind == "none":
        return None
    if label is None:
        return WrongLabel("It has no label.", "Write its label, or take it out.")
    if kind == "spans":
        return _spans(label, text, alternatives=task == "question_answering")
    if kind == "text":
        written = plain_text(label).strip() if isinstance(label, str) else ""
        return written or WrongLabel("It has no text to learn.", "Write the text, or take it out.")
    if kind == "mask":
        return _mask(label, size)
    if kind == "boxes":
        return _boxes(label, size)
    if kind == "numbers":
        return _numbers(label)
    if kind == "name":
        name = "" if isinstance(label, (tuple, Mask)) else plain_text(str(label)).strip()
        return name or WrongLabel("It has no single label.", "Give it one class, or choose the multi-label task.")
    if kind == "names":
        names = label_names(label) if isinstance(label, tuple) else (str(label),)
        return tuple(dict.fromkeys(clean for name in names if (clean := plain_text(name).strip())))
    try:
        number = math.nan if isinstance(label, (tuple, Mask)) else float(label)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return WrongLabel(f"Its label {label!r} is not a number.", "Write a number, or take it out.")
    if abs(number) > LARGEST_TARGET:
        return WrongLabel(
            f"Its label {number:g} is beyond {LARGEST_TARGET:.1e}, the largest number that a model can compute with.",
            "Correct it, take it out, or use a logarithm of the labels.",
        )
    return number


def _spans(label: Label, text: str, *, alternatives: bool) -> Label | WrongLabel:
    """Check that spans lie in their text and, unless each is one of several answers, that none overlaps another.

    They come back in the order of the text; alternatives stay as they are, the first being the main one.
    """
    spans = [part for part in label if isinstance(part, Span)] if isinstance(label, tuple) else []
    if not isinstance(label, tuple) or len(spans) < len(label):
        return WrongLabel("Its label is no list of spans.", "Give start, end and name of each part of the text.")
    behind = 0
    cleaned = []
    for span in spans if alternatives else sorted(spans, key=lambda span: (span.start, span.end)):
        name = plain_text(span.name).strip()
        told = f'The span "{name}" from {span.start} to {span.end}'
        if not name:
            return WrongLabel(f"The span from {span.start} to {span.end} has no name.", "Give it one.")
        if not 0 <= span.start < span.end <= len(text):
            return WrongLabel(
                f"{told} is not inside the text, which has {len(text)} characters.",
                "Correct it: positions count characters from 0; the end is the one behind the last.",
            )
        if span.start < behind and not alternatives:
            return WrongLabel(f"{told} overlaps the one before it.", "Let each character belong to one span at most.")
        behind = span.end
        cleaned.append(Span(name, span.start, span.end))
    return tuple(cleaned)


def _mask(label: Label, size: tuple[int, int] | None) -> Label | WrongLabel:
    """Check that a mask has the size of its image, and a name for each value in it; unused names are left out."""
    if not isinstance(label, Mask):
        return WrongLabel("Its label is no mask.", "Give an image with a class for each pixel.")
    names = [plain_text(name).strip() for name in label.names]
    if not all(names) or len(set(names)) < len(names) or len(names) > UNLABELLED:
        return WrongLabel("The names of its classes are empty or recur.", f"Give at most {UNLABELLED} different names.")
    try:
        values = mask_values(label)
    except DataError as error:
        return WrongLabel(error.what, error.remedy)
    height, width = values.shape
    if size is not None and (width, height) != size:
        return WrongLabel(
            f"Its mask is {width} x {height} px, the image is {size[0]} x {size[1]} px.",
            "Save the mask in the size of the image.",
        )
    found = [int(value) for value in np.unique(values) if value != UNLABELLED]
    if not found:
        return WrongLabel("Its mask has no labelled pixel.", "Paint it, or take the image out.")
    if found[-1] >= len(names):
        listed = ", ".join(str(value) for value in found if value >= len(names))
        return WrongLabel(f"Its mask has values that stand for no class: {listed}.", "Name them, or correct the mask.")
    lookup = np.full(256, UNLABELLED, dtype=np.uint8)
    lookup[found] = range(len(found))
    return mask_of(lookup[values], tuple(names[value] for value in found))


def _boxes(label: Label, size: tuple[int, int] | None) -> Label | WrongLabel:
    """Check that boxes have a name and an area inside their image; what juts out by less than a pixel is cut off."""
    boxes = [part for part in label if isinstance(part, Box)] if isinstance(label, tuple) else []
    if not isinstance(label, tuple) or len(boxes) < len(label):
        return WrongLabel("Its label is no list of boxes.", "Give the edges and the name of each box.")
    cleaned = []
    for box in boxes:
        name = plain_text(box.name).strip()
        told = f'The box "{name}" ({box.left:g}, {box.top:g}) to ({box.right:g}, {box.bottom:g})'
        if not name:
            return WrongLabel("A box has no name.", "Give it one.")
        if not all(math.isfinite(edge) for edge in (box.left, box.top, box.right, box.bottom)):
            return WrongLabel(f"{told} has an edge that is no number.", "Correct it.")
        if box.right <= box.left or box.bottom <= box.top:
            return WrongLabel(
                f"{told} has no area.", "Correct it: its right edge must be beyond its left, its lower below its upper."
            )
        if size is not None:
            width, height = size
            if box.left < -1 or box.top < -1 or box.right > width + 1 or box.bottom > height + 1:
                return WrongLabel(
                    f"{told} juts out of the image, which is {width} x {height} px.",
                    "Correct it: edges count pixels of the upright image from its upper left corner.",
                )
        cleaned.append(_cut(replace(box, name=name, score=1.0), size))
    return tuple(cleaned)


def _cut(box: Box, size: tuple[int, int] | None) -> Box:
    """Cut off what juts out of an image by rounding."""
    if size is None:
        return box
    left, top = max(0.0, box.left), max(0.0, box.top)
    return replace(box, left=left, top=top, right=min(size[0], box.right), bottom=min(size[1], box.bottom))


def _numbers(label: Label) -> Label | WrongLabel:
    if not isinstance(label, tuple) or not label or not all(isinstance(part, (int, float)) for part in label):
        return WrongLabel("Its label is no list of numbers.", "Give the values that follow.")
    numbers = tuple(float(part) for part in label if isinstance(part, (int, float)))
    if not all(math.isfinite(number) and abs(number) <= LARGEST_TARGET for number in numbers):
        return WrongLabel("One of its values is no finite number.", "Fill or leave out what is missing.")
    return numbers

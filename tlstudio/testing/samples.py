"""Tiny data sets, made from a seed. No torch."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlstudio.api import TASKS, Box, Label, Modality, Sample, Span, TargetInfo, Task
from tlstudio.testing.rows import HORIZON, tiny_row
from tlstudio.testing.sounds import write_tone

__all__ = ["CLASSES", "tiny_samples", "tiny_target", "write_image_folder", "write_text_table"]

CLASSES = ("blue", "green", "red")
_COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 70), "red": (200, 50, 40)}
_WORDS = {"blue": "sea sky ice", "green": "leaf grass moss", "red": "fire rose brick"}
_PITCHES = {"blue": 250.0, "green": 700.0, "red": 1800.0}
_USERS = ("Ann", "Bob")
_FILLERS = ["the", "a", "of", "and", "some", "one", "near", "with"]


def modality_of(sample: Sample) -> Modality:
    """Tell what a sample is."""
    if sample.image is not None:
        return "image" if sample.text is None else "image+text"
    if sample.audio is not None:
        return "audio"
    return "text" if sample.values is None else "table"


def tiny_target(task: Task) -> TargetInfo:
    """Return the target of `tiny_samples` of a task: three classes, or numbers with mean 3 and deviation 2."""
    if task == "regression":
        return TargetInfo(task, mean=3.0, std=2.0)
    if task == "recommendation":
        return TargetInfo(task, mean=3.0, std=2.0, users=_USERS)
    if task == "speech_recognition":
        return TargetInfo(task, characters="bdeglnru")
    if task == "question_answering":
        return TargetInfo(task, classes=("answer",), class_counts=(3,))
    if task == "forecasting":
        return TargetInfo(task, mean=0.0, std=1.0, size=HORIZON)
    if task == "pretraining":
        return TargetInfo(task)
    return TargetInfo(task, classes=CLASSES, class_counts=(3, 2, 1))


def tiny_samples(modality: Modality, task: Task, folder: Path, *, count: int = 4, seed: int = 0) -> list[Sample]:
    """Make labelled samples that can be learned: the class is the main colour of an image or in the words of a text.

    Args:
        modality: Images of 40 x 36 pixels, written as PNG, texts of different lengths, or both in each sample.
        task: What the labels are.
        folder: Where images and sounds are written; must exist.
        count: How many.
        seed: Two calls with the same seed make the same samples.
    """
    made = random.Random(seed)  # noqa: S311  nothing secret
    samples = []
    for number in range(count):
        name = CLASSES[number % len(CLASSES)]
        label = _label(task, number)
        identity = f"{name}_{number}"
        if modality == "table":
            values, following = tiny_row(name, number, made, series=task == "forecasting")
            label = following if task == "forecasting" else label
            samples.append(Sample(identity, values=values, label=label, source=f"row {number + 1}"))
            continue
        if modality in ("image", "image+text"):
            path = folder / f"{identity}.png"
            _write_image(path, name, made)
            if TASKS[task].label == "mask":
                label = _paint_half(path, name, CLASSES[(number + 1) % len(CLASSES)])
            if TASKS[task].label == "boxes":
                label = (Box(name, 4.0, 3.0, 36.0, 32.0),)
            words = _sentence(name, made) if modality == "image+text" else None
            samples.append(Sample(identity, image=path, text=words, label=label, source=path.name))
        elif modality == "audio":
            path = folder / f"{identity}.wav"
            write_tone(path, _PITCHES[name], 0.1 + 0.05 * (number % 3))
            label = name if task == "speech_recognition" else label
            samples.append(Sample(identity, audio=path, label=label, source=path.name))
        else:
            text = _sentence(name, made)
            question = None
            if TASKS[task].label == "spans":
                # The first word of the class that the text has is what is to be found.
                word = next(word for word in text.split() if word in _WORDS[name].split())
                start = text.index(word)
                span_name = "answer" if task == "question_answering" else name
                label = (Span(span_name, start, start + len(word)),)
                question = f"what is {name}" if task == "question_answering" else None
            samples.append(Sample(identity, text=text, pair=question, label=label, source=f"row {number + 1}"))
    if task == "recommendation":
        samples = [replace(one, user=_USERS[at % 2], item=one.id) for at, one in enumerate(samples)]
    return samples


def write_image_folder(folder: Path, *, classes: Sequence[str] = CLASSES, each: int = 4, seed: int = 0) -> Path:
    """Write a folder with one subfolder of PNG files for each class, and return it.

    Args:
        folder: Made if it is not there.
        classes: Names of the subfolders; those of `CLASSES` get their colour, others a grey of their own.
        each: Images of each class.
        seed: Two calls with the same seed write the same pixels.
    """
    made = random.Random(seed)  # noqa: S311  nothing secret
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            _write_image(folder / name / f"{name}_{number:03}.png", name, made)
    return folder


def write_text_table(path: Path, *, classes: Sequence[str] = CLASSES, each: int = 4, seed: int = 0) -> Path:
    """Write a CSV file with the columns ``text`` and ``label``, and return it.

    Args:
        path: The file; its folder must exist.
        classes: Labels; those of `CLASSES` have words of their own, others their name among the words.
        each: Texts of each class.
        seed: Two calls with the same seed write the same texts.
    """
    made = random.Random(seed)  # noqa: S311  nothing secret
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([_sentence(name, made), name] for _ in range(each) for name in classes)
    return path


def _label(task: Task, number: int) -> Label:
    """The label of a sample, of a kind that does not lie in the sample."""
    if task == "pretraining":
        return None
    if task in ("regression", "recommendation"):
        return 1.0 + 2.0 * (number % len(CLASSES))
    if task == "multi_label":
        return tuple(name for bit, name in enumerate(CLASSES) if (number + 1) >> bit & 1)
    return CLASSES[number % len(CLASSES)]


def _write_image(path: Path, name: str, made: random.Random) -> None:
    from PIL import Image

    base = _COLOURS.get(name) or (made.randrange(60, 200),) * 3
    width, height = 40, 36
    pixels = bytes(
        min(255, max(0, channel + made.randrange(-40, 41))) for _ in range(width * height) for channel in base
    )
    Image.frombytes("RGB", (width, height), pixels).save(path)


def _paint_half(path: Path, name: str, other: str) -> Label:
    """Give the right half of an image another colour; the mask tells the two."""
    import numpy as np
    from PIL import Image

    from tlstudio.api.masks import mask_of

    with Image.open(path) as image:
        half = (image.width // 2, 0, image.width, image.height)
        image.paste(_COLOURS[other], half)
        values = np.zeros((image.height, image.width), dtype=np.uint8)
        image.save(path)
    values[:, half[0] :] = 1
    return mask_of(values, (name, other))


def _sentence(name: str, made: random.Random) -> str:
    words = [*_WORDS.get(name, name).split(), *made.choices(_FILLERS, k=made.randrange(2, 9))]
    made.shuffle(words)
    return " ".join(words)

"""What a data set is made of: samples, labels, and the facts that a head needs of its target."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, cast

from tlstudio.api.errors import TLStudioError

Modality = Literal["image", "text", "audio", "table", "image+text"]
Task = Literal[
    "classification",
    "multi_label",
    "regression",
    "token_classification",
    "question_answering",
    "segmentation",
    "detection",
    "generation",
    "speech_recognition",
    "forecasting",
    "recommendation",
    "anomaly_detection",
    "pretraining",
]
Split = Literal["train", "validation", "test"]
LabelKind = Literal["name", "names", "number", "numbers", "spans", "mask", "boxes", "text", "none"]
"""What the labels of a task are made of; it decides how they are stored, counted and shown."""

Cell = str | float | tuple[float, ...] | None
"""What a column of a table holds for one sample: a word, a number, numbers in the order of time, or nothing."""

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text that has a name.

    Attributes:
        name: Its class; of answers to a question, ``"answer"``.
        start: Its first character.
        end: The character behind its last, above `start`.
    """

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an image that has a name, in pixels of the upright image from its upper left corner.

    Attributes:
        name: Its class.
        left: Its left edge.
        top: Its upper edge.
        right: Its right edge, beyond `left`.
        bottom: Its lower edge, beyond `top`.
        score: How sure a model is of it, in 0..1; 1 in labels.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0


UNLABELLED = 255
"""Value of pixels in a `Mask` that nothing is known of: nothing is learned there, and nothing is counted."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A class for each pixel of an image.

    Attributes:
        names: Class of the pixels with the value 0, 1, ...: at most 255, so that `UNLABELLED` stays free.
        png: A PNG of 8 bits a pixel (grey or palette) of the size of the upright image.
    """

    names: tuple[str, ...]
    png: bytes


Label = str | float | tuple[str, ...] | tuple[float, ...] | tuple[Span, ...] | tuple[Box, ...] | Mask | None
"""By the kind of label of the task: the name, the names (maybe none), the number, the numbers in the order of time,
the spans or boxes (maybe none), the mask, the text.

`None`: unlabelled.
"""

NAMED: frozenset[LabelKind] = frozenset({"name", "names", "spans", "mask", "boxes"})
"""Kinds of label that name classes."""


@dataclass(frozen=True, slots=True)
class ModalityInfo:
    """What is known of a modality.

    Attributes:
        item: One sample, for people: ``"image"``.
        items: Several of them.
        icon: Name of its icon.
    """

    item: str
    items: str
    icon: str


MODALITIES: dict[Modality, ModalityInfo] = {
    "image": ModalityInfo("image", "images", "image"),
    "text": ModalityInfo("text", "texts", "text"),
    "audio": ModalityInfo("recording", "recordings", "audio"),
    "table": ModalityInfo("row", "rows", "table"),
    "image+text": ModalityInfo("image with text", "images with texts", "image"),
}


_WINDOWS = ModalityInfo("window", "windows", "table")


def item_words(modality: Modality, task: Task) -> ModalityInfo:
    """What the items of a data set are called: those that are forecast from are windows, of several rows each."""
    return _WINDOWS if task == "forecasting" else MODALITIES[modality]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What is known of a task.

    Attributes:
        title: What the user reads.
        label: What its labels are made of.
        description: What a model then does, in a few words for people.
    """

    title: str
    label: LabelKind
    description: str


TASKS: dict[Task, TaskInfo] = {
    "classification": TaskInfo("Classification", "name", "one class for each item"),
    "multi_label": TaskInfo("Multi-label classification", "names", "any number of labels for each item"),
    "regression": TaskInfo("Regression", "number", "a number for each item"),
    "token_classification": TaskInfo("Token classification", "spans", "marks words, such as names and places"),
    "question_answering": TaskInfo("Question answering", "spans", "finds the answer to a question in a text"),
    "segmentation": TaskInfo("Semantic segmentation", "mask", "a class for each pixel"),
    "detection": TaskInfo("Object detection", "boxes", "finds things and draws a box around each"),
    "generation": TaskInfo("Text generation", "text", "writes a text: a summary, a translation, a reply"),
    "speech_recognition": TaskInfo("Speech recognition", "text", "writes down what is said"),
    "forecasting": TaskInfo("Forecasting", "numbers", "says how a series goes on"),
    "recommendation": TaskInfo("Recommendation", "number", "says how much somebody will like each item"),
    "anomaly_detection": TaskInfo("Anomaly detection", "name", "says how unlike the normal items something is"),
    "pretraining": TaskInfo("Pretraining", "none", "learns from items without labels, for runs that start from it"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One item: what a format yields and a preprocessor turns into model input.

    Attributes:
        id: Unique within the data set and stable between two imports of the same files.
        image: The image file of an image sample.
        text: The text of a text sample; of an image with text, too.
        audio: The sound file of an audio sample.
        values: The columns of a sample of a table, by their names.
        times: When the last rows of a series were that is to go on: ISO 8601, or numbers as text.
        user: Who has rated or chosen it, or may do so.
        item: What was rated or chosen; its content is the image or the text.
        pair: A second text that belongs to it: a hypothesis, a sentence to be compared, a question about the text.
        label: The label; what it may be depends on the task (see `Label`).
        group: Samples of one group (patient, plate, instrument) never straddle two splits; ``""``: no group.
        split: The split that the source itself prescribes, or `None`.
        source: Where it came from, for messages: ``"reviews.csv, row 12"``.
        notes: Sentences on what was noticed where it was read, to be told when it is predicted; no data set keeps them.
    """

    id: str
    image: Path | None = None
    text: str | None = None
    pair: str | None = None
    audio: Path | None = None
    values: Mapping[str, Cell] | None = None
    times: tuple[str, ...] = ()
    user: str | None = None
    item: str | None = None
    label: Label = None
    group: str = ""
    split: Split | None = None
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """One item of the source that cannot be used: it is listed, and the rest goes on.

    Attributes:
        source: The file or row, as the user knows it.
        reason: One sentence that says what is wrong with it.
        remedy: One sentence that says what to do; may be empty.
    """

    source: str
    reason: str
    remedy: str = ""

    @classmethod
    def because(cls, source: str, error: TLStudioError) -> Self:
        """Reject an item for an error; where it is stands beside the sentence and is not said twice.

        Args:
            source: The file or row.
            error: What was raised.
        """
        places = [source]
        if error.path is not None and source.endswith(error.path.name):
            places = [str(error.path), source, error.path.name]
        what = error.what
        for place in places:
            if what.startswith(f"{place} "):
                what = f"It {what[len(place) + 1 :]}"
            what = what.replace(f" of {place} ", " ")
        return cls(source, what, error.remedy)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a format found, shown before anything is imported.

    Attributes:
        columns: Names of the columns of `rows`.
        rows: The first rows (20 at most), as text.
        options: The suggested options of the format (its column mapping), to be corrected by the user.
        task: The suggested task, or `None` when the labels do not tell.
        count: Number of items, or `None` where counting them would take long.
        notes: Sentences on what was noticed, such as the encoding that was detected.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    options: Mapping[str, Any]
    task: Task | None = None
    count: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """What a head must know of the labels that it learns.

    Attributes:
        task: The task.
        classes: Class names in the order of the outputs; empty where labels have no names.
        class_counts: Number of training samples that have each class, in the order of `classes`.
        mean: Mean of the training targets (regression, forecasting).
        std: Standard deviation of the training targets, above 0 (regression, forecasting).
        pairs: Whether each sample has a second text.
        size: Number of values in each label (forecasting).
        characters: The characters of the training texts, each once, in the order of their numbers (labels that are
            texts).
        users: Who has rated the training items, in the order of their numbers (recommendation).
        binary: Whether the training targets are 0 and 1 alone: chosen or not (recommendation).
    """

    task: Task
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    pairs: bool = False
    size: int = 0
    characters: str = ""
    users: tuple[str, ...] = ()
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one sample.

    Attributes:
        value: The predicted label.
        scores: ``(class, probability)`` pairs, highest first; probabilities in 0..1; empty where each class has none.
        certainty: Probability of the whole, in 0..1, where there are no scores; `None`: the task has none.
    """

    value: Label
    scores: tuple[tuple[str, float], ...] = field(default=())
    certainty: float | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of what was predicted, in 0..1, or `None` where the task has none."""
        return self.scores[0][1] if self.scores else self.certainty


def label_names(label: Label) -> tuple[str, ...]:
    """Return the names of classes in a label, each once, in their order; none in numbers."""
    if isinstance(label, str):
        return (label,)
    if isinstance(label, Mask):
        return label.names
    if isinstance(label, tuple):
        named = (part if isinstance(part, str) else part.name for part in label if not isinstance(part, float))
        return tuple(dict.fromkeys(named))
    return ()


def label_text(label: Label) -> str:
    """Write a label for people: names as they are, spans and boxes as how many of each name."""
    if isinstance(label, Mask):
        return ", ".join(label.names) or "none"
    if isinstance(label, tuple):
        if label and isinstance(label[0], float):
            return ", ".join(number_text(part) for part in label if isinstance(part, float))
        counts = Counter(part if isinstance(part, str) else part.name for part in label if not isinstance(part, float))
        return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items()) or "none"
    return number_text(label) if isinstance(label, float) else str(label)


def number_text(number: float, digits: int = 4) -> str:
    """Write a number for people: so many digits, and large ones whole instead of with an exponent."""
    return f"{number:.0f}" if 10 ** (digits - 1) <= abs(number) < 1e15 else f"{number:.{digits}g}"


def label_values(label: Label) -> Any:  # noqa: ANN401  whatever JSON can hold
    """Write a label as plain JSON values; `label_from` reads it back."""
    if isinstance(label, Mask):
        return {"names": list(label.names), "png": base64.b64encode(label.png).decode("ascii")}
    if isinstance(label, tuple):
        return [list(astuple(part)) if isinstance(part, (Span, Box)) else part for part in label]
    return label


def label_from(values: object, kind: LabelKind) -> Label:
    """Read back what `label_values` wrote.

    Raises:
        TypeError, ValueError, KeyError: It is something else.
    """
    if values is None or kind == "none":
        return None
    if kind in ("name", "text"):
        return str(values)
    if kind == "number":
        return float(cast(float, values))
    if kind == "mask":
        stored = cast("dict[str, Any]", values)
        if len(stored["names"]) > UNLABELLED:
            raise ValueError("there are more classes than values")
        return Mask(tuple(map(str, stored["names"])), base64.b64decode(stored["png"], validate=True))
    if not isinstance(values, list):
        raise TypeError("the label is no list")
    match kind:
        case "names":
            return tuple(str(name) for name in values)
        case "numbers":
            return tuple(float(number) for number in values)
        case "spans":
            return tuple(Span(str(name), int(start), int(end)) for name, start, end in values)
    return tuple(Box(str(name), *map(float, rest)) for name, *rest in values)

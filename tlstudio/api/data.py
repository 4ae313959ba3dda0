"""What a data set is made of: samples, labels, and the facts that a head needs of its target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

Modality = Literal["image", "text"]
Task = Literal["classification", "multi_label", "regression", "token_classification", "question_answering"]
Split = Literal["train", "validation", "test"]
LabelKind = Literal["name", "names", "number", "spans"]
"""What the labels of a task are made of; it decides how they are stored, counted and shown."""

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


Label = str | float | tuple[str, ...] | tuple[Span, ...] | None
"""By the kind of label of the task: the name, the number, the names (maybe none), the spans (maybe none).

`None`: unlabelled.
"""


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
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One item: what a format yields and a preprocessor turns into model input.

    Attributes:
        id: Unique within the data set and stable between two imports of the same files.
        image: The image file of an image sample.
        text: The text of a text sample.
        pair: A second text that belongs to it: a hypothesis, a sentence to be compared, a question about the text.
        label: The label; what it may be depends on the task (see `Label`).
        group: Samples of one group (patient, plate, instrument) never straddle two splits; ``""``: no group.
        split: The split that the source itself prescribes, or `None`.
        source: Where it came from, for messages: ``"reviews.csv, row 12"``.
    """

    id: str
    image: Path | None = None
    text: str | None = None
    pair: str | None = None
    label: Label = None
    group: str = ""
    split: Split | None = None
    source: str = ""


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
        mean: Mean of the training targets (regression).
        std: Standard deviation of the training targets, above 0 (regression).
        pairs: Whether each sample has a second text.
    """

    task: Task
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    pairs: bool = False


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
    """Return the names of classes in a label, each once, in their order; none in a number."""
    if isinstance(label, str):
        return (label,)
    if isinstance(label, tuple):
        return tuple(dict.fromkeys(part if isinstance(part, str) else part.name for part in label))
    return ()


def label_text(label: Label) -> str:
    """Write a label for people: names as they are, spans as how many of each name."""
    if isinstance(label, tuple):
        counts = Counter(part if isinstance(part, str) else part.name for part in label)
        return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items()) or "none"
    return f"{label:.4g}" if isinstance(label, float) else str(label)


def label_values(label: Label) -> Any:  # noqa: ANN401  whatever JSON can hold
    """Write a label as plain JSON values; `label_from` reads it back."""
    if isinstance(label, tuple):
        return [part if isinstance(part, str) else [part.name, part.start, part.end] for part in label]
    return label


def label_from(values: object, kind: LabelKind) -> Label:
    """Read back what `label_values` wrote.

    Raises:
        TypeError, ValueError: It is something else.
    """
    if values is None:
        return None
    if kind == "name":
        return str(values)
    if kind == "number":
        return float(cast(float, values))
    if not isinstance(values, list):
        raise TypeError("the label is no list")
    if kind == "names":
        return tuple(str(name) for name in values)
    return tuple(Span(str(name), int(start), int(end)) for name, start, end in values)

"""What a data set is made of: samples, labels, and the facts that a head needs of its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Modality = Literal["image", "text"]
Task = Literal["classification", "multi_label", "regression"]
Split = Literal["train", "validation", "test"]
Label = str | float | tuple[str, ...] | None
"""Classification: the class name. Regression: the number. Multi-label: the names, maybe none. `None`: unlabelled."""

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TASK_TITLES: dict[Task, str] = {
    "classification": "Classification",
    "multi_label": "Multi-label classification",
    "regression": "Regression",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One item: what a format yields and a preprocessor turns into model input.

    Attributes:
        id: Unique within the data set and stable between two imports of the same files.
        image: The image file of an image sample.
        text: The text of a text sample.
        label: The label; what it may be depends on the task (see `Label`).
        group: Samples of one group (patient, plate, instrument) never straddle two splits; ``""``: no group.
        split: The split that the source itself prescribes, or `None`.
        source: Where it came from, for messages: ``"reviews.csv, row 12"``.
    """

    id: str
    image: Path | None = None
    text: str | None = None
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
        classes: Class names in the order of the outputs; empty for regression.
        class_counts: Number of training samples of each class, in the order of `classes`.
        mean: Mean of the training targets (regression).
        std: Standard deviation of the training targets, above 0 (regression).
    """

    task: Task
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one sample.

    Attributes:
        value: The predicted label.
        scores: ``(class, probability)`` pairs, highest first; probabilities in 0..1; empty for regression.
    """

    value: Label
    scores: tuple[tuple[str, float], ...] = field(default=())

    @property
    def confidence(self) -> float | None:
        """Probability of the predicted class, in 0..1, or `None` where the task has none."""
        return self.scores[0][1] if self.scores else None


def label_text(label: Label) -> str:
    """Write a label for people."""
    if isinstance(label, tuple):
        return ", ".join(label) or "none"
    return f"{label:.4g}" if isinstance(label, float) else str(label)

"""What methods that learn from unlabelled samples have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlstudio.api import Problem, Setting, option
from tlstudio.api.methods import Rows

STREAM = "unlabelled"
"""What the unlabelled samples are called among the streams of a method."""

WEAK = "weak"
"""The view of them that gives their labels, where it is not the one that is learned."""


def dataset_option() -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare the option that names the unlabelled samples."""
    return option(
        "",
        title="Unlabelled samples",
        help=(
            "Data set with the unlabelled samples, those of its train split; labels that it may have are not looked "
            "at. Empty: the training samples that dataset.shots leaves aside."
        ),
        browse="dataset",
    )


def ratio_option(default: float) -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare the option by which more unlabelled than labelled samples are in a step."""
    return option(
        default,
        title="Unlabelled per labelled",
        help="So many unlabelled samples come with each labelled one: more teach more in a step, which costs more.",
        gt=0,
        le=64,
    )


def unlabelled_rows(dataset: str) -> Rows:
    """Say which samples are meant.

    Of another data set these are its train split only: it may be an earlier revision of the run's own, whose
    validation and test samples must not be learned from even without labels.
    """
    return "train" if dataset else "unshown"


def class_problems(title: str, setting: Setting) -> Sequence[Problem]:
    """Say that a head gives no probabilities of classes, if it does not."""
    if setting.task in ("classification", "multi_label"):
        return ()
    what = f"{title} needs the probabilities of classes, which {setting.head.title} does not give."
    return [Problem("", what, "Use it for classification, with one class or several labels a sample.")]

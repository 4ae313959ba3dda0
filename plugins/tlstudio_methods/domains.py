"""What methods that join two domains have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tlstudio.api import TASKS, Method, Options, Problem, Setting, Task, option, options_as
from tlstudio.api.methods import DataStream

__all__ = [
    "HOW_TO_MEASURE",
    "Adaptation",
    "AdaptationOptions",
    "Alignment",
    "AlignmentOptions",
    "Schedule",
    "backbone_problems",
    "head_problems",
    "learns_alone",
    "named_twice",
    "own_data_problems",
    "schedule_option",
    "strength_option",
]

Schedule = Literal["constant", "linear", "sigmoid", "falling"]
_ONE_VECTOR = ("pooled", "parts")
"""The features from which heads compute one vector a sample."""

HOW_TO_MEASURE = (
    "The run is validated and tested on the data set that it is of; how good it is on the target, a target with labels "
    "tells: tlstudio evaluate PROJECT RUN --dataset TARGET."
)


def strength_option(default: float, what: str) -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare the weight of a loss."""
    return option(default, title="Lambda", help=what, ge=0, le=1_000_000)


def schedule_option(default: Schedule) -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare how the weight of a loss changes while a run trains."""
    return option(
        default,
        title="Lambda over time",
        help=(
            "Constant: the same from first to last. Linear and sigmoid: rises from 0, evenly or steeply at the start "
            "and then levelling off. Falling: from its value evenly to 0."
        ),
    )


class AdaptationOptions(Options):
    """Options that all methods of domain adaptation share."""

    target: str = option(
        "",
        title="Target",
        help=(
            "Data set like those that the model is to be used on: the samples of its train split are seen without "
            "their labels, if they have any."
        ),
        browse="dataset",
    )
    ratio: float = option(
        1.0,
        title="Target per source",
        help="So many samples of the target come with each labelled one.",
        gt=0,
        le=16,
        advanced=True,
    )


class AlignmentOptions(AdaptationOptions):
    """Options of what brings the distributions of two domains together."""

    layers: Literal["outputs", "features", "both"] = option(
        "features",
        title="What is aligned",
        help="The pooled features, the outputs of the head above them, or both.",
    )


def learns_alone(task: Task) -> bool:
    """Whether a head of a task takes any sample, also of another data set and without a label."""
    return task != "recommendation" and TASKS[task].label != "none"


def named_twice(names: Sequence[str], where: str) -> list[Problem]:
    """Say which data sets are named more than once in an option."""
    double = sorted({name for name in names if names.count(name) > 1})
    return [Problem(where, f"{', '.join(double)}: named more than once.", "Name each once.")] if double else []


def own_data_problems(setting: Setting, where: str, remedy: str) -> list[Problem]:
    """Say that a data set is named that the run learns from anyway: beside itself it teaches nothing.

    Args:
        setting: The run.
        where: Name of the option that names it.
        remedy: What to do.
    """
    own = sorted({info.dataset for info in setting.streams.values() if info.own})
    return [Problem(where, f"'{name}' is what the run itself learns from.", remedy) for name in own]


def head_problems(setting: Setting, where: str) -> list[Problem]:
    """Refuse data sets whose labels the head of the run cannot learn: of another task, or with classes of their own.

    Args:
        setting: The run; all its streams with labels are looked at.
        where: Name of the option that names them.
    """
    found = []
    for info in setting.streams.values():
        if info.target is None:
            continue
        if info.target.task != setting.task:
            found.append(Problem(where, f"'{info.dataset}' is for another task.", "Choose data for the same task."))
        elif unknown := [one for one in info.target.classes if one not in setting.target.classes]:
            what = f"'{info.dataset}' has classes that the head does not know: {', '.join(unknown[:5])}."
            found.append(Problem(where, what, f"Name them in head.classes: {', '.join(unknown[:20])}."))
    return found


def backbone_problems(title: str, setting: Setting) -> list[Problem]:
    """Refuse strategies under which the backbone, which is what domains have in common, stays as it is."""
    if not setting.strategy.keeps_backbone(setting.strategy_options):
        return []
    what = f"{title} teaches the backbone, which stays as it is under {setting.strategy.title}."
    return [Problem("", what, "Choose a strategy under which the backbone learns, such as full.")]


class Adaptation(Method):
    """What methods share that adapt to an unlabelled target.

    Attributes:
        least: So many samples of each domain must be in a batch.
    """

    kind = "two domains"
    needs_backbone = True
    least = 2

    def problems(self, setting: Setting, options: Options) -> Sequence[Problem]:
        """Refuse a backbone that stays as it is, and batches that are too small to be compared; see `Method`."""
        chosen = options_as(AdaptationOptions, options)
        problems = backbone_problems(self.title, setting)
        if not learns_alone(setting.task) or setting.head.requires == "logits":
            what = f"{self.title} looks at features of unlabelled samples, "
            what += f"and {setting.head.title} does not go without labels."
            problems.append(Problem("", what, f"Use it for {TASKS['classification'].title.lower()} or the like."))
        if not chosen.target:
            problems.append(Problem("target", "no data set is named.", "Name the data set that is to be adapted to."))
        problems += own_data_problems(setting, "target", "Name data like those that the model is to be used on.")
        if min(setting.batch_size, round(chosen.ratio * setting.batch_size)) < self.least:
            what = f"{self.title} compares batches, and needs at least {self.least} samples of each domain in one."
            problems.append(Problem("ratio", what, "Choose a larger training.batch_size, or more of the target."))
        return problems

    def streams(self, options: Options) -> Sequence[DataStream]:
        """Ask for the target, in one batch with the source, so that BatchNorm sees both as they come later."""
        chosen = options_as(AdaptationOptions, options)
        return [DataStream("target", chosen.target, ratio=chosen.ratio, together=True)] if chosen.target else []


class Alignment(Adaptation):
    """What brings the distributions of vectors of source and target together."""

    def problems(self, setting: Setting, options: Options) -> Sequence[Problem]:
        """Refuse outputs that are no one vector a sample, as well; see `Adaptation`."""
        found = list(super().problems(setting, options))
        if options_as(AlignmentOptions, options).layers != "features" and setting.head.requires not in _ONE_VECTOR:
            what = f"{setting.head.title} gives outputs for places in a sample, which differ from sample to sample."
            found.append(Problem("layers", what, "Set it to features."))
        return found

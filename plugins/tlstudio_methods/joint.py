"""Joint training: another labelled data set is learned beside that of the run, on the same backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import TASKS, DataStream, Method, Options, Problem, Setting, option, options_as
from tlstudio.api.methods import dataset_names
from tlstudio_methods.domains import (
    Schedule,
    backbone_problems,
    head_problems,
    learns_alone,
    named_twice,
    own_data_problems,
    schedule_option,
    strength_option,
)

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["Joint", "JointOptions"]


class JointOptions(Options):
    """Options of joint training."""

    source: str = option(
        "",
        title="Source",
        help=(
            "Data set whose labels are learned as well; its classes, and its task, may be others. Several with commas "
            "between them."
        ),
        browse="datasets",
    )
    head: Literal["own", "shared"] = option(
        "own",
        title="Head of a source",
        help=(
            "own: each source has a head of its own, and teaches the backbone alone. shared: the head of the run "
            "learns it too, so its classes must be among those of the run, and its numbers have the same unit; of help "
            "where these have few labels."
        ),
    )
    strength: float = strength_option(
        1.0, "Weight of the source's loss beside that of the run's own data; of several sources, of each."
    )
    schedule: Schedule = schedule_option("constant")
    ratio: float = option(
        1.0, title="Source per own", help="So many samples of each source come with each own one.", gt=0, le=16
    )


class Joint(Method):
    """Multi-task learning with hard sharing (Caruana 1997, doi:10.1023/A:1007379606734).

    The loss is ``target + lambda * (source 1 + source 2 + ...)``, each the mean over its part of the batch. All parts
    go through the backbone in one batch where they fit into one, so that BatchNorm sees them alike. With a shared head
    it is that of the combined empirical risk (Ben-David et al. 2010, doi:10.1007/s10994-009-5152-4).
    """

    name = "joint"
    title = "Learn another data set too (joint, multi-task)"
    description = (
        "Learns one or several other labelled data sets beside that of the run: one backbone, and a head for each, or "
        "one for all where the classes are the same. The more they have in common, the more the few samples of the run "
        "gain. What is kept, validated and exported is the model of the run's own data; heads of sources are left "
        "behind."
    )
    kind = "two domains"
    source = "Caruana 1997, doi:10.1023/A:1007379606734"
    needs_backbone = True
    Options = JointOptions

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse sources that teach nothing, and tasks whose heads take other features; see `Method`."""
        chosen, names = options_as(JointOptions, options), self._sources(options)
        problems = backbone_problems(self.title, setting)
        if not names:
            problems.append(Problem("source", "no data set is named.", "Name the data set that is learned as well."))
        problems += named_twice(list(names.values()), "source")
        problems += own_data_problems(setting, "source", "Name another data set with labels.")
        for stream, name in names.items():
            target = setting.streams[stream].target
            if target is None:
                continue
            task = TASKS[target.task]
            if task.label == "none":
                problems.append(Problem("source", f"'{name}' has no labels.", "Name a data set with labels."))
            elif target.task not in setting.heads or not (learns_alone(target.task) and learns_alone(setting.task)):
                what = f"'{name}' is for {task.title.lower()}, whose head cannot stand beside {setting.head.title}."
                problems.append(Problem("source", what, "Name a data set for another task."))
            elif chosen.head == "own" and task.label == "name" and len(target.classes) < 2:
                problems.append(Problem("source", f"'{name}' has less than two classes.", "Name another data set."))
        return problems + (head_problems(setting, "source") if chosen.head == "shared" else [])

    def streams(self, options: api.Options) -> Sequence[DataStream]:
        """Ask for the train split of each source; see `Method`."""
        ratio = options_as(JointOptions, options).ratio
        sources = self._sources(options).items()
        return [DataStream(stream, name, labelled=True, ratio=ratio, together=True) for stream, name in sources]

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build a head for each source that has one of its own."""
        from tlstudio_methods.joint_module import JointModule

        chosen = options_as(JointOptions, options)
        return JointModule(context, strength=chosen.strength, schedule=chosen.schedule, shared=chosen.head == "shared")

    def _sources(self, options: api.Options) -> Mapping[str, str]:
        """Data sets by the names of their streams: one is ``"source"``, of several each has its number."""
        names = dataset_names(options_as(JointOptions, options).source)
        return {"source" if len(names) == 1 else f"source {number}": name for number, name in enumerate(names, start=1)}

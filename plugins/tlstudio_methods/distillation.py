"""Learning from an earlier run besides the labels: knowledge distillation, and learning without forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tlstudio import api
from tlstudio.api import Method, Options, Problem, Setting, View, option, options_as
from tlstudio_methods.earlier_runs import earlier_run_option, forgetting_problems

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["Distillation", "DistillationOptions", "LearningWithoutForgetting", "LwFOptions"]

TEACHER = "teacher"
_TASKS = ("classification", "multi_label", "regression")


class DistillationOptions(Options):
    """Options of knowledge distillation."""

    teacher: str = option(
        ..., title="Teacher", help="The run that teaches: a larger model of the same classes, say.", browse="run"
    )
    weight: float = option(
        0.5,
        title="Share of the teacher",
        help="0 listens to the labels alone, 1 to the teacher alone.",
        ge=0,
        le=1,
    )
    temperature: float = option(
        2.0,
        title="Temperature",
        help="Above 1 the teacher's smaller probabilities count for more.",
        gt=0,
        le=100,
        advanced=True,
    )


class Distillation(Method):
    """Knowledge distillation (Hinton, Vinyals and Dean 2015, arXiv:1503.02531)."""

    name = "distillation"
    title = "Learn from another run (distillation)"
    description = (
        "Lets the model imitate the probabilities of an earlier run, the teacher, besides the labels: a small backbone "
        "comes near a large one so. The teacher has the same classes; its backbone may be any. Also called knowledge "
        "distillation."
    )
    kind = "two domains"
    source = "Hinton et al. 2015, arXiv:1503.02531"
    needs_backbone = True
    Options = DistillationOptions

    def models(self, options: api.Options) -> Mapping[str, str]:
        """Ask for the teacher."""
        return {TEACHER: options_as(DistillationOptions, options).teacher}

    def views(self, options: api.Options) -> Mapping[str, View]:
        """Ask for each sample, varied as for the student, as the teacher takes it (Beyer et al. 2022)."""
        return {TEACHER: View(prepared_by=TEACHER)}

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse a teacher that has learned something else; see `Method`."""
        return _wrong_task(setting) or [
            Problem(TEACHER, sentence, "Choose a run of the same task and classes.")
            for sentence in _differences(setting)
        ]

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Put the classes of the teacher into the order of the student's."""
        from tlstudio_methods.distillation_module import DistillationModule

        chosen = options_as(DistillationOptions, options)
        return DistillationModule(context, TEACHER, weight=chosen.weight, temperature=chosen.temperature)


class LwFOptions(Options):
    """Options of learning without forgetting."""

    teacher: str = earlier_run_option()
    strength: float = option(
        1.0, title="Lambda", help="How much the earlier task counts beside the new one.", ge=0, le=100
    )
    temperature: float = option(
        2.0,
        title="Temperature",
        help="2 in the paper: smaller probabilities count for more.",
        gt=0,
        le=100,
        advanced=True,
    )


class LearningWithoutForgetting(Method):
    """Learning without forgetting (Li and Hoiem 2016, arXiv:1606.09282).

    Of classes of one head, those are held that the new samples do not have, as in LwF.MC (Rebuffi et al. 2017,
    arXiv:1611.07725), with the loss of the first paper.
    """

    name = "lwf"
    title = "Learning without forgetting (LwF)"
    description = (
        "Keeps what an earlier run could do while a new task is learned, without its data: what that run says of the "
        "new samples must go on being said. Start this run from that one."
    )
    kind = "two domains"
    source = "Li and Hoiem 2016, arXiv:1606.09282"
    needs_backbone = True
    Options = LwFOptions

    def models(self, options: api.Options) -> Mapping[str, str]:
        """Ask for the earlier run."""
        return {TEACHER: options_as(LwFOptions, options).teacher}

    def views(self, options: api.Options) -> Mapping[str, View]:
        """Ask for each sample as the earlier run takes it."""
        return {TEACHER: View(prepared_by=TEACHER)}

    def problems(self, setting: Setting, options: api.Options) -> Sequence[Problem]:
        """Refuse where there is nothing to forget; see `Method`."""
        teacher = options_as(LwFOptions, options).teacher
        return _wrong_task(setting) + forgetting_problems(setting, teacher, TEACHER)

    def build(self, context: MethodContext, options: api.Options) -> MethodModule:
        """Build the loss."""
        from tlstudio_methods.distillation_module import LwFModule

        chosen = options_as(LwFOptions, options)
        return LwFModule(context, TEACHER, strength=chosen.strength, temperature=chosen.temperature)


def _wrong_task(setting: Setting) -> list[Problem]:
    tasks = "classification, multi-label classification and regression"
    if setting.task not in _TASKS:
        return [Problem("", f"A model can imitate another one in {tasks} only.", "Take it out.")]
    if setting.models[TEACHER].task not in _TASKS:
        return [Problem(TEACHER, f"only the outputs of {tasks} can be imitated.", "Choose another run.")]
    return []


def _differences(setting: Setting) -> list[str]:
    teacher, own = setting.models[TEACHER], setting.target
    if teacher.task != own.task:
        return ["the run has learned another task."]
    if missing := sorted(set(own.classes) ^ set(teacher.classes)):
        return [f"the classes of the run differ from those here: {', '.join(missing[:5])}."]
    return []

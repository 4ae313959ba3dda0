"""Distillation as torch modules. Imported only when one is built."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import RunError, TargetInfo
from tlstudio.api.method_modules import MethodContext, MethodModule, TrainingStep
from tlstudio.api.nn import TransferModel

__all__ = ["DistillationModule", "LwFModule", "held_outputs", "imitation_loss"]


def imitation_loss(student: Tensor, teacher: Tensor, task: str, temperature: float) -> Tensor:
    """How far outputs are from those of a teacher, for each sample, ``[B]``.

    Classification: ``T^2 KL(softmax(teacher / T) || softmax(student / T))``, whose gradient has the size of that of a
    cross-entropy at any T (Hinton et al. 2015, section 2). Several labels: the same of each label's two outcomes, the
    mean over the labels. Regression: half the squared difference, the mean over the outputs.

    Args:
        student: Raw outputs ``[B, K]``.
        teacher: Raw outputs ``[B, K]`` in the same order.
        task: The task.
        temperature: T above 0.
    """
    if task == "regression":
        return (student - teacher).square().mean(dim=1) / 2
    if task == "multi_label":
        p = torch.sigmoid(teacher / temperature)
        gap = F.binary_cross_entropy_with_logits(student / temperature, p, reduction="none")
        entropy = F.binary_cross_entropy_with_logits(teacher / temperature, p, reduction="none")
        return (gap - entropy).mean(dim=1) * temperature**2
    log_p = F.log_softmax(teacher / temperature, dim=1)
    log_q = F.log_softmax(student / temperature, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1) * temperature**2


def class_order(teacher: TargetInfo, student: TargetInfo) -> list[int]:
    """Where in the teacher's outputs each class of the student is."""
    return [teacher.classes.index(name) for name in student.classes]


class DistillationModule(MethodModule):
    """Puts ``(1 - w) * loss + w * imitation`` in the place of each sample's loss.

    Args:
        context: The run.
        name: Name of the teacher among its models, and of the view that it takes.
        weight: w in 0..1.
        temperature: T above 0.
    """

    def __init__(self, context: MethodContext, name: str, *, weight: float, temperature: float) -> None:
        super().__init__(context)
        self._name = name
        self._weight = weight
        self._temperature = temperature
        self._own, self._taught = context.model.head.target, context.models[name].head.target
        self._order = class_order(self._taught, self._own)
        self._apart = torch.zeros(())

    def losses(self, step: TrainingStep, losses: Tensor) -> Tensor:
        """Mix the losses of labels and teacher."""
        wanted = _outputs(self.context.models[self._name], step.views[self._name])
        wanted = wanted[:, self._order] if self._order else restandardised(wanted, self._taught, self._own)
        imitated = imitation_loss(step.computed()[1], wanted, self._own.task, self._temperature)
        self._apart = imitated.detach().mean()
        return losses * (1 - self._weight) + imitated * self._weight

    def quantities(self) -> Mapping[str, float]:
        """How far the student is from the teacher."""
        return {"imitation loss": float(self._apart)}


def held_outputs(taught: TargetInfo, own: TargetInfo) -> tuple[list[int], list[int]] | None:
    """Say which outputs of an earlier head a new one holds, and where it has them; `None`: it does not know them all.

    Of classes, these are the ones that the new samples do not have: nothing else would keep them, and of the others the
    labels tell. Where they have all, all are held.

    Args:
        taught: What the earlier head has learned.
        own: What the new one learns.
    """
    if taught.task != own.task or not set(taught.classes) <= set(own.classes):
        return None
    counts = dict(zip(own.classes, own.class_counts, strict=True))
    held = [name for name in taught.classes if not counts[name]]
    least = 2 if own.task == "classification" else 1  # of one class, there is no distribution
    names = held if len(held) >= least else taught.classes
    return [taught.classes.index(name) for name in names], [own.classes.index(name) for name in names]


class LwFModule(MethodModule):
    """Adds lambda times how far what is said of the new samples is from what the earlier model says of them.

    A head that knows all classes of the earlier one says it itself, as it is what is kept of them (see `held_outputs`).
    Else a copy of the earlier head does, which learns along and is left behind.

    Args:
        context: The run.
        name: Name of the earlier model, and of the view that it takes.
        strength: Lambda.
        temperature: T above 0.

    Raises:
        RunError: The backbone gives other features than the earlier one.
    """

    def __init__(self, context: MethodContext, name: str, *, strength: float, temperature: float) -> None:
        super().__init__(context)
        earlier = context.models[name]
        backbone = earlier.backbone
        if getattr(backbone, "shape", None) != context.features:
            raise RunError(
                "The earlier run has another backbone, so its head cannot be kept.",
                "Start from that run, with its backbone.",
                field="methods.lwf.teacher",
            )
        self._name = name
        self._strength = strength
        self._temperature = temperature
        self._taught, self._own = earlier.head.target, context.model.head.target
        self._held = held_outputs(self._taught, self._own)
        self.old_head = copy.deepcopy(earlier.head).requires_grad_(True) if self._held is None else None
        self._forgotten = torch.zeros(())

    def extra_loss(self, step: TrainingStep) -> Tensor:
        """What the earlier model has said must go on being said."""
        wanted = _outputs(self.context.models[self._name], step.views[self._name])
        features, now = step.computed()
        if self.old_head is not None:
            now = self.old_head(features).float()
        elif self._held and self._held[0]:
            wanted, now = wanted[:, self._held[0]], now[:, self._held[1]]
        else:
            wanted = restandardised(wanted, self._taught, self._own)
        loss = imitation_loss(now, wanted, self._taught.task, self._temperature).mean()
        self._forgotten = loss.detach()
        return loss * self._strength

    def quantities(self) -> Mapping[str, float]:
        """How far the model has come from what it said of these samples."""
        return {"drift of the earlier task": float(self._forgotten)}


def restandardised(values: Tensor, taught: TargetInfo, own: TargetInfo) -> Tensor:
    """Standardise numbers by the labels of one run that were standardised by those of another."""
    return (values * taught.std + taught.mean - own.mean) / own.std


def _outputs(model: TransferModel, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(inputs)
    return output.float()

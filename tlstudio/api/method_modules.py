"""What a method does while a run trains. Imports torch.

In the loop, for each batch of the run:

1. `MethodModule.transform` of each method may change inputs and targets;
2. the model computes features and outputs, and the head the loss of each sample;
3. `MethodModule.losses` of each method may put others in their place, then each `extra_loss` is added to their mean;
4. the gradient is computed; `MethodModule.backward` stands around 2 to 4;
5. where the gradients of a whole step are there: the optimizer makes it, then comes `after_step`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tlstudio.api.data import TASKS, TargetInfo, Task
from tlstudio.api.errors import RunError
from tlstudio.api.features import Features, FeatureShape
from tlstudio.api.nn import HeadModule, ParamGroup, TargetEncoder, TransferModel, grouped_parameters

if TYPE_CHECKING:
    from tlstudio.api.components import TaskHead
    from tlstudio.api.options import Options

__all__ = ["MethodContext", "MethodModule", "StreamBatch", "TrainingStep", "rampup"]

Inputs = dict[str, Tensor]


@dataclass(slots=True)
class StreamBatch:
    """Samples of a stream, on the device.

    Attributes:
        views: What the model that prepared it takes, by name of the view.
        targets: The encoded labels; `None` where they were not asked for.
        features: Features of the first view, once they are computed, of streams that go together with the run's own.
        output: Raw outputs of the head of the run, likewise.
    """

    views: dict[str, Inputs]
    targets: Tensor | None = None
    features: Features | None = None
    output: Tensor | None = None

    @property
    def inputs(self) -> Inputs:
        """The only view, where there is one."""
        (only,) = self.views.values()
        return only

    def computed(self) -> tuple[Features, Tensor]:
        """Features and outputs, after they were computed together with those of the run.

        Raises:
            RuntimeError: They are asked for before that, or the stream does not go together with the run.
        """
        return _computed(self)


@dataclass(slots=True)
class TrainingStep:
    """One batch on its way through the loop, on the device.

    Attributes:
        inputs: What the network takes; a method may put others there in `MethodModule.transform`.
        targets: The encoded labels, ``[B, ...]``; likewise.
        views: Other views of the same samples, by the names that the method has asked for.
        streams: The batches that the method has asked for, by name.
        progress: Share of all steps of the run that has been made, in 0..1.
        forward: Computes features and raw outputs of any inputs, with gradients, as the run does it.
        features: Features of the samples, once they are computed.
        output: Their raw outputs, likewise.
    """

    inputs: Inputs
    targets: Tensor
    views: Mapping[str, Inputs]
    streams: Mapping[str, StreamBatch]
    progress: float
    forward: Callable[[Inputs], tuple[Features, Tensor]]
    features: Features | None = None
    output: Tensor | None = None

    def computed(self) -> tuple[Features, Tensor]:
        """Features and outputs of the samples, after they were computed.

        Raises:
            RuntimeError: They are asked for before that.
        """
        return _computed(self)


def _computed(batch: StreamBatch | TrainingStep) -> tuple[Features, Tensor]:
    if batch.features is None or batch.output is None:
        raise RuntimeError("features and outputs are there only after the model has computed them")
    return batch.features, batch.output


@dataclass(frozen=True, slots=True)
class MethodContext:
    """The run that a method is built for.

    Attributes:
        model: The model, prepared by the strategy.
        num_train: Number of training samples.
        batch_size: Samples in a batch.
        epochs: Epochs of the run.
        steps: Optimizer steps of the run.
        targets: What the labels of labelled streams say, by name of the stream.
        models: The models of earlier runs that were asked for, by name: frozen, in evaluation mode, without adapters.
        head: The task head of the run, to build another one like it.
        head_options: Its options.
        heads: The head for each task that takes the features of the run; of its own task, the head of the run.
        features: Widths of the features that heads take.
        forward: Computes features and raw outputs of any inputs, as the run does it.
        batches: Goes once through samples as they are, without variation, in an order that is always the same: of the
            run's train split (``""``), its classes mixed, or of a stream with labels. Gives inputs and targets on the
            device.
        updates: Names in ``model.state_dict()`` that may change at any time of the run: `FineTuningStrategy.updates`.
        modules: Gives the model and the modules of all methods, once all are built: what has gradients and running
            statistics.
        head_taken_over: Whether the head of the run begins with what an earlier one has learned.
    """

    model: TransferModel
    num_train: int
    batch_size: int
    epochs: int
    steps: int
    targets: Mapping[str, TargetInfo]
    models: Mapping[str, TransferModel]
    head: TaskHead
    head_options: Options
    heads: Mapping[Task, TaskHead]
    features: FeatureShape
    forward: Callable[[Inputs], tuple[Features, Tensor]] = field(repr=False)
    batches: Callable[[str], Iterator[tuple[Inputs, Tensor]]] = field(repr=False)
    updates: frozenset[str] = field(repr=False)
    modules: Callable[[], Sequence[nn.Module]] = field(repr=False)
    head_taken_over: bool = False

    def new_head(self, target: TargetInfo) -> HeadModule:
        """Build another head with fresh weights: one like that of the run where the task is the same.

        Raises:
            DataError: It cannot learn this target.
            RunError: No head for its task takes the features of the run.
        """
        if target.task not in self.heads:
            raise RunError(f"No head for {TASKS[target.task].title.lower()} takes the features of this run.")
        head = self.heads[target.task]
        return head.build(self.features, target, self.head_options if head is self.head else head.Options())


class MethodModule(nn.Module):
    """A method as built for one run.

    It is moved to the device and its parameters learn beside those of the model. Its state dict is part of the
    checkpoint from which a run goes on, so all that it keeps from step to step must be in parameters or buffers; the
    exported model knows nothing of it. Every method has a default that does nothing.

    Args:
        context: The run that it is built for.

    Attributes:
        context: The same. What it holds (the model, say) is not part of this module.
    """

    def __init__(self, context: MethodContext) -> None:
        super().__init__()
        self.context = context

    def begin(self) -> None:
        """Do what comes before the first step of a run, on the device; not called where a run goes on.

        The model may be changed here: the weights of its head, say.
        """

    def param_groups(self, *, learning_rate: float, weight_decay: float) -> list[ParamGroup]:
        """Return every parameter of its own that learns, each once; the default: all at one rate.

        Args:
            learning_rate: That of the head of the run, as what a method brings is as new.
            weight_decay: That of the run.
        """
        name = type(self).__name__
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return grouped_parameters([(name, learning, learning_rate)], weight_decay=weight_decay) if learning else []

    def encoder(self, stream: str) -> TargetEncoder:
        """Return what encodes the labels of a labelled stream."""
        raise NotImplementedError(f"{type(self).__name__} has asked for labels of {stream!r} that it does not encode")

    def on_epoch_start(self, epoch: int) -> None:
        """Called before each epoch (counted from 0), behind that of the strategy.

        Where a run goes on, it is called for all epochs up to that one, and what is kept (the module's state and the
        random numbers) is put back behind it.
        """

    def learning_rate(self, progress: float, factor: float) -> float:
        """Return the factor by which all learning rates are scaled, in place of that of the schedule.

        It must follow from its arguments and the options alone.

        Args:
            progress: Share of all steps of the run that has been made, in 0..1.
            factor: What the schedule, or the method before this one, says.
        """
        return factor

    def transform(self, step: TrainingStep) -> None:
        """Change inputs and targets of a batch before the model sees them. What is random draws from torch."""

    def losses(self, step: TrainingStep, losses: Tensor) -> Tensor:
        """Return what takes the place of the losses ``[B]`` of the samples."""
        return losses

    def extra_loss(self, step: TrainingStep) -> Tensor | None:
        """Return a scalar that is added to the mean loss of the batch, or `None`."""
        return None

    def backward(self, compute: Callable[[], Tensor]) -> Tensor:
        """Stand around the computation of a batch's gradients.

        Args:
            compute: Computes the losses ``[B]`` and adds the gradients of their mean to ``.grad``, where those of
                earlier batches of the same step may lie; may be called more than once.

        Returns:
            The losses to be logged.
        """
        return compute()

    def after_step(self) -> None:
        """Called when the optimizer has made a step."""

    @contextlib.contextmanager
    def evaluated(self) -> Iterator[None]:
        """Inside, the model has the weights that are validated and kept as the best, where these are others."""
        yield

    def on_epoch_end(self) -> None:
        """Called after all steps of an epoch, once, before its validation.

        Where it is interrupted (`MethodContext.batches` asks for that), it is called again when the run goes on.
        """

    def snapshot(self) -> int:
        """Say that the run keeps the weights as they are now, at the end of an epoch, beside its best ones.

        Asked for when the epoch has been validated. Such snapshots predict together in an ensemble.

        Returns:
            Which snapshot it is, from 1; 0: they are not kept.
        """
        return 0

    def passes(self) -> Mapping[str, float]:
        """Say how often it goes through samples by `MethodContext.batches` in a whole run, by what it asks that for.

        Asked for before `begin`, for the estimate of the time of a run. What is done at each step is measured and does
        not belong here. A pass with gradients counts as 3: ``{"": 1, "earlier": 3}``.
        """
        return {}

    def quantities(self) -> Mapping[str, float]:
        """Numbers of now that are worth plotting, by name: ``{"lambda": 0.3}``. Asked for when a step is logged."""
        return {}


def rampup(progress: float, schedule: str) -> float:
    """Factor in 0..1 by which the weight of a term rises during a run.

    Args:
        progress: Share of the run that is over, in 0..1.
        schedule: ``"constant"``: always 1. ``"linear"``: from 0 to 1. ``"sigmoid"``: 2 / (1 + exp(-10 p)) - 1 (Ganin et
            al. 2016, arXiv:1505.07818, section 5.2.2). ``"falling"``: from 1 to 0.
    """
    match schedule:
        case "linear":
            return progress
        case "sigmoid":
            return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0
        case "falling":
            return 1.0 - progress
    return 1.0

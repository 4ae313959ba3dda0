"""What a plugin brings as a component: the base of all, task heads and fine-tuning strategies.

Light to import: torch is needed only inside `build`, `load` and the like.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlstudio.api.data import Modality, TargetInfo, Task
from tlstudio.api.facts import BackboneInfo
from tlstudio.api.features import FeatureKind, FeatureShape
from tlstudio.api.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.methods import Method
    from tlstudio.api.nn import HeadModule, LayerGroup, ParamGroup, TransferModel


class Component(ABC):
    """Base of everything that a plugin brings.

    Attributes:
        name: Unique among components of its kind; the field's own name where there is one (``"resnet18"``).
        title: What the user reads.
        description: One or two sentences in plain words: what it is and when to choose it.
        source: Paper, specification or library that it comes from, on one line. A backbone tells its own in its facts.
        Options: The model of its options.
    """

    name: str
    title: str
    description: str
    source: str = ""
    Options: ClassVar[type[Options]] = Options


class TaskHead(Component):
    """Turns features into the output of one task.

    Attributes:
        task: The task that it solves.
        requires: The kind of features that it needs.
        reads_inputs: Whether it looks at the inputs of the backbone besides its features, such as `SCALE`; features
            alone, kept by an earlier run, are then not enough.
        views: How many times each sample is prepared, varied anew each time, in validation as well. Above 1, inputs are
            ``[B, views, ...]``, the features that its module takes ``[B * views, ...]`` in this order, and outputs of
            the model ``[B, views, ...]`` again.
    """

    task: Task
    requires: FeatureKind
    reads_inputs: bool = False
    views: int = 1

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Training options (by name) that suit this head; they go before those that suit the strategy."""
        return {}

    @abstractmethod
    def build(self, features: FeatureShape, target: TargetInfo, options: Options) -> HeadModule:
        """Build a head with fresh weights from torch's current random state.

        Args:
            features: Widths of the features that it takes.
            target: What is to be learned.
            options: Options of this head.

        Raises:
            DataError: The target cannot be learned by this head (a single class, say).
        """

    def is_linear(self, options: Options) -> bool:
        """Whether its output is a linear function of pooled features, so that `HeadModule.set_linear` works."""
        return False

    def library_code(self, options: Options) -> str:
        """Lines of Python, with torch alone, that compute ``output`` of ``features`` and of its tensors, ``head``.

        Empty: it takes more than a few lines.
        """
        return ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a strategy may look at when it recommends training options.

    Attributes:
        modality: Modality of the data.
        task: The task.
        num_train: Number of training samples.
        num_parameters: Number of parameters of the backbone.
        on_gpu: Whether training will run on an accelerator.
    """

    modality: Modality
    task: Task
    num_train: int
    num_parameters: int
    on_gpu: bool


class FineTuningStrategy(Component):
    """Chooses what learns, how fast, and what else is in the loss.

    It is called in this order: `recommended` (before the run), `prepare`, `settled`, `updates`, `param_groups`,
    `on_epoch_start`, `notes`, then `on_epoch_start` before each epoch and `extra_loss` at each step; `merge` when a
    trained model is exported.

    Attributes:
        merges: Whether `merge` gives the plain backbone back. Where not (prompts cannot be folded into weights), what
            `prepare` has put in stays part of an exported model, which is rebuilt with the strategy, and no other run
            can start from the backbone. What it puts in has names of its own and leaves all others as they are.
        head_first: Whether the head has learned before anything of the backbone does.
        adds: Whether what learns in the backbone is what `prepare` puts into it, while its own weights stay.
    """

    merges: bool = True
    head_first: bool = False
    adds: bool = False

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Say in a sentence why it does not fit this backbone and head, or return `None` if it does."""
        return None

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Training options (by name) that suit this strategy; what the user sets goes before them."""
        return {}

    def caches_features(self, options: Options) -> bool:
        """Whether the backbone stays as it is, so that its features may be computed once and kept."""
        return False

    def keeps_backbone(self, options: Options) -> bool:
        """Whether nothing of the backbone changes in a run, also where its features are not kept."""
        return self.caches_features(options)

    @abstractmethod
    def prepare(self, model: TransferModel, options: Options) -> None:
        """Set ``requires_grad`` of all parameters; may wrap ``model.backbone`` (PEFT).

        Called on a freshly built model, also when a trained one is restored; must be deterministic in the names
        of the parameters that it adds.
        """

    @abstractmethod
    def param_groups(
        self, model: TransferModel, options: Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return every parameter that will ever learn, each exactly once, with its rate and decay."""

    def updates(self, model: TransferModel, options: Options) -> set[str]:
        """Names in ``model.state_dict()`` that may change at any time of the run; the rest is stored once."""
        from tlstudio.api.nn import learning_names

        return learning_names(model)

    def settled(self, model: TransferModel, options: Options) -> Options:
        """The options with what `prepare` has chosen by itself in place of an automatic value: the run records them."""
        return options

    def recorded(self, options: Options, shapes: Mapping[str, Sequence[int]]) -> Options:
        """The options of a run that has stored tensors of these shapes, by name.

        Asked for before `prepare`, where a run is loaded or goes on. What its recipe names stays; an option that it
        leaves out may have had another default when the run was trained, which the shapes tell.
        """
        return options

    def notes(self, model: TransferModel, options: Options, epochs: int) -> Sequence[str]:
        """Sentences worth reading before a run of so many epochs, which keep it from nothing."""
        return ()

    def alternatives(self, model: TransferModel, options: Options) -> Sequence[Sequence[LayerGroup]]:
        """Blocks of layers, from input to output, of which its method lets one learn, chosen before the first step.

        Empty: nothing is chosen, and all that may learn does.
        """
        return ()

    def on_epoch_start(self, model: TransferModel, epoch: int, options: Options) -> None:
        """Called before each epoch (counted from 0); may change ``requires_grad``.

        It can be called several times for an epoch: before a run begins, and when one goes on, for all epochs up to
        that one. What it does must follow from the epoch, the options and the model.
        """

    def extra_loss(self, model: TransferModel, options: Options, num_train: int) -> Tensor | None:
        """A scalar that is added to the loss of each step, or `None`."""
        return None

    def quantities(self, model: TransferModel, options: Options) -> Mapping[str, float]:
        """Numbers of now that are worth plotting, such as ``{"unfrozen groups": 3}``; asked for at each logged step."""
        return {}

    def method(self, options: Options) -> tuple[Method, Options] | None:
        """A method that is part of it, with its options, or `None`.

        It comes before the methods of the recipe, but for those that change samples.
        """
        return None

    def merge(self, model: TransferModel) -> None:
        """Fold what `prepare` has wrapped back into a plain network with the same outputs."""

    def save_adapter(self, model: TransferModel, folder: Path) -> bool:
        """Write what `prepare` has put into the network of a library, as trained, for use with that library alone.

        Args:
            model: The trained model, not merged.
            folder: An empty folder.

        Returns:
            Whether there is a format for it; where not, nothing is written.

        Raises:
            RunError: There is one, but not for this backbone.
        """
        return False

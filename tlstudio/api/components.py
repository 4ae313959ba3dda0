"""The four things that a plugin can bring: data set formats, backbones, task heads, fine-tuning strategies.

Light to import: torch is needed only inside `build`, `load` and the like.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlstudio.api.data import Modality, Preview, Rejected, Sample, TargetInfo, Task
from tlstudio.api.errors import DataError
from tlstudio.api.facts import BackboneInfo, WeightsInfo
from tlstudio.api.features import FeatureKind, FeatureShape
from tlstudio.api.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.formats import Source
    from tlstudio.api.methods import Method
    from tlstudio.api.nn import BackboneModule, HeadModule, ParamGroup, TransferModel

Augmentation = Literal["none", "light", "strong", "contrastive", "randaugment", "trivialaugment"]
"""How strongly samples are varied. Contrastive: so much that two views of one share little but what they show. The last
two are policies for images."""


class Component(ABC):
    """Base of everything that a plugin brings.

    Attributes:
        name: Unique among components of its kind; the field's own name where there is one (``"resnet18"``).
        title: What the user reads.
        description: One or two sentences in plain words: what it is and when to choose it.
        Options: The model of its options.
    """

    name: str
    title: str
    description: str
    Options: ClassVar[type[Options]] = Options


class DatasetFormat(Component):
    """Reads a folder or file of the user's into samples.

    Attributes:
        modality: What its samples are.
        tasks: What its labels may be for.
    """

    modality: Modality
    tasks: Collection[Task] = ("classification", "multi_label", "regression", "anomaly_detection")

    @property
    def every_task(self) -> tuple[Task, ...]:
        """`tasks`, and pretraining, as any data can be learned from without labels."""
        return (*(task for task in self.tasks if task != "pretraining"), "pretraining")

    @abstractmethod
    def detect(self, path: Path) -> float:
        """Say how well this format fits a path: 0 (not at all) to 1 (certainly). Fast; never raises."""

    def look(self, source: Source) -> float:
        """Do the same with a source that other formats look at, too, so that nothing need be read twice.

        Args:
            source: `Source.once` gives what one of them has read to the others. The default takes the path alone.
        """
        return self.detect(source.path)

    @abstractmethod
    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Look at the first items and suggest options.

        Args:
            path: Folder or file.
            options: Options that the user has already set; the rest is suggested.

        Raises:
            DataError: Nothing usable is there.
        """

    @abstractmethod
    def read(self, path: Path, options: Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield every item in a stable order; an item that cannot be used is yielded as `Rejected`.

        Raises:
            DataError: The source as a whole cannot be read (missing column, empty folder).
        """

    def splits_told(self, options: Options) -> str:
        """Say in a sentence how the format itself makes the splits, by time for instance; ``""``: it does not."""
        return ""

    def without_labels(self) -> Mapping[str, Any] | None:
        """Options under which `read` gives every sample without its label, for prediction; `None`: it cannot."""
        return None

    def for_pretraining(self) -> Mapping[str, Any]:
        """Options under which samples that are learned from without labels are read, where the user sets no others.

        Any data can be learned from so: labels that `read` gives all the same are left out. It is asked for the task
        ``"pretraining"`` where this is among `tasks`, else for the first of them.
        """
        return self.without_labels() or {}


class Preprocessor(ABC):
    """Turns samples into the inputs of one backbone. Must survive pickling (loader workers)."""

    @abstractmethod
    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Prepare one sample.

        Args:
            sample: The sample.
            seed: Given while training: the augmentation must derive from it alone. `None`: no augmentation.

        Raises:
            DataError: The file cannot be read.
        """

    @abstractmethod
    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Join prepared samples into a batch; every tensor has the batch as its first dimension."""

    def takes(self, sample: Sample) -> bool:
        """Whether a sample is of the kind that is taken; it may still be damaged or too short."""
        try:
            self(sample)
        except DataError:
            return False
        return True

    @property
    def forecast_name(self) -> str:
        """Name of the series that is forecast; ``""``: none is, or it has no name."""
        return ""

    def length(self, sample: Sample) -> int:
        """Cheap measure of a sample's length, by which batches are bucketed; constant: no bucketing."""
        return 1

    def is_cut(self, sample: Sample) -> bool:
        """Whether the end of a sample is left out, because it is longer than what is taken. Cheap; never raises."""
        return False

    @property
    def limit(self) -> str:
        """How much of a sample is taken, for people (``"20 s"``); ``""``: all of it."""
        return ""

    def texts(self, tokens: Tensor) -> list[str]:
        """Turn tokens ``[B, L]``, as the backbone writes them, into B texts without marks.

        Only of backbones that give logits.
        """
        raise NotImplementedError(f"{type(self).__name__} has no tokens that are a text")

    def remark(self, sample: Sample) -> str:
        """Say in a sentence what of a sample is left aside or changed: columns that the model does not know, say."""
        return ""

    def describe(self) -> dict[str, Any]:
        """Everything needed to do the same elsewhere, as plain JSON values; written into exports."""
        return {}


class Backbone(Component):
    """A pretrained network that turns samples into `Features`.

    Attributes:
        modality: What it takes in.
        free_options: Names of its options that a run may set otherwise than the run that it starts from: those that
            change neither the network's weights nor its assets.
    """

    modality: Modality
    free_options: Collection[str] = ()

    @abstractmethod
    def info(self) -> BackboneInfo:
        """Give its facts. May import heavy libraries but must not need the weights."""

    def why_not(self, sample: Sample) -> str | None:
        """Say in a sentence why it cannot take samples of its modality that are like this one; `None`: it can."""
        return None

    def fit(self, options: Options, samples: Iterable[Sample]) -> Backbone:
        """Learn what must be known of the data before the network can be built: the columns of a table, say.

        Called where a new model is made, before anything else; one that is restored needs its assets alone.

        Args:
            options: Options of the backbone.
            samples: Those of the train split, so that nothing of the others leaks in.

        Returns:
            The backbone to go on with; the default, which learns nothing of the data, is this one.

        Raises:
            DataError: The samples are not what it takes.
        """
        return self

    @abstractmethod
    def find_weights(self, options: Options) -> WeightsInfo:
        """Say where the weights are that `load` would read, without reading them.

        Raises:
            WeightsError: They are not on this machine; the sentence says how to get them.
        """

    @abstractmethod
    def load(self, options: Options) -> BackboneModule:
        """Build the network with its pretrained weights.

        Raises:
            WeightsError: Missing, unsafe or damaged weights, or keys or shapes that do not fit.
        """

    @abstractmethod
    def preprocessor(
        self,
        options: Options,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> Preprocessor:
        """Make the preprocessor.

        Args:
            options: Options of the backbone.
            augmentation: How strongly training samples (those with a seed) are varied.
            assets: A folder that `save_assets` has written; then nothing else on the machine is needed.
            wanted: The kind of features that the head takes. Where these are maps of an image, nothing of it may be
                cut off, and `GEOMETRY` and `IMAGE_SIZE` are among the inputs; where these are logits, the label of
                a sample is the text to be written, and `TARGETS` is among the inputs. Where these are masked tokens or
                values, a part of the sample is hidden, by the seed or, without one, by the id of the sample; it is in
                `TARGETS`, and labels do not matter.
        """

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name the ways in which its preprocessor varies samples, where the head takes features of a kind.

        A run that asks for another is told so before it begins, and so is a method that does for a view.
        """
        return ("none", "light", "strong", "contrastive")

    def save_assets(self, options: Options, folder: Path) -> None:
        """Write into a folder all that `restore` and `preprocessor` need besides the state dict.

        For instance a transformers ``config.json`` and the tokenizer's files. The default writes nothing,
        which is right where the name and the options alone define the network.
        """

    @abstractmethod
    def restore(self, options: Options, assets: Path) -> BackboneModule:
        """Build the same network without pretrained weights; its state dict is loaded by the caller."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Give the options under which `load` reads a model of the user's, or `None` if it is not one of this kind.

        For backbones that stand for any model of a kind, such as a folder in the layout of a library. Looks at names
        and configuration, not at the weights; never raises.

        Args:
            path: A folder or a weight file.
        """
        return None


class BackboneFamily(ABC):
    """Many backbones of one library, found by name; so that listing them costs nothing until it is asked for.

    Attributes:
        name: Unique name, such as ``"timm"``.
        title: What the user reads.
        modality: What its members take in.
    """

    name: str
    title: str
    modality: Modality

    @abstractmethod
    def names(self) -> Sequence[str]:
        """List the names of all members. May import a heavy library; call it off the window's thread."""

    @abstractmethod
    def get(self, name: str) -> Backbone | None:
        """Return a member by name, or `None` if the library has none of that name."""

    def present(self) -> Sequence[str]:
        """List the members whose pretrained weights are on this machine, without reading them."""
        return ()

    def recognise(self, path: Path) -> str | None:
        """Name the member that a weight file of the user's is of, or return `None`. Never raises."""
        return None


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

    It is called in this order: `recommended` (before the run), `prepare`, `updates`, `param_groups`, then
    `on_epoch_start` before each epoch and `extra_loss` at each step; `merge` when a trained model is exported.

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

    def on_epoch_start(self, model: TransferModel, epoch: int, options: Options) -> None:
        """Called before each epoch (counted from 0), also after a resume; may change ``requires_grad``."""

    def extra_loss(self, model: TransferModel, options: Options, num_train: int) -> Tensor | None:
        """A scalar that is added to the loss of each step, or `None`."""
        return None

    def quantities(self, model: TransferModel, options: Options) -> Mapping[str, float]:
        """Numbers of now that are worth plotting, such as ``{"unfrozen groups": 3}``; asked for at each logged step."""
        return {}

    def method(self, options: Options) -> tuple[Method, Options] | None:
        """A method that is part of it, with its options, or `None`. It comes before those of the recipe."""
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

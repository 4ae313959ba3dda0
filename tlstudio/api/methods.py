"""The fifth thing that a plugin can bring: methods, which add to a run what no strategy alone can.

A strategy says what learns and how fast; there is exactly one in a run. Any number of methods stand beside it: a
penalty, another loss, mixed samples, averaged weights, a second data set, a teacher. What a method does while a run
trains is in its `tlstudio.api.method_modules.MethodModule`. Light to import.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tlstudio.api.backbones import Augmentation
from tlstudio.api.components import Component, FineTuningStrategy, TaskHead
from tlstudio.api.data import Modality, TargetInfo, Task
from tlstudio.api.errors import Problem
from tlstudio.api.facts import BackboneInfo
from tlstudio.api.options import Options

if TYPE_CHECKING:
    from tlstudio.api.method_modules import MethodContext, MethodModule


def dataset_names(text: str) -> list[str]:
    """Read the names of several data sets, each maybe with ``@r2`` behind it: ``'news, "cats, dogs"@r2'``.

    A name that has a comma of its own stands in double quotes, which no name has.
    """
    parts = re.findall(r'(?:"[^"]*"|[^,"])+', text)
    return [name for part in parts if (name := part.replace('"', "").strip())]


def written_names(names: Sequence[str]) -> str:
    """Write the names of data sets so that `dataset_names` reads them."""
    return ", ".join(f'"{name}"' if "," in name else name for name in names)


Rows = Literal["train", "unshown", "all"]
"""Which samples of a data set: those of its train split; those of the train split that few-shot learning leaves aside;
all of them, whatever their split. Items that the run validates or tests are never among them."""


@dataclass(frozen=True, slots=True)
class View:
    """A way in which samples are prepared, besides that of the run.

    Attributes:
        augmentation: How strongly they are varied; ``"as the run"``: as the training samples of the run.
        prepared_by: Name of the model, among those that `Method.models` asks for, whose preprocessor prepares them;
            ``""``: that of the run. A view of the same samples for a teacher has the augmentation's seed in common with
            the run's own.
    """

    augmentation: Augmentation | Literal["as the run"] = "as the run"
    prepared_by: str = ""


@dataclass(frozen=True, slots=True)
class DataStream:
    """Samples that a method wants beside those of the run: a batch of them comes with each batch of the run.

    Their order derives from the seed of the run and their place alone; when they have been gone through, they begin
    anew in another order.

    Attributes:
        name: What they are called among the streams of the method: ``"source"``.
        dataset: Name of a data set of the project, with ``@r2`` behind it for a revision that is not the latest; ``""``
            is that of the run.
        rows: Which of its samples.
        labelled: Whether their labels are wanted, encoded by `MethodModule.encoder`. Where not, it does not matter
            whether they have any.
        views: How they are prepared, by name; each view of a sample is varied by itself.
        ratio: So many of them come with each sample of the run, and a batch has at least two, if the run's have two.
            0: they do not come with the batches, and are only gone through by `MethodContext.batches`.
        limit: At most so many of them, drawn by the seed of the run; where they have one class each, as many of each
            as can be. 0: all.
        together: Whether their first view goes through the model in one batch with the samples of the run, so that
            BatchNorm normalises both alike; `StreamBatch.computed` then gives what came out. Inputs that cannot lie in
            one batch, such as texts of other lengths, go through one after the other.
    """

    name: str
    dataset: str = ""
    rows: Rows = "train"
    labelled: bool = False
    views: Mapping[str, View] = field(default_factory=lambda: {"": View()})
    ratio: float = 1.0
    limit: int = 0
    together: bool = False


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known of the samples of a stream before anything is loaded.

    Attributes:
        dataset: Name of their data set.
        modality: What they are.
        count: How many there are.
        target: What their labels say; `None` where they have none.
        own: Whether their data set is the one that the run learns from, under whatever name.
    """

    dataset: str
    modality: Modality
    count: int
    target: TargetInfo | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What a method may look at when it says whether it fits.

    Attributes:
        modality: Modality of the data.
        target: What the head is to learn.
        num_train: Number of training samples.
        batch_size: Samples in a batch.
        backbone: Facts of the backbone.
        head: The head.
        head_options: Its options.
        strategy: The strategy.
        strategy_options: Its options.
        methods: Names of all methods of the run.
        streams: What is known of the streams that the method has asked for, by name; a data set that is not there has
            no samples.
        models: What the models that the method has asked for have learned, by name; of one that is not there, the
            target.
        starts_from: Id of the run that the backbone is taken from; ``""``: none.
        head_taken_over: Whether the head begins with what that run has taught it.
        heads: What `MethodContext.new_head` would build for the labels of a stream, by their task.
        epochs: Epochs of the run.
        early_stopping: After how many epochs without progress the run stops; 0: never.
    """

    modality: Modality
    target: TargetInfo
    num_train: int
    batch_size: int
    backbone: BackboneInfo
    head: TaskHead
    head_options: Options
    strategy: FineTuningStrategy
    strategy_options: Options
    methods: Collection[str]
    streams: Mapping[str, StreamInfo] = field(default_factory=dict)
    models: Mapping[str, TargetInfo] = field(default_factory=dict)
    starts_from: str = ""
    head_taken_over: bool = False
    heads: Mapping[Task, TaskHead] = field(default_factory=dict)
    epochs: int = 1
    early_stopping: int = 0

    @property
    def task(self) -> Task:
        """The task of the head."""
        return self.head.task


class Method(Component):
    """Something that a run does besides what its strategy says.

    Several are combined in the order in which a recipe names them, each under any strategy, unless `problems` speaks
    against it.

    Attributes:
        kind: Under which heading the user finds it.
        excludes: Names of methods that it cannot stand beside. Naming it on one side is enough.
        needs_backbone: Whether it looks at more than the outputs of the head; the features of a frozen backbone are
            then computed at each step instead of once. Always so where it asks for streams, views or models.
        keeps_start: Whether the run keeps its weights as they were before anything of the backbone learned.
        changes_samples: Whether it puts others in the place of the samples of a batch. It then works before the others,
            so that these are given the losses of what is really learned from.
    """

    kind: Literal["regularisation", "data", "two domains", "few labels", "without labels"] = "regularisation"
    excludes: Collection[str] = ()
    needs_backbone: bool = False
    keeps_start: bool = False
    changes_samples: bool = False

    def problems(self, setting: Setting, options: Options) -> Sequence[Problem]:
        """Say what speaks against it here, with the names of its own options as `Problem.where` (``""``: the whole).

        Everything at once, before anything is loaded. That streams exist, are of the modality of the run, and have at
        least as many samples as a batch is checked by the caller.
        """
        return ()

    def streams(self, options: Options) -> Sequence[DataStream]:
        """Ask for samples beside those of the run."""
        return ()

    def views(self, options: Options) -> Mapping[str, View]:
        """Ask for other views of the run's own training samples, by name."""
        return {}

    def models(self, options: Options) -> Mapping[str, str]:
        """Ask for models of earlier runs, by name: the id of a run of the project."""
        return {}

    @abstractmethod
    def build(self, context: MethodContext, options: Options) -> MethodModule:
        """Build what works while the run trains, from torch's current random state.

        Also called when a run goes on; what the module keeps in its state dict is then given back to it.

        Raises:
            RunError: The model is not what it can work on.
        """

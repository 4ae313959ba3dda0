"""Pretrained networks, and what turns samples into their inputs.

Light to import: torch is needed only inside `load` and `restore`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tlstudio.api.components import Component
from tlstudio.api.data import Modality, Sample
from tlstudio.api.errors import DataError
from tlstudio.api.facts import BackboneInfo, LibraryCode, WeightsInfo
from tlstudio.api.features import FeatureKind
from tlstudio.api.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from tlstudio.api.nn import BackboneModule

Augmentation = Literal["none", "light", "strong", "contrastive", "randaugment", "trivialaugment"]
"""How strongly samples are varied. Contrastive: so much that two views of one share little but what they show. The last
two are policies for images."""


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

    def is_empty(self, sample: Sample) -> bool:
        """Whether a sample holds nothing that is looked at: it cannot be predicted. Cheap; never raises."""
        return False

    def notes(self, samples: Sequence[Sample]) -> list[str]:
        """Say what of samples of one source, which are to be predicted, is left aside, changed or not known."""
        remark = self.remark(samples[0]) if samples else ""
        return [remark] if remark else []

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

    def library_code(self, options: Options) -> LibraryCode | None:
        """Say how its library alone builds the network; `None`: it is not the network of one library."""
        return None

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

"""The torch side of the contract: backbones and heads as built, and the parameters in them. Imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from tlstudio.api.data import Label, Prediction, Sample, TargetInfo
from tlstudio.api.errors import RunError, WeightsError
from tlstudio.api.features import FeatureKind, Features, FeatureShape
from tlstudio.api.inputs import CONTEXT
from tlstudio.api.parameters import (
    LayerGroup,
    ParamGroup,
    count_parameters,
    grouped_parameters,
    learning_names,
    numbers_of,
    set_train_mode,
    stand_for,
)

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = [
    "BackboneModule",
    "Generation",
    "HeadModule",
    "LabelMetrics",
    "LayerGroup",
    "ParamGroup",
    "TargetEncoder",
    "TransferModel",
    "count_parameters",
    "grouped_parameters",
    "learning_names",
    "numbers_of",
    "set_train_mode",
    "stand_for",
    "with_context",
]


NO_INPUTS: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Generation:
    """How texts are written, and how many.

    Attributes:
        max_new_tokens: A text ends after this many tokens at the latest.
        num_beams: Texts that are followed up at the same time (beam search); 1 takes the likeliest token each time.
        live: How many samples of the validation split are written after each epoch.
        evaluated: How many samples of a split are written when it is evaluated; `None`: all.
    """

    max_new_tokens: int = 64
    num_beams: int = 1
    live: int = 4
    evaluated: int | None = None


class BackboneModule(nn.Module, ABC):
    """A backbone as built.

    Attributes:
        num_features: Width D of its pooled features and tokens.
        map_channels: Channels of each of its maps, from fine to coarse; empty where it gives none.
        map_strides: Pixels of the input for one cell of each map.
        vocabulary: Number of tokens that its logits are for; 0 where it gives none.
        parts: Widths of what lies side by side in its pooled features; empty where they are of one piece.
        restored: What there is to be restored of each column of a row; see `FeatureShape`.
        wanted: The kind of features that the head takes, set before anything else is done with the backbone. `forward`
            fills it, and may leave out what costs more; layers that nothing then needs may be taken away.
    """

    num_features: int
    map_channels: tuple[int, ...] = ()
    map_strides: tuple[int, ...] = ()
    vocabulary: int = 0
    parts: tuple[int, ...] = ()
    restored: tuple[int, ...] = ()
    wanted: FeatureKind = "pooled"

    @property
    def shape(self) -> FeatureShape:
        """What a head must know of its features."""
        widths = self.num_features, self.map_channels, self.map_strides, self.vocabulary, self.parts
        return FeatureShape(*widths, self.restored)

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features for a batch as its preprocessor collates it."""

    def generate(self, inputs: dict[str, Tensor], how: Generation) -> Tensor:
        """Write a text for each sample of a batch; nothing random is in it.

        What the preprocessor has put in of the labels must not be looked at.

        Returns:
            Tokens ``[B, L]`` without those of the sample itself; `Preprocessor.texts` reads them.
        """
        raise NotImplementedError(f"{type(self).__name__} writes no texts")

    @abstractmethod
    def layer_groups(self) -> list[LayerGroup]:
        """Return groups from input to output that together hold every parameter exactly once."""

    def take_over(self, state: Mapping[str, Tensor], assets: Path) -> list[str]:
        """Take over what the same kind of backbone has learned in an earlier run.

        The default takes all of it, and nothing else will do. A network that is shaped by its data (one that has an
        embedding for each column of a table, say) takes what has its place here.

        Args:
            state: State dict of the earlier run's backbone, with what a strategy has added folded in.
            assets: The earlier run's assets; its folder bears the name that people know it by.

        Returns:
            Sentences on what was left behind or begins anew; none where everything was taken over.

        Raises:
            WeightsError: The weights do not fit.
        """
        from tlstudio.api.weights import fit_state_dict

        fit_state_dict(self, state, path=assets.parent)
        return []


class TargetEncoder(ABC):
    """Turns labels into what a loss takes. It works where samples are read, so it must survive pickling."""

    @abstractmethod
    def __call__(self, labels: Sequence[Label], items: Sequence[Mapping[str, Any]]) -> Tensor:
        """Encode the labels of a batch.

        Args:
            labels: The labels, B of them.
            items: What the preprocessor made of each sample, for labels that lie somewhere in it (a mask, a span of
                words); empty where features come from a cache.

        Returns:
            Targets whose first dimension is the batch.

        Raises:
            DataError: A label that the target does not know.
        """

    def context(self, samples: Sequence[Sample]) -> Tensor | None:
        """Say what the head must know of samples besides their features, ``[B, ...]``; `None`: nothing.

        It is among the inputs as `CONTEXT`, and comes to the head in `Features.context`.
        """
        return None

    def misfit(self, sample: Sample, prepare: Callable[[Sample], Mapping[str, Any]]) -> str:
        """Say in a sentence what of a sample's label cannot be learned as it is; ``""``: all is well.

        It is asked of some training samples before a run trains, so that the user is told.

        Args:
            sample: The sample with its label.
            prepare: Gives the item that the preprocessor makes of it. This costs time: call it where it is needed.
        """
        return ""


def with_context(inputs: dict[str, Tensor], encoder: TargetEncoder, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Add to the inputs of a batch what the head must know of its samples."""
    context = encoder.context(samples)
    return inputs if context is None else {**inputs, CONTEXT: context}


class LabelMetrics(ABC):
    """Metrics of predictions against labels, such as the F1 of spans or the overlap of texts.

    Attributes:
        better: Those by which the best epoch may be chosen, as there is always a value, and whether more or less of it
            is better.
    """

    better: ClassVar[Mapping[str, Literal["max", "min"]]] = {}

    @abstractmethod
    def update(self, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """Take in predictions and the samples, with their labels, that they are of."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Metrics by name over everything that was taken in."""


class HeadModule(nn.Module, ABC):
    """A task head as built, bound to what it learns.

    Attributes:
        target: What it learns.
        monitor: The metric by which the best epoch is chosen, and whether more of it is better.
        decodes_in_place: Whether a prediction lies somewhere in its sample (a mask, boxes, a span of words), so that
            `decode` has to look at what the output was made of. Outputs are then not kept.
        views: As `TaskHead.views`: above 1, `forward` is given the views of all samples one after the other, and `loss`
            and `decode` what it made of them as ``[B, views, ...]``.
        texts: Turns tokens into texts, for heads on logits: `Preprocessor.texts` of the backbone. Set before `decode`
            is called.
    """

    target: TargetInfo
    texts: Callable[[Tensor], list[str]]
    monitor: ClassVar[tuple[str, Literal["max", "min"]]]
    decodes_in_place: ClassVar[bool] = False
    views: ClassVar[int] = 1

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Compute raw outputs (logits, standardised values), ``[B, K]``, or with more dimensions."""

    @abstractmethod
    def encoder(self) -> TargetEncoder:
        """Return what turns labels into targets for `loss`."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of each sample, ``[B]``; the loop takes the mean."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Metrics named as in scikit-learn (``accuracy``, ``f1_macro``); updated with ``(output, target)``."""

    def set_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Put a function that was fitted elsewhere in the place of what it has learned, in evaluation mode.

        Only where `TaskHead.is_linear`; the output is then ``pooled @ weight.T + bias``.

        Args:
            weight: ``[K, D]``.
            bias: ``[K]``.
        """
        raise NotImplementedError(f"{type(self).__name__} is no linear function of pooled features")

    def take_over(self, state: Mapping[str, Tensor], target: TargetInfo) -> list[str]:
        """Take over what a head of the same kind has learned in an earlier run.

        The default does so only where both learn the same.

        Args:
            state: State dict of the other head.
            target: What the other head has learned.

        Returns:
            Sentences on what begins anew; none where everything was taken over.

        Raises:
            WeightsError: It does not fit.
        """
        if target.classes != self.target.classes or target.task != self.target.task:
            raise WeightsError("The head of the earlier run has learned other classes.", field="head.take_over")
        try:
            self.load_state_dict(dict(state))
        except RuntimeError as error:
            raise WeightsError(
                "The head of the earlier run has another shape.",
                "Give the head the same options, or leave head.take_over off.",
                field="head.take_over",
            ) from error
        return []

    def measure_anew(self, train: Callable[[], Iterable[tuple[Features, Tensor]]]) -> None:
        """Measure again what the head keeps of the train split besides its weights, such as scores of its samples.

        Called in evaluation mode, without gradients, where the weights have become others without a training: by an
        average, or by pruning. The default keeps nothing.

        Args:
            train: Goes through features and targets of the train split.
        """

    def mean_output(self, members: Sequence[tuple[HeadModule, Tensor]]) -> Tensor:
        """Put into one output of this head what several models predict together: the mean of their probabilities.

        Of values, it is the mean of the values. The heads have learned the same task and the same classes.

        Args:
            members: The head of each, and its raw outputs ``[B, K]`` of the same samples.

        Raises:
            RunError: What it predicts has no mean.
        """
        raise RunError(f"There is no mean of what several models of {type(self).__name__} predict.")

    def undefined_metrics(self, labels: Sequence[Label]) -> Collection[str]:
        """Name metrics that cannot be measured on samples with these labels, so that no epoch is chosen by them.

        `metrics` leaves them out there: the order of scores, say, where all samples are of one class.
        """
        return ()

    def judged(self, label: Label) -> Label:
        """Return a label as `decode` would say it, where several names mean the same to the head."""
        return label

    def label_metrics(self) -> LabelMetrics | None:
        """Metrics that are computed from predictions instead of outputs, or `None` if there are none."""
        return None

    def generation(self) -> Generation | None:
        """How the backbone writes what is predicted, or `None` where the output tells.

        `decode` is then given the tokens that `BackboneModule.generate` returned; the output is only for the loss and
        the metrics, which take it as the backbone gives it: in its precision, and on its device.
        """
        return None

    @abstractmethod
    def decode(
        self, output: Tensor, inputs: Mapping[str, Tensor] = NO_INPUTS, samples: Sequence[Sample] = ()
    ) -> list[Prediction]:
        """Turn outputs into predictions, one a sample.

        Args:
            output: Raw outputs of B samples.
            inputs: The batch that they were computed from. Given to heads that decode in place.
            samples: The B samples, likewise.
        """


class TransferModel(nn.Module):
    """A backbone with a head.

    Attributes:
        backbone: A `BackboneModule`, or what a strategy has wrapped around one.
        head: The head.
    """

    def __init__(self, backbone: nn.Module, head: HeadModule, layer_groups: list[LayerGroup]) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        # Taken before any wrapping, so that a strategy finds the layers whatever PEFT has renamed.
        self._layer_groups = layer_groups

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Compute raw outputs for a batch."""
        views = self.head.views
        if views > 1:
            inputs = {name: tensor.flatten(0, 1) for name, tensor in inputs.items()}
        features: Features = self.backbone(inputs)
        features.context = inputs.get(CONTEXT)
        output: Tensor = self.head(features)
        return output if views == 1 else output.unflatten(0, (-1, views))

    def layer_groups(self) -> list[LayerGroup]:
        """Return the layer groups of the backbone, from input to output, without the head."""
        return self._layer_groups

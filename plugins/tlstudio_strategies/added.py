"""Strategies that put something small into a frozen backbone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tlstudio import api
from tlstudio.api import BackboneInfo, FineTuningStrategy, Options, Situation, TaskHead, option, options_as
from tlstudio_strategies.common import fine_tuning_options

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from tlstudio.api.nn import ParamGroup, TransferModel

__all__ = [
    "IA3",
    "OFT",
    "AddedStrategy",
    "LoKr",
    "LoKrOptions",
    "OFTOptions",
    "PeftStrategy",
    "within_two_hundredths",
    "without_tokens",
]

Target = Literal["auto", "attention", "all-linear"]


class AddedStrategy(FineTuningStrategy):
    """What these strategies have in common: all that learns is what `add` puts in, and the head.

    Attributes:
        chosen_width: Name of the option by which it is wider or narrower, and the most that it is where that option is
            0: then it is as wide as fits into 2 % of the backbone's parameters. Empty: there is no such option.
        stored_width: Name of an option, and how names of stored tensors end of which it is the first length. For
            options whose default has changed: so runs can be loaded that were trained with the former one.
    """

    adds = True
    chosen_width: tuple[str, int] = ("", 0)
    stored_width: tuple[str, str] = ("", "")

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend rates above those of full fine-tuning, as what is added starts at nothing."""
        return fine_tuning_options(situation, learning_rate=2e-3 if situation.modality == "image" else 1e-3)

    @abstractmethod
    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put what learns into a frozen backbone, in place.

        Raises:
            RunError: There is no place for it.
        """

    def width(self, backbone: nn.Module) -> int:
        """How wide what `add` has put in is; asked for where there is such an option."""
        raise NotImplementedError

    def settled(self, model: TransferModel, options: api.Options) -> api.Options:
        """Put the width that was chosen into the options; see `FineTuningStrategy`."""
        name, _ = self.chosen_width
        return options if getattr(options, name, 1) else options.model_copy(update={name: self.width(model.backbone)})

    def recorded(self, options: api.Options, shapes: Mapping[str, Sequence[int]]) -> api.Options:
        """Tell the width by what is stored, where the recipe does not; see `FineTuningStrategy`."""
        name, ending = self.stored_width
        stored = [shape[0] for tensor, shape in shapes.items() if name and tensor.endswith(ending)]
        if not stored or name in options.model_fields_set:
            return options
        return options.model_copy(update={name: stored[0]})

    def notes(self, model: TransferModel, options: api.Options, epochs: int) -> Sequence[str]:
        """Say how wide it is where little fits; see `FineTuningStrategy`."""
        name, most = self.chosen_width
        width = getattr(self.settled(model, options), name, 0)
        if getattr(options, name, 1) or width == most:
            return ()
        from tlstudio.api.nn import count_parameters

        learning, whole = count_parameters(model.backbone)
        what = f"The {name} of {self.title} is {width} in place of {most}, to be a small part of the backbone"
        return [f"{what}: {learning / whole:.1%}. Set strategy.{name} for another."]

    def prepare(self, model: TransferModel, options: api.Options) -> None:
        """Freeze the backbone and put something into it, in place; that and the head learn."""
        model.requires_grad_(False)
        self.add(model.backbone, options)
        model.head.requires_grad_(True)

    def param_groups(
        self, model: TransferModel, options: api.Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Return what was added and the head, at the same rate."""
        from tlstudio.api.nn import grouped_parameters

        added = [p for p in model.backbone.parameters() if p.requires_grad]
        return grouped_parameters(
            [("adapters", added, learning_rate), ("head", model.head.parameters(), learning_rate)],
            weight_decay=weight_decay,
        )


class PeftStrategy(AddedStrategy):
    """What PEFT puts in, folds in again, and reads from a file."""

    def merge(self, model: TransferModel) -> None:
        """Fold the adapters into the layers they stand beside; the state dict then has its first names again."""
        from tlstudio_strategies.adapters import merge_adapters

        merge_adapters(model.backbone)

    def save_adapter(self, model: TransferModel, folder: Path) -> bool:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``; see `FineTuningStrategy`."""
        from tlstudio_strategies.adapter_files import save_adapter

        return save_adapter(model.backbone, folder)


def target_option() -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare which layers are adapted."""
    return option(
        "auto",
        title="Adapted layers",
        help=(
            "Attention adapts the projections of attention layers; all-linear adapts every linear layer and "
            "convolution. Auto takes attention where there is any, else all-linear."
        ),
    )


def within_two_hundredths(network: nn.Module, each: int, besides: int, *, most: int) -> int:
    """Choose how wide what is put into a network may be, so that it has at most 2 % of its parameters.

    Args:
        network: The network, as yet without it.
        each: Parameters for a width of 1.
        besides: Parameters at any width.
        most: The largest width; the least is 1, also where that is more than 2 %.
    """
    from tlstudio.api.nn import count_parameters

    return max(1, min(most, (count_parameters(network)[1] // 50 - besides) // each))


def without_tokens(backbone: BackboneInfo, who: str) -> str | None:
    """Say that a backbone is no transformer: those give one vector a token or patch."""
    if backbone.modality != "table" and "tokens" not in backbone.provides:
        return f"{who} needs a transformer, and this backbone has no blocks of attention and feed-forward layers."
    return None


class IA3(PeftStrategy):
    """Learned scales inside attention and feed-forward parts (Liu et al. 2022, arXiv:2205.05638) through PEFT."""

    name = "ia3"
    title = "IA3"
    description = (
        "Leaves a transformer as it is and learns to scale its keys, values and inner activations: a few thousand "
        "numbers, for few samples or many tasks on one backbone. Folded into the weights in the end."
    )
    source = "Liu et al. 2022, arXiv:2205.05638; PEFT, IA3Config"

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse networks without attention; see `FineTuningStrategy`."""
        return without_tokens(backbone, "IA3")

    def recommended(self, situation: Situation) -> Mapping[str, Any]:
        """Recommend a high rate, as the paper does: a scale moves what it scales by little."""
        return fine_tuning_options(situation, learning_rate=3e-3)

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put scales of 1 in."""
        from tlstudio_strategies.adapters import add_ia3

        add_ia3(backbone)


class OFTOptions(Options):
    """Options of OFT."""

    block_size: int = option(
        32,
        title="Block size",
        help="So many inputs of a layer are rotated together: more can learn more, and stores more: with 32, 1 % of a "
        "usual transformer and 5 % of a small network of convolutions. The nearest divisor is taken.",
        ge=2,
        le=1024,
    )
    target: Target = target_option()


class OFT(PeftStrategy):
    """Orthogonal fine-tuning (Qiu et al. 2023, arXiv:2306.07280; Liu et al. 2024, arXiv:2311.06243) through PEFT."""

    name = "oft"
    title = "Orthogonal fine-tuning (OFT)"
    description = (
        "Leaves the backbone as it is and learns to rotate what goes into its layers, which keeps lengths and angles "
        "among their weights: for changes of style that must not lose what the backbone knows."
    )
    source = "Qiu et al. 2023, arXiv:2306.07280; Liu et al. 2024, arXiv:2311.06243; PEFT, OFTConfig"
    Options = OFTOptions

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put rotations by nothing in."""
        from tlstudio_strategies.adapters import add_oft

        chosen = options_as(OFTOptions, options)
        add_oft(backbone, block_size=chosen.block_size, target=chosen.target)


class LoKrOptions(Options):
    """Options of LoKr."""

    rank: int = option(8, title="Rank", help="Rank of the larger factor: more can learn more.", ge=1, le=1024)
    alpha: int = option(8, title="Alpha", help="What is learned is scaled by alpha / rank.", ge=1, le=65_536)
    factor: int = option(
        8,
        title="Size of the smaller factor",
        help="The smaller factor is about so wide. A larger one means fewer numbers; -1 makes both as alike as can be.",
        ge=-1,
        le=1024,
        advanced=True,
    )
    target: Target = target_option()


class LoKr(PeftStrategy):
    """Low-rank Kronecker products (Yeh et al. 2023, LyCORIS, arXiv:2309.14859) through PEFT."""

    name = "lokr"
    title = "LoKr"
    description = (
        "Like LoRA, but what is added to a layer is a product of two small matrices block by block: of high rank with "
        "still fewer numbers. Of LyCORIS."
    )
    source = "Yeh et al. 2023, arXiv:2309.14859; PEFT, LoKrConfig"
    Options = LoKrOptions

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put products of zero in."""
        from tlstudio_strategies.adapters import add_lokr

        chosen = options_as(LoKrOptions, options)
        add_lokr(backbone, rank=chosen.rank, alpha=chosen.alpha, factor=chosen.factor, target=chosen.target)

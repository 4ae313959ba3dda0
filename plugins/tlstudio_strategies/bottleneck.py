"""Bottleneck adapters: small networks after the parts of each block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tlstudio import api
from tlstudio.api import BackboneInfo, Options, TaskHead, option, options_as
from tlstudio_strategies.added import AddedStrategy, without_tokens

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BottleneckAdapters", "BottleneckAdaptersOptions"]


class BottleneckAdaptersOptions(Options):
    """Options of bottleneck adapters."""

    placement: Literal["houlsby", "pfeiffer"] = option(
        "houlsby",
        title="Where",
        help="Houlsby: behind attention and behind the feed-forward part of each block, and normalisation layers learn "
        "too. Pfeiffer: behind the feed-forward part alone, half as much.",
    )
    width: int = option(
        0,
        title="Width",
        help="Width of the bottleneck: more can learn more, and needs more memory. 0 chooses it: 64, or so much less "
        "that all of them have at most 2 % of the backbone's parameters.",
        ge=0,
        le=4096,
    )


class BottleneckAdapters(AddedStrategy):
    """Adapters (Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2021, arXiv:2005.00247).

    The last layer of each starts at zero, so that all begin as the identity.
    """

    name = "adapters"
    title = "Bottleneck adapters"
    description = (
        "Leaves a transformer as it is and puts a small network, narrow in its middle, behind the parts of each block. "
        "Close to full fine-tuning with few numbers; unlike LoRA it cannot be folded in and stays part of the model. "
        "As Houlsby or Pfeiffer have placed it."
    )
    source = "Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2021, arXiv:2005.00247"
    Options = BottleneckAdaptersOptions
    merges = False
    chosen_width = ("width", 64)
    stored_width = ("width", ".adapter.down.weight")

    def why_not(self, backbone: BackboneInfo, head: TaskHead) -> str | None:
        """Refuse networks without blocks; see `FineTuningStrategy`."""
        return without_tokens(backbone, "This strategy")

    def add(self, backbone: nn.Module, options: api.Options) -> None:
        """Put adapters in that do nothing yet."""
        from tlstudio_strategies.bottleneck_module import add_bottlenecks

        chosen = options_as(BottleneckAdaptersOptions, options)
        both, most = chosen.placement == "houlsby", self.chosen_width[1]
        add_bottlenecks(backbone, width=chosen.width, both=both, most=most)

    def width(self, backbone: nn.Module) -> int:
        """Tell the width of the bottlenecks; see `AddedStrategy`."""
        from tlstudio_strategies.bottleneck_module import Bottleneck

        return next(one.down.out_features for one in backbone.modules() if isinstance(one, Bottleneck))

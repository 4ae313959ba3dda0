"""Networks for time series. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch itself uses

from tlstudio.api import Features, TLStudioError, WeightsError
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio.api.weights import fit_state_dict
from tlstudio_tables.blocks import TransformerLayer, rows_by_name
from tlstudio_tables.options import PatchOptions, SeriesOptions
from tlstudio_tables.series_facts import SeriesFacts

__all__ = ["ConvolutionNetwork", "PatchNetwork", "SeriesNetwork"]


class SeriesNetwork(BackboneModule):
    """A network that begins with a linear map of each channel, C of them; their sum goes on.

    Args:
        facts: Channels and length.
        width: Width D of the features.
        taps: Values that the map takes at once, P of them.
    """

    def __init__(self, facts: SeriesFacts, width: int, taps: int) -> None:
        super().__init__()
        self.num_features = width
        self.facts = facts
        self.channels = _Channels(len(facts.channels), taps, width)

    def take_over(self, state: Mapping[str, Tensor], assets: Path) -> list[str]:
        """Take over what was learned on other series: channels by name, all else as it is.

        Where one channel stood alone there and stands alone here, it goes on under whatever name.

        Raises:
            WeightsError: It is another kind of network, or of another size or length.
        """
        weight = state.get("channels.weight")
        if weight is None or weight.shape[1:] != self.channels.weight.shape[1:]:
            raise WeightsError(
                "The network of the earlier run is of another kind or size.",
                "Choose the backbone and the options that it was trained with.",
                field="backbone.start_from",
            )
        source = SeriesFacts.read(assets)
        own, others = ([each.name for each in facts.channels] for facts in (self.facts, source))
        if len(own) == len(others) == 1:
            others = own
        self.channels.weight.data.zero_()  # a new channel adds nothing at first
        pairs = [(place, others.index(name)) for place, name in enumerate(own) if name in others]
        rows_by_name(self.channels.weight, weight, pairs)
        rest = {name: value for name, value in state.items() if name != "channels.weight"}
        if source.length != self.facts.length:
            raise WeightsError(
                f"The earlier run looks at {source.length} values, this data has windows of {self.facts.length}.",
                f"Import it with windows of {source.length}.",
                field="backbone.start_from",
            )
        fit_state_dict(self, {**rest, "channels.weight": self.channels.weight.data}, path=assets.parent)
        sentences = []
        if fresh := [name for name in own if name not in others]:
            sentences.append(f"New channels begin anew: {', '.join(fresh)}.")
        if left := [name for name in others if name not in own]:
            sentences.append(f"Channels that are not in this data were left behind: {', '.join(left)}.")
        return sentences


class _Channels(nn.Module):
    def __init__(self, channels: int, taps: int, width: int) -> None:
        super().__init__()
        bound = (channels * taps) ** -0.5
        self.weight = nn.Parameter(torch.empty(channels, taps, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, pieces: Tensor) -> Tensor:
        """Compute ``[B, T, D]`` of ``[B, C, T, P]``."""
        return torch.einsum("bctp,cpd->btd", pieces, self.weight) + self.bias


class PatchNetwork(SeriesNetwork):
    """PatchTST: attention between pieces of the series (Nie et al. 2023, arXiv:2211.14730).

    Unlike there, the channels of one time become one token, so that they can tell of each other.

    Args:
        facts: Channels and length L.
        options: How it is built.
    """

    def __init__(self, facts: SeriesFacts, options: PatchOptions) -> None:
        super().__init__(facts, options.width, options.patch)
        self.patch, self.stride = options.patch, options.stride
        if facts.length < self.patch:
            raise TLStudioError(
                f"The windows have {facts.length} values, fewer than one patch of {self.patch}.",
                "Choose smaller patches, or import longer windows.",
                field="backbone.patch",
            )
        # The end is what counts most: it is repeated so that a last patch lies there.
        count = (facts.length + self.stride - self.patch) // self.stride + 1
        self.position = _Positions(count, options.width)
        self.layers = nn.ModuleList(
            TransformerLayer(options.width, options.heads, options.dropout) for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(options.width)
        self.summary = nn.Linear(count * options.width, options.width)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``series`` ``[B, C, L]``; the tokens are its patches."""
        series = F.pad(inputs["series"], (0, self.stride), mode="replicate")
        x = self.position(self.channels(series.unfold(2, self.patch, self.stride)))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        # Tokens are what matters where they are asked for; the summary then still learns to be of use.
        return Features(pooled=self.summary(x.flatten(1)), tokens=x)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the patches, each layer, and with the last what sums it up."""
        last = len(self.layers)
        return [
            LayerGroup("patches", (self.channels, self.position)),
            *(
                LayerGroup(f"layer {number}", (layer, self.norm, self.summary) if number == last else (layer,))
                for number, layer in enumerate(self.layers, start=1)
            ),
        ]


class _Positions(nn.Module):
    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width).uniform_(-0.02, 0.02))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class ConvolutionNetwork(SeriesNetwork):
    """A residual network of convolutions over time (Wang et al. 2017, arXiv:1611.06455).

    Args:
        facts: Channels and length.
        options: How it is built.
    """

    _TAPS = 7

    def __init__(self, facts: SeriesFacts, options: SeriesOptions) -> None:
        super().__init__(facts, options.width, self._TAPS)
        self.layers = nn.ModuleList(_Block(options.width, options.dropout) for _ in range(options.layers))
        self.norm = nn.LayerNorm(options.width)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``series`` ``[B, C, L]``; the tokens are its times."""
        series = F.pad(inputs["series"], (self._TAPS // 2, self._TAPS // 2), mode="replicate")
        x = self.channels(series.unfold(2, self._TAPS, 1))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return Features(pooled=x.mean(dim=1), tokens=x)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the channels and each block."""
        last = len(self.layers)
        return [
            LayerGroup("channels", (self.channels,)),
            *(
                LayerGroup(f"block {number}", (layer, self.norm) if number == last else (layer,))
                for number, layer in enumerate(self.layers, start=1)
            ),
        ]


class _Block(nn.Module):
    """Three convolutions, as 2-d ones of height 1: those can be adapted by all strategies."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(
                layer
                for taps in (7, 5, 3)
                for layer in (
                    nn.Conv2d(width, width, (1, taps), padding=(0, taps // 2), bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                )
            )
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``[B, T, D]`` of ``[B, T, D]``."""
        output = self.convolutions(x.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
        mixed: Tensor = x + self.dropout(output)
        return mixed

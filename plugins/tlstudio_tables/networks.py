"""Networks for rows of tables. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tlstudio.api import Features, WeightsError
from tlstudio.api.nn import BackboneModule, LayerGroup
from tlstudio.api.weights import fit_state_dict
from tlstudio_tables.blocks import FeedForward, TransformerLayer
from tlstudio_tables.facts import TableFacts
from tlstudio_tables.options import TableOptions, TransformerOptions
from tlstudio_tables.preprocessor import FIRST
from tlstudio_tables.tokenizer import ColumnTokens

__all__ = ["ResidualNetwork", "TableNetwork", "TransformerNetwork"]


class TableNetwork(BackboneModule):
    """A network that begins with one vector a column.

    Args:
        facts: The columns.
        options: How it is built.
    """

    def __init__(self, facts: TableFacts, options: TableOptions) -> None:
        super().__init__()
        self.num_features = options.width
        self.restored = (1,) * len(facts.numbers) + tuple(FIRST + len(each.words) for each in facts.words)
        self.columns = ColumnTokens(facts, options.width, options.scaling)
        self.norm = nn.LayerNorm(options.width)

    def take_over(self, state: Mapping[str, Tensor], assets: Path) -> list[str]:
        """Take over what was learned on another table: its columns by name, all else as it is.

        Raises:
            WeightsError: It is another kind of network, or of another size.
        """
        if "columns.weight" not in state or state["columns.weight"].shape[1:] != self.columns.weight.shape[1:]:
            raise WeightsError(
                "The network of the earlier run is of another kind or width.",
                "Choose the backbone and the width that it was trained with.",
                field="backbone.start_from",
            )
        sentences = self.columns.take_over(state, "columns.", TableFacts.read(assets))
        rest = {name: value for name, value in state.items() if not name.startswith("columns.")}
        own = {name: value for name, value in self.state_dict().items() if name.startswith("columns.")}
        fit_state_dict(self, {**own, **rest}, path=assets.parent)
        return sentences


class TransformerNetwork(TableNetwork):
    """FT-Transformer: attention between the columns of a row, and a token that gathers what they say.

    Args:
        facts: The columns.
        options: How it is built.
    """

    def __init__(self, facts: TableFacts, options: TransformerOptions) -> None:
        super().__init__(facts, options)
        self.gather = _Gather(options.width)
        self.layers = nn.ModuleList(
            TransformerLayer(options.width, options.heads, options.dropout) for _ in range(options.layers)
        )

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``numbers`` and ``words``; the tokens are the columns, numbers first."""
        x = self.gather(self.columns(inputs))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return Features(pooled=x[:, 0], tokens=x[:, 1:])

    def layer_groups(self) -> list[LayerGroup]:
        """Return the columns and each layer."""
        last = len(self.layers)
        return [
            LayerGroup("columns", (self.columns, self.gather)),
            *(
                LayerGroup(f"layer {number}", (layer, self.norm) if number == last else (layer,))
                for number, layer in enumerate(self.layers, start=1)
            ),
        ]


class _Gather(nn.Module):
    """Puts one token before all others, the same for each sample at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter((2 * torch.rand(width) - 1) * width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``[B, T + 1, D]`` of ``[B, T, D]``."""
        return torch.cat([self.token.expand(len(tokens), 1, -1), tokens], dim=1)


class ResidualNetwork(TableNetwork):
    """An MLP with ways around its layers on the sum of the columns' vectors.

    That sum is a linear layer on the numbers and the one-hot coded categories of a row, kept column by column.

    Args:
        facts: The columns.
        options: How it is built.
    """

    def __init__(self, facts: TableFacts, options: TableOptions) -> None:
        super().__init__(facts, options)
        self.layers = nn.ModuleList(_Residual(options.width, options.dropout) for _ in range(options.layers))

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Compute features of ``numbers`` and ``words``."""
        x = self.columns(inputs).sum(dim=1)
        for layer in self.layers:
            x = layer(x)
        return Features(pooled=self.norm(x))

    def layer_groups(self) -> list[LayerGroup]:
        """Return the columns and each layer."""
        last = len(self.layers)
        return [
            LayerGroup("columns", (self.columns,)),
            *(
                LayerGroup(f"layer {number}", (layer, self.norm) if number == last else (layer,))
                for number, layer in enumerate(self.layers, start=1)
            ),
        ]


class _Residual(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.feed_forward(self.norm(x))
        return output

"""From the columns of a row to one vector each, and how these are carried over by name. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tlstudio_tables.blocks import rows_by_name
from tlstudio_tables.facts import TableFacts
from tlstudio_tables.options import Scaling
from tlstudio_tables.preprocessor import FIRST, MISSING, UNKNOWN

__all__ = ["ColumnTokens", "Scale"]

_RANKS = 1e-3
_FARTHEST = 10.0


class Scale(nn.Module):
    """Brings numbers to a common scale, as the training rows have it.

    The figures belong to the state dict: weights that are carried over to another table keep the scale that they
    were learned with.

    Args:
        facts: The columns, N of numbers.
        scaling: By rank, to a normal distribution (as scikit-learn's QuantileTransformer), or by mean and deviation.
    """

    mean: Tensor
    std: Tensor
    quantiles: Tensor

    def __init__(self, facts: TableFacts, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling
        numbers = facts.numbers
        self.register_buffer("mean", torch.tensor([each.mean for each in numbers]))
        self.register_buffer("std", torch.tensor([each.std for each in numbers]))
        quantiles = torch.tensor([each.quantiles for each in numbers]) if numbers else torch.zeros(0, 2)
        self.register_buffer("quantiles", quantiles)

    def forward(self, numbers: Tensor) -> Tensor:
        """Scale ``[B, N]``; what is missing must be filled."""
        if not numbers.shape[1]:
            return numbers
        if self.scaling == "standard":
            return ((numbers - self.mean) / self.std).clamp(-_FARTHEST, _FARTHEST)
        values, table = numbers.T.contiguous(), self.quantiles.contiguous()
        # Where many rows share a value its rank is the middle of theirs.
        rank = (self._rank(values, table, right=True) + self._rank(values, table, right=False)).T / 2
        return math.sqrt(2) * torch.erfinv(2 * rank.clamp(_RANKS, 1 - _RANKS) - 1)

    def _rank(self, values: Tensor, table: Tensor, *, right: bool) -> Tensor:
        """Ranks in 0..1 of ``[N, B]`` among the quantiles ``[N, Q]``, straight between two of them."""
        last = table.shape[1] - 1
        place = torch.searchsorted(table, values, right=right)
        upper = place.clamp(1, last)
        below, above = table.gather(1, upper - 1), table.gather(1, upper)
        share = ((values - below) / (above - below).clamp(min=torch.finfo(values.dtype).tiny)).clamp(0, 1)
        return (upper - 1 + share) / last


class ColumnTokens(nn.Module):
    """One vector for each column of a row (the feature tokenizer of Gorishniy et al. 2021, arXiv:2106.11959).

    A number multiplies the vector of its column, a category picks one; a bias of the column is added to both. What
    is missing has a vector of its own, and a category that was not among the training rows adds nothing.

    Args:
        facts: The columns: N of numbers, K of categories.
        width: Width D of the vectors.
        scaling: How numbers are scaled.
    """

    offsets: Tensor

    def __init__(self, facts: TableFacts, width: int, scaling: Scaling) -> None:
        super().__init__()
        self.facts = facts
        numbers, words = len(facts.numbers), len(facts.words)
        self.scale = Scale(facts, scaling)
        self.weight = nn.Parameter(_uniform(numbers, width))
        self.missing = nn.Parameter(torch.zeros(numbers, width))
        self.bias = nn.Parameter(_uniform(numbers + words, width))
        sizes = [FIRST + len(column.words) for column in facts.words]
        starts = torch.tensor([sum(sizes[:place]) for place in range(words)], dtype=torch.int64)
        self.register_buffer("offsets", starts, persistent=False)
        self.embedding = nn.Embedding(max(1, sum(sizes)), width)
        with torch.no_grad():
            self.embedding.weight.copy_(_uniform(max(1, sum(sizes)), width))
            self.embedding.weight[starts + UNKNOWN] = 0.0
            self.embedding.weight[starts + MISSING] = 0.0

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return ``[B, N + K, D]`` of ``numbers`` ``[B, N]`` and ``words`` ``[B, K]``."""
        numbers = inputs["numbers"]
        nothing = numbers.isnan()
        scaled = self.scale(torch.where(nothing, self.scale.mean, numbers)).unsqueeze(2)
        first = torch.where(nothing.unsqueeze(2), self.missing, scaled * self.weight)
        second = self.embedding(inputs["words"] + self.offsets)
        return torch.cat([first, second], dim=1) + self.bias

    def take_over(self, state: Mapping[str, Tensor], prefix: str, source: TableFacts) -> list[str]:
        """Take over the columns that another table has as well, by name, and of categories the values by name.

        What is new adds nothing at first, so that it does not disturb what was learned without it.

        Args:
            state: State dict of the network that was trained on the other table.
            prefix: Name of its column tokens there, with a dot.
            source: The columns of that table.

        Returns:
            Sentences on columns that begin anew and on those that were left behind.
        """
        own, others = self.facts, source
        for parameter in self.parameters():
            parameter.data.zero_()
        places = {each.name: place for place, each in enumerate(others.numbers)}
        numbers = [(place, places[each.name]) for place, each in enumerate(own.numbers) if each.name in places]
        for name in ("weight", "missing", "scale.mean", "scale.std", "scale.quantiles"):
            rows_by_name(self.get_parameter_or_buffer(name), state[prefix + name], numbers)
        known = {each.name: place for place, each in enumerate(others.words)}
        columns = [(place, known[each.name]) for place, each in enumerate(own.words) if each.name in known]
        bias = numbers + [(len(own.numbers) + mine, len(others.numbers) + theirs) for mine, theirs in columns]
        rows_by_name(self.bias, state[prefix + "bias"], bias)
        starts = [0]
        for each in others.words:
            starts.append(starts[-1] + FIRST + len(each.words))
        values: list[tuple[int, int]] = []
        new_values = 0
        for mine, theirs in columns:
            start, other = int(self.offsets[mine]), starts[theirs]
            index = {word: place for place, word in enumerate(others.words[theirs].words, start=FIRST)}
            values += [(start + UNKNOWN, other + UNKNOWN), (start + MISSING, other + MISSING)]
            for place, word in enumerate(own.words[mine].words, start=FIRST):
                if word in index:
                    values.append((start + place, other + index[word]))
                else:
                    new_values += 1
        rows_by_name(self.embedding.weight, state[prefix + "embedding.weight"], values)
        return _told(own, others, numbers, columns, new_values)

    def get_parameter_or_buffer(self, name: str) -> Tensor:
        """Return what the state dict has under a name."""
        module, _, last = name.rpartition(".")
        found = getattr(self.get_submodule(module), last)
        if not isinstance(found, Tensor):
            raise TypeError(f"{name} is no tensor")
        return found


def _told(
    own: TableFacts,
    others: TableFacts,
    numbers: list[tuple[int, int]],
    words: list[tuple[int, int]],
    new_values: int,
) -> list[str]:
    taken = {own.numbers[mine].column for mine, _ in numbers} | {own.words[mine].name for mine, _ in words}
    sentences = [f"{len(taken)} of {len(own.columns)} columns go on with what was learned of them."]
    fresh = [name for name in own.columns if name not in taken]
    left = [name for name in others.columns if name not in taken]
    if fresh:
        sentences.append(f"New columns begin anew: {', '.join(fresh)}.")
    if left:
        sentences.append(f"Columns that are not in this data were left behind: {', '.join(left)}.")
    if new_values:
        sentences.append(f"{new_values:,} values of categories are new and begin anew.")
    return sentences


def _uniform(rows: int, width: int) -> Tensor:
    return (2 * torch.rand(rows, width) - 1) / math.sqrt(width)

"""Putting prompts and prefixes into models of texts, through hooks. Imports torch and transformers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from tlstudio.api import RunError

__all__ = ["add_prefix", "add_prompts"]

_NAME = "soft_prompt"


class Prompt(nn.Module):
    """Learned tokens, which begin as tokens that are drawn from the vocabulary (Lester et al., section 3.2).

    Args:
        count: How many.
        table: The embedding of the vocabulary.
    """

    def __init__(self, count: int, table: Tensor) -> None:
        super().__init__()
        drawn = torch.randint(len(table), (count,)).to(table.device)
        self.tokens = nn.Parameter(table.detach()[drawn].clone())

    def forward(self, batch: int) -> Tensor:
        """Give them for each sample of a batch, ``[B, P, D]``."""
        return self.tokens.expand(batch, -1, -1)


class Prefix(nn.Module):
    """Learned keys and values of every layer (Li and Liang, section 4.3).

    Args:
        count: How many for each layer.
        shapes: Heads and width of a head, for keys and for values of each layer.
        hidden: Width of the network that they come from; 0: they are learned themselves.
    """

    def __init__(self, count: int, shapes: list[tuple[int, int, int]], hidden: int) -> None:
        super().__init__()
        self._shapes = shapes
        self._count = count
        total = sum(heads * (keys + values) for heads, keys, values in shapes)
        self.rows = nn.Parameter(torch.randn(count, hidden or total) * (1.0 if hidden else 0.02))
        self.network = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, total)) if hidden else None

    def forward(self, cache: Any, batch: int) -> None:  # noqa: ANN401  any cache of transformers
        """Put them into an empty cache."""
        rows = self.rows if self.network is None else self.network(self.rows)
        widths = [heads * width for heads, *both in self._shapes for width in both]
        columns = iter(rows.split(widths, dim=1))
        for layer, (heads, *_) in enumerate(self._shapes):
            keys, values = (
                next(columns).view(self._count, heads, -1).transpose(0, 1).expand(batch, -1, -1, -1) for _ in range(2)
            )
            _of_text(cache).update(keys, values, layer)


def add_prompts(backbone: nn.Module, count: int) -> None:
    """Let what reads the texts of a backbone read learned tokens first, in place; see `Reading`.

    Raises:
        RunError: It is no transformer that takes embedded tokens.
    """
    reader = _reader(backbone, "inputs_embeds")
    table: Any = reader.get_input_embeddings()
    reader.add_module(_NAME, Prompt(count, table.weight))
    reading = Reading(reader, count)
    reader.register_forward_pre_hook(reading.with_prompts, with_kwargs=True)
    reader.register_forward_hook(reading.without_prompts, with_kwargs=True)


def add_prefix(backbone: nn.Module, count: int, hidden: int) -> None:
    """Let every layer of a transformer see learned keys and values first, in place; see `Reading`.

    Of an encoder with a decoder, the decoder sees them while it writes.

    Raises:
        RunError: Its layers take none.
    """
    reader = _reader(backbone, "past_key_values")
    reader.add_module(_NAME, Prefix(count, _cache_shapes(reader), hidden))
    reader.register_forward_pre_hook(Reading(reader, count).with_prefix, with_kwargs=True)


class Reading:
    """The hooks. The mask makes room for what is put before the text; what comes out is that of the text.

    The text keeps its positions, of which a model may have only so many: what is put before it shares the first.
    While a text is written, the prompts or the prefix are put in with its beginning, and are then in the cache.

    Args:
        reader: The model.
        count: How much is put before the text.
    """

    def __init__(self, reader: nn.Module, count: int) -> None:
        self._count = count
        self._names = tuple(inspect.signature(reader.forward).parameters)
        config: Any = reader.config
        self._most = getattr(config, "max_position_embeddings", None)
        self._padding = getattr(getattr(reader, "embeddings", None), "padding_idx", None)

    def with_prompts(self, reader: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """Put the prompts before the embedded tokens."""
        given, seen = self._given(args, kwargs)
        ids = given["input_ids"]
        if not seen:
            model: Any = reader
            embedded = model.get_input_embeddings()(ids)
            prompt: Tensor = reader.get_submodule(_NAME)(len(ids)).to(embedded.dtype)
            given["inputs_embeds"] = torch.cat([prompt, embedded], dim=1)
            del given["input_ids"]
            if given.get("token_type_ids") is not None:
                given["token_type_ids"] = self._before(given["token_type_ids"], 0)
        return (), given

    def without_prompts(self, _reader: nn.Module, _args: Any, kwargs: dict[str, Any], output: Any) -> Any:  # noqa: ANN401
        """Leave out what has become of the prompts."""
        if kwargs.get("inputs_embeds") is not None:
            output.last_hidden_state = output.last_hidden_state[:, self._count :]
            if output.get("hidden_states"):
                output.hidden_states = tuple(each[:, self._count :] for each in output.hidden_states)
        return output

    def with_prefix(self, reader: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """Put the prefix into the cache, which is made for it where there is none."""
        given, seen = self._given(args, kwargs, placed=False)
        if not seen:
            cache = given.get("past_key_values")
            filled = _empty_cache(reader) if cache is None else cache
            reader.get_submodule(_NAME)(filled, len(given["input_ids"]))
            given["past_key_values"] = _for_one_pass(filled) if cache is None else cache
        return (), given

    def _given(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, placed: bool = True
    ) -> tuple[dict[str, Any], int]:
        """Name all arguments, make room in mask and positions, and say how much of the text is in the cache."""
        given = dict(zip(self._names, args, strict=False)) | dict(kwargs)
        cache = given.get("past_key_values")
        seen = 0 if cache is None else int(cache.get_seq_length())
        ids, mask, places = given["input_ids"], given.get("attention_mask"), given.get("position_ids")
        behind = max(0, seen - self._count)  # tokens of the text that are in the cache
        if mask is None:
            mask = torch.ones(ids.shape[0], behind + ids.shape[1], device=ids.device).long()
        given["attention_mask"] = self._before(mask, 1)
        if "position_ids" in self._names:
            places = self._own_places(ids, behind) if places is None else places
            first = places[:, :1].expand(-1, self._count)
            given["position_ids"] = torch.cat([first, places], dim=1) if placed and not seen else places
        else:
            self._check(seen + ids.shape[1] + (0 if seen else self._count))
        return given, seen

    def _own_places(self, ids: Tensor, behind: int) -> Tensor:
        """Positions of the tokens of a text as if nothing stood before it."""
        if isinstance(self._padding, int):  # RoBERTa and its kin count from there, and leave out padding
            real = (ids != self._padding).long()
            return real.cumsum(dim=1) * real + self._padding
        return (torch.arange(ids.shape[1], device=ids.device) + behind).expand(len(ids), -1)

    def _before(self, tensor: Tensor, value: int) -> Tensor:
        return torch.cat([tensor.new_full((len(tensor), self._count), value), tensor], dim=1)

    def _check(self, length: int) -> None:
        if isinstance(self._most, int) and self._most > 0 and length > self._most:
            raise RunError(
                f"A text with {self._count} prompts before it is {length} tokens long; this model takes {self._most}.",
                "Choose a smaller backbone.max_length, or fewer prompts.",
                field="strategy.prompts",
            )


def _reader(backbone: nn.Module, needs: str) -> PreTrainedModel:
    """The part of a model of texts that takes what is learned.

    That is the model without its output layer; of an encoder with a decoder, prompts are for the encoder, and keys and
    values are for the decoder.
    """
    model = getattr(backbone, "model", None)
    keys = needs == "past_key_values"
    if isinstance(model, PreTrainedModel):
        config: Any = model.config
        paired = bool(getattr(config, "is_encoder_decoder", False))
        half: Any = model.get_decoder if keys else model.get_encoder
        reader: Any = half() if paired else model.base_model
        takes = inspect.signature(reader.forward).parameters
        if {"input_ids", "attention_mask", needs} <= set(takes):
            found: PreTrainedModel = reader
            return found
        if keys:
            raise _takes_no_prefix()
    raise RunError(
        "This backbone is no transformer that could read something before each text.",
        "Choose a transformer, or another strategy, such as LoRA.",
        field="strategy",
    )


def _takes_no_prefix() -> RunError:
    return RunError(
        "The attention layers of this backbone take no keys and values from outside, so that it can have no prefix.",
        "Choose prompt tuning or LoRA, or another backbone: an "
        "encoder such as BERT, RoBERTa or MiniLM, a language model such as GPT-2, or T5 or BART where they write.",
        field="strategy",
    )


def _empty_cache(reader: nn.Module) -> Any:  # noqa: ANN401  any cache of transformers
    """A cache for a text alone, or for one that is written beside another that is read."""
    config: Any = reader.config
    paired = bool(getattr(config, "is_encoder_decoder", False))
    return EncoderDecoderCache(DynamicCache(), DynamicCache()) if paired else DynamicCache()


def _for_one_pass(cache: Any) -> Any:  # noqa: ANN401  as above
    """The same, for a pass after which nobody asks for what was kept."""
    if not isinstance(cache, EncoderDecoderCache):
        return _Unmoved(cache)
    both = EncoderDecoderCache(_Unmoved(cache.self_attention_cache), _Unmoved(cache.cross_attention_cache))
    both.is_updated = _Nothing()
    return both


class _Unmoved(DynamicCache):
    """A cache that what is read passes by: where a layer is gone through again in the backward pass, it is the same.

    Args:
        filled: What it holds.
    """

    def __init__(self, filled: DynamicCache) -> None:
        super().__init__()
        self.layers = filled.layers

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *_args: Any,  # noqa: ANN401  as DynamicCache
        **_kwargs: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Tensor]:
        """Give what is held with these behind, and keep nothing of them."""
        if layer_idx >= len(self.layers):  # of the text that is read beside
            return key_states, value_states
        held: Any = self.layers[layer_idx]
        return torch.cat([held.keys, key_states], dim=-2), torch.cat([held.values, value_states], dim=-2)


class _Nothing(dict[int, bool]):
    """Says of no layer that what is read beside is kept for it."""

    def __setitem__(self, layer: int, kept: bool) -> None:
        """Forget it."""


def _of_text(cache: Any) -> Any:  # noqa: ANN401  as above
    """The part of a cache that is of the text itself."""
    return cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache


def _cache_shapes(reader: PreTrainedModel) -> list[tuple[int, int, int]]:
    """Heads, width of a key and of a value in each layer, as the model itself fills a cache."""
    embedding: Any = reader.get_input_embeddings()
    ids = torch.zeros(1, 1, dtype=torch.long, device=embedding.weight.device)
    training, cache = reader.training, _empty_cache(reader)
    reader.train(False)
    with torch.no_grad():
        reader(input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache)
    reader.train(training)
    layers = [(layer.keys, layer.values) for layer in _of_text(cache).layers]
    if not layers:  # encoders of which only the decoder half has use for a cache take one, and leave it empty
        raise _takes_no_prefix()
    return [(keys.shape[1], keys.shape[3], values.shape[3]) for keys, values in layers]

"""From a text to the tokens that a text backbone takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlstudio.api import Augmentation, DataError, Preprocessor, Sample
from tlstudio_text.augment import vary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedConfig, PreTrainedTokenizerBase

CHARACTERS_PER_TOKEN = 64
"""More than any text in a natural language has on average: what lies beyond would be cut off anyway."""
UNLIMITED = 1_000_000
USUAL_LENGTH = 512


class TextPreprocessor(Preprocessor):
    """Turns texts into tokens; batches are padded to their longest text.

    Args:
        tokenizer: The tokenizer of the backbone.
        max_length: Texts are cut after this many tokens.
        augmentation: How strongly texts that come with a seed are varied.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, augmentation: Augmentation = "none"
    ) -> None:
        self.tokenizer = tokenizer
        self.augmentation = augmentation
        self.max_length = max_length
        pad = tokenizer.pad_token_id
        # Models that were made to write have no padding token; what stands under the mask does not matter.
        self._pad = int(pad if pad is not None else tokenizer.eos_token_id or 0)
        # The first call fixes the truncation inside the tokenizer; later ones from several threads only read it.
        self._tokens("")

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return lists of integers, ``{"input_ids": [...], "attention_mask": [...], ...}``.

        Where the tokenizer can tell, ``offsets`` are the first character of each token in the sample's text and the
        one behind its last; ``(0, 0)`` for marks and for the tokens of a second text.
        """
        if sample.text is None:
            raise DataError(
                f"{sample.source or sample.id} has no text.",
                "Text backbones need text samples: choose an image backbone for images.",
            )
        text, pair = sample.text, sample.pair
        if seed is not None and self.augmentation != "none":
            text = vary(text, self.augmentation, seed)
            pair = pair if pair is None else vary(pair, self.augmentation, seed + 1)
        return self._tokens(text, pair)

    def _encoded(self, text: str, pair: str | None = None) -> BatchEncoding:
        most = self.max_length * CHARACTERS_PER_TOKEN
        encoded: BatchEncoding = self.tokenizer(
            text[:most],
            pair if pair is None else pair[:most],
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=True,
            return_offsets_mapping=self.tokenizer.is_fast,
        )
        return encoded

    def _tokens(self, text: str, pair: str | None = None) -> dict[str, Any]:
        encoded = self._encoded(text, pair)
        values: dict[str, Any] = {str(key): list(value) for key, value in encoded.items()}
        if self.tokenizer.is_fast:
            places: Any = zip(values.pop("offset_mapping"), encoded.sequence_ids(), strict=True)
            offsets: list[tuple[int, int]] = [(place[0], place[1]) if part == 0 else (0, 0) for place, part in places]
            values["offsets"] = offsets
        if not values["input_ids"]:  # an empty text, and a tokenizer that adds no marks of its own
            for key, value in values.items():
                value.append((0, 0) if key == "offsets" else {"input_ids": self._pad, "attention_mask": 1}.get(key, 0))
        return values

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return int64 tensors ``[B, T]``, padded on the right to the longest of the batch; offsets ``[B, T, 2]``."""
        import torch

        longest = max(len(item["input_ids"]) for item in items)
        batch = {}
        for key in items[0]:
            shape = (len(items), longest, 2) if key == "offsets" else (len(items), longest)
            rows = torch.full(shape, self._pad if key == "input_ids" else 0, dtype=torch.int64)
            for row, item in zip(rows, items, strict=True):
                row[: len(item[key])] = torch.tensor(item[key], dtype=torch.int64)
            batch[key] = rows
        return batch

    def length(self, sample: Sample) -> int:
        """Estimate the number of tokens: about one in four bytes of UTF-8, in any script."""
        text = f"{sample.text or ''}{sample.pair or ''}"[: self.max_length * 8]
        return min(self.max_length, 2 + len(text.encode("utf-8", "replace")) // 4)

    @property
    def limit(self) -> str:
        """How much of a text is taken."""
        return f"{self.max_length:,} tokens"

    def is_cut(self, sample: Sample) -> bool:
        """Whether a text, or the one that belongs to it, is cut."""
        texts = [text for text in (sample.text, sample.pair) if text is not None]
        if any(len(text) > self.max_length * CHARACTERS_PER_TOKEN for text in texts):
            return True
        encoded = self._encoded(*texts) if texts else None
        # Slow tokenizers do not tell what they cut off; a text that fills all there is has most likely been cut.
        if encoded is None or encoded.encodings is None:
            return encoded is not None and len(encoded["input_ids"]) >= self.max_length
        return any(part.overflowing for part in encoded.encodings)

    def describe(self) -> dict[str, Any]:
        """Give tokenizer, cut and padding; the tokenizer's files lie beside the model."""
        return {
            "input": "input_ids, attention_mask",
            "tokenizer": type(self.tokenizer).__name__,
            "max_length": self.max_length,
            "max_characters": self.max_length * CHARACTERS_PER_TOKEN,
            "truncation": "right",
            "padding": "right, to the longest of the batch",
            "pad_token_id": self._pad,
        }


def longest_input(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int:
    """Number of tokens that a model can take."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < UNLIMITED else []
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin count positions from the padding token on, so that they lose as many.
        pad = config.pad_token_id if isinstance(config.pad_token_id, int) else 0
        limits.append(positions - (pad + 1) if 0 < pad < 4 else positions)
    return max(1, min(limits)) if limits else USUAL_LENGTH

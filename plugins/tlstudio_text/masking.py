"""From a text to tokens of which some are hidden, for masked language modelling."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlstudio.api import TARGETS, Sample, WeightsError
from tlstudio.api.model_folders import FIELD
from tlstudio_text.preprocessor import TextPreprocessor

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["PLACES", "MaskingPreprocessor"]

PLACES = "masked_places"
"""Input: where the hidden tokens of a text are, ``[M]``; 0 behind the last."""

HIDDEN_SHARE = 0.15
"""Share of the tokens that are to be found."""
MASKED, REPLACED = 0.8, 0.1
"""Shares of these that are masked, and that another token stands for; the rest is left as it is."""

_NOTHING = -100


class MaskingPreprocessor(TextPreprocessor):
    """Hides tokens as BERT does (Devlin et al. 2019, arXiv:1810.04805, section 3.1), anew for each seed.

    Of the tokens that are no marks, 15 % are to be found, and at least one; of these, 80 % are masked, 10 % are another
    token, and 10 % are left as they are.

    Args:
        tokenizer: The tokenizer of the backbone.
        max_length: Texts are cut after this many tokens.

    Raises:
        WeightsError: The tokenizer has no mask.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        super().__init__(tokenizer, max_length)
        if tokenizer.mask_token_id is None:
            raise WeightsError(
                "The tokenizer of the model has no mask ([MASK]), so that no token can be hidden.",
                "Choose a model that was trained by masked language modelling, such as BERT or RoBERTa.",
                field=FIELD,
            )
        self._mask = int(tokenizer.mask_token_id)
        self._special = frozenset(tokenizer.all_special_ids)
        self._others = np.array(sorted(set(tokenizer.get_vocab().values()) - self._special))

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return tokens, some of them hidden, with their places and what stood there.

        Args:
            sample: The sample.
            seed: What is hidden derives from it; without one, as in validation, from the id of the sample.
        """
        item = super().__call__(sample)
        item.pop("offsets", None)
        if seed is None:
            seed = int.from_bytes(hashlib.blake2b(sample.id.encode("utf-8", "replace"), digest_size=8).digest())
        rng = np.random.default_rng(seed)
        tokens = item["input_ids"]
        real = [place for place, token in enumerate(tokens) if token not in self._special]
        count = min(len(real), max(1, round(HIDDEN_SHARE * len(real))))
        places = sorted(rng.choice(real, count, replace=False).tolist()) if real else []
        item[PLACES], item[TARGETS] = places, [tokens[place] for place in places]
        for place, chance in zip(places, rng.random(count).tolist(), strict=True):
            if chance < MASKED:
                tokens[place] = self._mask
            elif chance < MASKED + REPLACED:
                tokens[place] = int(rng.choice(self._others))
        return item

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return int64 tensors ``[B, T]``; places and what stood there ``[B, M]``, padded with 0 and -100."""
        import torch

        hidden = {PLACES: 0, TARGETS: _NOTHING}
        batch = super().collate([{key: item[key] for key in item if key not in hidden} for item in items])
        most = max(1, *(len(item[PLACES]) for item in items))
        for key, padding in hidden.items():
            rows = [[*item[key], *[padding] * (most - len(item[key]))] for item in items]
            batch[key] = torch.tensor(rows, dtype=torch.int64)
        return batch

    def describe(self) -> dict[str, Any]:
        """Give what is hidden, beside tokenizer, cut and padding."""
        shares = {"hidden": HIDDEN_SHARE, "masked": MASKED, "replaced": REPLACED}
        return {**super().describe(), "masking": {**shares, "mask_token_id": self._mask}}

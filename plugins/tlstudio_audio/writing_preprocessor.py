"""From a recording, and what is said in it, to what a model that writes takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlstudio.api import TARGETS, Augmentation, Sample
from tlstudio_audio.preprocessor import SoundPreprocessor

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import PreTrainedConfig
    from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

    from tlstudio_audio.writing_folder import Marks

IGNORED = -100


class SpeechPreprocessor(SoundPreprocessor):
    """Prepares recordings as its base does, and with them the tokens of what is said.

    Args:
        extractor: The feature extractor of the model.
        config: The configuration of the model.
        tokenizer: The tokenizer of the model.
        marks: Tokens that mean something to it.
        max_seconds: See the base.
        augmentation: See the base.
    """

    def __init__(
        self,
        extractor: SequenceFeatureExtractor,
        config: PreTrainedConfig,
        tokenizer: Tokenizer,
        marks: Marks,
        *,
        max_seconds: float,
        augmentation: Augmentation,
    ) -> None:
        super().__init__(extractor, config, max_seconds=max_seconds, augmentation=augmentation)
        self._tokenizer = tokenizer
        self._marks = marks
        positions: Any = config
        self._room = max(1, int(positions.max_target_positions) - len(marks.first))

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return what the base gives, ``decoder_input_ids`` and `TARGETS`."""
        item = super().__call__(sample, seed)
        given, targets = list(self._marks.first), [IGNORED] * len(self._marks.first)
        if isinstance(sample.label, str):
            answer = self._answer(sample.label)
            given, targets = given + answer[:-1], targets[:-1] + answer
        return {**item, "decoder_input_ids": given, TARGETS: targets}

    def _answer(self, text: str) -> list[int]:
        """The tokens of a transcript, which Whisper begins with a space, and the mark of its end unless it is cut."""
        ids = self._tokenizer.encode(f" {text.strip()}", add_special_tokens=False).ids
        return [*ids, self._marks.end][: self._room]

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return what the base gives, and tokens ``[B, L]`` int64, padded on the right."""
        import torch

        batch = super().collate(items)
        for name, padding in (("decoder_input_ids", self._marks.end), (TARGETS, IGNORED)):
            longest = max(len(item[name]) for item in items)
            batch[name] = torch.tensor([item[name] + [padding] * (longest - len(item[name])) for item in items])
        return batch

    def texts(self, tokens: Tensor) -> list[str]:
        """Read what was written."""
        read = self._tokenizer.decode_batch(tokens.tolist(), skip_special_tokens=True)
        return [text.strip() for text in read]

    def describe(self) -> dict[str, Any]:
        """Give also what a transcript begins with."""
        described = super().describe()
        return {
            **described,
            "input": f"{described['input']}, decoder_input_ids",
            "decoder_start": list(self._marks.first),
            "end_token_id": self._marks.end,
        }

"""From a text, and what is to be written of it, to the tokens that a language model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlstudio.api import TARGETS, DataError, Sample
from tlstudio_text.preprocessor import CHARACTERS_PER_TOKEN, TextPreprocessor

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from tlstudio_text.options import WritingOptions

__all__ = ["WritingPreprocessor"]

IGNORED = -100
USUAL_PROMPT = 1024
SEPARATORS = {"newline": "\n", "blank line": "\n\n", "space": " ", "none": ""}


class WritingPreprocessor(TextPreprocessor):
    """Puts a prompt before a language model, and behind it, where there is a label, what is to be written.

    Args:
        tokenizer: The tokenizer of the backbone.
        options: How prompts are made.
        longest: Tokens that the model takes in all, or that its encoder takes; `None`: any number.
        end: The token that ends a text.
        first: The token that a decoder beside an encoder begins with; `None`: there is no encoder.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        options: WritingOptions,
        *,
        longest: int | None,
        end: int,
        first: int | None,
    ) -> None:
        max_answer, max_prompt = options.max_answer, options.max_length or longest or USUAL_PROMPT
        if longest is not None:
            # The answer has its room, also where none is given: a prompt is then cut as it was in training.
            max_answer = min(max_answer, max(1, longest // 2))
            max_prompt = min(max_prompt, longest - (max_answer if first is None else 0))
        super().__init__(tokenizer, max_prompt)
        self.max_answer = max_answer
        self.prompt = options.prompt
        self.chat = options.style == "chat"
        self.separator = SEPARATORS[options.separator] if first is None and not self.chat else ""
        self._end, self._first = end, first
        self._room = max(1, max_prompt - len(self._ids("", "")))

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Return lists of integers: ``input_ids``, ``attention_mask``, `TARGETS`, and what the network asks for."""
        if sample.text is None:
            raise DataError(
                f"{sample.source or sample.id} has no text.",
                "Language models need text samples: choose another backbone.",
            )
        prompt = self._ids(self._fitting(sample.text), sample.pair or "")[-self.max_length :] or [self._end]
        answer = self._answer(sample.label)
        if self._first is not None:
            targets = answer if answer is not None else [IGNORED]
            given = [self._first, *(answer or [])]
            return {
                "input_ids": prompt,
                "attention_mask": [1] * len(prompt),
                "decoder_input_ids": given[: len(targets)],
                TARGETS: targets,
            }
        ids = [*prompt, *(answer or [])]
        targets = [IGNORED] * (len(prompt) - 1) + (answer or [])
        ids = ids[: max(len(prompt), len(ids) - 1)]  # nothing comes behind the last
        return {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            TARGETS: targets + [IGNORED] * (len(ids) - len(targets)),
            "prompt_length": len(prompt),
        }

    def _fitting(self, text: str) -> str:
        """Cut a text, and not what stands around it, to the room that there is."""
        room = self._room
        text = text[: room * CHARACTERS_PER_TOKEN]
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) <= room:
            return text
        # What is read back of a part may be other letters than those that made it; as a prompt it serves as well.
        return str(self.tokenizer.decode(ids[:room], skip_special_tokens=True))

    def _ids(self, text: str, pair: str) -> list[int]:
        """The tokens of a prompt."""
        full = self.prompt.replace("{pair}", pair).replace("{text}", text)
        if self.chat:
            turns = [{"role": "user", "content": full}]
            full = str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        # A space goes with the word behind it, as tokenizers have it.
        full = f"{full}{self.separator}".rstrip(" ") if self._first is None else full
        ids = [int(token) for token in self.tokenizer(full, add_special_tokens=not self.chat)["input_ids"]]
        if self._first is None and ids and ids[-1] == self._end:
            ids.pop()
        return ids

    def _answer(self, label: object) -> list[int] | None:
        """The tokens of what is to be written, with the mark of its end unless it is cut."""
        if not isinstance(label, str):
            return None
        space = " " if self.separator == " " else ""
        text = f"{space}{label}"[: self.max_answer * CHARACTERS_PER_TOKEN]
        ids = [int(t) for t in self.tokenizer(text, add_special_tokens=self._first is not None)["input_ids"]]
        if not ids or ids[-1] != self._end:
            ids.append(self._end)
        return ids[: self.max_answer]

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return int64 tensors, lists padded on the right to the longest of the batch: ``[B, T]``."""
        import torch

        batch = {}
        for key, value in items[0].items():
            if isinstance(value, int):
                batch[key] = torch.tensor([item[key] for item in items])
                continue
            padding = {"attention_mask": 0, TARGETS: IGNORED}.get(key, self._pad)
            longest = max(len(item[key]) for item in items)
            batch[key] = torch.tensor([item[key] + [padding] * (longest - len(item[key])) for item in items])
        return batch

    def texts(self, tokens: Tensor) -> list[str]:
        """Read what was written."""
        read = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [str(text).strip() for text in read]

    def length(self, sample: Sample) -> int:
        """Estimate the number of tokens: about one in four bytes of UTF-8, in any script."""
        label = sample.label if isinstance(sample.label, str) else ""
        text = f"{sample.text or ''}{sample.pair or ''}"[: self.max_length * 8] + label[: self.max_answer * 8]
        return min(self.max_length + self.max_answer, 2 + len(text.encode("utf-8", "replace")) // 4)

    @property
    def limit(self) -> str:
        """How much of a prompt, and of its answer, is taken."""
        return f"{self.max_length:,} tokens (of an answer, {self.max_answer:,})"

    def is_cut(self, sample: Sample) -> bool:
        """Whether a text, or what is to be written of it, is cut."""
        label = sample.label if isinstance(sample.label, str) else ""
        parts = ((sample.text or "", self._room), (label, self.max_answer - 1))  # the answer has a mark at its end
        return any(
            len(text) > most * CHARACTERS_PER_TOKEN
            or len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) > most
            for text, most in parts
        )

    def describe(self) -> dict[str, Any]:
        """Give tokenizer, prompt and cut; the tokenizer's files lie beside the model."""
        return {
            "input": "input_ids, attention_mask",
            "tokenizer": type(self.tokenizer).__name__,
            "prompt": self.prompt,
            "chat": self.chat,
            "separator": self.separator,
            "max_prompt": self.max_length,
            "max_answer": self.max_answer,
            "end_token_id": self._end,
            "pad_token_id": self._pad,
        }

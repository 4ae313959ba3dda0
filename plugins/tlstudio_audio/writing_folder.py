"""Whisper from a folder in Hugging Face's layout: encoder and decoder, tokenizer, and what it must not write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import WeightsError, model_folders
from tlstudio.api.files import read_text
from tlstudio.api.model_folders import FIELD, first_line, quiet, read_json
from tlstudio_audio.folder import WHISPER, cannot_be, without_chance

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

GENERATION_FILE = "generation_config.json"
TOKENIZER_FILE = "tokenizer.json"
_KEPT = ("is_multilingual", "suppress_tokens", "begin_suppress_tokens")
_ENGLISH_ONLY = 51_864
"""Tokens of the models that know English alone; the others have marks for languages, too."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Tokens that mean something to Whisper.

    Attributes:
        first: Those that a transcript begins with.
        end: The one that ends it.
        never: Those that it must not write: noise words and signs that are not said.
        not_first: Those that it must not begin with.
    """

    first: tuple[int, ...]
    end: int
    never: tuple[int, ...]
    not_first: tuple[int, ...]


def read_speech_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of a model that writes down what is said.

    Raises:
        WeightsError: See `model_folders.read_config`; or it does not write.
    """
    return without_chance(model_folders.read_config(folder, {WHISPER}, _no_writer))


def _no_writer(folder: Path, kind: str) -> WeightsError:
    return WeightsError(
        f"The model in {folder} ({kind[:60]}) hears but does not write.",
        "Choose a Whisper model; for wav2vec 2.0, HuBERT and the like there is the backbone auto_audio with the head "
        "ctc.",
        path=folder,
        field=FIELD,
    )


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a model.

    Raises:
        WeightsError: It is missing or damaged.
    """
    from tokenizers import Tokenizer

    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise WeightsError(
            f"{folder} has no {TOKENIZER_FILE}.",
            "Save the tokenizer into the same folder: tokenizer.save_pretrained(FOLDER).",
            path=folder,
            field=FIELD,
        )
    try:
        tokenizer = Tokenizer.from_str(read_text(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
    except Exception as error:  # the Rust side raises bare Exception for a damaged file
        raise WeightsError(
            f"The tokenizer in {folder} cannot be used: {first_line(error)}", "Copy it again.", path=path, field=FIELD
        ) from error
    return tokenizer


def read_marks(folder: Path, tokenizer: Tokenizer, config: Any, language: str) -> Marks:  # noqa: ANN401  a WhisperConfig
    """Find the tokens that mean something to a model.

    Raises:
        WeightsError: The tokenizer lacks one, or has more than the model knows.
    """
    said = read_json(folder / GENERATION_FILE) if (folder / GENERATION_FILE).is_file() else {}
    several = said.get("is_multilingual")
    several = several if isinstance(several, bool) else config.vocab_size > _ENGLISH_ONLY
    names = ["<|startoftranscript|>", *([f"<|{language}|>", "<|transcribe|>"] if several else []), "<|notimestamps|>"]
    if several and tokenizer.token_to_id(names[1]) is None:
        raise WeightsError(
            f"The model in {folder} knows no language {language!r}.",
            "Give its code, such as en, de, fr, es, ru, zh, ja.",
            path=folder,
            field="backbone.language",
        )
    tokens = [tokenizer.token_to_id(name) for name in (*names, "<|endoftext|>")]
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if None in tokens or size > config.vocab_size:
        missing = [name for name, token in zip((*names, "<|endoftext|>"), tokens, strict=True) if token is None]
        why = f"it has no {missing[0]}" if missing else f"it has {size} tokens, the model {config.vocab_size}"
        raise WeightsError(
            f"The tokenizer in {folder} does not belong to the model beside it: {why}.",
            "Save the model's own tokenizer into the folder.",
            path=folder,
            field=FIELD,
        )
    never, not_first = (_listed(said, name, config.vocab_size) for name in ("suppress_tokens", "begin_suppress_tokens"))
    found = [token for token in tokens if token is not None]
    return Marks(tuple(found[:-1]), found[-1], never, not_first)


def _listed(said: Mapping[str, Any], name: str, size: int) -> tuple[int, ...]:
    values = said.get(name)
    listed = values if isinstance(values, list) else []
    return tuple(value for value in listed if type(value) is int and 0 <= value < size)


def save_speech_assets(folder: Path, target: Path) -> None:
    """Write tokenizer and marks beside what the encoder needs."""
    read_tokenizer(folder).save(str(target / TOKENIZER_FILE))
    if (folder / GENERATION_FILE).is_file():
        said = read_json(folder / GENERATION_FILE)
        kept = {name: said[name] for name in _KEPT if name in said}
        (target / GENERATION_FILE).write_text(json.dumps(kept), encoding="utf-8")


def new_speech_model(config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    """Build a model with random weights, in 32-bit precision.

    Raises:
        WeightsError: Its sizes do not fit together.
    """
    import torch
    from transformers import AutoModelForSpeechSeq2Seq

    kind: Any = AutoModelForSpeechSeq2Seq
    try:
        with quiet():
            model: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise cannot_be(folder, first_line(error).rstrip(".")) from error
    return model


def filled_speech_model(config: PreTrainedConfig, state: Mapping[str, Tensor], source: Path) -> PreTrainedModel:
    """Build a model and load its weights.

    Raises:
        WeightsError: They do not fit.
    """
    from transformers import WhisperForConditionalGeneration

    return model_folders.filled_model(WhisperForConditionalGeneration, config, state, source)

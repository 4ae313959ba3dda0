"""Language models from a folder in Hugging Face's layout: decoders, and pairs of encoder and decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import WeightsError, model_folders
from tlstudio.api.model_folders import FIELD, quiet
from tlstudio_text.architectures import WRITERS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["end_tokens", "filled_writer", "new_writer", "read_writer_config", "reads", "writes"]


def read_writer_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of a language model.

    Raises:
        WeightsError: See `model_folders.read_config`; or it is not a model that writes, or names a token that it lacks.
    """
    config = model_folders.read_config(folder, WRITERS, _no_writer)
    _writer_class(config, folder)
    for name in ("decoder_start_token_id", "pad_token_id", "eos_token_id"):
        given, least = getattr(config, name, None), -1 if name == "pad_token_id" else 0  # -1 stands for none
        for token in given if isinstance(given, list) else [given]:
            if isinstance(token, int) and not least <= token < config.vocab_size:
                raise WeightsError(
                    f"{folder / 'config.json'} names token {token} as {name}, and the model has the tokens 0 to "
                    f"{config.vocab_size - 1}.",
                    "Correct it, or copy the folder again.",
                    path=folder,
                    field=FIELD,
                )
    return config


def writes(config: Mapping[str, Any]) -> bool:
    """Whether the ``config.json`` of a folder is of a language model that was saved with its output layer."""
    listed = config.get("architectures")
    kinds = [str(kind) for kind in listed] if isinstance(listed, list) else []
    return config.get("model_type") in WRITERS and any(
        kind.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")) for kind in kinds
    )


def reads(folder: Path) -> bool:
    """Whether a folder is of such a model, by its ``config.json`` alone."""
    try:
        return writes(model_folders.raw_config(folder, WRITERS, _no_writer))
    except WeightsError:
        return False


def _no_writer(folder: Path, kind: str) -> WeightsError:
    return WeightsError(
        f"The model in {folder} ({kind[:60]}) does not write texts.",
        "Choose a language model such as GPT-2, Llama, Qwen or SmolLM, or an encoder-decoder such as T5 or BART; for "
        "an encoder such as BERT there is the backbone auto_model.",
        path=folder,
        field=FIELD,
    )


def _writer_class(config: PreTrainedConfig, folder: Path) -> type[PreTrainedModel]:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    )

    mapping: Any = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING if config.is_encoder_decoder else MODEL_FOR_CAUSAL_LM_MAPPING
    found = mapping.get(type(config), None)
    if found is None:
        raise _no_writer(folder, config.model_type)
    model: type[PreTrainedModel] = found
    return model


def new_writer(config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    """Build a language model with random weights, in 32-bit precision."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    _writer_class(config, folder)
    with quiet():
        model: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
    return model


def filled_writer(config: PreTrainedConfig, folder: Path, state: Mapping[str, Tensor], source: Path) -> PreTrainedModel:
    """Build a language model and load its weights.

    Args:
        config: Its configuration.
        folder: Where the configuration came from.
        state: The weights.
        source: Where they came from, for the message.

    Raises:
        WeightsError: Keys are missing, of another shape, or belong to more layers than the model has.
    """
    return model_folders.filled_model(_writer_class(config, folder), config, state, source)


def end_tokens(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[int]:
    """The tokens that end a text; the first is the one that is learned.

    Raises:
        WeightsError: There is none.
    """
    of_config = getattr(config, "eos_token_id", None)
    listed = of_config if isinstance(of_config, list) else [of_config]
    ends = [end for end in (tokenizer.eos_token_id, *listed) if isinstance(end, int)]
    if not ends:
        raise WeightsError(
            f"The tokenizer in {folder} has no mark for the end of a text (eos_token).",
            "Set it: tokenizer.eos_token = '...', then tokenizer.save_pretrained(FOLDER).",
            path=folder,
            field=FIELD,
        )
    return list(dict.fromkeys(ends))

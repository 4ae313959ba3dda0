"""Reading a model folder in Hugging Face's layout without running code from it and without a network."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import WeightsError, model_folders
from tlstudio.api.model_folders import FIELD, first_line, quiet
from tlstudio_text.architectures import SUPPORTED, WRITERS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


def raw_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a model of texts.

    Raises:
        WeightsError: See `model_folders.raw_config`.
    """
    return model_folders.raw_config(folder, SUPPORTED | WRITERS, _no_encoder)


def _no_encoder(folder: Path, kind: str) -> WeightsError:
    return WeightsError(
        f"The model in {folder} ({kind[:60]}) is not an encoder of texts that can be used here.",
        "Choose one such as BERT, RoBERTa, DistilBERT, DeBERTa, ModernBERT or MPNet.",
        path=folder,
        field=FIELD,
    )


def read_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of a model whose architecture is part of transformers.

    Raises:
        WeightsError: See `model_folders.read_config`; or it is not a model for texts.
    """
    config = model_folders.read_config(folder, SUPPORTED | WRITERS, _no_encoder)
    model_class(config, folder)
    return config


def model_class(config: PreTrainedConfig, folder: Path) -> type[PreTrainedModel]:
    """Find the class that computes token features for a configuration: an encoder, or the encoder half.

    Raises:
        WeightsError: It is not a model for texts.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

    # The first knows the encoder half of models such as T5.
    entry: Any = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
    if entry is None and not config.is_encoder_decoder:
        entry = MODEL_MAPPING.get(type(config), None)
    found = entry[0] if isinstance(entry, tuple) else entry  # a few kinds have two sizes of one network
    if found is None or found.main_input_name != "input_ids":
        raise _no_encoder(folder, config.model_type)
    model: type[PreTrainedModel] = found
    return model


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a model folder.

    Raises:
        WeightsError: It is missing or damaged, or cannot split every text.
    """
    from transformers import AutoTokenizer

    raw_config(folder)
    if not has_tokenizer(folder):
        raise WeightsError(
            f"{folder} has no tokenizer (tokenizer.json or a vocabulary).",
            "Save the tokenizer into the same folder: tokenizer.save_pretrained(FOLDER).",
            path=folder,
            field=FIELD,
        )
    try:
        with quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            if not tokenizer.vocab_size:
                raise ValueError("its vocabulary is empty.")
            if not isinstance(tokenizer.model_max_length, int | float):
                raise TypeError(f"its model_max_length is {tokenizer.model_max_length!r}, which is no number.")
            tokenizer("𓀀")  # rare; a vocabulary without a token for what it does not know fails here, not in the run
    except Exception as error:  # the Rust side raises bare Exception for a damaged file
        raise WeightsError(
            f"The tokenizer in {folder} cannot be used: {first_line(error)}",
            "Copy the folder again, or save the tokenizer into it anew: tokenizer.save_pretrained(FOLDER).",
            path=folder,
            field=FIELD,
        ) from error
    return tokenizer


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, folder: Path) -> None:
    """Compare a tokenizer with the model that it feeds.

    Raises:
        WeightsError: The model has no embedding for some of its tokens.
    """
    rows = getattr(config, "vocab_size", None)
    if not isinstance(rows, int):
        return  # a few kinds of model have no vocabulary
    token, number = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if number >= rows:
        raise WeightsError(
            f"The tokenizer in {folder} does not belong to the model beside it: token {number} ({token!r}) has no "
            f"embedding, there are {rows}.",
            "Save the model's own tokenizer into the folder: tokenizer.save_pretrained(FOLDER).",
            path=folder,
            field=FIELD,
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files of a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def new_model(config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    """Build a model with random weights, in 32-bit precision."""
    import torch
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    kind: Any = AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
    with quiet():
        model: PreTrainedModel = kind.from_config(
            config, dtype=torch.float32, **_arguments(model_class(config, folder))
        )
    return model


def filled_model(config: PreTrainedConfig, folder: Path, state: Mapping[str, Tensor], source: Path) -> PreTrainedModel:
    """Build a model and load weights into it, whatever head they had.

    Args:
        config: Its configuration.
        folder: Where the configuration came from.
        state: The weights.
        source: Where they came from, for the message.

    Raises:
        WeightsError: Keys are missing, of another shape, or belong to more layers than the model has.
    """
    kind = model_class(config, folder)
    return model_folders.filled_model(kind, config, state, source, **_arguments(kind))


def finds_hidden(config: PreTrainedConfig) -> bool:
    """Whether transformers has a model for masked language modelling of a configuration."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    mapping: Any = MODEL_FOR_MASKED_LM_MAPPING
    return type(config) in mapping


def masked_scores(
    config: PreTrainedConfig, folder: Path, encoder: PreTrainedModel, state: Mapping[str, Tensor], source: Path
) -> PreTrainedModel:
    """Build what scores hidden tokens: the model for masked language modelling without its encoder.

    It takes what the encoder gives as ``inputs_embeds``. Where the weights were saved without that part, it is new; the
    weights that it shares with the embeddings are those of the encoder all the same.

    Args:
        config: Configuration of the model.
        folder: Where the configuration came from.
        encoder: The encoder.
        state: The weights of the whole model; empty where they are loaded later, or there are none.
        source: Where they came from.

    Raises:
        WeightsError: transformers has no such part for this kind of model.
    """
    import torch
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    from tlstudio_text.network import Given

    mapping: Any = MODEL_FOR_MASKED_LM_MAPPING
    kind = mapping.get(type(config), None)
    if kind is None:
        raise WeightsError(
            f"The model in {folder} ({config.model_type}) was not made to find hidden words.",
            "Choose one such as BERT, RoBERTa, DistilBERT, DeBERTa, ModernBERT or MPNet.",
            path=folder,
            field=FIELD,
        )
    whole: Any = None
    if state:
        with contextlib.suppress(WeightsError):  # they are those of an encoder alone
            whole = model_folders.filled_model(kind, config, state, source)
    if whole is None:
        with quiet():
            whole = kind._from_config(config, dtype=torch.float32)
    output, shared = whole.get_output_embeddings(), encoder.get_input_embeddings()
    inside = next(name for name, part in whole.named_children() if isinstance(part, type(encoder)))
    setattr(whole, inside, Given())
    if config.tie_word_embeddings and output is not None:
        output.weight = shared.weight
    scores: PreTrainedModel = whole
    return scores


def _arguments(kind: type[PreTrainedModel]) -> dict[str, Any]:
    """A pooling layer that nothing uses would be counted, stored and offered to the strategies as if it learned."""
    import inspect

    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}

"""Reading a model folder in Hugging Face's layout without running code from it and without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import WeightsError
from tlstudio.api.files import read_text
from tlstudio.api.weights import FOLDER_NAMES, read_state_dict, weight_file
from tlstudio_text.architectures import SUPPORTED, too_large

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

FIELD = "backbone.weights"
ATTENTION = ("_attn_implementation", "attn_implementation")
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and load reports to itself: what matters is said by our own errors."""
    import logging

    from transformers.utils import logging as theirs

    switches: Any = theirs  # its functions have no types
    bars, level = switches.is_progress_bar_enabled(), switches.get_verbosity()
    switches.disable_progress_bar()
    switches.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        switches.set_verbosity(level)
        if bars:
            switches.enable_progress_bar()


def raw_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a model folder.

    Raises:
        WeightsError: There is no such folder or file, it is damaged, the model brings code of its own, or its
            architecture is none that is known here.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise WeightsError(f"There is no folder at {folder}.", "Choose a model folder.", path=folder, field=FIELD)
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        raise WeightsError(
            f"{folder} holds an adapter, not a whole model." if adapter else f"{folder} has no config.json.",
            "Merge it into its model and save that."
            if adapter
            else "Choose a folder that save_pretrained has written.",
            path=folder,
            field=FIELD,
        )
    config = _json(path)
    tokenizer = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    if "auto_map" in config or "auto_map" in tokenizer:
        raise WeightsError(
            f"The model in {folder} brings Python code of its own (auto_map); it was not run and not loaded.",
            "Choose a model whose architecture is part of transformers.",
            path=folder,
            field=FIELD,
        )
    if any("/" in str(config.get(key, "")) for key in ATTENTION):
        # transformers takes such a value for the name of a hub repository and loads compiled code from it.
        raise WeightsError(
            f"The model in {folder} asks for an attention kernel from a hub; it was not fetched and not loaded.",
            f"Remove {' and '.join(ATTENTION)} from its config.json.",
            path=folder,
            field=FIELD,
        )
    if not isinstance(config.get("model_type"), str):
        raise WeightsError(
            f"{path} does not say which architecture it is (model_type).",
            "Choose a folder that save_pretrained has written.",
            path=path,
            field=FIELD,
        )
    if config["model_type"] not in SUPPORTED:
        raise _no_encoder(folder, config["model_type"])
    if size := too_large(config):
        raise WeightsError(
            f"{path} describes a model that cannot be: {size}.", "Copy the folder again.", path=path, field=FIELD
        )
    return config


def _no_encoder(folder: Path, kind: str) -> WeightsError:
    return WeightsError(
        f"The model in {folder} ({kind[:60]}) is not an encoder of texts that can be used here.",
        "Choose one such as BERT, RoBERTa, DistilBERT, DeBERTa, ModernBERT or MPNet.",
        path=folder,
        field=FIELD,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: {error}.", "Copy it again.", path=path, field=FIELD) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} is damaged: not an object.", "Copy it again.", path=path, field=FIELD)
    return content


def read_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of a model whose architecture is part of transformers.

    Raises:
        WeightsError: See `raw_config`; or the architecture is unknown or not one for texts.
    """
    from transformers import AutoConfig

    kind = raw_config(folder)["model_type"]
    try:
        with quiet():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # each kind of model checks its configuration with errors of its own
        raise WeightsError(
            f"transformers cannot make sense of {folder / 'config.json'} (model_type {kind}): {_first_line(error)}",
            "Choose a model whose architecture is part of the installed transformers.",
            path=folder,
            field=FIELD,
        ) from error
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
            f"The tokenizer in {folder} cannot be used: {_first_line(error)}",
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


def weight_files(path: Path) -> list[Path]:
    """Find the weight file, or the parts of it, that a path means.

    Raises:
        WeightsError: There are none, or a part is missing.
    """
    for name in FOLDER_NAMES:
        index = path / f"{name}.index.json"
        if (path / name).is_file() or not index.is_file():
            continue
        parts = _json(index).get("weight_map")
        names = sorted({str(part) for part in parts.values()}) if isinstance(parts, dict) else []
        files = [path / Path(part).name for part in names]  # .name: a part never lies outside the folder
        missing = [file.name for file in files if not file.is_file()]
        if missing or not files:
            raise WeightsError(
                f"Parts of the weights are missing in {path}: {', '.join(missing[:3]) or 'the index is empty'}.",
                "Copy the folder again.",
                path=path,
                field=FIELD,
            )
        return files
    return [weight_file(path)]


def read_weights(files: list[Path], *, sha256: str = "") -> dict[str, Tensor]:
    """Read and join weight files; a hash can be given where there is one file."""
    state: dict[str, Tensor] = {}
    for file in files:
        state.update(read_state_dict(file, sha256=sha256))
    return state


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
    import torch

    kind: Any = model_class(config, folder)
    try:
        with quiet():
            model, report = kind.from_pretrained(
                None,
                config=config,
                state_dict=dict(state),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below, together with the rest
                **_arguments(kind),
            )
    except Exception as error:  # also of packages that the configuration asks for and that are not there
        raise WeightsError(
            f"The weights in {source.name} do not fit this backbone: {_first_line(error)}",
            "Choose the weights that were made for it.",
            path=source,
            field=FIELD,
        ) from error
    # Left over keys outside of the network's own parts belong to the head of the original task.
    parts = {name for name, _ in model.named_children()} | {kind.base_model_prefix}
    complaints = [
        _complaint(report["missing_keys"], f"of {len(model.state_dict())} keys are missing"),
        _complaint({str(item[0]) for item in report["mismatched_keys"]}, "have another shape"),
        _complaint({key for key in report["unexpected_keys"] if _of_network(key, parts)}, "are unknown"),
    ]
    if any(complaints):
        raise WeightsError(
            f"The weights in {source.name} do not fit this backbone: {'; '.join(c for c in complaints if c)}.",
            "Choose the weights that were made for it, with their own config.json.",
            path=source,
            field=FIELD,
        )
    result: PreTrainedModel = model
    return result


def _of_network(key: str, parts: set[str]) -> bool:
    names = key.split(".")
    if names[0] in parts and len(names) > 1 and names[1] in parts:
        names = names[1:]  # "bert.encoder..." of a model that was saved with a head
    return names[0] in parts and "pooler" not in names


def _complaint(keys: set[str], what: str) -> str:
    names = sorted(keys)
    return f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""


def _arguments(kind: type[PreTrainedModel]) -> dict[str, Any]:
    """A pooling layer that nothing uses would be counted, stored and offered to the strategies as if it learned."""
    import inspect

    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

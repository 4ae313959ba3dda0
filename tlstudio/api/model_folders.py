"""Model folders in Hugging Face's layout, read without running code from them and without a network.

A ``config.json`` names the class that transformers builds and every size of it. Both come with the folder, from
whoever made it: what a plugin does not know is refused before transformers looks at the folder at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api.archives import given_path
from tlstudio.api.errors import WeightsError
from tlstudio.api.facts import WeightsInfo
from tlstudio.api.files import read_text
from tlstudio.api.model_signs import read_signs
from tlstudio.api.options import Options, option
from tlstudio.api.weights import FOLDER_NAMES, misfit, read_state_dict, weight_file

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

FIELD = "backbone.weights"
ATTENTION = ("_attn_implementation", "attn_implementation")

_MOST_LAYERS = 1000
_MOST_LABELS = 20_000  # transformers makes a name for each
_WIDEST = 2**18
_MOST_ROWS = 2**24  # of a table of embeddings
_ROWS = ("vocab_size", "n_positions", "n_ctx", "max_position_embeddings", "_positions", "hash_buckets")
_WINDOWS = ("kernel", "stride", "conv_pos_embeddings")
_WIDEST_WINDOW = 2**12
_CHANCES = ("dropout", "dropout_rate", "drop_rate", "pdrop", "layerdrop", "_prob")
_LONGEST_REASON = 300
_WIDTHS = ("_size", "_groups", "_bins", "d_model", "d_ff", "d_kv", "n_embd", "n_inner", "dim")


class ModelFolder(Options):
    """Where a model of the user's is."""

    weights: str = option(
        "",
        title="Model folder",
        help="Folder of a Hugging Face model: config.json, model.safetensors and what prepares its inputs, such as "
        "preprocessor_config.json or the tokenizer's files. 'random' starts from scratch, with the architecture of the "
        "folder below.",
        browse="folder",
    )
    folder: str = option(
        "",
        title="Architecture folder",
        help="The same without weights, where these are elsewhere or random.",
        advanced=True,
        browse="folder",
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


def too_large(config: Mapping[str, Any]) -> str:
    """Say which size of a configuration no model has, such as a hidden size of a billion; ``""`` if there is none.

    Building such a network would fill the memory, or take for ever, before anything could be compared.
    """
    for name, value in config.items():
        if isinstance(value, dict) and (inner := too_large(value)):  # of the half of a model, such as its encoder
            return inner
        key = str(name)  # transformers' own have whole numbers, too
        window = any(part in key for part in _WINDOWS)
        if isinstance(value, list) and (window or key.endswith(_WIDTHS)):  # of one layer after the other
            value = max((size for size in value if type(size) is int), default=0)
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if any(part in key for part in ("layers", "n_layer", "num_heads", "n_head", "attention_heads", "num_blocks")):
            most = _MOST_LAYERS
        elif window:
            most = _WIDEST_WINDOW
        elif key == "num_labels":
            most = _MOST_LABELS
        elif any(part in key for part in _ROWS):
            most = _MOST_ROWS
        elif key.endswith(_WIDTHS):
            most = _WIDEST
        else:
            continue
        if value > most:
            return f"{key} is {value:.3g}" if value < 10**300 else f"{key} has hundreds of digits"
    return ""


def _no_chance(config: Mapping[str, Any]) -> str:
    """Say which share of what is left out at random is none; it would be told as late as in training."""
    for key, value in config.items():
        if isinstance(value, dict):
            if inner := _no_chance(value):
                return inner
            continue
        known = value is None or (isinstance(value, (int, float)) and 0 <= value <= 1)
        if str(key).endswith(_CHANCES) and not known:
            return f"{key} is {str(value)[:40]}, and not from 0 to 1"
    return ""


def _impossible(config: Mapping[str, Any]) -> str:
    try:
        return too_large(config) or _no_chance(config)
    except RecursionError:
        return "it is nested too deeply"


def raw_config(folder: Path, known: Collection[str], refused: Callable[[Path, str], WeightsError]) -> dict[str, Any]:
    """Read ``config.json`` of a model folder.

    Args:
        folder: The folder.
        known: Architectures that may be built, by ``model_type``.
        refused: Makes the error for a folder with another architecture.

    Raises:
        WeightsError: There is no such folder or file, it is damaged, the model brings code of its own, or its
            architecture is not known.
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
    config = read_json(path)
    tokenizer = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
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
    if config["model_type"] not in known:
        raise refused(folder, config["model_type"])
    if why := _impossible(config):
        raise WeightsError(
            f"{path} describes a model that cannot be: {why}.", "Copy the folder again.", path=path, field=FIELD
        )
    return config


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file of a model folder.

    Raises:
        WeightsError: It cannot be read, or is something else.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: {error}.", "Copy it again.", path=path, field=FIELD) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} is damaged: not an object.", "Copy it again.", path=path, field=FIELD)
    return content


def read_config(folder: Path, known: Collection[str], refused: Callable[[Path, str], WeightsError]) -> PreTrainedConfig:
    """Read the configuration of a model whose architecture is part of transformers.

    Args:
        folder: The folder.
        known: Architectures that may be built, by ``model_type``.
        refused: Makes the error for a folder with another architecture.

    Raises:
        WeightsError: See `raw_config`; or transformers does not know the architecture.
    """
    from transformers import AutoConfig

    kind = raw_config(folder, known, refused)["model_type"]
    try:
        with quiet():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # each kind of model checks its configuration with errors of its own
        raise WeightsError(
            f"transformers cannot make sense of {folder / 'config.json'} (model_type {kind}): {first_line(error)}",
            "Choose a model whose architecture is part of the installed transformers.",
            path=folder,
            field=FIELD,
        ) from error
    return config


def folder_of(backbone: str, weights: str, folder: str = "") -> Path:
    """Find the folder that describes a model which the user brings.

    Args:
        backbone: Name of the backbone, for the message.
        weights: The option of that name: a folder or file, or ``"random"``.
        folder: The option of that name, where the weights are elsewhere or random.

    Raises:
        WeightsError: None is chosen, or it is an archive without a model.
    """
    given = folder or ("" if weights in {"random", "pretrained"} else weights)
    if not given:
        raise WeightsError(
            f"{backbone} does not know which model to load.",
            "Give the folder of the model: weights=FOLDER, or with random weights folder=FOLDER.",
            field=FIELD if weights != "random" else "backbone.folder",
        )
    path = given_path(given)
    return path.parent if path.is_file() else path


def weights_info(files: list[Path], origin: str, sha256: str = "") -> WeightsInfo:
    """Say where weights are that lie in one file or several; in none are those that are random.

    Args:
        files: The files, all in one folder.
        origin: Where they come from, for people.
        sha256: Hash of the file, where there is one and it is known.
    """
    if not files:
        return WeightsInfo(None, "random weights")
    path = files[0] if len(files) == 1 else files[0].parent
    return WeightsInfo(path, origin, sum(file.stat().st_size for file in files), sha256)


def weight_files(path: Path) -> list[Path]:
    """Find the weight file, or the parts of it, that a path means.

    Raises:
        WeightsError: There are none, or a part is missing.
    """
    for name in FOLDER_NAMES:
        index = path / f"{name}.index.json"
        if (path / name).is_file() or not index.is_file():
            continue
        parts = read_json(index).get("weight_map")
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


def filled_model(
    kind: type[PreTrainedModel],
    config: PreTrainedConfig,
    state: Mapping[str, Tensor],
    source: Path,
    **arguments: object,
) -> PreTrainedModel:
    """Build a model in 32-bit precision and load weights into it, whatever head they had.

    Args:
        kind: Its class.
        config: Its configuration.
        state: The weights.
        source: Where they came from, for the message.
        arguments: More that the class takes.

    Raises:
        WeightsError: Keys are missing, of another shape, or belong to more layers than the model has.
    """
    import torch

    build: Any = kind
    try:
        with quiet():
            model, report = build.from_pretrained(
                None,
                config=config,
                state_dict=dict(state),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below, together with the rest
                **arguments,
            )
    except Exception as error:  # also of packages that the configuration asks for and that are not there
        raise WeightsError(
            f"The weights in {source.name} do not fit this backbone: {first_line(error)}",
            "Choose the weights that were made for it.",
            path=source,
            field=FIELD,
        ) from error
    # Left over keys outside of the network's own parts belong to the head of the original task.
    parts = {name for name, _ in model.named_children()} | {kind.base_model_prefix}
    missing, wrong = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    unknown = sorted(key for key in report["unexpected_keys"] if _of_network(key, parts))
    if missing or wrong or unknown:
        own = model.state_dict()
        given, described = read_signs(state), read_signs(own)
        remedy = f"They look like those of {given}, and config.json describes {config.model_type} as {described}: "
        if given == described:
            remedy = "Layers and widths are the right ones, so the names may be those of another version of the model: "
        remedy += "choose weights and config.json of one model."
        raise misfit(source, own, state, missing=missing, unknown=unknown, wrong=wrong, remedy=remedy)
    result: PreTrainedModel = model
    return result


def _of_network(key: str, parts: set[str]) -> bool:
    names = key.split(".")
    if names[0] in parts and len(names) > 1 and names[1] in parts:
        names = names[1:]  # "bert.encoder..." of a model that was saved with a head
    return names[0] in parts and "pooler" not in names


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its kind where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0][:_LONGEST_REASON] if text else type(error).__name__

"""Reading the folder of an audio model in Hugging Face's layout; see `tlstudio.api.model_folders`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlstudio.api import WeightsError, model_folders
from tlstudio.api.model_folders import FIELD, first_line, quiet, read_json

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

WAVEFORM = frozenset({"wav2vec2", "hubert", "unispeech"})
"""Models that take the samples of a sound: convolutions, then a transformer."""
AST = "audio-spectrogram-transformer"
WHISPER = "whisper"
SUPPORTED = WAVEFORM | {AST, WHISPER}
"""What is read from a folder, by ``model_type``."""

PREPROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_LIMITS = {
    "sampling_rate": (1000, 384_000),
    "feature_size": (1, 1024),
    "num_mel_bins": (1, 1024),
    "max_length": (1, 65_536),
    "chunk_length": (1, 600),
    "hop_length": (1, 65_536),
    "n_fft": (2, 65_536),
}


_TRIED = 2**14  # samples of silence


def read_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of an audio model.

    Raises:
        WeightsError: See `model_folders.read_config`; or its sizes cannot be.
    """
    config: Any = without_chance(model_folders.read_config(folder, SUPPORTED, _unknown))
    if config.model_type in WAVEFORM:
        sizes = [config.conv_kernel, config.conv_stride, config.conv_dim]
        whole = all(isinstance(size, int) and size > 0 for listed in sizes for size in listed)
        if not whole or len({len(listed) for listed in sizes}) > 1 or not sizes[0]:
            raise cannot_be(folder, "its convolutions have no whole sizes")
    result: PreTrainedConfig = config
    return result


def without_chance(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return a configuration by which no parts of a recording and no whole layers are left out at random.

    wav2vec 2.0 and its kin draw for that from generators that a run does not keep; what is varied here derives from
    the seed of the run.
    """
    for name in ("mask_time_prob", "mask_feature_prob", "layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    if hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = False
    return config


def _unknown(folder: Path, kind: str) -> WeightsError:
    return WeightsError(
        f"The model in {folder} ({kind[:60]}) is not a model of sounds that can be used here.",
        "Choose one such as wav2vec 2.0, HuBERT, UniSpeech, the Audio Spectrogram Transformer or Whisper.",
        path=folder,
        field=FIELD,
    )


def cannot_be(folder: Path, why: str) -> WeightsError:
    """The error for a configuration that no model has."""
    return WeightsError(
        f"{folder / 'config.json'} describes a model that cannot be: {why}.",
        "Copy the folder again.",
        path=folder,
        field=FIELD,
    )


def read_extractor(folder: Path, config: PreTrainedConfig) -> SequenceFeatureExtractor:
    """Read how sounds are prepared for a model: sampling rate, normalisation, mel bands.

    Raises:
        WeightsError: It is missing, damaged, or not that of the model.
    """
    from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    values = _extractor_values(folder)
    kinds: dict[str, Any] = {AST: ASTFeatureExtractor, WHISPER: WhisperFeatureExtractor}
    kind = kinds.get(config.model_type, Wav2Vec2FeatureExtractor)
    known = inspect.signature(kind.__init__).parameters
    for name, (least, most) in _LIMITS.items():
        value = values.get(name)
        if name in known and value is not None and not (type(value) is int and least <= value <= most):
            raise _damaged(folder, f"{name} is {str(value)[:40]}")
    try:
        with quiet():
            extractor: Any = kind(**{name: values[name] for name in values if name in known})
            # Other values than these are first looked at when a sound comes.
            extractor(np.zeros(max(extractor.sampling_rate, _TRIED), np.float32), sampling_rate=extractor.sampling_rate)
    except Exception as error:  # of whatever it computes with
        raise _damaged(folder, first_line(error)) from error
    _check_fit(extractor, config, folder)
    result: SequenceFeatureExtractor = extractor
    return result


def _extractor_values(folder: Path) -> Mapping[str, Any]:
    for name in PREPROCESSOR_FILES:
        if (folder / name).is_file():
            values = read_json(folder / name)
            inner = values.get("feature_extractor", values)
            if isinstance(inner, dict) and "sampling_rate" in inner:
                return inner
    raise WeightsError(
        f"{folder} does not say how sounds are prepared: it has no {PREPROCESSOR_FILES[0]}.",
        "Save the feature extractor into the same folder: feature_extractor.save_pretrained(FOLDER).",
        path=folder,
        field=FIELD,
    )


def _damaged(folder: Path, why: str) -> WeightsError:
    return WeightsError(
        f"How sounds are prepared cannot be read from {folder}: {why}.", "Copy it again.", path=folder, field=FIELD
    )


def _check_fit(extractor: Any, config: Any, folder: Path) -> None:  # noqa: ANN401  each kind has its own attributes
    pairs: list[tuple[str, int, int]] = []
    if config.model_type == AST:
        pairs = [("mel bands", extractor.num_mel_bins, config.num_mel_bins)]
        pairs.append(("frames", extractor.max_length, config.max_length))
    elif config.model_type == WHISPER:
        pairs = [("mel bands", extractor.feature_size, config.num_mel_bins)]
        pairs.append(("frames", extractor.nb_max_frames, 2 * config.max_source_positions))
    for what, given, taken in pairs:
        if given != taken:
            raise WeightsError(
                f"What prepares sounds in {folder} does not belong to the model beside it: it gives {given} {what}, "
                f"the model takes {taken}.",
                "Save the model's own feature extractor into the folder.",
                path=folder,
                field=FIELD,
            )


def new_model(config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    """Build a model with random weights, in 32-bit precision.

    Raises:
        WeightsError: Its sizes do not fit together.
    """
    kind: Any = _model_class(config)
    try:
        with quiet():
            model: PreTrainedModel = kind(config).float()
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise cannot_be(folder, first_line(error).rstrip(".")) from error
    return model


def filled_model(config: PreTrainedConfig, state: Mapping[str, Tensor], source: Path) -> PreTrainedModel:
    """Build a model and load weights into it, whatever head they had.

    Args:
        config: Its configuration.
        state: The weights.
        source: Where they came from, for the message.

    Raises:
        WeightsError: They do not fit.
    """
    if config.model_type == WHISPER:
        state = _encoder_half(state)
    # The vector that stands for masked parts is not used: see `without_chance`.
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("masked_spec_embed")}
    return model_folders.filled_model(_model_class(config), config, kept, source)


def _model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    from transformers.models.auto.modeling_auto import MODEL_MAPPING
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    entry: Any = WhisperEncoder if config.model_type == WHISPER else MODEL_MAPPING[type(config)]
    model: type[PreTrainedModel] = entry
    return model


def _encoder_half(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    plain = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    inner = {name.removeprefix("encoder."): t for name, t in plain.items() if name.startswith("encoder.")}
    return inner or plain

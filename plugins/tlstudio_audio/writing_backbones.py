"""Backbones that write down what is said: any Whisper folder of the user's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlstudio.api import Augmentation, BackboneInfo, FeatureKind
from tlstudio.api import Options as BaseOptions
from tlstudio.api.model_folders import read_weights
from tlstudio_audio.backbones import AudioModelBackbone, kind_of, model_folder, weight_parts
from tlstudio_audio.folder import WHISPER, read_extractor
from tlstudio_audio.options import SpeechOptions
from tlstudio_audio.writing_folder import (
    TOKENIZER_FILE,
    filled_speech_model,
    new_speech_model,
    read_marks,
    read_speech_config,
    read_tokenizer,
    save_speech_assets,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tlstudio.api.nn import BackboneModule
    from tlstudio_audio.preprocessor import SoundPreprocessor


class SpeechModelBackbone(AudioModelBackbone):
    """Whisper with its decoder, in a folder of the user's."""

    name = "speech_model"
    title = "Speech model folder"
    description = (
        "Your own Whisper model, encoder and decoder, from a folder in Hugging Face's layout: it writes down what is "
        "said. Code in the folder is never run."
    )
    Options: ClassVar[type[BaseOptions]] = SpeechOptions
    free_options: Collection[str] = (*AudioModelBackbone.free_options, "language")

    def info(self) -> BackboneInfo:
        """Give what is known before a folder is chosen; width and size depend on it and are given as 0."""
        return BackboneInfo(
            modality="audio",
            provides=frozenset({"logits", "pooled", "tokens"}),
            num_features=0,
            num_parameters=0,
            license="that of your model",
            input="sound of any sampling rate, one channel, up to 30 s",
            source="arXiv:2212.04356",
        )

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the model with its pretrained weights.

        Raises:
            WeightsError: Missing, unsafe or damaged weights, or keys or shapes that do not fit.
        """
        chosen = _speech(options)
        folder, parts = model_folder(chosen), weight_parts(chosen)
        config = read_speech_config(folder)
        if not parts:
            return _network(new_speech_model(config, folder), folder, chosen)
        return _network(filled_speech_model(config, read_weights(parts), parts[0]), folder, chosen)

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the same model from the assets, without weights."""
        return _network(new_speech_model(read_speech_config(assets), assets), assets, _speech(options))

    def preprocessor(
        self,
        options: BaseOptions,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> SoundPreprocessor:
        """Make the preprocessor.

        Raises:
            WeightsError: Feature extractor or tokenizer are missing, damaged, or not those of the model.
        """
        from tlstudio_audio.preprocessor import SoundPreprocessor
        from tlstudio_audio.writing_preprocessor import SpeechPreprocessor

        chosen = _speech(options)
        folder = assets if assets is not None else model_folder(chosen)
        config = read_speech_config(folder)
        extractor = read_extractor(folder, config)
        seconds = chosen.max_seconds
        if wanted != "logits":
            return SoundPreprocessor(extractor, config, max_seconds=seconds, augmentation=augmentation)
        tokenizer = read_tokenizer(folder)
        marks = read_marks(folder, tokenizer, config, chosen.language)
        return SpeechPreprocessor(extractor, config, tokenizer, marks, max_seconds=seconds, augmentation=augmentation)

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write configuration, feature extractor, tokenizer and marks."""
        source = model_folder(_speech(options))
        config = read_speech_config(source)
        config.save_pretrained(folder)
        read_extractor(source, config).save_pretrained(folder)
        save_speech_assets(source, folder)

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Take a folder of Whisper with its tokenizer."""
        return {"weights": str(path)} if kind_of(path) == WHISPER and (path / TOKENIZER_FILE).is_file() else None


def _network(model: PreTrainedModel, folder: Path, options: SpeechOptions) -> BackboneModule:
    from tlstudio_audio.writing_network import SpeechNetwork

    marks = read_marks(folder, read_tokenizer(folder), model.config, options.language)
    return SpeechNetwork(model, marks, options.pooling)


def _speech(options: BaseOptions) -> SpeechOptions:
    if not isinstance(options, SpeechOptions):
        raise TypeError(f"speech models take SpeechOptions, not {type(options).__name__}")
    return options

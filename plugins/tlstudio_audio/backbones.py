"""Audio backbones: any folder of the user's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlstudio.api import Augmentation, Backbone, BackboneInfo, FeatureKind, WeightsError, WeightsInfo
from tlstudio.api import Options as BaseOptions
from tlstudio.api.archives import given_path
from tlstudio.api.model_folders import folder_of, read_json, read_weights, weight_files, weights_info
from tlstudio_audio.folder import SUPPORTED, filled_model, new_model, read_config, read_extractor
from tlstudio_audio.options import AudioOptions

if TYPE_CHECKING:
    from tlstudio.api.nn import BackboneModule
    from tlstudio_audio.preprocessor import SoundPreprocessor


class AudioModelBackbone(Backbone):
    """Any model of sounds in a folder of the user's."""

    name = "auto_audio"
    title = "Audio model folder"
    description = (
        "Your own model of sounds (wav2vec 2.0, HuBERT, UniSpeech, Audio Spectrogram Transformer, Whisper's "
        "encoder) from a folder in Hugging Face's layout. Code in the folder is never run."
    )
    modality = "audio"
    free_options: Collection[str] = ("max_seconds", "pooling")
    Options: ClassVar[type[BaseOptions]] = AudioOptions

    def info(self) -> BackboneInfo:
        """Give what is known before a folder is chosen; width and size depend on it and are given as 0."""
        return BackboneInfo(
            modality="audio",
            provides=frozenset({"pooled", "tokens"}),
            num_features=0,
            num_parameters=0,
            license="that of your model",
            input="sound of any sampling rate, one channel; how long depends on the model",
            source="arXiv:2006.11477 (wav2vec 2.0), arXiv:2106.07447 (HuBERT), arXiv:2104.01778 (AST), "
            "arXiv:2212.04356 (Whisper)",
        )

    def find_weights(self, options: BaseOptions) -> WeightsInfo:
        """Say where the weights are that `load` would read.

        Raises:
            WeightsError: They are not on this machine.
        """
        return weights_info(weight_parts(_audio(options)), "your file")

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the model with its pretrained weights.

        Raises:
            WeightsError: Missing, unsafe or damaged weights, or keys or shapes that do not fit.
        """
        from tlstudio_audio.network import network_of

        chosen = _audio(options)
        folder = model_folder(chosen)
        parts = weight_parts(chosen)
        config = read_config(folder)
        if not parts:
            return network_of(new_model(config, folder), chosen.pooling)
        return network_of(filled_model(config, read_weights(parts), parts[0]), chosen.pooling)

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the same model from the assets, without weights."""
        from tlstudio_audio.network import network_of

        return network_of(new_model(read_config(assets), assets), _audio(options).pooling)

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
            WeightsError: The feature extractor is missing, damaged, or not that of the model.
        """
        from tlstudio_audio.preprocessor import SoundPreprocessor

        chosen = _audio(options)
        folder = assets if assets is not None else model_folder(chosen)
        config = read_config(folder)
        return SoundPreprocessor(
            read_extractor(folder, config), config, max_seconds=chosen.max_seconds, augmentation=augmentation
        )

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write ``config.json`` and ``preprocessor_config.json``."""
        source = model_folder(_audio(options))
        config = read_config(source)
        config.save_pretrained(folder)
        read_extractor(source, config).save_pretrained(folder)

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Take a folder whose ``config.json`` names a model of sounds."""
        return {"weights": str(path)} if kind_of(path) in SUPPORTED else None


def kind_of(folder: Path) -> str:
    """What the ``config.json`` of a folder calls its architecture; ``""`` where it says nothing."""
    try:
        kind = read_json(folder / "config.json").get("model_type")
    except WeightsError:
        return ""
    return kind if isinstance(kind, str) else ""


def model_folder(options: AudioOptions) -> Path:
    """The folder that describes the model.

    Raises:
        WeightsError: None is chosen.
    """
    return folder_of("This backbone", options.weights, options.folder)


def weight_parts(options: AudioOptions) -> list[Path]:
    """The files of the weights; none where they are random.

    Raises:
        WeightsError: There are none where they should be.
    """
    if options.weights == "random":
        return []
    if not options.weights:
        model_folder(options)  # tells that nothing is chosen
    return weight_files(given_path(options.weights or options.folder))


def _audio(options: BaseOptions) -> AudioOptions:
    if not isinstance(options, AudioOptions):
        raise TypeError(f"audio backbones take AudioOptions, not {type(options).__name__}")
    return options

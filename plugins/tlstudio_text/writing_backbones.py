"""Language models: any folder of the user's, and those in Hugging Face's cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tlstudio.api import Augmentation, BackboneInfo, FeatureKind, WeightsError
from tlstudio.api import Options as BaseOptions
from tlstudio.api.model_folders import read_weights
from tlstudio_text.backbones import AutoModelBackbone, CachedBackbone, TextBackbone
from tlstudio_text.folder import check_vocabulary, has_tokenizer, read_tokenizer
from tlstudio_text.options import LanguageModelOptions, WritingOptions
from tlstudio_text.writing_folder import end_tokens, filled_writer, new_writer, read_writer_config, reads

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from tlstudio.api.nn import BackboneModule
    from tlstudio_text.preprocessor import TextPreprocessor

PROVIDES: frozenset[FeatureKind] = frozenset({"logits", "pooled", "tokens"})


class WritingBackbone(TextBackbone):
    """A language model that transformers builds from a folder: it writes texts, and gives features of them, too."""

    free_options = ("max_length", "max_answer", "pooling", "prompt", "separator", "style")
    Options: ClassVar[type[BaseOptions]] = WritingOptions

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the model with its pretrained weights.

        Raises:
            WeightsError: Missing, unsafe or damaged weights, or keys or shapes that do not fit.
        """
        chosen = _writing(options)
        parts, folder = self._parts(chosen), self._folder(chosen)
        config = read_writer_config(folder)
        if not parts:
            return _network(new_writer(config, folder), chosen, folder)
        state = read_weights(parts)
        return _network(filled_writer(config, folder, state, parts[0]), chosen, folder)

    def library_code(self, options: BaseOptions) -> None:
        """None: how texts are put before it takes more than a few lines."""

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the same model from the assets, without weights."""
        return _network(new_writer(read_writer_config(assets), assets), _writing(options), assets)

    def preprocessor(
        self,
        options: BaseOptions,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> TextPreprocessor:
        """Make the preprocessor. Texts are varied where the head takes one vector of each.

        Raises:
            WeightsError: The tokenizer is missing, damaged, or not that of the model.
        """
        from tlstudio_text.preprocessor import TextPreprocessor
        from tlstudio_text.writing_preprocessor import WritingPreprocessor

        chosen = _writing(options)
        folder = assets if assets is not None else self._folder(chosen)
        tokenizer, config = read_tokenizer(folder), read_writer_config(folder)
        check_vocabulary(tokenizer, config, folder)
        longest = _longest(config)
        if wanted != "logits":
            most = [limit for limit in (longest, chosen.max_length) if limit]
            varied = augmentation if augmentation in self.augmentations(wanted) else "none"
            return TextPreprocessor(tokenizer, min(most, default=1024), varied)
        _check_prompt(chosen, tokenizer, folder)
        first = None
        if config.is_encoder_decoder:
            start = getattr(config, "decoder_start_token_id", None)
            first = int(start if isinstance(start, int) else tokenizer.pad_token_id or 0)
        return WritingPreprocessor(
            tokenizer, chosen, longest=longest, end=end_tokens(config, tokenizer, folder)[0], first=first
        )

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write ``config.json`` and the tokenizer's files."""
        source = self._folder(_writing(options))
        read_writer_config(source).save_pretrained(folder)
        read_tokenizer(source).save_pretrained(folder)

    def _facts(self, folder: Path, *, license_: str, source: str) -> BackboneInfo:
        import torch

        from tlstudio.api.nn import count_parameters

        config = read_writer_config(folder)
        with torch.device("meta"):
            model = new_writer(config, folder)
        longest = _longest(config)
        return BackboneInfo(
            modality="text",
            provides=PROVIDES,
            num_features=int(config.hidden_size),
            num_parameters=count_parameters(model)[1],
            license=license_,
            input=f"up to {longest} tokens" if longest else "text",
            source=source,
            vocabulary=int(config.vocab_size),
        )


class LanguageModel(WritingBackbone, AutoModelBackbone):
    """Any language model in a folder of the user's."""

    name = "language_model"
    title = "Language model folder"
    description = (
        "Your own language model from a folder in Hugging Face's layout: a decoder (GPT-2, Llama, Qwen, SmolLM and "
        "others) or an encoder-decoder (T5, BART, Pegasus). It writes texts. Code in the folder is never run."
    )
    Options: ClassVar[type[BaseOptions]] = LanguageModelOptions

    def info(self) -> BackboneInfo:
        """Give what is known before a folder is chosen; width and size depend on it and are given as 0."""
        return BackboneInfo(
            modality="text",
            provides=PROVIDES,
            num_features=0,
            num_parameters=0,
            license="that of your model",
            input="text; how long depends on the model",
            source="https://huggingface.co/docs/transformers",
        )

    def _reads(self, folder: Path) -> bool:
        return has_tokenizer(folder) and reads(folder)


class CachedLanguageModel(WritingBackbone, CachedBackbone):
    """A language model in Hugging Face's cache."""


def _network(model: PreTrainedModel, options: WritingOptions, folder: Path) -> BackboneModule:
    from tlstudio_text.writing_network import LanguageNetwork

    ends = end_tokens(model.config, read_tokenizer(folder), folder)
    return LanguageNetwork(model, options.pooling, ends, _longest(model.config))


def _longest(config: PreTrainedConfig) -> int | None:
    positions = getattr(config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def _check_prompt(options: WritingOptions, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    if "{text}" not in options.prompt:
        raise WeightsError(
            f"The prompt {options.prompt!r} does not say where the text goes.",
            "Write {text} there, as in 'summarize: {text}'.",
            field="backbone.prompt",
        )
    if options.style == "chat" and not tokenizer.chat_template:
        raise WeightsError(
            f"The model in {folder} has no form for conversations (chat_template).",
            "Choose the style plain, or a model that was made for chat.",
            path=folder,
            field="backbone.style",
        )


def _writing(options: BaseOptions) -> WritingOptions:
    if not isinstance(options, WritingOptions):
        raise TypeError(f"language models take WritingOptions, not {type(options).__name__}")
    return options


__all__ = ["CachedLanguageModel", "LanguageModel", "WritingBackbone"]

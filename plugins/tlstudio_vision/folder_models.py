"""Image models of transformers: from any folder of the user's, and from Hugging Face's cache."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from tlstudio.api import (
    Augmentation,
    Backbone,
    BackboneFamily,
    BackboneInfo,
    FeatureKind,
    TLStudioError,
    WeightsError,
    WeightsInfo,
)
from tlstudio.api import Options as BaseOptions
from tlstudio.api.archives import given_path
from tlstudio.api.hugging_face import cached_folder, cached_repositories
from tlstudio.api.model_folders import first_line, folder_of, raw_config, read_weights, weight_files, weights_info
from tlstudio_vision.images import InputSettings
from tlstudio_vision.model_folder import (
    CONVOLUTIONAL,
    PREFIX_TOKENS,
    PREPROCESSOR,
    SUPPORTED,
    filled_model,
    new_model,
    read_config,
    read_settings,
)
from tlstudio_vision.options import ImageModelOptions, ImageOptions
from tlstudio_vision.preprocessor import ImagePreprocessor, WholeImagePreprocessor
from tlstudio_vision.sizes import WRONG_SIZE, try_size

if TYPE_CHECKING:
    from tlstudio.api.nn import BackboneModule

ALL_KINDS: frozenset[FeatureKind] = frozenset({"pooled", "tokens", "maps"})


class FolderBackbone(Backbone):
    """An image backbone that transformers builds from a folder."""

    modality = "image"
    Options: ClassVar[type[BaseOptions]] = ImageOptions

    @abstractmethod
    def _folder(self, options: ImageOptions) -> Path:
        """Find the folder with config.json and preprocessor_config.json; raises WeightsError if it is not there."""

    def _parts(self, options: ImageOptions) -> list[Path]:
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
        chosen = _options(options)
        parts = self._parts(chosen)
        cached = chosen.weights in {"pretrained", ""}
        return weights_info(parts, f"Hugging Face's cache ({parts[0].parent})" if parts and cached else "your file")

    def load(self, options: BaseOptions) -> BackboneModule:
        """Build the network with its pretrained weights.

        Raises:
            WeightsError: Missing, unsafe or damaged weights, or keys or shapes that do not fit.
        """
        from tlstudio_vision.folder_network import FolderNetwork

        chosen = _options(options)
        parts, folder = self._parts(chosen), self._folder(chosen)
        config, settings = read_config(folder), self._settings(chosen)
        patch = getattr(config, "patch_size", 1) if config.model_type in PREFIX_TOKENS else 1
        if settings.height % patch or settings.width % patch:
            raise TLStudioError(
                f"{self.name} cuts an image into patches of {patch} px, and {settings.width} x {settings.height} px "
                "is no multiple of it.",
                f"Leave the image size empty or choose a multiple of {patch}.",
                field="backbone.image_size",
            )
        model = filled_model(config, read_weights(parts), parts[0]) if parts else new_model(config, folder)
        network = FolderNetwork(model)
        if config.model_type in CONVOLUTIONAL:
            try:
                try_size(network, settings.height, settings.width)
            except WRONG_SIZE as error:
                raise TLStudioError(
                    f"{self.name} cannot work on images of {settings.width} x {settings.height} px: "
                    f"{first_line(error).rstrip('.')}.",
                    f"Choose a larger image size, or mend the one in {folder / PREPROCESSOR}.",
                    field="backbone.image_size",
                ) from error
        return network

    def restore(self, options: BaseOptions, assets: Path) -> BackboneModule:
        """Build the same network from the assets, without weights."""
        from tlstudio_vision.folder_network import FolderNetwork

        return FolderNetwork(new_model(read_config(assets), assets))

    def preprocessor(
        self,
        options: BaseOptions,
        *,
        augmentation: Augmentation = "none",
        assets: Path | None = None,
        wanted: FeatureKind = "pooled",
    ) -> ImagePreprocessor:
        """Make the preprocessor, from the assets if they are given.

        Raises:
            WeightsError: Nothing says how images are prepared.
        """
        chosen = _options(options)
        settings = (InputSettings.read(assets) if assets is not None else None) or self._settings(chosen)
        if wanted != "maps":
            return ImagePreprocessor(settings, augmentation)
        config = read_config(assets if assets is not None else self._folder(chosen))
        step = config.patch_size if config.model_type in PREFIX_TOKENS else 32
        return WholeImagePreprocessor(settings.in_steps_of(step), augmentation)

    def augmentations(self, wanted: FeatureKind) -> Collection[Augmentation]:
        """Name all, as those of other images."""
        return get_args(Augmentation)

    def save_assets(self, options: BaseOptions, folder: Path) -> None:
        """Write ``config.json`` and how images are prepared."""
        chosen = _options(options)
        read_config(self._folder(chosen)).save_pretrained(folder)
        self._settings(chosen).write(folder)

    def _settings(self, options: ImageOptions) -> InputSettings:
        settings = read_settings(self._folder(options))
        return settings if options.image_size is None else settings.at_size(options.image_size)


class AutoImageModel(FolderBackbone):
    """Any image model in a folder of the user's."""

    name = "auto_image_model"
    title = "Image model folder"
    description = (
        "Your own image model (ViT, DeiT, DINOv2, CLIP, SigLIP, ConvNeXt or ResNet) from a folder in Hugging Face's "
        "layout. Code in the folder is never run."
    )
    Options: ClassVar[type[BaseOptions]] = ImageModelOptions

    def info(self) -> BackboneInfo:
        """Give what is known before a folder is chosen; width and size depend on it and are given as 0."""
        return BackboneInfo(
            modality="image",
            provides=ALL_KINDS,
            num_features=0,
            num_parameters=0,
            license="that of your model",
            input="RGB; the size depends on the model",
            source="https://huggingface.co/docs/transformers",
        )

    def _folder(self, options: ImageOptions) -> Path:
        own = options.folder if isinstance(options, ImageModelOptions) else ""
        return folder_of(self.name, options.weights, own)

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Take a folder of an image model that says how images are prepared."""
        return {"weights": str(path)} if _is_known(path) else None


class CachedImageModel(FolderBackbone):
    """An image model in Hugging Face's cache.

    Args:
        repository: Its name there, such as ``"facebook/dinov2-small"``.
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
            self._info = self._measured()
        return self._info

    def _measured(self) -> BackboneInfo:
        import torch

        from tlstudio.api.nn import count_parameters
        from tlstudio_vision.folder_network import FolderNetwork

        settings = read_settings(self._snapshot)
        with torch.device("meta"):
            network = FolderNetwork(new_model(read_config(self._snapshot), self._snapshot))
        return BackboneInfo(
            modality="image",
            provides=ALL_KINDS,
            num_features=network.num_features,
            num_parameters=count_parameters(network)[1],
            license="that of the model: see its card",
            input=f"{settings.width} x {settings.height} px, RGB",
            source=f"https://huggingface.co/{self.name}",
            map_channels=network.map_channels,
            map_strides=network.map_strides,
        )

    def _folder(self, options: ImageOptions) -> Path:
        return self._snapshot


class CachedImageModels(BackboneFamily):
    """The image models that Hugging Face's tools have left in the cache of this machine."""

    name = "huggingface_cache_images"
    title = "Hugging Face cache (images)"
    modality = "image"

    def names(self) -> Sequence[str]:
        """List repositories that have a configuration of a known kind and say how images are prepared."""
        return [name for name in cached_repositories() if self.get(name) is not None]

    def get(self, name: str) -> Backbone | None:
        """Return the backbone of a repository, or `None` where it is not in the cache or not an image model."""
        folder = cached_folder(name)
        return CachedImageModel(name, folder) if folder is not None and _is_known(folder) else None

    def present(self) -> Sequence[str]:
        """List them all: what is in the cache is on this machine."""
        return self.names()


def _is_known(folder: Path) -> bool:
    """Whether a folder is of an image model that can be read, by its configuration alone."""
    try:
        raw_config(folder, SUPPORTED, lambda path, kind: WeightsError(f"{kind} in {path} is none of images."))
    except WeightsError:
        return False
    return (folder / PREPROCESSOR).is_file()


def _options(options: BaseOptions) -> ImageOptions:
    if not isinstance(options, ImageOptions):
        raise TypeError(f"image models take ImageOptions, not {type(options).__name__}")
    return options

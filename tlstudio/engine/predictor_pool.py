"""Several runs made from one backbone, ready to be switched between, with that backbone in memory once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlstudio.engine.assemble import load_run_model, preprocessor_of
from tlstudio.engine.devices import resolve_device
from tlstudio.engine.predict import Predictor
from tlstudio.plugins import Registry
from tlstudio.store.run import Run

__all__ = ["PredictorPool"]

_SMALLEST = 1024  # numbers; sharing less would save nothing


class PredictorPool:
    """Predictors of several runs. What their models have in common is held once.

    Runs of which the strategies leave the backbone frozen (LoRA and its kin, prompts, biases, probes) so cost little
    more than their adapters each, whatever the adapters are; to switch is to ask for another one. Tensors are shared
    where they are the same to the last bit, so it does not matter how a run came to them.

    Args:
        registry: The components.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """

    def __init__(self, registry: Registry, device: str = "auto") -> None:
        self._registry = registry
        self._device = device
        self._predictors: dict[str, Predictor] = {}
        self._models: dict[str, nn.Module] = {}

    def get(self, run: Run) -> Predictor:
        """Return the predictor of a run, loaded when it is asked for first.

        Raises:
            RunError: The run has no model, or a plugin is gone.
        """
        key = str(run.folder)
        if key not in self._predictors:
            parts, model = load_run_model(run, self._registry)
            model.to(resolve_device(self._device))
            self._share(model)
            preprocessor = preprocessor_of(parts, assets=run.assets)
            self._predictors[key] = Predictor(
                model, preprocessor, modality=parts.backbone.modality, title=run.id, device=self._device
            )
            self._models[key] = model
        return self._predictors[key]

    def forget(self, run: Run) -> None:
        """Let go of a run; what others share with it stays."""
        self._predictors.pop(str(run.folder), None)
        self._models.pop(str(run.folder), None)

    @property
    def size(self) -> int:
        """Bytes of all models together, each shared tensor once."""
        sizes = {t.data_ptr(): t.numel() * t.element_size() for model in self._models.values() for t in _tensors(model)}
        return sum(sizes.values())

    def _share(self, model: nn.Module) -> None:
        """Put tensors that are held already in the place of those of a model that are the same."""
        held: dict[tuple[torch.Size, torch.dtype, float], list[Tensor]] = {}
        for other in self._models.values():
            for tensor in _tensors(other):
                if tensor.numel() >= _SMALLEST:
                    held.setdefault(_mark(tensor), []).append(tensor)
        for tensor in _tensors(model):
            for known in held.get(_mark(tensor), ()) if tensor.numel() >= _SMALLEST else ():
                if torch.equal(known, tensor):
                    tensor.data = known.data
                    break


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _mark(tensor: Tensor) -> tuple[torch.Size, torch.dtype, float]:
    """What tensors that are the same have in common, so that few are compared in full."""
    flat = tensor.detach().flatten()
    return tensor.shape, tensor.dtype, float(flat[:: max(1, flat.numel() // 64)].double().sum())

"""Backbones that write texts, and can also do no more than read. Imports torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from tlstudio.api.errors import WeightsError
from tlstudio.api.features import FeatureKind
from tlstudio.api.nn import BackboneModule
from tlstudio.api.weights import fit_state_dict

__all__ = ["WritingModule"]


class WritingModule(BackboneModule):
    """A backbone with a part that reads; where a head wants other features than logits, that part alone is kept.

    Args:
        model: All of it.

    Attributes:
        model: All of it, or the part that reads.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._wanted: FeatureKind | None = None
        self._writes = True

    @abstractmethod
    def reader(self) -> nn.Module:
        """The part of `model` that reads."""

    @property
    def wanted(self) -> FeatureKind:
        """The kind of features that the head takes."""
        return self._wanted or "logits"

    @wanted.setter
    def wanted(self, kind: FeatureKind) -> None:
        if kind == "logits" and not self._writes:
            raise WeightsError(
                "The model has lost the part that writes, as an earlier run did not need it.",
                "Start from a run that wrote texts, or from the pretrained model.",
                field="backbone.start_from",
            )
        if kind != "logits" and self._wanted in (None, "logits"):
            self.model, self._writes = self.reader(), False
        self._wanted = kind

    def take_over(self, state: Mapping[str, Tensor], assets: Path) -> list[str]:
        """Take over what an earlier run has learned, be it a whole model or the part that reads."""
        whole = self.state_dict()
        if self._wanted is not None or any(name in whole for name in state):
            return super().take_over(state, assets)
        prefix = "model."
        part = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        fit_state_dict(self.reader(), part, path=assets.parent)
        self._writes = False
        return []

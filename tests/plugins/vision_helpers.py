"""Shared by the tests of the image backbones."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlstudio.api import Backbone, BackboneFamily
from tlstudio.api.nn import LayerGroup
from tlstudio_vision.options import VisionOptions

RANDOM = VisionOptions(weights="random")
PHOTOS = Path(str(files("sklearn.datasets.images").joinpath("china.jpg"))).parent


def member(family: BackboneFamily, name: str) -> Backbone:
    found = family.get(name)
    assert found is not None
    return found


def check_groups(network: nn.Module, groups: list[LayerGroup]) -> None:
    ids = [id(parameter) for group in groups for parameter in group.parameters()]
    assert len(ids) == len(set(ids)), "a parameter is in two groups"
    assert set(ids) == {id(parameter) for parameter in network.parameters()}, "a parameter is in no group"
    names = [group.name for group in groups]
    assert all(names)
    assert len(groups) >= 2


def pixels(size: int, count: int = 2) -> dict[str, torch.Tensor]:
    return {"pixels": torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))}


def pooled(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = network.eval()(inputs).require("pooled")
    return result

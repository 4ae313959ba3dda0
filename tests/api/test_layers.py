"""Layer groups hold every parameter exactly once, whatever the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlstudio.api.layers import cut_into_groups, layer_title, natural_groups
from tlstudio.api.nn import LayerGroup


class Odd(nn.Module):
    """Parameters of its own, a shared one, and one that appears in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.embed = nn.Embedding(5, 4)
        first, second, third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        third.weight = first.weight
        self.layers = nn.ModuleList([nn.Sequential(linear, nn.ReLU()) for linear in (first, second, third)])
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 5)
        self.out.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        """Not needed here."""
        return x


def check(network: nn.Module, groups: list[LayerGroup]) -> None:
    ids = [id(parameter) for group in groups for parameter in group.parameters()]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in network.parameters()}


def test_natural_groups_follow_the_layers_and_are_complete() -> None:
    network = Odd()
    groups = natural_groups(network, ["layers"])
    check(network, groups)
    assert [group.name for group in groups] == ["tokens", "embed", "layer 1", "layer 2", "layer 3", "norm", "out"]


def test_groups_by_name_are_complete_and_use_whole_modules() -> None:
    network = Odd()
    groups = cut_into_groups(network, lambda name: 1 if name.startswith(("layers", "norm", "out")) else 0)
    check(network, groups)
    assert network.layers in groups[1].modules
    assert network.norm in groups[1].modules


def test_freezing_a_group_freezes_single_parameters_too() -> None:
    network = Odd()
    natural_groups(network, ["layers"])[0].requires_grad_(False)
    assert not network.token.requires_grad
    assert network.embed.weight.requires_grad


def test_a_network_without_parameters_has_no_groups() -> None:
    assert natural_groups(nn.Sequential(nn.ReLU())) == []


def test_titles_are_words_counted_from_one() -> None:
    assert layer_title("encoder.layer.0") == "layer 1"
    assert layer_title("stages.2") == "stage 3"
    assert layer_title("stages.2.blocks") == "stage 3"
    assert layer_title("layer4") == "layer 4"
    assert layer_title("blocks.0.0") == "block 1"
    assert layer_title("patch_embed") == "patch embed"
    assert layer_title("tokens") == "tokens"

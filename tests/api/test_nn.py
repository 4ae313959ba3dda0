"""What stays frozen, what learns, and how parameters are grouped."""

from __future__ import annotations

import torch
from torch import nn

from tlstudio.api.nn import (
    LayerGroup,
    ParamGroup,
    count_parameters,
    grouped_parameters,
    learning_names,
    set_train_mode,
)


class Block(nn.Module):
    """A convolution, a BatchNorm with or without scale, and dropout."""

    def __init__(self, *, affine: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3, affine=affine)
        self.drop = nn.Dropout(0.5)


def frozen(module: nn.Module) -> nn.Module:
    """Freeze a module."""
    return module.requires_grad_(False)


def test_a_frozen_block_is_in_evaluation_mode_with_its_norm_and_dropout() -> None:
    first, second = frozen(Block()), Block()
    model = nn.Sequential(first, second)
    set_train_mode(model)
    assert [m.training for m in first.modules()] == [False] * 4
    assert [m.training for m in second.modules()] == [True] * 4


def test_statistics_of_a_frozen_norm_do_not_move_and_those_of_a_learning_one_do() -> None:
    still, moving = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    before = still.get_buffer("running_mean").clone()
    model = nn.Sequential(frozen(still), nn.Linear(4, 4), moving)
    model.train()
    set_train_mode(model)
    model(torch.randn(8, 4) + 5)
    assert torch.equal(still.get_buffer("running_mean"), before)
    assert not torch.equal(moving.get_buffer("running_mean"), before)


def test_a_norm_without_scale_keeps_still_in_a_half_frozen_block_and_learns_in_a_learning_one() -> None:
    half, whole = Block(affine=False), Block(affine=False)
    half.conv.weight.requires_grad_(False)
    model = nn.Sequential(half, whole)
    set_train_mode(model)
    assert not half.norm.training
    assert half.drop.training
    assert whole.norm.training


def test_a_module_whose_own_parameters_are_frozen_is_in_evaluation_mode_though_an_adapter_inside_learns() -> None:
    attention = nn.MultiheadAttention(4, 1, dropout=0.5, batch_first=True)
    frozen(attention)
    attention.adapter = nn.Linear(4, 4)
    set_train_mode(attention)
    assert not attention.training
    assert attention.adapter.training
    x = torch.randn(1, 5, 4)
    assert torch.equal(attention(x, x, x)[0], attention(x, x, x)[0])


def test_layers_that_are_unfrozen_again_are_in_training_mode_again() -> None:
    block = Block()
    model = nn.Sequential(block, nn.Linear(2, 2))
    frozen(block)
    set_train_mode(model)
    block.requires_grad_(True)
    set_train_mode(model)
    assert all(module.training for module in model.modules())


def test_learning_names_are_parameters_that_learn_and_statistics_that_move() -> None:
    model = nn.Sequential(frozen(Block()), Block())
    model.eval()
    assert learning_names(model) == {
        "1.conv.weight",
        "1.conv.bias",
        "1.norm.weight",
        "1.norm.bias",
        "1.norm.running_mean",
        "1.norm.running_var",
        "1.norm.num_batches_tracked",
    }
    assert not any(module.training for module in model.modules()), "the modes are left as they were"


def test_a_shared_parameter_learns_under_each_of_its_names() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    assert {"a.weight", "b.weight"} <= learning_names(model)


def test_buffers_that_are_not_in_the_state_dict_are_not_named() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("scratch", torch.zeros(2), persistent=False)
    assert learning_names(model) == {"weight", "bias"}


def test_matrices_decay_and_vectors_do_not() -> None:
    layer, norm = nn.Linear(3, 2), nn.LayerNorm(2)
    groups = grouped_parameters(
        [("head", layer.parameters(), 0.1), ("norm", norm.parameters(), 0.2), ("none", [], 0.3)], weight_decay=0.05
    )
    assert groups == [
        ParamGroup("head", [layer.get_parameter("weight")], 0.1, 0.05),
        ParamGroup("head", [layer.get_parameter("bias")], 0.1, 0.0),
        ParamGroup("norm", list(norm.parameters()), 0.2, 0.0),
    ]


def test_a_parameter_that_two_groups_share_is_given_once() -> None:
    layer = nn.Linear(3, 2, bias=False)
    groups = grouped_parameters([("a", layer.parameters(), 0.1), ("b", layer.parameters(), 0.2)], weight_decay=0.0)
    assert [group.name for group in groups] == ["a"]


def test_a_layer_group_gives_each_parameter_once_and_freezes_them_all() -> None:
    layer = nn.Linear(3, 2)
    group = LayerGroup("twice", (layer, nn.Sequential(layer, nn.Linear(2, 2))))
    assert len(list(group.parameters())) == 4
    group.requires_grad_(False)
    assert count_parameters(nn.ModuleList(group.modules)) == (0, 8 + 6)

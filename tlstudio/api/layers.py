"""Cutting any network into layer groups that hold every parameter exactly once. Imports torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from torch import nn

from tlstudio.api.nn import LayerGroup

__all__ = ["cut_into_groups", "layer_title", "natural_groups", "stacks"]


def cut_into_groups(
    network: nn.Module, position: Callable[[str], int], title: Callable[[int], str] = "layer {}".format
) -> list[LayerGroup]:
    """Cut a network into layer groups by the names of its parameters.

    The groups are complete by construction: a parameter belongs to the group of the first name under which torch
    lists it, so one that is shared between layers is counted once. A group holds whole modules wherever all that a
    module contains belongs to it, and otherwise a parameter list that refers to the single parameters.

    Args:
        network: The network, with its final weights already in place.
        position: Tells where a parameter of this name stands between input (low) and output (high).
        title: Makes the name of the group at a position.

    Returns:
        The groups that hold at least one parameter, from input to output.
    """
    place = {id(parameter): position(name) for name, parameter in network.named_parameters()}
    modules: dict[int, list[nn.Module]] = {}
    taken: set[int] = set()
    for where, module in _pieces(network, place):
        fresh = [p for p in module.parameters() if id(p) not in taken]
        if fresh:
            taken.update(id(p) for p in fresh)
            modules.setdefault(where, []).append(module)
    return [LayerGroup(title(where), tuple(modules[where])) for where in sorted(modules)]


def _pieces(module: nn.Module, place: dict[int, int]) -> Iterator[tuple[int, nn.Module]]:
    positions = {place[id(p)] for p in module.parameters()}
    if len(positions) == 1:
        yield positions.pop(), module
    elif positions:
        for parameter in module.parameters(recurse=False):
            # A parameter of its own right (a class token): only a parameter list can stand for it in a group.
            yield place[id(parameter)], nn.ParameterList([parameter])
        for child in module.children():
            yield from _pieces(child, place)


def natural_groups(network: nn.Module, containers: Sequence[str] = ()) -> list[LayerGroup]:
    """Cut a network along its children in the order in which they were registered: right for most networks.

    Args:
        network: The network, with its final weights already in place.
        containers: Dotted names of modules whose own children become groups, such as ``"features"`` or
            ``"encoder.layers"``. The ancestors of each are opened as well.

    Returns:
        Groups named after the modules, without those that have no parameters.
    """
    opened = {"", *containers}
    for name in containers:
        while "." in name:
            name = name.rpartition(".")[0]
            opened.add(name)
    order: dict[str, int] = {}

    def unit(parameter: str) -> str:
        parts = parameter.split(".")
        # The first ancestor that is not opened; a parameter that hangs on an opened module stands for itself.
        return next((n for i in range(1, len(parts)) if (n := ".".join(parts[:i])) not in opened), parameter)

    for name, _ in network.named_modules():
        if name:
            order.setdefault(unit(f"{name}.weight"), len(order))
    first: dict[str, int] = {}
    for name, _ in network.named_parameters():
        key = unit(name)
        # Tokens and position tables come in with the input.
        first[name] = order.get(key, -1)
    names = {number: name for name, number in order.items()}
    return cut_into_groups(network, first.__getitem__, lambda number: layer_title(names.get(number, "tokens")))


def layer_title(name: str) -> str:
    """Turn the dotted name of a module into words: ``"encoder.layer.0"`` into ``"layer 1"``, counted from 1."""
    numbered = re.findall(r"([A-Za-z][A-Za-z0-9_]*?)s?\.(\d+)(?=\.|$)", name)
    if numbered:
        return " ".join(f"{word.strip('_').replace('_', ' ')} {int(number) + 1}" for word, number in numbered)
    last = name.rpartition(".")[2].replace("_", " ")
    return re.sub(r"(?<=[A-Za-z])(?=\d+$)", " ", last)


def stacks(network: nn.Module) -> list[str]:
    """Names of the lists of layers that are not part of another list."""
    names: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in names):
            names.append(name)
    return names

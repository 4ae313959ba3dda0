"""Parameters of a network: groups in which they are frozen and learn, and what stays frozen. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Consecutive layers that are frozen, unfrozen and given a learning rate together.

    Attributes:
        name: For people and logs: ``"stem"``, ``"stage 3"``, ``"layer 6"``.
        modules: The modules of the group.
    """

    name: str
    modules: tuple[nn.Module, ...]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield its parameters, each once."""
        seen: set[int] = set()
        for module in self.modules:
            for parameter in module.parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def requires_grad_(self, value: bool) -> None:
        """Freeze or unfreeze all its parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(value)


@dataclass(slots=True)
class ParamGroup:
    """Parameters that share a learning rate and weight decay.

    Attributes:
        name: For logs and plots: ``"head"``, ``"backbone"``, ``"layer 6"``.
        params: The parameters.
        lr: Peak learning rate; the schedule scales it.
        weight_decay: Weight decay.
    """

    name: str
    params: list[nn.Parameter]
    lr: float
    weight_decay: float = 0.0


def stand_for(parameter: nn.Parameter, numbers: int) -> None:
    """Say that a parameter stands for so many numbers of a network, which are kept in another form."""
    vars(parameter)["stands_for"] = numbers


def numbers_of(parameter: nn.Parameter) -> int:
    """How many numbers of a network a parameter is, or stands for."""
    return int(vars(parameter).get("stands_for", parameter.numel()))


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return ``(learning, all)`` numbers of parameters."""
    sizes = [(numbers_of(p), p.requires_grad) for p in module.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)


def learning_names(model: nn.Module) -> set[str]:
    """Names in the state dict that may change while ``requires_grad`` stays as it is now.

    These are the parameters that require a gradient (under each name, where one is shared), and the buffers of
    modules that `set_train_mode` trains. The modes of the model are left as they were.
    """
    names = {name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    modes = [(module, module.training) for module in model.modules()]
    set_train_mode(model)
    buffers = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules(remove_duplicate=False)
        if module.training
        for name, _ in module.named_buffers(recurse=False)
    }
    for module, mode in modes:
        module.training = mode
    return (names | buffers) & set(model.state_dict())


def set_train_mode(model: nn.Module) -> None:
    """Put a model into training mode but keep what is frozen in evaluation mode.

    ``model.train()`` alone revives the running statistics of a frozen BatchNorm and the dropout of frozen layers.
    Kept in evaluation mode are:

    - a module with parameters of which none learns, with all that is inside it (its dropout, say);
    - a module whose own parameters are frozen although something inside it learns (an adapter); only itself;
    - a module with running statistics of whose own parameters some are frozen (BatchNorm of which the bias alone
      learns);
    - a module that has running statistics but no parameters (BatchNorm without scale), where the module it lies in
      is frozen in part: nothing tells whether it should move, and moving it would change what the frozen part gives.
    """
    model.train()
    _keep_frozen(model)


def _keep_frozen(module: nn.Module) -> tuple[int, int]:
    """Put what is frozen into evaluation mode; returns how many parameters learn, and how many there are."""
    own = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
    learning, total = sum(own), len(own)
    without: list[nn.Module] = []
    for child in module.children():
        child_learning, child_total = _keep_frozen(child)
        learning, total = learning + child_learning, total + child_total
        if child_total == 0:
            without.append(child)
    if total and not learning:
        module.eval()
        return learning, total
    if own and not (all(own) if getattr(module, "running_mean", None) is not None else any(own)):
        module.training = False
    if learning < total:
        for child in without:
            if next(child.buffers(), None) is not None:
                child.eval()
    return learning, total


def grouped_parameters(
    groups: Iterable[tuple[str, Iterable[nn.Parameter], float]], *, weight_decay: float
) -> list[ParamGroup]:
    """Make parameter groups in which biases and the like do not decay.

    Weight decay is for matrices: scales and biases (one dimension or none) are left alone, as is usual since
    Loshchilov & Hutter's AdamW (arXiv:1711.05101) and in timm.

    Args:
        groups: ``(name, parameters, learning rate)``. A parameter that is shared between groups goes with the first.
        weight_decay: Weight decay of the matrices.
    """
    result = []
    seen: set[int] = set()
    for name, parameters, lr in groups:
        every = []
        for parameter in parameters:
            if id(parameter) not in seen:
                seen.add(id(parameter))
                every.append(parameter)
        matrices = [p for p in every if p.ndim > 1]
        vectors = [p for p in every if p.ndim <= 1]
        if matrices:
            result.append(ParamGroup(name, matrices, lr, weight_decay))
        if vectors:
            result.append(ParamGroup(name, vectors, lr, 0.0))
    return result

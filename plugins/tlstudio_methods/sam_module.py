"""The two gradients of SAM as a torch module. Imported only when it is built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from tlstudio.api.method_modules import MethodContext, MethodModule

__all__ = ["SAMModule"]


class SAMModule(MethodModule):
    """Takes the gradient at ``w + e``, ``e = rho * g / ||g||`` with the gradient g at w (Foret et al., algorithm 1).

    With ASAM, ``e = rho * T^2 g / ||T g||`` with ``T = |w| + eta`` (Kwon et al., equation 7 and section 4). Neither
    changes when g is scaled, as in 16 bits. The norm is that of all parameters of the model that learn; those of other
    methods stay where they are. Of a step that is made of several batches, each has a push of its own. Both gradients
    are of the same loss: what is random in it, such as dropout and the shares of mixup, is drawn alike.

    Args:
        context: The run.
        rho: Length of the push.
        eta: Added to the sizes of weights in ASAM; `None`: SAM.
    """

    def __init__(self, context: MethodContext, *, rho: float, eta: float | None) -> None:
        super().__init__(context)
        self._rho = rho
        self._eta = eta
        self._sharpness = torch.zeros(())

    def backward(self, compute: Callable[[], Tensor]) -> Tensor:
        """Compute the gradients of a batch twice and keep the second; returns the losses where the weights are."""
        modules = self.context.modules()
        earlier = [(parameter, parameter.grad) for module in modules for parameter in module.parameters()]
        _forget(parameter for parameter, _ in earlier)
        with _drawn_again(modules):
            losses = compute()
        with self._pushed([p for p in self.context.model.parameters() if p.grad is not None]):
            _forget(parameter for parameter, _ in earlier)
            with _statistics_kept(modules):
                uphill = compute()
        for parameter, gradient in earlier:
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        self._sharpness = (uphill.detach() - losses.detach()).mean()
        return losses

    def quantities(self) -> Mapping[str, float]:
        """How much larger the loss is uphill."""
        return {"sharpness": float(self._sharpness)}

    @contextlib.contextmanager
    def _pushed(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        """Inside, parameters lie uphill along their gradients."""
        before = [parameter.detach().clone() for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        with torch.no_grad():
            scales = [w.abs() + self._eta for w in before] if self._eta is not None else None
            scaled = gradients if scales is None else [g * t for g, t in zip(gradients, scales, strict=True)]
            norm = torch.nn.utils.get_total_norm(scaled)
            # Of a gradient that is zero, or beyond what 16 bits can hold, no direction is known.
            length = torch.where(torch.isfinite(norm) & (norm > 0), self._rho / norm, 0.0)
            for number, parameter in enumerate(parameters):
                push = scaled[number] if scales is None else scaled[number] * scales[number]
                parameter.add_(torch.nan_to_num(push * length.to(push), nan=0.0, posinf=0.0, neginf=0.0))
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)


def _forget(parameters: Iterator[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


@contextlib.contextmanager
def _drawn_again(modules: Sequence[nn.Module]) -> Iterator[None]:
    """What is drawn inside is drawn once more behind it."""
    devices = {parameter.device for module in modules for parameter in module.parameters()}
    with torch.random.fork_rng(devices=[device for device in devices if device.type == "cuda"]):
        yield


@contextlib.contextmanager
def _statistics_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """What is computed inside moves no buffers: running statistics have seen the batch already."""
    before = [
        (module, name, buffer.clone())
        for module in modules
        for name, buffer in module.named_buffers()
        if buffer.numel()
    ]
    yield
    with torch.no_grad():
        for module, name, value in before:
            module.get_buffer(name).copy_(value)

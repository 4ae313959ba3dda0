"""Less memory for more time: activations are computed again in the backward pass instead of being kept.

Chen et al. 2016, arXiv:1604.06174, over the layer groups of the backbone. Dropout draws the same numbers again, and
BatchNorm takes each batch into its statistics once, so that the run learns what it would have learned without.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from tlstudio.api.nn import LayerGroup


def recompute_activations(groups: Sequence[LayerGroup]) -> None:
    """Make each module of the groups keep its inputs only; it cannot be undone.

    Args:
        groups: Layer groups of a backbone, as prepared by the strategy.
    """
    for group in groups:
        for module in group.modules:
            module.forward = functools.partial(  # of this one object alone
                checkpoint,
                module.forward,
                use_reentrant=False,
                context_fn=functools.partial(_contexts, module),
            )


def _contexts(
    module: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    return contextlib.nullcontext(), _same_statistics(module)


@contextlib.contextmanager
def _same_statistics(module: nn.Module) -> Iterator[None]:
    """Keep what BatchNorm has gathered as it is while a batch passes a second time."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked

"""Distances between the distributions of two batches. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor

from tlstudio_methods.adaptation_module import exact

__all__ = ["coral_distance", "mmd_distance"]


def coral_distance(source: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance of covariances, over ``4 d^2`` (Sun and Saenko 2016, eq. 1 to 3).

    Args:
        source: ``[n, d]``, n at least 2.
        target: ``[m, d]``, m at least 2.
    """
    with torch.autocast(source.device.type, enabled=False):
        difference = _covariance(exact(source)) - _covariance(exact(target))
        return difference.square().sum() / (4 * source.shape[1] ** 2)


def _covariance(values: Tensor) -> Tensor:
    centred = values - values.mean(dim=0)
    return centred.T @ centred / (len(values) - 1)


def mmd_distance(
    source: Tensor, target: Tensor, *, kernels: int = 5, factor: float = 2.0, unbiased: bool = True
) -> Tensor:
    """Squared maximum mean discrepancy with the mean of several Gaussian kernels ``exp(-||x - y||^2 / gamma)``.

    Gammas are ``factor ** (u - kernels // 2)`` times the median squared distance of all pairs (Gretton et al. 2012;
    Long et al. 2015, section 4.1), through which no gradient goes.

    Args:
        source: ``[n, D]``, n at least 2.
        target: ``[m, D]``, m at least 2.
        kernels: Number of kernels.
        factor: Between a gamma and the next.
        unbiased: Whether pairs of a sample with itself are left out.
    """
    with torch.autocast(source.device.type, enabled=False):
        both = torch.cat([exact(source), exact(target)])
        squares = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").square()
        number = len(both)
        pairs = torch.triu(torch.ones(number, number, dtype=torch.bool, device=both.device), diagonal=1)
        median = squares.detach()[pairs].median().clamp(min=torch.finfo(both.dtype).tiny)
        alike = torch.stack([torch.exp(-squares / (median * factor ** (u - kernels // 2))) for u in range(kernels)])
        alike = alike.mean(dim=0)
        n, m = len(source), len(target)
        within_source, within_target = alike[:n, :n], alike[n:, n:]
        if unbiased:
            first = (within_source.sum() - n) / (n * (n - 1))  # a sample's likeness to itself is 1
            second = (within_target.sum() - m) / (m * (m - 1))
        else:
            first, second = within_source.mean(), within_target.mean()
        return first + second - 2 * alike[:n, n:].mean()

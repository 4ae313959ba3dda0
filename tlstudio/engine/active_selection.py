"""Which items to label next: the mathematics of active learning, on arrays. Light: numpy alone.

Every function gives positions of items, the most wanted first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["badge", "gradient_embeddings", "highest", "k_center", "residuals", "uncertainty"]

Matrix = NDArray[np.floating]
Positions = NDArray[np.int64]


def uncertainty(probabilities: Matrix, measure: str, *, several: bool = False) -> NDArray[np.float64]:
    """Say how unsure a model is of each item, more being less sure (Settles 2009, section 3.1).

    Args:
        probabilities: ``[N, K]``: of K classes, or of each of K labels by itself.
        measure: ``"confidence"``: 1 minus the probability of what is predicted. ``"margin"``: how little it is ahead of
            the next, 1 minus the difference. ``"entropy"``: in nats.
        several: Whether each label is a yes or no of its own; the mean over the labels is then taken.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if several:
        both = np.stack([p, 1.0 - p], axis=2).reshape(-1, 2)
        each: NDArray[np.float64] = uncertainty(both, measure).reshape(p.shape).mean(axis=1)
        return each
    if measure == "entropy":
        entropies: NDArray[np.float64] = -(p * np.log(np.clip(p, 1e-300, None))).sum(axis=1)
        return entropies
    best: NDArray[np.float64] = np.sort(p, axis=1)[:, ::-1]
    return 1.0 - (best[:, 0] - best[:, 1]) if measure == "margin" else 1.0 - best[:, 0]


def highest(scores: NDArray[np.float64], count: int) -> Positions:
    """Positions of the highest scores; of equal ones, the first come first."""
    return np.argsort(-scores, kind="stable")[:count]


def k_center(features: Matrix, labelled: Matrix, count: int) -> tuple[Positions, NDArray[np.float64]]:
    """Choose items so that no item is far from a chosen or labelled one: greedily the farthest, again and again.

    No item is then more than twice as far as with the best choice (Sener & Savarese 2018, arXiv:1708.00489, alg. 1).

    Args:
        features: Of the items, ``[N, D]``.
        labelled: Of those that have labels, ``[M, D]``; if there are none, it begins with the item farthest from the
            mean.
        count: How many to choose.

    Returns:
        The positions, and the distance that each had when it was chosen, ``[count]``.
    """
    x = np.asarray(features, dtype=np.float64)
    known = np.asarray(labelled, dtype=np.float64)
    nearest = np.full(len(x), np.inf)
    for row in known if len(known) else x.mean(axis=0, keepdims=True):
        nearest = np.minimum(nearest, np.square(x - row).sum(axis=1))
    chosen: list[int] = []
    distances: list[float] = []
    for _ in range(min(count, len(x))):
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        distances.append(float(np.sqrt(max(nearest[farthest], 0.0))))
        away = np.square(x - x[farthest]).sum(axis=1)
        nearest = away if len(chosen) == 1 and not len(known) else np.minimum(nearest, away)
        nearest[chosen] = -1.0
    return np.array(chosen, dtype=np.int64), np.array(distances)


def residuals(probabilities: Matrix, *, several: bool = False) -> NDArray[np.float64]:
    """Gradient of the loss for the outputs, ``[N, K]``, if what the model predicts were the label: ``p - y``."""
    p = np.asarray(probabilities, dtype=np.float64)
    labels = (p >= 0.5).astype(np.float64) if several else np.eye(p.shape[1])[p.argmax(axis=1)]
    errors: NDArray[np.float64] = (p - labels) / (p.shape[1] if several else 1)
    return errors


def gradient_embeddings(probabilities: Matrix, inputs: Matrix, *, several: bool = False) -> NDArray[np.float64]:
    """Gradient of the loss for the weights of the last layer, if what the model predicts were the label.

    That is ``(p - y) h^T`` (Ash et al. 2020, arXiv:1906.03671, section 3), ``[N, K * D]``: as large as it looks, and
    not needed by `badge`.

    Args:
        probabilities: ``[N, K]``.
        inputs: What the last layer takes, h, ``[N, D]``.
        several: Whether each label is a yes or no of its own, whose mean loss is learned.
    """
    errors = residuals(probabilities, several=several)
    products: NDArray[np.float64] = np.einsum("nk,nd->nkd", errors, np.asarray(inputs, dtype=np.float64))
    return products.reshape(len(errors), -1)


def badge(
    probabilities: Matrix, inputs: Matrix, count: int, rng: np.random.Generator, *, several: bool = False
) -> tuple[Positions, NDArray[np.float64]]:
    """Choose unsure items that differ: the seeding of k-means++ on gradient embeddings (Ash et al. 2020, alg. 1).

    The first is the one with the longest embedding; each other is drawn with a probability that is proportional to its
    squared distance from the nearest chosen one. Embeddings are products of two vectors, ``e h^T``, so that
    ``<e h^T, e' h'^T> = <e, e'> <h, h'>``: they are never written down.

    Args:
        probabilities: ``[N, K]``.
        inputs: ``[N, D]``; see `gradient_embeddings`.
        count: How many to choose.
        rng: Draws.
        several: See `gradient_embeddings`.

    Returns:
        The positions, and the length of the embedding of each, ``[count]``.
    """
    errors, h = residuals(probabilities, several=several), np.asarray(inputs, dtype=np.float64)
    squares = np.square(errors).sum(axis=1) * np.square(h).sum(axis=1)
    chosen = [int(squares.argmax())][:count]
    nearest = np.full(len(h), np.inf)
    while len(chosen) < min(count, len(h)):
        last = chosen[-1]
        products = (errors @ errors[last]) * (h @ h[last])
        nearest = np.minimum(nearest, np.maximum(squares + squares[last] - 2 * products, 0.0))
        nearest[chosen] = 0.0
        total = nearest.sum()
        if total <= 0:  # all others are as one of the chosen
            rest = np.setdiff1d(np.arange(len(h)), chosen)
            chosen += rest[: count - len(chosen)].tolist()
            break
        chosen.append(int(rng.choice(len(h), p=nearest / total)))
    return np.array(chosen, dtype=np.int64), np.sqrt(squares[chosen])

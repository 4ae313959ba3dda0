"""What active learning chooses, against brute force and autograd in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tlstudio.engine.active_selection import badge, gradient_embeddings, highest, k_center, uncertainty


def probabilities(count: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=count)


def test_the_least_sure_come_first() -> None:
    p = np.array([[0.9, 0.1, 0.0], [0.5, 0.49, 0.01], [0.4, 0.3, 0.3]])
    assert uncertainty(p, "confidence") == pytest.approx([0.1, 0.5, 0.6])
    assert uncertainty(p, "margin") == pytest.approx([0.2, 0.99, 0.9])
    entropies = [-sum(value * np.log(value) for value in row if value) for row in p]
    assert uncertainty(p, "entropy") == pytest.approx(entropies)
    assert highest(uncertainty(p, "margin"), 2).tolist() == [1, 2]
    labels = np.array([[0.5, 1.0], [0.9, 0.1]])
    assert uncertainty(labels, "margin", several=True) == pytest.approx([0.5, 0.2])


def test_k_center_takes_the_farthest_again_and_again_and_is_at_most_twice_as_far_as_the_best() -> None:
    rng = np.random.default_rng(1)
    items, labelled = rng.normal(size=(12, 3)), rng.normal(size=(3, 3))
    chosen, distances = k_center(items, labelled, 4)

    def to_nearest(item: np.ndarray, centres: list[np.ndarray]) -> float:
        return min(float(np.linalg.norm(item - centre)) for centre in centres)

    centres = list(labelled)
    for number, distance in zip(chosen.tolist(), distances.tolist(), strict=True):
        gaps = [to_nearest(item, centres) for item in items]
        assert number == int(np.argmax(gaps))
        assert distance == pytest.approx(max(gaps))
        centres.append(items[number])

    def radius(picked: tuple[int, ...]) -> float:
        return max(to_nearest(item, [*labelled, *items[list(picked)]]) for item in items)

    best = min(radius(picked) for picked in itertools.combinations(range(12), 4))
    assert radius(tuple(chosen.tolist())) <= 2 * best + 1e-9
    without, _ = k_center(items, np.empty((0, 3)), 12)
    assert sorted(without.tolist()) == list(range(12))


@pytest.mark.parametrize("several", [False, True])
def test_embeddings_of_badge_are_gradients_of_the_last_layer_for_what_is_predicted(several: bool) -> None:
    rng = np.random.default_rng(2)
    h, weight = torch.tensor(rng.normal(size=(5, 4))), torch.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    logits = h @ weight.T
    if several:
        p = logits.sigmoid()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, (p >= 0.5).double(), reduction="none")
        losses = losses.mean(dim=1)
    else:
        p = logits.softmax(dim=1)
        losses = torch.nn.functional.cross_entropy(logits, p.argmax(dim=1), reduction="none")
    expected = [torch.autograd.grad(loss, weight, retain_graph=True)[0].flatten().numpy() for loss in losses]
    assert gradient_embeddings(p.detach().numpy(), h.numpy(), several=several) == pytest.approx(np.stack(expected))


def test_badge_draws_by_squared_distances_between_embeddings_that_it_never_writes_down() -> None:
    p, h = probabilities(30, 4, seed=3), np.random.default_rng(4).normal(size=(30, 6))
    embeddings = gradient_embeddings(p, h)
    chosen, lengths = badge(p, h, 6, np.random.default_rng(5))
    draws = np.random.default_rng(5)
    expected = [int(np.linalg.norm(embeddings, axis=1).argmax())]
    while len(expected) < 6:
        apart = np.square(embeddings[:, None] - embeddings[expected][None]).sum(axis=2).min(axis=1)
        expected.append(int(draws.choice(30, p=apart / apart.sum())))
    assert chosen.tolist() == expected
    assert lengths == pytest.approx(np.linalg.norm(embeddings[expected], axis=1))


def test_badge_chooses_as_many_as_are_wanted_where_all_are_alike() -> None:
    chosen, _ = badge(np.full((5, 2), 0.5), np.ones((5, 3)), 4, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 4
    assert len(badge(np.full((5, 2), 0.5), np.ones((5, 3)), 9, np.random.default_rng(0))[0]) == 5

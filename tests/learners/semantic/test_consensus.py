"""The worked example of two nodes with free features: terms, gradients, and the limit of Algorithm I."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from learners.semantic.coding_rate import CodingRateReduction, class_sums, moments, rates
from learners.semantic.consensus import PenalizedRate, dual_and_anchor

LABELS = torch.tensor([0, 0, 1])
ONES = torch.ones(3, dtype=torch.float64)
START = [
    torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64),
    torch.tensor([[0.8, 0.6], [1.0, 0.0], [0.6, -0.8]], dtype=torch.float64),
]
HELD = torch.ones(2, dtype=torch.float64)
OBJECTIVE = PenalizedRate(CodingRateReduction(0.5), 5.0)


class Free:
    """An encoder whose only parameter is the features themselves."""

    num_classes, feature_dim = 2, 2

    def representation(self, parameters: tuple[Tensor, ...], inputs: Tensor) -> Tensor:
        return parameters[0]


def second_moments(z: Tensor) -> Tensor:
    return moments(*class_sums(z, LABELS, ONES, 2))


def exchanged(z: list[Tensor], y: list[Tensor]) -> list[tuple[Tensor, ...]]:
    """Y, T, m, c of both nodes after their exchange."""
    v = [second_moments(features) for features in z]
    return [dual_and_anchor(y[i], v[i], HELD, 0.1, [v[1 - i]], [HELD]) for i in (0, 1)]


def loss(z: Tensor, args: tuple[Tensor, ...]) -> Tensor:
    return OBJECTIVE(Free(), (z,), z, LABELS, ONES, *args)


def no_dual() -> list[Tensor]:
    return [torch.zeros(2, 2, 2, dtype=torch.float64) for _ in (0, 1)]


def test_second_moments_and_their_gap() -> None:
    v = [second_moments(features) for features in START]
    expected = [
        [[[0.68, 0.24], [0.24, 0.32]], [[0, 0], [0, 1]]],
        [[[0.82, 0.24], [0.24, 0.18]], [[0.36, -0.48], [-0.48, 0.64]]],
    ]
    for found, values in zip(v, expected, strict=True):
        assert torch.allclose(found, torch.tensor(values, dtype=torch.float64), atol=1e-12)
    assert float((v[0] - v[1]).square().sum()) == pytest.approx(0.7592, abs=1e-12)


def test_terms_of_the_first_round() -> None:
    args = exchanged(START, no_dual())
    y = [[[-0.014, 0.0], [0.0, 0.014]], [[-0.036, 0.048], [0.048, 0.036]]]
    assert torch.allclose(args[0][0], torch.tensor(y, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(args[1][0], -args[0][0], atol=1e-15)
    terms = [(-1.073290, 0.942530, 0.030960, 0.474500, 0.374700), (-1.073290, 0.889082, 0.044960, 0.474500, 0.335252)]
    for z, (y_i, *anchor), (rate, class_rate, dual, penalty, total) in zip(START, args, terms, strict=True):
        v, shares = second_moments(z), torch.tensor([2 / 3, 1 / 3], dtype=torch.float64)
        found_rate, found_class_rate = rates(v, shares, 0.5)
        found_dual = float((y_i * v).sum())
        with_dual = float(OBJECTIVE.terms(v, y_i, *anchor).sum())
        found = [-float(found_rate), float(found_class_rate), found_dual, with_dual - found_dual]
        assert found == pytest.approx([rate, class_rate, dual, penalty], abs=1e-6)
        assert float(loss(z, (y_i, *anchor))) == pytest.approx(total, abs=1e-6)


def test_classes_weigh_by_agreed_numbers() -> None:
    """Of a network with 10 samples of class 0 and 90 of class 1: R = 1/2 log det(I + 4 (V^0 / 10 + 9 V^1 / 10)), Rc weighs by the same; the terms
    of the consensus stay. A minibatch without class 1 has one class only, whose share is 1."""
    args = exchanged(START, no_dual())[0]
    v, eye = second_moments(START[0]), torch.eye(2, dtype=torch.float64)
    numbers = torch.tensor([10.0, 90.0], dtype=torch.float64)
    expected = (
        -torch.logdet(eye + 0.4 * v[0] + 3.6 * v[1]) / 2
        + torch.logdet(eye + 4 * v[0]) / 20
        + 9 * torch.logdet(eye + 4 * v[1]) / 20
        + OBJECTIVE.terms(v, *args).sum()
    )
    assert float(loss(START[0], (*args, numbers))) == pytest.approx(float(expected), abs=1e-12)
    assert float(loss(START[0], args)) != pytest.approx(float(expected), abs=1e-3)
    first = ONES.clone()
    first[2] = 0  # padding
    found, own = (OBJECTIVE(Free(), (START[0],), START[0], LABELS, first, *args, *more) for more in ([numbers], []))
    assert float(found) == pytest.approx(float(own), abs=1e-12)


def test_gradient_of_the_first_round() -> None:
    args = exchanged(START, no_dual())
    found = torch.func.grad(loss)(START[0], args[0])
    expected = [[-0.458507, -0.069572], [-0.330762, 0.423571], [2.595740, 1.700225]]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_gradient_is_the_closed_form() -> None:
    """d loss / d Z^k = (2 / n^k) Z^k S^k,  S^k = -G^k + Y^k + rho sum_j (V^k - (V_i^k + V_j^k) / 2), after some steps."""
    z, y = [features.clone() for features in START], no_dual()
    for _ in range(3):
        args = exchanged(z, y)
        y = [arg[0] for arg in args]
        z = [torch.nn.functional.normalize(z[i] - 0.1 * torch.func.grad(loss)(z[i], args[i]), dim=1) for i in (0, 1)]
    v = [second_moments(features) for features in z]
    found = torch.func.grad(loss)(z[0], args[0])  # of the anchors of the round before: V is not (V_i + V_j) / 2 of now
    a, eye = 4.0, torch.eye(2, dtype=torch.float64)
    shares, target = [2 / 3, 1 / 3], args[0][1]
    m = sum(share * part for share, part in zip(shares, v[0], strict=True))
    for k, share in enumerate(shares):
        g = a * share / 2 * (torch.linalg.inv(eye + a * m) - torch.linalg.inv(eye + a * v[0][k]))
        s = -g + y[0][k] + 5.0 * (v[0][k] - target[k])
        mine = LABELS == k
        assert torch.allclose(found[mine], 2 / int(mine.sum()) * z[0][mine] @ s, atol=1e-10, rtol=0)


def test_free_features_reach_the_optimum_in_consensus() -> None:
    z, y = [features.clone() for features in START], no_dual()
    gaps = {0: 0.7592}
    for t in range(1, 301):
        args = exchanged(z, y)
        y = [arg[0] for arg in args]
        z = [torch.nn.functional.normalize(z[i] - 0.1 * torch.func.grad(loss)(z[i], args[i]), dim=1) for i in (0, 1)]
        v = [second_moments(features) for features in z]
        gaps[t] = float((v[0] - v[1]).square().sum())
        assert float((y[0] + y[1]).abs().max()) < 1e-15
        for part in y:
            assert float(part.diagonal(dim1=1, dim2=2).sum(1).abs().max()) < 1e-12
    for t, expected in {1: 2.4e-2, 2: 1.3e-2, 5: 2.1e-3, 10: 7.4e-4, 50: 3.6e-5, 100: 7.9e-7}.items():
        assert gaps[t] == pytest.approx(expected, rel=0.05)
    best = log(1 + 8 / 3) / 2 + log(1 + 4 / 3) / 2 - log(5) / 2
    for features in z:
        assert -float(CodingRateReduction(0.5)(Free(), (features,), features, LABELS, ONES)) == pytest.approx(
            0.268571, abs=1e-5
        )
    assert best == pytest.approx(0.268571, abs=1e-6)


def test_two_nodes_that_agree_have_the_pooled_rate() -> None:
    """And a rotation of one of them leaves its own rate, not the pooled one."""
    z = START[0]
    own = -float(CodingRateReduction()(Free(), (z,), z, LABELS, ONES))
    turn = torch.linalg.qr(torch.tensor([[0.3, 1.0], [1.0, -0.7]], dtype=torch.float64))[0]

    def pooled(a: Tensor, b: Tensor) -> float:
        both = torch.cat([a, b])
        return -float(CodingRateReduction()(Free(), (both,), both, LABELS.repeat(2), ONES.repeat(2)))

    assert pooled(z, z) == pytest.approx(own, abs=1e-12)
    rotated = z @ turn
    assert -float(CodingRateReduction()(Free(), (rotated,), rotated, LABELS, ONES)) == pytest.approx(own, abs=1e-12)
    assert pooled(z, rotated) < own - 0.01

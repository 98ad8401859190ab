"""Check values of the coding rates: closed forms, invariances, the gradient."""

from __future__ import annotations

from math import log
from types import SimpleNamespace

import pytest
import torch

from learners.semantic.coding_rate import (
    CodingRateReduction,
    class_sums,
    largest_rate_reduction,
    log_det,
    moments,
    rate_of,
    rate_reduction,
    rates,
)
from learners.task import cross_entropy

E = torch.eye(4, dtype=torch.float64)


@pytest.mark.parametrize(
    ("rows", "rate", "class_rate"),
    [
        ([0, 0, 1, 1], 1.609438, 1.098612),  # a class on one vector each
        ([0, 1, 2, 3], 2.197225, 1.609438),  # on two each: more diverse is better
        ([0, 1, 0, 1], None, None),  # both on the same two
    ],
)
def test_rates_of_four_dimensions(rows: list[int], rate: float | None, class_rate: float | None) -> None:
    labels = torch.tensor([0, 0, 1, 1])
    sums, counts = class_sums(E[rows], labels, torch.ones(4, dtype=torch.float64), 2)
    found = rates(moments(sums, counts), counts / 4, 0.5)
    if rate is None:
        assert float(found[0] - found[1]) == pytest.approx(0, abs=1e-12)
    else:
        assert [float(value) for value in found] == pytest.approx([rate, class_rate], abs=1e-6)
        assert rate_reduction(E[rows], labels, 2) == pytest.approx(rate - class_rate, abs=2e-6)


@pytest.mark.parametrize(("r", "expected"), [(1, 13.6300), (2, 21.3869), (4, 31.6808), (8, 43.4174), (12, 49.8894)])
def test_isotropic_classes_of_r_dimensions(r: int, expected: float) -> None:
    d, num_classes = 128, 10
    v = torch.zeros(num_classes, d, d, dtype=torch.float64)
    for k in range(num_classes):
        v[k, k * r : (k + 1) * r, k * r : (k + 1) * r] = torch.eye(r, dtype=torch.float64) / r
    rate, class_rate = rates(v, torch.full((num_classes,), 0.1, dtype=torch.float64), 0.5)
    assert float(rate - class_rate) == pytest.approx(expected, abs=5e-5)
    closed = num_classes * r / 2 * log(1 + d / (num_classes * r * 0.5)) - r / 2 * log(1 + d / (r * 0.5))
    assert float(rate - class_rate) == pytest.approx(closed, abs=1e-10)


@pytest.mark.parametrize(
    ("d", "num_classes", "expected"),
    [(128, 10, 50.8262), (128, 4, 35.1556), (32, 10, 12.7066), (8, 2, 1.17557), (8, 4, 2.19722), (12, 3, 2.69985),
     (16, 4, 4.39445)],
)  # fmt: skip
def test_the_ceiling(d: int, num_classes: int, expected: float) -> None:
    assert largest_rate_reduction(d, num_classes) == pytest.approx(expected, abs=5e-5)


def _features(n: int, d: int, seed: int) -> torch.Tensor:
    z = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return z / z.norm(dim=1, keepdim=True)


def test_order_and_rotation_do_not_matter_and_traces_are_one() -> None:
    z, labels = _features(30, 6, 1), torch.arange(30) % 3
    found = rate_reduction(z, labels, 3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    rotation = torch.linalg.qr(_features(6, 6, 3))[0]
    assert rate_reduction(z[order], labels[order], 3) == pytest.approx(found, abs=1e-12)
    assert rate_reduction(z @ rotation, labels, 3) == pytest.approx(found, abs=1e-12)
    sums, counts = class_sums(z, labels, torch.ones(30, dtype=torch.float64), 3)
    assert torch.allclose(moments(sums, counts).diagonal(dim1=1, dim2=2).sum(1), torch.ones(3, dtype=torch.float64))


class _Identity:
    """An encoder whose parameters are the features."""

    num_classes = 3

    def representation(self, parameters: tuple[torch.Tensor, ...], inputs: torch.Tensor) -> torch.Tensor:
        return parameters[0]


def test_gradient_is_the_closed_form() -> None:
    z, labels, eps = _features(24, 5, 4), torch.arange(24) % 2, 0.5  # class 2 has no sample
    labels[:3] = 0
    weights = torch.ones(24, dtype=torch.float64)
    objective = CodingRateReduction(eps)
    found = torch.func.grad(lambda z: objective(_Identity(), (z,), z, labels, weights))(z)
    sums, counts = class_sums(z, labels, weights, 3)
    v, eye, a = moments(sums, counts), torch.eye(5, dtype=torch.float64), 5 / eps
    m = sums.sum(0) / 24
    for k in (0, 1):
        g = a * counts[k] / 48 * (torch.linalg.inv(eye + a * m) - torch.linalg.inv(eye + a * v[k]))
        expected = -2 / counts[k] * z[labels == k] @ g
        assert torch.allclose(found[labels == k], expected, atol=1e-10, rtol=0)


def test_padding_counts_for_nothing() -> None:
    z, labels = _features(12, 4, 5), torch.arange(12) % 3
    weights = torch.ones(12, dtype=torch.float64)
    weights[8:] = 0
    padded = -CodingRateReduction()(_Identity(), (z,), z, labels, weights)
    assert float(padded) == pytest.approx(rate_reduction(z[:8], labels[:8], 3), abs=1e-12)
    assert float(CodingRateReduction()(_Identity(), (z,), z, labels, 0 * weights)) == 0


def test_no_log_det_where_a_matrix_is_not_positive_definite() -> None:
    matrices = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, 1.0]))])
    found = log_det(matrices)
    assert float(found[0]) == 0
    assert torch.isnan(found[1])


def test_the_distortion_is_that_of_the_task() -> None:
    assert rate_of(SimpleNamespace(objective=CodingRateReduction(0.3))).distortion == 0.3
    for task in (SimpleNamespace(objective=cross_entropy), SimpleNamespace()):
        with pytest.raises(ValueError, match="a CodingRateReduction is needed"):
            rate_of(task)

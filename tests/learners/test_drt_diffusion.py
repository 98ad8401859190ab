"""DRT diffusion: worked numbers, invariants of its weights, its single-tensor twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.averaging import mix
from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.data.digits import digits
from learners.data.partitions import dirichlet
from learners.decentralized import drt_weights as drt
from learners.decentralized.dpsgd import Dpsgd
from learners.decentralized.drt_diffusion import DrtDiffusion, combine, combine_masked
from learners.mixing import mixing_matrix
from learners.models.mlp import Mlp
from learners.models.resnet20 import ResNet20
from learners.task import Task
from tests.learners.oracle_runs import EXECUTORS, run

SIZES = (2, 2)
PSI = torch.tensor([[3.0, 4, 0, 2], [3, 1, 0, 1], [4, 4, 0, 2]], dtype=torch.float64)
THIRD = torch.full((2,), 1 / 3, dtype=torch.float64)
FREE = torch.ones(2, dtype=torch.float64)
NO_CLIP = 1e9


def ratios(k: int, l: int) -> Tensor:
    return drt.distances(drt.layer_norms(PSI[k] - PSI[l], SIZES), drt.layer_norms(PSI[k], SIZES))


def combined(kernel: str, normalization: str = "residual", **changes: Any) -> Tensor:
    rule = {"symmetric": False, "max_ratio": NO_CLIP, "min_own_weight": 0.0} | changes
    w, *_ = combine(PSI[0], [PSI[1], PSI[2]], THIRD, FREE, SIZES, kernel, normalization, *rule.values())
    return w


def test_distances_of_the_worked_example() -> None:
    """r, DRT, and its smooth form prod_p (1 + r_p^2) - 1, the penalty of the default kernel."""
    for (k, l), r, trust, smooth in [
        ((0, 1), [0.6, 0.5], 1.4, 0.7),
        ((0, 2), [0.2, 0], 0.2, 0.04),
        ((1, 0), [0.948683, 1], 2.897367, 2.8),
        ((2, 0), [0.176777, 0], 0.176777, 0.03125),
    ]:
        assert ratios(k, l).tolist() == pytest.approx(r, abs=5e-7)
        assert float(drt.deep_relative_trust(ratios(k, l))) == pytest.approx(trust, abs=5e-7)
        assert float(2 * penalty("prod_sq", PSI[k], [PSI[l]], SIZES)) == pytest.approx(smooth, abs=5e-7)


@pytest.mark.parametrize(
    ("kernel", "normalization", "w"),
    [
        ("prod_sq", "simplex", [3.307692, 2.846154, 0, 1.6]),
        ("prod_sq", "residual", [3.333333, 2.75, 0, 1.546667]),
        ("log_sq", "simplex", [3.356544, 3.182047, 0, 1.714286]),
        ("log_sq", "residual", [3.320513, 3.264706, 0, 1.733333]),
        ("classic", "simplex", [3.333333, 3, 0, 1.666667]),
        ("classic", "residual", [3.333333, 3, 0, 1.666667]),
    ],
)
def test_combinations_of_the_worked_example(kernel: str, normalization: str, w: list[float]) -> None:
    assert combined(kernel, normalization).tolist() == pytest.approx(w, abs=5e-7)


def test_measures_of_the_worked_example() -> None:
    """DRT 1.4 and 0.2; r^2 = (0.36, 0.25) and (0.04, 0): of prod_sq, kappa = (1.25, 1.36) and (1, 1.04), weights a third of it."""
    rule = "prod_sq", "residual", False, NO_CLIP, 0.0
    _, trust, own, largest = combine(PSI[0], [PSI[1], PSI[2]], THIRD, FREE, SIZES, *rule)
    assert trust.tolist() == pytest.approx([0.8, 1.4])
    assert own.tolist() == pytest.approx([1 - 2.25 / 3, 1 - 2.4 / 3])
    assert largest.tolist() == pytest.approx([1.25 / 3, 1.36 / 3])


def penalty(kernel: str, w: Tensor, others: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """1/2 sum_l F(r_kl), the norms of w below held fixed."""
    total = torch.zeros((), dtype=w.dtype)
    for other in others:
        r = drt.layer_norms(w - other, sizes) / drt.layer_norms(w.detach(), sizes)
        total = (
            total
            + {
                "classic": (r**2).sum(),
                "prod_sq": (1 + r**2).prod() - 1,
                "log_sq": torch.log1p(r**2).sum(),
                "drt_sq": ((1 + r).prod() - 1) ** 2,
                "log_abs": torch.log1p(r).sum(),
            }[kernel]
        )
    return total / 2


@pytest.mark.parametrize("kernel", drt.KERNELS)
def test_kernels_are_the_gradients_of_their_penalties(kernel: str) -> None:
    """d Phi / d w^(p) = sum_l kappa_l^(p) (w^(p) - w_l^(p)) / |w^(p)|^2, up to the factor of the two whose penalties have another
    scale: F = log(1 + r) has slope 1 where r^2 has 2 r."""
    generator = torch.Generator().manual_seed(1)
    sizes = (3, 5, 2)
    w, *others = torch.randn(4, 10, dtype=torch.float64, generator=generator).unbind(0)
    gradient = torch.func.grad(lambda x: penalty(kernel, x, others, sizes))(w)
    expected = torch.zeros_like(w)
    norms = drt.layer_norms(w, sizes)
    for other in others:
        r = drt.distances(drt.layer_norms(w - other, sizes), norms)
        kappa = torch.exp(drt.log_kernel(r, kernel)) / (2 if kernel == "log_abs" else 1)
        expected += torch.cat([f * (a - b) for f, a, b in zip(kappa / norms**2, w.split(sizes), other.split(sizes))])
    assert torch.allclose(gradient, expected, atol=1e-12)


def test_gradients_of_the_worked_example() -> None:
    for kernel, expected in [("prod_sq", [-0.04, 0.15, 0, 0.34]), ("log_sq", [-0.038462, 0.088235, 0, 0.2])]:
        gradient = torch.func.grad(lambda x, kernel=kernel: penalty(kernel, x, PSI[1:], SIZES))(PSI[0])
        assert gradient.tolist() == pytest.approx(expected, abs=5e-7)


def random_models(seed: int, m: int = 3, sizes: tuple[int, ...] = (4, 3, 6)) -> tuple[Tensor, list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    psi = torch.randn(m + 1, sum(sizes), dtype=torch.float64, generator=generator)
    return psi[0], list(psi[1:]), torch.full((m,), 1 / (m + 1), dtype=torch.float64)


def weights_of(kernel: str, normalization: str, max_ratio: float, seed: int) -> Tensor:
    """a [m, num_layers] of random models."""
    psi, others, c = random_models(seed)
    sizes = (4, 3, 6)
    gaps = torch.stack([drt.layer_norms(other - psi, sizes) for other in others])
    r = drt.distances(gaps, drt.layer_norms(psi, sizes), drt.MIN_DISTANCE)
    kappa = drt.clipped(drt.log_kernel(r, kernel), torch.ones((3, 3), dtype=torch.bool), kernel, max_ratio)
    c = c.unsqueeze(-1).expand(3, 3)
    return drt.residual(c, kappa, 0.05) if normalization == "residual" else drt.simplex(c, kappa)


@pytest.mark.parametrize("normalization", drt.NORMALIZATIONS)
@pytest.mark.parametrize("kernel", drt.KERNELS)
def test_weights_are_a_convex_combination_within_the_clip(kernel: str, normalization: str) -> None:
    for seed in range(20):
        a = weights_of(kernel, normalization, 2.0, seed)
        own = 1 - a.sum(0)
        assert (a >= 0).all()
        assert (own >= (0.05 if normalization == "residual" else 0) - 1e-12).all()
        assert weights_of(kernel, normalization, 1.0, seed) == pytest.approx(0.25, abs=1e-15)


@pytest.mark.parametrize("normalization", drt.NORMALIZATIONS)
@pytest.mark.parametrize("kernel", drt.KERNELS)
def test_equal_models_and_no_clip_range_give_plain_diffusion(kernel: str, normalization: str) -> None:
    psi, others, c = random_models(3)
    free, sizes = torch.ones(3, dtype=torch.float64), (4, 3, 6)
    plain = mix(psi, psi, others, c)
    w, *_ = combine(psi, others, c, free, sizes, kernel, normalization, False, 1.0, 0.0)
    assert torch.allclose(w, plain, atol=1e-14)
    w, trust, own, _ = combine(psi, [psi] * 3, c, free, sizes, kernel, normalization, False, 2.0, 0.05)
    assert torch.equal(w, psi)
    assert trust.tolist() == [0, 0]
    assert own.tolist() == pytest.approx([0.25] * 3)


@pytest.mark.parametrize("kernel", drt.KERNELS)
def test_weights_do_not_feel_a_common_scale_of_a_layer(kernel: str) -> None:
    psi, others, c = random_models(4)
    sizes, free = (4, 3, 6), torch.ones(3, dtype=torch.float64)
    scale = torch.cat([torch.full((n,), f, dtype=torch.float64) for n, f in zip(sizes, (3.0, 0.01, 40.0), strict=True)])
    for rule in (("simplex", False, 3.0, 0.0), ("residual", False, 3.0, 0.05), ("residual", True, 3.0, 0.05)):
        w, *measures = combine(psi, others, c, free, sizes, kernel, *rule)
        scaled, *same = combine(psi * scale, [other * scale for other in others], c, free, sizes, kernel, *rule)
        assert torch.allclose(scaled, w * scale, rtol=1e-10)
        assert torch.allclose(torch.cat(same), torch.cat(measures), rtol=1e-10)


def test_prod_sq_of_one_layer_is_plain_and_the_squares_lie_on_their_sides_of_one() -> None:
    psi, others, c = random_models(5)
    free = torch.ones(3, dtype=torch.float64)
    w, *_ = combine(psi, others, c, free, (13,), "prod_sq", "residual", False, 5.0, 0.0)
    assert torch.allclose(w, mix(psi, psi, others, c), atol=1e-14)
    r = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.01
    assert (drt.log_kernel(r, "prod_sq") > 0).all()
    assert (drt.log_kernel(r, "log_sq") < 0).all()
    for kernel in ("classic", "prod_sq", "log_sq"):
        assert not drt.log_kernel(r * 0, kernel).any()


def test_many_layers_do_not_overflow() -> None:
    r = torch.full((2, 200), 1e3)
    for kernel in drt.KERNELS:
        kappa = drt.clipped(drt.log_kernel(r, kernel), torch.ones((2, 200), dtype=torch.bool), kernel, 2.0)
        assert torch.isfinite(kappa).all()
    assert torch.isfinite(
        drt.clipped(drt.log_kernel(r, "drt_sq"), torch.zeros((2, 200), dtype=torch.bool), "drt_sq", 2.0)
    ).all()


@pytest.mark.parametrize("kernel", ["classic", "prod_sq", "log_sq"])
def test_symmetric_weights_keep_the_average_on_an_irregular_graph(kernel: str) -> None:
    graph = nx.gnp_random_graph(9, 0.4, seed=6)
    sizes = (5, 8)
    psi = torch.randn(9, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    matrix = mixing_matrix(graph)
    new = []
    for k in range(9):
        neighbors = sorted(graph[k])
        caps = [0.95 / max(graph.degree[k], graph.degree[l]) for l in neighbors]
        w, _, own, _ = combine(
            psi[k],
            [psi[l] for l in neighbors],
            torch.tensor(matrix[k, neighbors]),
            torch.tensor(caps, dtype=torch.float64),
            sizes,
            kernel,
            "residual",
            True,
            4.0,
            0.05,
        )
        assert (own >= 0.05 - 1e-12).all()
        new.append(w)
    assert torch.allclose(torch.stack(new).mean(0), psi.mean(0), atol=1e-14)


def test_what_did_not_arrive_or_is_not_finite_counts_as_missing() -> None:
    psi, others, c = random_models(7)
    free, sizes = torch.ones(3, dtype=torch.float64), (4, 3, 6)
    rule = ("prod_sq", "residual", False, 2.0, 0.0)
    without, *_ = combine(psi, others[:2], c[:2], free[:2], sizes, *rule)
    for broken in (torch.full_like(psi, torch.nan), torch.full_like(psi, torch.inf)):
        w, *_ = combine(psi, [*others[:2], broken], c, free, sizes, *rule)
        assert torch.allclose(w, without, atol=1e-14)
    whole = torch.ones(13, dtype=torch.bool)
    masked, *_ = combine_masked(psi, others, c, free, sizes, *rule, [whole, whole, ~whole])
    assert torch.allclose(masked, without, atol=1e-14)
    part = whole.clone()
    part[5:] = False  # the first layer and one number of the second
    masked, *_ = combine_masked(psi, others, c, free, sizes, *rule, [whole, whole, part])
    expected = psi.clone()
    for p, cut in enumerate(torch.arange(13).split(sizes)):
        a = []
        for other, mask in zip(others, [whole, whole, part], strict=True):
            r = [
                float((other - psi)[q][mask[q]].norm() / psi[q][mask[q]].norm()) if mask[q].any() else 0.0
                for q in torch.arange(13).split(sizes)
            ]
            kappa = np.prod([1 + ratio**2 for q, ratio in enumerate(r) if q != p])
            a.append(0.25 * min(kappa, 2.0) if mask[cut].any() else 0.0)
        for weight, other, mask in zip(a, others, [whole, whole, part], strict=True):
            expected[cut] += weight / max(1.0, sum(a)) * mask[cut] * (other - psi)[cut]
    assert torch.allclose(masked, expected, atol=1e-13)


def test_a_simplex_without_a_neighbor_shares_its_weight_out() -> None:
    """a_l = c_l kappa_l / (c_k + sum_m c_m kappa_m) over those who are there: relative weights among them stay."""
    psi, others, c = random_models(7)
    free, sizes, rule = torch.ones(3, dtype=torch.float64), (4, 3, 6), ("prod_sq", "simplex", False, 2.0, 0.0)
    w, _, own_weights, _ = combine(psi, others[:2], c[:2], free[:2], sizes, *rule)
    own = 1 - c[:2].sum()  # the static weight of the lost one stays with the device
    for p, cut in enumerate(torch.arange(13).split(sizes)):
        a = []
        for other in others[:2]:
            r = [float((other - psi)[q].norm() / psi[q].norm()) for q in torch.arange(13).split(sizes)]
            a.append(0.25 * min(float(np.prod([1 + ratio**2 for q, ratio in enumerate(r) if q != p])), 2.0))
        total = float(own) + sum(a)
        expected = (own * psi + a[0] * others[0] + a[1] * others[1])[cut] / total
        assert torch.allclose(w[cut], expected, atol=1e-13)
        assert float(own_weights[p]) == pytest.approx(float(own) / total, abs=1e-13)


def test_layers_are_modules_or_tensors() -> None:
    resnet = ResNet20((3, 32, 32), 10)
    assert len(drt.layer_sizes(resnet.shapes)) == 22
    assert len(drt.layer_sizes(resnet.shapes, "tensor")) == 65
    assert sum(drt.layer_sizes(resnet.shapes)) == 272_474
    assert drt.layer_sizes(Mlp((1, 8, 8), 10, [64]).shapes) == (64 * 64 + 64, 64 * 10 + 10)


def test_a_layer_without_norm_is_averaged_plainly() -> None:
    """And changes nothing for the others: biases that start at 0, each a layer of its own."""
    norms, gaps = torch.tensor([0.0, 2.0]), torch.tensor([5.0, 1.0])
    assert drt.distances(gaps, norms).tolist() == [0.0, 0.5]
    psi, others, c = random_models(8)
    psi[4:7] = 0
    free, rest = torch.ones(3, dtype=torch.float64), [*range(4), *range(7, 13)]
    for kernel in drt.KERNELS:
        rule = (kernel, "residual", False, 3.0, 0.0)
        w, *_ = combine(psi, others, c, free, (4, 3, 6), *rule)
        without, *_ = combine(psi[rest], [other[rest] for other in others], c, free, (4, 6), *rule)
        assert torch.allclose(w[rest], without, atol=1e-14)
        assert torch.allclose(w[4:7], sum(other[4:7] for other in others) / 4, atol=1e-14)


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(digits(np.random.default_rng(1)), Mlp((1, 8, 8), 10, [16]), "float64")


GRAPH = nx.gnp_random_graph(10, 0.35, seed=4)


def trajectories(task: Task, learner: Any, executor: Any) -> np.ndarray:
    """[num_rounds, num_devices, num_params] from different starts."""
    parts = dirichlet(task.train_labels, 10, np.random.default_rng(3), alpha=0.3)
    initial = [task.initial_parameters(np.random.default_rng(i)) for i in range(10)]
    models = run(learner, executor, [part.tolist() for part in parts], initial, GRAPH)
    return np.stack([models[i] for i in range(10)], axis=1)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("kernel", drt.KERNELS)
def test_drt_diffusion_is_its_single_tensor_twin(task: Task, executor: str, kernel: str) -> None:
    """Device after device and layer after layer, by the formulas as they stand in the specification."""
    learner = DrtDiffusion(task, Float32(), 5, 0.1, 16, kernel=kernel)  # type: ignore[arg-type]
    models = trajectories(task, learner, EXECUTORS[executor]())
    parts = dirichlet(task.train_labels, 10, np.random.default_rng(3), alpha=0.3)
    streams = [BatchStream(part, np.random.default_rng(i), torch.float64) for i, part in enumerate(parts)]
    x = [task.initial_parameters(np.random.default_rng(i)).numpy() for i in range(10)]
    sizes = drt.layer_sizes(task.model.shapes)
    cuts = np.split(np.arange(len(x[0])), np.cumsum(sizes)[:-1])
    c = mixing_matrix(GRAPH)
    for k in range(5):
        psi = []
        for row, stream in zip(x, streams, strict=True):
            draw = stream.draw(16, steps=1)
            psi.append(row - 0.1 * task.gradient(torch.tensor(row), draw.indices[0], draw.weights[0]).numpy())
        x = [_twin(psi, i, sorted(GRAPH[i]), c[i], cuts, kernel) for i in range(10)]
        assert np.abs(models[k] - np.stack(x)).max() < 1e-9


def _twin(
    psi: list[np.ndarray], i: int, neighbors: list[int], c: np.ndarray, cuts: list[np.ndarray], kernel: str
) -> np.ndarray:
    """w_i, N = 2, a_min = 0.05."""
    kappa = {}
    for l in neighbors:
        r = [np.linalg.norm(psi[i][cut] - psi[l][cut]) / np.linalg.norm(psi[i][cut]) for cut in cuts]
        trust = np.prod([1 + q for q in r]) - 1
        for p in range(len(cuts)):
            others = [q for s, q in enumerate(r) if s != p]
            kappa[l, p] = {
                "classic": 1.0,
                "prod_sq": np.prod([1 + q**2 for q in others]),
                "log_sq": 1 / (1 + r[p] ** 2),
                "drt_sq": trust * np.prod([1 + q for q in others]) / r[p],
                "log_abs": 1 / (r[p] * (1 + r[p])),
            }[kernel]
    scale = np.mean(list(kappa.values())) if kernel in drt.SINGULAR else 1.0
    w = psi[i].copy()
    for p, cut in enumerate(cuts):
        a = {l: c[l] * min(max(kappa[l, p] / scale, 0.5), 2.0) for l in neighbors}
        total = sum(a.values())
        shrink = 0.95 / total if total > 0.95 else 1.0
        for l in neighbors:
            w[cut] += shrink * a[l] * (psi[l][cut] - psi[i][cut])
    return w


def test_ratio_one_is_classical_diffusion(task: Task) -> None:
    classical = trajectories(task, Dpsgd(task, Float32(), 4, 0.1, 16, form="atc"), EXECUTORS["batched"]())
    for normalization in drt.NORMALIZATIONS:
        learner = DrtDiffusion(
            task, Float32(), 4, 0.1, 16, max_ratio=1.0, min_own_weight=0.0, normalization=normalization
        )  # type: ignore[arg-type]
        assert np.abs(trajectories(task, learner, EXECUTORS["batched"]()) - classical).max() < 1e-13


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"kernel": "square"}, "kernel = 'square'"),
        ({"normalization": "none"}, "normalization = 'none'"),
        ({"max_ratio": 0.5}, "max_ratio = 0.5"),
        ({"max_ratio": float("inf")}, "max_ratio = inf"),
        ({"min_own_weight": 1.0}, "min_own_weight = 1.0"),
        ({"symmetric": True, "kernel": "log_abs"}, "symmetric = True"),
        ({"symmetric": True, "normalization": "simplex"}, "symmetric = True"),
    ],
)
def test_impossible_rules_are_refused(task: Task, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DrtDiffusion(task, Float32(), 1, **keys)

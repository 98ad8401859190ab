"""Gradient tracking, momentum tracking, D2, exact diffusion and GUT: tabulated values, invariants, matrix forms, bits, and
what a lost message does.

The standard example: f_i = (x - b_i)^2 / 2, b = (1, 2, 3, 6), ring with weights 1/3, rate 0.1, beta 0.9; x after 3 rounds and
its limit, worked out outside this code.
"""

from collections.abc import Generator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.float32 import Float32
from learners.decentralized.choco import Choco
from learners.decentralized.d2 import D2
from learners.decentralized.dpsgd import Dpsgd
from learners.decentralized.gradient_tracking import GradientTracking
from learners.decentralized.gut import Gut
from learners.decentralized.momentum_tracking import MomentumTracking
from learners.decentralized.ngc import Ngc
from learners.decentralized.qg_dsgdm import QgDsgdm
from learners.mixing import mixing_matrix
from learners.protocol import Message
from tests.learners.oracle_runs import Minibatches, Overheard, Quadratics, digits_task, golden_run, run
from tests.learners.test_algorithm_steps import Hand, HandNode, learner, mask, vector

GOLDEN: dict[str, tuple[Any, dict[str, Any], list[float], list[float]]] = {
    "D-PSGD, mixing first": (
        Dpsgd,
        {"form": "mix_first"},
        [0.595000, 0.614000, 0.873000, 1.170000],
        [2.780220, 2.791209, 3.065934, 3.362637],
    ),
    "GUT, mu 0": (
        Gut,
        {"mu": 0.0},
        [0.595000, 0.614000, 0.873000, 1.170000],
        [2.780220, 2.791209, 3.065934, 3.362637],
    ),
    "GUT, mu 0.9": (
        Gut,
        {"mu": 0.9},
        [0.721000, 0.830000, 0.771000, 0.930000],
        [2.977556, 2.977668, 3.007407, 3.037370],
    ),
    "GUT, mu 1": (Gut, {"mu": 1.0}, [], [3, 3, 3, 3]),
    "QG-GUTm, mu 0.06": (
        Gut,
        {"mu": 0.06, "momentum": 0.9},
        [1.209320, 1.120720, 1.733560, 2.169200],
        [2.803521, 2.812283, 3.059652, 3.324544],
    ),
    "D2": (D2, {}, [0.833000, 0.782889, 0.839741, 0.796370], [3, 3, 3, 3]),
    "exact diffusion": (
        D2,
        {"form": "exact_diffusion"},
        [0.742667, 0.682444, 0.876593, 0.950296],
        [3, 3, 3, 3],
    ),
    "DSGT": (GradientTracking, {}, [0.724333, 0.808667, 0.786333, 0.932667], [3, 3, 3, 3]),
    "momentum tracking": (MomentumTracking, {}, [1.327333, 1.294667, 1.635333, 1.910667], [3, 3, 3, 3]),
}
MEANS = {  # methods whose mean model takes the mean gradient step
    name: case for name, case in GOLDEN.items() if name not in ("momentum tracking", "QG-GUTm, mu 0.06")
}


@pytest.mark.parametrize("case", GOLDEN)
def test_methods_have_their_tabulated_values(executor: Any, case: str) -> None:
    cls, options, third, limit = GOLDEN[case]
    models = golden_run(cls, executor, 800 if "momentum" in options else 400, **options)
    if third:
        assert models[2] == pytest.approx(third, abs=5e-7)
    assert models[-1] == pytest.approx(limit, abs=5e-7)


@pytest.mark.parametrize("case", MEANS)
def test_the_mean_model_takes_the_mean_gradient(executor: Any, case: str) -> None:
    """mean x+ = mean x - lr mean g on an irregular graph from different initial models: here the gradients are x - b, taken at
    the mixed models where it is mixed first, whose mean is the same."""
    cls, options, *_ = GOLDEN[case]
    start = (4.0, -1.0, 0.5, 2.0)
    models = golden_run(cls, executor, 6, nx.path_graph(4), start, **options)
    means = models.mean(axis=1)
    assert means == pytest.approx(3 + (np.mean(start) - 3) * 0.9 ** np.arange(1, 7), abs=1e-12)


PLAIN: dict[str, tuple[Any, dict[str, Any], bool]] = {  # whether all devices are equal at once
    "D-PSGD": (Dpsgd, {}, False),
    "adapt, then combine": (Dpsgd, {"form": "atc"}, True),
    "mixing first": (Dpsgd, {"form": "mix_first"}, False),
    "NGC": (Ngc, {"alpha": 1.0}, True),
    "D2": (D2, {}, True),
    "exact diffusion": (D2, {"form": "exact_diffusion"}, False),
    "DSGT": (GradientTracking, {}, False),
    "GUT": (Gut, {"mu": 0.9}, False),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_complete_graph_of_equal_weights_descends_on_the_mean(executor: Any, case: str) -> None:
    """The means of the models are those of gradient descent on the mean loss; where models are mixed last, every device has
    them."""
    cls, options, at_once = PLAIN[case]
    models = golden_run(cls, executor, 4, nx.complete_graph(4), **options)
    descent = 3 - 3 * 0.9 ** np.arange(1, 5)
    assert models.mean(axis=1) == pytest.approx(descent, abs=1e-12)
    if at_once:
        assert np.ptp(models, axis=1) == pytest.approx(np.zeros(4), abs=1e-12)


def steps_of_the_mean(case: str) -> Generator[float, float, None]:
    """Displacements of the mean model, less the factor -lr; is sent the mean gradient mean x - 3 of each round."""
    m = h = step = before = 0.0
    g = yield 0.0
    while True:
        if case.startswith("QG-GUTm"):  # y = g + mu (last step - last g), m <- 0.9 m + y
            y, before = g + 0.06 * (step - before), g
            m = step = 0.9 * m + y
        elif case.startswith("QG"):  # m = 0.8 h + g, h <- 0.7 h + 0.3 u
            m = 0.8 * h + g
            step = g + 0.8 * m
            h = 0.7 * h + 0.3 * step
        else:
            m = 0.8 * m + g
            step = g + 0.8 * m if "Nesterov" in case else m
        g = yield step


WITH_MOMENTUM: dict[str, tuple[Any, dict[str, Any]]] = {
    "DSGDm-N, Nesterov": (Dpsgd, {"form": "atc", "momentum": 0.8, "nesterov": True}),
    "DSGDm": (Dpsgd, {"momentum": 0.8}),
    "QG": (QgDsgdm, {"momentum": 0.8, "mu": 0.7, "nesterov": True}),
    "QG, code of NGC": (QgDsgdm, {"form": "ngc-code", "momentum": 0.8, "mu": 0.7, "nesterov": True}),
    "code of CCL, Nesterov": (QgDsgdm, {"form": "ccl-code", "momentum": 0.8, "nesterov": True}),
    "momentum tracking": (MomentumTracking, {"momentum": 0.8}),
    "tracking, Nesterov": (GradientTracking, {"momentum": 0.8, "nesterov": True}),
    "QG-GUTm": (Gut, {"mu": 0.06, "momentum": 0.9}),
    "CHOCO": (Choco, {"consensus_rate": 0.3, "momentum": 0.8}),
}


@pytest.mark.parametrize("case", WITH_MOMENTUM)
def test_the_mean_model_takes_the_mean_of_the_applied_steps(executor: Any, case: str) -> None:
    """mean x+ = mean x - lr mean u on an irregular graph from different models: with the curvature 1 everywhere the mean follows the
    method's recursion for one number."""
    cls, options = WITH_MOMENTUM[case]
    start = (4.0, -1.0, 0.5, 2.0)
    models = golden_run(cls, executor, 7, nx.path_graph(4), start, **options)
    mean = float(np.mean(start))
    steps = steps_of_the_mean(case)
    next(steps)
    expected = []
    for _ in range(7):
        mean -= 0.1 * steps.send(mean - 3)
        expected.append(mean)
    assert models.mean(axis=1) == pytest.approx(expected, abs=1e-12)


def test_d2_is_stable_above_its_least_eigenvalue_only(executor: Any) -> None:
    """Without gradients a part of X along an eigenvector of W follows a+ = l (2 a - a-), whose roots l +- sqrt(l^2 - l) reach -1 at
    l = -1/3. Three against three devices, all neighbors of the other side, weights 1/4: l = -1/2, and differences grow by
    1/2 + sqrt(3/4) a round; a ring of 4 has -1/3 and keeps them; one of 5, and exact diffusion anywhere, forget them."""

    def spreads(graph: nx.Graph, form: str) -> np.ndarray:
        n = len(graph)
        initial = [torch.tensor([float((-1) ** i + i % 3)], dtype=torch.float64) for i in range(n)]
        task: Any = Quadratics([0] * n, [0] * n)
        models = run(D2(task, Float32(), 80, 0.1, 1, form=form), executor, [[i] for i in range(n)], initial, graph)  # type: ignore[arg-type]
        return np.ptp([models[i][:, 0] for i in range(n)], axis=0)

    sides = nx.complete_bipartite_graph(3, 3)
    growing = spreads(sides, "d2")
    assert growing[-1] / growing[-2] == pytest.approx(0.5 + np.sqrt(0.75), abs=1e-9)
    kept = spreads(nx.cycle_graph(4), "d2")
    assert kept[-1] == pytest.approx(kept[-3], abs=1e-9)
    assert kept[-1] > 0.1
    for graph, form in ((nx.cycle_graph(5), "d2"), (sides, "exact_diffusion")):
        assert spreads(graph, form)[-1] < 1e-6


@pytest.mark.parametrize(
    ("cls", "options"),
    [(Gut, {"mu": 0.9}), (Gut, {"mu": 0.1, "momentum": 0.9}), (Ngc, {"quasi_global": True, "momentum": 0.9})],
)
def test_a_rate_of_zero_is_survived(executor: Any, cls: Any, options: dict[str, Any]) -> None:
    """The cosine schedule ends at 0: what is divided by the rate is divided by 1e-8 then."""
    schedule = {"learning_rate_schedule": "cosine", "decay_rounds": 3}
    models = golden_run(cls, executor, 6, **options, **schedule)
    assert np.isfinite(models).all()
    assert models[-1].min() > 0
    assert models[-1].max() < 6


def momentum_of(gradients: np.ndarray, beta: float) -> np.ndarray:
    buffers = np.zeros_like(gradients)
    for t in range(len(gradients)):
        buffers[t] = gradients[t] + (beta * buffers[t - 1] if t else 0)
    return buffers


@pytest.mark.parametrize(("cls", "beta"), [(GradientTracking, 0.0), (MomentumTracking, 0.9)])
def test_the_mean_of_what_is_tracked_is_the_mean_gradient(executor: Any, cls: Any, beta: float) -> None:
    """mean_i y_i = mean_i g_i (x_i - b_i here), or the mean momentum, in every round: read off the messages."""
    overheard = Overheard()
    golden_run(cls, executor, 8, nx.path_graph(4), (4, -1, 0.5, 2), codec=overheard)
    x, y = np.moveaxis(overheard.rounds(executor), 2, 0)
    expected = momentum_of(x - [1, 2, 3, 6], beta)
    assert y.mean(axis=1) == pytest.approx(expected.mean(axis=1), abs=1e-12)
    assert np.abs(y - expected).max() > 0.1  # not each its own


# -- matrix forms -------------------------------------------------------------------------------------------------------


def rates() -> tuple[dict[str, Any], list[float]]:
    """A schedule that halves the rate every two rounds, and its rates."""
    return {"learning_rate_schedule": "step", "decay_rounds": 2, "decay_factor": 0.5}, [0.1, 0.1, 0.05, 0.05, 0.025]


def tracking_rows(gradients: Any, w: Tensor, x: Tensor, beta: float) -> list[Tensor]:
    """Y^t = W Y^(t-1) + U(X^t) - U(X^(t-1)), X^(t+1) = W X^t - lr Y^t."""
    rows, y, u = [], torch.zeros_like(x), torch.zeros_like(x)
    for rate in rates()[1]:
        before, u = u, beta * u + gradients(x)
        y = w @ y + u - before
        x = w @ x - rate * y
        rows.append(x)
    return rows


def momentum_tracking_rows(gradients: Any, w: Tensor, x: Tensor) -> list[Tensor]:
    """As published: U <- beta U + G, P = U - C, C+ = W (C - U) + U, X+ = W X - lr P."""
    rows, c, u = [], torch.zeros_like(x), torch.zeros_like(x)
    for rate in rates()[1]:
        u = 0.9 * u + gradients(x)
        x, c = w @ x - rate * (u - c), w @ (c - u) + u
        rows.append(x)
    return rows


def d2_rows(gradients: Any, w: Tensor, x: Tensor) -> list[Tensor]:
    """X^1 = W (X^0 - lr G^0), X^(t+1) = W (2 X^t - X^(t-1) - lr G^t + lr' G^(t-1)): steps, with the rate of their round."""
    rows: list[Tensor] = []
    before, step = x, torch.zeros_like(x)
    for t, rate in enumerate(rates()[1]):
        last, step = step, rate * gradients(x)
        x, before = w @ (x - step if t == 0 else 2 * x - before - step + last), x
        rows.append(x)
    return rows


def gut_rows(gradients: Any, w: Tensor, x: Tensor, mu: float, beta: float, nesterov: bool) -> list[Tensor]:
    """As published, with the differences of the models."""
    rows: list[Tensor] = []
    factor = 1 + beta + (beta**2 if nesterov else 0)
    before = s_before = delta_before = m = torch.zeros_like(x)
    last = rates()[1][0]
    for t, rate in enumerate(rates()[1]):
        s = w @ x - x
        delta = gradients(x + s) - s / last
        y = delta - (mu / last * (w @ (x - before) + factor * s_before) + mu * delta_before if t else 0)
        m = beta * m + y
        before, s_before, delta_before, last = x, s, delta, rate
        x = x - rate * (y + beta * m if nesterov else m)
        rows.append(x)
    return rows


TWINS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "gradient tracking": (GradientTracking, {}, lambda g, w, x: tracking_rows(g, w, x, 0.0)),
    "gradient tracking with momentum": (
        GradientTracking,
        {"momentum": 0.8},
        lambda g, w, x: tracking_rows(g, w, x, 0.8),
    ),
    "momentum tracking": (MomentumTracking, {}, momentum_tracking_rows),
    "D2": (D2, {}, d2_rows),
    "exact diffusion": (
        D2,
        {"form": "exact_diffusion"},
        lambda g, w, x: d2_rows(g, (w + torch.eye(len(w), dtype=w.dtype)) / 2, x),
    ),
    "GUT": (Gut, {"mu": 0.7}, lambda g, w, x: gut_rows(g, w, x, 0.7, 0.0, False)),
    "QG-GUTm": (Gut, {"mu": 0.1, "momentum": 0.9}, lambda g, w, x: gut_rows(g, w, x, 0.1, 0.9, False)),
    "QG-GUTm, Nesterov": (
        Gut,
        {"mu": 0.1, "momentum": 0.9, "nesterov": True},
        lambda g, w, x: gut_rows(g, w, x, 0.1, 0.9, True),
    ),
}


@pytest.mark.parametrize("case", TWINS)
def test_methods_are_their_matrix_forms(executor: Any, case: str) -> None:
    """All devices as rows of one matrix, on an irregular graph, with rates that change."""
    cls, options, rows = TWINS[case]
    graph, world = nx.gnp_random_graph(10, 0.35, seed=4), Minibatches()
    models = world.models(cls(digits_task(), Float32(), 5, 0.1, 16, **options, **rates()[0]), executor, graph)
    expected = rows(world.gradients(), torch.tensor(mixing_matrix(graph)), torch.stack(world.initial))
    for k in range(5):
        assert np.abs(models[k] - expected[k].numpy()).max() < 1e-9


# -- bits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "models"), [(GradientTracking, 2), (MomentumTracking, 2), (D2, 1), (Gut, 1), (Dpsgd, 1)]
)
def test_each_round_sends_one_message_of_so_many_models(executor: Any, cls: Any, models: int) -> None:
    overheard = Overheard()
    Minibatches(4).models(cls(digits_task(), overheard, 2, 0.1, 16), executor, nx.path_graph(4))
    num_params = 64 * 16 + 16 + 16 * 10 + 10
    assert overheard.bits == [32 * models * num_params] * 8


# -- losses: programs by hand, gradient x - (1, 2, 3), rate 0.1, neighbors 1 and 2 with degrees 2 ------------------------------


def message(sender: int, values: Tensor, arrived: Tensor | None = None, k: int = 0) -> Message:
    return Message(sender, "model", k, values, arrived, degree=2)


def test_tracking_starts_anew_where_something_is_missing() -> None:
    """Round 0: y = g = -(1, 2, 3). Neighbor 1 has (x, y) = 0 whole, of 2 only the first and last value of x and the first of y
    arrived. x <- x + c_x - lr y with weights 1/3, s is the flow of y where both arrived, 0 elsewhere: the next y is the
    device's own gradient there."""
    hand = Hand(learner(GradientTracking, num_rounds=2).program(HandNode()))
    assert hand.sent[0].payload.num_bits == 2 * 96
    assert torch.equal(hand.sent[0].payload.data, vector(0, 0, 0, -1, -2, -3))
    hand.answer(
        message(1, torch.zeros(6, dtype=torch.float64)),
        message(2, torch.full((6,), 3.0, dtype=torch.float64), mask(1, 0, 1, 1, 0, 0)),
    )
    x = vector(1 + 0.1, 0.2, 1 + 0.3)
    assert torch.allclose(hand.reports[0], x)
    flow = (0 + 1) / 3 + (3 + 1) / 3
    g = x - vector(1, 2, 3)
    assert torch.allclose(hand.sent[1].payload.data, torch.cat((x, g + vector(flow, 0, 0))))


def test_tracking_starts_anew_after_a_lost_message() -> None:
    hand = Hand(learner(GradientTracking, num_rounds=2).program(HandNode()))
    hand.answer(message(1, torch.zeros(6, dtype=torch.float64)), missing=(2,))
    x = vector(0.1, 0.2, 0.3)
    assert torch.allclose(hand.reports[0], x)
    assert torch.allclose(hand.sent[1].payload.data, torch.cat((x, x - vector(1, 2, 3))))


def test_d2_corrects_by_what_flowed_in_and_starts_anew_where_something_is_missing() -> None:
    """z = x - lr g = (.1, .2, .3) at first; 1 has 0, of 2, which has 3, only the first value arrived."""
    hand = Hand(learner(D2, num_rounds=2).program(HandNode()))
    hand.answer(message(1, vector(0, 0, 0)), message(2, vector(3, 3, 3), mask(1, 0, 0)))
    z = vector(0.1, 0.2, 0.3)
    flow = vector(-0.1 + 2.9, -0.2, -0.3) / 3
    x = z + flow
    assert torch.allclose(hand.reports[0], x)
    corrected = x - 0.1 * (x - vector(1, 2, 3)) + flow * vector(1, 0, 0)
    assert torch.allclose(hand.sent[1].payload.data, corrected)


def test_gut_needs_no_state_of_others_and_goes_on_after_losses() -> None:
    """Nothing arrives, ever: no neighborhood moves but the device itself, so that GUT with mu has
    y^t = g - mu (x^t - x^(t-1)) / lr - mu g^(t-1), where x^t - x^(t-1) = -lr y^(t-1) and y^0 = g^0: plain descent."""
    hand = Hand(learner(Gut, num_rounds=4, mu=0.5).program(HandNode()))
    for _ in range(4):
        hand.answer(missing=(1, 2))
    for t, x in enumerate(hand.reports):
        assert torch.allclose(x, (1 - 0.9 ** (t + 1)) * vector(1, 2, 3))


# -- refusals -----------------------------------------------------------------------------------------------------------


def test_d2_refuses_graphs_on_which_it_is_not_stable() -> None:
    """A ring of an even number with weights 1/3 has the least eigenvalue 1/3 - 2/3 = -1/3, of an odd one 1/3 + 2/3 cos(pi (n - 1)
    / n) above it."""
    d2 = D2(digits_task(), Float32(), 5, 0.1, 16)
    with pytest.raises(ValueError, match='above -1/3, here it is -0.3333; form = "exact_diffusion" works'):
        d2.check_graph(nx.cycle_graph(6))
    d2.check_graph(nx.cycle_graph(7))
    d2.check_graph(None)
    D2(digits_task(), Float32(), 5, 0.1, 16, form="exact_diffusion").check_graph(nx.cycle_graph(6))


@pytest.mark.parametrize(
    ("cls", "options", "text"),
    [
        (MomentumTracking, {"momentum": 0.0}, "without, it is gradient_tracking"),
        (Gut, {"mu": 1.5}, "mu = 1.5: at most 1"),
        (D2, {"form": "lazy"}, "form"),
    ],
)
def test_bad_keys_are_refused(cls: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        cls(digits_task(), Float32(), 5, 0.1, 16, **options)

"""NGC: tabulated values, a plain autograd loop, bits, and what a lost message does."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.decentralized.ngc import Ngc
from learners.mixing import mixing_matrix
from learners.protocol import Message
from tests.learners.oracle_runs import Minibatches, digits_task, golden_run
from tests.learners.test_algorithm_steps import Hand, HandNode, learner, mask, vector

F64 = torch.float64

# f_i = (x - b_i)^2 / 2, b = (1, 2, 3, 6), ring, rate 0.1, no momentum: x after 3 rounds and its limit, worked out outside this code
GOLDEN = {
    1.0: ([0.794383, 0.699531, 0.882440, 0.875646], [2.979224, 2.886448, 3.068776, 3.065552]),
    0.0: ([0.589420, 0.608765, 0.874630, 1.179185], [2.772813, 2.784564, 3.067895, 3.374728]),
}


@pytest.mark.parametrize("alpha", GOLDEN)
def test_ngc_has_the_tabulated_values(executor: Any, alpha: float) -> None:
    third, limit = GOLDEN[alpha]
    models = golden_run(Ngc, executor, alpha=alpha)
    assert models[2] == pytest.approx(third, abs=5e-7)
    assert models[-1] == pytest.approx(limit, abs=5e-7)


def rows(world: Minibatches, graph: nx.Graph, **keys: Any) -> np.ndarray:
    """[5, num_devices, num_params] as a researcher would write it. The rate is halved every two rounds."""
    alpha, gamma, beta = keys["alpha"], keys.get("averaging_rate", 1.0), keys.get("momentum", 0.0)
    quasi_global, decay, steps = keys.get("quasi_global"), keys.get("weight_decay", 0.0), keys.get("local_steps", 1)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(world.parts)]
    w, x, n = torch.tensor(mixing_matrix(graph)), torch.stack(world.initial), world.num_devices
    h, last, before = torch.zeros_like(x), torch.zeros_like(x), 0.0
    found = []
    for k in range(5):
        rate = 0.1 * 0.5 ** (k // 2)
        draws = [stream.draw(16, steps=steps) for stream in streams]

        def g(i: int, at: Tensor) -> Tensor:
            """On the data of device i."""
            one = zip(draws[i].indices, draws[i].weights, strict=True)  # noqa: B023  # used at once
            return sum((digits_task().gradient(at, *part) for part in one), torch.zeros_like(at))

        mixed = x + gamma * (w @ x - x)
        if quasi_global and k:
            h = beta * h + (1 - beta) * (last - mixed) / before
        total = []
        for i in range(n):
            self_part = w[i, i] * g(i, mixed[i])
            model_variant = sum((w[i, j] * g(i, x[j]) for j in graph[i]), self_part)
            data_variant = sum((w[i, j] * g(j, x[i]) for j in graph[i]), self_part)
            total.append((1 - alpha) * model_variant + alpha * data_variant + decay * mixed[i])
        gradient = torch.stack(total)
        m = beta * h + gradient
        x = mixed - rate * (gradient + beta * m if keys.get("nesterov") else m)
        h, last, before = h if quasi_global else m, mixed, rate
        found.append(x.numpy())
    return np.stack(found)


TWINS: dict[str, dict[str, Any]] = {
    "model-variant": {"alpha": 0.0},
    "data-variant": {"alpha": 1.0, "weight_decay": 0.01},
    "both": {"alpha": 0.3, "momentum": 0.8, "averaging_rate": 0.6},
    "quasi-global": {"alpha": 0.4, "momentum": 0.8, "nesterov": True, "quasi_global": True},
    "3 steps": {"alpha": 0.5, "local_steps": 3, "momentum": 0.8, "nesterov": True},
}


@pytest.mark.parametrize("case", TWINS)
def test_ngc_is_a_plain_loop(executor: Any, case: str) -> None:
    world, graph, options = Minibatches(), nx.gnp_random_graph(10, 0.35, seed=4), TWINS[case]
    schedule = {"learning_rate_schedule": "step", "decay_rounds": 2, "decay_factor": 0.5}
    models = world.models(Ngc(digits_task(), Float32(), 5, 0.1, 16, **options, **schedule), executor, graph)
    assert np.abs(models - rows(world, graph, **options)).max() < 1e-9


# -- programs by hand: gradient x - (1, 2, 3), rate 0.1, neighbors 1 and 2 with degrees 2 --------------------------------------------


def message(k: int, sender: int, values: Tensor | None, arrived: Tensor | None = None) -> Message:
    return Message(sender, "model", k, values, arrived, degree=2)


def test_each_neighbor_gets_the_gradient_at_its_model() -> None:
    hand = Hand(learner(Ngc).program(HandNode()))
    hand.answer(message(0, 1, vector(3, 3, 3)), message(0, 2, vector(0, 6, 0)))
    assert [send.to for send in hand.sent[1:]] == [1, 2]
    assert [send.payload.num_bits for send in hand.sent] == [96, 96, 96]
    assert torch.equal(hand.sent[1].payload.data, vector(2, 1, 0))
    assert torch.equal(hand.sent[2].payload.data, vector(-1, 4, -3))
    hand.answer(message(1, 1, vector(9, 0, 0)), message(1, 2, vector(0, 9, 0)))
    mixed = vector(1, 3, 1)
    g = (mixed - vector(1, 2, 3)) / 3 + vector(3, 3, 0)
    assert torch.allclose(hand.reports[0], mixed - 0.1 * g)


def test_without_data_variant_gradients_there_is_no_second_exchange() -> None:
    hand = Hand(learner(Ngc, alpha=0.0).program(HandNode()))
    hand.answer(message(0, 1, vector(3, 3, 3)), message(0, 2, vector(0, 6, 0)))
    assert hand.finished
    assert len(hand.sent) == 1


def test_the_weight_of_lost_gradients_returns_to_the_own_one() -> None:
    """2's model is lost: it gets an empty message. 1's answer is lost, of 2's only the last value arrives. Half and half."""
    hand = Hand(learner(Ngc, alpha=0.5).program(HandNode()))
    hand.answer(message(0, 1, vector(3, 3, 3)), missing=(2,))
    assert [(send.to, send.payload.num_bits) for send in hand.sent[1:]] == [(1, 96), (2, 0)]
    hand.answer(message(1, 2, vector(9, 9, 9), mask(0, 0, 1)), missing=(1,))
    mixed = vector(1, 1, 1)
    s = mixed - vector(1, 2, 3)
    model_variant = s * 2 / 3 + vector(2, 1, 0) / 3
    data_variant = s * vector(1, 1, 2 / 3) + vector(0, 0, 9) / 3
    assert torch.allclose(hand.reports[0], mixed - 0.1 * (model_variant + data_variant) / 2)


@pytest.mark.parametrize(
    ("options", "text"), [({"alpha": 1.5}, "alpha = 1.5: from 0 to 1"), ({"quasi_global": True}, "needs momentum")]
)
def test_bad_keys_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Ngc(digits_task(), Float32(), 5, 0.1, 16, **options)

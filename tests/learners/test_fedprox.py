"""FedProx: the tabulated fixed points of two quadratics, and that it is FedAvg without its term."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners.compression.float32 import Float32
from learners.federated.fedavg import FedAvg
from learners.federated.fedprox import FedProx
from learners.protocol import SERVER
from tests.contract.recording import record
from tests.contract.worlds import calm
from tests.learners.oracle_runs import Quadratics, run, zeros
from tests.learners.test_algorithm_steps import learner


def server_models(executor: Any, cls: Any, num_rounds: int, **options: Any) -> np.ndarray:
    """Of the example of the specification: a = (1, 3), b = (0, 4), rate 0.1, 10 full-gradient steps, x = 0 at first."""
    made = cls(Quadratics([1, 3], [0, 4]), Float32(), num_rounds, 0.1, 1, local_steps=10, **options)
    return run(made, executor, [[0], [1]], zeros(2))[SERVER][:, 0]


@pytest.mark.parametrize(("mu", "limit"), [(0.1, 2.405747), (1.0, 2.502027), (10 / 3, 2.692628)])
def test_fedprox_drifts_less_the_larger_mu(executor: Any, mu: float, limit: float) -> None:
    """A client contracts by c = 1 - 0.1 (a + mu) to (a b + mu w) / (a + mu): values worked out outside this code, and here as
    the fixed point of w <- mean of c^10 w + (1 - c^10) (a b + mu w) / (a + mu)."""
    a, b = np.array([1.0, 3.0]), np.array([0.0, 4.0])
    kept = (1 - 0.1 * (a + mu)) ** 10
    slope, shift = kept + (1 - kept) * mu / (a + mu), (1 - kept) * a * b / (a + mu)
    assert shift.mean() / (1 - slope.mean()) == pytest.approx(limit, abs=5e-7)
    assert server_models(executor, FedProx, 40, proximal_weight=mu)[-1] == pytest.approx(limit, abs=5e-7)


def test_fedprox_without_its_term_is_fedavg_bit_for_bit(executor: Any) -> None:
    assert (server_models(executor, FedProx, 5, proximal_weight=0.0) == server_models(executor, FedAvg, 5)).all()


def test_slow_clients_do_fewer_steps_and_are_averaged_all_the_same() -> None:
    """A step of a client takes 4 to 12 ms here, 20 of them up to 0.24 s; after 0.09 s it stops behind the step that it is in."""
    keys = ["algorithm.local_steps=20", "stop.rounds=1"]
    whole, _ = record(calm("fedprox", *keys), "null")
    run, recording = record(calm("fedprox", *keys, "algorithm.local_time_s=0.09"), "null")
    assert whole.messages_delivered_used == run.messages_delivered_used == 12  # all answer
    steps = [sum("proximal_step" in str(line[1]) for line in recording.traces[i]) for i in range(6)]
    assert max(steps) == 20 > min(steps)
    assert whole.simulated_s > 0.2
    assert run.simulated_s < 0.11  # 0.09, a step, and some 5 ms on the air


def test_what_fedprox_refuses() -> None:
    with pytest.raises(ValueError, match=r"local_time_s = 1.0: only without momentum"):
        learner(FedProx, local_steps=2, local_time_s=1.0, momentum=0.9)
    with pytest.raises(ValueError, match=r"proximal_weight = -1: a non-negative finite number"):
        learner(FedProx, local_steps=2, proximal_weight=-1)

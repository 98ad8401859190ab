"""FedOpt: tabulated values of its four optimizers, and that momentum without momentum is FedAvg."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from learners.compression.float32 import Float32
from learners.federated.fedavg import FedAvg
from learners.federated.fedopt import FedOpt
from learners.protocol import SERVER, Message
from tests.learners.oracle_runs import Quadratics, run, zeros
from tests.learners.test_algorithm_steps import Hand, HandNode, learner, vector


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"optimizer": "momentum", "beta1": 0.9}, [0.5, 1.45, 2.805]),
        ({"optimizer": "adam", "initial_v": 0.0}, [0.098039, 0.230844, 0.386287]),
        ({"optimizer": "adagrad", "initial_v": 0.0}, [0.009980, 0.023396, 0.039024]),
        ({"optimizer": "yogi"}, [0.098020, 0.230484, 0.385149]),  # from v = tau^2
        ({"optimizer": "adam", "bias_correction": "flower"}, [0.074246, 0.159899, 0.250665]),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_optimizers_have_the_tabulated_values(keys: dict[str, Any], expected: list[float]) -> None:
    """D = 0.5 in every round, x = 0 at first; rate 0.1 (momentum: 1), beta1 = 0.9, beta2 = 0.99, tau = 0.001; flower: tau =
    1e-9 and the corrected rate. Values worked out outside this code."""
    fedopt, node, w, models = learner(FedOpt, local_steps=1, **keys), HandNode(SERVER), vector(0, 0, 0), []
    for _ in range(3):
        program = fedopt.next_model(node, w, w + 0.5)
        request: Any = next(program)
        with pytest.raises(StopIteration) as ended:
            program.send(request.op(*request.args))
        w = ended.value.value
        models.append(float(w[1]))
    assert models == pytest.approx(expected, abs=5e-7)


def test_momentum_without_momentum_is_fedavg(executor: Any) -> None:
    parts, options = ([[0], [1]], zeros(2)), {"local_steps": 10}
    task: Any = Quadratics([1, 3], [0, 4])
    plain = run(FedAvg(task, Float32(), 5, 0.1, 1, **options), executor, *parts)[SERVER]
    fedopt = run(FedOpt(task, Float32(), 5, 0.1, 1, beta1=0.0, **options), executor, *parts)[SERVER]
    assert fedopt == pytest.approx(plain, abs=1e-14)
    other = run(FedOpt(task, Float32(), 5, 0.1, 1, optimizer="yogi", **options), executor, *parts)[SERVER]
    assert abs(other - plain).max() > 0.1


def test_a_round_of_which_nothing_comes_back_changes_no_moment() -> None:
    """Twice (1, 0, 0) with beta1 = 0.9: a step of 1, nothing while nobody answers, then 0.9 + 1."""
    fedopt = learner(FedOpt, local_steps=1, deadline_s=1.0, num_rounds=3, update="difference", server_weights="uniform")
    hand = Hand(fedopt.program(HandNode(SERVER)))
    hand.answer(Message(0, "update", 0, vector(1, 0, 0)), missing=(1, 2))
    hand.answer(missing=(0, 1, 2))
    hand.answer(Message(2, "update", 2, vector(1, 0, 0)), missing=(0, 1))
    assert [float(model[0]) for model in hand.reports] == pytest.approx([1.0, 1.0, 2.9])
    assert torch.equal(hand.reports[0], hand.reports[1])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"optimizer": "sgd"}, "optimizer = 'sgd': one of momentum, adagrad, adam, yogi"),
        ({"beta2": 0.9}, 'beta2 = 0.9: only with optimizer = "adam" or "yogi"'),
        ({"tau": 0.1}, "tau = 0.1: only with an adaptive optimizer"),
        ({"optimizer": "adam", "beta1": 1.0}, "beta1 = 1.0: less than 1"),
        ({"optimizer": "adam", "tau": 0.0}, "tau = 0.0: a positive finite number"),
        (
            {"optimizer": "yogi", "bias_correction": "flower"},
            "bias_correction = 'flower': only with optimizer = \"adam\"",
        ),
        ({"optimizer": "adam", "bias_correction": "adam"}, "bias_correction = 'adam': one of none, flower"),
    ],
)
def test_what_fedopt_refuses(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learner(FedOpt, local_steps=1, **keys)

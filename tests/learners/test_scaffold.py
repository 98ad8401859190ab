"""SCAFFOLD: tabulated values of two quadratics, its invariant, and what becomes of a client's control variate where updates are lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.float16 import Float16
from learners.compression.float32 import Float32
from learners.compression.topk import TopK
from learners.federated.fedavg import FedAvg
from learners.federated.scaffold import Scaffold
from learners.protocol import SERVER, Message, Outcome, Service
from tests.learners.oracle_runs import Overheard, Quadratics, run, zeros
from tests.learners.test_algorithm_steps import Hand, HandNode, learner, mask, vector

A, B = [1, 3], [0, 4]
"""f_i = a_i (x - b_i)^2 / 2: the optimum of the sum is 3."""


def overheard(
    executor: Any, num_rounds: int, cls: Any = Scaffold, codec: Any = None, **options: Any
) -> tuple[np.ndarray, Overheard]:
    """The server's models [num_rounds], and what was sent; rate 0.1, 10 full-gradient steps, x = 0 at first."""
    codec = codec or Overheard()
    task: Any = Quadratics(A, B)
    made = cls(task, codec, num_rounds, 0.1, 1, local_steps=10, **options)
    return run(made, executor, [[0], [1]], zeros(2))[SERVER][:, 0], codec


def test_scaffold_has_the_tabulated_values_and_reaches_the_optimum(executor: Any) -> None:
    """Values worked out outside this code. The control variates end at the gradients a_i (3 - b_i) at the optimum."""
    models, codec = overheard(executor, 40)
    assert models[:3] == pytest.approx([1.943505, 2.627939, 2.868973], abs=5e-7)
    assert models[-1] == pytest.approx(3.0, abs=1e-9)
    sent = [(node, value.numpy().copy()) for (node, _), value in zip(codec.sent, values_of(executor, codec))]
    up = {i: np.array([value for node, value in sent if node == i]) for i in (0, 1)}
    down = np.array([value for node, value in sent if node == SERVER])
    own = {i: up[i][:, 1].cumsum() for i in (0, 1)}
    assert (own[0][0], own[1][0]) == (pytest.approx(0.0, abs=1e-12), pytest.approx(-3.887010, abs=5e-7))
    assert down[1, 1] == pytest.approx(-1.943505, abs=5e-7)  # c after round 1
    assert (own[0][-1], own[1][-1]) == (pytest.approx(3.0, abs=1e-8), pytest.approx(-3.0, abs=1e-8))
    assert down[1:, 1] == pytest.approx((own[0] + own[1])[:-1] / 2, abs=1e-12)  # c = mean c_i
    assert set(codec.bits) == {2 * 32}


def values_of(executor: Any, codec: Overheard) -> list[torch.Tensor]:
    return list(executor.materialize([value for _, value in codec.sent]))


def test_the_first_round_is_fedavgs(executor: Any) -> None:
    scaffold, _ = overheard(executor, 1)
    fedavg, _ = overheard(executor, 1, FedAvg, server_weights="uniform")
    assert scaffold == pytest.approx(fedavg, abs=1e-14)


def test_the_invariant_holds_with_weights_by_samples_and_with_a_lossy_codec(executor: Any) -> None:
    """Three samples and one: the optimum of the mean over all samples is (3 * 1 * 0 + 3 * 4) / (3 * 1 + 3) = 2; float16 rounds what
    moves c and c_i alike, so that it comes as near as float16 can."""
    task: Any = Quadratics([1, 1, 1, 3], [0, 0, 0, 4])
    for codec, error in ((Float32(), 1e-9), (Float16(), 5e-3)):
        made = Scaffold(task, codec, 60, 0.1, 3, local_steps=5, server_weights="samples")
        models = run(made, executor, [[0, 1, 2], [3]], zeros(2))[SERVER][:, 0]
        assert models[-1] == pytest.approx(2.0, abs=error)


def test_c_counts_all_clients_and_missing_numbers_are_no_change() -> None:
    """Of 3 clients one answers in whole, one in part: the means of w are of two, those of c of three."""
    node = HandNode(SERVER)
    node.num_devices = 3  # type: ignore[attr-defined]
    server = Hand(learner(Scaffold, local_steps=1, deadline_s=4.0, num_rounds=2, server_rate=0.5).program(node))
    whole = Message(0, "update", 0, torch.cat((vector(4, 0, 0), vector(3, 0, 3))))
    part = Message(1, "update", 0, torch.cat((vector(8, 8, 8), vector(6, 6, 6))), mask(1, 0, 0, 0, 1, 0))
    server.answer(whole, part, missing=(2,))
    torch.testing.assert_close(server.reports[0], 0.5 * vector(6, 0, 0))
    torch.testing.assert_close(server.sent[1].payload.data[3:], vector(1, 2, 1))


class Fate(Hand):
    """A client whose updates have this outcome."""

    def __init__(self, fate: str) -> None:
        self.fate = fate
        super().__init__(learner(Scaffold, local_steps=1, learning_rate=0.1).program(HandNode()))

    def _run(self, answer: Any) -> None:
        request: Any = None
        while True:
            try:
                request = self.program.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(request, Outcome):
                answer = self.fate
            elif hasattr(request, "op"):
                answer = request.op(*request.args)
            elif hasattr(request, "payload"):
                self.sent.append(request)
                answer = request
            elif hasattr(request, "senders"):
                return


@pytest.mark.parametrize(("fate", "moves"), [("delivered", True), ("unknown", True), ("lost", False)])
def test_a_clients_control_variate_moves_unless_its_update_was_lost(fate: str, moves: bool) -> None:
    """Twice the download w = (1, 2, 13), c = 0, gradient (0, 0, 10): the first step is 1 long and c_i is 10 after it, so that the
    second is 0 long; or 1 again where the first update was lost."""
    client = Fate(fate)
    for k in range(2):
        client.answer(Message(SERVER, "model", k, torch.cat((vector(1, 2, 13), vector(0, 0, 0)))))
    first, second = (sent.payload.data for sent in client.sent)
    torch.testing.assert_close(first, torch.cat((vector(0, 0, -1), vector(0, 0, 10))))
    expected = (vector(0, 0, 0), vector(0, 0, 0)) if moves else (vector(0, 0, -1), vector(0, 0, 10))
    torch.testing.assert_close(second, torch.cat(expected))


def test_what_scaffold_refuses() -> None:
    with pytest.raises(ValueError, match=r"momentum = 0.9: this method is for plain SGD; 0"):
        learner(Scaffold, local_steps=1, momentum=0.9)
    with pytest.raises(ValueError, match=r"codec = TopK with error feedback: .*; error_feedback = false"):
        learner(Scaffold, local_steps=1, codec=TopK(0.5))
    assert isinstance(
        learner(Scaffold, local_steps=1, codec=TopK(0.5, error_feedback=False)).program(HandNode()), Service
    )

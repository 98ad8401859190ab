"""SCAFFOLD: tabulated values of two quadratics, its invariant, and the optimum whatever becomes of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.float16 import Float16
from learners.compression.float32 import Float32
from learners.compression.topk import TopK
from learners.federated.fedavg import FedAvg
from learners.federated.scaffold import Scaffold
from learners.protocol import SERVER, Message, Node, Receive, Received, Send, Service
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
    """Of 3 clients one answers in whole, one in part: the mean of w is of two, what moves c a third of the whole one's."""
    node = HandNode(SERVER)
    server = Hand(learner(Scaffold, local_steps=1, deadline_s=4.0, num_rounds=2, server_rate=0.5).program(node))
    whole = Message(0, "update", 0, torch.cat((vector(4, 0, 0), vector(3, 0, 3))))
    part = Message(1, "update", 0, torch.cat((vector(8, 8, 8), vector(6, 6, 6))), mask(1, 0, 0, 0, 1, 0))
    server.answer(whole, part, missing=(2,))
    torch.testing.assert_close(server.reports[0], 0.5 * vector(6, 0, 0))
    torch.testing.assert_close(server.sent[1].payload.data[0][3:], vector(1, 0, 1))


@dataclass(frozen=True)
class Disturbed(Scaffold):
    """Of all messages a third is lost: what the server sends, and what comes back, of which nobody is told; and of a third of what comes back
    only y - w, or only dc_i arrives."""

    def program(self, node: Node) -> Any:
        return self._disturbed(super().program(node)) if node.id == SERVER else super().program(node)

    def _disturbed(self, program: Any) -> Any:
        rng, answer = np.random.default_rng(1), None
        while True:
            try:
                request = program.send(answer)
            except StopIteration:
                return
            if isinstance(request, Send):
                request = request._replace(to=[i for i in request.to if rng.random() < 2 / 3])
            answer = yield request
            if isinstance(answer, Received):
                answer = answer._replace(messages=tuple(self._arriving(answer.messages, rng)))

    @staticmethod
    def _arriving(messages: Any, rng: np.random.Generator) -> Any:
        ways = [torch.tensor([True, False]), torch.tensor([False, True])]
        for message in messages:
            fate = rng.integers(6)
            if fate >= 2:
                yield message._replace(mask=ways[fate - 2] if fate < 4 else None)


def test_losses_and_discarded_updates_leave_the_optimum_where_it_is(executor: Any) -> None:
    """At the optimum updates are zero, so that it is the same who brings one; a control variate that moved at one end only would
    move the limit for ever."""
    models, codec = overheard(executor, 60, Disturbed, deadline_s=1.0)
    assert models[-1] == pytest.approx(3.0, abs=1e-6)
    trained = len(codec.sent) - 60
    assert trained == pytest.approx(120 * 2 / 3, abs=4 * (120 * 2 / 9) ** 0.5)  # 4 standard errors


def test_an_update_counts_at_its_client_when_the_server_has_used_it() -> None:
    """Thrice the download w = (1, 2, 13), c = 0, gradient (0, 0, 10): the first step is 1 long, and once c_i is 10 steps are 0 long. The
    bit flips with the third download."""
    node = HandNode()
    client = Hand(learner(Scaffold, local_steps=1, learning_rate=0.1).program(node))
    for k, bit in enumerate((False, False, True, True)):
        data = torch.cat((vector(1, 2, 13), vector(0, 0, 0)))
        client.answer(Message(SERVER, "model", k, (data, (bit, not bit, bit))))
    sent = [sent.payload.data for sent in client.sent]
    for update in sent[:2]:
        torch.testing.assert_close(update, torch.cat((vector(0, 0, -1), vector(0, 0, 10))))
    for update in sent[2:]:
        torch.testing.assert_close(update, torch.zeros_like(update))


def test_the_download_says_whose_updates_are_in_c() -> None:
    """Whole ones; it says so in a byte for 3 devices and in two for 9, before 6 numbers."""
    node = HandNode(SERVER)
    node.num_devices = 3  # type: ignore[attr-defined]
    server = Hand(learner(Scaffold, local_steps=1, deadline_s=4.0, num_rounds=4).program(node))
    update = torch.cat((vector(4, 0, 0), vector(3, 0, 3)))
    server.answer(Message(0, "update", 0, update), Message(2, "update", 0, update, mask(1, 1, 1, 1, 1, 0)))
    server.answer(Message(1, "update", 1, update), missing=(0,))
    server.answer(Message(0, "update", 2, update))
    bits = [sent.payload.data[1] for sent in server.sent]
    assert bits == [(False, False, False), (True, False, False), (True, True, False), (False, True, False)]
    assert {sent.payload.num_bits for sent in server.sent} == {6 * 32 + 8}
    node.num_devices = 9  # type: ignore[attr-defined]
    assert Hand(learner(Scaffold, local_steps=1).program(node)).sent[0].payload.num_bits == 6 * 32 + 16


def test_a_download_without_its_first_packet_is_lost() -> None:
    """Two devices: 8 bits, then values of 32 bits in packets of 40."""
    server = Hand(learner(Scaffold, local_steps=1).program(two_devices()))
    fragments = server.sent[0].payload.codec
    arrived = np.ones(5, dtype=bool)
    arrived[1] = False
    assert fragments.received_mask(arrived, 40, 6).tolist() == [True, False, False, True, True, True]
    arrived[0] = False
    assert not fragments.received_mask(arrived, 40, 6).any()
    client = Hand(learner(Scaffold, local_steps=1, deadline_s=1.0).program(HandNode()))
    client.answer(Message(SERVER, "model", 0, server.sent[0].payload.data, mask(0, 0, 0, 0, 0, 0)))
    client.answer()
    assert not client.sent
    assert isinstance(client.waiting, Receive)


def two_devices() -> Any:
    node = HandNode(SERVER, devices=(0, 1))
    node.num_devices = 2  # type: ignore[attr-defined]
    return node


def test_what_scaffold_refuses() -> None:
    with pytest.raises(ValueError, match=r"momentum = 0.9: this method is for plain SGD; 0"):
        learner(Scaffold, local_steps=1, momentum=0.9)
    with pytest.raises(ValueError, match=r'late = "use": a client has to know .*; "discard" or "abort"'):
        learner(Scaffold, local_steps=1, deadline_s=1.0, late="use")
    with pytest.raises(ValueError, match=r"codec = TopK with error feedback: .*; error_feedback = false"):
        learner(Scaffold, local_steps=1, codec=TopK(0.5))
    assert isinstance(
        learner(Scaffold, local_steps=1, codec=TopK(0.5, error_feedback=False)).program(HandNode()), Service
    )

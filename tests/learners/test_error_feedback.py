"""Error feedback: worked traces, the identity that holds for any codec, and lost messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.affine import Int4Affine
from learners.compression.error_feedback import ErrorFeedback
from learners.compression.qsgd import Qsgd
from learners.compression.randk import RandK
from learners.compression.sign import Sign
from learners.compression.topk import TopK
from learners.compression.uniform import Uniform
from learners.loopback import LoopbackNode, loopback
from learners.protocol import SERVER, Compute, Outcome, Receive, Send, Ticket
from tests.wsim.builders import cell, play

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])
NUM_ROUNDS = 60
NUM_VALUES = 50


def node(id: int = 0) -> LoopbackNode:
    return LoopbackNode(id, (1 - id,), None, np.random.default_rng(id))


@pytest.mark.parametrize(
    ("k", "sent", "errors"),
    [
        (1, [{0: 3}, {4: -5}, {0: 6}, {4: -5}, {0: 6}, {1: -6}], [8.5625, 18.25, 27.0625, 46, 64.0625, 81.25]),
        (2, [{0: 3, 4: -2.5}, {0: 3, 4: -2.5}, {0: 3, 1: -3}], [2.3125, 9.25, 18.0625]),
    ],
)
def test_trace_of_a_constant_difference(k: int, sent: list[dict[int, float]], errors: list[float]) -> None:
    """Top-k of the constant u = V: what is sent, as place: value, and the square of the error's norm after it. The third
    top-2 is a tie of three, (0: 3), (1: -3), (7: 3): the first two are sent; the norm is the same whichever are."""
    found, squares = [], []

    def sender(n: Any) -> Any:
        feedback = ErrorFeedback(TopK(k / 8), n)
        for t in range(len(sent)):
            yield from feedback.send(1, "update", t, V)
            squares.append(float((yield from feedback.error()).square().sum()))

    def receiver(n: Any) -> Any:
        for t in range(len(sent)):
            message = (yield Receive([0], "update", t)).messages[0]
            found.append({i: float(x) for i, x in enumerate(message.data) if x})

    loopback(lambda n: sender(n) if n.id == 0 else receiver(n), [node(0), node(1)])
    assert found == sent
    assert squares == errors


def differences() -> Tensor:
    return torch.from_numpy(np.random.default_rng(4).standard_normal((NUM_ROUNDS, NUM_VALUES)))


CODECS = [
    TopK(0.1),
    TopK(0.06, "bitmap", 16),
    Uniform(2, "stochastic", "message", error_feedback=True),
    Uniform(3, "nearest", "packet", error_feedback=True),
    Int4Affine("message", error_feedback=True),
    Sign("packet"),
    RandK(0.1),
    Qsgd(2, "max", "message", contractive=True, error_feedback=True),
]


@pytest.mark.parametrize("codec", CODECS, ids=[type(codec).__name__ for codec in CODECS])
@pytest.mark.parametrize("loss", ["none", "of messages", "of packets, in parts"])
def test_what_arrived_and_the_error_add_up_to_all_differences(codec: Any, loss: str) -> None:
    """sum_t C(p_t) over what arrived, plus e_T, is sum_t u_t: to 1e-12 in float64, over the air with a third of all messages
    lost for good, or a fifth of all packets of messages that are used in part where they may be."""
    keys = {
        "none": [],
        "of messages": ['channel.forced_loss={unit="message", rate=0.3}'],
        "of packets, in parts": ['channel.forced_loss={unit="packet", rate=0.2}', "transport.partial=use"],
    }[loss]
    keys += ["transport.max_attempts=1", "transport.mtu_bytes=62"]
    u = differences()
    arrived: list[Tensor] = []
    last: list[Tensor] = []

    def device(n: Any) -> Any:
        feedback = ErrorFeedback(codec, n)
        for t in range(NUM_ROUNDS):
            yield from feedback.send(SERVER, "update", t, u[t])
        last.append((yield from feedback.error()))

    def server(n: Any) -> Any:
        for t in range(NUM_ROUNDS):
            received = yield Receive([0], "update", t, timeout_s=1.0)
            assert received.masks is None
            arrived.extend(received.data)

    play(cell([20.0], *keys), {0: device, SERVER: server}, executor="eager")
    if loss == "none":
        assert len(arrived) == NUM_ROUNDS
    else:
        assert 3 < len(arrived) < NUM_ROUNDS - 3
    total = torch.stack(arrived).sum(0) + last[0]
    assert float((total - u.sum(0)).abs().max()) < 1e-12
    assert float(last[0].abs().max()) > 1e-3, "nothing was left out"


def drive(outcome: str) -> tuple[list[Any], Any]:
    """The requests of two sends; the first message has this outcome."""
    feedback = ErrorFeedback(TopK(1 / 8), node())
    requests: list[Any] = []

    def program() -> Any:
        for t in range(2):
            yield from feedback.send(1, "update", t, V, expires_s=2.0)

    running = program()
    answer: Any = None
    try:
        while True:
            request = running.send(answer)
            requests.append(request)
            match request:
                case Compute():
                    answer = request.op(*request.args)
                case Send():
                    answer = Ticket(len(requests))
                case Outcome():
                    answer = outcome
    except StopIteration:
        return requests, feedback


@pytest.mark.parametrize(("outcome", "second"), [("delivered", {4: -5.0}), ("lost", {0: 6.0})])
def test_a_lost_message_is_sent_again_in_effect(outcome: str, second: dict[int, float]) -> None:
    requests, _ = drive(outcome)
    sends = [request for request in requests if isinstance(request, Send)]
    assert [(send.to, send.kind, send.round, send.expires_s) for send in sends] == [
        (1, "update", t, 2.0) for t in (0, 1)
    ]
    assert {i: float(x) for i, x in enumerate(sends[1].payload.data) if x} == second
    assert all(send.payload.codec is None for send in sends), (
        "all or nothing: a part that is used would be counted twice"
    )
    assert sum(isinstance(request, Outcome) for request in requests) == 1


def test_a_transport_that_tells_nothing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="does not tell what became of a message"):
        drive("unknown")

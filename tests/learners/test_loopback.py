"""The test bench: each request is answered, waits end in order, deadlocks are named."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from learners.deferred import Op
from learners.executors import BatchedExecutor
from learners.loopback import LoopbackNode, loopback
from learners.protocol import (
    SERVER,
    Actuate,
    Compute,
    Joined,
    Left,
    Observe,
    Outcome,
    Payload,
    Read,
    Receive,
    Report,
    Send,
    Service,
    Sleep,
)

average = Op(
    lambda x, received: (x + received.sum(0)) / 3, name="average", ragged=("received",), flops=lambda x, r: r.numel()
)


def ring(num: int, values=None) -> list[LoopbackNode]:
    """Devices in a ring; device i starts from [i, i] (or from values[i])."""
    return [
        LoopbackNode(
            id=i,
            neighbors=tuple(sorted({(i - 1) % num, (i + 1) % num} - {i})),
            initial_parameters=torch.full((2,), float(i)) if values is None else values[i],
            rng=np.random.default_rng(i),
        )
        for i in range(num)
    ]


def payload(x) -> Payload:
    return Payload(x, 32 * x.numel(), num_values=x.numel())


def averaging(node, num_rounds: int = 3):
    x = node.initial_parameters
    for k in range(num_rounds):
        yield Send(node.neighbors, "model", k, payload(x), broadcast=True)
        models = yield Receive(node.neighbors, "model", k)
        assert models.senders == list(node.neighbors)
        assert [message.degree for message in models.messages] == [2, 2]
        x = yield Compute(average, (x, models.data))
        yield Report("model", x)


def test_averaging_on_a_ring_equals_its_matrix_form() -> None:
    """Also with deferred values: the same reports and the same trace."""
    mixing = sum(np.roll(np.eye(6), shift, axis=0) for shift in (-1, 0, 1)) / 3
    expected = np.linalg.matrix_power(mixing, 3) @ np.arange(6.0)
    eager = loopback(averaging, ring(6))
    executor = BatchedExecutor()
    batched = loopback(averaging, ring(6, [executor.lift(torch.full((2,), float(i))) for i in range(6)]))
    assert executor.num_calls == 0
    for bench in (eager, batched):
        last = {report.node: report.value for report in bench.reports}
        found = executor.materialize([last[i] for i in range(6)])
        np.testing.assert_allclose([float(value[0]) for value in found], expected, rtol=1e-6)
        assert bench.flops == 6 * 3 * 4  # two received models of two numbers
    assert executor.num_calls == 3
    assert eager.trace == batched.trace
    assert eager.trace[:4] == [
        (0, "send", (1, 5), "model", 0, 64, True),
        (0, "receive", (1, 5), "model", 0, None),
        (1, "send", (0, 2), "model", 0, 64, True),
        (1, "receive", (0, 2), "model", 0, None),
    ]
    assert (0, "received", "model", 0, (1, 5)) in eager.trace


def run_one(program, num: int = 2, **options):
    """`program` on node 0, nodes that do nothing beside it."""

    def idle():
        return
        yield

    return loopback(lambda node: program(node) if node.id == 0 else idle(), ring(num), **options)


def test_every_request_is_answered() -> None:
    answers = {}

    def program(node):
        ticket = yield Send(1, "hello", 0, payload(torch.ones(2)))
        answers["outcome"] = yield Outcome(ticket)
        nobody = yield Send((), "hello", 0, payload(torch.ones(2)))
        answers["nobody"] = yield Outcome(nobody)
        answers["read"] = yield Read(BatchedExecutor().lift(torch.ones(3)))
        answers["compute"] = yield Compute(
            Op(lambda x: x @ x, name="dot", flops=lambda x: 2 * x.numel()), (torch.ones(3),)
        )
        answers["report"] = yield Report("x", 1, metric="own")
        answers["actuate"] = yield Actuate("power", 10.0)
        for what in ("position", "battery", "gain", "rate", "time", "membership"):
            answers[what] = yield Observe(what, 1)
        answers["sleep"] = yield Sleep(2.5)
        answers["later"] = yield Observe("time")

    bench = run_one(program, observe=lambda node, request: -71.0 if request.what == "gain" else None)
    assert torch.equal(answers.pop("read"), torch.ones(3))
    assert list(answers.pop("position")) == [0, 0, 0]
    assert answers == {
        "outcome": "delivered", "nobody": "unknown", "compute": torch.tensor(3.0), "report": None, "actuate": None,
        "battery": math.inf, "gain": -71.0, "rate": math.inf, "time": 0.0, "membership": (), "sleep": None, "later": 2.5,
    }  # fmt: skip
    assert bench.reports == [(0, "x", 1, "own")]
    assert bench.trace[-2:] == [(0, "sleep"), (0, "observe", "time")]
    with pytest.raises(ValueError, match="node 0 observes 'weather'"):
        run_one(lambda node: iter_of(Observe("weather")))


def iter_of(*requests):
    yield from requests


def test_timeouts_end_smallest_first_and_only_when_nobody_can_go_on() -> None:
    order = []

    def program(node):
        wait_s = {0: 3.0, 1: 1.0, 2: 2.0}[node.id]
        received = yield Receive(None, "never", timeout_s=wait_s)
        order.append((node.id, (yield Observe("time")), received.messages))
        if node.id == 1:
            yield Send(0, "never", 0, payload(torch.ones(1)))  # reaches 0 before its timeout, but 0 waits for more

    loopback(program, ring(3))
    assert [entry[:2] for entry in order] == [(1, 1.0), (2, 2.0), (0, 3.0)]
    assert [message.sender for message in order[-1][2]] == [1]


def test_receive_counts_names_the_missing_and_drops_what_is_late() -> None:
    seen = {}

    def program(node):
        if node.id:
            yield Sleep(float(node.id))
            yield Send(0, "update", 0, payload(torch.full((2,), float(node.id))))
            yield Send(0, "other", node.id, payload(torch.full((2,), float(node.id))))
            return
        seen["two"] = yield Receive((1, 2, 3), "update", 0, count=2)
        seen["none"] = yield Receive((1, 2, 3), "update", 0, timeout_s=10.0)
        seen["any"] = yield Receive(None, "other", count=3)

    loopback(program, ring(4))
    assert (seen["two"].senders, seen["two"].missing) == ([1, 2], (3,))
    assert (seen["none"].senders, seen["none"].missing) == ([], (1, 2, 3))
    assert seen["any"].senders == [1, 2, 3]
    assert [message.round for message in seen["any"].messages] == [1, 2, 3]


def test_combine_folds_messages_and_drops_their_data() -> None:
    seen = []

    def program(node):
        if node.id:
            yield Send(0, "update", 0, payload(torch.full((2,), float(node.id))))
        else:
            fold = lambda state, message: state + message.data  # noqa: E731
            seen.append((yield Receive((1, 2, 3), "update", 0, combine=fold, initial=torch.zeros(2))))

    loopback(program, ring(4))
    assert torch.equal(seen[0].combined, torch.full((2,), 6.0))
    assert (seen[0].data, seen[0].senders) == ([None] * 3, [1, 2, 3])


def test_analog_sums_come_with_coefficients_and_without_noise() -> None:
    seen = []

    def program(node):
        if node.id:
            yield Send(0, "sum", 0, payload(torch.full((2,), float(node.id))), analog=True)
        else:
            seen.append((yield Receive((1, 2), "sum", 0)))

    loopback(program, ring(3))
    (received,) = seen
    assert [message.coefficient for message in received.messages] == [1.0, 1.0]
    assert torch.equal(received.noise, torch.zeros(2))
    assert received.masks is None


def test_a_service_may_wait_for_ever_and_a_node_may_run_several_programs() -> None:
    executor = BatchedExecutor()

    def client(node):
        while True:
            received = yield Receive([SERVER], "model", count=1)
            message = received.messages[0]
            yield Send(SERVER, "update", message.round, payload(message.data + node.id))

    def server(node):
        total = torch.zeros(2)
        for k in range(3):
            yield Send(node.devices, "model", k, payload(total))
            updates = yield Receive(node.devices, "update", k)
            total = sum(updates.data) / len(updates.data)
            yield Report("model", total)

    def clock(node):
        yield Sleep(1.0)
        yield Report("tick", (yield Observe("time")))

    nodes = ring(3)
    nodes.append(LoopbackNode(SERVER, (0, 1, 2), None, np.random.default_rng(9), devices=(0, 1, 2)))
    bench = loopback(lambda n: [server(n), clock(n)] if n.id == SERVER else Service(client(n)), nodes)
    reports = [(report.name, float(torch.as_tensor(report.value).mean())) for report in bench.reports]
    assert reports == [("model", 1.0), ("model", 2.0), ("model", 3.0), ("tick", 1.0)]
    assert executor.num_jobs == 0


def test_membership_tells_who_joined_and_left_since_last_asked() -> None:
    here = {0.0: (1, 2), 1.0: (2, 3), 2.0: (2, 3)}
    answers = []
    node = SimpleNamespace(id=0, neighbors=(1, 2))

    def program(node):
        for now_s, neighbors in here.items():
            node.neighbors = neighbors
            answers.append((now_s, (yield Observe("membership"))))
            yield Sleep(1.0)

    loopback(program, [node])
    assert answers == [(0.0, ()), (1.0, (Left(1), Joined(3))), (2.0, ())]


def test_deadlock_says_who_waits_for_what() -> None:
    def program(node):
        if node.id == 0:
            yield Receive((1, 2), "model", 4)
        elif node.id == 1:
            yield Receive(None, "update", count=2)
        else:
            yield Service

    def service(node):
        while True:
            yield Receive(None, "never", count=1)

    with pytest.raises(RuntimeError) as error:
        loopback(lambda node: Service(service(node)) if node.id == 2 else program(node), ring(3))
    assert str(error.value) == (
        "deadlock: node 0 waits for 'model' of round 4 from node 1, 2; "
        "node 1 waits for 'update' from anyone (2 of them)"
    )


def test_bad_requests_are_refused() -> None:
    with pytest.raises(TypeError, match="node 0 yielded 3, which is not a request"):
        run_one(lambda node: iter_of(3))
    with pytest.raises(ValueError, match="Receive from anyone needs a count or a timeout_s"):
        run_one(lambda node: iter_of(Receive(None, "model")))
    with pytest.raises(ValueError, match="node 0 sends 'model' to node 7: there is no such other node"):
        run_one(lambda node: iter_of(Send(7, "model", 0, payload(torch.ones(1)))))
    with pytest.raises(ValueError, match="op nothing: no FLOPs"):
        run_one(lambda node: iter_of(Compute(Op(lambda x: x, name="nothing"), (torch.ones(1),))))

    def endless(node):
        while True:
            yield Report("x", 1)

    with pytest.raises(RuntimeError, match="no end after 100 requests"):
        run_one(endless, max_requests=100)

"""A toy learner that uses every request of the seam, on the loopback bench and in the simulator.

Device 0 asks for everything, 1 and 2 help. 0 and 1 stand 30 m apart; 2 stands 40 m from 0 for ten seconds, walks out of range and
comes back. Every answer of device 0 is kept and compared with what the protocol promises, and in the simulator with the physics.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.float32 import Float32
from learners.deferred import op
from learners.executors import BatchedExecutor, EagerExecutor
from learners.loopback import Loopback, LoopbackNode
from learners.protocol import (
    Actuate,
    Compute,
    Joined,
    Left,
    Message,
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
from wsim.engine import Run
from wsim.record import ENERGY_USES, PROGRAM_STATES
from wsim.scenario import load_text

LEAVES_S, RETURNS_S, END_S = 20.0, 70.0, 85.0
DELAY_S, OBSERVATION_J = 0.01, 0.002
CARRIER_HZ, BANDWIDTH_HZ, POWER_DBM, NOISE_FIGURE_DB = 2.4e9, 1e6, -10.0, 7.0
ACCURACY = 0.625
XS = torch.arange(12, dtype=torch.float64).reshape(4, 3)

SCENARIO = f"""
dtype = "float64"
[scenario]
name = "toy"
[stop]
simulated_s = 200.0
[area]
shape = "square"
side_m = 4000.0
[data]
name = "gaussian_mixture"
num_samples = 60
num_features = 2
num_classes = 2
[model]
name = "mlp"
hidden = []
[topology]
kind = "radio"
neighbor_mean_snr_db = 17.0     # 100 m
hysteresis_db = 0.0
[[devices]]
name = "standing"
positions_m = [[0.0, 0.0], [30.0, 0.0]]
compute = {{ effective_flops = 1e3 }}
radio = {{ tx_power_dbm = {POWER_DBM}, noise_figure_db = {NOISE_FIGURE_DB} }}
energy = {{ battery_j = 500.0 }}
[[devices]]
name = "walking"
count = 1
compute = {{ effective_flops = 1e3 }}
radio = {{ tx_power_dbm = {POWER_DBM}, noise_figure_db = {NOISE_FIGURE_DB} }}
mobility = {{ kind = "trace", file = "walk.csv" }}
[channel]
carrier_hz = {CARRIER_HZ}
bandwidth_hz = {BANDWIDTH_HZ}
[mac]
kind = "ideal"
channels = 2
[observation]
delay_s = {DELAY_S}
energy_j = {OBSERVATION_J}
[evaluation]
every_s = 5.0
[algorithm]
name = "dpsgd"
deadline_s = 1.0
"""
WALK = f"0,0,0,40\n0,10,0,40\n0,{LEAVES_S},0,1000\n0,60,0,1000\n0,{RETURNS_S},0,40\n"


@op(flops=lambda initial, x, factor: 500)
def scale(initial: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """factor * x; of the initial parameters it only takes that they are deferred where the executor defers."""
    return factor * x + 0 * initial.sum()


@op(flops=lambda x, y: 100)
def add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


@op(ragged=("received", "coefficients"), flops=lambda received, coefficients, noise: 2 * received.numel())
def superpose(received: Tensor, coefficients: Tensor, noise: Tensor) -> Tensor:
    """What a receiver of uncoded transmissions has: their sum over the air, and its noise."""
    return coefficients @ received + noise


@op
def own_metric(value: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    return 0 * value.sum() + ACCURACY


class Toy:
    """answers: of device 0, by what was asked."""

    uses_server = False
    synchronous = False
    value_dependent = True

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.values: dict[str, Tensor] = {}

    def program(self, node: Any) -> list[Any]:
        if node.id == 0:
            return [self._asks(node), self._helps(node)]
        return [self._answers(node), Service(self._echoes(node))]

    def payload(self, node: Any, numbers: Any) -> Payload:
        return Float32().payload(node.tensor(numbers), node)

    def _helps(self, node: Any) -> Generator[Any, Any, None]:
        """A second program of device 0: it shares `node.state` with the first."""
        yield Sleep(0.25)
        node.state["helped"] = True

    def _echoes(self, node: Any) -> Generator[Any, Any, None]:
        while True:
            received = yield Receive(None, "ping", count=1)
            message = received.messages[0]
            yield Send(message.sender, "pong", message.round, self.payload(node, [node.id, 0.0, 0.0]))

    def _answers(self, node: Any) -> Generator[Any, Any, None]:
        received = yield Receive([0], "go", 0)
        yield Send(0, "reply", 0, Payload(received.data[0], 96))
        yield Send([0], "chat", node.id, self.payload(node, [1.0, 2.0, node.id]))
        yield Send([0], "sum", 0, self.payload(node, [10.0 * node.id, 0.0, 1.0]))
        yield Receive([0], "your turn", 0)
        yield Send([0], "air", 0, self.payload(node, [1.0, node.id, -1.0]), analog=True)

    def _asks(self, node: Any) -> Generator[Any, Any, None]:
        ask = self.answers
        ask["neighbors"] = node.neighbors
        ask["start"] = yield Observe("time")
        ask["at first"] = yield Observe("membership")
        ask["start again"] = yield Observe("time")

        x = node.tensor([1.0, 2.0, 3.0])
        before = yield Observe("time")
        x = yield Compute(scale, (node.initial_parameters, x, node.tensor(2.0)))
        ask["compute"] = (yield Observe("time")) - before
        before = yield Observe("time")
        x = yield Compute(add.scan, (x, (XS,)), work=0.5)
        ask["scan"] = (yield Observe("time")) - before
        self.values["read"] = yield Read(x)
        yield Report("model", x, metric=own_metric)

        yield Send(node.neighbors, "go", 0, Payload(x, 96), broadcast=True)
        ask["ticket of nobody"] = yield Outcome((yield Send((), "go", 0, Payload(x, 96))))
        replies = yield Receive([1, 2], "reply", 0)
        ask["named"] = (replies.senders, replies.missing, [message.degree for message in replies.messages])
        self.values["reply"] = yield Read(replies.data[1])
        chat = yield Receive(None, "chat", count=2)
        ask["any"] = (sorted(chat.senders), sorted(message.round for message in chat.messages), chat.missing)
        total = yield Receive([2, 1], "sum", 0, combine=self._fold, initial=(0, node.tensor([0.0, 0.0, 0.0])))
        ask["combined"] = (total.combined[0], total.data)
        self.values["combined"] = yield Read(total.combined[1])

        before = yield Observe("time")
        nothing = yield Receive([1], "nothing", 0, timeout_s=0.5)
        ask["timeout"] = (nothing.messages, nothing.missing, (yield Observe("time")) - before)
        ask["at once"] = (yield Receive(None, "nothing", timeout_s=0)).messages

        ticket = yield Send(1, "ping", 7, self.payload(node, [0.0, 0.0, 0.0]))
        ask["outcome"] = yield Outcome(ticket)
        ask["pong"] = (yield Receive([1], "pong", 7)).senders
        ticket = yield Send(1, "hopeless", 0, Payload(x, 96), expires_s=1e-9)
        ask["outcome of an expired one"] = yield Outcome(ticket)
        ticket = yield Send((1, 2), "ping", 8, self.payload(node, [0.0, 0.0, 0.0]), broadcast=True)
        ask["outcome of a broadcast"] = yield Outcome(ticket)
        ask["pongs"] = (yield Receive([1, 2], "pong", 8)).senders

        yield Send([1, 2], "your turn", 0, Payload(x, 96), broadcast=True)
        air = yield Receive([1, 2], "air", 0)
        ask["coefficients"] = [message.coefficient for message in air.messages]
        self.values["noise"] = air.noise
        heard = yield Compute(superpose, (air.data, node.tensor(ask["coefficients"]), air.noise))
        self.values["superposed"] = yield Read(heard)

        before = yield Observe("time")
        yield Sleep(1.5)
        ask["sleep"] = (yield Observe("time")) - before
        ask["helped"] = node.state.get("helped")

        ask["position"] = yield Observe("position")
        ask["battery"] = yield Observe("battery")
        ask["gain"] = yield Observe("gain", 1)
        ask["rate"] = yield Observe("rate", 1)
        yield Actuate("power", POWER_DBM - 10.0)
        yield Actuate("channel", 1)
        ask["gain at less power"] = yield Observe("gain", 1)
        ask["rate at less power"] = yield Observe("rate", 1)
        yield Actuate("power", POWER_DBM)

        ask["nobody moved"] = yield Observe("membership")
        yield Sleep(LEAVES_S + 2 - (yield Observe("time")))
        ask["left"] = yield Observe("membership")
        ask["neighbors then"] = node.neighbors
        yield Sleep(RETURNS_S + 2 - (yield Observe("time")))
        ask["joined"] = yield Observe("membership")
        ask["no more"] = yield Observe("membership")
        yield Sleep(END_S - (yield Observe("time")))

    def _fold(self, state: tuple[int, Any], message: Message) -> tuple[int, Any]:
        return state[0] + 1, add(state[1], message.data)


def check_what_the_protocol_promises(toy: Toy) -> None:
    """The same on the bench and in the simulator."""
    ask, values = toy.answers, toy.values
    assert ask["neighbors"] == (1, 2)
    assert ask["at first"] == ()  # who was there at the start has not joined
    assert ask["start"] == 0
    assert values["read"].tolist() == [20.0, 26.0, 32.0]  # 2 * (1, 2, 3) + the rows of XS
    assert values["reply"].tolist() == [20.0, 26.0, 32.0]
    assert ask["ticket of nobody"] == "unknown"
    senders, missing, degrees = ask["named"]
    assert (senders, missing) == ([1, 2], ())
    assert all(degree >= 1 for degree in degrees)
    assert ask["any"] == ([1, 2], [1, 2], ())
    assert ask["combined"] == (2, [None, None])
    assert values["combined"].tolist() == [30.0, 0.0, 2.0]
    messages, missing, waited_s = ask["timeout"]
    assert (messages, missing) == ((), (1,))
    assert waited_s >= 0.5
    assert ask["at once"] == ()
    assert ask["outcome"] == "delivered"
    assert (ask["pong"], ask["pongs"]) == ([1], [1, 2])
    one, two = ask["coefficients"]
    expected = torch.tensor([one + two, one + 2 * two, -one - two], dtype=torch.float64) + values["noise"]
    torch.testing.assert_close(values["superposed"], expected, rtol=0, atol=1e-12)
    assert ask["sleep"] >= 1.5
    assert ask["helped"] is True
    assert (ask["nobody moved"], ask["left"], ask["joined"], ask["no more"]) == ((), (Left(2),), (Joined(2),), ())
    assert ask["neighbors then"] == (1,)


class Walker(LoopbackNode):
    """A node of the bench whose neighbor 2 is away for a while."""

    bench: list[Loopback]

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name == "neighbors" and self.id == 0 and self.bench and LEAVES_S <= self.bench[0].now_s < RETURNS_S:
            return (1,)
        return value


@pytest.mark.parametrize("make_executor", [EagerExecutor, BatchedExecutor])
def test_loopback_answers_every_request(make_executor: Any) -> None:
    executor = make_executor()
    toy, nodes = Toy(), []
    bench: list[Loopback] = []
    for i in range(3):
        others = tuple(j for j in range(3) if j != i)
        x = executor.lift(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        node = Walker(i, others, x, np.random.default_rng(i), dtype=torch.float64)
        node.bench = bench
        nodes.append(node)
    bench.append(Loopback(toy.program, nodes))
    bench[0].run()
    check_what_the_protocol_promises(toy)
    assert toy.answers["outcome of a broadcast"] == toy.answers["outcome of an expired one"] == "delivered"
    assert toy.answers["coefficients"] == [1.0, 1.0]
    assert toy.values["noise"].tolist() == [0.0, 0.0, 0.0]
    assert bench[0].now_s == END_S
    report = bench[0].reports[0]
    metric = report.metric(report.value, torch.zeros(1), torch.zeros(1))
    assert float(executor.materialize([metric])[0]) == ACCURACY


@pytest.mark.parametrize("executor", ["eager", "batched"])
def test_simulator_answers_every_request(executor: str) -> None:
    toy = Toy()
    loaded = load_text(SCENARIO, referenced={"walk.csv": WALK})
    run = Run(loaded, executor, None, None, toy, None)
    run.go()
    record = run.record()
    check_what_the_protocol_promises(toy)
    ask = toy.answers

    assert ask["start again"] == 2 * DELAY_S  # looking twice takes this long
    assert ask["compute"] == pytest.approx(DELAY_S + 0.5, abs=1e-9)  # 500 FLOPs at 1,000 FLOP/s
    assert ask["scan"] == pytest.approx(DELAY_S + 0.2, abs=1e-9)  # 4 steps of 100 FLOPs, half of them padding
    assert ask["timeout"][2] == pytest.approx(DELAY_S + 0.5, abs=1e-9)
    assert ask["sleep"] == pytest.approx(DELAY_S + 1.5, abs=1e-9)
    assert ask["named"][2] == [2, 2]
    assert ask["outcome of a broadcast"] == "unknown"
    assert ask["outcome of an expired one"] == "lost"
    assert record.messages_lost["deadline"] == 1

    assert ask["position"] == (0.0, 0.0, 1.5)
    gain_db = 20 * np.log10(299_792_458.0 / (4 * np.pi * 30.0 * CARRIER_HZ))  # free space, 30 m
    assert ask["gain"] == pytest.approx(gain_db, abs=1e-9)
    assert ask["gain at less power"] == pytest.approx(gain_db, abs=1e-9)
    noise_dbm = -174.0 + NOISE_FIGURE_DB + 10 * np.log10(BANDWIDTH_HZ)
    for power_dbm, rate in ((POWER_DBM, ask["rate"]), (POWER_DBM - 10, ask["rate at less power"])):
        snr_db = power_dbm + gain_db - noise_dbm - 3.0  # less the gap
        expected = 0.75 * BANDWIDTH_HZ * min(np.log2(1 + 10 ** (snr_db / 10)), 7.4)
        assert rate == pytest.approx(expected, rel=1e-3)
    assert 0 < ask["battery"] < 500.0
    assert run.channel_of == [1, 0, 0]

    snr = 10 ** ((POWER_DBM + gain_db - noise_dbm) / 10)
    assert ask["coefficients"][0] == pytest.approx(np.sqrt(snr), rel=1e-3)
    assert ask["coefficients"][1] == pytest.approx(np.sqrt(snr) * 30 / 40, rel=1e-3)  # amplitude goes with 1 / distance
    assert 0 < float(toy.values["noise"].abs().max()) < 5  # standard normal, from the receiver's stream

    observations = record.energy_j[0, ENERGY_USES.index("observe")] / OBSERVATION_J
    assert observations == pytest.approx(round(observations), abs=1e-6)
    assert observations > 20
    observing_s = record.program_s[0, PROGRAM_STATES.index("observing")]
    assert observing_s == pytest.approx(round(observations) * DELAY_S, abs=1e-9)
    assert record.accuracy_by_device[-1, 0] == ACCURACY  # by the metric that came with the report
    assert record.stop_reason == "finished"  # the two services still wait, and that is no deadlock
    assert END_S <= record.simulated_s <= END_S + 2 * DELAY_S
    finished = record.program_s[:, PROGRAM_STATES.index("finished")]
    assert (record.program_node.tolist(), (finished > 0).tolist()) == (
        [0, 0, 1, 1, 2, 2],
        [False, True, True, False, True, False],
    )

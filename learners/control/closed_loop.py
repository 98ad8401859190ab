"""Closed loop: devices learn to set the transmit powers of the network that they learn over.

The serverless form of a scalable design (J. Wang et al., "Distributed learning for time-varying networks: a scalable design",
arXiv 2108.00231: its principle; its equations, task and numbers were not available) with a controller that acts, which is ours. Devices
in reach form pairs of a sender and a receiver (data "observed_links"); object k of a sample is a pair. In every round, at each device:

    exchange 1   its role, the pair that it is in                                       to all neighbors, 32 bits
    measure      a receiver: the SNRs of its own sender, and of those that it has heard of
    exchange 2   a receiver: this row                                                   to all neighbors, 48 bits a sender
    sample       own pair first, then the pairs whose rows have arrived, see `ego_sample`
    decide       a sender: p = controller(sample) of object 0, at least min_power_db; its transmitter has this power from now on
    train        local steps on its own latest `memory` samples, drawn with replacement
    exchange 3   the trained model, codec; Metropolis gossip as in local decentralized SGD (`dpsgd`)

Nobody knows more than it has measured or received: what is missing is left out of the sample, and a sender to which its own receiver's row
has not come keeps its power. Who is no sender transmits at full power. All messages of a device have its power, so a decision changes who
is heard, how fast, and how much others are disturbed.

controller = "learned" is the network at the device's present parameters; "wmmse" is WMMSE on the sample, which knows as little;
"full" decides nothing. The two train and exchange models only with trains = true, and then their accuracy is still that of the controller,
not of the model. Measured: "power" of senders, "link_rate" of receivers with everybody's present powers, which no device could know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, replace
from math import log10
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor

from learners.control.control_task import ControlTask
from learners.control.ego_sample import ego_gains
from learners.control.link_messages import MAX_DEVICES, Role, Row
from learners.control.local_wmmse import amplitudes, local_wmmse
from learners.control.problem import packed, padded
from learners.control.rules import Rule
from learners.control.wmmse import NUM_ITERATIONS
from learners.decentralized.neighbor_sgd import Heard, NeighborSgd
from learners.deferred import Op
from learners.fields import check_choice, check_count, check_number
from learners.models.flat import unflatten
from learners.protocol import (
    Actuate,
    Batches,
    Compute,
    Measure,
    Node,
    Observe,
    Payload,
    Program,
    Read,
    Report,
    Sleep,
    Value,
)
from learners.quantities import Count, Decibel, Seconds
from learners.task import Task


@dataclass(frozen=True)
class ClosedLoop(NeighborSgd):
    """controller: "learned", "wmmse" or "full". trains: devices train and exchange models; not given: with controller = "learned", which
    has to. period_s: from the beginning of a round to that of the next, unless it takes longer. memory: latest samples that a device keeps and trains on. min_power_db: the least power, over the device's largest; nobody
    falls silent."""

    controller: Literal["learned", "wmmse", "full"] = "learned"
    trains: bool | None = None
    period_s: Seconds = 0.1
    memory: Count = 32
    min_power_db: Decibel = -20.0

    exchanges: ClassVar[int] = 3
    leaves_out_rounds: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    needs_links: ClassVar[bool] = True
    own_metrics: ClassVar[tuple[str, ...]] = ()
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {
        "power": ("of senders, as a share of the largest",),
        "link_rate": ("bit/s/Hz of the own pair, at receivers",),
    }
    note: ClassVar[str] = (
        "closed_loop: link_rate is computed by the simulator from everybody's present powers, for the record; "
        "no device knows it. Powers are those of all messages of a sender"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("controller", self.controller, ("learned", "wmmse", "full"))
        learned = self.controller == "learned"
        if self.trains is None:
            object.__setattr__(self, "trains", learned)
        if learned and not self.trains:
            raise ValueError('trains = False: controller = "learned" would stay as it starts; True')
        check_number("period_s", self.period_s)
        check_count("memory", self.memory)
        if not -60 <= self.min_power_db <= 0:
            raise ValueError(f"min_power_db = {self.min_power_db!r}: over the device's largest power, from -60 to 0")
        if self.local_epochs is not None:
            raise ValueError(
                f"local_epochs = {self.local_epochs!r}: samples come round by round and there is no epoch; local_steps"
            )
        object.__setattr__(self, "value_dependent", self.controller != "full")

    def program(self, node: Node) -> Program:
        if node.num_devices > MAX_DEVICES:
            raise ValueError(f"{node.num_devices} devices: ids of 16 bits are enough for {MAX_DEVICES}")
        x, k = node.initial_parameters, 0  # x: [num_params]
        task = control_task(node)
        power, acts = 1.0, self._acts(node)
        largest_dbm: float = yield Observe("max_power")
        samples: deque[np.ndarray] = deque(maxlen=self.memory)
        start_s: float = yield Observe("time")
        while self.goes_on(k):
            own, roles = yield from self._roles(node, k)
            rows = yield from self._rows(node, own, roles)
            sample = None if own.receiver is None else ego_gains(own.receiver, rows, task.problem.max_scale)
            if sample is not None:
                samples.append(sample)
            decided = 1.0  # of who is no sender
            if own.sender == node.id:
                decided = power
                if sample is not None and acts:
                    decided = yield from self._decided(node, x, sample)
            if decided != power:
                power = decided
                yield Actuate("power", largest_dbm + 10 * log10(power))
            heard = roles
            if self.trains:
                x, heard = yield from self._learned(node, k, x, samples)
            yield from self._measured(node, own, power)
            k = yield from self.close(node, x, heard, self._metric(node))
            if self.goes_on(k):
                start_s = yield from self._next_start(start_s)

    def _next_start(self, start_s: float) -> Generator[Any, Any, float]:
        """Sleeps until the next round may begin. Returns that time, s."""
        now_s: float = yield Observe("time")
        if start_s + self.period_s <= now_s:
            return now_s
        yield Sleep(start_s + self.period_s - now_s)
        return start_s + self.period_s

    def _acts(self, node: Node) -> bool:
        """Whether anything is decided: not in an estimate, in which there are no numbers and powers stay full."""
        return self.controller != "full" and node.batches(1, steps=1).drawn

    def _roles(self, node: Node, k: int) -> Generator[Any, Any, tuple[Role, Heard]]:
        """Exchange 1: the own role, and those that have arrived."""
        link = yield Observe("link")
        own = Role() if link is None else Role(*link)
        sent = yield from self.publish_payload(node, k, Payload(own, own.num_bits))
        return own, (yield from self.gather(node, sent))

    def _rows(self, node: Node, own: Role, roles: Heard) -> Generator[Any, Any, dict[int, Row]]:
        """Exchange 2: rows by receiver, the own one among them."""
        known = [message.data for message in roles.received.messages]
        rows: dict[int, Row] = {}
        if own.receiver == node.id:
            senders = dict.fromkeys([own.sender, *(role.sender for role in known)])
            measured = {}
            for sender in senders:
                if sender is not None and sender != node.id:
                    measured[sender] = yield Observe("snr", sender)
            row = rows[node.id] = Row.of(measured)
            yield from self.publish_payload(node, roles.sent.k, Payload(row, row.num_bits), exchange=1)
        receivers = tuple(m.sender for m in roles.received.messages if m.data.receiver == m.sender)
        awaited = replace(roles.sent, heard=receivers, number=roles.sent.k * self.exchanges + 1)
        heard = yield from self.gather(node, awaited)
        return rows | {message.sender: message.data for message in heard.received.messages}

    def _decided(self, node: Node, x: Value, gains: np.ndarray) -> Generator[Any, Any, float]:
        """The power of the own pair, a share of the largest."""
        task, K = control_task(node), len(gains)
        op: Op
        args: tuple[Any, ...]
        unpadded: tuple[Any, ...]
        if self.controller == "wmmse":
            padding = (0, task.problem.max_scale - K)
            op, args = local_wmmse, (node.tensor(np.pad(gains, (padding, padding))),)
            unpadded = (torch.empty((K, K), dtype=task.dtype, device="meta"),)
        else:
            op, args = decide(task, task.problem.rule), (x, node.tensor(sample_of(task, gains)))
            unpadded = (task.zero_parameters, torch.empty((K, K + 1), dtype=task.dtype, device="meta"))
        powers = yield Compute(op, args, work=op.flops(*unpadded) / op.flops(*args))
        share = float((yield Read(powers))[0])
        return min(max(share, 10 ** (self.min_power_db / 10)), 1.0)

    def _learned(
        self, node: Node, k: int, x: Value, samples: deque[np.ndarray]
    ) -> Generator[Any, Any, tuple[Value, Heard]]:
        """The model after local steps and exchange 3."""
        if samples:
            x = yield from self.train(node, x, k, self._batches(node, samples))
        sent = yield from self.publish(node, k, x, exchange=2)
        yield Report("after_local_training", x)
        heard = yield from self.gather(node, sent)
        return (yield from heard.mix(x, x)), heard

    def _batches(self, node: Node, samples: deque[np.ndarray]) -> Batches:
        """Of the samples themselves, in the place of indices of a data set."""
        task, steps = control_task(node), self.local_steps or 1
        drawn = node.rng.integers(len(samples), size=steps * self.batch_size)
        sizes = [len(samples[i]) for i in drawn]
        costs = {K: task.step_flops(K) for K in set(sizes)}
        shape = (steps, self.batch_size)
        found = np.stack([sample_of(task, samples[i]) for i in drawn])
        return Batches(
            node.tensor(found.reshape(*shape, *found.shape[1:])),
            node.tensor(np.ones(shape)),
            steps,
            float(np.mean([costs[K] for K in sizes])) / task.step_flops(task.problem.max_scale),
        )

    def _measured(self, node: Node, own: Role, power: float) -> Generator[Any, Any, None]:
        rate = (yield Observe("link_rate")) if own.receiver == node.id else None
        yield Measure("power", node.tensor([power]) if own.sender == node.id else None)
        yield Measure("link_rate", None if rate is None else node.tensor([rate]))

    def _metric(self, node: Node) -> Op | None:
        """How good the controller is on the tests; the task's own metric where the model is the controller."""
        task = control_task(node)
        return None if self.controller == "learned" else controller_metric(task, task.problem.rule, self.controller)


def control_task(node: Node) -> ControlTask:
    return cast(ControlTask, node.task)


def sample_of(task: ControlTask, gains: np.ndarray) -> np.ndarray:
    """[K_max, K_max + 1] of SNRs [K, K] at full power, see `learners.control.problem`."""
    problem = task.problem
    sample: np.ndarray = padded(packed(problem.rule.features(gains[None])), "matrix", problem.max_scale)[0]
    return sample


def decide(task: Task, rule: Rule) -> Op:
    """(x [num_params], sample [K, K + 1]) -> powers [K], shares of the largest. It is read at once, so there is nothing to batch; and a
    sigmoid of float32 rounds otherwise at the end of a row of several."""
    model = task.model

    def decide(x: Tensor, sample: Tensor) -> Tensor:
        inputs = sample.unsqueeze(0)
        return rule.decide(model.forward(unflatten(x, model.shapes), inputs), inputs).squeeze(0)

    return task.op("decide", lambda: Op(decide, name="decide", loop=True))


def controller_metric(task: Task, rule: Rule, controller: str, num_iterations: int = NUM_ITERATIONS) -> Op:
    """A metric of reports: (x, inputs [n, K, K + 1], references [n]) -> (rate / reference [n], - rate [n]) of powers that are full or those
    of WMMSE, whatever x is."""

    def metric(x: Tensor, inputs: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        powers = rule.full(inputs) if controller == "full" else amplitudes(rule.gains(inputs), num_iterations).square()
        rates = rule.rates(powers, inputs).sum(-1)
        return rates / references, -rates

    return task.op(("metric", controller), lambda: Op(metric, name=f"metric_{controller}"))

"""The algorithms request by request: programs driven by hand with chosen answers (losses, masks, stale rounds).

The task is quadratic, one parameter vector of 3 values, with gradient x - b for sample b: one step of rate 0.1 is
x <- x - 0.1 (x - b).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.float32 import Float32
from learners.decentralized.dpsgd import Dpsgd
from learners.decentralized.gossip import Gossip
from learners.deferred import Op
from learners.federated.fedavg import FedAvg
from learners.protocol import (
    SERVER,
    Batches,
    Compute,
    Measure,
    Message,
    Observe,
    Outcome,
    Read,
    Receive,
    Received,
    Report,
    Send,
    Service,
    Sleep,
    Ticket,
)

TARGETS = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], dtype=torch.float64)


class Quadratic:
    """f(x) = |x - b|^2 / 2 for a sample b, a row of TARGETS."""

    model = SimpleNamespace(shapes=((3,),), has_convolution=False)
    zero_parameters = torch.zeros(3, dtype=torch.float64)

    def __init__(self) -> None:
        def sgd_step(x: Tensor, indices: Tensor, weights: Tensor, learning_rate: float) -> Tensor:
            gradient = (weights.unsqueeze(-1) * (x - TARGETS[indices])).sum(0) / weights.sum()
            return x - learning_rate * gradient

        self.sgd_step = Op(sgd_step, name="sgd_step", flops=lambda x, *_: 3 * x.numel())

    @staticmethod
    def objective(model: Any, parameters: Any, inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return (weights * ((parameters[0] - targets) ** 2).sum(-1) / 2).sum() / weights.sum()

    def training_samples(self, indices: Tensor, change: Any = None) -> tuple[Tensor, Tensor]:
        return TARGETS[indices], TARGETS[indices]

    def op(self, key: Any, make: Any) -> Op:
        made: Op = make()
        made.formula = lambda *_: 9
        return made


@dataclass
class HandNode:
    id: int = 0
    num_samples: int = 1
    neighbors: tuple[int, ...] = (1, 2)
    devices: tuple[int, ...] = (0, 1, 2)
    samples_of: Sequence[int] = (10, 20, 30)
    num_devices: int = 3
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    state: dict[str, Any] = field(default_factory=dict)
    task: Any = field(default_factory=lambda: Quadratic())
    initial_parameters: Tensor = field(default_factory=lambda: vector(0, 0, 0))

    def peers(self, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.neighbors, self.neighbors

    def batches(
        self, batch_size: int, *, steps: int | None = None, epochs: int | None = None, crop_padding: int | None = None
    ) -> Batches:
        num_steps = steps or epochs or 0
        indices = torch.zeros(num_steps, batch_size, dtype=torch.int64)
        return Batches(indices, torch.ones(num_steps, batch_size, dtype=torch.float64), num_steps)

    def tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def learner(cls: Any, **options: Any) -> Any:
    return cls(**({"task": Quadratic(), "codec": Float32(), "num_rounds": 1, "batch_size": 1} | options))


class Hand:
    """Drives one program: computes at once, keeps what it sends and reports, and stops at the next `Receive`."""

    def __init__(self, program: Any) -> None:
        self.program = program.program if isinstance(program, Service) else program
        self.requests: list[Any] = []
        self.sent: list[Send] = []
        self.reports: list[Tensor] = []
        self.measures: list[tuple[int | None, list[float]]] = []  # of which device, and its values
        self.finished = False
        self._run(None)

    def answer(self, *messages: Message, missing: tuple[int, ...] = (), late: tuple[Message, ...] = ()) -> None:
        """Answers the pending `Receive` and goes on to the next one, or to the end."""
        self._run(Received(messages, missing, late=late))

    @property
    def waiting(self) -> Receive:
        return self.requests[-1]

    def _run(self, answer: Any) -> None:
        try:
            while True:
                request = self.program.send(answer)
                self.requests.append(request)
                answer = None
                match request:
                    case Receive():
                        return
                    case Compute():
                        answer = request.op(*request.args)
                    case Send():
                        self.sent.append(request)
                        answer = Ticket(len(self.sent))
                    case Report():
                        if not request.name.endswith("after_local_training"):
                            self.reports.append(request.value)
                    case Read():
                        answer = request.value
                    case Observe("time"):
                        answer = 7.0
                    case Observe("membership"):
                        answer = ()
                    case Measure():
                        self.measures.append((request.device, request.value.tolist()))
                    case Outcome() | Sleep():
                        pass
                    case _:
                        raise AssertionError(request)
        except StopIteration:
            self.finished = True


# -- FedAvg -----------------------------------------------------------------------------------------------------------


def test_fedavg_server_weighs_updates_by_samples() -> None:
    server = Hand(learner(FedAvg, local_steps=1, deadline_s=4.0).program(HandNode(SERVER)))
    assert server.sent[0].to == [0, 1, 2]
    assert server.sent[0].payload.num_bits == 96
    assert server.waiting == Receive([0, 1, 2], "update", 0, timeout_s=4.0)
    server.answer(*(Message(i, "update", 0, vector(i, 0, 6)) for i in range(3)))
    assert server.finished
    assert torch.allclose(server.reports[0], vector((20 * 1 + 30 * 2) / 60, 0, 6))


def test_fedavg_server_renormalizes_over_what_arrived_and_keeps_its_model_otherwise() -> None:
    server = Hand(learner(FedAvg, local_steps=1, deadline_s=4.0, num_rounds=2).program(HandNode(SERVER)))
    server.answer(Message(0, "update", 0, vector(4, 0, 0)), Message(2, "update", 0, vector(0, 4, 0)), missing=(1,))
    assert torch.allclose(server.reports[0], vector(4 * 10 / 40, 4 * 30 / 40, 0))
    server.answer(missing=(0, 1, 2))
    assert torch.equal(server.reports[1], server.reports[0])


def test_fedavg_uniform_weights_ignore_samples() -> None:
    server = Hand(learner(FedAvg, local_steps=1, server_weights="uniform").program(HandNode(SERVER)))
    server.answer(*(Message(i, "update", 0, vector(i, i, i)) for i in range(3)))
    assert torch.allclose(server.reports[0], vector(1, 1, 1))


def test_fedavg_missing_coordinates_of_an_update_are_the_servers() -> None:
    node = HandNode(SERVER, initial_parameters=vector(8, 8, 8))
    server = Hand(learner(FedAvg, local_steps=1, server_weights="uniform").program(node))
    whole, part = Message(0, "update", 0, vector(0, 0, 0)), Message(1, "update", 0, vector(2, 2, 2), mask(1, 0, 1))
    server.answer(whole, part, missing=(2,))
    assert torch.allclose(server.reports[0], vector(1, 4, 1))


def test_fedavg_samples_clients_without_replacement() -> None:
    server = Hand(learner(FedAvg, local_steps=1, clients_per_round=2, num_rounds=300).program(HandNode(SERVER)))
    counts = np.zeros(3)
    for _ in range(300):
        clients = server.sent[-1].to
        assert sorted(set(clients)) == clients
        assert len(clients) == 2
        counts[clients] += 1
        server.answer()
    assert counts == pytest.approx(200, abs=4 * np.sqrt(300 * 2 / 9))  # binomial(300, 2/3), 4 standard errors


def test_fedavg_client_trains_from_what_it_received_and_answers_in_the_same_round() -> None:
    program = learner(FedAvg, local_steps=2, learning_rate=0.1, deadline_s=4.0).program(HandNode(0))
    assert isinstance(program, Service)
    client = Hand(program)
    assert client.waiting == Receive([SERVER], "model", count=1)
    client.answer(Message(SERVER, "model", 5, vector(11, 12, 13)))
    client.answer()  # nothing newer
    assert torch.equal(client.reports[0], vector(11, 12, 13))
    sent = client.sent[0]
    assert (sent.to, sent.kind, sent.round, sent.expires_s) == ([SERVER], "update", 5, 4.0)
    assert torch.allclose(sent.payload.data, vector(1, 2, 3) + 0.81 * vector(10, 10, 10))


def test_fedavg_client_takes_the_newest_of_several_models() -> None:
    client = Hand(learner(FedAvg, local_steps=1, deadline_s=1.0).program(HandNode(0)))
    client.answer(Message(SERVER, "model", 3, vector(3, 3, 3)))
    assert client.waiting == Receive(None, "model", timeout_s=0)
    client.answer(Message(SERVER, "model", 4, vector(4, 4, 4)))
    assert client.sent[0].round == 4
    assert torch.equal(client.reports[0], vector(4, 4, 4))


def test_fedavg_client_fills_a_partial_download_with_its_last_copy() -> None:
    client = Hand(learner(FedAvg, local_steps=1).program(HandNode(0, initial_parameters=vector(7, 7, 7))))
    client.answer(Message(SERVER, "model", 0, vector(1, 1, 1), mask(0, 1, 1)))
    assert torch.equal(client.reports[0], vector(7, 1, 1))
    client.answer(Message(SERVER, "model", 1, vector(2, 2, 2), mask(1, 0, 0)))
    assert torch.equal(client.reports[1], vector(2, 1, 1))


# -- D-PSGD -----------------------------------------------------------------------------------------------------------


def test_dpsgd_mixes_with_metropolis_weights_of_the_headers() -> None:
    """Own degree 2; degrees 1 and 4 of the neighbors give weights 1/3 and 1/5. The gradient is taken at the old model."""
    device = Hand(learner(Dpsgd, learning_rate=0.1).program(HandNode()))
    assert device.sent[0].to == (1, 2)
    assert device.sent[0].broadcast
    assert torch.equal(device.sent[0].payload.data, vector(0, 0, 0))
    first, second = Message(1, "model", 0, vector(3, 0, 0), degree=1), Message(2, "model", 0, vector(0, 5, 0), degree=4)
    device.answer(first, second)
    assert torch.allclose(device.reports[0], vector(1, 1, 0) + 0.1 * vector(1, 2, 3))


def test_dpsgd_uniform_weights_use_the_own_degree() -> None:
    device = Hand(learner(Dpsgd, mixing_weights="uniform", exchange="unicast").program(HandNode()))
    assert not device.sent[0].broadcast
    device.answer(Message(1, "model", 0, vector(3, 0, 0), degree=1), Message(2, "model", 0, vector(0, 3, 0), degree=4))
    assert torch.allclose(device.reports[0], vector(1, 1, 0) + 0.1 * vector(1, 2, 3))


def test_dpsgd_returns_a_missing_weight_to_the_own_model() -> None:
    node = HandNode(initial_parameters=vector(6, 6, 6))
    device = Hand(learner(Dpsgd, num_rounds=2, deadline_s=1.0).program(node))
    device.answer(Message(2, "model", 0, vector(0, 0, 0), mask(1, 0, 1), degree=2), missing=(1,))
    after = vector(4, 6, 4) + 0.1 * (TARGETS[0] - 6)
    assert torch.allclose(device.reports[0], after)
    device.answer(missing=(1, 2))
    assert torch.allclose(device.reports[1], after + 0.1 * (TARGETS[0] - after))


def test_dpsgd_with_several_local_steps_mixes_the_trained_models() -> None:
    """x' = (1 - 0.9^3) target after three steps; own degree 1 and the neighbor's 1 give the weight 1/2."""
    device = Hand(learner(Dpsgd, local_steps=3, num_rounds=1).program(HandNode(neighbors=(1,))))
    trained = (1 - 0.9**3) * TARGETS[0]
    assert torch.allclose(device.sent[0].payload.data, trained)
    device.answer(Message(1, "model", 0, vector(4, 0, 0), degree=1))
    assert torch.allclose(device.reports[0], vector(2, 0, 0) + trained / 2)


def test_dpsgd_without_neighbors_trains_alone() -> None:
    device = Hand(learner(Dpsgd).program(HandNode(neighbors=())))
    assert device.finished
    assert not device.sent
    assert torch.allclose(device.reports[0], 0.1 * TARGETS[0])


def test_dpsgd_finishes_a_round_with_those_present_at_its_start() -> None:
    node = HandNode()
    device = Hand(learner(Dpsgd, num_rounds=2).program(node))
    node.neighbors = (4,)
    assert device.waiting.senders == (1, 2)
    device.answer(*(Message(i, "model", 0, vector(0, 0, 0), degree=2) for i in (1, 2)))
    assert device.waiting.senders == (4,)


# -- gossip -----------------------------------------------------------------------------------------------------------


def test_gossip_trains_sends_to_one_neighbor_and_merges_the_mean() -> None:
    device = Hand(learner(Gossip).program(HandNode()))
    (sent,) = device.sent
    assert sent.to in (1, 2)
    assert torch.allclose(sent.payload.data, 0.1 * TARGETS[0])
    assert sent.payload.num_bits == 96
    assert device.waiting == Receive(None, "model", timeout_s=0)
    device.answer(Message(2, "model", 4, vector(3, 0, 0)), Message(1, "model", 0, vector(0, 3, 0)))
    assert torch.allclose(device.reports[0], (0.1 * TARGETS[0] + vector(3, 3, 0)) / 3)


def test_gossip_keeps_its_model_when_nothing_came() -> None:
    device = Hand(learner(Gossip).program(HandNode()))
    device.answer()
    assert torch.allclose(device.reports[0], 0.1 * TARGETS[0])


def test_gossip_returns_the_weight_of_missing_coordinates() -> None:
    device = Hand(learner(Gossip).program(HandNode()))
    device.answer(Message(1, "model", 0, vector(9, 9, 9), mask(0, 1, 0)))
    own = 0.1 * TARGETS[0]
    assert torch.allclose(device.reports[0], torch.stack((own[0], (own[1] + 9) / 2, own[2])))


def test_gossip_by_age_weighs_by_local_steps_and_keeps_the_largest_age() -> None:
    """Ages 2 (own), 6 and 4: weights 1/6, 1/2 and 1/3; then 6 + 2 own steps travel on."""
    device = Hand(learner(Gossip, local_steps=2, merge="age", num_rounds=2).program(HandNode()))
    payload = device.sent[0].payload
    assert payload.num_bits == 96 + 32
    assert float(payload.data[1]) == 2
    device.answer(
        Message(1, "model", 0, (vector(6, 0, 0), vector(6)[0])), Message(2, "model", 3, (vector(0, 6, 0), vector(4)[0]))
    )
    assert torch.allclose(device.reports[0], 0.19 * TARGETS[0] / 6 + vector(3, 2, 0))
    assert float(device.sent[1].payload.data[1]) == 8


def test_gossip_chooses_every_neighbor_equally_often() -> None:
    device = Hand(learner(Gossip, num_rounds=400).program(HandNode()))
    for _ in range(400):
        device.answer()
    to_first = sum(sent.to == 1 for sent in device.sent)
    assert to_first == pytest.approx(200, abs=4 * np.sqrt(400 / 4))  # binomial(400, 1/2), 4 standard errors


def test_gossip_waits_for_the_fate_of_its_last_model_before_the_next() -> None:
    device = Hand(learner(Gossip, num_rounds=2).program(HandNode()))
    device.answer()
    kinds = [type(request) for request in device.requests]
    first, second = [Compute, Report, Send, Receive, Report], [Compute, Report, Outcome, Send, Receive]
    assert kinds == [*first, *second]


def test_gossip_sleeps_to_the_next_period() -> None:
    """The clock stands at 7 s: the first cycle began then, the second begins one period later."""
    device = Hand(learner(Gossip, period_s=2.0, num_rounds=2).program(HandNode()))
    device.answer()
    first, second = (request.duration_s for request in device.requests if isinstance(request, Sleep))
    assert 0 <= first < 2.0
    assert second == 2.0


def test_gossip_without_neighbors_only_trains() -> None:
    device = Hand(learner(Gossip).program(HandNode(neighbors=())))
    device.answer()
    assert not device.sent
    assert device.finished


# -- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (FedAvg, {}, "local_steps = None, local_epochs = None: give exactly one"),
        (FedAvg, {"local_steps": 1, "local_epochs": 1}, "give exactly one"),
        (FedAvg, {"local_steps": 0}, "local_steps = 0: a positive integer"),
        (FedAvg, {"local_steps": 1, "num_rounds": -1}, "num_rounds = -1"),
        (FedAvg, {"local_steps": 1, "learning_rate": float("nan")}, "learning_rate = nan"),
        (FedAvg, {"local_steps": 1, "batch_size": 1.5}, "batch_size = 1.5"),
        (FedAvg, {"local_steps": 1, "deadline_s": 0.0}, "deadline_s = 0.0: a positive finite number"),
        (FedAvg, {"local_steps": 1, "server_weights": "loss"}, "server_weights = 'loss': one of samples, uniform"),
        (FedAvg, {"local_steps": 1, "downlink": "multicast"}, "downlink"),
        (FedAvg, {"local_steps": 1, "clients_per_round": 0}, "clients_per_round = 0"),
        (Dpsgd, {"local_steps": 1, "local_epochs": 1}, "give exactly one"),
        (Dpsgd, {"exchange": "anycast"}, "exchange"),
        (Dpsgd, {"mixing_weights": "max_degree"}, "mixing_weights = 'max_degree': one of metropolis, uniform"),
        (Gossip, {"period_s": -1.0}, "period_s = -1.0"),
        (Gossip, {"merge": "median"}, "merge = 'median'"),
    ],
)
def test_a_bad_field_is_named(cls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(cls, **options)


def test_where_fewer_are_present_than_wanted_all_take_part() -> None:
    """A scenario that asks for more clients than it has devices is refused when it is loaded."""
    hand = Hand(learner(FedAvg, local_steps=1, clients_per_round=4).program(HandNode(SERVER)))
    assert tuple(hand.sent[0].to) == (0, 1, 2)


@pytest.mark.parametrize("cls", [Dpsgd, Gossip])
def test_one_local_step_is_the_default_of_peers(cls: Any) -> None:
    assert learner(cls).local_steps == 1
    assert learner(cls, local_epochs=2).local_steps is None
    assert replace(learner(cls, local_epochs=2), num_rounds=3).local_epochs == 2

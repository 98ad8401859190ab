"""Servers that ask before they choose: FedCS under a deadline and power of choice by loss, by hand and in runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from learners.batching import BatchStream
from learners.data.dataset import Dataset
from learners.federated import candidates
from learners.federated.fedavg import FedAvg
from learners.federated.fedproto import FedProto
from learners.loopback import LoopbackNode
from learners.models.flat import unflatten
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Message, NotFiniteError, Received
from learners.task import Task
from tests.contract.recording import record, value_of
from tests.contract.worlds import calm
from tests.learners.test_algorithm_steps import learner
from wsim.engine import simulate

TIMES = {0: (1.0, 2.0), 1: (4.0, 1.0), 2: (2.0, 5.0), 3: (0.5, 1.0)}
"""t_UD and t_UL."""
DOWNLOAD_S = dict.fromkeys(TIMES, 0.5)


@pytest.mark.parametrize(
    ("deadline_s", "together", "number", "expected"),
    [
        # unicasts: 3 ends at 0.5 + 1.5 = 2, then 0 at 1 + 3.5 = 4.5, then 1, whose work is done by then, at 1.5 + 5 = 6.5, 2 at 2 + 10 = 12
        (6.5, sum, None, [0, 3]),
        (6.6, sum, None, [0, 1, 3]),
        (12.1, sum, None, [0, 1, 2, 3]),
        (5.6, max, None, [0, 1, 3]),  # a broadcast takes 0.5 for all: 1 ends at 5.5
        (12.1, sum, 2, [0, 3]),
        (1.0, sum, None, [3]),  # nobody fits
    ],
)
def test_clients_that_fit_under_the_deadline(
    deadline_s: float, together: Any, number: int | None, expected: list[int]
) -> None:
    assert candidates.fitting(TIMES, DOWNLOAD_S, together, deadline_s, number) == expected


def test_who_does_not_fit_leaves_room_for_who_does() -> None:
    """0 is first in the list and misses the deadline by its upload; nobody reports, nobody is chosen."""
    times = {0: (0.0, 4.0), 1: (3.5, 1.0)}
    assert candidates.fitting(times, {0: 0.0, 1: 1.0}, max, 4.0) == [0]
    assert candidates.fitting({0: (0.0, 4.0), 1: (3.9, 0.0)}, {0: 0.2, 1: 0.0}, max, 4.0) == [1]
    assert candidates.fitting({}, {}, max, 4.0) == []


def test_candidates_are_drawn_by_their_share_of_the_samples() -> None:
    """One of those with 1, 2, 3 and 4 of 10 samples, who has none only where all are wanted."""
    node: Any = SimpleNamespace(devices=range(5), samples_of=[1, 2, 3, 4, 0], rng=np.random.default_rng(1))
    drawn = np.bincount([candidates.drawn_by_samples(node, 1)[0] for _ in range(400)], minlength=5) / 400
    share = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    assert (np.abs(drawn - share) <= 4 * np.sqrt(share * (1 - share) / 400)).all()
    assert candidates.drawn_by_samples(node, 4) == [0, 1, 2, 3]
    assert candidates.drawn_by_samples(node, 9) == [0, 1, 2, 3, 4]


def told(losses: list[float], seed: int = 1) -> list[int]:
    reports = Received(tuple(Message(i, "report", 0, loss) for i, loss in enumerate(losses)))
    node: Any = SimpleNamespace(rng=np.random.default_rng(seed))
    program, answer = candidates.highest_losses(node, reports, 2), None
    while True:
        try:
            answer = program.send(answer).value
        except StopIteration as ended:
            return ended.value


def test_the_highest_losses_are_taken() -> None:
    assert told([0.3, 2.0, 0.1, 0.7]) == [1, 3]
    assert told([0.5]) == [0]
    assert len({tuple(told([1.0, 1.0, 1.0], seed)) for seed in range(9)}) > 1
    with pytest.raises(NotFiniteError, match="the loss that client 1 reports is nan"):
        told([0.3, float("nan")])


LOSS = ["algorithm.selection=loss", "algorithm.clients_per_round=2", "algorithm.candidates_per_round=4"]


@pytest.mark.parametrize("name", ["fedavg", "scaffold"])
def test_power_of_choice_in_a_run(name: str) -> None:
    """Four of six are asked, and those two train that report the most; the reports are losses over all own samples at the model sent."""
    done, recording = record(calm(name, *LOSS))
    asked = [line[1] for line in recording.traces[SERVER] if line[0] == "send" and line[3] % 2 == 0]
    chosen = [line[1] for line in recording.traces[SERVER] if line[0] == "send" and line[3] % 2 == 1]
    reports = [message for message in recording.received if message.kind == "report"]
    assert len(asked) == len(chosen) == 5
    for k in range(5):
        losses = {message.sender: float(value_of(message.data)) for message in reports if message.round == k}
        assert tuple(sorted(losses)) == asked[k]
        assert chosen[k] == tuple(sorted(sorted(losses, key=lambda i: -losses[i])[:2]))
    for message in reports[:4]:
        assert float(value_of(message.data)) == pytest.approx(plain_loss(recording.nodes[message.sender]), rel=1e-9)
    size = 32 * recording.nodes[0].task.num_params * (2 if name == "scaffold" else 1)
    told = 8 if name == "scaffold" else 0  # whose last updates are in c
    assert done.payload_bits == 5 * (4 * (told + size) + 4 * 32 + 2 * size)


def plain_loss(node: Any) -> float:
    """Of the initial model, over all of the device's own samples at once."""
    samples = node.all_samples(10_000)
    rows = samples.indices[0][samples.weights[0] > 0]
    inputs, labels = node.task.training_samples(rows)
    parameters = unflatten(value_of(node.initial_parameters), node.task.model.shapes)
    return float(torch.nn.functional.cross_entropy(node.task.model.forward(parameters, inputs), labels))


def test_padding_is_no_work_of_a_loss_report() -> None:
    """Ten samples in minibatches of four: three minibatches, of which two samples are padding."""
    task = Task(
        Dataset("ten", np.ones((10, 3)), np.zeros(10, int), np.ones((1, 3)), np.zeros(1, int), 2),
        Mlp((3,), 2, []),
        "float64",
    )
    stream = BatchStream(np.arange(10), np.random.default_rng(1), task.dtype)
    node = LoopbackNode(0, (SERVER,), None, np.random.default_rng(1), 10, stream=stream, task=task, dtype=task.dtype)
    request = next(candidates.report_loss(node, 0, task.zero_parameters, 4, None))
    assert request.work == 10 / 12


def test_selection_by_loss_does_not_depend_on_how_it_is_computed() -> None:
    """An estimate, which knows no losses, draws among those who report, and says that it is not exact."""
    batched, eager, estimate = (simulate(calm("fedavg", *LOSS), executor) for executor in ("batched", "eager", "null"))
    assert batched.event_digest == eager.event_digest != estimate.event_digest
    assert (batched.exact, estimate.exact) == (True, False)
    assert batched.payload_bits == estimate.payload_bits


HALF_SLOW = ["stop.rounds=8", "algorithm.local_steps=20", "algorithm.deadline_s=0.15"]
"""20 steps take 0.08 to 0.24 s."""


def test_fedcs_leaves_out_who_would_miss_the_deadline() -> None:
    """In the first rounds nothing is known of anybody; then the slow ones are asked and not taken."""
    everybody = simulate(calm("fedavg", *HALF_SLOW), "null")
    selected, recording = record(calm("fedavg", *HALF_SLOW, "algorithm.selection=deadline"), "null")
    chosen = [line[1] for line in recording.traces[SERVER] if line[0] == "send" and line[3] % 2 == 1]
    answered = [line for line in recording.traces[SERVER] if line[0] == "received"][1::2]
    assert len(chosen[0]) == 6
    assert 0 < len(chosen[-1]) < 6
    assert [missing for _, _, missing in answered[-4:]] == [()] * 4
    assert selected.eval_time_s[-1] < everybody.eval_time_s[-1]


def test_reports_of_work_are_64_bits_and_what_asks_is_empty() -> None:
    done, recording = record(calm("fedavg", "algorithm.selection=deadline", "algorithm.deadline_s=9.0"), "null")
    model = 32 * recording.nodes[0].task.num_params
    assert done.payload_bits == 5 * 6 * (2 * model + 64)
    assert done.messages_sent == 5 * 6 * 4


POLICIES = ["random", "round_robin", "best_channel", "proportional_fair", "age", "deadline", "loss"]


@pytest.mark.parametrize(
    ("policy", "late"),
    [(policy, "discard") for policy in POLICIES] + [("random", "use"), ("random", "abort"), ("loss", "abort")],
)
def test_with_a_dead_and_a_slow_client_nothing_hangs(policy: str, late: str, tmp_path: Path) -> None:
    """One of six fails within the first round, every tenth packet, of invitations and reports, too, is lost for good, and half are too slow."""
    file = tmp_path / "churn.csv"
    file.write_text("2 0.06 leave")
    keys = [*HALF_SLOW, f'devices.0.churn={{kind="schedule", file="{file}"}}', "stop.simulated_s=100", "stop.rounds=10"]
    keys += ["channel.forced_loss.rate=0.1", "transport.reliability=none", f"algorithm.selection={policy}"]
    keys += ["algorithm.clients_per_round=3", f"algorithm.late={late}"]
    done, recording = record(calm("fedavg", *keys), "null")
    assert done.stop_reason == "rounds"
    invited = [line[1] for line in recording.traces[SERVER] if line[0] == "send"]
    assert 2 not in {client for clients in invited[4:] for client in clients}
    assert done.messages_delivered_used > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"selection": "loss"}, "selection = 'loss': only with clients_per_round"),
        ({"selection": "deadline"}, "selection = 'deadline': only with deadline_s"),
        ({"candidates_per_round": 4}, 'candidates_per_round = 4: only with selection = "deadline" or "loss"'),
        ({"report_deadline_s": 1.0}, 'report_deadline_s = 1.0: only with selection = "deadline" or "loss"'),
        (
            {"selection": "loss", "clients_per_round": 3, "candidates_per_round": 2},
            "candidates_per_round = 2: fewer than clients_per_round = 3",
        ),
        ({"late": "abort"}, "late = 'abort': only with deadline_s"),
        ({"late": "use", "deadline_s": 1.0, "uplink": "aircomp"}, "late = 'use': who is late is silent"),
        ({"late": "cancel"}, "late = 'cancel': one of discard, use, abort"),
        (
            {"selection": "age", "clients_per_round": 2, "uplink": "aircomp"},
            "selection = 'age': only with uplink = \"digital\"",
        ),
    ],
)
def test_what_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learner(FedAvg, local_steps=1, **options)


def test_losses_are_asked_for_only_where_models_are_sent() -> None:
    with pytest.raises(ValueError, match="selection = 'loss': only where the server sends the model"):
        learner(FedProto, local_steps=1, clients_per_round=2, selection="loss")

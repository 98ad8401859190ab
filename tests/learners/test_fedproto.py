"""FedProto: tabulated values, its messages, its programs request by request, and a whole run against a plain torch loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.batching import BatchStream
from learners.compression.codec import num_values_of
from learners.compression.float16 import Float16
from learners.compression.float32 import Float32
from learners.data.dataset import Dataset
from learners.data.digits import digits
from learners.data.partitions import classes_per_device
from learners.deferred import Op, op
from learners.executors import BatchedExecutor, EagerExecutor
from learners.federated import prototype_message
from learners.federated.fedproto import FedProto
from learners.federated.prototype_message import framed, unframed
from learners.federated.prototypes import (
    average_prototypes,
    average_prototypes_masked,
    nearest_prototype,
    prototype_distance,
    prototype_sums,
)
from learners.loopback import LoopbackNode
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Compute, Message, Payload, Service
from learners.task import Task
from tests.contract.recording import Recording, record, tensors_of
from tests.contract.worlds import calm, harsh
from tests.learners.test_algorithm_steps import Hand
from wsim.engine import simulate
from wsim.streams import Streams

F64 = torch.float64


def matrix(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=F64)


# -- values from the specification ------------------------------------------------------------------------------------


def test_the_distance_is_a_mean_over_the_batch_and_the_dimensions() -> None:
    """h = (1,2), (3,4), (0,0) of classes 0, 0, 1 with C_0 = (1,1), C_1 = (1,0): squares 0+1, 4+9, 1+0 over 3 x 2 numbers are
    2.5 (a mean of squared norms would be 5). Worked out outside this code."""
    h, labels, ones = matrix((1, 2), (3, 4), (0, 0)), torch.tensor([0, 0, 1]), torch.ones(3, dtype=F64)
    prototypes, known = matrix((1, 1), (1, 0)), torch.ones(2, dtype=F64)
    assert float(prototype_distance(h, labels, ones, prototypes, known)) == pytest.approx(2.5, abs=1e-14)
    only_0 = torch.tensor([1.0, 0.0], dtype=F64)  # the sample of class 1 adds 0, and counts
    assert float(prototype_distance(h, labels, ones, prototypes, only_0)) == pytest.approx(14 / 6, abs=1e-14)
    padded = torch.tensor([1.0, 1.0, 0.0], dtype=F64)
    assert float(prototype_distance(h, labels, padded, prototypes, known)) == pytest.approx(14 / 4, abs=1e-14)


def test_prototypes_are_averaged_by_counts_or_plainly() -> None:
    """(2,3) and (0,1): plain mean (1,2); weighted 30:10 it is (1.5,2.5). A class that nobody holds keeps what it was."""
    tables = [matrix((2, 3), (5, 5), (0, 0)), matrix((0, 1), (0, 0), (0, 0))]
    previous = matrix((9, 9), (9, 9), (7, 8))
    plain = average_prototypes(previous, tables, [torch.tensor([1, 1, 0.0]).to(F64), torch.tensor([1, 0, 0.0]).to(F64)])
    assert torch.allclose(plain, matrix((1, 2), (5, 5), (7, 8)), rtol=0, atol=1e-14)
    shares = [torch.tensor([30.0, 4, 0]).to(F64), torch.tensor([10.0, 0, 0]).to(F64)]
    weighted = average_prototypes(previous, tables, shares)
    assert torch.allclose(weighted, matrix((1.5, 2.5), (5, 5), (7, 8)), rtol=0, atol=1e-14)
    masks = [torch.ones(3, 2, dtype=torch.bool), torch.tensor([[False, True], [False, False], [False, False]])]
    masked = average_prototypes_masked(previous, tables, shares, masks)
    assert torch.allclose(masked, matrix((0.75 * 2 + 0.25 * 9, 2.5), (5, 5), (7, 8)), rtol=0, atol=1e-14)


def small_task(num_classes: int = 4) -> Task:
    rng = np.random.default_rng(1)
    inputs, labels = rng.random((30, 5)), rng.integers(0, num_classes, 30)
    return Task(
        Dataset("random", inputs, labels, inputs[:20], labels[:20], num_classes), Mlp((5,), num_classes, [3]), "float64"
    )


def test_sums_of_representations_and_the_nearest_prototype_equal_loops() -> None:
    task = small_task()
    x = task.initial_parameters(np.random.default_rng(2))
    w, b = x[:15].reshape(3, 5), x[15:18]
    z = torch.relu(torch.tensor(task.dataset.train_inputs) @ w.T + b)
    sums = torch.zeros(4, 3, dtype=F64)
    indices, weights = torch.arange(30), (torch.arange(30) < 25).to(F64)
    found = prototype_sums(task)(sums, indices, weights, x)
    for i in range(25):
        sums[task.train_labels[i]] += z[i]
    assert torch.allclose(found, sums, rtol=0, atol=1e-12)

    table, usable = torch.rand(4, 3, generator=torch.Generator().manual_seed(1)).to(F64), torch.tensor([1.0, 0, 1, 1])
    correct = nearest_prototype(task)((x, table, usable), task.test_inputs, task.test_labels)
    for i in range(20):
        distances = [float((z[i] - table[j]).square().sum()) if usable[j] else np.inf for j in range(4)]
        assert bool(correct[i]) == (int(np.argmin(distances)) == int(task.test_labels[i]))


# -- messages ---------------------------------------------------------------------------------------------------------


def node_of(task: Task, indices: np.ndarray | None = None, id: int = 0) -> LoopbackNode:
    stream = None if indices is None else BatchStream(indices, np.random.default_rng(3), F64)
    rng = np.random.default_rng(0)
    node = LoopbackNode(id, (SERVER,), task.initial_parameters(np.random.default_rng(2)), rng, dtype=F64)
    node.stream, node.task, node.devices, node.samples_of = stream, task, (0, 1, 2), (10, 20, 30)
    return node


@pytest.mark.parametrize("codec", [Float32(), Float16()])
@pytest.mark.parametrize("with_counts", [True, False])
@pytest.mark.parametrize(
    ("counts", "bitmap_bits"), [([3, 0, 7, 0], 8), ([0] * 9, 16), ([1] * 8, 8), ([0, 0, 5, 70_000, *[0] * 12, 2], 24)]
)
def test_messages_have_the_bits_of_the_formula_and_tell_which_classes_they_hold(
    counts: list[int], bitmap_bits: int, with_counts: bool, codec: Any
) -> None:
    """8 ceil(C / 8) bits for the classes, 32 a count, 32 (or 16) a value of the held classes."""
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(len(counts), 6, generator=generator).to(F64)
    found = torch.tensor(counts, dtype=F64)
    num_held = sum(count > 0 for count in counts)
    payload = prototype_message.payload(table, found, codec, node_of(small_task()), with_counts=with_counts)
    width = 32 if isinstance(codec, Float32) else 16
    assert payload.num_bits == bitmap_bits + 32 * num_held * with_counts + width * 6 * num_held

    received, received_counts = payload.data
    values = codec.encode(codec.compress(received[found > 0].flatten()), (num_held * 6,)) if num_held else b""
    data = framed(received_counts.numpy(), values, with_counts=with_counts)
    assert payload.num_bits == 8 * len(data)
    decoded_counts, rest = unframed(data, len(counts), with_counts=with_counts)
    assert decoded_counts.tolist() == [count if with_counts else int(count > 0) for count in counts]
    assert received_counts.tolist() == decoded_counts.tolist()
    assert not received[found == 0].any()

    if num_held:
        decoded = codec.decompress(codec.decode(rest, (num_held * 6,)), (num_held * 6,))
        assert torch.equal(decoded.to(F64), received[found > 0].flatten())
        assert torch.allclose(received[found > 0], table[found > 0], rtol=1e-3, atol=1e-6)
    else:
        assert rest == b""


@pytest.mark.parametrize(("width", "up", "down"), [(100, 1_000, 10_000), (500, 5_000, 50_000)])
def test_numbers_in_messages_of_a_hundred_classes(width: int, up: int, down: int) -> None:
    """The comparison's row for CIFAR-100 and clients of 10 classes: probabilities of FD, 500 numbers a class of FedProto and FedGH."""
    held = torch.zeros(100, dtype=F64)
    held[::10] = 40
    table = torch.ones(100, width, dtype=F64)
    for counts, numbers in ((held, up), (torch.full((100,), 40.0, dtype=F64), down)):
        payload = prototype_message.payload(table, counts, Float32(), node_of(small_task()), with_counts=False)
        assert payload.num_bits == 8 * 13 + 32 * numbers


def test_lost_packets_lose_their_part_of_the_held_rows() -> None:
    """C = 4, classes 1 and 3 held, 2 numbers each: 8 + 64 bits in front, then 32 bits a number; packets of 96 bits hold the
    front and 24 bits of the first number; the rest of it, and 72 bits; then 32 bits."""
    table, counts = torch.ones(4, 2, dtype=F64), torch.tensor([0.0, 5, 0, 2], dtype=F64)
    fragments = prototype_message.payload(table, counts, Float32(), node_of(small_task()), with_counts=True).codec
    mask = lambda *arrived: fragments.received_mask(np.array(arrived), 96, 8).reshape(4, 2).tolist()  # noqa: E731
    no, yes = [False, False], [True, True]
    assert mask(True, True, True) == [no, yes, no, yes]
    assert mask(True, True, False) == [no, yes, no, [True, False]]
    assert mask(True, False, True) == [no, no, no, [False, False]]
    assert mask(False, True, True) == [no, no, no, no]


@op
def late(x: Tensor, mask: Tensor) -> Tensor:
    """The mask, for which the values are waited for."""
    return mask & (x == x).flatten()


@dataclass(frozen=True)
class LateFragments:
    """A mask that depends on values, as that of a codec which chooses what it sends."""

    x: Any

    def received_mask(self, *given: Any) -> Any:
        return late(self.x, torch.from_numpy(Float32().received_mask(*given)))


def late_payload(self: Float32, x: Any, node: Any) -> Payload:
    return Payload(x, self.num_bits(x.shape), LateFragments(x), num_values_of(x))


@pytest.mark.parametrize("executor", [EagerExecutor, BatchedExecutor])
def test_a_mask_that_comes_later_is_placed_like_one_that_is_known(
    executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, counts = torch.ones(4, 2, dtype=F64), torch.tensor([0.0, 5, 0, 2], dtype=F64)
    arrived = np.array([True, True, False])

    def mask() -> Any:
        given = run.lift(table), counts, Float32(), node_of(small_task())
        return prototype_message.payload(*given, with_counts=True).codec.received_mask(arrived, 96, 8)

    run = executor()
    known = mask()
    monkeypatch.setattr(Float32, "payload", late_payload)
    assert np.array_equal(run.read(mask()).numpy(), known)


def test_a_run_with_masks_that_come_later_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = harsh("fedproto", "codec.name=float32", "transport.reliability=none", "transport.mtu_bytes=72")
    plain = simulate(loaded)
    asked = []
    mask = LateFragments.received_mask
    monkeypatch.setattr(LateFragments, "received_mask", lambda self, *given: asked.append(1) or mask(self, *given))
    monkeypatch.setattr(Float32, "payload", late_payload)
    found = simulate(loaded)
    assert len(asked) >= 5
    assert found.event_digest == plain.event_digest
    np.testing.assert_array_equal(found.accuracy_by_device, plain.accuracy_by_device)


# -- programs ---------------------------------------------------------------------------------------------------------


def learner(task: Task, **options: Any) -> FedProto:
    return FedProto(
        **({"task": task, "codec": Float32(), "num_rounds": 3, "local_steps": 2, "batch_size": 4} | options)
    )


def update(sender: int, k: int, rows: Tensor, counts: list[float], mask: Tensor | None = None) -> Message:
    return Message(sender, "update", k, (rows, torch.tensor(counts, dtype=F64)), mask)


def test_server_starts_without_prototypes_averages_by_counts_and_keeps_classes_that_nobody_brings() -> None:
    task = small_task(3)
    server = Hand(learner(task, deadline_s=4.0).program(node_of(task, id=SERVER)))
    first = server.sent[0]
    assert (first.kind, first.round, first.to, first.expires_s) == ("prototypes", 0, [0, 1, 2], 4.0)
    assert first.payload.num_bits == 8
    a, b = matrix((2, 3), (5, 5), (0, 0)), matrix((0, 1), (0, 0), (0, 0))
    server.answer(update(0, 0, a, [30, 4, 0]), update(2, 0, b, [10, 0, 0]), missing=(1,))
    table, known = server.sent[1].payload.data
    assert known.tolist() == [1, 1, 0]
    assert torch.allclose(table, matrix((1.5, 2.5), (5, 5), (0, 0)))
    assert server.sent[1].payload.num_bits == 8 + 2 * 2 * 32
    server.answer(missing=(0, 1, 2))  # nothing at all: the last known prototypes stay
    assert torch.equal(server.sent[2].payload.data[0], table)
    server.answer(update(1, 2, matrix((0, 0), (7, 7), (1, 2)), [0, 1, 2]), missing=(0, 2))
    assert server.reports == [None, None, None]
    assert server.finished


def test_server_uses_a_part_of_a_prototype_only_where_it_knows_the_rest() -> None:
    task = small_task(3)
    server = Hand(learner(task, deadline_s=4.0).program(node_of(task, id=SERVER)))
    part = torch.tensor([True, True, True, False, False, False])
    server.answer(update(0, 0, matrix((2, 4), (6, 8), (0, 0)), [1, 1, 0], part), missing=(1, 2))
    table, known = server.sent[1].payload.data
    assert known.tolist() == [1, 0, 0]
    assert torch.equal(table, matrix((2, 4), (0, 0), (0, 0)))
    part = torch.tensor([False, True, False, True, False, False])
    server.answer(update(0, 1, matrix((10, 6), (6, 8), (0, 0)), [1, 1, 0], part), missing=(1, 2))
    table, known = server.sent[2].payload.data
    assert known.tolist() == [1, 0, 0]
    assert torch.equal(table, matrix((2, 6), (0, 0), (0, 0)))


def test_server_takes_a_message_without_its_beginning_for_a_lost_one() -> None:
    """Nobody can read what it holds, nor that it holds anything."""
    task = small_task(3)
    server = Hand(learner(task, deadline_s=4.0).program(node_of(task, id=SERVER)))
    unreadable = update(0, 0, matrix((9, 9), (9, 9), (0, 0)), [9, 9, 0], torch.zeros(6, dtype=torch.bool))
    server.answer(unreadable, missing=(1, 2))
    assert not any(isinstance(request, Compute) for request in server.requests), "there is nothing to average"
    table, known = server.sent[1].payload.data
    assert (table.shape, known.tolist()) == ((3, 0), [0, 0, 0])
    server.answer(update(1, 1, matrix((1, 2), (0, 0), (0, 0)), [1, 0, 0]), unreadable._replace(round=1), missing=(2,))
    table, known = server.sent[2].payload.data
    assert known.tolist() == [1, 0, 0]
    assert torch.equal(table, matrix((1, 2), (0, 0), (0, 0)))


def test_partial_participation_asks_some_clients() -> None:
    task = small_task()
    server = Hand(learner(task, clients_per_round=2, num_rounds=20).program(node_of(task, id=SERVER)))
    for _ in range(20):
        server.answer()
    assert {len(sent.to) for sent in server.sent} == {2}
    assert {tuple(sent.to) for sent in server.sent} == {(0, 1), (0, 2), (1, 2)}


def client_of(task: Task, **options: Any) -> tuple[Hand, LoopbackNode]:
    indices = np.flatnonzero(task.train_labels < 2)  # of four classes it holds two
    node = node_of(task, indices)
    program = learner(task, **options).program(node)
    assert isinstance(program, Service)
    return Hand(program), node


def prototypes(k: int, table: Tensor, known: list[float], mask: Tensor | None = None) -> Message:
    return Message(SERVER, "prototypes", k, (table, torch.tensor(known, dtype=F64)), mask)


def test_client_trains_alone_first_and_sends_what_it_holds_in_the_same_round() -> None:
    task = small_task()
    client, node = client_of(task)
    client.answer(prototypes(5, torch.zeros(4, 0, dtype=F64), [0, 0, 0, 0]))
    kinds = [request.op.name for request in client.requests if isinstance(request, Compute)]
    assert kinds == ["sgd_step.scan", "prototype_sums.scan", "class_means"]
    names = [request.name for request in client.requests if type(request).__name__ == "Report"]
    assert names == 2 * ["model", "after_local_training", "head", "head/after_local_training"]  # first uninvited
    sent = client.sent[0]
    assert (sent.to, sent.kind, sent.round) == ([SERVER], "update", 5)
    table, counts = sent.payload.data
    real = np.bincount(task.train_labels[node.stream.sample_indices], minlength=4)
    assert counts.tolist() == real.tolist()
    assert sent.payload.num_bits == 8 + 2 * 32 + 2 * 3 * 32
    (x, own, usable), _ = client.reports[2:]
    assert torch.equal(own, table.to(F64))
    assert usable.tolist() == real.tolist()
    sums = prototype_sums(task)(
        torch.zeros(4, 3, dtype=F64),
        torch.tensor(node.stream.sample_indices),
        torch.ones(len(node.stream.sample_indices), dtype=F64),
        x,
    )
    assert torch.allclose(table[:2], sums[:2] / counts[:2, None], rtol=0, atol=1e-12)


def test_client_pulls_towards_the_prototypes_it_knows_and_fills_in_its_own() -> None:
    task = small_task()
    client, _ = client_of(task, inference_classes="all")
    table = torch.full((4, 3), 2.0, dtype=F64)
    client.answer(prototypes(0, table, [1, 0, 0, 1]))
    assert client.requests[5].op.name == "prototype_loss_step.scan"
    x, used, usable = client.reports[2]
    assert (usable > 0).tolist() == [True, True, False, True]
    assert torch.equal(used[[0, 3]], table[[0, 3]])
    assert torch.equal(used[1], client.sent[0].payload.data[0][1])
    assert torch.equal(client.reports[3], x)
    own, _ = client_of(task, inference_classes="own")
    own.answer(prototypes(0, table, [1, 0, 0, 1]))
    assert (own.reports[2][2] > 0).tolist() == [True, True, False, False]


def test_client_keeps_the_last_prototypes_where_a_download_lost_them() -> None:
    """Known before: classes 0 and 1. Of the next message the first numbers of both arrive, and class 2 in part."""
    task = small_task()
    client, _ = client_of(task, inference_classes="all")
    client.answer(prototypes(0, matrix((1, 1, 1), (2, 2, 2), (0, 0, 0), (0, 0, 0)), [1, 1, 0, 0]))
    mask = torch.tensor([True, False, False, True, False, False, True, True, False, False, False, False])
    client.answer(prototypes(1, torch.full((4, 3), 9.0, dtype=F64), [1, 1, 1, 0], mask))
    _, used, usable = client.reports[4]
    assert (usable > 0).tolist() == [True, True, False, False]
    assert torch.equal(used[:2], matrix((9, 1, 1), (9, 2, 2)))


def test_client_keeps_what_it_has_where_a_download_lost_its_beginning() -> None:
    """It takes part in the round, whose number is on every packet, with the prototypes of before, and fills in nothing."""
    task = small_task()
    client, _ = client_of(task)
    nothing = torch.zeros(12, dtype=torch.bool)
    client.answer(prototypes(0, torch.full((4, 3), 3.0, dtype=F64), [1, 1, 1, 0]))
    client.answer(prototypes(1, torch.full((4, 3), 4.0, dtype=F64), [1, 1, 1, 1], nothing))
    assert client.sent[1].round == 1
    _, used, usable = client.reports[4]
    assert torch.equal(used[:3], torch.full((3, 3), 3.0, dtype=F64))
    assert (usable > 0).tolist() == [True, True, True, False]
    assert "fill" not in [request.op.name for request in client.requests if isinstance(request, Compute)]


def test_client_takes_the_newest_of_several_downloads() -> None:
    task = small_task()
    client, _ = client_of(task, deadline_s=1.0)
    client.answer(prototypes(3, torch.full((4, 3), 3.0, dtype=F64), [1, 1, 1, 1]))
    client.answer(prototypes(4, torch.full((4, 3), 4.0, dtype=F64), [1, 1, 1, 1]))
    assert client.sent[0].round == 4
    assert torch.equal(client.reports[2][1], torch.full((4, 3), 4.0, dtype=F64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prototype_weight": -1.0}, "prototype_weight = -1.0: a non-negative"),
        ({"inference_classes": "some"}, "inference_classes = 'some': one of all, own"),
        ({"server_weights": "loss"}, "server_weights = 'loss'"),
        ({"downlink": "none"}, "downlink = 'none'"),
        ({"clients_per_round": 0}, "clients_per_round = 0"),
    ],
)
def test_a_bad_field_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(small_task(), **options)


def test_representations_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="representations of 3, 5 numbers"):
        FedProto.check_models([Mlp((8,), 4, [3]), Mlp((8,), 4, [3, 5])])
    FedProto.check_models([Mlp((8,), 4, [5]), Mlp((8,), 4, [3, 5])])


# -- a whole run ------------------------------------------------------------------------------------------------------

NUM_DEVICES, NUM_ROUNDS, NUM_CLASSES, BATCH_SIZE, FEATURES = 5, 4, 10, 16, 6
HIDDEN = ([FEATURES], [9, FEATURES])  # devices in turn
KEYS = [
    "data.name=digits",
    "data.partition=classes_per_device",
    "data.classes=3",
    f"model.hidden={HIDDEN[0]}",
    f'model.variants=[{{name="mlp", hidden={HIDDEN[0]}}}, {{name="mlp", hidden={HIDDEN[1]}}}]',
    f"devices.0.count={NUM_DEVICES}",
    f"stop.rounds={NUM_ROUNDS}",
    f"algorithm.batch_size={BATCH_SIZE}",
    "algorithm.local_epochs=1",
    "algorithm.momentum=0.5",
    "algorithm.prototype_weight=0.7",
]


class Twin:
    """What a researcher would write: modules, an optimizer, and dictionaries of prototypes."""

    def __init__(self) -> None:
        streams = Streams(1)
        data = digits(streams("split"))
        self.inputs, self.labels = torch.tensor(data.train_inputs).flatten(1), torch.tensor(data.train_labels)
        self.test = torch.tensor(data.test_inputs).flatten(1), torch.tensor(data.test_labels)
        self.shards = classes_per_device(data.train_labels, NUM_DEVICES, streams("partition"), classes=3)
        self.rngs = [streams("batches", i) for i in range(NUM_DEVICES)]
        self.bodies, self.heads = [], []
        for i in range(NUM_DEVICES):
            hidden = HIDDEN[i % 2]
            widths = [64, *hidden]
            layers = [part for a, b in zip(widths, hidden) for part in (nn.Linear(a, b), nn.ReLU())]
            body, head = nn.Sequential(*layers).double(), nn.Linear(FEATURES, NUM_CLASSES).double()
            start = Mlp((64,), NUM_CLASSES, hidden).initial(
                streams("initial_parameters", *([0] if i % 2 == 0 else [0, 2]))
            )
            nn.utils.vector_to_parameters(torch.tensor(start), [*body.parameters(), *head.parameters()])
            self.bodies.append(body)
            self.heads.append(head)
        self.known: dict[int, Tensor] = {}

    def parameters(self, i: int) -> Tensor:
        return nn.utils.parameters_to_vector([*self.bodies[i].parameters(), *self.heads[i].parameters()]).detach()

    def round(self, weighted: bool) -> list[dict[int, Tensor]]:
        """One round; the table that each device classifies with."""
        brought: dict[int, list[tuple[int, Tensor]]] = {}
        tables = []
        for i, (body, head, shard) in enumerate(zip(self.bodies, self.heads, self.shards)):
            optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1, momentum=0.5)
            order = self.rngs[i].permutation(shard)
            for at in range(0, len(order), BATCH_SIZE):
                batch = order[at : at + BATCH_SIZE]
                labels = self.labels[batch]
                z = body(self.inputs[batch])
                target = torch.stack([self.known.get(int(y), h.detach()) for y, h in zip(labels, z)])
                loss = nn.functional.cross_entropy(head(z), labels) + 0.7 * nn.functional.mse_loss(z, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                z = body(self.inputs[shard])
            own = {int(y): z[self.labels[shard] == y].mean(0) for y in self.labels[shard].unique()}
            for y, c in own.items():
                brought.setdefault(y, []).append((int((self.labels[shard] == y).sum()) if weighted else 1, c))
            tables.append(own | self.known)
        self.known |= {y: sum(n * c for n, c in parts) / sum(n for n, _ in parts) for y, parts in brought.items()}
        return tables

    def accuracies(self, i: int, table: dict[int, Tensor]) -> tuple[float, float]:
        """By the nearest prototype and by the last layer."""
        inputs, labels = self.test
        with torch.no_grad():
            z = self.bodies[i](inputs)
            classes = sorted(table)
            nearest = torch.tensor(classes)[torch.stack([(z - table[y]).square().mean(1) for y in classes]).argmin(0)]
            by_head = self.heads[i](z).argmax(1)
        return float((nearest == labels).double().mean()), float((by_head == labels).double().mean())


@pytest.mark.parametrize("server_weights", ["samples", "uniform"])
@pytest.mark.parametrize("executor", ["batched", "eager"])
def test_a_run_with_two_architectures_equals_a_plain_torch_loop(executor: str, server_weights: str) -> None:
    run, recording = record(calm("fedproto", *KEYS, f"algorithm.server_weights={server_weights}"), executor)
    twin = Twin()
    reported = {i: models[1:] for i, models in models_by_device(recording).items()}
    for k in range(NUM_ROUNDS):
        tables = twin.round(server_weights == "samples")
        for i in range(NUM_DEVICES):
            x, table, usable = reported[i][k]
            assert float((x - twin.parameters(i)).abs().max()) < 1e-9, f"round {k}, device {i}"
            assert np.flatnonzero(usable > 0).tolist() == sorted(tables[i])
            for y, c in tables[i].items():
                assert float((table[y] - c).abs().max()) < 1e-9
    found = np.array([twin.accuracies(i, tables[i]) for i in range(NUM_DEVICES)])
    assert run.accuracy[-1] == pytest.approx(found[:, 0].mean(), abs=1e-9)
    assert run.payload_bits == payload_bits(twin, server_weights)


def models_by_device(recording: Recording) -> dict[int, list[list[Tensor]]]:
    found: dict[int, list[list[Tensor]]] = {}
    for node, name, value in recording.reported:
        if name == "model" and value is not None:
            found.setdefault(node, []).append(tensors_of(value))
    return found


def payload_bits(twin: Twin, server_weights: str) -> int:
    """Down: 16 bits for 10 classes and 32 a number, none in round 0; up: also 32 a count."""
    held = [len(twin.labels[shard].unique()) for shard in twin.shards]
    up = sum(16 + classes * (32 * FEATURES + 32 * (server_weights == "samples")) for classes in held)
    down = NUM_DEVICES * (16 * NUM_ROUNDS + (NUM_ROUNDS - 1) * 32 * FEATURES * NUM_CLASSES)
    return NUM_ROUNDS * up + down


def test_without_the_prototype_term_the_models_are_those_of_training_alone() -> None:
    """Bit for bit: the passes that collect prototypes draw nothing."""
    keys = ["algorithm.momentum=0", "model.variants=[]", "data={name='digits', partition='dirichlet', alpha=0.5}"]
    _, shared = record(calm("fedproto", *KEYS[:-2], *keys, "algorithm.prototype_weight=0"))
    _, alone = record(calm("local_only", *KEYS[:-2], *keys))
    ours, theirs = models_by_device(shared), models_by_device(alone)
    for i in range(NUM_DEVICES):
        for (x, *_), (other,) in zip(ours[i][1:], theirs[i], strict=True):
            assert torch.equal(x, other)


def test_every_op_of_a_client_is_counted() -> None:
    """Of one pass over n samples: 2 n (64 d + C d) FLOPs for the representations and their sums, then C d for the means."""
    task = small_task()
    op: Op = prototype_sums(task)
    flops = op.flops(
        torch.zeros(4, 3, dtype=F64), torch.zeros(7, dtype=torch.int64), torch.ones(7, dtype=F64), task.zero_parameters
    )
    assert flops == 2 * 7 * (5 * 3 + 4 * 3)

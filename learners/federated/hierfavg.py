"""HierFAVG: hierarchical federated averaging, client - edge - cloud.

Liu, Zhang, Song and Letaief, "Client-edge-cloud hierarchical federated learning", ICC 2020, Algorithm 1 (arXiv 1905.06641). Every
base station is an edge server; the cloud is behind the backhaul. In a round k of the cloud

    cloud -> edges           w_l <- w
    kappa_2 times, every edge l with the clients C_l that its station serves, as FedAvg does:
        w_i <- w_l,  then kappa_1 local SGD steps
        w_l <- sum_{i in C_l} n_i w_i / n_l,   n_l = sum_{i in C_l} n_i
    edges -> cloud           w <- sum_l n_l w_l / sum_l n_l

An edge goes on when its own clients have answered, whatever the others do; the cloud waits for all edges. With kappa_2 = 1 it is FedAvg.

Sends, per round: kappa_2 models from an edge to each of its clients and back, 32 * num_params bits each way with float32; over
the backhaul the model to every edge, and back with one number, 32 * num_params + 32 bits.

The paper's: all clients take part, and it is always the same ones that belong to an edge. Ours: a client belongs to the edge whose
station serves it when it is invited, and answers that one wherever it is by then (over the backhaul between stations, if need be); K
clients of each edge, drawn uniformly or by another policy of the edge, which asks its own clients where that one asks; deadlines, losses and lossy codecs on the air as in FedAvg, none of them between the
servers, where numbers travel as float32. n_l counts what was averaged: the samples behind all updates that arrived since the
cloud's model came, which of updates that all arrive is the paper's. An edge to which none came says so in 32 bits and does not count.
Where a station serves nobody, its edge round takes no time.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from learners.averaging import average
from learners.compression.float32 import Float32
from learners.federated.fedavg import FedAvg
from learners.fields import check_count
from learners.protocol import (
    SERVER,
    AwaitJoin,
    Compute,
    Node,
    Payload,
    Program,
    Receive,
    Report,
    Send,
    Service,
    Value,
    rounds,
)
from learners.quantities import Count

SAMPLES_BITS = 32
"""n_l in an edge's message to the cloud."""


@dataclass(frozen=True)
class HierFavg(FedAvg):
    """As `FedAvg`, whose rounds are those of an edge and its clients here: clients_per_round, deadline_s, selection, late. local_steps:
    kappa_1. edge_rounds: kappa_2, in a round of the cloud, which the schedule of the learning rate and the number of rounds count."""

    edge_rounds: Count = 2

    uses_edges: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("edge_rounds", self.edge_rounds)
        if self.uplink != "digital":
            raise ValueError(f'uplink = {self.uplink!r}: over-the-air sums and factors are of one server; "digital"')

    def program(self, node: Node) -> Program | Service:
        return Service(self.edge(node)) if node.id in node.edges else super().program(node)

    def server(self, node: Node) -> Program:
        w = node.initial_parameters  # [num_params]
        for k in rounds(self.num_rounds):
            while not node.devices:
                yield AwaitJoin()
            yield Send(node.edges, "cloud model", k, Float32().payload(w, node))
            answers = yield Receive(node.edges, "edge model", k)
            trained = [answer for answer in answers.data if isinstance(answer, tuple)]
            if trained:
                counts = node.tensor([float(count) for _, count in trained])
                w = yield Compute(average, ([model for model, _ in trained], counts))
            yield Report("model", w)

    def edge(self, node: Node) -> Program:
        """The program of an edge server."""
        codec = self.model_codec
        while True:
            (start,) = (yield Receive([SERVER], "cloud model", count=1)).messages
            w, count = start.data, 0.0  # n_l
            for number in range(start.round * self.edge_rounds, (start.round + 1) * self.edge_rounds):
                if not node.devices:
                    continue
                clients = yield from self.invite(node, number, codec.payload(w, node))
                updates = yield from self.collect(node, clients, number)
                if updates.messages:
                    w = yield self._aggregate(node, w, updates)
                    count += float(self.shares(node, updates).sum())
            yield Send(SERVER, "edge model", start.round, self._answer(node, w, count))

    def _answer(self, node: Node, w: Value, count: float) -> Payload:
        num_samples = node.tensor(count)
        if not count:
            return Payload(num_samples, SAMPLES_BITS)
        model = Float32().payload(w, node)
        return model._replace(data=(w, num_samples), num_bits=model.num_bits + SAMPLES_BITS)

    def local_training(self, node: Node, w: Value, k: int) -> Generator[Any, Any, Value]:
        return (yield from super().local_training(node, w, k // self.edge_rounds))

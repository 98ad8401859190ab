"""LG-FedAvg: local representations, one global last layer.

Liang et al., "Think locally, act globally: federated learning with local and global representations", arXiv 2001.01523. The last,
linear layer h is common, everything below it is the device's own, of any architecture with the same size of representation d:

    w_k = [body_k | h_k],   h_k <- h, then local SGD on the whole model,   h <- sum_{k in S_t} p_k h_k

Sends, per round and client: the last layer each way, 32 (d C + C) bits with float32.

The paper's: the split, local SGD on the cross-entropy. Weights p by samples as in HtFLlib; the authors' code averages without
(server_weights = "uniform"), starts from a model trained by FedAvg, and keeps two or three upper layers global.
Ours: a client that is not sampled gets h when it is next (their code hands it to all after each round, which matters to what is
measured of those, not to what is learned); a deadline, lost and partial messages as in `shared_part`. The first h is that of [model] at
the server, so that the representation of [model] has to be as long as those of the variants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.federated import last_layer
from learners.federated.last_layer import LastLayerSgd
from learners.federated.shared_part import parts_of
from learners.protocol import Node, Program


@dataclass(frozen=True)
class LgFedAvg(LastLayerSgd):
    """As `LastLayerSgd`."""

    learner_name: ClassVar[str] = "lg_fedavg"
    what_is_sent: ClassVar[str] = "whole layers"
    needs_classes: ClassVar[bool] = False

    def client(self, node: Node) -> Program:
        body, header = yield from self.begun(node)
        while True:
            k, header, x = yield from self.trained(node, body, header)
            body, trained = parts_of(x, last_layer.sizes(node))
            yield from self.upload(node, k, self.codec.payload(trained, node))

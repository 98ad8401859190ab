"""FML: federated mutual learning. A common "meme" model travels; at each device it and the device's own model teach each other.

Shen et al., "Federated mutual learning", arXiv 2006.16765. F_k private, of any architecture; G common; p: softmax of logits.

    L_F = alpha CE(z_F, y) + (1 - alpha) KL(p_G || p_F)
    L_G = beta  CE(z_G, y) + (1 - beta)  KL(p_F || p_G)          both by SGD in the same steps
    G <- mean over the clients of the round

Sends, per round and client: G each way, 32 |G| bits with float32.

Two ways to infer: the private model, "model", and the common one, "shared"; each before and after local training.

The paper's: the losses, alpha = beta = 1/2, a plain mean (server_weights = "samples" weighs it). As in its reference for mutual learning
the teaching side is detached and KL is a mean over the batch (`mutual`); HtFLlib back-propagates into both models, divides by batch and
classes, clips at norm 10, and its defaults alpha = beta = 1 switch the teaching off.
Ours: a deadline, lost and partial messages as in `shared_part`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from learners.federated.mutual import Pair, mutual_loss
from learners.federated.shared_part import SharedPartSgd, in_one_row, parts_of, reports_of, with_task
from learners.protocol import Node, Program
from learners.quantities import Share


@dataclass(frozen=True)
class Fml(SharedPartSgd):
    """Rounds as in `ServerSgd`. The common model is that of [model], the devices' own are its variants.
    private_label_weight, shared_label_weight: alpha and beta, the parts of the labels in the two losses; the rest is the other model's."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    private_label_weight: Share = 0.5
    shared_label_weight: Share = 0.5

    shared_head: ClassVar[str | None] = "shared"
    heads: ClassVar[Mapping[str, str]] = {"shared": "shared_alone"}
    reports: ClassVar[tuple[str, ...]] = reports_of(heads)
    own_metrics: ClassVar[tuple[str, ...]] = ("model", *reports)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("private_label_weight", "shared_label_weight"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} = {getattr(self, key)!r}: from 0 to 1")

    def client(self, node: Node) -> Program:
        task = self.pair(node, Pair)
        sizes = (self.task.num_params, task.num_params - self.task.num_params)
        private, theta = node.initial_parameters, self.drawn_part(node)  # theta: then the last copy of the common model
        yield from self.report_first(task, in_one_row((theta, private)))
        while True:
            k, theta = yield from self.received_part(node, theta)
            x = in_one_row((theta, private))
            yield from self.report(task, x)
            parts = self.private_label_weight, self.shared_label_weight
            x = yield from self.train(with_task(node, task), x, k, self.batches(node), mutual_loss, *parts)
            yield from self.report(task, x, trained=True)
            trained, private = parts_of(x, sizes)
            yield from self.upload(node, k, self.shared_payload(node, trained))

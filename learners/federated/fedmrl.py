"""FedMRL: federated model-heterogeneous Matryoshka representation learning. A small common model travels, large ones do not.

Yi, Yu, Ren, Wang, Liu and Li, "Federated model heterogeneous Matryoshka representation learning", NeurIPS 2024 (arXiv
2406.00488). Client k has the small model G(theta), the same architecture for all, its own model F_k(omega_k) of any architecture,
and a linear projector P_k(phi_k). In round t the server sends theta to the sampled clients S_t; each trains all three together by SGD
on one loss (formulas of the fused representation and its views: `matryoshka`) and sends theta_k back:

    m_lc CE(z_G, y) + m_hf CE(z_F, y)                  z_G, z_F: logits of the coarse and the fine view
    theta <- sum_{k in S_t} n_k theta_k / sum_{j in S_t} n_j

Sends, per round and client: theta each way, 32 |theta| bits with float32. Representations, omega and phi never travel.

Four ways to infer: "model" (mix-large, argmax z_F: the paper's), "mix_small" (argmax z_G), "single_small" (G alone) and "single_large"
(F_k alone). "model" is what a client has with the theta that it was sent, "after_local_training" with its own theta_k, which is what
the authors' code tests (and only of the clients of the round).

The paper's: the flow, both losses in one backward pass, one learning rate, the true weighted average. n_k are the training samples;
the authors' code counts test samples, too. Their code averages references to one network, so that the last client's wins, keeps
momentum of G and P from client to client, and clips each network's gradient at norm 50; none of that is here, momentum starts from zero in
each round. HtFLlib forgets the trained projector; here it is kept, as the paper has it.
Ours: phi starts Glorot normal from the device's own stream (torch's uniform start, one copy for all, in the code); a deadline, lost and
partial messages as in `shared_part`. Devices whose round is lost keep the omega and phi that they trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from learners.federated.matryoshka import Matryoshka, matryoshka_loss
from learners.federated.shared_part import SharedPartSgd, in_one_row, parts_of, reports_of, with_task
from learners.fields import check_number
from learners.models.flat import Model
from learners.protocol import Node, Program
from learners.quantities import PositiveOrZero


@dataclass(frozen=True)
class FedMrl(SharedPartSgd):
    """Rounds as in `ServerSgd`. The small model is that of [model], the devices' own are its variants.
    coarse_weight, fine_weight: m_lc and m_hf, of the two losses."""

    coarse_weight: PositiveOrZero = 1.0
    fine_weight: PositiveOrZero = 1.0

    shared_head: ClassVar[str | None] = "single_small"
    heads: ClassVar[Mapping[str, str]] = {name: name for name in ("mix_small", "single_small", "single_large")}
    reports: ClassVar[tuple[str, ...]] = reports_of(heads)
    own_metrics: ClassVar[tuple[str, ...]] = ("model", *reports)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("coarse_weight", self.coarse_weight, zero=True)
        check_number("fine_weight", self.fine_weight, zero=True)
        if not self.coarse_weight and not self.fine_weight:
            raise ValueError("fine_weight = 0.0: one of the two losses has to count; coarse_weight or this above 0")

    def check_models(self, models: Sequence[Model]) -> None:
        """Raise ValueError unless the shared representation is at most as long as every private one."""
        d1, d2 = self.task.model.feature_dim, min(model.feature_dim for model in models)
        if d1 > d2:
            raise ValueError(
                f"representation of {d1} numbers (the last hidden layer): fedmrl shares this model, whose representation may be at "
                f"most as long as the shortest of the variants, {d2}"
            )

    def client(self, node: Node) -> Program:
        task = self.pair(node, Matryoshka)
        own, model = with_task(node, task), cast(Matryoshka, task.model)
        projector = torch.tensor(model.initial_projector(node.rng), dtype=task.dtype)
        private = in_one_row((node.initial_parameters, projector))
        sizes = (self.task.num_params, task.num_params - self.task.num_params)
        theta = self.drawn_part(node)  # then the last copy of the shared model
        yield from self.report_first(task, in_one_row((theta, private)))
        while True:
            k, theta = yield from self.received_part(node, theta)
            x = in_one_row((theta, private))
            yield from self.report(task, x)
            weights = self.coarse_weight, self.fine_weight
            x = yield from self.train(own, x, k, self.batches(node), matryoshka_loss, *weights)
            yield from self.report(task, x, trained=True)
            trained, private = parts_of(x, sizes)
            yield from self.upload(node, k, self.shared_payload(node, trained))

"""DRT diffusion: layers of neighbors that differ are weighed by deep relative trust.

Li, Fainman and Vlaski, "Deep-relative-trust-based diffusion for decentralized deep learning", ICASSP 2025 (arXiv 2501.03162).
In every round, at device k with neighbors l and base weights c:

    adapt     psi_k   <- w_k - lr * g_k(w_k)
    exchange  psi_k to all neighbors
    combine   w_k^(p) <- sum_l a_lk^(p) psi_l^(p)        for every layer p, with a of `drt_weights`

Sends what classical diffusion does: its model, 32 * num_params bits with float32, once for all neighbors (exchange =
"broadcast"); the weights need nothing but psi_k and what arrived.

The paper's: a penalty on the deep relative trust between neighbors, from which weights follow that are layer-wise and change
with time; a product over layers. What is known of its body comes from its abstract and short summaries of others. Reconstructed,
and not confirmed: the kernel, the normalization, the clipping by N (max_ratio), what a layer is. So this is a method of
the paper's kind, with its true formula to be dropped in as another kernel. max_ratio = 1 is classical diffusion (adapt, then
combine) with the weights c exactly.
Ours: Metropolis weights c from the degrees in the headers (or others, see `mixing_weights`: a matrix from a file is c, and of its
columns nothing is asked, since the weights a are not doubly stochastic either), momentum and weight decay within the adaptation, several local
steps a round, a deadline.

Lost messages: the weight of a neighbor that is missing returns to the device (normalization = "simplex": to all who are there).
Where only parts of a model arrived, its layers are compared in the coordinates that did, and the weight of the others returns to
the device. With symmetric = true the plain average of the devices is kept only if both ends miss each other. A model that is
not finite counts as missing.

Measured of itself: deep relative trust to the neighbors that it heard in the last round (mean and largest), and by layer the weight
that its own model had and the largest of a neighbor; nothing after a round in which it heard nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from learners.averaging import full_masks
from learners.decentralized import drt_weights as drt
from learners.decentralized.neighbor_sgd import Heard, NeighborSgd
from learners.deferred import op
from learners.fields import check_choice
from learners.protocol import Compute, Measure, Node, Program, Report
from learners.quantities import PartOrZero, Ratio


@dataclass(frozen=True)
class DrtDiffusion(NeighborSgd):
    """kernel, normalization, symmetric, layers: see `drt_weights`. max_ratio: N, how much more or less than in plain diffusion a
    neighbor may count. min_own_weight: a_min, of a device's own model (normalization = "residual")."""

    kernel: Literal["classic", "prod_sq", "log_sq", "drt_sq", "log_abs"] = "prod_sq"
    normalization: Literal["residual", "simplex"] = "residual"
    symmetric: bool = False
    max_ratio: Ratio = 2.0
    min_own_weight: PartOrZero = 0.05
    layers: Literal["module", "tensor"] = "module"

    takes_matrix = "row stochastic"
    leaves_out_rounds = True
    takes_adam = True
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {
        "deep_relative_trust": ("mean", "largest"),
        "own_weight": "layer",
        "largest_neighbor_weight": "layer",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("kernel", self.kernel, drt.KERNELS)
        check_choice("normalization", self.normalization, drt.NORMALIZATIONS)
        check_choice("layers", self.layers, drt.LAYERS)
        if not 1 <= self.max_ratio < float("inf"):
            raise ValueError(f"max_ratio = {self.max_ratio!r}: at least 1 (1 is plain diffusion)")
        if not 0 <= self.min_own_weight < 1:
            raise ValueError(f"min_own_weight = {self.min_own_weight!r}: a part of 1, 0 or more and less than 1")
        if self.symmetric and self.kernel in drt.SINGULAR:
            raise ValueError(
                f'symmetric = True: kernel = "{self.kernel}" is relative to the mean over a device\'s own neighbors, which the '
                "other end does not know; classic, prod_sq or log_sq"
            )
        if self.symmetric and (self.normalization != "residual" or self.mixing_weights != "metropolis"):
            raise ValueError('symmetric = True: with normalization = "residual" and mixing_weights = "metropolis" only')

    def program(self, node: Node) -> Program:
        w, k = node.initial_parameters, 0  # w: [num_params]
        while self.goes_on(k):
            psi = yield from self.train(node, w, k, self.batches(node))
            yield Report("after_local_training", psi)
            sent = yield from self.publish(node, k, psi)
            heard = yield from self.gather(node, sent)
            w, measured = psi, [None] * 3
            if heard.received.messages:
                w, *measured = yield self._combine(node, psi, heard)
            for name, value in zip(self.measures, measured, strict=True):
                yield Measure(name, value)
            k = yield from self.close(node, w, heard)

    def _combine(self, node: Node, psi: Any, heard: Heard) -> Compute:
        sizes = drt.layer_sizes(node.task.model.shapes, self.layers)
        caps = self._caps(node, heard)
        args = (psi, heard.values, heard.weights, caps, sizes, *self._rule)
        masks = full_masks(heard.received)
        return Compute(combine, args) if masks is None else Compute(combine_masked, (*args, masks))

    @cached_property
    def _rule(self) -> tuple[Any, ...]:
        return self.kernel, self.normalization, self.symmetric, float(self.max_ratio), float(self.min_own_weight)

    def _caps(self, node: Node, heard: Heard) -> Tensor:
        """[num_messages] the largest weight that both ends of a symmetric link allow: (1 - a_min) / max(d_k, d_l)."""
        if not self.symmetric:
            return torch.ones_like(heard.weights)
        own = len(heard.sent.neighbors)
        degrees = [max(own, message.degree, 1) for message in heard.received.messages]
        return node.tensor([(1 - self.min_own_weight) / degree for degree in degrees])


Combined = tuple[Tensor, Tensor, Tensor, Tensor]


def _combined(
    psi: Tensor,
    difference: Tensor,
    own_norms: Tensor,
    other_norms: Tensor,
    arrived: Tensor,
    c: Tensor,
    caps: Tensor,
    sizes: tuple[int, ...],
    kernel: str,
    normalization: str,
    symmetric: bool,
    max_ratio: float,
    min_own_weight: float,
) -> Combined:
    """w_k [num_params]; mean and largest DRT to the neighbors [2]; own weight by layer and the largest of a neighbor, [num_layers]
    each.

    difference: psi_l - psi_k [m, num_params], 0 where nothing arrived; own_norms: of psi_k, [num_layers] or, over the coordinates
    that arrived of each, [m, num_layers]; other_norms: of psi_l likewise, looked at if symmetric; arrived: bool [m or 1,
    num_layers], of which layers anything did
    """
    gaps = drt.layer_norms(difference, sizes)  # [m, num_layers]
    there = (c > 0) & torch.isfinite(gaps).all(-1)
    difference = torch.nan_to_num(difference, nan=0, posinf=0, neginf=0)  # what is not there has weight 0 below
    gaps = torch.where(there.unsqueeze(-1), gaps, 0)
    present = there.unsqueeze(-1) & arrived
    c = torch.where(present, c.unsqueeze(-1), 0)  # [m, num_layers]
    kappa = drt.kappas(gaps, own_norms, present, kernel, max_ratio)
    if symmetric:
        kappa = torch.minimum(kappa, drt.kappas(gaps, other_norms, present, kernel, max_ratio))
        a = torch.minimum(c * kappa, torch.where(present, caps.unsqueeze(-1), 0))
    elif normalization == "residual":
        a = drt.residual(c, kappa, min_own_weight)
    else:
        a = drt.simplex(c, kappa)
    layers = difference.split(list(sizes), -1)
    steps = [weights @ layer for weights, layer in zip(a.unbind(-1), layers, strict=True)]
    trust = torch.where(there, drt.deep_relative_trust(drt.distances(gaps, own_norms)), 0)
    mean = trust.sum() / there.sum().clamp(min=1)
    return psi + torch.cat(steps), torch.stack((mean, trust.amax())), 1 - a.sum(0), a.amax(0)


def _flops(psi: Tensor, received: Tensor, *_: Any) -> int:
    """A difference and the sum of its squares; own norms. The products with the weights torch counts."""
    return 3 * received.numel() + 2 * psi.numel()


@op(ragged=("received", "weights", "caps"), flops=_flops)
def combine(
    psi: Tensor,
    received: Tensor,
    weights: Tensor,
    caps: Tensor,
    sizes: tuple[int, ...],
    kernel: str,
    normalization: str,
    symmetric: bool,
    max_ratio: float,
    min_own_weight: float,
) -> Combined:
    """The combination of whole models psi_l [m, num_params], see `_combined`."""
    own = drt.layer_norms(psi, sizes)
    others = drt.layer_norms(received, sizes) if symmetric else own
    all_layers = torch.ones((1, len(sizes)), dtype=torch.bool)
    rule = kernel, normalization, symmetric, max_ratio, min_own_weight
    return _combined(psi, received - psi, own, others, all_layers, weights, caps, sizes, *rule)


@op(ragged=("received", "weights", "caps", "masks"), flops=_flops)
def combine_masked(
    psi: Tensor,
    received: Tensor,
    weights: Tensor,
    caps: Tensor,
    sizes: tuple[int, ...],
    kernel: str,
    normalization: str,
    symmetric: bool,
    max_ratio: float,
    min_own_weight: float,
    masks: Tensor,
) -> Combined:
    """As `combine`, over the coordinates that arrived (masks, bool [m, num_params])."""
    own = drt.layer_norms(torch.where(masks, psi, 0), sizes)
    others = drt.layer_norms(torch.where(masks, received, 0), sizes) if symmetric else own
    arrived = torch.stack([part.any(-1) for part in masks.split(list(sizes), -1)], -1)
    rule = kernel, normalization, symmetric, max_ratio, min_own_weight
    return _combined(psi, torch.where(masks, received - psi, 0), own, others, arrived, weights, caps, sizes, *rule)

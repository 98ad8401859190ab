"""Class subspaces as messages: a basis of each class of a device, and the subspace that all who are heard have in common.

    B^k = the r eigenvectors of V^k with the largest eigenvalues: the top left singular vectors of the d x n features of class k
    U^k = the R eigenvectors of sum_j B_j^k (B_j^k)' with the largest eigenvalues: the top left singular vectors of [B_1^k ... B_N^k]
    P^k = U^k (U^k)', the projection onto it

Directions whose eigenvalue is below 1e-6 of the largest are zeros in their place: of fewer than r samples, or with fewer than R directions
in all, they would be arbitrary. An eigenvector's component of largest magnitude is positive, so that a message does not depend
on the routine that made it; no sign enters P^k.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.compression.codec import Codec
from learners.deferred import op
from learners.protocol import Compute, Message, Node, Payload, Value
from learners.semantic.coding_rate import moments
from learners.semantic.moment_links import SeenBy, classes_held
from learners.semantic.moments import second_moment_sums

SMALLEST_EIGENVALUE = 1e-6
"""Over the largest."""


def top_eigenvectors(v: Tensor, number: int) -> Tensor:
    """[..., d, number] of symmetric positive semi-definite v [..., d, d], the largest eigenvalue first. NaN where v is not finite."""
    finite = torch.isfinite(v).all(-1, keepdim=True).all(-2, keepdim=True)
    eigenvalues, vectors = torch.linalg.eigh(torch.where(finite, v, torch.eye(v.shape[-1], dtype=v.dtype)))
    vectors = vectors.flip(-1)[..., :number]
    kept = eigenvalues.flip(-1)[..., :number] > SMALLEST_EIGENVALUE * eigenvalues[..., -1:]
    largest = vectors.gather(-2, vectors.abs().argmax(-2, keepdim=True))
    found = torch.where(largest < 0, -vectors, vectors) * kept.unsqueeze(-2)
    return torch.where(finite, found, torch.nan)


def eigen_flops(v: Tensor) -> int:
    """Some 9 d^3 multiplications and additions a matrix, as for `moments.projected`. v: [num, d, d]."""
    return 18 * v.shape[0] * v.shape[-1] ** 3


@op(flops=lambda sums, counts, held, basis_dim: eigen_flops(sums))
def class_bases(sums: Tensor, counts: Tensor, held: Tensor, basis_dim: int) -> Tensor:
    """The message [num_held * d * r] of sums Z^k' Z^k [num_classes, d, d] over counts [num_classes]: B^k, row by row, of the classes
    held, int64 [num_held]."""
    return top_eigenvectors(moments(sums, counts)[held], basis_dim).flatten()


@op(flops=lambda last, known, values, mask: last.numel())
def taken(last: Tensor, known: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What a receiver holds of a sender, [num_held * d * r], and which classes have ever come whole, bool [num_held]: those of values
    [num_held * d * r] of which every number arrived (mask) take the place of the last ones."""
    whole = mask.view(len(known), -1).all(1)
    new = torch.where(whole.unsqueeze(1), values.view(len(known), -1), last.view(len(known), -1))
    return new.flatten(), known | whole


@op(flops=lambda values, known, held, zeros: values.numel())
def known_bases(values: Tensor, known: Tensor, held: Tensor, zeros: Tensor) -> Tensor:
    """B [num_classes, d, r] of a message [num_held * d * r], zeros for classes not known (bool [num_held]). held: int64 [num_held];
    zeros: [num_classes, d, r]."""
    found = torch.where(known.unsqueeze(1), values.view(len(held), -1), 0)
    return zeros.index_copy(0, held, found.view(-1, *zeros.shape[1:]))


@op(
    ragged=("bases",),
    flops=lambda own, bases, joint_dim: (
        2 * own.shape[1] * (own.numel() + bases.numel())
        + own.shape[0] * own.shape[1] ** 2 * (18 * own.shape[1] + 2 * joint_dim)
    ),
)
def joint_projections(own: Tensor, bases: Tensor, joint_dim: int) -> Tensor:
    """P [num_classes, d, d] of own [num_classes, d, r] and what is known of the others, ragged [num_classes, d, r]."""
    total = own @ own.mT + (bases @ bases.mT).sum(0)
    u = top_eigenvectors(total, joint_dim)
    return u @ u.mT


@dataclass
class Link:
    """What is held of one sender, see `taken`. held: int64 [num_held], the classes of its messages; round: of the newest message."""

    held: Tensor
    values: Value
    known: Value
    round: int


class BasisLinks:
    """Of one device: its own bases as it sends them, and the last that it has of its neighbors.

    A class of a message of which a number is lost keeps its last basis: halves of two bases are none. A neighbor's class that has
    never come is left out. Who holds which classes is known since the set-up (`Node.class_counts_of`)."""

    def __init__(self, node: Node, codec: Codec, basis_dim: int, batch_size: int) -> None:
        task = node.task
        self._node, self._codec = node, codec
        self._basis_dim = basis_dim
        d = task.model.feature_dim
        self._zero_sums = torch.zeros((task.num_classes, d, d), dtype=task.dtype)
        self._zeros = torch.zeros((task.num_classes, d, basis_dim), dtype=task.dtype)
        self._samples = node.all_samples(batch_size)
        self._counts = node.tensor(node.class_counts_of(node.id))
        self._held = self._classes_of(node.id)
        self._links: dict[int, Link] = {}

    def _classes_of(self, device: int) -> Tensor:
        return torch.tensor(classes_held(self._node.class_counts_of(device)), dtype=torch.int64)

    def payload(self, x: Value) -> Generator[Compute, Any, Payload]:
        """B of the own classes at the model x, in evaluation mode, as a message; every basis is a tensor to the codec."""
        scan = second_moment_sums(self._node.task).scan
        sums = yield Compute(scan, (self._zero_sums, self._samples.steps, x), work=self._samples.work)
        values = yield Compute(class_bases, (sums, self._counts, self._held, self._basis_dim))
        size = self._zeros[0].numel()
        return self._codec.payload(values, SeenBy(self._node, len(self._held), size))  # type: ignore[arg-type]

    def receive(self, message: Message) -> Generator[Compute, Any, None]:
        """Keeps what arrived of a message, unless a newer one came before."""
        link = self._links.get(message.sender)
        if link is not None and message.round < link.round:
            return
        held = self._classes_of(message.sender)
        if message.mask is None:
            self._links[message.sender] = Link(held, message.data, held >= 0, message.round)
            return
        if link is None:
            nothing = torch.zeros(message.data.shape, dtype=self._zeros.dtype)
            link = Link(held, nothing, held < 0, 0)
        values, known = yield Compute(taken, (link.values, link.known, message.data, message.mask))
        self._links[message.sender] = Link(held, values, known, message.round)

    def projections(self, own: Payload, senders: Sequence[int], joint_dim: int) -> Generator[Compute, Any, Value]:
        """P [num_classes, d, d] of the own message, as others hold it, and of those of the senders of whom there is something."""
        links = [self._links[sender] for sender in senders if sender in self._links]
        bases = []
        for link in (Link(self._held, own.data, self._held >= 0, 0), *links):
            bases.append((yield Compute(known_bases, (link.values, link.known, link.held, self._zeros))))
        return (yield Compute(joint_projections, (bases[0], bases[1:] or [self._zeros], joint_dim)))

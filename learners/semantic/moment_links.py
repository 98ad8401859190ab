"""The messages of class second moments of one device: its own as it sends them, and the last that it has of its neighbors.

A neighbor's class counts once every number of its matrix has come; a number that is lost later keeps its last value. Nothing about
which classes a message holds travels: who holds which classes is known since the set-up (`Node.class_counts_of`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import Codec
from learners.protocol import Compute, Message, Node, Payload, Value
from learners.semantic.moments import (
    Cells,
    MatrixForm,
    cells_of,
    merged,
    packed,
    projected,
    second_moment_sums,
    unpacked,
)


@dataclass
class Link:
    """What is held of one sender. held: int64 [num_held], the classes of its messages; values: [num_held * c], known: bool; round: of
    the newest message; exact: everything came whole and unrounded."""

    held: Tensor
    values: Value
    known: Value
    round: int
    exact: bool


class MomentLinks:
    """Of one device. table: [num_classes, d, d] of zeros."""

    def __init__(self, node: Node, codec: Codec, form: MatrixForm, project: bool, batch_size: int) -> None:
        task = node.task
        self._node = node
        self._codec = codec
        self._project = project
        self._lossless = getattr(codec, "lossless", False)
        d = task.model.feature_dim
        self._cells: Cells = cells_of(form, d)
        self.zeros = torch.zeros((task.num_classes, d, d), dtype=task.dtype)
        self._samples = node.all_samples(batch_size)
        self.counts = node.tensor(node.class_counts_of(node.id))
        self.held = (self.counts > 0).to(task.dtype)
        self._links: dict[int, Link] = {}

    # -- own ------------------------------------------------------------------------------------------------------------

    def sums(self, x: Value) -> Generator[Compute, Any, Value]:
        """Z^k' Z^k [num_classes, d, d] of all own samples at the model x."""
        scan = second_moment_sums(self._node.task).scan
        return (yield Compute(scan, (self.zeros, self._samples.steps, x), work=self._samples.work))

    def payload(self, sums: Value, classes: Sequence[int]) -> Generator[Compute, Any, Payload]:
        """The matrices of these classes as a message; every matrix is a tensor to the codec."""
        held = torch.tensor(classes, dtype=torch.int64)
        values = yield Compute(packed, (sums, self.counts, held, self._cells.cells))
        return self._codec.payload(values, SeenBy(self._node, len(classes), len(self._cells.cells)))  # type: ignore[arg-type]

    def own(self, payload: Payload, classes: Sequence[int]) -> Generator[Compute, Any, tuple[Value, Value]]:
        """The own matrices as whoever hears all of the message holds them, and which classes."""
        link = Link(torch.tensor(classes, dtype=torch.int64), payload.data, None, 0, self._lossless)
        link.known = torch.ones(payload.data.shape, dtype=torch.bool)
        return (yield from self._table(link))

    # -- of others ------------------------------------------------------------------------------------------------------

    def receive(self, message: Message, classes: Sequence[int] | None = None) -> Generator[Compute, Any, None]:
        """Keeps what arrived of a message with these classes (None: all that the sender holds), unless a newer one came before."""
        link = self._links.get(message.sender)
        if link is not None and message.round < link.round:
            return
        if classes is None:
            classes = classes_held(self._node.class_counts_of(message.sender))
        held = torch.tensor(classes, dtype=torch.int64)
        if message.mask is None:
            known = torch.ones(message.data.shape, dtype=torch.bool)
            self._links[message.sender] = Link(held, message.data, known, message.round, self._lossless)
            return
        if link is None:
            nothing = torch.zeros(message.data.shape, dtype=self.zeros.dtype)
            link = Link(held, nothing, torch.zeros(message.data.shape, dtype=torch.bool), 0, False)
        values, known = yield Compute(merged, (link.values, link.known, message.data, message.mask))
        self._links[message.sender] = Link(link.held, values, known, message.round, False)

    def tables(self, senders: Sequence[int]) -> Generator[Compute, Any, tuple[list[Value], list[Value]]]:
        """V_j [num_classes, d, d] and 1 for its known classes [num_classes], of those of the senders of whom there is something; of
        nobody, one of whom nothing is known."""
        tables, known = [], []
        for sender in senders:
            if sender in self._links:
                table, flags = yield from self._table(self._links[sender])
                tables.append(table)
                known.append(flags)
        return (tables, known) if tables else ([self.zeros], [torch.zeros_like(self.held)])

    def _table(self, link: Link) -> Generator[Compute, Any, tuple[Value, Value]]:
        table, flags = yield Compute(unpacked, (link.values, link.known, link.held, self._cells.places, self.zeros))
        if self._project and not link.exact:
            table = yield Compute(projected, (table, flags))
        return table, flags


class SeenBy:
    """A node as a codec sees it whose message is of so many matrices of so many numbers."""

    def __init__(self, node: Node, num_matrices: int, size: int) -> None:
        self.task = SimpleNamespace(model=SimpleNamespace(shapes=((size,),) * num_matrices))
        self.packet_payload_bits = node.packet_payload_bits
        self.uniform = node.uniform
        self.tensor = node.tensor


def classes_held(counts: np.ndarray) -> list[int]:
    """Of class counts [num_classes]."""
    return np.flatnonzero(np.asarray(counts)).tolist()

"""A table of class prototypes as a message that says which classes it holds.

    1 bit a class: held or not, padded to whole bytes
    32 bits a held class: the number of samples behind it (unsigned; only where the receiver weighs by them)
    the codec's encoding of the held rows, num_held * feature_dim values

So 8 ceil(C / 8) + 32 C_k d_p bits with float32 for C_k of C classes of d_p numbers, and 32 C_k more with counts. Whoever
loses the packet with the beginning cannot read the rest.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import Codec, Fragments, values_received
from learners.federated.prototypes import held_mask, placed, rows
from learners.protocol import Message, Node, Payload, Read, Value

COUNT_BITS = 32


@dataclass(frozen=True)
class PrototypeFragments:
    """Packet losses of such a message. classes: the held ones; values: losses of the rows, None where any loses them all."""

    num_classes: int
    feature_dim: int
    classes: tuple[int, ...]
    with_counts: bool
    values: Fragments | None

    @property
    def header_bits(self) -> int:
        return 8 * ceil(self.num_classes / 8) + (COUNT_BITS * len(self.classes) if self.with_counts else 0)

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which numbers of the table [num_classes * feature_dim] survive; False in rows that were not sent."""
        mask = np.zeros((self.num_classes, self.feature_dim), dtype=bool)
        if (
            self.values is None
            or not values_received(arrived, packet_payload_bits, 1, self.header_bits, first_bit).all()
        ):
            return mask.ravel()
        num_held = len(self.classes)
        inner = self.values.received_mask(
            arrived, packet_payload_bits, num_held * self.feature_dim, first_bit + self.header_bits
        )
        if not isinstance(inner, np.ndarray):  # of values, which may come later
            return held_mask(inner, torch.tensor(self.classes, dtype=torch.int64), torch.from_numpy(mask))
        mask[list(self.classes)] = inner.reshape(num_held, self.feature_dim)
        return mask.ravel()


def payload(table: Value, counts: Tensor, codec: Codec, node: Node, *, with_counts: bool) -> Payload:
    """The prototypes of the classes whose count is above 0, as a message; its data is (table, counts) as the receiver will
    hold them: zero rows where nothing was sent, counts 1 without with_counts.

    table: [num_classes, feature_dim]; counts: [num_classes]
    """
    num_classes, feature_dim = table.shape
    classes = tuple(torch.nonzero(counts).flatten().tolist())
    held = counts if with_counts else (counts > 0).to(counts.dtype)
    zeros = torch.zeros((num_classes, feature_dim), dtype=counts.dtype)
    places = torch.tensor(classes, dtype=torch.int64)
    encoded = codec.payload(rows(table, places), node) if classes else Payload(None, 0)
    fragments = PrototypeFragments(num_classes, feature_dim, classes, with_counts, encoded.codec)
    data = placed(encoded.data, places, zeros) if classes else zeros
    num_bits = fragments.header_bits + encoded.num_bits
    return Payload((data, held), num_bits, fragments, num_classes * feature_dim, encoded.flops)


def with_known_mask(message: Message) -> Generator[Read, Any, Message]:
    """The message with a mask that can be looked at: what arrived decides which classes count, so that it is read where the
    codec's mask depends on values."""
    if message.mask is None or isinstance(message.mask, Tensor):
        return message
    return message._replace(mask=(yield Read(message.mask)))


def brings_any(message: Message) -> bool:
    """Whether any number of any prototype arrived. Of a message that lost its beginning, or all of its rows, the receiver has
    nothing: it is as if it were lost."""
    return message.mask is None or bool(message.mask.any())


def framed(counts: np.ndarray, values: bytes, *, with_counts: bool) -> bytes:
    """The bytes on the air: what says which classes are held, then the codec's encoding of their rows.

    counts: [num_classes], above 0 for held classes
    """
    held = counts > 0
    header = np.packbits(held, bitorder="little").tobytes()
    if with_counts:
        header += counts[held].astype("<u4").tobytes()
    return header + values


def unframed(data: bytes, num_classes: int, *, with_counts: bool) -> tuple[np.ndarray, bytes]:
    """The counts (1 for a held class without with_counts) and the codec's part of `framed`."""
    bitmap, rest = data[: ceil(num_classes / 8)], data[ceil(num_classes / 8) :]
    held = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), count=num_classes, bitorder="little")
    counts = held.astype(np.int64)
    if with_counts:
        num_held = int(held.sum())
        counts[held > 0] = np.frombuffer(rest, dtype="<u4", count=num_held)
        rest = rest[COUNT_BITS // 8 * num_held :]
    return counts, rest

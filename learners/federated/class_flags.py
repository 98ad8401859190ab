"""A vector as a message that says first which classes its sender has.

    1 bit a class, padded to whole bytes
    the codec's encoding of the vector

So 8 ceil(C / 8) bits more than the vector alone. Whoever loses the packet with the beginning cannot use the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from torch import Tensor

from learners.compression.codec import Codec, Fragments, values_received
from learners.protocol import Node, Payload, Value


@dataclass(frozen=True)
class FlaggedFragments:
    """Packet losses of such a message. values: of the vector, None where any loses it."""

    num_classes: int
    values: Fragments | None

    @property
    def header_bits(self) -> int:
        return 8 * ceil(self.num_classes / 8)

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which numbers of the vector survive."""
        whole = values_received(arrived, packet_payload_bits, 1, self.header_bits, first_bit).all()
        if self.values is None or not whole:
            return np.zeros(num_values, dtype=bool)
        return self.values.received_mask(arrived, packet_payload_bits, num_values, first_bit + self.header_bits)


def payload(x: Value, held: Tensor, codec: Codec, node: Node) -> Payload:
    """x [num_values] with held [num_classes], above 0 for the sender's classes; the data is (x, held)."""
    encoded = codec.payload(x, node)
    fragments = FlaggedFragments(len(held), encoded.codec)
    num_bits = fragments.header_bits + encoded.num_bits
    return Payload((encoded.data, held), num_bits, fragments, encoded.num_values, encoded.flops)


def framed(held: np.ndarray, values: bytes) -> bytes:
    """The bytes on the air. held: [num_classes], above 0 for held classes; values: the codec's encoding."""
    return np.packbits(held > 0, bitorder="little").tobytes() + values

"""The interface of a codec, and what lost packets do to an encoded vector.

A codec has two faces. The fast one is used in runs: `payload` gives what the receiver will hold, decoded, with the
exact length of its encoding. The true one is `encode` and `decode`, real bytes; a test requires that the two agree.
"""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from learners.protocol import Node, Payload, Value

Tensors = tuple[Tensor, ...]


class Codec(Protocol):
    """`compress` and `decompress` work on values, `encode` and `decode` on bytes; decode(encode(tensors)) == tensors.

    A run in float64 (for comparisons of executors) counts the bits of the codec all the same.
    """

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """What is sent of v. noise: uniform numbers shaped like v, for codecs that round at random."""

    def decompress(self, tensors: Tensors) -> Tensor:
        """The values that the receiver holds."""

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """Exact length of the encoding of values of this shape."""

    def encode(self, tensors: Tensors) -> bytes:
        """Compressed tensors as the bytes on the air."""

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        """The inverse of `encode`, for values of this shape."""

    def payload(self, x: Value, node: Node) -> Payload:
        """x [num_values], a tensor or a `Deferred`, as a message of this node, which gives the noise that a codec rounds
        with. `Payload.flops` is the work of encoding, by the formula of the codec's op; `Send` charges it."""

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        """As `Fragments.received_mask`."""


class Fragments(Protocol):
    """What can still be read of a message that lost packets: a codec, or something about one message."""

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which values survive: bool [num_values] from bool [num_packets]; an array, or a bool tensor or `Deferred`
        where that depends on values. first_bit: where in the message the codec's bits begin."""


def values_received(
    arrived: np.ndarray, packet_payload_bits: int, num_values: int, bits_per_value: int, first_bit: int = 0
) -> np.ndarray:
    """Survivors of a vector encoded value after value with a fixed width.

    Value i takes the bits [first_bit + i b, first_bit + (i + 1) b) and arrives iff every packet that holds one of
    them did; packet p holds the bits [p n, (p + 1) n) of the message.

    arrived: bool [num_packets]; packet_payload_bits: n; bits_per_value: b. Returns bool [num_values].
    Raises ValueError if the packets do not reach the end of the vector.
    """
    arrived = np.asarray(arrived, dtype=bool)
    start = first_bit + bits_per_value * np.arange(num_values, dtype=np.int64)
    first, last = start // packet_payload_bits, (start + bits_per_value - 1) // packet_payload_bits
    if num_values and last[-1] >= len(arrived):
        raise ValueError(f"{len(arrived)} packets given where {num_values} values need {last[-1] + 1}")
    num_lost_before = np.concatenate([[0], np.cumsum(~arrived)])
    return num_lost_before[last + 1] == num_lost_before[first]


def num_values_of(x: Any) -> int:
    """Number of values of a tensor or a `Deferred`."""
    return prod(x.shape)

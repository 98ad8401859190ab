"""Values as they are: IEEE 754 single precision, 32 bits each, little-endian.

In a run of dtype float64 the receiver holds the unrounded values: that precision exists to compare implementations, and
rounding would hide differences of 1e-9 between them. The bits counted stay 32 a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import Tensors, num_values_of, values_received
from learners.protocol import Node, Payload, Value

BITS_PER_VALUE = 32


@dataclass(frozen=True)
class Float32:
    """The identity."""

    lossless: ClassVar[bool] = True

    def encoding(self, num_values: int, node: Node) -> Self:
        return self

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        return (v,)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        return tensors[0]

    def num_bits(self, shape: tuple[int, ...]) -> int:
        return BITS_PER_VALUE * prod(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        return tensors[0].numpy().astype("<f4").tobytes()

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        return (torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)),)

    def payload(self, x: Value, node: Node) -> Payload:
        return Payload(x, self.num_bits(x.shape), self, num_values_of(x))

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        return values_received(arrived, packet_payload_bits, num_values, BITS_PER_VALUE, first_bit)

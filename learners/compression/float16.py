"""Values in IEEE 754 half precision, 16 bits each, little-endian.

Rounding is to nearest even (relative error at most 2^-11 for magnitudes of 2^-14 and more); magnitudes beyond 65,504,
the largest half, are sent as that. Infinities and NaN stay what they are, so that a run that diverges is seen to.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Self

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import Tensors, num_values_of, refuse_non_finite, values_received
from learners.deferred import op
from learners.protocol import Node, Payload, Value

BITS_PER_VALUE = 16
LARGEST = 65504.0


def to_half(v: Tensor) -> Tensor:
    """v in half precision; finite values saturate, infinities and NaN stay."""
    return torch.where(v.isfinite(), v.clamp(-LARGEST, LARGEST), v).to(torch.float16)


@op(flops=lambda x: x.numel())
def round_to_half(x: Tensor) -> Tensor:
    """x as the receiver will hold it: rounded to half precision, in the dtype of x."""
    return to_half(x).to(x.dtype)


@dataclass(frozen=True)
class Float16:
    """Half the bits of float32. Rounding is not charged to the processor: a change of format, made while the numbers are
    copied to the radio."""

    def encoding(self, num_values: int, node: Node) -> Self:
        return self

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        refuse_non_finite(v)
        return (to_half(v),)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        return tensors[0].to(torch.float32)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        return BITS_PER_VALUE * prod(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        return tensors[0].numpy().astype("<f2").tobytes()

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        return (torch.from_numpy(np.frombuffer(data, "<f2").astype(np.float16).reshape(shape)),)

    def payload(self, x: Value, node: Node) -> Payload:
        refuse_non_finite(x)
        return Payload(round_to_half(x), self.num_bits(x.shape), self, num_values_of(x))

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        return values_received(arrived, packet_payload_bits, num_values, BITS_PER_VALUE, first_bit)

"""Values as bfloat16, 16 bits each: the upper half of an IEEE 754 single-precision number.

8 bits of exponent, 7 of the significand: the range of float32, with a relative error of at most 2^-8. Rounding is to nearest
even; magnitudes beyond 3.39e38, the largest bfloat16, are sent as that. Infinities and NaN stay what they are, so that a run that
diverges is seen to. Sent little-endian.
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
LARGEST = torch.finfo(torch.bfloat16).max


def to_bfloat16(v: Tensor) -> Tensor:
    """v as bfloat16; finite values saturate, infinities and NaN stay."""
    return torch.where(v.isfinite(), v.clamp(-LARGEST, LARGEST), v).to(torch.bfloat16)


@op(flops=lambda x: x.numel())
def round_to_bfloat16(x: Tensor) -> Tensor:
    """x as the receiver will hold it: rounded to bfloat16, in the dtype of x."""
    return to_bfloat16(x).to(x.dtype)


@dataclass(frozen=True)
class BFloat16:
    """Half the bits of float32, with its range. Rounding is not charged to the processor, as for float16."""

    def encoding(self, num_values: int, node: Node) -> Self:
        return self

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        refuse_non_finite(v)
        return (to_bfloat16(v),)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        return tensors[0].to(torch.float32)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        return BITS_PER_VALUE * prod(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        return tensors[0].view(torch.int16).numpy().astype("<i2").tobytes()

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        halves = np.frombuffer(data, "<i2").astype(np.int16).reshape(shape)
        return (torch.from_numpy(halves).view(torch.bfloat16),)

    def payload(self, x: Value, node: Node) -> Payload:
        refuse_non_finite(x)
        return Payload(round_to_bfloat16(x), self.num_bits(x.shape), self, num_values_of(x))

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        return values_received(arrived, packet_payload_bits, num_values, BITS_PER_VALUE, first_bit)

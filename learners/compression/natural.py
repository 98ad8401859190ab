"""Natural compression: each value is rounded at random to one of the two powers of two around it, of which only the exponent travels.

    decoded  sign(v_i) 2^(e_i + [u_i < |v_i| / 2^e_i - 1]),   e_i = floor(log2 |v_i|),  u_i uniform in [0, 1)

Horvath, Ho, Horvath, Sahu, Canini and Richtarik, "Natural compression for distributed deep learning", arXiv 1905.10988, definition 1.
Unbiased, and every value has the variance (|v| - 2^e) (2^(e + 1) - |v|) <= v^2 / 8, whatever the others are: no scale to send, none to
lose. With so small a factor it is a contraction in the mean as it is, by 7/8, and so serves CHOCO, too. For changes of a model only.

Sends 9 bits a value: the upper end of its IEEE 754 single-precision number, 8 bits of exponent and the sign. Values below 2^-126 become
that or 0; of those above 2^127, whose next power single precision does not have, 2^127 is sent. NaN and infinity become NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from learners.compression.bits import from_bits, pack, to_bits, unpack
from learners.compression.codec import Tensors, VectorCodec, refuse_non_finite, values_received, whole_bytes
from learners.deferred import op
from learners.protocol import Node, Payload, Value

BITS_PER_VALUE = 9
SIGNIFICAND_BITS = 23
ROUND_UP = 2**SIGNIFICAND_BITS - 1
LARGEST = 2.0**127

OPERATIONS_PER_VALUE = 3
"""Charged for encoding: where it is between the two powers, a comparison of that with the noise, the exponent's increment."""


def rounded(v: Tensor, noise: Tensor) -> Tensor:
    """v [num_values], float32, as powers of two. noise: u.

    As whole numbers, floats of one sign are ordered as they are: the 23 lower bits say where v is between its two powers, and
    what carries into the exponent makes it the upper one."""
    bits = v.view(torch.int32) + (ROUND_UP - (noise * 2.0**SIGNIFICAND_BITS).to(torch.int32))
    powers = (bits & ~ROUND_UP).view(torch.float32)
    return powers.clamp(-LARGEST, LARGEST) + 0 * v  # NaN where v is not finite


@op(flops=lambda x, noise: OPERATIONS_PER_VALUE * x.numel())
def round_to_powers(x: Tensor, noise: Tensor) -> Tensor:
    """x [...] as the receiver will hold it, in the dtype of x. noise: [num_values]."""
    return rounded(x.flatten().float(), noise).reshape(x.shape).to(x.dtype)


@dataclass(frozen=True)
class Natural(VectorCodec):
    """Powers of two, without keys."""

    differences_only: ClassVar[bool] = True

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        args = x, node.uniform(num_values)
        num_bits = self.num_bits((num_values,))
        return Payload(round_to_powers(*args), num_bits, self, num_values, round_to_powers.flops(*args))

    def encoding(self, num_values: int, node: Node) -> Self:
        return self

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(signs and exponents, int16 [num_values], as two's complements of 9 bits,)."""
        refuse_non_finite(v)
        if noise is None:
            raise ValueError("noise = None: rounding is at random")
        powers = rounded(v.flatten().float(), noise)
        return ((powers.view(torch.int32) >> SIGNIFICAND_BITS).to(torch.int16),)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        return (tensors[0].to(torch.int32) << SIGNIFICAND_BITS).view(torch.float32).reshape(shape)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        return whole_bytes(BITS_PER_VALUE * prod(shape))

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        return pack(to_bits(tensors[0].numpy(), BITS_PER_VALUE))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        codes = from_bits(unpack(data)[: BITS_PER_VALUE * prod(shape)], BITS_PER_VALUE, signed=True)
        return (torch.from_numpy(codes.astype(np.int16)),)

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        return values_received(arrived, packet_payload_bits, num_values, BITS_PER_VALUE, first_bit)

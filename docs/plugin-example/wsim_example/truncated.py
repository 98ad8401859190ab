"""Truncated floats: the sign, the exponent and the first bits of the mantissa of a single-precision number.

    1 + 8 + mantissa_bits bits a value, packed without gaps; 7 is bfloat16

The rest of the mantissa is cut off, so that a value moves towards zero by less than 2^-mantissa_bits of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, Self

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import Tensors, num_values_of, values_received
from learners.deferred import op
from learners.protocol import Node, Payload, Value
from learners.quantities import Bounds

MANTISSA_BITS = 23  # of a single
MantissaBits = Annotated[int, Bounds(0, MANTISSA_BITS, "mantissas have whole numbers of bits")]


def truncate(v: Tensor, mantissa_bits: int) -> Tensor:
    """v as singles with the lower bits of the mantissa zero."""
    kept = -1 << (MANTISSA_BITS - mantissa_bits)
    return (v.to(torch.float32).view(torch.int32) & kept).view(torch.float32)


@op(flops=lambda x, mantissa_bits: x.numel())
def truncated(x: Tensor, mantissa_bits: int) -> Tensor:
    """x as the receiver will hold it, in the dtype of x. An op works on one device's tensors and draws nothing."""
    return truncate(x, mantissa_bits).to(x.dtype)


@dataclass(frozen=True)
class Truncated:
    """mantissa_bits: kept of the 23 of a single."""

    mantissa_bits: MantissaBits = 7

    def __post_init__(self) -> None:
        if not 0 <= self.mantissa_bits <= MANTISSA_BITS:
            raise ValueError(f"mantissa_bits = {self.mantissa_bits}: between 0 and {MANTISSA_BITS}")

    @property
    def bits_per_value(self) -> int:
        return 9 + self.mantissa_bits

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        return (truncate(v, self.mantissa_bits),)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        return tensors[0]

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """Whole bytes."""
        return -(-prod(shape) * self.bits_per_value // 8) * 8

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        words = tensors[0].reshape(-1).numpy().astype(">f4").view(np.uint8)  # the highest bit first
        bits = np.unpackbits(words).reshape(-1, 32)[:, : self.bits_per_value]
        return np.packbits(bits).tobytes()

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        bits = np.zeros((prod(shape), 32), dtype=np.uint8)
        sent = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=prod(shape) * self.bits_per_value)
        bits[:, : self.bits_per_value] = sent.reshape(-1, self.bits_per_value)
        values = np.packbits(bits).view(">f4").astype(np.float32)
        return (torch.from_numpy(values.reshape(shape)),)

    def payload(self, x: Value, node: Node) -> Payload:
        """What a run uses: the values that the receiver will hold, the length of their encoding and the work of it."""
        data, flops = truncated(x, self.mantissa_bits), truncated.flops(x, self.mantissa_bits)
        return Payload(data, self.num_bits(x.shape), self, num_values_of(x), flops)

    def encoding(self, num_values: int, node: Node) -> Self:
        return self

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        return values_received(arrived, packet_payload_bits, num_values, self.bits_per_value, first_bit)

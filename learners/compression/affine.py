"""Affine int8 and int4: what deep-learning frameworks call uint8 and uint4 quantization of a tensor.

    s = (hi - lo) / (2^b - 1),  lo = min(v, 0),  hi = max(v, 0),  z = round(-lo / s)
    q = clamp(round(v / s) + z, 0, 2^b - 1),  decoded  (q - z) s

`uniform` with `zero_point = true` and `rounding = "nearest"`, under names of their own. Sends b bits a value (int4: two values
a byte, the first in the low nibble) and 64 bits for every scale. Biased, with an error of at most s / 2 a value: at 4 bits it
is best used on differences with error_feedback.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.compression.layout import ScalePer
from learners.compression.uniform import Uniform, UniformEncoding
from learners.protocol import Node, Payload, Value


@dataclass(frozen=True)
class Affine:
    """scale_per: what has a scale of its own, the "message", each "tensor" of a model or each "packet" of the transport.
    error_feedback: what rounding leaves out of one difference is added to the next; learners that send differences only."""

    scale_per: ScalePer = "tensor"
    error_feedback: bool = False

    bits: ClassVar[int]

    def __post_init__(self) -> None:
        self._uniform()

    def check_packets(self, packet_payload_bits: int) -> None:
        self._uniform().check_packets(packet_payload_bits)

    def payload(self, x: Value, node: Node) -> Payload:
        return self._uniform().payload(x, node)

    def encoding(self, num_values: int, node: Node) -> UniformEncoding:
        return self._uniform().encoding(num_values, node)

    def _uniform(self) -> Uniform:
        return Uniform(self.bits, "nearest", self.scale_per, zero_point=True)


class Int8Affine(Affine):
    """Affine int8: 8 bits a value, 255 steps from the smallest to the largest, rounded to the nearest."""

    bits: ClassVar[int] = 8


class Int4Affine(Affine):
    """Affine int4: 4 bits a value, 15 steps from the smallest to the largest, rounded to the nearest."""

    bits: ClassVar[int] = 4

"""Signs with a scale, one bit a value, with error feedback: EF-signSGD.

    decoded  s sign(p_i),   s = ||p||_1 / d over the values that share a scale,   sign(0) = +1

Karimireddy, Rebjock, Stich and Jaggi, "Error feedback fixes SignSGD", ICML 2019 (arXiv 1901.09847), Algorithm 2 with the
scaled sign of its eq. 4. A contraction,

    ||C(p) - p||^2 = ||p||^2 - ||p||_1^2 / d = (1 - delta) ||p||^2,   delta = ||p||_1^2 / (d ||p||^2) in [1/d, 1]

and biased: used on changes of a model only and with error feedback. One bit has no room for a zero: a zero is sent as s, which
the formula counts. With zeros = "kept" it is sent as 0, which takes s^2 a zero off the error, and a second bit a value for what is a
ternary message then. A group of zeros has s = 0 and stays zeros.
Sends 32 bits for each scale, in single precision, and one bit a value, 1 for those below zero; or, with zeros kept, two, the sign's
two's complement. NaN and infinity make every value of their group NaN or infinite.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from learners.compression.bits import float32_bits, float32_from
from learners.compression.codec import Tensors, VectorCodec, refuse_non_finite
from learners.compression.groups import Groups, means, spread
from learners.compression.layout import Format, Grouped, ScalePer, check_scale_per
from learners.deferred import op
from learners.fields import check_choice
from learners.protocol import Node, Payload, Value

SCALE_BITS = 32
FORMATS = {"plus": Format(SCALE_BITS, 1), "kept": Format(SCALE_BITS, 2)}

OPERATIONS_PER_VALUE = 3
"""Charged for encoding: the magnitude, its sum, a comparison with zero."""


def mean_magnitudes(v: Tensor, groups: Groups) -> Tensor:
    """s float32 [num_groups] of v [num_values]; added up in float64."""
    return means(v.abs(), groups).float()


def decoded(negative: Tensor, s: Tensor, groups: Groups) -> Tensor:
    """float32 [num_values] from bool [num_values] and s [num_groups]."""
    scale = spread(s, groups, negative.shape[0])
    return torch.where(negative, -scale, scale)


@op(flops=lambda x, groups: OPERATIONS_PER_VALUE * x.numel())
def keep_signs(x: Tensor, groups: Groups) -> Tensor:
    """x [...] as the receiver will hold it, in the dtype of x."""
    v = x.flatten().float()
    return decoded(v < 0, mean_magnitudes(v, groups), groups).reshape(x.shape).to(x.dtype)


@op(flops=lambda x, groups: OPERATIONS_PER_VALUE * x.numel())
def keep_signs_and_zeros(x: Tensor, groups: Groups) -> Tensor:
    """As `keep_signs`, where sign(0) = 0."""
    v = x.flatten().float()
    scale = spread(mean_magnitudes(v, groups), groups, v.shape[0])
    return (v.sign() * scale).reshape(x.shape).to(x.dtype)


@dataclass(frozen=True)
class Sign(VectorCodec):
    """scale_per: what has a scale of its own: the "message", each "tensor" of a model, or each "packet" of the transport.
    error_feedback: what is not sent now is added to the next difference; false only to see what that does.
    zeros: sent as "plus" the scale, or "kept", for two bits a value."""

    scale_per: ScalePer = "tensor"
    error_feedback: bool = True
    zeros: Literal["plus", "kept"] = "plus"

    differences_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_scale_per(self.scale_per)
        check_choice("zeros", self.zeros, FORMATS)

    def check_packets(self, packet_payload_bits: int) -> None:
        FORMATS[self.zeros].check_packets(self.scale_per, packet_payload_bits)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        encoding = self.encoding(num_values, node)
        args = x, encoding.layout.groups
        num_bits = encoding.num_bits((num_values,))
        compress = keep_signs_and_zeros if self.zeros == "kept" else keep_signs
        return Payload(compress(*args), num_bits, encoding, num_values, compress.flops(*args))

    def encoding(self, num_values: int, node: Node) -> SignEncoding:
        return SignEncoding(FORMATS[self.zeros].layout(self.scale_per, num_values, node))


@dataclass(frozen=True)
class SignEncoding(Grouped):
    """Group after group: the scale, then a bit a value, or two."""

    @property
    def keeps_zeros(self) -> bool:
        return self.layout.format == FORMATS["kept"]

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(bool [num_values], True below zero; scales [num_groups]); with zeros kept int8 signs."""
        refuse_non_finite(v)
        v = v.flatten().float()
        signs = v.sign().to(torch.int8) if self.keeps_zeros else v < 0
        return signs, mean_magnitudes(v, self.layout.groups)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        signs, s = tensors
        if self.keeps_zeros:
            return (signs.float() * spread(s, self.layout.groups, signs.shape[0])).reshape(shape)
        return decoded(signs, s, self.layout.groups).reshape(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        signs, s = (tensor.numpy() for tensor in tensors)
        return self.layout.encode(float32_bits(s).reshape(-1, SCALE_BITS), signs, prod(shape))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        headers, codes = self.layout.decode(data, prod(shape), signed=self.keeps_zeros)
        signs = codes.astype(np.int8) if self.keeps_zeros else codes == 1
        return torch.from_numpy(signs), torch.from_numpy(float32_from(headers))

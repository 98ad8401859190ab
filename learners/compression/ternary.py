"""Ternary values: each is sent as -1, 0 or +1 times the largest magnitude, at random.

    decoded  s sign(v_i) b_i,   s = max |v|,   b_i = 1 with probability |v_i| / s, else 0

Wen et al., "TernGrad: ternary gradients to reduce communication in distributed deep learning", NeurIPS 2017 (arXiv
1705.07878), eq. 1 to 3. Unbiased, with variance s ||v||_1 - ||v||^2: QSGD with one level and the maximum as its norm. Its authors
clip first at 2.5 standard deviations (about the mean of the values that share a scale), which lowers s and makes it biased:
clip_deviations = 2.5. The variance is no part of ||v||^2 that is below 1, so error feedback does not converge with it: qsgd with
levels = 1, norm = "max" and contractive = true is the form for that. For changes of a model only.

Sends 32 bits for each scale, in single precision, and 2 bits a value ("fixed"), or 8 bits for five (packing = "base3": 3^5 = 243 <=
256; the last byte of a group is filled up with zeros). A group of zeros stays zeros. NaN and infinity make every value of their
group NaN.
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
from learners.compression.groups import Groups, means, sizes_of, spread
from learners.compression.layout import Format, Grouped, ScalePer, check_scale_per
from learners.compression.qsgd_levels import levels
from learners.deferred import op
from learners.fields import check_choice, check_number
from learners.protocol import Node, Payload, Value
from learners.quantities import Positive

SCALE_BITS = 32
DIGITS_PER_BYTE = 5
FORMATS = {"fixed": Format(SCALE_BITS, 2), "base3": Format(SCALE_BITS, 8, DIGITS_PER_BYTE)}


def operations_per_value(clips: bool) -> int:
    """Charged for encoding: the largest magnitude 2, the quotient 1, a comparison 1, the sign 1; for clipping the mean 1, the
    deviation 3, two comparisons 2."""
    return 5 + 6 * clips


def clipped(v: Tensor, deviations: float | None, groups: Groups) -> Tensor:
    """v [num_values] within so many standard deviations of its group; None: as it is."""
    if deviations is None:
        return v
    num_values = v.shape[0]
    about = v.double() - spread(means(v, groups), groups, num_values)
    limit = spread((deviations * means(about.square(), groups).sqrt()).float(), groups, num_values)
    return torch.minimum(torch.maximum(v, -limit), limit)


def signs(v: Tensor, noise: Tensor, clip_deviations: float | None, groups: Groups) -> tuple[Tensor, Tensor]:
    """sign(v_i) b_i [num_values] and s [num_groups] of v [num_values], float32. noise: b_i = [u_i < |v_i| / s]."""
    return levels(clipped(v, clip_deviations, groups), noise, 1, "max", groups)


@op(flops=lambda x, noise, clip_deviations, groups: operations_per_value(clip_deviations is not None) * x.numel())
def make_ternary(x: Tensor, noise: Tensor, clip_deviations: float | None, groups: Groups) -> Tensor:
    """x [...] as the receiver will hold it, in the dtype of x. noise: [num_values]."""
    z, s = signs(x.flatten().float(), noise, clip_deviations, groups)
    return (z * spread(s, groups, z.shape[0])).reshape(x.shape).to(x.dtype)


@dataclass(frozen=True)
class Ternary(VectorCodec):
    """packing: "fixed", 2 bits a value, or "base3", five values a byte.
    scale_per: what has a scale of its own: the "message", each "tensor" of a model, or each "packet" of the transport.
    clip_deviations: standard deviations at which values are clipped first; not given: not at all."""

    packing: Literal["fixed", "base3"] = "fixed"
    scale_per: ScalePer = "tensor"
    clip_deviations: Positive | None = None

    differences_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("packing", self.packing, FORMATS)
        check_scale_per(self.scale_per)
        check_number("clip_deviations", self.clip_deviations, optional=True)

    def check_packets(self, packet_payload_bits: int) -> None:
        FORMATS[self.packing].check_packets(self.scale_per, packet_payload_bits)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        encoding = self.encoding(num_values, node)
        args = x, node.uniform(num_values), encoding.clip_deviations, encoding.layout.groups
        num_bits = encoding.num_bits((num_values,))
        return Payload(make_ternary(*args), num_bits, encoding, num_values, make_ternary.flops(*args))

    def encoding(self, num_values: int, node: Node) -> TernaryEncoding:
        layout = FORMATS[self.packing].layout(self.scale_per, num_values, node)
        clip = None if self.clip_deviations is None else float(self.clip_deviations)
        return TernaryEncoding(layout, clip)


@dataclass(frozen=True)
class TernaryEncoding(Grouped):
    """Group after group: the scale, then two's complements of 2 bits, or bytes sum_j t_j 3^j of five values each, t = 0, 1, 2 for 0,
    +1, -1."""

    clip_deviations: float | None

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(int8 [num_values], scales [num_groups])."""
        refuse_non_finite(v)
        if noise is None:
            raise ValueError("noise = None: rounding is at random")
        z, s = signs(v.flatten().float(), noise, self.clip_deviations, self.layout.groups)
        return z.to(torch.int8), s

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        z, s = tensors
        return (z.float() * spread(s, self.layout.groups, z.shape[0])).reshape(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        z, s = (tensor.numpy() for tensor in tensors)
        codes = z
        if self.layout.format.values_per_code > 1:
            codes = self._digits(z % 3, prod(shape)) @ 3 ** np.arange(DIGITS_PER_BYTE)
        return self.layout.encode(float32_bits(s).reshape(-1, SCALE_BITS), codes, prod(shape))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        in_bytes = self.layout.format.values_per_code > 1
        headers, z = self.layout.decode(data, prod(shape), signed=not in_bytes)
        if in_bytes:
            digits = z[:, None] // 3 ** np.arange(DIGITS_PER_BYTE) % 3
            z = (digits - 3 * (digits == 2))[self._filled(prod(shape))]
        return torch.from_numpy(z.astype(np.int8)), torch.from_numpy(float32_from(headers))

    def _digits(self, digits: np.ndarray, num_values: int) -> np.ndarray:
        """[num_codes, 5], the last of each group filled up with zeros."""
        filled = self._filled(num_values)
        table = np.zeros(filled.shape, dtype=np.int64)
        table[filled] = digits
        return table

    def _filled(self, num_values: int) -> np.ndarray:
        """bool [num_codes, 5]: where there is a value."""
        sizes = sizes_of(self.layout.groups, num_values)
        rows = [np.arange(DIGITS_PER_BYTE * self.layout.num_codes(size)) < size for size in sizes]
        return np.concatenate(rows).reshape(-1, DIGITS_PER_BYTE)

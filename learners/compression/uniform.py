"""Uniform quantization: whole multiples of a step, b bits each, with a scale for every group of values.

    symmetric      s = max |v| / L,  L = 2^(b-1) - 1,   q_i in {-L .. L},           decoded  q_i s
    affine         s = (hi - lo) / (2^b - 1),  lo = min(v, 0),  hi = max(v, 0),
                   z = round(-lo / s),                  q_i in {0 .. 2^b - 1},      decoded  (q_i - z) s
    nearest        q_i = round(v_i / s), halves to even:        error at most s / 2, biased
    stochastic     q_i = floor(v_i / s) + [u_i < frac(v_i / s)], u_i uniform in [0, 1): unbiased, variance
                   s^2 f (1 - f) with f = frac(v_i / s), at most s^2 / 4

Sends b bits a value and for each group 32 bits, s in single precision, and 32 more with a zero point z. The sources are
those of "quantization-aware" int8 in deep learning: Jacob et al., CVPR 2018 (arXiv 1712.05877), eq. 1, for the affine form;
Alistarh et al., "QSGD", NeurIPS 2017 (arXiv 1610.02132), for stochastic rounding, there with the 2-norm in place of the
maximum ("max norm" in its experiments).

Ours: an affine step that is rounded to at random has (hi - lo) / (2^b - 2) and z = ceil(-lo / s), one step in reserve:
with the usual ones the ends of the range are half a step short, and what is cut off there would be a bias. Zero is always a
multiple of the step, so zeros stay zeros. A group of zeros has step 0. Steps and quotients are of single precision in every
run. NaN and infinity make every value of their group NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learners.compression.bits import float32_bits, float32_from, from_bits, to_bits
from learners.compression.codec import Tensors, VectorCodec, refuse_non_finite
from learners.compression.groups import Groups, maxima, spread
from learners.compression.layout import Format, Layout, ScalePer, check_scale_per
from learners.deferred import op
from learners.fields import check_choice
from learners.protocol import Node, Payload, Value
from learners.quantities import BitsPerValue

SCALE_BITS = 32
ZERO_POINT_BITS = 32


def operations_per_value(stochastic: bool, zero_point: bool) -> int:
    """Charged for encoding: the range takes 2 (magnitude and maximum, or minimum and maximum), the quotient 1, rounding 1
    (at random 4: floor, fraction, comparison, sum), the limits 2, a zero point 1."""
    return 5 + (4 if stochastic else 1) + zero_point


def levels(
    v: Tensor, noise: Tensor | None, bits: int, zero_point: bool, groups: Groups
) -> tuple[Tensor, Tensor, Tensor]:
    """q [num_values] (whole numbers), s and z [num_groups] of v [num_values], all float32. noise: u, None for nearest."""
    num_values = v.shape[0]
    if zero_point:
        low, high = 0, 2**bits - 1
        steps_in_range = high if noise is None else high - 1
        below, above = maxima(-v, groups), maxima(v, groups)
        s = ((above.double() + below.double()) / steps_in_range).float()
        z = below / torch.where(s == 0, 1, s)
        z = z.round() if noise is None else z.ceil()
    else:
        high = 2 ** (bits - 1) - 1
        low = -high
        s = maxima(v.abs(), groups) / high
        z = torch.zeros_like(s)
    quotients = v / spread(torch.where(s == 0, 1, s), groups, num_values)
    if noise is None:
        q = quotients.round()
    else:
        whole = quotients.floor()
        q = whole + (noise < quotients - whole)
    if zero_point:
        q = q + spread(z, groups, num_values)
    return q.clamp(low, high), s, z


def decoded(q: Tensor, s: Tensor, z: Tensor, zero_point: bool, groups: Groups) -> Tensor:
    """(q - z) s [num_values], float32."""
    num_values = q.shape[0]
    if zero_point:
        q = q - spread(z, groups, num_values)
    return q * spread(s, groups, num_values)


@op(flops=lambda x, noise, bits, zero_point, groups: operations_per_value(noise is not None, zero_point) * x.numel())
def quantize(x: Tensor, noise: Tensor | None, bits: int, zero_point: bool, groups: Groups) -> Tensor:
    """x [...] as the receiver will hold it, in the dtype of x. noise: [num_values]."""
    q, s, z = levels(x.flatten().float(), noise, bits, zero_point, groups)
    return decoded(q, s, z, zero_point, groups).reshape(x.shape).to(x.dtype)


@dataclass(frozen=True)
class Uniform(VectorCodec):
    """bits: of a value, 2 to 16 (1 with zero_point and rounding = "nearest").
    rounding: "stochastic" is unbiased, "nearest" has the smaller error and is best fed back (error_feedback).
    scale_per: what has a scale of its own: the "message", each "tensor" of a model, or of several one behind the other (a message
    of another length is one tensor), or each "packet" of the transport, so that a lost packet takes only its own values along.
    zero_point: the affine form, for values that lie to one side of zero.
    error_feedback: what rounding leaves out of one difference is added to the next; learners that send differences only."""

    bits: BitsPerValue = 8
    rounding: Literal["stochastic", "nearest"] = "stochastic"
    scale_per: ScalePer = "tensor"
    zero_point: bool = False
    error_feedback: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 1 <= self.bits <= 16:
            raise ValueError(f"bits = {self.bits!r}: a whole number from 1 to 16")
        check_choice("rounding", self.rounding, ("stochastic", "nearest"))
        check_scale_per(self.scale_per)
        if self.bits == 1 and not (self.zero_point and self.rounding == "nearest"):
            raise ValueError('bits = 1: leaves no level beside zero; 2, or zero_point = true with rounding = "nearest"')

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        encoding = self.encoding(num_values, node)
        noise = node.uniform(num_values) if self.rounding == "stochastic" else None
        args = x, noise, self.bits, self.zero_point, encoding.groups
        num_bits = encoding.num_bits((num_values,))
        return Payload(quantize(*args), num_bits, encoding, num_values, quantize.flops(*args))

    def check_packets(self, packet_payload_bits: int) -> None:
        self._format.check_packets(self.scale_per, packet_payload_bits)

    def encoding(self, num_values: int, node: Node) -> UniformEncoding:
        layout = self._format.layout(self.scale_per, num_values, node)
        return UniformEncoding(
            self.bits, self.rounding == "stochastic", self.zero_point, layout.groups, layout.packet_bits
        )

    @property
    def _format(self) -> Format:
        return Format(SCALE_BITS + ZERO_POINT_BITS * self.zero_point, self.bits)


@dataclass(frozen=True)
class UniformEncoding:
    """Group after group: the scale, the zero point if there is one, then the values, b bits each (signed ones as two's
    complement). packet_bits: where each packet holds one group, so that the next begins at a multiple of this."""

    bits: int
    stochastic: bool
    zero_point: bool
    groups: Groups
    packet_bits: int | None = None

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        refuse_non_finite(v)
        if self.stochastic and noise is None:
            raise ValueError("noise = None: rounding is stochastic")
        noise = noise if self.stochastic else None
        q, s, z = levels(v.flatten().float(), noise, self.bits, self.zero_point, self.groups)
        return (q.to(torch.int32), s, z.to(torch.int32))[: 2 + self.zero_point]

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        q, s = tensors[0].float(), tensors[1]
        z = tensors[2].float() if self.zero_point else torch.zeros_like(s)
        return decoded(q, s, z, self.zero_point, self.groups).reshape(shape)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        return self._layout.num_bits(prod(shape))

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        q, s = tensors[0].numpy(), tensors[1].numpy()
        headers = [float32_bits(s).reshape(-1, SCALE_BITS)]
        if self.zero_point:
            headers.append(to_bits(tensors[2].numpy(), ZERO_POINT_BITS).reshape(-1, ZERO_POINT_BITS))
        return self._layout.encode(np.concatenate(headers, axis=1), q, prod(shape))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        headers, q = self._layout.decode(data, prod(shape), signed=not self.zero_point)
        s = float32_from(headers[:, :SCALE_BITS])
        z = from_bits(headers[:, SCALE_BITS:], ZERO_POINT_BITS) if self.zero_point else np.zeros(0)
        tensors = torch.tensor(q, dtype=torch.int32), torch.tensor(s), torch.tensor(z, dtype=torch.int32)
        return tensors[: 2 + self.zero_point]

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        return self._layout.received_mask(arrived, packet_payload_bits, num_values, first_bit)

    @cached_property
    def _layout(self) -> Layout:
        header_bits = SCALE_BITS + ZERO_POINT_BITS * self.zero_point
        return Layout(Format(header_bits, self.bits), self.groups, self.packet_bits)

"""Signs with two means, one bit a value, with error feedback: the quantizer of 1-bit SGD.

    decoded  m_- where p_i < 0, else m_+,   m_-, m_+: the means of those values of p that are below zero, and of all others

Seide, Fu, Droppo, Li and Yu, "1-bit stochastic gradient descent and its application to data-parallel distributed training of
speech DNNs", Interspeech 2014. Of all pairs of numbers that may stand for the two halves it has the least error,

    ||C(p) - p||^2 = ||p||^2 - n_- m_-^2 - n_+ m_+^2

so that it is a contraction wherever `sign`, whose pair is (-s, s), is one, by 1/d at least. Biased: used on changes of a model only
and with error feedback. The paper has a pair of means for each column of a weight matrix; here it is for what shares a scale with
the other codecs.

Sends two means in single precision, 64 bits, for each group and one bit a value, 1 for those below zero. The mean of no values is 0; a
group of zeros stays zeros. NaN and infinity make every value of their group NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from learners.compression.bits import float32_bits, float32_from
from learners.compression.codec import Tensors, VectorCodec, refuse_non_finite
from learners.compression.groups import Groups, sizes_of, spread, sums
from learners.compression.layout import Format, Grouped, ScalePer, check_scale_per
from learners.deferred import op
from learners.protocol import Node, Payload, Value

MEANS_BITS = 64
FORMAT = Format(MEANS_BITS, 1)

OPERATIONS_PER_VALUE = 3
"""Charged for encoding: a comparison with zero, the sum and the count of its half."""


def two_means(v: Tensor, negative: Tensor, groups: Groups) -> Tensor:
    """(m_-, m_+) float32 [num_groups, 2] of v [num_values]; added up in float64. negative: bool [num_values], v < 0."""
    below, above = sums(v.clamp(max=0), groups), sums(v.clamp(min=0), groups)
    spoiled = 0 * (below + above)  # NaN where a value is not finite, else 0
    num_below = sums(negative, groups)
    num_above = torch.tensor(sizes_of(groups, v.shape[0]), dtype=torch.float64) - num_below
    halves = (below / num_below.clamp(min=1) + spoiled, above / num_above.clamp(min=1) + spoiled)
    return torch.stack(halves, 1).float()


def decoded(negative: Tensor, means: Tensor, groups: Groups) -> Tensor:
    """float32 [num_values] from bool [num_values] and means [num_groups, 2]."""
    below, above = (spread(half, groups, negative.shape[0]) for half in means.unbind(1))
    return torch.where(negative, below, above)


@op(flops=lambda x, groups: OPERATIONS_PER_VALUE * x.numel())
def keep_two_means(x: Tensor, groups: Groups) -> Tensor:
    """x [...] as the receiver will hold it, in the dtype of x."""
    v = x.flatten().float()
    negative = v < 0
    return decoded(negative, two_means(v, negative, groups), groups).reshape(x.shape).to(x.dtype)


@dataclass(frozen=True)
class OneBit(VectorCodec):
    """scale_per: what has two means of its own: the "message", each "tensor" of a model, or each "packet" of the transport.
    error_feedback: what is not sent now is added to the next difference; false only to see what that does."""

    scale_per: ScalePer = "tensor"
    error_feedback: bool = True

    differences_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_scale_per(self.scale_per)

    def check_packets(self, packet_payload_bits: int) -> None:
        FORMAT.check_packets(self.scale_per, packet_payload_bits)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        encoding = self.encoding(num_values, node)
        args = x, encoding.layout.groups
        num_bits = encoding.num_bits((num_values,))
        return Payload(keep_two_means(*args), num_bits, encoding, num_values, keep_two_means.flops(*args))

    def encoding(self, num_values: int, node: Node) -> OneBitEncoding:
        return OneBitEncoding(FORMAT.layout(self.scale_per, num_values, node))


@dataclass(frozen=True)
class OneBitEncoding(Grouped):
    """Group after group: m_-, m_+, then a bit a value."""

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(bool [num_values], True below zero; means [num_groups, 2])."""
        refuse_non_finite(v)
        v = v.flatten().float()
        negative = v < 0
        return negative, two_means(v, negative, self.layout.groups)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        negative, means = tensors
        return decoded(negative, means, self.layout.groups).reshape(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        negative, means = (tensor.numpy() for tensor in tensors)
        return self.layout.encode(float32_bits(means).reshape(-1, MEANS_BITS), negative, prod(shape))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        headers, negative = self.layout.decode(data, prod(shape))
        means = float32_from(headers.ravel()).reshape(-1, 2)
        return torch.from_numpy(negative == 1), torch.from_numpy(means)

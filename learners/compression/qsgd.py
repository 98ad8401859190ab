"""QSGD: magnitudes rounded at random to one of s levels of the norm.

    a_i = s |v_i| / r,   z_i = floor(a_i) + [u_i < frac(a_i)],  u_i uniform in [0, 1),   decoded  sign(v_i) z_i / s * r

r: the 2-norm of the values that share it, or (norm = "max") their largest magnitude. Alistarh, Grubic, Li, Tomioka and Vojnovic,
"QSGD: Communication-efficient SGD via gradient quantization and encoding", NeurIPS 2017 (arXiv 1610.02132), eq. 3; the maximum
is what its experiments use. Unbiased, with

    E ||C(v) - v||^2 = (r / s)^2 sum_i f_i (1 - f_i) <= min(d / s^2, sqrt(d) / s) ||v||^2,   f_i = frac(a_i)

With contractive = true everything is divided by tau = 1 + min(d / s^2, sqrt(d) / s), d the values that share the norm: no longer
unbiased, but a contraction with delta = 1 / tau in the mean, as error feedback and CHOCO ask for (Koloskova, Stich and Jaggi, ICML
2019, section 3.5). For changes of a model only, both forms: the step is a part of the norm of all values, far above most
parameters of a model (`uniform` is for models).

Sends 32 bits for each norm, in single precision, and

    "fixed"    the signed level of every value, a two's complement of ceil(log2(2 s + 1)) bits: 8 for s = 127, 4 for s = 7, 2 for s = 1
    "elias"    what is not zero, in the omega code of the paper (see `elias`): far less for few levels of a 2-norm. The length
               depends on the values, which are computed when a message is sent; an estimate assumes the paper's bound
               of the expected length, (3 + 3/2 log2(2 (s^2 + d) / (s (s + sqrt d)))) s (s + sqrt d) + 32 a group and the
               counts, without its vanishing term. All or nothing: a message that lost a packet is lost.

Ours: norms of more than the largest single-precision number are sent as that. A group of zeros has norm 0. NaN and infinity make
every value of their group NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2, prod, sqrt
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from learners.compression import elias
from learners.compression.bits import float32_bits, float32_from, pack, unpack
from learners.compression.codec import Tensors, VectorCodec, numbers_of, refuse_non_finite, whole_bytes
from learners.compression.groups import Groups, maxima, sizes_of, spread, sums
from learners.compression.layout import SCALE_PER, Format, Grouped, Layout
from learners.deferred import op
from learners.fields import check_choice, check_count
from learners.protocol import Node, Payload, Value
from learners.quantities import Count, Levels

NORM_BITS = 32
MAX_LEVELS = 32_767
DEFAULT_BUCKET_VALUES = 512
LARGEST = torch.finfo(torch.float32).max

Norm = Literal["l2", "max"]

OPERATIONS_PER_VALUE = 10
"""Charged for encoding: the norm 2 (square and sum, or magnitude and maximum), the quotient 3 (magnitude, division, product with
s), rounding at random 4 (floor, fraction, comparison, sum), the sign 1."""


def norms(v: Tensor, norm: Norm, groups: Groups) -> Tensor:
    """r float32 [num_groups] of v [num_values]; squares are added up in float64."""
    if norm == "max":
        return maxima(v.abs(), groups)
    r = sums(v.double().square(), groups).sqrt()
    return torch.where(r.isfinite(), r.clamp(max=LARGEST), r).float()


def levels(v: Tensor, noise: Tensor, num_levels: int, norm: Norm, groups: Groups) -> tuple[Tensor, Tensor]:
    """Signed z (whole numbers) [num_values] and r [num_groups] of v [num_values], float32. noise: u."""
    r = norms(v, norm, groups)
    a = v.abs() / spread(torch.where(r == 0, 1, r), groups, v.shape[0]) * num_levels
    whole = a.floor()
    z = whole + (a - whole - noise).ceil()  # 1 where u < frac(a), else 0: comparisons take several times as long
    return torch.copysign(z.clamp(max=num_levels), v), r


def variance_bound(num_levels: int, num_values: int) -> float:
    """w = min(d / s^2, sqrt(d) / s)."""
    return min(num_values / num_levels**2, sqrt(num_values) / num_levels)


def decoded(z: Tensor, r: Tensor, num_levels: int, contractive: bool, groups: Groups) -> Tensor:
    """float32 [num_values] of z and r: z / s * r, or with r / tau."""
    num_values = z.shape[0]
    if contractive:
        r = r / torch.tensor([1 + variance_bound(num_levels, size) for size in sizes_of(groups, num_values)])
    return z / num_levels * spread(r, groups, num_values)


@op(flops=lambda x, noise, num_levels, norm, contractive, groups: OPERATIONS_PER_VALUE * x.numel())
def round_to_levels(x: Tensor, noise: Tensor, num_levels: int, norm: Norm, contractive: bool, groups: Groups) -> Tensor:
    """x [...] as the receiver will hold it, in the dtype of x. noise: [num_values]."""
    z, r = levels(x.flatten().float(), noise, num_levels, norm, groups)
    return decoded(z, r, num_levels, contractive, groups).reshape(x.shape).to(x.dtype)


@op(flops=lambda x, noise, num_levels, norm, contractive, groups: OPERATIONS_PER_VALUE * x.numel())
def round_and_show_levels(
    x: Tensor, noise: Tensor, num_levels: int, norm: Norm, contractive: bool, groups: Groups
) -> tuple[Tensor, Tensor]:
    """As `round_to_levels`, and z [num_values]."""
    z, r = levels(x.flatten().float(), noise, num_levels, norm, groups)
    return decoded(z, r, num_levels, contractive, groups).reshape(x.shape).to(x.dtype), z


@dataclass(frozen=True)
class Qsgd(VectorCodec):
    """levels: s, above zero. norm: r, "l2" or "max". code: "fixed" or "elias", see above. contractive: divide by tau, for error feedback and CHOCO.
    scale_per: what has a norm of its own: the "message", each "tensor" of a model, each "packet" of the transport, or each
    "bucket" of bucket_values.
    error_feedback: what rounding leaves out of one difference is added to the next; needs contractive."""

    levels: Levels = 127
    norm: Norm = "l2"
    scale_per: Literal["message", "tensor", "packet", "bucket"] = "tensor"
    bucket_values: Count = DEFAULT_BUCKET_VALUES
    code: Literal["fixed", "elias"] = "fixed"
    contractive: bool = False
    error_feedback: bool = False

    differences_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("levels", self.levels)
        if self.levels > MAX_LEVELS:
            raise ValueError(f"levels = {self.levels}: at most {MAX_LEVELS}, 16 bits a value")
        check_choice("norm", self.norm, ("l2", "max"))
        check_choice("scale_per", self.scale_per, (*SCALE_PER, "bucket"))
        check_count("bucket_values", self.bucket_values)
        if self.scale_per != "bucket" and self.bucket_values != DEFAULT_BUCKET_VALUES:
            raise ValueError(f'bucket_values = {self.bucket_values}: only with scale_per = "bucket"')
        check_choice("code", self.code, ("fixed", "elias"))
        if self.code == "elias" and self.scale_per == "packet":
            raise ValueError(
                'code = \'elias\': how many values fit into a packet is not known; scale_per = "bucket", "tensor" or "message"'
            )
        if self.error_feedback and not self.contractive:
            raise ValueError(
                "error_feedback = True: the error of an unbiased code may grow without end; contractive = true"
            )

    @property
    def value_dependent(self) -> bool:
        """Whether the length of a message depends on its values."""
        return self.code == "elias"

    def check_packets(self, packet_payload_bits: int) -> None:
        if self.scale_per == "packet":
            self._format.check_packets("packet", packet_payload_bits)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        encoding = self.encoding(num_values, node)
        noise = node.uniform(num_values)
        args = x, noise, self.levels, self.norm, self.contractive, encoding.layout.groups
        if isinstance(encoding, EliasEncoding):
            data, z = round_and_show_levels(*args)
            num_bits = encoding.length(numbers_of(z), num_values)
            return Payload(data, num_bits, None, num_values, round_and_show_levels.flops(*args))
        num_bits = encoding.num_bits((num_values,))
        return Payload(round_to_levels(*args), num_bits, encoding, num_values, round_to_levels.flops(*args))

    def encoding(self, num_values: int, node: Node) -> QsgdEncoding:
        if self.scale_per == "bucket":
            layout = Layout(self._format, self.bucket_values)
        else:
            layout = self._format.layout(self.scale_per, num_values, node)
        kind = EliasEncoding if self.code == "elias" else QsgdEncoding
        return kind(layout, self.levels, self.norm, self.contractive)

    @property
    def _format(self) -> Format:
        return Format(NORM_BITS, (2 * self.levels).bit_length())  # ceil(log2(2 s + 1))


@dataclass(frozen=True)
class QsgdEncoding(Grouped):
    """Group after group: the norm, then the signed level of each value."""

    levels: int
    norm: Norm
    contractive: bool

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(levels int32 [num_values], norms [num_groups])."""
        refuse_non_finite(v)
        if noise is None:
            raise ValueError("noise = None: rounding is at random")
        z, r = levels(v.flatten().float(), noise, self.levels, self.norm, self.layout.groups)
        return z.to(torch.int32), r

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        z, r = tensors
        return decoded(z.float(), r, self.levels, self.contractive, self.layout.groups).reshape(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        z, r = (tensor.numpy() for tensor in tensors)
        return self.layout.encode(float32_bits(r).reshape(-1, NORM_BITS), z, prod(shape))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        headers, z = self.layout.decode(data, prod(shape), signed=True)
        return torch.from_numpy(z).to(torch.int32), torch.from_numpy(float32_from(headers))


@dataclass(frozen=True)
class EliasEncoding(QsgdEncoding):
    """Group after group: the norm, then the stream of its levels."""

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """What an estimate assumes."""
        s, bits = self.levels, 0
        for d in sizes_of(self.layout.groups, prod(shape)):
            sparsity = s * (s + sqrt(d))
            bits += NORM_BITS + elias.count_bits(d) + ceil((3 + 1.5 * log2(2 * (s**2 + d) / sparsity)) * sparsity)
        return whole_bytes(bits)

    def length(self, z: Tensor | None, num_values: int) -> int:
        """Bits of a message with levels z [num_values]; None: what an estimate assumes."""
        if z is None:
            return self.num_bits((num_values,))
        groups = z.detach().split(sizes_of(self.layout.groups, num_values))
        return whole_bytes(sum(NORM_BITS + elias.stream_length(group.numpy().astype(np.int64)) for group in groups))

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        z, r = tensors
        groups = z.split(sizes_of(self.layout.groups, prod(shape)))
        norms = float32_bits(r.numpy()).reshape(-1, NORM_BITS)
        return pack(
            np.concatenate([part for norm, group in zip(norms, groups) for part in (norm, elias.write(group.numpy()))])
        )

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        bits, norms, found = unpack(data), [], []
        for size in sizes_of(self.layout.groups, prod(shape)):
            norms.append(bits[:NORM_BITS])
            z, end = elias.read(bits[NORM_BITS:], size)
            found.append(z)
            bits = bits[NORM_BITS + end :]
        r = torch.from_numpy(float32_from(np.concatenate(norms)))
        return torch.from_numpy(np.concatenate(found)).to(torch.int32), r

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
               depends on the values, which are computed when a message is sent; an estimate assumes normal values. With
               scale_per = "packet" a stream of its own in each packet, which says where it belongs (see `qsgd_elias`); else
               all or nothing: a message that lost a packet is lost

Ours: norms of more than the largest single-precision number are sent as that. A group of zeros has norm 0. NaN and infinity make
every value of their group NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from learners.compression import qsgd_elias
from learners.compression.codec import VectorCodec, numbers_of, whole_bytes
from learners.compression.groups import Groups
from learners.compression.layout import SCALE_PER, Format, Layout
from learners.compression.qsgd_elias import EliasEncoding, PacketEncoding, PacketFragments
from learners.compression.qsgd_levels import NORM_BITS, Norm, QsgdEncoding, decoded, divisors, levels, rounded
from learners.deferred import op
from learners.fields import check_choice, check_count
from learners.protocol import Node, Payload, Value
from learners.quantities import Count, Levels

MAX_LEVELS = 32_767
DEFAULT_BUCKET_VALUES = 512
OPERATIONS_PER_VALUE = 10
"""Charged for encoding: the norm 2 (square and sum, or magnitude and maximum), the quotient 3 (magnitude, division, product with
s), rounding at random 4 (floor, fraction, comparison, sum), the sign 1."""


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


@op(flops=lambda x, noise, r, scales, num_levels: OPERATIONS_PER_VALUE * x.numel())
def round_to_given_norms(x: Tensor, noise: Tensor, r: Tensor, scales: Tensor, num_levels: int) -> Tensor:
    """As `round_to_levels`. r, scales: [num_values] each value's own norm, not 0, and what the level s stands for."""
    z = rounded(x.flatten().float(), noise, r, num_levels)
    return (z / num_levels * scales).reshape(x.shape).to(x.dtype)


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
        if self.error_feedback and not self.contractive:
            raise ValueError(
                "error_feedback = True: the error of an unbiased code may grow without end; contractive = true"
            )

    @property
    def value_dependent(self) -> bool:
        """Whether the length of a message depends on its values."""
        return self.code == "elias"

    def check_packets(self, packet_payload_bits: int) -> None:
        if self.scale_per == "packet" and self.code == "elias":
            qsgd_elias.check_packets(self.levels, packet_payload_bits)
        elif self.scale_per == "packet":
            self._format.check_packets("packet", packet_payload_bits)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        encoding = self.encoding(num_values, node)
        noise = node.uniform(num_values)
        if isinstance(encoding, PacketEncoding):
            return self._in_packets(x, noise, num_values, encoding)
        args = x, noise, self.levels, self.norm, self.contractive, encoding.layout.groups
        if isinstance(encoding, EliasEncoding):
            data, z = round_and_show_levels(*args)
            num_bits = encoding.length(numbers_of(z), num_values)
            return Payload(data, num_bits, None, num_values, round_and_show_levels.flops(*args))
        num_bits = encoding.num_bits((num_values,))
        return Payload(round_to_levels(*args), num_bits, encoding, num_values, round_to_levels.flops(*args))

    def _in_packets(self, x: Value, noise: Tensor, num_values: int, encoding: PacketEncoding) -> Payload:
        """The message whose values decide how many of them go into each packet."""
        numbers = numbers_of(x)
        if numbers is None:
            sizes, num_bits = encoding.expected_sizes(num_values), encoding.num_bits((num_values,))
            r, ends = torch.ones(len(sizes)), np.minimum(encoding.packet_bits * np.arange(1, len(sizes) + 1), num_bits)
        else:
            sizes, r, ends, _ = encoding.streams(numbers.detach().flatten().float(), noise)
            num_bits = whole_bytes(int(ends[-1]))
        own = torch.tensor(sizes)
        r, scales = (part.repeat_interleave(own) for part in (divisors(r), encoding.scales(r, sizes)))
        args = x, noise, r, scales, self.levels
        fragments = PacketFragments(sizes, ends, encoding.packet_bits)
        return Payload(round_to_given_norms(*args), num_bits, fragments, num_values, round_to_given_norms.flops(*args))

    def encoding(self, num_values: int, node: Node) -> QsgdEncoding | PacketEncoding:
        if self.code == "elias" and self.scale_per == "packet":
            return PacketEncoding(self.levels, self.norm, self.contractive, node.packet_payload_bits)
        if self.scale_per == "bucket":
            layout = Layout(self._format, self.bucket_values)
        else:
            layout = self._format.layout(self.scale_per, num_values, node)
        kind = EliasEncoding if self.code == "elias" else QsgdEncoding
        return kind(layout, self.levels, self.norm, self.contractive)

    @property
    def _format(self) -> Format:
        return Format(NORM_BITS, (2 * self.levels).bit_length())  # ceil(log2(2 s + 1))

"""Top-k: the k values of largest magnitude, with their places; all others count as zero.

    k = max(1, floor(ratio d)),    ||C(p) - p||^2 <= (1 - k/d) ||p||^2

Of equal magnitudes the first ones are kept. Biased, so it is used on changes of a model only and with error feedback:
Stich, Cordonnier and Jaggi, "Sparsified SGD with memory", NeurIPS 2018 (arXiv 1809.07599). Never on models themselves.

Sends k values of 32 bits (16: half precision, as the codec float16 rounds) and where they are, in ascending order:

    "packed"   ceil(log2 d) bits each, beside its value
    "int32"    32 bits each, beside its value
    "bitmap"   d bits, one for each place, before all values; shorter than "packed" where k ceil(log2 d) > d
    "rice"     Rice-coded gaps between them (see `rice`), about 8 bits each for one percent of the values; the length of a message
               depends on its values, which are computed when it is sent, and an estimate assumes places drawn at random

Lost packets: an entry (place and value) that lost a bit is gone. Of a bitmap, the places after the first lost bit are gone
with it, since nobody knows which of the following values belongs to which place. A place without an entry counts as missing,
which is the same as zero to whoever adds a difference. NaN and infinity count as the largest magnitudes and are sent as they
are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from learners.compression.bits import (
    float16_bits,
    float16_from,
    float32_bits,
    float32_from,
    from_bits,
    pack,
    to_bits,
    unpack,
)
from learners.compression.codec import Tensors, VectorCodec, numbers_of, refuse_non_finite, values_received, whole_bytes
from learners.compression.float16 import to_half
from learners.compression.rice import Entries, RiceEncoding
from learners.deferred import op
from learners.fields import check_choice
from learners.protocol import Node, Payload, Value
from learners.quantities import Part

if TYPE_CHECKING:
    from learners.compression.stc import Stc

PLACE_BITS = 32
"""Of an "int32"; no place needs more."""

OPERATIONS_PER_VALUE = 6
"""Charged for encoding: the magnitude 1, the k-th largest of them by quickselect 3.4 on average where k is d/2 and fewer
elsewhere (Knuth, "Mathematical analysis of algorithms", IFIP 1971), a comparison with it 1."""


def largest(v: Tensor, k: int) -> Tensor:
    """bool [num_values] with k True: the largest magnitudes, of equal ones the first."""
    magnitudes = torch.where(torch.isfinite(v), v.abs(), math.inf)
    least = torch.topk(magnitudes, k, sorted=False).values.amin()
    above, equal = magnitudes > least, magnitudes == least
    return above | (equal & (equal.cumsum(0, dtype=torch.int32) <= k - above.sum()))


@op(flops=lambda x, k, value_bits: OPERATIONS_PER_VALUE * x.numel())
def keep_largest(x: Tensor, k: int, value_bits: int) -> tuple[Tensor, Tensor]:
    """x [...] as the receiver will hold it, and which k values were sent, bool [num_values]."""
    sent = largest(x.flatten(), k)
    kept = torch.where(sent.reshape(x.shape), x, 0)
    return (to_half(kept).to(x.dtype) if value_bits == 16 else kept), sent


@op(flops=lambda sent, entries, readable: 2 * sent.numel())
def places_received(sent: Tensor, entries: Tensor, readable: Tensor) -> Tensor:
    """bool [num_values]: the places that were sent, whose entries arrived and which are readable. sent: bool [num_values];
    entries: bool [k], in ascending order of their places; readable: bool [num_values]."""
    rank = sent.cumsum(0, dtype=torch.int64) - 1
    return sent & readable & entries[rank.clamp(min=0)]


@dataclass(frozen=True)
class TopK(VectorCodec):
    """ratio: the part of the values that is sent, k/d. index: how their places are sent. value_bits: of each value sent.
    error_feedback: what is not sent now is added to the next difference; false only to see what that does."""

    ratio: Part
    index: Literal["packed", "int32", "bitmap", "rice"] = "packed"
    value_bits: Literal[32, 16] = 32
    error_feedback: bool = True

    differences_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        is_number = isinstance(self.ratio, (int, float)) and not isinstance(self.ratio, bool)
        if not is_number or not 0 < self.ratio <= 1:
            raise ValueError(f"ratio = {self.ratio!r}: the part of the values that is sent, above 0 and at most 1")
        check_choice("index", self.index, ("packed", "int32", "bitmap", "rice"))
        if self.value_bits not in (32, 16):
            raise ValueError(f"value_bits = {self.value_bits!r}: 32 or 16")

    @property
    def value_dependent(self) -> bool:
        """Whether the length of a message depends on its values."""
        return self.index == "rice"

    def check_packets(self, packet_payload_bits: int) -> None:
        """Raises ValueError where a packet has no room for an entry of its own."""
        least = PLACE_BITS + self.value_bits
        if self.index == "rice" and packet_payload_bits < least:
            raise ValueError(
                f"index = 'rice': a packet has room for {packet_payload_bits} bits, a place and a value need {least}"
            )

    def num_kept(self, num_values: int) -> int:
        """k. The product is rounded first: 0.29 * 100 is 28.999999999999996 in floating point and stands for 29."""
        return min(max(1, math.floor(round(self.ratio * num_values, 6))), num_values)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        args = x, self.num_kept(num_values), self.value_bits
        kept, sent = keep_largest(*args)
        if self.index == "rice":
            return self._in_streams(kept, sent, num_values, keep_largest.flops(*args), node)
        fragments = SparseFragments(self, sent)
        return Payload(kept, self.num_bits((num_values,)), fragments, num_values, keep_largest.flops(*args))

    def _in_streams(self, kept: Value, sent: Value, num_values: int, flops: int, node: Node) -> Payload:
        """The message whose length depends on which places are sent."""
        encoding, numbers = self._rice(node), numbers_of(sent)
        if numbers is None:
            return Payload(kept, encoding.num_bits((num_values,)), SparseFragments(self, sent), num_values, flops)
        entries = encoding.entries(numbers.numpy().nonzero()[0], num_values)
        fragments = SparseFragments(self, sent, entries)
        return Payload(kept, whole_bytes(int(entries.ends[-1])), fragments, num_values, flops)

    def _rice(self, node: Node) -> RiceEncoding:
        self.check_packets(node.packet_payload_bits)
        return RiceEncoding(self, node.packet_payload_bits)

    def encoding(self, num_values: int, node: Node) -> Self | RiceEncoding:
        return self._rice(node) if self.index == "rice" else self

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(places int64 [k], ascending, values [k])."""
        refuse_non_finite(v)
        v = v.flatten()
        places = largest(v, self.num_kept(len(v))).nonzero().squeeze(1)
        return places, to_half(v[places]) if self.value_bits == 16 else v[places]

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        places, values = tensors
        dense = torch.zeros(prod(shape))
        dense[places] = values.float()
        return dense.reshape(shape)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        num_values = prod(shape)
        k = self.num_kept(num_values)
        index_bits = num_values if self.index == "bitmap" else k * self.place_bits(num_values)
        return whole_bytes(index_bits + k * self.value_bits)

    def place_bits(self, num_values: int) -> int:
        """Of one index: ceil(log2 d)."""
        return PLACE_BITS if self.index == "int32" else (num_values - 1).bit_length()

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        places, values = (tensor.numpy() for tensor in tensors)
        value_bits = self.bits_of(values)
        if self.index == "bitmap":
            bitmap = np.isin(np.arange(prod(shape)), places).astype(np.uint8)
            return pack(np.concatenate([bitmap, value_bits.ravel()]))
        place_bits = to_bits(places, self.place_bits(prod(shape))).reshape(len(places), -1)
        return pack(np.concatenate([place_bits, value_bits], axis=1).ravel())

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        num_values, bits = prod(shape), unpack(data)
        k = self.num_kept(num_values)
        if self.index == "bitmap":
            places = bits[:num_values].nonzero()[0]
            value_bits = bits[num_values : num_values + k * self.value_bits].reshape(k, -1)
        else:
            width = self.place_bits(num_values)
            entries = bits[: k * (width + self.value_bits)].reshape(k, -1)
            places = from_bits(entries[:, :width], width) if width else np.zeros(k, dtype=np.int64)
            value_bits = entries[:, width:]
        return torch.from_numpy(places), torch.from_numpy(self.values_from(value_bits))

    def bits_of(self, values: np.ndarray) -> np.ndarray:
        """uint8 [k, value_bits] of the values [k]."""
        return (float16_bits if self.value_bits == 16 else float32_bits)(values).reshape(-1, self.value_bits)

    def values_from(self, bits: np.ndarray) -> np.ndarray:
        """The inverse of `bits_of`."""
        return (float16_from if self.value_bits == 16 else float32_from)(bits.ravel())

    def entries_received(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which entries are whole, bool [k], and at which places one may be read, bool [num_values]."""
        k, value_bits = self.num_kept(num_values), self.value_bits
        readable = np.ones(num_values, dtype=bool)
        if self.index == "bitmap":
            places = values_received(arrived, packet_payload_bits, num_values, 1, first_bit)
            readable = np.logical_and.accumulate(places)
            return values_received(arrived, packet_payload_bits, k, value_bits, first_bit + num_values), readable
        width = self.place_bits(num_values) + value_bits
        return values_received(arrived, packet_payload_bits, k, width, first_bit), readable


@dataclass(frozen=True)
class SparseFragments:
    """What survives of one message of the largest values. sent: bool [num_values], the places in it. entries: where they are, of index = "rice"; in
    an estimate, which has none, all of them survive."""

    codec: TopK | Stc
    sent: Value
    entries: Entries | None = None

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        if self.codec.index == "rice":
            readable = np.ones(num_values, dtype=bool)
            entries = readable[: self.codec.num_kept(num_values)]
            if self.entries is not None:
                entries = self.entries.received_mask(arrived, packet_payload_bits, num_values, first_bit)
        else:
            entries, readable = self.codec.entries_received(arrived, packet_payload_bits, num_values, first_bit)
        return places_received(self.sent, torch.from_numpy(entries), torch.from_numpy(readable))

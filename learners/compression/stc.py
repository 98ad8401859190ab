"""Sparse ternary compression: the k values of largest magnitude, each as the same magnitude with its sign; all others count as zero.

    k = max(1, floor(ratio d)),   mu = the mean magnitude of the k values,   decoded  mu sign(p_i) where kept, else 0
    ||C(p) - p||^2 = ||p||^2 - k mu^2

Sattler, Wiedemann, Mueller and Samek, "Robust and communication-efficient federated learning from non-i.i.d. data", IEEE Trans. Neural
Networks and Learning Systems 31 (2020), Algorithm 1 (arXiv 1903.02891). k mu >= ||p||_1 k / d and k mu >= ||kept|| give k mu^2 >=
||p||^2 / d: a contraction, by 1/d at least. Biased: used on changes of a model only and with error feedback. Of equal magnitudes the first
ones are kept, and a zero that is kept, where there are fewer others, counts as +mu.

Sends mu in single precision and, for each of the k values, a sign and its place, in ascending order:

    "rice"     the paper's: gaps between the places in Golomb-Rice codes (see `rice`), so that the length of a message depends on its
               values. Ours: streams begin anew with every packet, and mu is in each of them: 32 bits and a first place of
               ceil(log2 d) bits a packet, which can be read without the others; ones fill the last byte, in which zeros
               might pass for a gap
    "packed"   ceil(log2 d) bits a place, behind one mu, without which nothing can be read

A place without an entry counts as missing. NaN and infinity count as the largest magnitudes and make mu NaN or infinite.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from learners.compression.bits import float32_bits, float32_from, pack, unpack
from learners.compression.codec import Tensors, VectorCodec, numbers_of, refuse_non_finite, whole_bytes
from learners.compression.layout import Format, Layout
from learners.compression.rice import Entries, RiceEncoding
from learners.compression.topk import OPERATIONS_PER_VALUE as OPERATIONS_OF_TOPK
from learners.compression.topk import PLACE_BITS, SparseFragments, TopK, largest
from learners.deferred import op
from learners.fields import check_choice
from learners.protocol import Node, Payload, Value
from learners.quantities import Part

MEAN_BITS = 32
SIGN_BITS = 1

OPERATIONS_PER_VALUE = OPERATIONS_OF_TOPK + 1
"""Charged for encoding: what top-k is charged, and the sum of magnitudes."""


def mean_of_kept(v: Tensor, sent: Tensor, k: int) -> Tensor:
    """mu, float32, of v [num_values]; added up in float64. sent: bool [num_values]."""
    return (torch.where(sent, v.abs(), 0).double().sum() / k).float()


@op(flops=lambda x, k: OPERATIONS_PER_VALUE * x.numel())
def keep_signs_of_largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """x [...] as the receiver will hold it, in the dtype of x, and which k values were sent, bool [num_values]."""
    v = x.flatten().float()
    sent = largest(v, k)
    mu = mean_of_kept(v, sent, k)
    return torch.where(sent, torch.where(v < 0, -mu, mu), 0).reshape(x.shape).to(x.dtype), sent


@dataclass(frozen=True)
class Stc(VectorCodec):
    """ratio: the part of the values that is sent, k/d. index: how their places are sent.
    error_feedback: what is not sent now is added to the next difference; false only to see what that does."""

    ratio: Part
    index: Literal["rice", "packed"] = "rice"
    error_feedback: bool = True

    differences_only: ClassVar[bool] = True
    value_bits: ClassVar[int] = SIGN_BITS

    def __post_init__(self) -> None:
        check_choice("index", self.index, ("rice", "packed"))
        self.num_kept(1)  # checks the ratio

    @property
    def value_dependent(self) -> bool:
        """Whether the length of a message depends on its values."""
        return self.index == "rice"

    @cached_property
    def _sparse(self) -> TopK:
        return TopK(self.ratio)

    def num_kept(self, num_values: int) -> int:
        """k, as top-k counts."""
        return self._sparse.num_kept(num_values)

    def place_bits(self, num_values: int) -> int:
        """ceil(log2 d)."""
        return self._sparse.place_bits(num_values)

    def check_packets(self, packet_payload_bits: int) -> None:
        """Raises ValueError where a packet has no room for an entry of its own."""
        least = MEAN_BITS + PLACE_BITS + SIGN_BITS
        if self.index == "rice" and packet_payload_bits < least:
            raise ValueError(
                f"index = 'rice': a packet has room for {packet_payload_bits} bits, a mean, a place and a sign need {least}"
            )

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        args = x, self.num_kept(num_values)
        kept, sent = keep_signs_of_largest(*args)
        encoding, entries = self.encoding(num_values, node), None
        num_bits = encoding.num_bits((num_values,))
        if isinstance(encoding, StcStreams) and (numbers := numbers_of(sent)) is not None:
            entries = encoding.entries(numbers.numpy().nonzero()[0], num_values)
            num_bits = whole_bytes(int(entries.ends[-1]))
        fragments = SparseFragments(self, sent, entries)
        return Payload(kept, num_bits, fragments, num_values, keep_signs_of_largest.flops(*args))

    def encoding(self, num_values: int, node: Node) -> Self | StcStreams:
        if self.index == "packed":
            return self
        self.check_packets(node.packet_payload_bits)
        return StcStreams(self, node.packet_payload_bits)

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(places int64 [k], ascending; bool [k], True below zero; mu [1])."""
        refuse_non_finite(v)
        v = v.flatten().float()
        sent = largest(v, k := self.num_kept(len(v)))
        places = sent.nonzero().squeeze(1)
        return places, v[places] < 0, mean_of_kept(v, sent, k).reshape(1)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        places, negative, mu = tensors
        dense = torch.zeros(prod(shape))
        dense[places] = torch.where(negative, -mu, mu)
        return dense.reshape(shape)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        return self._layout(prod(shape)).num_bits(self.num_kept(prod(shape)))

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        places, negative, mu = (tensor.numpy() for tensor in tensors)
        return self._layout(prod(shape)).encode(float32_bits(mu)[None], places << SIGN_BITS | negative, len(places))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        headers, codes = self._layout(prod(shape)).decode(data, self.num_kept(prod(shape)))
        mu = float32_from(headers.ravel())
        return torch.from_numpy(codes >> SIGN_BITS), torch.from_numpy(codes % 2 == 1), torch.from_numpy(mu)

    def entries_received(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `TopK.entries_received`."""
        k, readable = self.num_kept(num_values), np.ones(num_values, dtype=bool)
        return self._layout(num_values).received_mask(arrived, packet_payload_bits, k, first_bit), readable

    def bits_of(self, values: np.ndarray) -> np.ndarray:
        """uint8 [k, 1] from bool [k]."""
        return values[:, None].astype(np.uint8)

    def values_from(self, bits: np.ndarray) -> np.ndarray:
        """The inverse of `bits_of`."""
        return bits.ravel() == 1

    def _layout(self, num_values: int) -> Layout:
        """mu, then a code a kept value: its sign, then its place."""
        return Layout(Format(MEAN_BITS, self.place_bits(num_values) + SIGN_BITS), self.num_kept(num_values))


@dataclass(frozen=True)
class StcStreams:
    """Of messages in packets, each with mu before its stream of places and signs. packet_bits: of a packet of the transport."""

    codec: Stc
    packet_bits: int

    @property
    def _streams(self) -> RiceEncoding:
        return RiceEncoding(self.codec, self.packet_bits - MEAN_BITS)

    def entries(self, places: np.ndarray, num_values: int) -> Entries:
        """As `RiceEncoding.entries`."""
        inner = self._streams.entries(places, num_values)
        packet = inner.packets // inner.packet_bits
        means = MEAN_BITS * (packet + 1)
        return Entries(inner.starts + means, inner.ends + means, self.packet_bits * packet, self.packet_bits)

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        return self.codec.compress(v, noise)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        return self.codec.decompress(tensors, shape)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """What an estimate assumes: as `RiceEncoding.num_bits`."""
        streams = self._streams.num_bits(shape)
        return whole_bytes(streams + MEAN_BITS * -(-streams // (self.packet_bits - MEAN_BITS)))

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        places, negative, mu = tensors
        streams, entries = self._streams, self._streams.entries(places.numpy(), prod(shape))
        bits = unpack(streams.encode((places, negative), shape))[: entries.ends[-1]]
        packets = np.split(bits, range(streams.packet_bits, len(bits), streams.packet_bits))
        message = np.concatenate([part for packet in packets for part in (float32_bits(mu.numpy()), packet)])
        return pack(np.pad(message, (0, -len(message) % 8), constant_values=1))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        bits = unpack(data)
        packets = np.split(bits, range(self.packet_bits, len(bits), self.packet_bits))
        streams = pack(np.concatenate([packet[MEAN_BITS:] for packet in packets]))
        mu = torch.from_numpy(float32_from(packets[0][:MEAN_BITS]))
        return *self._streams.decode(streams, shape), mu

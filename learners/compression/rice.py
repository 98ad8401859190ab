"""Places of a sparse vector as Rice-coded gaps, in streams that begin anew with every packet.

    gap g from the last place, g - 1 = j 2^b + r:   j ones, a zero, then r in b bits,   b = round(log2(ln 2 * d / k)), at least 0

Rice and Plaunt, "Adaptive variable-length coding for efficient compression of spacecraft television data", IEEE Trans. Commun.
19 (1971); b is nearly the best for places drawn at random, where a gap takes b + 1 / (1 - (1 - k/d)^(2^b)) bits on average.

A message is packet after packet, each with as many entries (a gap, then its value) as are whole in it. The first place in a
packet is sent as it is, in ceil(log2 d) bits, and what is left of a packet is filled with ones, which no gap ends with; so every
packet can be read without the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, log2, prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from learners.compression.bits import from_bits, pack, to_bits, unpack
from learners.compression.codec import Tensors, whole_bytes


class Sparse(Protocol):
    """A codec that sends some of the values with their places."""

    @property
    def value_bits(self) -> int:
        """Of each value sent."""

    def num_kept(self, num_values: int) -> int:
        """k."""

    def place_bits(self, num_values: int) -> int:
        """Of a place sent as it is."""

    def bits_of(self, values: np.ndarray) -> np.ndarray:
        """uint8 [k, value_bits] of 0 and 1."""

    def values_from(self, bits: np.ndarray) -> np.ndarray:
        """The inverse of `bits_of`."""

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """As `Encoding.compress`."""

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        """As `Encoding.decompress`."""


def parameter(num_values: int, k: int) -> int:
    """b."""
    return max(0, round(log2(log(2) * num_values / k)))


def mean_gap_bits(num_values: int, k: int) -> float:
    """Of a gap between k places drawn at random."""
    b = parameter(num_values, k)
    return b + 1 / (1 - (1 - k / num_values) ** 2**b)


@dataclass(frozen=True)
class Entries:
    """Where the entries of one message are: first bit of each, the bit behind it, and where its packet begins, int64 [k]."""

    starts: np.ndarray
    ends: np.ndarray
    packets: np.ndarray
    packet_bits: int

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        """Which entries can be read, bool [k]: those of which, and of what is before them in their packet, no bit is lost."""
        lost_before = np.concatenate([[0], np.cumsum(~np.asarray(arrived, dtype=bool))])
        first = (self.packets + first_bit) // packet_payload_bits
        last = (self.ends - 1 + first_bit) // packet_payload_bits
        mask: np.ndarray = lost_before[last + 1] == lost_before[first]
        return mask


@dataclass(frozen=True)
class RiceEncoding:
    """Of messages of places and values; packet_bits: of a packet of the transport."""

    codec: Sparse
    packet_bits: int

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        return self.codec.compress(v, noise)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        return self.codec.decompress(tensors, shape)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """What an estimate assumes: gaps of the mean length."""
        num_values = prod(shape)
        k, place_bits, value_bits = self._sizes(num_values)
        gap_bits = mean_gap_bits(num_values, k)
        in_packet = 1 + int((self.packet_bits - place_bits - value_bits) / (gap_bits + value_bits))
        return whole_bytes(ceil(k * (gap_bits + value_bits) + -(-k // in_packet) * place_bits))

    def entries(self, places: np.ndarray, num_values: int) -> Entries:
        """places: int64 [k], ascending."""
        k, place_bits, value_bits = self._sizes(num_values)
        b, first = parameter(num_values, k), place_bits + value_bits
        lengths = b + 1 + (np.diff(places, prepend=-1) - 1 >> b) + value_bits
        before = np.concatenate([[0], np.cumsum(lengths)])
        starts, ends, packets = (np.empty(k, dtype=np.int64) for _ in range(3))
        i = packet = 0
        while i < k:
            room = self.packet_bits - first + before[i + 1]
            j = int(np.searchsorted(before, room, side="right")) - 1
            ends[i:j] = packet + first + before[i + 1 : j + 1] - before[i + 1]
            starts[i], starts[i + 1 : j], packets[i:j] = packet, ends[i : j - 1], packet
            i, packet = j, packet + self.packet_bits
        return Entries(starts, ends, packets, self.packet_bits)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        places, values = (tensor.numpy() for tensor in tensors)
        num_values = prod(shape)
        k, place_bits, value_bits = self._sizes(num_values)
        entries, b = self.entries(places, num_values), parameter(num_values, k)
        bits = np.ones(int(entries.ends[-1]), dtype=np.uint8)
        of_values = self.codec.bits_of(values)
        for i, (start, end) in enumerate(zip(entries.starts, entries.ends, strict=True)):
            behind = end - value_bits
            bits[behind:end] = of_values[i]
            if start == entries.packets[i]:
                bits[start:behind] = to_bits(places[i : i + 1], place_bits)
            else:
                bits[behind - b - 1] = 0
                bits[behind - b : behind] = to_bits(places[i : i + 1] - places[i - 1] - 1, b)
        return pack(bits)

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        num_values, bits = prod(shape), unpack(data)
        k, place_bits, value_bits = self._sizes(num_values)
        b, packet = parameter(num_values, k), 0
        places: list[int] = []
        values: list[np.ndarray] = []
        while len(places) < k:
            whole = bits[packet : packet + self.packet_bits]
            at = place_bits
            places.append(int(from_bits(whole[:at], place_bits)[0]) if place_bits else 0)
            values.append(whole[at : at + value_bits])
            at += value_bits
            while len(places) < k and len(zeros := np.flatnonzero(whole[at:] == 0)):
                ones = int(zeros[0])
                at += ones + 1
                rest = int(from_bits(whole[at : at + b], b)[0]) if b else 0
                places.append(places[-1] + 1 + (ones << b) + rest)
                at += b + value_bits
                values.append(whole[at - value_bits : at])
            packet += self.packet_bits
        found = self.codec.values_from(np.stack(values))
        return torch.tensor(places, dtype=torch.int64), torch.from_numpy(found)

    def _sizes(self, num_values: int) -> tuple[int, int, int]:
        """k, and the bits of a place and of a value."""
        return self.codec.num_kept(num_values), self.codec.place_bits(num_values), self.codec.value_bits

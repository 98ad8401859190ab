"""QSGD in the Elias code: streams of levels whose lengths depend on the values.

    EliasEncoding      norm | stream | norm | stream | ...      a message is one piece: nothing is read of one that lost a packet
    PacketEncoding     a stream of its own in each packet of the transport, with a norm of its own (scale_per = "packet"):

        norm, 32 bits | place of the first value, ceil(log2 d) | number n of values, ceil(log2(d + 1)) | stream of n levels (see `elias`)

so that a packet needs no other. It has as many values as fit: n values, where n + 1 would be longer than the packet. Levels depend on the
norm and the norm on which values share it, so n is found by trying: codes are laid end to end under the norm of a guess, which says
where a packet of this norm ends, until the exact lengths of n and n + 1 values stand on either side of the packet's. What is
left of a packet is filled with zeros; the last one ends with its stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, erfc, exp, pi, prod, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from learners.compression import elias
from learners.compression.bits import float32_bits, float32_from, from_bits, pack, to_bits, unpack
from learners.compression.codec import Tensors, refuse_non_finite, whole_bytes
from learners.compression.groups import sizes_of
from learners.compression.qsgd_levels import (
    NORM_BITS,
    Norm,
    QsgdEncoding,
    decoded,
    divisors,
    norms,
    over_tau,
    rounded,
)

FIELD_BITS = 32
"""No place and no number of values needs more."""
GUESSES = 8
"""Of the number of values in a packet, before what is left is halved."""


@dataclass(frozen=True)
class EliasEncoding(QsgdEncoding):
    """Group after group: the norm, then the stream of its levels."""

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """What an estimate assumes: normal values."""
        lengths = (expected_length(size, self.levels, self.norm) for size in sizes_of(self.layout.groups, prod(shape)))
        return whole_bytes(ceil(sum(NORM_BITS + length for length in lengths)))

    def length(self, z: Tensor | None, num_values: int) -> int:
        """Bits of a message with levels z [num_values]; None: what an estimate assumes."""
        if z is None:
            return self.num_bits((num_values,))
        groups = z.detach().split(sizes_of(self.layout.groups, num_values))
        return whole_bytes(sum(NORM_BITS + elias.stream_length(whole_numbers(group)) for group in groups))

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


class Streams(NamedTuple):
    """The packets of one message: values in each, its norm, and the bit behind it, [num_packets]; levels z [num_values]."""

    sizes: list[int]
    norms: Tensor
    ends: np.ndarray
    z: Tensor


@dataclass(frozen=True)
class PacketEncoding:
    """packet_bits: of a packet of the transport. levels, norm, contractive: as of `Qsgd`."""

    levels: int
    norm: Norm
    contractive: bool
    packet_bits: int

    def __post_init__(self) -> None:
        check_packets(self.levels, self.packet_bits)

    def streams(self, v: Tensor, noise: Tensor) -> Streams:
        """v, noise: float32 [num_values], which is not 0."""
        num_values, first, n = len(v), 0, max(1, self.packet_bits // 4)
        header = header_bits(num_values)
        sizes: list[int] = []
        found, levels, ends = [], [], []
        while first < num_values:
            n, r, z, bits = self._fill(v[first:], noise[first:], n, self.packet_bits - header)
            ends.append(self.packet_bits * len(sizes) + header + bits)
            sizes.append(n)
            found.append(r)
            levels.append(z)
            first += n
        return Streams(sizes, torch.cat(found), np.array(ends), torch.cat(levels))

    def _fill(self, v: Tensor, noise: Tensor, n: int, room: int) -> tuple[int, Tensor, Tensor, int]:
        """How many of these values go into a stream of at most `room` bits, their norm and levels, and the bits. n: a guess."""
        fits, too_many, guesses = 0, len(v) + 1, 0
        while too_many - fits > 1:
            n = min(max(n, fits + 1), too_many - 1)
            seen = min(n + n // 8 + 64, len(v))  # a look beyond n says where the packet ends
            r = norms(v[:n], self.norm, n)
            z = rounded(v[:seen], noise[:seen], divisors(r), self.levels)
            numbers = whole_numbers(z)
            places = np.flatnonzero(numbers)
            ends = np.concatenate([[0], np.cumsum(elias.code_lengths(numbers, places))])
            bits = elias.count_bits(n) + int(ends[np.searchsorted(places, n)])
            if bits <= room:
                fits, found = n, (n, r, z[:n], bits)
            else:
                too_many = n
            guesses += 1
            if guesses < GUESSES:
                whole = int(np.searchsorted(ends, room - elias.count_bits(n), side="right")) - 1
                n = int(places[whole]) if whole < len(places) else seen
            else:
                n = (fits + too_many) // 2
        return found

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(levels int32 [num_values], norms [num_packets], values in each packet int64 [num_packets])."""
        refuse_non_finite(v)
        if noise is None:
            raise ValueError("noise = None: rounding is at random")
        streams = self.streams(v.flatten().float(), noise)
        return streams.z.to(torch.int32), streams.norms, torch.tensor(streams.sizes)

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        z, r, sizes = tensors
        return decoded(z.float(), r, self.levels, self.contractive, tuple(sizes.tolist())).reshape(shape)

    def scales(self, r: Tensor, sizes: list[int]) -> Tensor:
        """What the level s of each packet stands for, [num_packets]: r, or r / tau."""
        return over_tau(r, self.levels, sizes) if self.contractive else r

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """What an estimate assumes: normal values."""
        sizes = self.expected_sizes(prod(shape))
        last = header_bits(prod(shape)) + ceil(expected_length(sizes[-1], self.levels, self.norm))
        return whole_bytes((len(sizes) - 1) * self.packet_bits + min(last, self.packet_bits))

    def expected_sizes(self, num_values: int) -> list[int]:
        """Values in each packet, of normal values."""
        room = self.packet_bits - header_bits(num_values)
        fits, too_many = 1, num_values + 1
        while too_many - fits > 1:
            n = (fits + too_many) // 2
            if expected_length(n, self.levels, self.norm) <= room:
                fits = n
            else:
                too_many = n
        return sizes_of(fits, num_values)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        z, r, sizes = tensors
        num_values, first = prod(shape), 0
        packets = []
        for group, norm in zip(z.split(sizes.tolist()), r.split(1), strict=True):
            place = to_bits(np.array([first]), (num_values - 1).bit_length())
            count = to_bits(np.array([len(group)]), elias.count_bits(num_values))
            packets.append(np.concatenate([float32_bits(norm.numpy()), place, count, elias.write(group.numpy())]))
            first += len(group)
        filled = [np.pad(packet, (0, self.packet_bits - len(packet))) for packet in packets[:-1]]
        return pack(np.concatenate([*filled, packets[-1]]))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        num_values, bits, done = prod(shape), unpack(data), 0
        found, r = [], []
        sizes: list[int] = []
        while done < num_values:
            first, norm, z = self.packet(bits[self.packet_bits * len(sizes) :], num_values)
            if first != done or not len(z):
                raise ValueError(f"a packet of {len(z)} values from {first}, behind {done}: no stream of levels")
            done += len(z)
            found.append(z)
            r.append(norm)
            sizes.append(len(z))
        levels = torch.from_numpy(np.concatenate(found)).to(torch.int32)
        return levels, torch.from_numpy(np.concatenate(r)), torch.tensor(sizes)

    def packet(self, bits: np.ndarray, num_values: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Of what begins with a packet: the place of its first value, its norm [1] and its levels."""
        place_bits, count_bits = (num_values - 1).bit_length(), elias.count_bits(num_values)
        norm, place, count, stream = np.split(bits, np.cumsum([NORM_BITS, place_bits, count_bits]))
        first = int(from_bits(place, place_bits)[0]) if place_bits else 0
        z, _ = elias.read(stream, int(from_bits(count, count_bits)[0]))
        return first, float32_from(norm), z


@dataclass(frozen=True)
class PacketFragments:
    """What survives of one message: the streams of which every bit arrived. sizes, ends: as in `Streams`."""

    sizes: list[int]
    ends: np.ndarray
    packet_bits: int

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        """As `Fragments.received_mask`."""
        lost_before = np.concatenate([[0], np.cumsum(~np.asarray(arrived, dtype=bool))])
        first = (self.packet_bits * np.arange(len(self.sizes)) + first_bit) // packet_payload_bits
        last = (self.ends - 1 + first_bit) // packet_payload_bits
        return np.repeat(lost_before[last + 1] == lost_before[first], self.sizes)


def header_bits(num_values: int) -> int:
    """Before a stream, of a message of so many values."""
    return NORM_BITS + (num_values - 1).bit_length() + elias.count_bits(num_values)


def check_packets(num_levels: int, packet_payload_bits: int) -> None:
    """Raises ValueError where a packet has no room for a stream of its own."""
    least = NORM_BITS + 2 * FIELD_BITS + elias.stream_length(np.array([num_levels]))
    if packet_payload_bits < least:
        raise ValueError(
            f"scale_per = 'packet': a packet has room for {packet_payload_bits} bits, a stream of one value needs {least}"
        )


def whole_numbers(z: Tensor) -> np.ndarray:
    """int64 levels; 0 for what is not finite, whose group has no norm."""
    return torch.nan_to_num(z, 0.0, 0.0, 0.0).numpy().astype(np.int64)


def expected_length(num_values: int, num_levels: int, norm: Norm) -> float:
    """Bits of a stream of levels of independent normal values: those that are not zero have probability p, gaps are geometric,

        E len = count + n (sum_j step_j P(z >= 2^j) + p (1 + sum_j step_j (1 - p)^(2^j - 1)))

    step_j: by how much the code of 2^j is longer than that of 2^j - 1. Their norm is taken as sqrt(n), the maximum as its median.
    """
    if norm == "max":
        r = NormalDist().inv_cdf((1 + 0.5 ** (1 / num_values)) / 2)
    else:
        r = sqrt(num_values)
    powers = 1 << np.arange(max(num_levels, num_values).bit_length())
    steps = np.diff(elias.omega_lengths(powers), prepend=0)
    p = _at_least(1, num_levels / r)
    of_levels = sum(
        step * _at_least(power, num_levels / r) for power, step in zip(powers, steps) if power <= num_levels
    )
    of_gaps = sum(step * (1 - p) ** (power - 1) for power, step in zip(powers, steps) if power <= num_values)
    return elias.count_bits(num_values) + num_values * float(of_levels + p * (1 + of_gaps))


def _at_least(level: int, per_deviation: float) -> float:
    """P(z >= level), z = |x| per_deviation rounded at random to whole numbers, x standard normal: the mean of P(|x| per_deviation > t)
    over t in [level - 1, level]."""

    def integral(t: float) -> float:
        at = t / per_deviation / sqrt(2)
        return per_deviation * sqrt(2) * (at * erfc(at) - exp(-at * at) / sqrt(pi))

    return integral(level) - integral(level - 1)

"""How codes lie in a message: group after group, a header each (a scale), then codes of one width.

    header of the first group | its codes, b bits each | header of the second group | ...

Groups follow each other without a gap; with scale_per = "packet" each fills one packet of the transport, so that a lost packet
takes only its own values along. A code stands for one value, or for several (five ternary digits in a byte).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from learners.compression.bits import from_bits, pack, to_bits, unpack
from learners.compression.codec import spans_received, whole_bytes
from learners.compression.groups import Groups, sizes_of
from learners.fields import check_choice
from learners.protocol import Node

ScalePer = Literal["message", "tensor", "packet"]
SCALE_PER = ("message", "tensor", "packet")


@dataclass(frozen=True)
class Format:
    """header_bits: of each group; code_bits: of a code; values_per_code: so many values share one."""

    header_bits: int
    code_bits: int
    values_per_code: int = 1

    def layout(self, scale_per: ScalePer, num_values: int, node: Node) -> Layout:
        """Of a message of num_values of this node. "tensor": of the node's model, or of several one behind the other; a message
        of another length is one tensor."""
        groups: Groups = max(num_values, 1)
        packet_bits = None
        if scale_per == "tensor":
            sizes = tuple(prod(shape) for shape in node.task.model.shapes) if node.task is not None else ()
            num_models, rest = divmod(num_values, sum(sizes) or num_values + 1)
            groups = sizes * num_models if num_models and not rest else groups
        elif scale_per == "packet":
            packet_bits = node.packet_payload_bits
            self.check_packets(scale_per, packet_bits)
            groups = (packet_bits - self.header_bits) // self.code_bits * self.values_per_code
        return Layout(self, groups, packet_bits)

    def check_packets(self, scale_per: ScalePer, packet_payload_bits: int) -> None:
        """Raises ValueError where scales are per packet and a packet has no room for a scale and a value."""
        least = self.header_bits + self.code_bits
        if scale_per == "packet" and packet_payload_bits < least:
            raise ValueError(
                f"scale_per = 'packet': a packet has room for {packet_payload_bits} bits, a scale and a value need {least}"
            )


@dataclass(frozen=True)
class Layout:
    """packet_bits: where each packet holds one group, so that the next begins at a multiple of this."""

    format: Format
    groups: Groups
    packet_bits: int | None = None

    def num_bits(self, num_values: int) -> int:
        """Length of a message."""
        sizes, starts = self.pieces(num_values)
        return whole_bytes(int(starts[-1]) + self._length(sizes[-1])) if sizes else 0

    def pieces(self, num_values: int) -> tuple[list[int], np.ndarray]:
        """Values and first bit of each group."""
        sizes = sizes_of(self.groups, num_values)
        if self.packet_bits is not None:
            return sizes, self.packet_bits * np.arange(len(sizes))
        lengths = [self._length(size) for size in sizes]
        return sizes, np.concatenate([[0], np.cumsum(lengths)])[: len(sizes)].astype(np.int64)

    def num_codes(self, size: int) -> int:
        """Of a group of `size` values."""
        return -(-size // self.format.values_per_code)

    def encode(self, headers: np.ndarray, codes: np.ndarray, num_values: int) -> bytes:
        """headers: uint8 [num_groups, header_bits], bit by bit; codes: whole numbers, those of each group behind those of the
        group before."""
        width, done = self.format.code_bits, 0
        bits = np.zeros(self.num_bits(num_values), dtype=np.uint8)
        for header, size, start in zip(headers, *self.pieces(num_values), strict=True):
            first, num_codes = start + self.format.header_bits, self.num_codes(size)
            bits[start:first] = header
            bits[first : first + width * num_codes] = to_bits(codes[done : done + num_codes], width)
            done += num_codes
        return pack(bits)

    def decode(self, data: bytes, num_values: int, *, signed: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `encode`: headers, and codes int64 (signed: of two's complements)."""
        width, header_bits, bits = self.format.code_bits, self.format.header_bits, unpack(data)
        sizes, starts = self.pieces(num_values)
        headers, codes = np.zeros((len(sizes), header_bits), dtype=np.uint8), [np.zeros(0, dtype=np.int64)]
        for group, (size, start) in enumerate(zip(sizes, starts, strict=True)):
            first = start + header_bits
            headers[group] = bits[start:first]
            codes.append(from_bits(bits[first : first + width * self.num_codes(size)], width, signed=signed))
        return headers, np.concatenate(codes)

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        """A value survives iff the bits of its code do and those of its group's header. As `Fragments.received_mask`."""
        width, header_bits = self.format.code_bits, self.format.header_bits
        sizes, starts = self.pieces(num_values)
        starts = starts + first_bit
        within = np.concatenate([np.arange(size) for size in sizes]) if sizes else np.zeros(0, dtype=np.int64)
        first_bits = np.repeat(starts, sizes) + header_bits + width * (within // self.format.values_per_code)
        headers = spans_received(arrived, packet_payload_bits, starts, header_bits)
        return spans_received(arrived, packet_payload_bits, first_bits, width) & np.repeat(headers, sizes)

    def _length(self, size: int) -> int:
        """Bits of a group of `size` values."""
        return self.format.header_bits + self.format.code_bits * self.num_codes(size)


@dataclass(frozen=True)
class Grouped:
    """What the encodings of codecs with a layout have in common."""

    layout: Layout

    def num_bits(self, shape: tuple[int, ...]) -> int:
        return self.layout.num_bits(prod(shape))

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        return self.layout.received_mask(arrived, packet_payload_bits, num_values, first_bit)


def check_scale_per(scale_per: str) -> None:
    """ValueError for what is no way to share scales."""
    check_choice("scale_per", scale_per, SCALE_PER)

"""Every registered codec in the forms that its keys allow, and decoders that read only what arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from learners import registry
from learners.compression.bfloat16 import BFloat16
from learners.compression.layout import Grouped
from learners.compression.natural import Natural
from learners.compression.onebit import OneBitEncoding
from learners.compression.qsgd_elias import PacketEncoding
from learners.compression.qsgd_levels import QsgdEncoding, variance_bound
from learners.compression.randk import RandK, places_of
from learners.compression.rice import RiceEncoding
from learners.compression.sign import SignEncoding
from learners.compression.stc import Stc, StcStreams
from learners.compression.topk import TopK
from learners.compression.uniform import UniformEncoding
from learners.loopback import LoopbackNode

KEYS: dict[str, list[dict[str, Any]]] = {
    "float32": [{}],
    "float16": [{}],
    "bfloat16": [{}],
    "uniform": [
        {},
        {"scale_per": "message", "zero_point": True},
        {"scale_per": "packet"},
        {"bits": 4, "scale_per": "packet", "zero_point": True, "rounding": "nearest"},
        {"bits": 2},
        {"bits": 5, "rounding": "nearest"},
        {"bits": 16, "zero_point": True},
        {"bits": 1, "zero_point": True, "rounding": "nearest"},
    ],
    "int8_affine": [{}, {"scale_per": "packet"}],
    "int4_affine": [{}, {"scale_per": "message"}],
    "qsgd": [
        {},
        {"levels": 4, "norm": "max", "scale_per": "packet", "contractive": True},
        {"levels": 1, "scale_per": "bucket", "bucket_values": 50},
        {"levels": 4, "scale_per": "packet", "code": "elias"},
        {"levels": 16, "norm": "max", "scale_per": "packet", "code": "elias", "contractive": True},
    ],
    "ternary": [{}, {"packing": "base3", "scale_per": "packet", "clip_deviations": 1.5}, {"packing": "base3"}],
    "sign": [{}, {"scale_per": "packet"}, {"scale_per": "packet", "zeros": "kept"}],
    "onebit": [{}, {"scale_per": "packet"}],
    "natural": [{}],
    "topk": [
        {"ratio": 0.1},
        {"ratio": 0.05, "index": "int32"},
        {"ratio": 0.3, "index": "bitmap"},
        {"ratio": 1.0, "value_bits": 16},
        {"ratio": 0.2, "index": "bitmap", "value_bits": 16},
        {"ratio": 0.1, "index": "rice"},
        {"ratio": 0.3, "index": "rice", "value_bits": 16},
    ],
    "randk": [
        {"ratio": 0.1},
        {"ratio": 0.2, "value_bits": 16, "unbiased": True, "error_feedback": False},
        {"ratio": 0.3, "index": "packed"},
        {"ratio": 0.3, "index": "bitmap"},
    ],
    "stc": [{"ratio": 0.1}, {"ratio": 0.3, "error_feedback": False}, {"ratio": 0.3, "index": "packed"}],
}
"""Registry name -> keys; the default form and the others that have a format of their own."""

PACKET_BITS = 400
SHAPES = ((20, 8), (20,), (3, 20), (1,))  # of a model with 241 parameters
NUM_PARAMS = 241


@dataclass
class FixedNoise(LoopbackNode):
    """A node that gives the same noise again and again, so that a test can use it too."""

    def uniform(self, num_values: int) -> torch.Tensor:
        return noise(num_values)


def noise(num_values: int) -> torch.Tensor:
    """The first of always the same numbers: a codec that needs three of them gets those that begin the noise of all values."""
    return torch.from_numpy(np.random.default_rng(1).random(num_values, dtype=np.float32))


def node(packet_bits: int = PACKET_BITS) -> FixedNoise:
    """A node whose model has 241 parameters in 4 tensors."""
    task = SimpleNamespace(num_params=NUM_PARAMS, model=SimpleNamespace(shapes=SHAPES))
    rng = np.random.default_rng(0)
    return FixedNoise(0, (), None, rng, task=task, packet_payload_bits=packet_bits)


def cases() -> list[tuple[str, Any]]:
    """(readable name, codec) of every registered codec."""
    return [
        (" ".join([name, *(f"{key}={value}" for key, value in keys.items())]), registry.load("codec", name)(**keys))
        for name in registry.CODECS
        for keys in KEYS[name]
    ]


class LostError(Exception):
    """A bit that is asked for was in a lost packet."""


def read_what_arrived(codec: Any, encoding: Any, data: bytes, arrived: np.ndarray, packet_bits: int, n: int) -> Any:
    """A plain decoder, bit by bit, that never looks at a lost packet. Returns (bool [n], float32 [n]): what it could read, and
    the values, 0 where it could not."""
    bits = [byte >> i & 1 for byte in data for i in range(8)]

    def read(first: int, width: int) -> int:
        number = 0
        for i in range(width):
            if not arrived[(first + i) // packet_bits]:
                raise LostError
            number |= bits[first + i] << i
        return number

    def real(first: int, width: int) -> np.ndarray:
        if isinstance(codec, BFloat16):
            return np.array([read(first, width) << 16], dtype="<u4").view("<f4")[0]
        kind, whole = ("<f4", "<u4") if width == 32 else ("<f2", "<u2")
        return np.array([read(first, width)], dtype=whole).view(kind)[0].astype(np.float32)

    found, values = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.float32)

    def attempt(i: int, decode: Callable[[], Any]) -> None:
        try:
            values[i] = decode()
            found[i] = True
        except LostError:
            pass

    if isinstance(encoding, UniformEncoding):
        _read_uniform(encoding, attempt, read, real, n)
    elif isinstance(encoding, Grouped):
        _read_grouped(encoding, attempt, read, real, n)
    elif isinstance(codec, RandK) and codec.index == "seed":
        k, width = codec.num_kept(n), codec.value_bits
        for j in range(k):
            try:
                place, value = places_of(read(0, 64), n, k)[j], real(64 + j * width, width)
            except LostError:
                continue
            found[place], values[place] = True, value
    elif isinstance(encoding, PacketEncoding):
        _read_streams(encoding, found, values, read, real, n, 8 * len(data))
    elif isinstance(codec, Natural):
        for i in range(n):

            def power(i: int = i) -> np.float32:
                code = read(9 * i, 9)
                return np.float32((-1) ** (code >> 8)) * (np.float32(2.0 ** (code % 256 - 127)) if code % 256 else 0)

            attempt(i, power)
    elif isinstance(encoding, (RiceEncoding, StcStreams)):
        _read_rice(encoding, found, values, read, real, n, 8 * len(data))
    elif isinstance(codec, Stc):
        _read_packed_signs(codec, found, values, read, real, n)
    elif isinstance(codec, (TopK, RandK)):
        _read_topk(codec, found, values, read, real, n)
    else:
        width = codec.num_bits((n,)) // n
        for i in range(n):
            attempt(i, lambda i=i: real(i * width, width))
    return found, values


def _read_uniform(encoding: UniformEncoding, attempt: Any, read: Any, real: Any, n: int) -> None:
    sizes = encoding.groups if isinstance(encoding.groups, tuple) else [encoding.groups] * (n // encoding.groups + 1)
    first, i = 0, 0
    for group, size in enumerate(sizes):
        if encoding.packet_bits is not None:
            first = group * encoding.packet_bits
        header = first + (64 if encoding.zero_point else 32)
        size = min(size, n - i)
        for j in range(size):

            def value(first: int = first, at: int = header + j * encoding.bits, header: int = header) -> Any:
                q = read(at, encoding.bits)
                if encoding.zero_point:
                    q -= read(first + 32, 32)
                elif q >= 1 << (encoding.bits - 1):
                    q -= 1 << encoding.bits
                return np.float32(q) * real(first, 32)

            attempt(i + j, value)
        i += size
        first = header + size * encoding.bits


def _read_grouped(encoding: Any, attempt: Any, read: Any, real: Any, n: int) -> None:
    """Signs, levels of a norm, ternary digits."""
    layout = encoding.layout
    header_bits, per_code, width = layout.format.header_bits, layout.format.values_per_code, layout.format.code_bits
    sizes = layout.groups if isinstance(layout.groups, tuple) else [layout.groups] * (n // layout.groups + 1)
    first, i = 0, 0
    for group, size in enumerate(sizes):
        if layout.packet_bits is not None:
            first = group * layout.packet_bits
        size = min(size, n - i)
        for j in range(size):

            def value(first: int = first, j: int = j, size: int = size) -> Any:
                code, scale = read(first + header_bits + j // per_code * width, width), real(first, 32)
                if isinstance(encoding, OneBitEncoding):
                    other = real(first + 32, 32)
                    return scale if code else other
                if isinstance(encoding, SignEncoding) and width == 1:
                    return -scale if code else scale
                if per_code > 1:
                    return [0, scale, -scale][code // 3 ** (j % per_code) % 3]
                code -= (code >> (width - 1)) << width
                if not isinstance(encoding, QsgdEncoding):
                    return code * scale
                if encoding.contractive:
                    scale = scale / np.float32(1 + variance_bound(encoding.levels, size))
                return np.float32(code) / np.float32(encoding.levels) * scale

            attempt(i + j, value)
        i += size
        first += header_bits + width * -(-size // per_code)


def _read_streams(
    encoding: PacketEncoding, found: np.ndarray, values: np.ndarray, read: Any, real: Any, n: int, num_bits: int
) -> None:
    """Packet by packet, each as a whole: its norm, first place, number of values, number of levels, then those."""
    place_bits, count_bits = (n - 1).bit_length(), n.bit_length()

    def omega(at: int) -> tuple[int, int]:
        number = 1
        while read(at, 1):
            digits = [read(at + i, 1) for i in range(number + 1)]
            at, number = at + number + 1, int("".join(map(str, digits)), 2)
        return number, at + 1

    for packet in range(0, num_bits, encoding.packet_bits):
        try:
            scale, first = real(packet, 32), read(packet + 32, place_bits)
            size = read(packet + 32 + place_bits, count_bits)
            at = packet + 32 + place_bits + count_bits
            levels, place = np.zeros(size, dtype=np.float32), -1
            left, at = read(at, size.bit_length()), at + size.bit_length()
            for _ in range(left):
                gap, at = omega(at)
                negative, at = read(at, 1), at + 1
                level, at = omega(at)
                place += gap
                levels[place] = -level if negative else level
        except LostError:
            continue
        assert at <= packet + encoding.packet_bits, "a stream stays in its packet"
        if encoding.contractive:
            scale = scale / np.float32(1 + variance_bound(encoding.levels, size))
        found[first : first + size], values[first : first + size] = True, levels / np.float32(encoding.levels) * scale


def _read_rice(
    encoding: RiceEncoding | StcStreams,
    found: np.ndarray,
    values: np.ndarray,
    read: Any,
    real: Any,
    n: int,
    num_bits: int,
) -> None:
    """Packet by packet, each until a bit is lost or a run of ones reaches its end. A packet begins at a multiple of its
    length in the message of the codec; that of signs with the magnitude of all of them."""
    codec, mean_bits = encoding.codec, 32 if isinstance(encoding, StcStreams) else 0
    k, width = codec.num_kept(n), codec.value_bits
    place_bits, b = (n - 1).bit_length(), max(0, round(np.log2(np.log(2) * n / k)))
    for packet in range(0, num_bits, encoding.packet_bits):
        end, at, place = min(packet + encoding.packet_bits, num_bits), packet + mean_bits, None
        try:
            mean = real(packet, 32) if mean_bits else None
            while at + (place_bits if place is None else 1 + b) + width <= end:
                if place is None:
                    place, at = read(at, place_bits), at + place_bits
                else:
                    ones = 0
                    while read(at, 1):
                        at, ones = at + 1, ones + 1
                        if at == end:
                            raise LostError
                    place, at = place + 1 + (ones << b) + read(at + 1, b), at + 1 + b
                if place >= n:
                    break
                values[place] = real(at, width) if mean is None else -mean if read(at, 1) else mean
                found[place] = True
                at += width
        except LostError:
            continue


def _read_packed_signs(codec: Stc, found: np.ndarray, values: np.ndarray, read: Any, real: Any, n: int) -> None:
    """The magnitude, then signs and places."""
    width = 1 + (n - 1).bit_length()
    for first in range(32, 32 + width * codec.num_kept(n), width):
        try:
            mean, negative, place = real(0, 32), read(first, 1), read(first + 1, width - 1)
        except LostError:
            continue
        found[place], values[place] = True, -mean if negative else mean


def _read_topk(codec: TopK | RandK, found: np.ndarray, values: np.ndarray, read: Any, real: Any, n: int) -> None:
    k = codec.num_kept(n)
    if codec.index == "bitmap":
        places = []
        try:
            for i in range(n):
                if read(i, 1):
                    places.append(i)
        except LostError:
            pass
        entries = [(lambda i=i: i, n + j * codec.value_bits) for j, i in enumerate(places)]
    else:
        width = 32 if codec.index == "int32" else int(np.ceil(np.log2(n))) if n > 1 else 0
        entry = width + codec.value_bits
        entries = [(lambda at=j * entry: read(at, width), j * entry + width) for j in range(k)]
    for place, at in entries:
        try:
            i, value = place(), real(at, codec.value_bits)
        except LostError:
            continue
        found[i], values[i] = True, value

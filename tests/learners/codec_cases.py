"""Every registered codec in the forms that its keys allow, and decoders that read only what arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from learners import registry
from learners.compression.topk import TopK
from learners.compression.uniform import UniformEncoding
from learners.loopback import LoopbackNode

KEYS: dict[str, list[dict[str, Any]]] = {
    "float32": [{}],
    "float16": [{}],
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
    "topk": [
        {"ratio": 0.1},
        {"ratio": 0.05, "index": "int32"},
        {"ratio": 0.3, "index": "bitmap"},
        {"ratio": 1.0, "value_bits": 16},
        {"ratio": 0.2, "index": "bitmap", "value_bits": 16},
    ],
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
    return torch.from_numpy(np.random.default_rng(num_values).random(num_values, dtype=np.float32))


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
    elif isinstance(codec, TopK):
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


def _read_topk(codec: TopK, found: np.ndarray, values: np.ndarray, read: Any, real: Any, n: int) -> None:
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

"""Whole numbers of any width as bits, least significant bit first, packed without gaps."""

from __future__ import annotations

import numpy as np


def to_bits(numbers: np.ndarray, width: int) -> np.ndarray:
    """uint8 [num * width] of 0 and 1, from whole numbers [num]; of a negative one the two's complement."""
    shifts = np.arange(width, dtype=np.int64)
    return ((np.asarray(numbers, dtype=np.int64)[:, None] >> shifts) & 1).astype(np.uint8).ravel()


def from_bits(bits: np.ndarray, width: int, *, signed: bool = False) -> np.ndarray:
    """The inverse of `to_bits`: int64 [num]."""
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    numbers = bits.reshape(-1, width).astype(np.int64) @ weights if width else np.zeros(0, dtype=np.int64)
    return np.where(numbers >= 1 << (width - 1), numbers - (1 << width), numbers) if signed else numbers


def float32_bits(values: np.ndarray) -> np.ndarray:
    """IEEE 754 single precision, 32 bits each."""
    return np.unpackbits(np.asarray(values, dtype="<f4").view(np.uint8), bitorder="little")


def float32_from(bits: np.ndarray) -> np.ndarray:
    """The inverse of `float32_bits`."""
    return np.packbits(bits, bitorder="little").view("<f4").astype(np.float32)


def float16_bits(values: np.ndarray) -> np.ndarray:
    """IEEE 754 half precision, 16 bits each."""
    return np.unpackbits(np.asarray(values, dtype="<f2").view(np.uint8), bitorder="little")


def float16_from(bits: np.ndarray) -> np.ndarray:
    """The inverse of `float16_bits`."""
    return np.packbits(bits, bitorder="little").view("<f2").astype(np.float16)


def pack(bits: np.ndarray) -> bytes:
    """Filled up with zeros to whole bytes."""
    return np.packbits(bits, bitorder="little").tobytes()


def unpack(data: bytes) -> np.ndarray:
    """The inverse of `pack`, with the filling."""
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")

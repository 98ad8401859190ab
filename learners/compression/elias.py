"""The Elias omega code of whole numbers, and sparse signed levels as a stream of such codes.

omega(1) = "0"; a larger number has its binary digits before the final 0, and before those in turn the number of its digits less one,
until that is 1. Lengths: 1 for 1, 3 for 2 and 3, 6 for 4 to 7, 7 for 8 to 15, 11 for 16 to 31. Elias, "Universal codeword sets
and representations of the integers", IEEE Trans. Inf. Theory 21 (1975).

A group of levels (Alistarh et al., QSGD, NeurIPS 2017, section 3.2): how many are not zero, in ceil(log2(d + 1)) bits (ours: the
paper leaves the end open), then of each of them omega(places since the last one), its sign, 1 for negative, omega(magnitude).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from learners.compression.bits import from_bits, to_bits


def omega_lengths(numbers: np.ndarray) -> np.ndarray:
    """Bits of the code of each number (1 and more)."""
    table = _table()
    return table[numbers] if numbers.max(initial=0) < len(table) else _lengths(numbers)


@cache
def _table() -> np.ndarray:
    """Lengths of the codes of numbers of 16 bits, beginning with the 0 that has none."""
    return _lengths(np.arange(1 << 16))


def _lengths(numbers: np.ndarray) -> np.ndarray:
    lengths = np.ones(len(numbers), dtype=np.int64)
    numbers = np.asarray(numbers, dtype=np.int64)
    while (numbers > 1).any():
        digits = np.frexp(numbers.astype(np.float64))[1].astype(np.int64)  # exact below 2^53
        lengths += np.where(numbers > 1, digits, 0)
        numbers = np.where(numbers > 1, digits - 1, 1)
    return lengths


def omega(number: int) -> list[int]:
    """The bits of the code, the first one first."""
    bits = [0]
    while number > 1:
        digits = [int(digit) for digit in f"{number:b}"]
        bits = digits + bits
        number = len(digits) - 1
    return bits


def count_bits(num_values: int) -> int:
    """Of the number of levels that are not zero: ceil(log2(d + 1))."""
    return num_values.bit_length()


def stream_length(z: np.ndarray) -> int:
    """Bits of a group of signed levels [num_values]."""
    return count_bits(len(z)) + int(code_lengths(z, np.flatnonzero(z)).sum())


def code_lengths(z: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Bits of each of the levels at these places, which are those that are not zero, with its gap and its sign."""
    return omega_lengths(np.diff(places, prepend=-1)) + 1 + omega_lengths(np.abs(z[places]))


def write(z: np.ndarray) -> np.ndarray:
    """uint8 [stream_length] of 0 and 1."""
    places = np.flatnonzero(z)
    bits: list[int] = []
    for gap, level in zip(np.diff(places, prepend=-1).tolist(), z[places].tolist(), strict=True):
        bits += [*omega(gap), int(level < 0), *omega(abs(level))]
    count = to_bits(np.array([len(places)]), count_bits(len(z)))
    return np.concatenate([count, np.array(bits, dtype=np.uint8)])


def read(bits: np.ndarray, num_values: int) -> tuple[np.ndarray, int]:
    """The inverse of `write`, from the beginning of a longer row of bits: levels int64 [num_values], and how many bits they
    took. Raises ValueError for bits that are no such stream."""
    z, at, place = np.zeros(num_values, dtype=np.int64), count_bits(num_values), -1
    for _ in range(int(from_bits(bits[:at], at)[0]) if at else 0):
        gap, at = _number(bits, at)
        negative, at = bool(bits[at]), at + 1
        level, at = _number(bits, at)
        place += gap
        if place >= num_values:
            raise ValueError(f"place {place} of {num_values}: no stream of levels")
        z[place] = -level if negative else level
    return z, at


def _number(bits: np.ndarray, at: int) -> tuple[int, int]:
    """The number whose code begins at a bit, and where the next one does."""
    number = 1
    while bits[at]:
        digits = bits[at : at + number + 1]
        at, number = at + number + 1, int("".join(map(str, digits.tolist())), 2)
    return number, at + 1

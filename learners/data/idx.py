"""The idx format of MNIST: an array of bytes behind a header of big-endian 32-bit numbers.

    magic, size of dimension 1, ..., size of dimension d, then the bytes in row-major order
    magic = 0x00000800 + d: 0x08 stands for unsigned bytes; images (d = 3) have 2051, labels (d = 1) 2049

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "File formats".
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

import numpy as np

from learners.data.packed import content

UNSIGNED_BYTES = 0x0800


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array, uint8 of exactly this shape; the file may be gzipped. Raises ValueError, one line."""
    num_header, num_data = 4 * (1 + len(shape)), prod(shape)
    data = content(path, num_header + num_data)
    if len(data) < num_header:
        raise ValueError(
            f"{path}: {len(data)} bytes, an idx file of {len(shape)} dimensions has a header of {num_header}"
        )
    magic, *sizes = struct.unpack(f">{1 + len(shape)}I", data[:num_header])
    if magic != UNSIGNED_BYTES + len(shape):
        raise ValueError(
            f"{path}: begins with {magic}, no idx file of {len(shape)} dimensions ({UNSIGNED_BYTES + len(shape)})"
        )
    if tuple(sizes) != shape:
        raise ValueError(f"{path}: holds {_times(sizes)} bytes, and {_times(shape)} are expected")
    if len(data) != num_header + num_data:
        fault = "bytes behind the last" if len(data) > num_header + num_data else "cut off"
        raise ValueError(f"{path}: {fault}, the header promises {_times(shape)} bytes")
    return np.frombuffer(bytearray(data), dtype=np.uint8, offset=num_header).reshape(shape)


def _times(sizes: tuple[int, ...] | list[int]) -> str:
    return " x ".join(f"{size:,}" for size in sizes)

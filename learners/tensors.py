"""Tensors for callers that know arrays only, and torch's process-wide settings."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGEST_BLOCK_BYTES = 31 << 20
"""The largest block after which glibc still changes its mind, less some room for alignment."""

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def set_threads(num_threads: int) -> None:
    """Threads of torch's own kernels in this process; one makes results independent of the machine's load."""
    torch.set_num_threads(num_threads)


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for the next ones. Handed back to the system, it is cleared page by
    page whenever a tensor is made of it again, which takes longer than most kernels.

    glibc keeps up to twice the size of the largest block that it has seen freed, among those of at most 32 MiB
    (mallopt(3), M_MMAP_THRESHOLD); so one is shown to it, which touches no memory. Elsewhere, and where there
    is no room for such a block, this does nothing.
    """
    with suppress(RuntimeError):  # torch's way to say that memory is short
        torch.empty(LARGEST_BLOCK_BYTES, dtype=torch.uint8)


def from_numbers(values: Any, dtype: torch.dtype) -> Tensor:
    """Numbers or an array as a tensor of `dtype`."""
    if dtype in _NUMPY and not isinstance(values, Tensor):  # a list in a third of the time that torch takes
        return torch.from_numpy(np.array(values, dtype=_NUMPY[dtype]))
    return torch.as_tensor(values, dtype=dtype)


def from_bools(values: np.ndarray) -> Tensor:
    """A bool array as a bool tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=bool))


def standard_normal(rng: np.random.Generator, size: int, dtype: torch.dtype) -> Tensor:
    """[size] standard normal numbers."""
    return torch.as_tensor(rng.standard_normal(size), dtype=dtype)


def uniform(rng: np.random.Generator, size: int) -> Tensor:
    """float32 [size] multiples of 2^-24, uniform in [0, 1)."""
    return torch.from_numpy(rng.random(size, dtype=np.float32))


def no_numbers(size: int) -> Tensor:
    """float32 [size] for an estimate, in which only the shape counts."""
    return torch.empty(size)

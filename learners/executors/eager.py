"""Every op at once, on one device's tensors, as its function is written: for debugging and as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op


class EagerExecutor:
    """Values are plain tensors. An op called directly with tensors computes just as well, without being counted."""

    def __init__(self) -> None:
        self.num_jobs = 0
        self.num_calls = 0

    def lift(self, tensor: Tensor) -> Tensor:
        return tensor

    def call(self, op: Op, args: Sequence[Any]) -> Any:
        self.num_jobs += 1
        self.num_calls += 1
        return op.compute(args)

    def scan(self, op: Op, carry: Any, xs: Sequence[Tensor], consts: Sequence[Any]) -> Any:
        steps = op.scan.num_steps(xs)
        self.num_jobs += steps
        self.num_calls += steps
        return op.scan.compute(carry, xs, consts)

    def read(self, value: Tensor) -> Tensor:
        return value.clone()

    def materialize(self, values: Sequence[Tensor]) -> list[Tensor]:
        return list(values)

    def stack(self, values: Sequence[Tensor]) -> Tensor:
        return torch.stack(tuple(values))

    def flush(self) -> None:
        """Nothing is ever waiting."""

"""Deferred values: tensors whose shapes are known and whose numbers may come later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

TensorKey = tuple[torch.Size, torch.dtype]


class Deferred:
    """A tensor that may not have been computed yet. `shape` and `dtype` are always known.

    Once resolved, its numbers are row `row` of `base` (all of `base` where row is None). Only an executor looks at them;
    a program that needs them yields `Read`.
    """

    __slots__ = ("__weakref__", "base", "executor", "job", "key", "row")

    def __init__(self, executor: Any, key: TensorKey, base: Tensor | None = None, job: Any = None) -> None:
        self.executor = executor
        self.key = key
        self.base = base
        self.row: int | None = None
        self.job = job  # what will compute it; None once resolved

    @property
    def shape(self) -> torch.Size:
        return self.key[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.key[1]

    @property
    def ndim(self) -> int:
        return len(self.key[0])

    def numel(self) -> int:
        return self.key[0].numel()

    def tensor(self) -> Tensor:
        """The value, after whatever it depends on has been executed."""
        return self.executor.read(self)

    @property
    def shape_only(self) -> bool:
        """Whether it has no numbers and never will: in an estimate."""
        return self.job is None and self.base is None

    def __bool__(self) -> bool:
        raise TypeError("a Deferred has no truth value: yield Read(value) to get the tensor first")

    def __len__(self) -> int:
        return self.key[0][0]

    def __repr__(self) -> str:
        state = "pending" if self.job is not None else "shape only" if self.shape_only else "resolved"
        return f"Deferred(shape={list(self.shape)}, dtype={self.dtype}, {state})"


def executor_of(args: Iterable[Any]) -> Any:
    """The executor of the Deferreds among args (also inside tuples and lists), or None. ValueError if there are two."""
    found = None
    for arg in args:
        kind = type(arg)
        if kind is Deferred:
            executor = arg.executor
        elif kind is tuple or kind is list:
            executor = executor_of(arg)
            if executor is None:
                continue
        else:
            continue
        if found is not None and executor is not found:
            raise ValueError("values of two executors in one call")
        found = executor
    return found

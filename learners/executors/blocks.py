"""Tensors whose rows were handed out, and keeping few of them alive for the sake of few rows."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from learners.executors.gather import gather
from learners.values import Deferred

COMPACT_BYTES = 16 << 20
"""Rows handed out keep their whole group's tensor alive. Whenever this much, or as much as the rows alone took at the last
look, has been handed out since, tensors of which less than half is still wanted are replaced by their wanted rows. So
memory stays below about four times the wanted rows plus this."""

BOOKKEEPING_BYTES = 100
"""Of remembering who holds one row."""


class Block:
    """A tensor [num_rows, ...] whose rows were handed out."""

    __slots__ = ("num_bytes", "num_rows", "values")

    def __init__(self, base: Tensor, values: Sequence[Deferred]) -> None:
        self.num_bytes = base.nbytes
        self.num_rows = len(base)
        self.values = [weakref.ref(value) for value in values]


class Blocks:
    """All blocks of an executor that may be in use. Call `compact` now and then, when nothing is being executed."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._new_bytes = 0
        self._compact_at = COMPACT_BYTES

    def add(self, base: Tensor, values: Sequence[Deferred]) -> None:
        """Some rows of base were handed out as values."""
        self.blocks.append(Block(base, values))
        self._new_bytes += base.nbytes + BOOKKEEPING_BYTES * len(values)

    def compact(self) -> None:
        """Copy the wanted rows out of tensors that are mostly unwanted, see COMPACT_BYTES."""
        if self._new_bytes < self._compact_at:
            return
        wanted_bytes = 0
        blocks: list[Block] = []
        sparse: dict[Any, list[Deferred]] = {}
        for block in self.blocks:
            values = [value for reference in block.values if (value := reference()) is not None]
            wanted_bytes += block.num_bytes * len(values) // block.num_rows
            if 2 * len(values) >= block.num_rows:
                blocks.append(block)
            elif values:
                sparse.setdefault(values[0].key, []).extend(values)
        for values in sparse.values():
            base = gather(values).clone()
            for row, value in enumerate(values):
                value.base, value.row = base, row
            blocks.append(Block(base, values))
        self.blocks = blocks
        self._new_bytes = 0
        self._compact_at = max(COMPACT_BYTES, wanted_bytes)

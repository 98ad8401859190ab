"""Stacking one argument of a group of jobs to [n, ...], without a copy where the rows lie in order already.

Values are tensors or resolved Deferreds: (base, row), or a whole tensor where row is None. Which of the ways below is
taken depends on where the rows happen to lie; the numbers never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from learners.values import Deferred


def tensor_of(value: Any) -> Tensor:
    """A tensor, or a resolved Deferred as one (a view)."""
    if type(value) is not Deferred:
        return value
    return value.base if value.row is None else value.base[value.row]  # type: ignore[index, return-value]


def gather(values: Sequence[Any]) -> Tensor:
    """Values of one shape as [n, ...]. The result may be a view of where they lie: it must not be written to."""
    return Column(values).take(0, len(values), len(values))


class Column:
    """One argument of a group of jobs, values of one shape, to be taken a run of jobs at a time."""

    __slots__ = ("_rows", "_table", "_tensors", "_values")

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values
        self._table: Tensor | None = None  # None: the values lie anywhere
        self._rows: list[int] | None = None  # of the table; None: the table is everyone's value
        self._tensors: dict[int, Tensor] = {}  # by identity of a value: one may be wanted by many
        first = values[0]
        if type(first) is Deferred and first.row is not None:
            base = first.base
            rows = [value.row for value in values if type(value) is Deferred and value.base is base]
            if len(rows) == len(values):
                self._table, self._rows = base, rows  # type: ignore[assignment]
        else:
            whole = first.base if type(first) is Deferred else first
            if all((value.base if type(value) is Deferred else value) is whole for value in values):
                self._table = whole
        if self._table is None:
            self._tensors = {key: tensor_of(value) for key, value in {id(value): value for value in values}.items()}

    def take(self, start: int, stop: int, num_rows: int) -> Tensor:
        """The values of jobs start to stop, and any others behind them, as [num_rows, ...]. May be a view."""
        table = self._table
        if table is None:
            tensors = [self._tensors[id(value)] for value in self._values[start:stop]]
            return torch.stack(tensors + tensors[-1:] * (num_rows - len(tensors)))
        if self._rows is None:
            return table.expand(num_rows, *table.shape)
        rows = self._rows[start:stop]
        first = rows[0]
        if first + num_rows <= len(table) and rows == list(range(first, first + len(rows))):
            return table if num_rows == len(table) else table.narrow(0, first, num_rows)
        if rows.count(first) == len(rows):
            return table[first].expand(num_rows, *table.shape[1:])
        return table.index_select(0, torch.tensor(rows + rows[-1:] * (num_rows - len(rows))))


class RaggedColumn:
    """As `Column`, of a ragged argument: each value a list of values [...], or one value [m_i, ...]. Taken are [num_rows, m,
    ...], zeros behind each m_i."""

    __slots__ = ("_dtype", "_flat", "_lengths", "_m", "_shape", "_values")

    def __init__(self, values: Sequence[Any], m: int, shape: Sequence[int], dtype: torch.dtype) -> None:
        self._m = m
        self._shape = shape
        self._dtype = dtype
        self._values = values
        self._flat: Column | None = None
        self._lengths: list[int] = []
        lists = [isinstance(value, (list, tuple)) for value in values]
        filler = next((value[0] for value in values if len(value)), None) if all(lists) else None
        if filler is not None:
            flat: list[Any] = []
            for value in values:
                flat.extend(value)
                flat.extend([filler] * (m - len(value)))
                self._lengths.append(len(value))
            self._flat = Column(flat)
        elif any(lists):
            empty = torch.zeros((0, *shape), dtype=dtype)
            self._values = [(gather(v) if len(v) else empty) if is_list else v for v, is_list in zip(values, lists)]

    def take(self, start: int, stop: int, num_rows: int) -> Tensor:
        """The values of jobs start to stop, and any others behind them."""
        m, shape = self._m, self._shape
        if self._flat is not None:
            stacked = self._flat.take(start * m, stop * m, num_rows * m)
            padding = [i * m + j for i, n in enumerate(self._lengths[start:stop]) if n < m for j in range(n, m)]
            if padding:
                stacked = stacked.index_fill(0, torch.tensor(padding), 0)
            return stacked.view(num_rows, m, *shape)
        tensors = [tensor_of(value) for value in self._values[start:stop]]
        tensors += tensors[-1:] * (num_rows - len(tensors))
        if all(tensor.shape[0] == m for tensor in tensors):
            return torch.stack(tensors)
        stacked = torch.zeros((num_rows * m, *shape), dtype=self._dtype)
        where = [i * m + j for i, tensor in enumerate(tensors) for j in range(len(tensor))]
        stacked.index_copy_(0, torch.tensor(where, dtype=torch.int64), torch.cat(tensors))
        return stacked.view(num_rows, m, *shape)


def gather_steps(xs: Sequence[Tensor], lengths: Sequence[int], rows_for: Callable[[int], int]) -> list[Tensor]:
    """The steps of several scans, each [length_i, ...], as one tensor [rows_s, ...] a step s.

    lengths: descending. rows_s: rows_for(how many scans have more than s steps); a scan that is done repeats its last one.
    """
    if lengths[-1] == lengths[0]:
        return list(torch.stack(list(xs), 1).unbind(0))
    starts = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length)
    order: list[int] = []
    sizes = []
    active = len(lengths)
    for step in range(lengths[0]):
        while lengths[active - 1] <= step:
            active -= 1
        rows = rows_for(active)
        order += [start + min(step, length - 1) for start, length in zip(starts[:rows], lengths)]
        sizes.append(rows)
    return list(torch.cat(list(xs)).index_select(0, torch.tensor(order)).split(sizes))

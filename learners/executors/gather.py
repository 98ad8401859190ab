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

FEW_BASES = 8
"""Rows of several bases are gathered base by base if there are at least this many rows a base, else one by one."""


def tensor_of(value: Any) -> Tensor:
    """A tensor, or a resolved Deferred as one (a view)."""
    if type(value) is not Deferred:
        return value
    return value.base if value.row is None else value.base[value.row]  # type: ignore[index, return-value]


def gather(values: Sequence[Any]) -> Tensor:
    """Values of one shape as [n, ...]. The result may be a view of where they lie: it must not be written to."""
    n = len(values)
    first = values[0]
    if type(first) is Deferred and first.row is not None:
        base: Tensor = first.base  # type: ignore[assignment]
        rows = [v.row for v in values if type(v) is Deferred and v.base is base]
        if len(rows) == n:
            return _gather_rows(base, rows)  # type: ignore[arg-type]
    else:
        whole = first.base if type(first) is Deferred else first
        if all((v.base if type(v) is Deferred else v) is whole for v in values):
            return whole.expand(n, *whole.shape)  # type: ignore[union-attr]
    if type(first) is Deferred and n >= FEW_BASES:
        return _gather_mixed(values)
    return torch.stack([tensor_of(v) for v in values])


def _gather_rows(base: Tensor, rows: list[int]) -> Tensor:
    n, start = len(rows), rows[0]
    if rows[-1] == start + n - 1 and rows == list(range(start, start + n)):
        return base if n == len(base) else base.narrow(0, start, n)
    if rows.count(start) == n:
        return base[start].expand(n, *base.shape[1:])
    return base.index_select(0, torch.tensor(rows))


def _gather_mixed(values: Sequence[Any]) -> Tensor:
    """Rows of several bases, plain tensors among them."""
    positions: dict[int, list[int]] = {}
    for position, value in enumerate(values):
        positions.setdefault(id(value.base) if type(value) is Deferred else -1, []).append(position)
    if len(positions) * FEW_BASES > len(values):
        return torch.stack([tensor_of(v) for v in values])
    shape, dtype = values[0].key
    stacked = torch.empty((len(values), *shape), dtype=dtype)
    for where in positions.values():
        stacked.index_copy_(0, torch.tensor(where), gather([values[position] for position in where]))
    return stacked


def gather_ragged(values: Sequence[Any], m: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Ragged arguments (each a list of values [...], or one value [m_i, ...]) as [n, m, ...], zeros behind each m_i."""
    n = len(values)
    lists = [isinstance(value, (list, tuple)) for value in values]
    if all(lists):
        return _gather_lists(values, n, m, shape, dtype)
    if any(lists):
        values = [gather(v) if is_list and len(v) else v for v, is_list in zip(values, lists)]
        values = [torch.zeros((0, *shape), dtype=dtype) if isinstance(v, (list, tuple)) else v for v in values]
    return _gather_tensors([tensor_of(value) for value in values], n, m, shape, dtype)


def _gather_lists(values: Sequence[Any], n: int, m: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    filler = next((value[0] for value in values if len(value)), None)
    if filler is None:
        return torch.zeros((n, m, *shape), dtype=dtype)
    flat: list[Any] = []
    padding: list[int] = []
    for value in values:
        flat.extend(value)
        missing = m - len(value)
        if missing:
            padding.extend(range(len(flat), len(flat) + missing))
            flat.extend([filler] * missing)
    stacked = gather(flat)
    if padding:
        stacked = stacked.index_fill(0, torch.tensor(padding), 0)
    return stacked.view(n, m, *shape)


def _gather_tensors(tensors: list[Tensor], n: int, m: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    if all(len(tensor) == m for tensor in tensors):
        return torch.stack(tensors)
    stacked = torch.zeros((n * m, *shape), dtype=dtype)
    where = [i * m + j for i, tensor in enumerate(tensors) for j in range(len(tensor))]
    stacked.index_copy_(0, torch.tensor(where, dtype=torch.int64), torch.cat(tensors))
    return stacked.view(n, m, *shape)


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

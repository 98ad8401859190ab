"""What every op must keep to, as checks for tests: purity, and rows that do not depend on the group they are run in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op
from learners.executors.batched import BatchedExecutor
from learners.values import Deferred


def assert_pure(op: Op, *args: Any) -> None:
    """The op writes nothing in place into its arguments, and gives the same bits twice."""
    tensors = _tensors(args)
    before = [(tensor._version, tensor.clone()) for tensor in tensors]
    first, second = _tensors((op(*args),)), _tensors((op(*args),))
    for tensor, (version, copy) in zip(tensors, before, strict=True):
        if tensor._version != version or not torch.equal(_bits(tensor), _bits(copy)):
            raise AssertionError(f"op {op.name} writes in place into an argument of shape {list(tensor.shape)}")
    for a, b in zip(first, second, strict=True):
        _assert_equal(op, a, b, "two calls with equal arguments")


def assert_rows_bit_equal(
    op: Op, make_args: Callable[[int], Sequence[Any]], sizes: Sequence[int] = (4, 7, 100)
) -> None:
    """What an executor returns for a device does not depend on the size of the group, on the device's place in it, on where
    its arguments lie in memory, nor on whether the call is recorded or replayed.

    make_args(i): the arguments of device i, tensors (or lists of them, where ragged) of shapes that are the same for all i
    """
    num = max(sizes)
    jobs = [tuple(make_args(i)) for i in range(num)]
    reference = _results(op, BatchedExecutor(), jobs)
    for size in (*sizes, 1, 2, 3):
        starts = sorted({*range(0, num - size + 1, size), num - size})
        executor = BatchedExecutor()  # the later groups are replayed
        for start in starts:
            rows = range(start, start + size)
            found = _results(op, executor, [jobs[i] for i in rows])
            for i, row in zip(rows, found, strict=True):
                for a, b in zip(reference[i], row, strict=True):
                    _assert_equal(op, a, b, f"a group of {num} and one of {size}")
    executor = BatchedExecutor()
    orders = {
        "reversed order": (_results(op, executor, jobs[::-1])[::-1], reference),
        "rows of one tensor": (_results(op, executor, _rows(executor, jobs)), reference),
        "rows of one tensor out of order": (_results(op, executor, _rows(executor, jobs[::-1])[::-1]), reference),
        "one tensor for all": (_results(op, executor, [jobs[0]] * num), [reference[0]] * num),
    }
    for where, (found, expected) in orders.items():
        for row, expected_row in zip(found, expected, strict=True):
            for a, b in zip(row, expected_row, strict=True):
                _assert_equal(op, a, b, f"separate tensors and {where}")


def _results(op: Op, executor: BatchedExecutor, jobs: Sequence[Any]) -> list[list[Tensor]]:
    values = [executor.call(op, job) for job in jobs]
    executor.flush()
    return [executor.materialize(_flat(value)) for value in values]


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


def _rows(executor: BatchedExecutor, jobs: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same arguments as rows of one tensor an argument, as an executor hands them out, some rows from its start."""
    columns: list[Any] = []
    for column in zip(*jobs, strict=True):
        if all(isinstance(arg, Tensor) for arg in column) and len({arg.shape for arg in column}) == 1:
            base = torch.stack((*column[:3], *column))
            values = [Deferred(executor, (arg.shape, arg.dtype), base) for arg in column]
            for row, value in enumerate(values, 3):
                value.row = row
            columns.append(values)
        else:
            columns.append(column)
    return list(zip(*columns, strict=True))


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)] if isinstance(values, (tuple, list)) else []


def _bits(tensor: Tensor) -> Tensor:
    """For comparisons in which a NaN equals itself and 0.0 is not -0.0."""
    return tensor.contiguous().view(torch.uint8) if tensor.ndim else tensor.reshape(1).view(torch.uint8)


def _assert_equal(op: Op, a: Tensor, b: Tensor, between: str) -> None:
    if a.shape != b.shape or a.dtype != b.dtype or not torch.equal(_bits(a), _bits(b)):
        raise AssertionError(f"op {op.name}: results differ between {between}")

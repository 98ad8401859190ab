"""What every executor can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from learners.deferred import Op


class Executor(Protocol):
    """Runs ops. num_jobs: ops asked for, each step of a scan counted; num_calls: calls of an op's function that this took,
    so num_jobs / num_calls is the mean size of the groups."""

    num_jobs: int
    num_calls: int

    def lift(self, tensor: Tensor) -> Any:
        """A tensor as a value of this executor, so that ops on it are recorded here."""

    def call(self, op: Op, args: Sequence[Any]) -> Any:
        """op(*args) as a value, or a tuple of values."""

    def scan(self, op: Op, carry: Any, xs: Sequence[Tensor], consts: Sequence[Any]) -> Any:
        """op.scan(carry, xs, *consts) as a value, or a tuple of values."""

    def read(self, value: Any) -> Tensor:
        """The numbers of one value; executes what it depends on. The tensor is the caller's own."""

    def materialize(self, values: Sequence[Any]) -> list[Tensor]:
        """The numbers of several values, to look at and drop: they may be rows of a larger tensor that they keep alive."""

    def stack(self, values: Sequence[Any]) -> Tensor:
        """The numbers of several values of one shape as [len(values), ...], not to be written to."""

    def flush(self) -> None:
        """Execute everything recorded."""

"""Shapes without numbers: the same events, times, sizes and FLOPs as a run, and no arithmetic at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from torch import Tensor

from learners.deferred import Op
from learners.signature import Signature
from learners.values import Deferred


class NullExecutor:
    """Results are Deferreds that will never be resolved. All results of one signature are the same object."""

    def __init__(self) -> None:
        self.num_jobs = 0
        self.num_calls = 0  # stays 0
        self._results: dict[Signature, Any] = {}

    def lift(self, tensor: Tensor) -> Deferred:
        return Deferred(self, (tensor.shape, tensor.dtype))

    def call(self, op: Op, args: Sequence[Any]) -> Any:
        return self.recorded(*op.signature(args))

    def recorded(self, signature: Signature, leaves: list[Any]) -> Any:
        self.num_jobs += 1
        result = self._results.get(signature)
        return self._result(signature) if result is None else result

    def scan(self, op: Op, carry: Any, xs: Sequence[Tensor], consts: Sequence[Any]) -> Any:
        return self.recorded_scan(*op.scan_signature(carry, xs, consts), xs, xs[0].shape[0])

    def recorded_scan(
        self, signature: Signature, carries: list[Any], constants: list[Any], xs: Sequence[Tensor], steps: int
    ) -> Any:
        self.num_jobs += steps
        result = self._results.get(signature)
        return self._result(signature) if result is None else result

    def _result(self, signature: Signature) -> Any:
        values = tuple(Deferred(self, key) for key in signature.outputs)
        self._results[signature] = values[0] if signature.single else values
        return self._results[signature]

    def read(self, value: Any) -> NoReturn:
        raise RuntimeError("a NullExecutor holds no numbers: what depends on values cannot be estimated without a run")

    def materialize(self, values: Sequence[Any]) -> NoReturn:
        self.read(values)

    def stack(self, values: Sequence[Any]) -> NoReturn:
        self.read(values)

    def flush(self) -> None:
        """Nothing is ever waiting."""

"""Many devices at a time: recorded jobs of equal signature run as one `torch.func.vmap` call, the largest group first.

On-the-fly batching: Neubig et al., "On-the-fly operation batching in dynamic computation graphs", NeurIPS 2017
(arXiv 1705.07860). Results do not depend on the groups: an op is either always batched or always looped, groups of fewer
than 4 are filled up by repeating a row, and rows of a batched call do not depend on their number from 4 upwards (a contract
test of every op). So neither the window nor the order of events changes a bit.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op
from learners.executors.gather import gather, gather_ragged, gather_steps, tensor_of
from learners.executors.tape import Recorder, Tape
from learners.signature import Signature
from learners.values import Deferred

MIN_ROWS = 4
"""Smallest group: below it, kernels for single matrices may round differently."""

MAX_TAPES = 512
"""Recorded calls kept, one for each signature, group size and memory layout; the one unused for longest goes first."""

RECORD_AT = 2
"""A call is recorded when it occurs for this time: calls that never come back cost nothing."""

COMPACT_BYTES = 16 << 20
"""Rows handed out keep their whole group's tensor alive. Whenever this much, or as much as the rows alone took at the last
look, has been handed out since, tensors of which less than half is still wanted are replaced by their wanted rows. So
memory stays below about four times the wanted rows plus this."""


class Job:
    """A recorded call, or a whole scan (xs given)."""

    __slots__ = ("dependents", "leaves", "mark", "outputs", "signature", "steps", "waiting", "xs")

    def __init__(
        self, signature: Signature, leaves: list[Any], outputs: list[Deferred], xs: Sequence[Tensor] = (), steps: int = 1
    ) -> None:
        self.signature = signature
        self.leaves = leaves  # for a scan: carry, then constants
        self.outputs = outputs
        self.xs = xs
        self.steps = steps
        self.waiting = 0  # arguments that are not computed yet
        self.dependents: list[Job] = []
        self.mark = 0


class Block:
    """A tensor [num_rows, ...] whose rows were handed out."""

    __slots__ = ("num_bytes", "num_rows", "values")

    def __init__(self, base: Tensor, values: Sequence[Deferred]) -> None:
        self.num_bytes = base.nbytes
        self.num_rows = len(base)
        self.values = [weakref.ref(value) for value in values]


class BatchedExecutor:
    """window: recorded steps that are executed at the latest (a scan counts its steps)
    live_bytes: arguments and results of recorded jobs that may wait; also the memory that one batched call may take"""

    def __init__(self, window: int = 4096, live_bytes: int = 256 << 20) -> None:
        if window < 1 or live_bytes < 1:
            raise ValueError(f"window = {window}, live_bytes = {live_bytes}: at least 1 each")
        self.window = window
        self.live_bytes = live_bytes
        self.num_jobs = 0
        self.num_calls = 0
        self._pending_steps = 0
        self._pending_bytes = 0
        self._ready: dict[Signature, list[Job]] = {}
        self._num_pending = 0
        self._mark = 0
        self._mapped: dict[Signature, Callable[..., tuple[Tensor, ...]]] = {}
        self._tapes: OrderedDict[Any, Tape | int | None] = OrderedDict()
        self._blocks: list[Block] = []
        self._new_bytes = 0
        self._compact_at = COMPACT_BYTES

    # -- recording ----------------------------------------------------------------------------------------------------

    def lift(self, tensor: Tensor) -> Deferred:
        return Deferred(self, (tensor.shape, tensor.dtype), tensor)

    def call(self, op: Op, args: Sequence[Any]) -> Any:
        signature, leaves = op.signature(args)
        outputs = [Deferred(self, key) for key in signature.outputs]
        self._record(Job(signature, leaves, outputs), signature.num_bytes)
        return outputs[0] if signature.single else tuple(outputs)

    def scan(self, op: Op, carry: Any, xs: Sequence[Tensor], consts: Sequence[Any]) -> Any:
        steps = op.scan.num_steps(xs)
        if not steps:
            return carry
        signature, carries, constants = op.scan_signature(carry, xs, consts)
        outputs = [Deferred(self, key) for key in signature.outputs]
        job = Job(signature, carries + constants, outputs, xs, steps)
        self._record(job, signature.num_bytes + steps * signature.step_bytes)
        return outputs[0] if signature.single else tuple(outputs)

    def _record(self, job: Job, num_bytes: int) -> None:
        for output in job.outputs:
            output.job = job
        for leaf in job.leaves:
            kind = type(leaf)
            if kind is Deferred:
                producer = leaf.job
                if producer is not None:
                    job.waiting += 1
                    producer.dependents.append(job)
            elif kind is list or kind is tuple:
                for part in leaf:
                    if type(part) is Deferred and part.job is not None:
                        job.waiting += 1
                        part.job.dependents.append(job)
        if not job.waiting:
            self._make_ready(job)
        self.num_jobs += job.steps
        self._num_pending += 1
        self._pending_steps += job.steps
        self._pending_bytes += num_bytes
        if self._pending_steps >= self.window or self._pending_bytes >= self.live_bytes:
            self.flush()

    def _make_ready(self, job: Job) -> None:
        group = self._ready.get(job.signature)
        if group is None:
            self._ready[job.signature] = [job]
        else:
            group.append(job)

    # -- looking at values --------------------------------------------------------------------------------------------

    def read(self, value: Any) -> Tensor:
        self._resolve((value,))
        return tensor_of(value).clone()

    def materialize(self, values: Sequence[Any]) -> list[Tensor]:
        self._resolve(values)
        return [tensor_of(value) for value in values]

    def stack(self, values: Sequence[Any]) -> Tensor:
        self._resolve(values)
        return gather(values)

    def flush(self) -> None:
        with torch.no_grad():
            while self._ready:
                self._run(max(self._ready, key=lambda signature: len(self._ready[signature])))
        self._compact()

    def _resolve(self, values: Sequence[Any]) -> None:
        """Execute what the values depend on; jobs of equal signature that are ready go along."""
        targets = [value.job for value in values if type(value) is Deferred and value.job is not None]
        if not targets:
            return
        self._mark += 1
        mark, stack = self._mark, targets
        left = 0
        while stack:
            job = stack.pop()
            if job.mark == mark:
                continue
            job.mark = mark
            left += 1
            for leaf in job.leaves:
                for part in leaf if isinstance(leaf, (list, tuple)) else (leaf,):
                    if type(part) is Deferred and part.job is not None:
                        stack.append(part.job)
        with torch.no_grad():
            while left:
                wanted = [s for s, jobs in self._ready.items() if any(job.mark == mark for job in jobs)]
                signature = max(wanted, key=lambda s: len(self._ready[s]))
                left -= sum(job.mark == mark for job in self._ready[signature])
                self._run(signature)
        self._compact()

    # -- executing ----------------------------------------------------------------------------------------------------

    def _run(self, signature: Signature) -> None:
        """All ready jobs of one signature, in groups that fit into live_bytes."""
        jobs = self._ready.pop(signature)
        try:
            if signature.op.loop:
                for job in jobs:
                    self._run_alone(job)
            else:
                jobs.sort(key=_order)
                size = max(MIN_ROWS, self.live_bytes // max(1, signature.peak_bytes))
                for start in range(0, len(jobs), size):
                    self._run_group(signature, jobs[start : start + size])
        except Exception as error:
            raise RuntimeError(
                f"op {signature.op.name} fails in a group of {len(jobs)} on arguments {signature.describe()}: {error}"
            ) from error
        ready = self._ready
        for job in jobs:
            self._num_pending -= 1
            self._pending_steps -= job.steps
            steps = job.steps if signature.num_xs else 0
            self._pending_bytes -= signature.num_bytes + steps * signature.step_bytes
            for dependent in job.dependents:
                dependent.waiting -= 1
                if not dependent.waiting:
                    group = ready.get(dependent.signature)
                    if group is None:
                        ready[dependent.signature] = [dependent]
                    else:
                        group.append(dependent)

    def _run_alone(self, job: Job) -> None:
        signature = job.signature
        leaves = [
            _ragged_alone(leaf, signature, place) if place in signature.ragged else tensor_of(leaf)
            for place, leaf in _places(job)
        ]
        if signature.num_xs:
            results: Sequence[Tensor] = leaves[: signature.num_carry]
            constants = leaves[signature.num_carry :]
            for step in range(job.steps):
                results = signature.run(*results, *(x[step] for x in job.xs), *constants)
        else:
            results = signature.run(*leaves)
        self.num_calls += job.steps
        for output, result in zip(job.outputs, results):
            output.base = _owned(result)
            output.job = None
        _forget(job)

    def _run_group(self, signature: Signature, jobs: list[Job]) -> None:
        padded = jobs + [jobs[-1]] * (MIN_ROWS - len(jobs))
        leaves = [
            gather_ragged([job.leaves[i] for job in padded], *_ragged_shape(signature, place))
            if place in signature.ragged
            else gather([job.leaves[i] for job in padded])
            for i, (place, _) in enumerate(_places(jobs[0]))
        ]
        if not signature.num_xs:
            self.num_calls += 1
            self._hand_out(self._call(signature, leaves), jobs, 0)
            return
        steps = [job.steps for job in padded]
        active = [sum(length > step for length in steps) for step in range(steps[0])]
        active = [max(MIN_ROWS, num) for num in active] if len(jobs) >= MIN_ROWS else active
        self._run_scan(signature, jobs, padded, leaves)

    def _run_scan(self, signature: Signature, jobs: list[Job], padded: list[Job], leaves: list[Tensor]) -> None:
        raise NotImplementedError

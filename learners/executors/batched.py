"""Many devices at a time: recorded jobs of equal signature run as one `torch.func.vmap` call, the largest group first.

On-the-fly batching: Neubig et al., "On-the-fly operation batching in dynamic computation graphs", NeurIPS 2017
(arXiv 1705.07860). Results do not depend on the groups: an op is either always batched or always looped, groups of fewer
than 4 are filled up by repeating a row, and rows of a batched call do not depend on their number from 4 upwards (a contract
test of every op). So neither the window nor the order of events changes a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op
from learners.executors.blocks import Blocks
from learners.executors.calls import Calls
from learners.executors.gather import Column, RaggedColumn, gather, gather_steps, tensor_of
from learners.signature import Signature
from learners.values import Deferred

MIN_ROWS = 4
"""Smallest group: below it, kernels for single matrices may round differently."""

ALIGNMENT = 64
"""Bytes; what torch gives to every new tensor."""


def rows_for(n: int) -> int:
    """Rows of the batched call for a group of n: a multiple of 4, of 16 above 128. So few sizes occur that recorded calls
    are found again; the rows to spare repeat others."""
    step = MIN_ROWS if n <= 128 else 16
    return -(-n // step) * step


class Job:
    """A recorded call, or a whole scan (xs given)."""

    __slots__ = ("dependents", "leaves", "mark", "outputs", "signature", "steps", "waiting", "xs")

    def __init__(
        self,
        signature: Signature,
        leaves: list[Any],
        outputs: list[Deferred],
        xs: Sequence[Tensor] = (),
        steps: int = 1,
    ) -> None:
        self.signature = signature
        self.leaves = leaves  # for a scan: carry, then constants
        self.outputs = outputs
        self.xs = xs
        self.steps = steps
        self.waiting = 0  # arguments that are not computed yet
        self.dependents: list[Job] = []
        self.mark = 0


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
        self._mark = 0
        self._calls = Calls()
        self._blocks = Blocks()

    # -- recording ----------------------------------------------------------------------------------------------------

    def lift(self, tensor: Tensor) -> Deferred:
        return Deferred(self, (tensor.shape, tensor.dtype), tensor)

    def call(self, op: Op, args: Sequence[Any]) -> Any:
        return self.recorded(*op.signature(args))

    def recorded(self, signature: Signature, leaves: list[Any]) -> Any:
        outputs = [Deferred(self, key) for key in signature.outputs]
        self._record(Job(signature, leaves, outputs), signature.num_bytes)
        return outputs[0] if signature.single else tuple(outputs)

    def scan(self, op: Op, carry: Any, xs: Sequence[Tensor], consts: Sequence[Any]) -> Any:
        steps = op.scan.num_steps(xs)
        return self.recorded_scan(*op.scan_signature(carry, xs, consts), xs, steps) if steps else carry

    def recorded_scan(
        self, signature: Signature, carries: list[Any], constants: list[Any], xs: Sequence[Tensor], steps: int
    ) -> Any:
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
                self._run(max(self._ready, key=self._urgency))
        self._blocks.compact()

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
                signature = max(wanted, key=self._urgency)
                left -= sum(job.mark == mark for job in self._ready[signature])
                self._run(signature)
        self._blocks.compact()

    def _urgency(self, signature: Signature) -> tuple[bool, int]:
        """The largest group is run first; last of all what nothing depends on, since more of it may become ready."""
        jobs = self._ready[signature]
        return any(job.dependents for job in jobs), len(jobs)

    # -- executing ----------------------------------------------------------------------------------------------------

    def _run(self, signature: Signature) -> None:
        """All ready jobs of one signature, in groups that fit into live_bytes."""
        jobs = self._ready.pop(signature)
        try:
            if signature.op.loop:
                for job in jobs:
                    self._run_alone(job)
            else:
                _sort(jobs)
                size = max(MIN_ROWS, self.live_bytes // max(1, signature.peak_bytes))
                for start in range(0, len(jobs), size):
                    self._run_group(signature, jobs[start : start + size])
        except Exception as error:
            raise RuntimeError(
                f"op {signature.op.name} fails in a group of {len(jobs)} on arguments {signature.describe()}: {error}"
            ) from error
        ready = self._ready
        for job in jobs:
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
            _aligned(_one_ragged(signature, place, leaf) if place in signature.ragged else tensor_of(leaf))
            for place, leaf in zip(_places(signature), job.leaves)
        ]
        if signature.num_xs:
            results: Sequence[Tensor] = leaves[: signature.num_carry]
            constants = leaves[signature.num_carry :]
            for step in range(job.steps):
                inputs = [_aligned(x[step]) for x in job.xs]
                results = self._call(signature, [*results, *inputs, *constants], recurs=step + 1 < job.steps)
        else:
            results = self._call(signature, leaves)
        for output, result in zip(job.outputs, results):
            output.base = result
            output.job = None
        job.leaves, job.xs = [], ()

    def _run_group(self, signature: Signature, jobs: list[Job]) -> None:
        """In calls of `Signature.rows_per_call` at most, so that what they make stays in the cache."""
        columns = [
            RaggedColumn([job.leaves[i] for job in jobs], *_ragged_shape(signature, place))
            if place in signature.ragged
            else Column([job.leaves[i] for job in jobs])
            for i, place in enumerate(_places(signature))
        ]
        num_calls = -(-len(jobs) // signature.rows_per_call)
        size = rows_for(-(-len(jobs) // num_calls))
        parts: list[list[Tensor]] = []
        for start in range(0, len(jobs), size):
            part = jobs[start : start + size]
            num_rows = rows_for(len(part))
            leaves = [column.take(start, start + len(part), num_rows) for column in columns]
            if signature.num_xs:
                self._run_scan(signature, part, num_rows, leaves)
            else:
                parts.append(self._call(signature, leaves))
        if parts:
            self._hand_out([torch.cat(pieces) if len(pieces) > 1 else pieces[0] for pieces in zip(*parts)], jobs, 0)

    def _run_scan(self, signature: Signature, jobs: list[Job], rows: int, leaves: list[Tensor]) -> None:
        """All steps of a group of scans, longest first: step s runs the rows that are not done (see `rows_for`)."""
        carry = [part if part.stride(0) else part.contiguous() for part in leaves[: signature.num_carry]]
        constants = leaves[signature.num_carry :]
        padded = jobs + jobs[-1:] * (rows - len(jobs))
        lengths = [job.steps for job in padded]
        xs = [gather_steps([job.xs[i] for job in padded], lengths, rows_for) for i in range(signature.num_xs)]
        left = len(jobs)
        for step in range(lengths[0]):
            inputs = [x[step] for x in xs]
            if len(inputs[0]) < rows:
                rows = len(inputs[0])
                carry = [part[:rows] for part in carry]
                constants = [part[:rows] for part in constants]
            carry = self._call(signature, [*carry, *inputs, *constants], recurs=step + 1 < lengths[0])
            done = left
            while left and lengths[left - 1] == step + 1:
                left -= 1
            if left < done:
                self._hand_out(carry, jobs[left:done], left)

    def _call(self, signature: Signature, leaves: list[Tensor], recurs: bool = False) -> list[Tensor]:
        self.num_calls += 1
        return self._calls(signature, leaves, recurs)

    def _hand_out(self, results: Sequence[Tensor], jobs: list[Job], first_row: int) -> None:
        """Row first_row + i of the results becomes the value of job i."""
        for number, base in enumerate(results):
            values = [job.outputs[number] for job in jobs]
            for row, value in enumerate(values, first_row):
                value.base = base
                value.row = row
                value.job = None
            self._blocks.add(base, values)
        for job in jobs:
            job.leaves, job.xs = [], ()


def _sort(jobs: list[Job]) -> None:
    """Longest scans first; then as their first arguments lie, so that they need not be copied."""
    bases: dict[int, int] = {}

    def order(job: Job) -> tuple[int, int, int]:
        first = job.leaves[0] if job.leaves else None
        if type(first) is not Deferred or first.row is None:
            return -job.steps, -1, 0
        return -job.steps, bases.setdefault(id(first.base), len(bases)), first.row

    jobs.sort(key=order)


def _places(signature: Signature) -> list[int]:
    """The leaves that a job holds, as positions in the signature: all but the xs of a scan."""
    num_carry, num_xs = signature.num_carry, signature.num_xs
    return [place for place in range(len(signature.leaf_keys)) if not num_carry <= place < num_carry + num_xs]


def _ragged_shape(signature: Signature, place: int) -> tuple[int, Sequence[int], torch.dtype]:
    shape, dtype = signature.leaf_keys[place]
    return shape[0], shape[1:], dtype


def _one_ragged(signature: Signature, place: int, leaf: Any) -> Tensor:
    return RaggedColumn([leaf], *_ragged_shape(signature, place)).take(0, 1, 1)[0]


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor at an address as if it were alone: what a matrix kernel rounds may depend on it."""
    return (
        tensor
        if tensor.data_ptr() % ALIGNMENT == 0 and tensor.is_contiguous()
        else tensor.clone(memory_format=torch.contiguous_format)
    )

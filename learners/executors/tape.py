"""Tapes: a batched call recorded once as a flat list of kernels, and replayed for any number of rows without the layers
that led to them.

`vmap(grad(f))` spends a good part of its time in Python and in the dispatcher. Recording notes every kernel that is
called at the bottom, with where its arguments come from; replaying calls the same kernels on new arguments of the same
strides. What nobody needs is left out, what depends on constants alone is kept, and an elementwise kernel writes over an
operand that is needed no more. Kernels and operands are the recorded ones, so a replayed call equals the recorded one bit
for bit (a contract test).

A call is recorded twice, with `NUM_ROWS` rows. What the two recordings have in common is the tape; a size that differs
between them has to be a multiple of the number of rows, and is scaled when the tape is replayed. A call of one job alone
is recorded twice as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from learners.executors.native import NATIVE
from learners.executors.passes import (
    Slot,
    Step,
    large_slots,
    needed,
    note_last_uses,
    split_constants,
    use_fills,
    use_maxima,
    use_take_rows,
    without_identities,
    write_over,
)
from learners.trial import depends_on_values

NUM_ROWS = (11, 13)
"""Of the two recordings of a call: primes, since a size of the op that is equal to one of them may keep it from being
replayed."""

MAX_TEMPLATES = 64
"""Numbers of rows for which a tape keeps its constants ready."""


class NotReplayable(Exception):
    """A call whose kernels depend on values, or on the number of rows in another way than by multiples of it."""


class Recorder(TorchDispatchMode):
    """Notes the kernels called while it is active. `tensors` keeps every tensor seen, by slot; the inputs come first."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []
        self.steps: list[Step] = []
        self.made: set[Slot] = set()  # by a step; what is neither made nor an input is a constant
        self.replayable = True
        self._slots: dict[int, Slot] = {}
        self.inputs = [self.slot(tensor) for tensor in inputs]

    def slot(self, tensor: Tensor) -> Slot:
        slot = self._slots.get(id(tensor))
        if slot is None:
            slot = self._slots[id(tensor)] = Slot(len(self.tensors))
            self.tensors.append(tensor)
        return slot

    def _noted(self, arg: Any) -> Any:
        if isinstance(arg, Tensor):
            return self.slot(arg)
        return [self._noted(part) for part in arg] if isinstance(arg, (list, tuple)) else arg

    def _made(self, tensor: Tensor) -> Slot:
        known = id(tensor) in self._slots
        slot = self.slot(tensor)
        if not known:
            self.made.add(slot)
        return slot

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        noted_args = [self._noted(arg) for arg in args]
        noted_kwargs = {key: self._noted(arg) for key, arg in kwargs.items()}
        lists = any(isinstance(arg, list) for arg in noted_kwargs.values()) or _too_deep(noted_args)
        if depends_on_values(func, args) or lists:
            self.replayable = False
        elif func is torch.ops.aten.lift_fresh.default:
            self.slot(result)  # its argument, made of Python's or NumPy's numbers: a constant
        elif isinstance(result, Tensor):
            self.steps.append(Step(func, noted_args, noted_kwargs, self._made(result)))
        elif isinstance(result, (tuple, list)) and all(isinstance(part, Tensor) or part is None for part in result):
            parts = [torch.empty(0) if part is None else part for part in result]  # a gradient that nobody asked for
            self.steps.append(Step(func, noted_args, noted_kwargs, [self._made(part) for part in parts]))
        else:
            self.replayable = False
        return result


def _too_deep(args: list[Any]) -> bool:
    """Lists of lists hold no tensors in the kernels met so far, and a tape does not look for any there."""
    return any(isinstance(part, list) for arg in args if isinstance(arg, list) for part in arg)


class Recording:
    """The kernels of one call, shortened. `prelude`: steps that read no input and whose results are kept.
    `large`: results that are too large to be kept, if another recording says so. `constants`: tensors that were there before,
    by slot; no others stay alive."""

    def __init__(
        self,
        fn: Callable[..., Sequence[Tensor]],
        leaves: Sequence[Tensor],
        num_rows: int | None,
        large: frozenset[Slot] | None = None,
    ) -> None:
        inputs = [leaf.detach() if num_rows is None else _with_rows(leaf, num_rows) for leaf in leaves]
        recorder = Recorder(inputs)
        versions = [tensor._version for tensor in inputs]
        with recorder:
            results = fn(*inputs)
        if [tensor._version for tensor in inputs] != versions:
            raise RuntimeError("it writes into its arguments in place: ops are pure functions")
        if not recorder.replayable:
            raise NotReplayable
        tensors, self.inputs, made = recorder.tensors, recorder.inputs, recorder.made
        self.outputs = [recorder.slot(tensor) for tensor in results]
        self.num_recorded = len(recorder.steps)
        steps, self.large = recorder.steps, large
        self.prelude: list[Step] = []
        writes = any(step.mutates for step in steps)
        if not writes:
            steps, self.outputs = without_identities(steps, tensors, self.outputs)
            use_fills(steps, tensors)
            self.large = large_slots(steps, tensors) if large is None else large
            steps, self.prelude = split_constants(steps, self.inputs, self.large, made)
        self.steps = needed(steps, self.outputs)
        use_take_rows(self.steps, tensors)
        use_maxima(self.steps, tensors, self.outputs)
        note_last_uses(self.steps, self.outputs, made)
        if not writes:
            write_over(self.steps, tensors, self.outputs, made)
        used = {slot for step in self.steps for slot in step.slots()} | set(self.outputs)
        self.prelude = needed(self.prelude, list(used))
        used |= {slot for step in self.prelude for slot in step.slots()}
        kept = {slot for step in self.prelude for slot in step.out_slots}
        before = sorted(used - made - kept - set(self.inputs))
        self.num_slots, self.constants = len(tensors), {slot: tensors[slot] for slot in before}


def _with_rows(leaf: Tensor, num_rows: int) -> Tensor:
    """The first row of leaf, repeated, with leaf's strides."""
    rows = torch.empty_strided((num_rows, *leaf.shape[1:]), leaf.stride(), dtype=leaf.dtype)
    return rows.copy_(leaf[:1].expand_as(rows)) if leaf.stride(0) else leaf[:1].expand_as(rows)


@dataclass(frozen=True)
class Rows:
    """A size: so many times the number of rows."""

    times: int


def common(first: Any, second: Any) -> Any:
    """What two recordings have in common, with `Rows` for sizes that differ. Raises NotReplayable."""
    if type(first) is not type(second):
        raise NotReplayable
    if isinstance(first, Step):
        names = ("kernel", "args", "kwargs", "outs", "drops")
        return Step(*(common(getattr(first, name), getattr(second, name)) for name in names))
    if isinstance(first, list):
        if len(first) != len(second):
            raise NotReplayable
        return [common(a, b) for a, b in zip(first, second)]
    if isinstance(first, dict):
        if first != second:
            raise NotReplayable
        return first
    if isinstance(first, Tensor):
        if first is not second and not (first.shape == second.shape and torch.equal(first, second)):
            raise NotReplayable
        return first
    if type(first) is int and first != second:
        times = first // NUM_ROWS[0]
        if (times * NUM_ROWS[0], times * NUM_ROWS[1]) != (first, second):
            raise NotReplayable
        return Rows(times)
    if first != second and (first == first or second == second):  # a NaN is like another
        raise NotReplayable
    return first


def scaled(value: Any, num_rows: int) -> Any:
    """The value for so many rows."""
    if isinstance(value, list):
        return [scaled(part, num_rows) for part in value]
    return value.times * num_rows if isinstance(value, Rows) else value


def _has_rows(value: Any) -> bool:
    return any(_has_rows(part) for part in value) if isinstance(value, list) else isinstance(value, Rows)


Instruction = tuple[Any, Any, Any, Any, Any]
"""Function, getter of its arguments, kwargs, out slot or slots, dropped slots."""


class Tape:
    """A recorded call `fn`, ready to be replayed on inputs [n, ...] of the strides of `leaves`, for any n; without `rows`, on
    inputs of the shapes and strides of `leaves`. Raises NotReplayable."""

    def __init__(self, fn: Callable[..., Sequence[Tensor]], leaves: Sequence[Tensor], rows: bool = True) -> None:
        self._rows = rows
        first = Recording(fn, leaves, NUM_ROWS[0] if rows else None)
        second = Recording(fn, leaves, NUM_ROWS[1] if rows else None, first.large)
        self.num_recorded = first.num_recorded
        self._inputs = first.inputs
        self._outputs = common(first.outputs, second.outputs)
        self._template: list[Any] = [None] * first.num_slots
        for slot in common(list(first.constants), list(second.constants)):
            self._template[slot] = common(first.constants[slot], second.constants[slot])
        self._sized: list[tuple[Slot, Any]] = []
        steps, prelude = common(first.steps, second.steps), common(first.prelude, second.prelude)
        self.num_steps = len(steps)
        self._program = [instruction for step in steps for instruction in self._instructions(step)]
        self._prelude = [instruction for step in prelude for instruction in self._instructions(step)]
        self._templates: dict[int, list[Any]] = {}

    def _constant(self, value: Any) -> Slot:
        slot = Slot(len(self._template))
        self._template.append(value)
        if _has_rows(value):
            self._sized.append((slot, value))
        return slot

    def _instructions(self, step: Step) -> list[Instruction]:
        """Of one step; lists of tensors among its arguments are made first."""
        made: list[Instruction] = []
        places: list[Slot] = []
        drops = list(step.drops)
        for arg in step.args:
            if isinstance(arg, list) and any(type(part) is Slot for part in arg):
                parts = [part if type(part) is Slot else self._constant(part) for part in arg]
                arg = self._constant(None)
                made.append((_as_list, itemgetter(*parts, parts[0]), None, int(arg), ()))
                drops.append(arg)
            places.append(arg if type(arg) is Slot else self._constant(arg))
        getter = itemgetter(*places) if len(places) > 1 else int(places[0])  # itemgetter of one place gives no tuple
        outs = int(step.outs) if isinstance(step.outs, Slot) else [int(slot) for slot in step.outs]
        tensors_by_name = {key: int(arg) for key, arg in step.kwargs.items() if type(arg) is Slot}
        plain = {key: arg for key, arg in step.kwargs.items() if type(arg) is not Slot}
        kernel = NATIVE.get(step.kernel, step.kernel)
        made.append((kernel, getter, (plain, tensors_by_name) if step.kwargs else None, outs, drops))
        return made

    def replay(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs for other inputs."""
        num_rows = len(inputs[0]) if self._rows else 1
        values = (self._templates.get(num_rows) or self._make_template(num_rows)).copy()
        for slot, tensor in zip(self._inputs, inputs):
            values[slot] = tensor
        _run(self._program, values)
        return tuple(values[slot] for slot in self._outputs)

    def _make_template(self, num_rows: int) -> list[Any]:
        """All that is known before the inputs are."""
        template = self._template.copy()
        for slot, value in self._sized:
            template[slot] = scaled(value, num_rows)
        _run(self._prelude, template)
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        self._templates[num_rows] = template
        return template


def _run(program: list[Instruction], values: list[Any]) -> None:
    """Call the kernels one after the other on the values in their slots."""
    for kernel, getter, kwargs, outs, drops in program:
        arguments = (values[getter],) if type(getter) is int else getter(values)
        if kwargs is None:
            result = kernel(*arguments)
        else:
            plain, by_name = kwargs
            result = kernel(*arguments, **plain, **{key: values[slot] for key, slot in by_name.items()})
        if type(outs) is int:
            values[outs] = result
        else:
            for slot, part in zip(outs, result):
                values[slot] = part
        arguments = result = None
        for slot in drops:
            values[slot] = None


def _as_list(*parts: Any) -> list[Any]:
    return list(parts[:-1])

"""Tapes: a batched call recorded once as a flat list of kernels, and replayed without the layers that led to them.

`vmap(grad(f))` spends a good part of its time in Python and in the dispatcher. Recording notes every kernel that is
called at the bottom, with where its arguments come from; replaying calls the same kernels on new arguments of the same
shapes and strides. What nobody needs is left out, what depends on constants alone is kept, and an elementwise kernel writes
over an operand that is needed no more. Kernels and operands are the recorded ones, so a replayed call equals the recorded
one bit for bit (a contract test).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from learners.executors.passes import (
    Slot,
    Step,
    needed,
    note_last_uses,
    use_take_rows,
    without_constants,
    without_identities,
    write_over,
)

aten = torch.ops.aten

VALUE_DEPENDENT = {aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default}
"""Kernels through which numbers reach Python or shapes: what follows them may differ in the next call."""


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
        if func in VALUE_DEPENDENT or _too_deep(noted_args) or any(isinstance(x, list) for x in noted_kwargs.values()):
            self.replayable = False
        elif isinstance(result, Tensor):
            self.steps.append(Step(func, noted_args, noted_kwargs, self._made(result)))
        elif isinstance(result, (tuple, list)) and all(isinstance(part, Tensor) for part in result):
            self.steps.append(Step(func, noted_args, noted_kwargs, [self._made(part) for part in result]))
        else:
            self.replayable = False
        return result


def _too_deep(args: list[Any]) -> bool:
    """Lists of lists hold no tensors in the kernels met so far, and a tape does not look for any there."""
    return any(isinstance(part, list) for arg in args if isinstance(arg, list) for part in arg)


class Tape:
    """A recorded call, ready to be replayed on inputs of the same shapes, dtypes and strides."""

    def __init__(self, recorder: Recorder, outputs: Sequence[Tensor]) -> None:
        tensors = recorder.tensors
        steps = recorder.steps
        self.num_recorded = len(steps)
        self._outputs = [recorder.slot(tensor) for tensor in outputs]
        self._inputs = recorder.inputs
        if not any(step.mutates for step in steps):
            steps, self._outputs = without_identities(steps, tensors, self._outputs)
            steps = without_constants(steps, self._inputs, tensors, recorder.made)
        steps = needed(steps, self._outputs)
        use_take_rows(steps, tensors)
        note_last_uses(steps, self._outputs, recorder.made)
        if not any(step.mutates for step in steps):
            write_over(steps, tensors, self._outputs, recorder.made)
        self.num_steps = len(steps)
        used = {slot for step in steps for slot in step.slots()} | set(self._outputs)
        self._template: list[Any] = [
            tensor if slot in used and slot not in recorder.made and slot not in self._inputs else None
            for slot, tensor in enumerate(tensors)
        ]
        self._program = [instruction for step in steps for instruction in self._instructions(step)]

    def _constant(self, value: Any) -> Slot:
        self._template.append(value)
        return Slot(len(self._template) - 1)

    def _instructions(self, step: Step) -> list[tuple[Any, ...]]:
        """(function, getter of its arguments, kwargs, out slot or slots, dropped slots). Lists of tensors are made first."""
        made: list[tuple[Any, ...]] = []
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
        made.append((step.kernel, getter, (plain, tensors_by_name) if step.kwargs else None, outs, drops))
        return made

    def replay(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs for other inputs."""
        values = self._template.copy()
        for slot, tensor in zip(self._inputs, inputs):
            values[slot] = tensor
        for kernel, getter, kwargs, outs, drops in self._program:
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
        return tuple(values[slot] for slot in self._outputs)


def _as_list(*parts: Any) -> list[Any]:
    return list(parts[:-1])

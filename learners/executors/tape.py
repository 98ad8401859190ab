"""Tapes: a batched call recorded once as a flat list of kernels, and replayed without the layers that led to them.

`vmap(grad(f))` spends a good part of its time in Python and in the dispatcher. Recording notes every kernel that is
called at the bottom, with where its arguments come from; replaying calls the same kernels on new arguments of the same
shapes and strides. What nobody needs is left out, what depends on constants alone is kept, and an elementwise kernel writes
over an operand that is needed no more. Kernels and operands are the recorded ones, so a replayed call equals the recorded
one bit for bit (a contract test).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

MAX_KEPT_BYTES = 1 << 16
"""Results that depend on constants alone are kept up to this size, else computed each time."""

aten = torch.ops.aten

WRITES_OVER = {
    aten.add.Tensor: aten.add.out,
    aten.sub.Tensor: aten.sub.out,
    aten.mul.Tensor: aten.mul.out,
    aten.div.Tensor: aten.div.out,
    aten.exp.default: aten.exp.out,
    aten.neg.default: aten.neg.out,
    aten.threshold_backward.default: aten.threshold_backward.grad_input,
}
"""Elementwise kernels with a variant that writes into a given tensor."""

IN_PLACE = {aten.relu.default: aten.relu_.default}
"""Elementwise kernels with a variant that writes over its first operand."""

VALUE_DEPENDENT = {aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default}
"""Kernels through which numbers reach Python or shapes: what follows them may differ in the next call."""


class Slot(int):
    """Where a tensor of the tape is kept during a replay."""


@dataclass
class Step:
    """One kernel call: Slots stand for tensors in args and kwargs. outs: one slot, or one for each tensor of a list."""

    kernel: Any
    args: list[Any]
    kwargs: dict[str, Any]
    outs: Slot | list[Slot]
    drops: list[Slot] = field(default_factory=list)

    @property
    def mutates(self) -> bool:
        schema = getattr(self.kernel, "_schema", None)
        return schema is not None and schema.is_mutable

    @property
    def out_slots(self) -> list[Slot]:
        return [self.outs] if isinstance(self.outs, Slot) else self.outs

    def slots(self) -> list[Slot]:
        """Slots that it reads, repeated as they occur."""
        found: list[Slot] = []
        for arg in (*self.args, *self.kwargs.values()):
            if type(arg) is Slot:
                found.append(arg)
            elif isinstance(arg, list):
                found.extend(part for part in arg if type(part) is Slot)
        return found

    def rename(self, names: dict[Slot, Slot]) -> None:
        def renamed(arg: Any) -> Any:
            if type(arg) is Slot:
                return names.get(arg, arg)
            return [renamed(part) for part in arg] if isinstance(arg, list) else arg

        self.args = [renamed(arg) for arg in self.args]
        self.kwargs = {key: renamed(arg) for key, arg in self.kwargs.items()}


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
            steps, self._outputs = _without_identities(steps, tensors, self._outputs)
            steps = _without_constants(steps, recorder)
        steps = _needed(steps, self._outputs)
        _take_rows(steps, tensors)
        _note_last_uses(steps, self._outputs, recorder.made)
        if not any(step.mutates for step in steps):
            _write_over(steps, tensors, self._outputs, recorder.made)
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


def take_rows(table: Tensor, indices: list[Tensor]) -> Tensor:
    """table[indices] of one index tensor, by the faster kernel where it applies (it knows no negative indices)."""
    try:
        return table.index_select(0, indices[0].reshape(-1)).view(*indices[0].shape, *table.shape[1:])
    except (IndexError, RuntimeError):
        return aten.index.Tensor(table, indices)


# -- passes -----------------------------------------------------------------------------------------------------------


def _without_identities(steps: list[Step], tensors: list[Tensor], outputs: list[Slot]) -> tuple[list[Step], list[Slot]]:
    """Leave out views that exist already (detach, expand to the same shape, a transpose of a transpose, ...)."""
    names: dict[Slot, Slot] = {}
    views: dict[Any, Slot] = {}
    roots: dict[
        Slot, Slot
    ] = {}  # of what each tensor is a view, itself at first; two inputs may lie at one place by chance
    kept = []
    for step in steps:
        step.rename(names)
        source = step.args[0] if step.args and type(step.args[0]) is Slot else None
        if source is not None and isinstance(step.outs, Slot) and _shares_memory(tensors[source], tensors[step.outs]):
            root = roots.setdefault(source, source)
            views.setdefault((root, _view(tensors[source])), source)
            known = views.setdefault((root, _view(tensors[step.outs])), step.outs)
            roots[step.outs] = root
            if known != step.outs:
                names[step.outs] = known
                continue
        kept.append(step)
    return kept, [names.get(slot, slot) for slot in outputs]


def _view(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _shares_memory(a: Tensor, b: Tensor) -> bool:
    return a.numel() > 0 and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _without_constants(steps: list[Step], recorder: Recorder) -> list[Step]:
    """Leave out steps that read no input, directly or not, where their results are small enough to keep."""
    varying = set(recorder.inputs)
    kept = []
    for step in steps:
        outs = step.out_slots
        small = sum(recorder.tensors[slot].untyped_storage().nbytes() for slot in outs) <= MAX_KEPT_BYTES
        if small and varying.isdisjoint(step.slots()):
            recorder.made.difference_update(outs)
        else:
            varying.update(outs)
            kept.append(step)
    return kept


def _needed(steps: list[Step], outputs: list[Slot]) -> list[Step]:
    """Leave out steps whose results nobody reads; what writes in place stays."""
    read = set(outputs)
    kept = []
    for step in reversed(steps):
        if step.mutates or not read.isdisjoint(step.out_slots):
            read.update(step.slots())
            kept.append(step)
    return kept[::-1]


def _take_rows(steps: list[Step], tensors: list[Tensor]) -> None:
    """Rows of a table by one integer index tensor: a copy of the same numbers, several times as fast."""
    for step in steps:
        if step.kernel is aten.index.Tensor and len(step.args[1]) == 1:
            index = tensors[step.args[1][0]]
            if index.dtype == torch.int64 and isinstance(step.outs, Slot) and tensors[step.outs].is_contiguous():
                step.kernel = take_rows


def _note_last_uses(steps: list[Step], outputs: list[Slot], made: set[Slot]) -> None:
    """Let go of each tensor after its last use, so that its memory is used again while it is in the cache."""
    later = set(outputs)
    for step in reversed(steps):
        for slot in {*step.slots(), *step.out_slots} - later:
            later.add(slot)
            if slot in made:
                step.drops.append(slot)


def _write_over(steps: list[Step], tensors: list[Tensor], outputs: list[Slot], made: set[Slot]) -> None:
    """Let elementwise steps write over an operand whose memory nobody reads later."""
    storage = [tensor.untyped_storage().data_ptr() for tensor in tensors]
    fixed = {storage[slot] for slot in (*outputs, *(Slot(i) for i in range(len(tensors)) if Slot(i) not in made))}
    last_read: dict[int, int] = {}
    for number, step in enumerate(steps):
        for slot in step.slots():
            last_read[storage[slot]] = number
    for number, step in enumerate(steps):
        in_place = step.kernel in IN_PLACE
        variant = IN_PLACE[step.kernel] if in_place else WRITES_OVER.get(step.kernel)
        if variant is None or not isinstance(step.outs, Slot):
            continue
        out = tensors[step.outs]
        operands = step.slots()
        for slot in operands:
            tensor, place = tensors[slot], storage[slot]
            alone = all(other == slot for other in operands if storage[other] == place)
            if (
                alone
                and place not in fixed
                and last_read[place] == number
                and tensor.dtype == out.dtype
                and tensor.shape == out.shape
                and tensor.stride() == out.stride()
                and tensor.untyped_storage().nbytes() == out.nbytes
            ):
                step.kernel = variant
                if in_place:
                    break
                out_name = "grad_input" if variant is aten.threshold_backward.grad_input else "out"
                step.kwargs = {**step.kwargs, out_name: slot}
                break

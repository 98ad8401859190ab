"""Shortening a recorded call: the steps of a tape and what can be left out of them without changing a bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

MAX_KEPT_BYTES = 1 << 14
"""Results that depend on constants alone are kept up to this size (in a recording, which has few rows), else computed
each time."""

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


FILLS = {
    aten.zeros_like.default: 0,
    aten.ones_like.default: 1,
    aten.new_zeros.default: 0,
    aten.new_ones.default: 1,
}
"""Kernels that read nothing but the shape of their first operand."""


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


def without_identities(steps: list[Step], tensors: list[Tensor], outputs: list[Slot]) -> tuple[list[Step], list[Slot]]:
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


def use_fills(steps: list[Step], tensors: list[Tensor]) -> None:
    """Let kernels that read no numbers depend on no tensor: they are constants, and what they were given is not needed."""
    for step in steps:
        if step.kernel in FILLS and isinstance(step.outs, Slot) and tensors[step.outs].is_contiguous():
            out = tensors[step.outs]
            step.args = [list(out.shape), FILLS[step.kernel], out.dtype, out.device]
            step.kernel, step.kwargs = filled, {}


def filled(shape: list[int], value: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of one number."""
    return torch.full(shape, value, dtype=dtype, device=device)


def large_slots(steps: list[Step], tensors: list[Tensor]) -> frozenset[Slot]:
    """Results of more than MAX_KEPT_BYTES."""
    slots = (slot for step in steps for slot in step.out_slots)
    return frozenset(slot for slot in slots if tensors[slot].untyped_storage().nbytes() > MAX_KEPT_BYTES)


def split_constants(
    steps: list[Step], inputs: list[Slot], large: frozenset[Slot], made: set[Slot]
) -> tuple[list[Step], list[Step]]:
    """Take out the steps that read no input, directly or not, and give nothing large: the steps that stay, and those whose
    results are kept."""
    varying = set(inputs)
    staying = []
    kept = []
    for step in steps:
        outs = step.out_slots
        if varying.isdisjoint(step.slots()) and large.isdisjoint(outs):
            made.difference_update(outs)
            kept.append(step)
        else:
            varying.update(outs)
            staying.append(step)
    return staying, kept


def needed(steps: list[Step], outputs: list[Slot]) -> list[Step]:
    """Leave out steps whose results nobody reads; what writes in place stays."""
    read = set(outputs)
    kept = []
    for step in reversed(steps):
        if step.mutates or not read.isdisjoint(step.out_slots):
            read.update(step.slots())
            kept.append(step)
    return kept[::-1]


def use_take_rows(steps: list[Step], tensors: list[Tensor]) -> None:
    """Rows of a table by one integer index tensor: a copy of the same numbers, several times as fast."""
    for step in steps:
        if step.kernel is aten.index.Tensor and len(step.args[1]) == 1:
            index = tensors[step.args[1][0]]
            if index.dtype == torch.int64 and isinstance(step.outs, Slot) and tensors[step.outs].is_contiguous():
                step.kernel, step.args = take_rows, [step.args[0], step.args[1][0]]


def use_maxima(steps: list[Step], tensors: list[Tensor], outputs: list[Slot]) -> None:
    """Maxima over 2 x 2 pixels of which nobody wants to know where they were (no gradient): the same numbers, in a tenth of
    the time."""
    read = {slot for step in steps for slot in step.slots()} | set(outputs)
    for step in steps:
        if step.kernel is aten.max_pool2d_with_indices.default and isinstance(step.outs, list):
            values, indices = step.outs
            image, *window = step.args
            plain = window in ([[2, 2]], [[2, 2], [2, 2]]) and not step.kwargs  # stride 2 at both, no padding
            tensor = tensors[image]
            even = tensor.shape[-2] % 2 == tensor.shape[-1] % 2 == 0
            if plain and even and tensor.is_contiguous() and indices not in read:
                step.kernel, step.args, step.outs = maxima, [image], values


def note_last_uses(steps: list[Step], outputs: list[Slot], made: set[Slot]) -> None:
    """Let go of each tensor after its last use, so that its memory is used again while it is in the cache."""
    later = set(outputs)
    for step in reversed(steps):
        for slot in {*step.slots(), *step.out_slots} - later:
            later.add(slot)
            if slot in made:
                step.drops.append(slot)


def write_over(steps: list[Step], tensors: list[Tensor], outputs: list[Slot], made: set[Slot]) -> None:
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


def take_rows(table: Tensor, index: Tensor) -> Tensor:
    """table[index], by the faster kernel where it applies (it knows no negative indices)."""
    try:
        return table.index_select(0, index.reshape(-1)).view(*index.shape, *table.shape[1:])
    except (IndexError, RuntimeError):
        return aten.index.Tensor(table, [index])


def maxima(image: Tensor) -> Tensor:
    """Maxima over 2 x 2 pixels. image: [..., height, width], contiguous, both even."""
    *channels, height, width = image.shape
    upper, lower = image.view(*channels, height // 2, 2, width).unbind(-2)
    left, right = torch.maximum(upper, lower).view(*channels, height // 2, width // 2, 2).unbind(-1)
    return torch.maximum(left, right)

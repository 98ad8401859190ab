"""Trial runs: what one call of an op returns and costs (FLOPs, bytes, kernels), found by running it once without its data.

Small calls are tried on zeros, large ones on fake tensors, which have shapes and no numbers: a small op takes its kernels a
tenth of the time that faking them takes, a large one would take the time and the memory of its arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from learners.values import TensorKey

SMALL_BYTES = 1 << 20
"""Of the arguments of a call that is tried on zeros."""

VALUE_DEPENDENT = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
"""Tags of kernels through which numbers reach Python or shapes."""


def depends_on_values(kernel: Any, args: Sequence[Any]) -> bool:
    """Of indexing, torch tags all; only masks give shapes that depend on values."""
    if not _tagged(kernel):
        return False
    if kernel is not torch.ops.aten.index.Tensor:
        return True
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


@cache
def _tagged(kernel: Any) -> bool:
    """Whether a kernel has one of these tags, which torch takes its time to tell."""
    return any(tag in kernel.tags for tag in VALUE_DEPENDENT)


class Counter(TorchDispatchMode):
    """Counts what the kernels called under it do: FLOPs by torch's own formulas (multiplications of matrices,
    convolutions, attention), bytes of the tensors that they make, kernels that make tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.num_bytes = self.num_kernels = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if depends_on_values(func, args):
            raise ValueError(f"{func} makes shapes or Python numbers of a tensor's values")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ValueError(f"{func} draws random numbers: an op is pure, what is random is among its arguments")
        result = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=result))
        made = [
            part for part in (result if isinstance(result, (tuple, list)) else (result,)) if isinstance(part, Tensor)
        ]
        self.num_kernels += bool(made)
        self.num_bytes += sum(tensor.nbytes for tensor in made)
        return result


def num_bytes(key: TensorKey) -> int:
    shape, dtype = key
    return prod(shape) * dtype.itemsize


def trial(fn: Callable[..., Any], keys: Sequence[TensorKey], zeros: bool = True) -> tuple[Any, Counter]:
    """fn's result on tensors of these shapes and types, of which only shapes and types count, and what it took.

    zeros: small calls may be tried on them. Zeros are no match for a function that reads numbers behind torch's back
    (`tolist`, `numpy`); fake tensors have none to read.
    Raises what fn raises, and ValueError where a kernel depends on values or is random."""
    if zeros and sum(map(num_bytes, keys)) <= SMALL_BYTES:
        try:
            return _run(fn, keys, torch.zeros, fakes=False)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # zeros are singular; torch re-exports it silently
            pass
    return _run(fn, keys, torch.empty, fakes=True)


def _run(fn: Callable[..., Any], keys: Sequence[TensorKey], make: Any, fakes: bool) -> tuple[Any, Counter]:
    with FakeTensorMode(allow_non_fake_inputs=True) if fakes else nullcontext(), Counter() as counter, torch.no_grad():
        return fn(*(make(shape, dtype=dtype) for shape, dtype in keys)), counter

"""Signatures: which calls of an op can be executed together, the shapes they return and the FLOPs they take.

A call's key is made of the structure of its arguments, the shapes and dtypes of its tensors and the values of everything
else. Shapes and FLOPs are found once a key, by a trial run of the op.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from learners.trial import num_bytes, trial
from learners.values import Deferred, TensorKey

if TYPE_CHECKING:
    from learners.deferred import Op

MIN_BUCKET = 4
"""Smallest padded length of a ragged argument."""

KERNEL_BYTES = 1 << 19
"""What one kernel of a batched call should make on average: enough to be worth its call, and few enough kernels' worth to
stay in the cache."""

MIN_ROWS_PER_CALL = 16
"""However much a row is."""


class Signature:
    """A class of calls that may share one batched call.

    structure: how the leaves are put together to arguments; leaf_keys: shape and dtype of each leaf as the op sees it
    ragged: leaf index -> padded length; outputs: shape and dtype of each result; single: one tensor, not a tuple
    num_carry, num_xs: for a step of a scan; the leaves are carry, xs, constants
    num_bytes: of the arguments and results of one call (of its fixed part, for a scan), step_bytes: of one step's xs,
    peak_bytes: of one call with everything in between; rows_per_call: at most, see KERNEL_BYTES; flops: of one call, where torch's counter finds them all, else 0
    """

    __slots__ = (
        "flops",
        "leaf_keys",
        "num_bytes",
        "num_carry",
        "num_xs",
        "op",
        "outputs",
        "peak_bytes",
        "ragged",
        "rows_per_call",
        "single",
        "step_bytes",
        "structure",
    )

    def __init__(self, op: Op, args: Sequence[Any], num_xs: int, num_carry: int) -> None:
        self.op = op
        self.num_carry = num_carry
        self.num_xs = num_xs
        self.leaf_keys: list[TensorKey] = []
        self.ragged: dict[int, int] = {}
        self.structure: list[Any] = []
        for position, arg in enumerate(args):
            if position in op.ragged:
                m, shape, dtype = ragged_key(op, arg, args[0], exact=False)
                self.structure.append(len(self.leaf_keys))
                self.ragged[len(self.leaf_keys)] = m
                self.leaf_keys.append((torch.Size((m, *shape)), dtype))
            else:
                drop_step_axis = 0 < position <= num_xs
                self.structure.append(_structure(arg, self.leaf_keys, drop_step_axis))
        self.outputs: list[TensorKey] = []
        self.single = True
        self.num_bytes = self.step_bytes = self.peak_bytes = 0
        self.rows_per_call = MIN_ROWS_PER_CALL
        self.flops = 0

    def arguments(self, leaves: Sequence[Tensor]) -> list[Any]:
        return [_assemble(part, leaves) for part in self.structure]

    def run(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """The op on one device's leaves (ragged ones stacked); results always as a tuple."""
        result = self.op.fn(*self.arguments(leaves))
        return (result,) if isinstance(result, Tensor) else tuple(result)

    def describe(self) -> str:
        """The shapes of one call's tensors, for error messages."""
        return ", ".join(f"{list(shape)} {str(dtype).removeprefix('torch.')}" for shape, dtype in self.leaf_keys)


class _Fixed:
    """An argument that is no tensor."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _structure(arg: Any, leaf_keys: list[TensorKey], drop_step_axis: bool = False) -> Any:
    """int: a leaf; tuple or list: nested; _Fixed: the value itself. Appends the keys of the leaves it meets."""
    if isinstance(arg, (Deferred, Tensor)):
        leaf_keys.append((arg.shape[1:] if drop_step_axis else arg.shape, arg.dtype))
        return len(leaf_keys) - 1
    if isinstance(arg, (tuple, list)):
        return type(arg)(_structure(part, leaf_keys) for part in arg)
    return _Fixed(arg)


def _assemble(part: Any, leaves: Sequence[Tensor]) -> Any:
    if isinstance(part, int):
        return leaves[part]
    if isinstance(part, _Fixed):
        return part.value
    return type(part)(_assemble(inner, leaves) for inner in part)


# -- keys -------------------------------------------------------------------------------------------------------------


def flatten(op: Op, args: Sequence[Any], *, exact: bool = False, num_xs: int = 0) -> tuple[tuple[Any, ...], list[Any]]:
    """The key of a call and its leaves: tensors and Deferreds in order (a ragged argument is one leaf, a list or a tensor).

    exact: ragged lengths as they are, not padded. num_xs: so many arguments after the first have a leading step axis,
    which is no part of the key.
    """
    key: list[Any] = []
    leaves: list[Any] = []
    ragged = op.ragged
    for position, arg in enumerate(args):  # met once a job
        kind = type(arg)
        if position in ragged:
            key.append(ragged_key(op, arg, args[0], exact))
            leaves.append(arg)
        elif 0 < position <= num_xs:
            if not isinstance(arg, Tensor) or not arg.ndim:
                raise TypeError(f"op {op.name}: the steps of a scan are tensors [num_steps, ...], not {arg!r}")
            key.append((arg.shape[1:], arg.dtype))
            leaves.append(arg)
        elif kind is Deferred:
            key.append(arg.key)
            leaves.append(arg)
        elif kind is Tensor:
            key.append((arg.shape, arg.dtype))
            leaves.append(arg)
        else:
            key.append(_key(op, arg, leaves))
    return tuple(key), leaves


def _key(op: Op, arg: Any, leaves: list[Any]) -> Any:
    if isinstance(arg, float):
        return float, arg.hex()  # equal keys only for equal bits: 0.0 == -0.0 and nan != nan
    if arg is None or isinstance(arg, (bool, int, str, torch.dtype)):
        return type(arg), arg  # with the type: 1 == 1.0 == True
    if isinstance(arg, (tuple, list)):
        return (type(arg), *[_key(op, part, leaves) for part in arg])
    if isinstance(arg, (Deferred, Tensor)):
        leaves.append(arg)
        return arg.shape, arg.dtype
    raise TypeError(
        f"op {op.name}: an argument of type {type(arg).__name__}; ops take tensors, tuples and lists of tensors, numbers, "
        "strings and None"
    )


def num_leaves(arg: Any) -> int:
    """Number of tensors in a possibly nested argument."""
    if isinstance(arg, (tuple, list)):
        return sum(num_leaves(part) for part in arg)
    return int(isinstance(arg, (Deferred, Tensor)))


# -- ragged arguments -------------------------------------------------------------------------------------------------


def bucket(m: int) -> int:
    """Padded length of a ragged argument: the next power of two, at least MIN_BUCKET."""
    return MIN_BUCKET if m <= MIN_BUCKET else 1 << (m - 1).bit_length()


def ragged_key(op: Op, arg: Any, first: Any, exact: bool) -> tuple[int, torch.Size, torch.dtype]:
    """(length, shape and dtype of one entry). An empty list takes shape and dtype from the op's first argument."""
    kind = type(arg)
    if kind is list or kind is tuple:
        m = len(arg)
        entry = arg[0] if m else first
        if not isinstance(entry, (Deferred, Tensor)):
            raise TypeError(
                f"op {op.name}: an empty ragged argument takes its shape from the op's first, which is no tensor"
            )
        shape, dtype = entry.shape, entry.dtype
        key = entry.key if type(entry) is Deferred else None
        for other in arg:
            if type(other) is Deferred and other.key is key:  # as a rule: results of one signature
                continue
            if other.shape != shape or other.dtype != dtype:
                raise ValueError(
                    f"op {op.name}: a ragged argument with entries {list(shape)} {dtype} and {list(other.shape)} "
                    f"{other.dtype}, they must be alike"
                )
    else:
        if not isinstance(arg, (Deferred, Tensor)) or not arg.ndim:
            raise TypeError(f"op {op.name}: a ragged argument is a list of tensors or a tensor [m, ...], not {arg!r}")
        m, shape, dtype = arg.shape[0], arg.shape[1:], arg.dtype
    return (m if exact or op.loop else bucket(m)), shape, dtype


def stack_ragged(op: Op, arg: Any, first: Any) -> Tensor:
    """One device's ragged argument (tensors, not deferred) as the op sees it: [m_padded, ...]."""
    m, shape, dtype = ragged_key(op, arg, first, exact=False)
    if isinstance(arg, Tensor):
        stacked = arg
    elif len(arg):
        stacked = torch.stack(tuple(arg))
    else:
        return first.new_zeros((m, *shape), dtype=dtype)
    if len(stacked) == m:
        return stacked
    return torch.cat((stacked, stacked.new_zeros((m - len(stacked), *shape))))


# -- inference --------------------------------------------------------------------------------------------------------


def infer(op: Op, args: Sequence[Any], num_xs: int = 0, num_carry: int = 0) -> Signature:
    """The signature of a call, with the shapes of its results. Raises RuntimeError, naming op and shapes, if it fails."""
    signature = Signature(op, args, num_xs, num_carry)
    zeros = not op.loop  # no vmap will keep it from reading numbers
    try:
        result, counter = trial(lambda *leaves: op.fn(*signature.arguments(leaves)), signature.leaf_keys, zeros)
    except Exception as error:
        raise RuntimeError(f"op {op.name} fails on arguments {signature.describe()}: {error}") from error
    if not op.ragged and op.formula is None:  # else the count is of exact lengths, or not all there is
        signature.flops = counter.flops
    signature.single = isinstance(result, Tensor)
    results = (result,) if signature.single else result
    if not isinstance(results, (tuple, list)) or not all(isinstance(part, Tensor) for part in results):
        raise TypeError(f"op {op.name} returns {type(result).__name__}: ops return a tensor or a tuple of tensors")
    signature.outputs = [(part.shape, part.dtype) for part in results]
    if num_carry and signature.outputs != signature.leaf_keys[:num_carry]:
        raise TypeError(
            f"op {op.name}: a scan needs results like the carry, {signature.outputs} against "
            f"{signature.leaf_keys[:num_carry]}"
        )
    sizes = [num_bytes(key) for key in signature.leaf_keys]
    signature.step_bytes = sum(sizes[num_carry : num_carry + num_xs])
    signature.num_bytes = sum(sizes) - signature.step_bytes
    signature.num_bytes += sum(num_bytes(key) for key in signature.outputs)
    signature.peak_bytes = sum(sizes) + counter.num_bytes
    rows = KERNEL_BYTES * counter.num_kernels // max(1, signature.peak_bytes)
    signature.rows_per_call = max(MIN_ROWS_PER_CALL, rows - rows % MIN_ROWS_PER_CALL)
    return signature


def count_flops(op: Op, args: Sequence[Any], num_xs: int = 0) -> int:
    """What torch's counter finds in one call (multiplications of matrices, convolutions, attention) plus op.formula.

    args: tensors or Deferreds, of which only the shapes count; ragged ones with their exact lengths.
    Raises ValueError if both are 0.
    """
    structure: list[Any] = []
    keys: list[TensorKey] = []
    for position, arg in enumerate(args):
        if position in op.ragged:
            m, shape, dtype = ragged_key(op, arg, args[0], exact=True)
            keys.append((torch.Size((m, *shape)), dtype))
            structure.append(len(keys) - 1)
        else:
            structure.append(_structure(arg, keys, 0 < position <= num_xs))
    _, counter = trial(lambda *leaves: op.fn(*(_assemble(part, leaves) for part in structure)), keys)
    flops = counter.flops
    if op.formula is not None:
        metas = [torch.empty(shape, dtype=dtype, device="meta") for shape, dtype in keys]
        flops += op.formula(*(_assemble(part, metas) for part in structure))
    if flops <= 0:
        raise ValueError(f"op {op.name}: no FLOPs are counted; declare a formula, flops=lambda ...: ...")
    return int(flops)

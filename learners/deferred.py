"""Ops: tensor work that is recorded now and executed later, many devices at a time.

An op is a pure function of *one* device's tensors. Called with tensors it computes. Called with a `Deferred` among its
arguments it records a job at that value's executor (`learners.executors`) and returns `Deferred` results: their shapes are
known at once, their numbers are not. An executor may then run jobs of equal `Signature` as one batched call, across devices
and across simulated time (on-the-fly batching: Neubig et al., NeurIPS 2017, arXiv 1705.07860).

    @op(ragged=("received", "weights"), flops=lambda x, received, weights: 2 * received.numel())
    def mix(x, received, weights):
        return (1 - weights.sum()) * x + weights @ received

What is the same for all devices (Python numbers, strings, None) belongs to the signature; what differs enters as a tensor.
Tensors that the function closes over (data sets) are constants and are not batched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

from torch import Tensor

from learners.signature import Signature, count_flops, flatten, infer, num_leaves, stack_ragged
from learners.values import Deferred, executor_of

__all__ = ["Deferred", "Op", "Scan", "op"]


class Op:
    """A pure function of one device's tensors.

    fn: returns a tensor or a tuple of tensors; draws nothing, writes nothing in place
    loop: run one job at a time, never batched. A fixed property of the op (convolutions with per-device weights on a CPU,
        aggregation at the server), never of a group's size, so that results do not depend on timing.
    ragged: names of arguments that are a list of equally shaped tensors, or one tensor, whose length m differs between
        devices. They reach fn as one tensor [m_padded, ...], zeros behind the first m; m_padded is the next power of two
        and at least 4 (exactly m where loop=True), so it depends on the job alone. An empty list stands for tensors of
        the shape and dtype of the op's first argument.
    flops: formula (fn's arguments as meta tensors, ragged ones of exact length) -> int, for the work that
        torch.utils.flop_counter counts as 0; it is added to the count.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        loop: bool = False,
        ragged: Sequence[str] = (),
        flops: Callable[..., int] | None = None,
    ) -> None:
        parameters = list(inspect.signature(fn).parameters)
        self.fn = fn
        self.name: str = name or fn.__name__
        self.__name__ = self.name
        self.__doc__ = fn.__doc__
        for argument in ragged:
            if argument not in parameters:
                raise ValueError(f"op {self.name}: ragged argument {argument!r} is not among {', '.join(parameters)}")
        self.loop = loop
        self.ragged = frozenset(parameters.index(argument) for argument in ragged)
        self.formula = flops
        self.scan = Scan(self)
        self._signatures: dict[Any, Signature] = {}
        self._flops: dict[Any, int] = {}

    def __repr__(self) -> str:
        return f"Op({self.name})"

    def __call__(self, *args: Any) -> Any:
        executor = executor_of(args)
        return self.compute(args) if executor is None else executor.call(self, args)

    def priced(self, *args: Any) -> tuple[Any, int]:
        """The call and its FLOPs. An executor whose values are Deferreds needs one look at the arguments for both (`recorded`)."""
        executor = executor_of(args)
        if executor is None:
            return self.compute(args), self.flops(*args)
        signature, leaves = self.signature(args)
        return executor.recorded(signature, leaves), signature.flops or self._counted(signature, leaves, args)

    def _counted(self, signature: Signature, leaves: list[Any], args: Sequence[Any]) -> int:
        """`flops` of a call whose signature says all but the exact lengths of ragged arguments."""
        ragged = [leaves[place] for place in signature.ragged]
        key = signature, *[len(leaf) if isinstance(leaf, (list, tuple)) else leaf.shape[0] for leaf in ragged]
        flops = self._flops.get(key)
        if flops is None:
            flops = self._flops[key] = count_flops(self, args)
        return flops

    def compute(self, args: Sequence[Any]) -> Any:
        """fn of tensors, now; ragged arguments are stacked (and padded) as an executor would."""
        if self.ragged:
            args = [stack_ragged(self, arg, args[0]) if i in self.ragged else arg for i, arg in enumerate(args)]
        return self.fn(*args)

    def flops(self, *args: Any) -> int:
        """Floating-point operations of one call, from shapes alone (cached). Raises ValueError if none are counted."""
        key, _ = flatten(self, args, exact=True)
        flops = self._flops.get(key)
        if flops is None:
            known = self._signatures.get(key)
            flops = self._flops[key] = (known.flops if known else 0) or count_flops(self, args)
        return flops

    def signature(self, args: Sequence[Any]) -> tuple[Signature, list[Any]]:
        """What groups calls that can be run together, and this call's tensors and Deferreds in order."""
        key, leaves = flatten(self, args)
        signature = self._signatures.get(key)
        if signature is None:
            signature = self._signatures[key] = infer(self, args)
        return signature, leaves

    def scan_signature(
        self, carry: Any, xs: Sequence[Tensor], consts: Sequence[Any]
    ) -> tuple[Signature, list[Any], list[Any]]:
        """As `signature`, of one step of a scan: the signature, the leaves of the carry and those of consts."""
        num_xs = len(xs)
        args = (carry, *xs, *consts)
        key, leaves = flatten(self, args, num_xs=num_xs)
        signature = self._signatures.get((num_xs, key))
        if signature is None:
            signature = infer(self, args, num_xs=num_xs, num_carry=num_leaves(carry))
            self._signatures[num_xs, key] = signature
        split = signature.num_carry
        return signature, leaves[:split], leaves[split + num_xs :]


class Scan:
    """`op.scan(carry, xs, *consts)`: for x in zip(*xs): carry = op(carry, *x, *consts); returns the last carry.

    carry: a tensor or a tuple of tensors, as the op returns it. xs: tuple of tensors [num_steps, ...], not deferred. With
    anything deferred in carry or consts it is one job, however many steps it has.
    """

    __slots__ = ("__name__", "name", "op")

    def __init__(self, op: Op) -> None:
        self.op = op
        self.name = self.__name__ = f"{op.name}.scan"

    def __repr__(self) -> str:
        return f"Op({self.name})"

    def __call__(self, carry: Any, xs: Sequence[Tensor], *consts: Any) -> Any:
        executor = executor_of((carry, consts))
        if executor is None:
            return self.compute(carry, xs, consts)
        return executor.scan(self.op, carry, xs, consts)

    def priced(self, carry: Any, xs: Sequence[Tensor], *consts: Any) -> tuple[Any, int]:
        """As `Op.priced`."""
        executor, steps = executor_of((carry, consts)), self.num_steps(xs)
        if executor is None or not steps:
            return self(carry, xs, *consts), self.flops(carry, xs, *consts)
        signature, carries, constants = self.op.scan_signature(carry, xs, consts)
        flops = steps * signature.flops or self.flops(carry, xs, *consts)
        return executor.recorded_scan(signature, carries, constants, xs, steps), flops

    def compute(self, carry: Any, xs: Sequence[Tensor], consts: Sequence[Any]) -> Any:
        """All steps of one device, now."""
        for step in range(self.num_steps(xs)):
            carry = self.op.compute((carry, *(x[step] for x in xs), *consts))
        return carry

    def flops(self, carry: Any, xs: Sequence[Tensor], *consts: Any) -> int:
        """Of all steps together."""
        op = self.op
        args = (carry, *xs, *consts)
        key, _ = flatten(op, args, exact=True, num_xs=len(xs))
        flops = op._flops.get(key)
        if flops is None:
            known = op._signatures.get((len(xs), key))
            flops = op._flops[key] = (known.flops if known else 0) or count_flops(op, args, num_xs=len(xs))
        return self.num_steps(xs) * flops

    def num_steps(self, xs: Sequence[Tensor]) -> int:
        """Common length of the tensors of steps; ValueError if they differ or there are none."""
        lengths = {x.shape[0] for x in xs}
        if len(lengths) != 1:
            raise ValueError(f"op {self.name}: tensors of steps with lengths {sorted(lengths)}, one length is needed")
        return lengths.pop()


@overload
def op(fn: Callable[..., Any], /) -> Op: ...
@overload
def op(
    *, loop: bool = False, ragged: Sequence[str] = (), flops: Callable[..., int] | None = None
) -> Callable[[Callable[..., Any]], Op]: ...
def op(
    fn: Callable[..., Any] | None = None,
    *,
    loop: bool = False,
    ragged: Sequence[str] = (),
    flops: Callable[..., int] | None = None,
) -> Any:
    """Make an `Op` of a function: `@op` or `@op(loop=..., ragged=..., flops=...)`."""
    if fn is not None:
        return Op(fn)
    return lambda function: Op(function, loop=loop, ragged=ragged, flops=flops)

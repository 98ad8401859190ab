"""Calls of an op: batched by `torch.func.vmap`, or of one job alone; recorded as a tape once it turns out to come back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learners.executors.tape import NotReplayable, Tape
from learners.signature import Signature

MAX_TAPES = 512
"""Recorded calls kept, one for each signature and memory layout; the one unused for longest goes first."""

RECORD_AT = 2
"""A call is recorded when it occurs for this time, one that is known to come back a time earlier: calls that never come back
cost nothing."""


class Calls:
    """tapes: (signature, strides of the arguments) -> tape, times seen before there is one, or None where the op cannot be
    replayed."""

    def __init__(self) -> None:
        self.tapes: OrderedDict[Any, Tape | int | None] = OrderedDict()
        self._mapped: dict[Signature, Callable[..., tuple[Tensor, ...]]] = {}

    def __call__(self, signature: Signature, leaves: list[Tensor], recurs: bool = False) -> list[Tensor]:
        """The op on stacked leaves [n, ...]: results [n, ...]; where the op is looped, on one job's leaves. Results are contiguous
        and alone in their memory. recurs: it is known that the call comes back."""
        key = (signature, *[leaf.stride() for leaf in leaves])
        tapes = self.tapes
        found = tapes.get(key, 0)
        loop = signature.op.loop
        mapped = signature.run if loop else self._mapped.get(signature)
        if mapped is None:
            mapped = self._mapped[signature] = torch.func.vmap(signature.run)
        if type(found) is int:
            if found + 1 + recurs < RECORD_AT:
                tapes[key] = found + 1
            else:
                found = tapes[key] = _recorded(mapped, leaves, rows=not loop)
            if len(tapes) > MAX_TAPES:
                tapes.popitem(last=False)
        if isinstance(found, Tape):
            tapes.move_to_end(key)
            return [owned(result) for result in found.replay(leaves)]
        versions = [leaf._version for leaf in leaves]
        results = mapped(*leaves)
        if [leaf._version for leaf in leaves] != versions:
            raise RuntimeError("it writes into its arguments in place: ops are pure functions")
        return [owned(result) for result in results]


def _recorded(mapped: Callable[..., tuple[Tensor, ...]], leaves: list[Tensor], rows: bool) -> Tape | None:
    try:
        return Tape(mapped, leaves, rows=rows)
    except NotReplayable:
        return None


def owned(result: Tensor) -> Tensor:
    """The result, contiguous and not part of something larger that it would keep alive."""
    result = result.contiguous()
    return result if result.untyped_storage().nbytes() <= 2 * result.nbytes + 64 else result.clone()

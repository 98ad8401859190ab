"""Batched calls: one `torch.func.vmap` of an op, recorded as a tape once it turns out to come back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learners.executors.tape import Recorder, Tape
from learners.signature import Signature

MAX_TAPES = 512
"""Recorded calls kept, one for each signature, group size and memory layout; the one unused for longest goes first."""

RECORD_AT = 2
"""A call is recorded when it occurs for this time: calls that never come back cost nothing."""


class BatchedCalls:
    """tapes: (signature, sizes and strides of the arguments) -> tape, times seen before there is one, or None where the op
    cannot be replayed."""

    def __init__(self) -> None:
        self.tapes: OrderedDict[Any, Tape | int | None] = OrderedDict()
        self._mapped: dict[Signature, Callable[..., tuple[Tensor, ...]]] = {}

    def __call__(self, signature: Signature, leaves: list[Tensor]) -> list[Tensor]:
        """The op on stacked leaves [n, ...]: results [n, ...], each contiguous and alone in its memory."""
        key = (signature, *[(leaf.shape[0], leaf.stride()) for leaf in leaves])
        tapes = self.tapes
        found = tapes.get(key, 0)
        if isinstance(found, Tape):
            tapes.move_to_end(key)
            return [owned(result) for result in found.replay(leaves)]
        mapped = self._mapped.get(signature)
        if mapped is None:
            mapped = self._mapped[signature] = torch.func.vmap(signature.run)
        versions = [leaf._version for leaf in leaves]
        if found is None:  # known not to be replayable
            results = mapped(*leaves)
        elif found + 1 < RECORD_AT:
            tapes[key] = found + 1
            results = mapped(*leaves)
        else:
            inputs = [leaf.detach() for leaf in leaves]  # objects of their own, where one tensor is passed twice
            recorder = Recorder(inputs)
            with recorder:
                results = mapped(*inputs)
            tapes[key] = Tape(recorder, results) if recorder.replayable else None
        if len(tapes) > MAX_TAPES:
            tapes.popitem(last=False)
        if [leaf._version for leaf in leaves] != versions:
            raise RuntimeError("it writes into its arguments in place: ops are pure functions")
        return [owned(result) for result in results]


def owned(result: Tensor) -> Tensor:
    """The result, contiguous and not part of something larger that it would keep alive."""
    result = result.contiguous()
    return result if result.untyped_storage().nbytes() <= 2 * result.nbytes + 64 else result.clone()

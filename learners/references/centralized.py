"""Centralized training: all samples of all devices in one place from the start. A genie, as an upper reference.

    x <- SGD on the samples of everybody

Nothing is sent: how the samples got there costs neither time, bits nor joules. The place is the server, or device 0 where
there is none, and the seconds are those of its processor alone: a round is local_epochs passes over all samples (or
local_steps minibatches of them), one after the other, on one machine with its own `effective_flops`. So its accuracy may be
compared with that of a protocol after equal numbers of passes over the data; its seconds say how long that one machine would
take, and nothing about moving the data. The other nodes do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.local_sgd import LocalSgd
from learners.protocol import Node, Program, Report, rounds


@dataclass(frozen=True)
class Centralized(LocalSgd):
    """Local training as in `LocalSgd`, of the model of the place where the samples are; it keeps its momentum buffer."""

    uses_server: ClassVar[bool | None] = None
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False
    heterogeneous: ClassVar[bool] = True
    keeps_momentum: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("cross_entropy", "coding_rate_reduction")
    sends: ClassVar[bool] = False
    pools_samples: ClassVar[bool] = True
    note: ClassVar[str] = (
        "centralized is a genie: all samples are in one place from the start, nothing is sent, and the seconds are those of "
        "the one processor that trains"
    )

    def program(self, node: Node) -> Program | tuple[()]:
        return self._trainer(node) if node.num_samples else ()

    def _trainer(self, node: Node) -> Program:
        x = node.initial_parameters  # [num_params]
        for k in rounds(self.num_rounds):
            x = yield from self.train(node, x, k, self.batches(node))
            yield Report("model", x)

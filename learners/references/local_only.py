"""Every device alone: local SGD on its own samples, no messages at all.

    x_i <- local SGD on own data

What a protocol has to beat on the device's own kind of data; "standalone" in papers on devices of different architectures, which
it takes. Its seconds and joules are those of computing. A round is one local training at every device; nobody waits for anybody.
Works with and without a server, which takes no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.local_sgd import LocalSgd
from learners.protocol import SERVER, Node, Program, Report, rounds


@dataclass(frozen=True)
class LocalOnly(LocalSgd):
    """Local training as in `LocalSgd`; every device keeps its momentum buffer, and its schedule follows its own rounds."""

    uses_server: ClassVar[bool | None] = None
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ("after_local_training",)
    heterogeneous: ClassVar[bool] = True
    keeps_momentum: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("cross_entropy", "coding_rate_reduction")
    sends: ClassVar[bool] = False

    def program(self, node: Node) -> Program | tuple[()]:
        return () if node.id == SERVER else self._device(node)

    def _device(self, node: Node) -> Program:
        x = node.initial_parameters  # [num_params]
        for k in rounds(self.num_rounds):
            x = yield from self.train(node, x, k, self.batches(node))
            yield Report("model", x)
            yield Report("after_local_training", x)  # the same: there is nothing to do afterwards

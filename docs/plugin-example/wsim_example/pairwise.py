"""Pairwise averaging: every device trains, then meets one neighbor.

In round k device i takes local SGD steps, sends its model to a neighbor drawn at random, waits `patience_s` for models that
were sent to it, and averages them with its own, all with equal weights:

    x_i <- local SGD from x_i,   x_i <- mean of x_i and the m models received

Sends, per round and device: the model to one neighbor, `codec.num_bits` of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from learners.averaging import full_masks, mix, mix_masked
from learners.compression.codec import check_for_models
from learners.fields import check_number
from learners.local_sgd import LocalSgd
from learners.protocol import Compute, Node, Program, Receive, Report, Send, rounds
from learners.quantities import Bounds

Patience = Annotated[float, Bounds(0.0, 1e6, "waiting times are in s", typical=(1e-3, 1e3))]


@dataclass(frozen=True)
class Pairwise(LocalSgd):
    """Local training as in `LocalSgd`; one step if neither local_steps nor local_epochs is given.
    patience_s: for how long a device waits for models in each round."""

    patience_s: Patience = 0.5

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = False  # waits for nobody in particular
    value_dependent: ClassVar[bool] = False  # times and sizes do not depend on learned values
    default_local_steps: ClassVar[int | None] = 1
    keeps_momentum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec)  # refuses codecs that are made for changes of models
        check_number("patience_s", self.patience_s, zero=True)

    def program(self, node: Node) -> Program:
        x = node.initial_parameters  # [num_params]
        for k in rounds(self.num_rounds):
            x = yield from self.train(node, x, k, self.batches(node))
            if node.neighbors:
                peer = int(node.rng.choice(node.neighbors))
                yield Send(peer, "model", k, self.codec.payload(x, node))
            received = yield Receive(None, "model", timeout_s=self.patience_s)
            models = received.data
            if models:
                weights = node.tensor([1 / (1 + len(models))] * len(models))
                masks = full_masks(received)
                if masks is None:
                    x = yield Compute(mix, (x, x, models, weights))
                else:  # parts of models, with transport.partial = "use"
                    x = yield Compute(mix_masked, (x, x, models, weights, masks))
            yield Report("model", x)

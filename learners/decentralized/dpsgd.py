"""D-PSGD: decentralized parallel SGD.

Lian et al., "Can decentralized algorithms outperform centralized algorithms?", NeurIPS 2017, Algorithm 1
(arXiv 1705.09056). In every round, with neighbors j and mixing weights W:

    x_i <- sum_j W_ij x_j - lr * g_i(x_i)          gradient at the old model, overlapped with the exchange

Sends, per round and device: its model to every neighbor, 32 * num_params bits with float32 (one transmission for all of
them with exchange = "broadcast", one each with "unicast").

The paper's: one minibatch a round, W given. Ours: Metropolis weights from the degrees in the message headers; several
local steps x_i -> x_i' a round (local_steps > 1 or local_epochs), after which the trained models are exchanged,

    x_i <- sum_j W_ij x_j'                         local decentralized SGD, Koloskova et al., ICML 2020 (arXiv 2003.10422)

(nothing to overlap there: adding several steps to the average of the old models would leave every device its own drift);
and a deadline. The weight of a neighbor whose model is missing returns to x_i (coordinate by coordinate where the
transport delivers parts of a message); this keeps the average only if both ends miss each other. The neighborhood may
change from round to round: a round is with those who were present when it began. A device that has been away goes on in the
round that its neighbors are in by now.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from learners.averaging import full_masks, mix, mix_masked
from learners.compression.codec import check_for_models
from learners.fields import check_choice, check_number
from learners.local_sgd import LocalSgd
from learners.mixing import MIXING_WEIGHTS
from learners.protocol import Compute, Node, Outcome, Program, Receive, Received, Report, Send, Ticket, Value
from learners.quantities import Seconds


@dataclass(frozen=True)
class Dpsgd(LocalSgd):
    """Local training as in `LocalSgd`; one step (the paper's) if neither local_steps nor local_epochs is given. Every device
    keeps its momentum buffer.
    deadline_s: of a round, from the device's own send; not given: waits for all neighbors. exchange: one transmission to all
    neighbors, or one to each.
    mixing_weights: "metropolis" or "uniform", see `learners.mixing`."""

    deadline_s: Seconds | None = None
    exchange: Literal["broadcast", "unicast"] = "broadcast"
    mixing_weights: Literal["metropolis", "uniform"] = "metropolis"

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = True
    value_dependent: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ("after_local_training",)
    default_local_steps: ClassVar[int | None] = 1
    keeps_momentum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec)
        check_number("deadline_s", self.deadline_s, optional=True)
        check_choice("exchange", self.exchange, ("broadcast", "unicast"))
        check_choice("mixing_weights", self.mixing_weights, MIXING_WEIGHTS)

    def program(self, node: Node) -> Program:
        x = node.initial_parameters  # [num_params]
        k = 0
        while self.num_rounds is None or k < self.num_rounds:
            neighbors = node.neighbors
            train = self.train(node, x, k, self.batches(node))
            if self.overlaps:
                ticket = yield from self._send(node, neighbors, k, x)
                trained = yield from train
            else:
                x = trained = yield from train
                ticket = yield from self._send(node, neighbors, k, x)
            yield Report("after_local_training", trained)
            received = Received(())
            if neighbors:
                received = yield Receive(neighbors, "model", k, timeout_s=self.deadline_s)
            x = (yield self._mix(node, trained, x, received, len(neighbors))) if received.messages else trained
            yield Report("model", x, round=k)
            if received.alone:  # back from an absence, not counted in yet: no faster than its messages leave
                yield Outcome(ticket)
            k = k + 1 if received.newer is None else received.newer

    @property
    def overlaps(self) -> bool:
        """One step a round: computed while the old models are on their way."""
        return self.local_steps == 1

    def _send(self, node: Node, neighbors: tuple[int, ...], k: int, x: Value) -> Generator[Any, Any, Ticket]:
        if not neighbors:
            return Ticket(0)
        broadcast = self.exchange == "broadcast"
        ticket: Ticket = yield Send(
            neighbors, "model", k, self.codec.payload(x, node), broadcast, expires_s=self.deadline_s
        )
        return ticket

    def _mix(self, node: Node, trained: Value, x: Value, received: Received, degree: int) -> Compute:
        """sum_j W_ij x_j + (x' - x), over the models that arrived; x = x' where the trained models travel."""
        degrees = [message.degree for message in received.messages]
        weights = node.tensor(MIXING_WEIGHTS[self.mixing_weights](degree, degrees))
        masks = full_masks(received)
        if masks is None:
            return Compute(mix, (trained, x, received.data, weights))
        return Compute(mix_masked, (trained, x, received.data, weights, masks))

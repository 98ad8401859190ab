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
and a deadline. What is missing, and who comes and goes: see `neighbor_sgd`.

form = "atc" (adapt, then combine) exchanges the trained models with one step, too: nothing overlaps then, and the fixed
point is another one. With `momentum` it is DSGDm, and with `nesterov` DSGDm-N: the buffer never travels.

form = "mix_first" trains at the mixed model, x_i <- xb - lr * g_i(xb) with xb = sum_j W_ij x_j, with any number of steps: what
several public codes run under the name (those of CCL, NGC and GUT). Nothing overlaps, and the fixed point is a third one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from learners.decentralized.neighbor_sgd import NeighborSgd
from learners.fields import check_choice
from learners.protocol import Node, Program, Report


@dataclass(frozen=True)
class Dpsgd(NeighborSgd):
    """form: "cta" (combine, then adapt: the paper's, one local step only), "atc" or "mix_first"; not given: "cta" with one local
    step, else "atc"."""

    form: Literal["cta", "atc", "mix_first"] | None = None

    leaves_out_rounds: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("cross_entropy", "coding_rate_reduction")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form is None:
            object.__setattr__(self, "form", "cta" if self.local_steps == 1 else "atc")
        check_choice("form", self.form, ("cta", "atc", "mix_first"))
        if self.form == "cta" and self.local_steps != 1:
            raise ValueError(
                'form = "cta": has one gradient a round, at the old model; local_steps = 1, or form = "atc"'
            )

    def program(self, node: Node) -> Program:
        return self._mix_first(node) if self.form == "mix_first" else self._program(node)

    def _program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        while self.goes_on(k):
            train = self.train(node, x, k, self.batches(node))
            if self.form == "cta":
                sent = yield from self.publish(node, k, x)
                trained = yield from train
            else:
                x = trained = yield from train
                sent = yield from self.publish(node, k, x)
            yield Report("after_local_training", trained)
            heard = yield from self.gather(node, sent)
            x = yield from heard.mix(trained, x)  # sum_j W_ij x_j + (trained - x)
            k = yield from self.close(node, x, heard)

    def _mix_first(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        while self.goes_on(k):
            sent = yield from self.publish(node, k, x)
            heard = yield from self.gather(node, sent)
            mixed = yield from heard.mix(x, x)
            x = yield from self.train(node, mixed, k, self.batches(node))
            yield Report("after_local_training", x)
            k = yield from self.close(node, x, heard)

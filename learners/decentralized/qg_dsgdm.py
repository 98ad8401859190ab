"""QG-DSGDm: decentralized SGD with quasi-global momentum.

Lin, Karimireddy, Stich and Jaggi, "Quasi-global momentum: accelerating decentralized deep learning on heterogeneous data", ICML
2021 (arXiv 2102.04761), Algorithm 1, as its public code runs it (epfml/quasi-global-momentum). The momentum follows the
displacement of the model over a whole round, mixing included, so that it points where the neighborhood went and not where the
device's own data pull. In every round, with neighbors j, mixing weights W, h = 0 at first:

    m <- beta h + g_i(x_i),    u <- m,  or  g_i(x_i) + beta m  with Nesterov's momentum (QG-DSGDm-N)
    z_i <- x_i - lr u
    x_i+ <- sum_j W_ij z_j
    h <- mu h + (1 - mu) (x_i - x_i+) / lr

Two public codes run other recursions under the same name; both mix first and take the gradient at the mixed model
(reconstructed from them; X_i is the model that was mixed in the round before, lr' its rate):

    form = "ngc-code" (neighborhood_gradient_clustering)       form = "ccl-code" (Cross_feature_Contrastive_Loss)
    xb <- sum_j W_ij x_j                                       xb <- sum_j W_ij x_j
    h <- mu h + (1 - mu) (X_i - xb) / lr'                      m <- m - (xb - x_i) / lr'
    m <- beta h + g_i(xb)                                      m <- beta m + g_i(xb)
    x_i <- xb - lr u                                           x_i <- xb - lr u

In a first round, before which nothing was displaced, h and m stay 0. A graph on which the momentum would make a disagreement grow is
refused (`quasi_global`): in the form of the second code most bipartite graphs denser than a ring.

Sends, per round and device: z_i, or x_i where it mixes first, to every neighbor: 32 * num_params bits with float32.

The paper's: one minibatch a round; mu = beta. Ours: several local steps, whose pseudo-gradient takes the place of g (momentum
once a round, not in each step), a deadline, and Metropolis weights. Nothing is carried between devices but models: a lost
message's weight returns to the device as in D-PSGD, and its own displacement enters the momentum as it was. The theory has no
losses in it; the study of lossy links in the code of RelaySGD saw momentum of this kind diverge on a ring with 1 % of all
messages lost and labels that hardly overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from learners.decentralized.combination import Combination, Complete
from learners.decentralized.neighbor_sgd import NeighborSgd
from learners.decentralized.quasi_global import check_stable
from learners.fields import check_choice, check_number
from learners.local_step import divisor
from learners.protocol import Node, Program, Report
from learners.quantities import Momentum

FORMS = ("qgm", "ngc-code", "ccl-code")


@dataclass(frozen=True)
class QgDsgdm(NeighborSgd):
    """momentum: beta. mu: share of the old quasi-global momentum that stays (that of `momentum` if not given; none in
    "ccl-code", which has no moving average). form: of the recursion, see above."""

    momentum: Momentum = 0.9
    mu: Momentum | None = None
    form: Literal["qgm", "ngc-code", "ccl-code"] = "qgm"

    trains_with_momentum: ClassVar[bool] = False
    leaves_out_rounds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("form", self.form, FORMS)
        if not self.momentum:
            raise ValueError('momentum = 0: needs momentum above 0 (without, it is dpsgd with form = "atc")')
        if self.mu is None:
            if self.form != "ccl-code":
                object.__setattr__(self, "mu", self.momentum)
            return
        if self.form == "ccl-code":
            raise ValueError(f'mu = {self.mu!r}: form = "ccl-code" has no moving average')
        check_number("mu", self.mu, zero=True)
        if self.mu >= 1:
            raise ValueError(f"mu = {self.mu!r}: less than 1")

    def check_matrix(self, matrix: np.ndarray) -> None:
        """ValueError where a mixing matrix [num_devices, num_devices] makes quasi-global momentum unstable."""
        check_stable(self.form, matrix, self.momentum, self.nesterov, self.mu or 0.0)

    def program(self, node: Node) -> Program:
        return self.adapt_first(node) if self.form == "qgm" else self.mix_first(node)

    def adapt_first(self, node: Node) -> Program:
        x, h, k = node.initial_parameters, node.task.zero_parameters, 0  # [num_params]
        while self.goes_on(k):
            rate = self.rate(node, k)
            z = yield from self.adapt(node, x, k, self.batches(node), stepped, h, self.momentum, self.nesterov)
            yield Report("after_local_training", z)
            sent = yield from self.publish(node, k, z)
            heard = yield from self.gather(node, sent)
            x, h = yield from heard.combine(MIX_AND_TRACK, z, x, h, rate, self.mu)
            k = yield from self.close(node, x, heard)

    def mix_first(self, node: Node) -> Program:
        x, h, k = node.initial_parameters, node.task.zero_parameters, 0  # h: m in "ccl-code"
        mixed: Any = None
        rate: Any = None
        while self.goes_on(k):
            sent = yield from self.publish(node, k, x)
            heard = yield from self.gather(node, sent)
            if mixed is None:
                mixed = yield from heard.mix(x, x)
            elif self.form == "ngc-code":
                mixed, h = yield from heard.combine(MIX_AND_AVERAGE, x, mixed, h, rate, self.mu)
            else:
                mixed, h = yield from heard.combine(MIX_AND_DISPLACE, x, h, rate)
            args = (h, self.momentum, self.nesterov)
            x, m = yield from self.adapt(node, mixed, k, self.batches(node), stepped_with_buffer, *args)
            h, rate = m if self.form == "ccl-code" else h, self.rate(node, k)
            yield Report("after_local_training", x)
            k = yield from self.close(node, x, heard)


def stepped_with_buffer(
    x: Tensor, g: Tensor, learning_rate: float | Tensor, h: Tensor, beta: float, nesterov: bool
) -> tuple[Tensor, Tensor]:
    """x - lr u and m, with m = beta h + g. x, g, h: [num_params]."""
    m = beta * h + g
    return x - learning_rate * (g + beta * m if nesterov else m), m


def stepped(x: Tensor, g: Tensor, learning_rate: float | Tensor, h: Tensor, beta: float, nesterov: bool) -> Tensor:
    """As `stepped_with_buffer`, without m."""
    return stepped_with_buffer(x, g, learning_rate, h, beta, nesterov)[0]


def mix_and_track(
    z: Tensor, c: Tensor, complete: Complete, x: Tensor, h: Tensor, learning_rate: float | Tensor, mu: float
) -> tuple[Tensor, Tensor]:
    """x+ = z + c and h <- mu h + (1 - mu) (x - x+) / lr. All: [num_params]."""
    mixed = z + c
    return mixed, mu * h + (1 - mu) / divisor(learning_rate) * (x - mixed)


def mix_and_average(
    x: Tensor, c: Tensor, complete: Complete, before: Tensor, h: Tensor, learning_rate: float | Tensor, mu: float
) -> tuple[Tensor, Tensor]:
    """xb = x + c and h <- mu h + (1 - mu) (X - xb) / lr', X: `before`."""
    return mix_and_track(x, c, complete, before, h, learning_rate, mu)


def mix_and_displace(
    x: Tensor, c: Tensor, complete: Complete, m: Tensor, learning_rate: float | Tensor
) -> tuple[Tensor, Tensor]:
    """xb = x + c and m <- m - c / lr'."""
    return x + c, m - c / divisor(learning_rate)


MIX_AND_TRACK = Combination(mix_and_track)
MIX_AND_AVERAGE = Combination(mix_and_average)
MIX_AND_DISPLACE = Combination(mix_and_displace)

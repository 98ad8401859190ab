"""GUT: global update tracking, and QG-GUTm, the same with quasi-global momentum.

Aketi, Hashemi and Roy, "Global update tracking: a decentralized learning algorithm for heterogeneous data", NeurIPS 2023
(arXiv 2305.04792); equations as its public code trains (aparna-aketi/global_update_tracking). A device tracks by how much its
neighborhood has moved. In every round t, with neighbors j, mixing weights W and lr' the rate of the round before:

    s_i^t = sum_j W_ij x_j^t - x_i^t,    xb = x_i^t + s_i^t
    d_i^t = g_i(xb) - s_i^t / lr'
    y_i^t = d_i^t - mu / lr' (sum_j W_ij (x_j^t - x_j^(t-1)) + s_i^(t-1)) - mu d_i^(t-1)
    x_i^(t+1) = x_i^t - lr y_i^t

(without the terms in mu in the first round). mu = 0 is D-PSGD that mixes first (`dpsgd` with form = "mix_first"). With `momentum`
beta it is QG-GUTm: m <- beta m + y takes the place of y, and s_i^(t-1) counts 1 + beta times in the bracket (with Nesterov's
momentum, y + beta m and 1 + beta + beta^2).

The bracket is s_i^t + x_i^t - x_i^(t-1), plus beta s_i^(t-1) in QG-GUTm, since s_i^(t-1) = sum_j W_ij x_j^(t-1) - x_i^(t-1).

Sends, per round and device: its model to every neighbor, 32 * num_params bits with float32. The code sends the difference
x^t - x^(t-1), of as many bits, and adds up what it received, for which all have to begin with one model and may never miss a
message. From the models follow the same numbers, any beginning will do, and nothing is wrong for ever (ours).

The paper's: one minibatch a round. Ours: several local steps, whose pseudo-gradient takes the place of g, and a deadline. The weight
of a missing message returns to the device, which sees less movement then; the invariant mean_i y_i = mean_i g_i is violated
by what one end of a link saw and the other did not, and such a violation fades by mu a round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from learners.decentralized.combination import Combination, Complete
from learners.decentralized.neighbor_sgd import NeighborSgd
from learners.fields import check_number
from learners.local_step import divisor
from learners.protocol import Node, Program, Report
from learners.quantities import Share


@dataclass(frozen=True)
class Gut(NeighborSgd):
    """mu: how much of the movement is tracked, 0 to 1 (the paper's runs: 0.9, with momentum 0.005 to 0.08). momentum: beta of
    QG-GUTm; 0: GUT."""

    mu: Share = 0.9

    trains_with_momentum: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("mu", self.mu, zero=True)
        if self.mu > 1:
            raise ValueError(f"mu = {self.mu!r}: at most 1")

    def program(self, node: Node) -> Program:
        zeros, beta = node.task.zero_parameters, self.momentum
        x, k = node.initial_parameters, 0  # [num_params], as all that follow
        before, s_before, delta, m = x, zeros, zeros, zeros
        last: Any = None  # the rate of the round before
        again = beta + beta**2 if self.nesterov else beta  # so many times more does s count in the bracket
        while self.goes_on(k):
            sent = yield from self.publish(node, k, x)
            heard = yield from self.gather(node, sent)
            rate = self.rate(node, k)
            first, last = last is None, rate if last is None else last
            mixed, s, tracked = yield from heard.combine(
                MIX_AND_MOVE, x, before, s_before, delta, last, 0.0 if first else self.mu, again
            )
            batches = self.batches(node)
            if beta:
                args = (x, tracked, s, last, m, beta, self.nesterov)
                x_next, delta, m = yield from self.adapt(node, mixed, k, batches, with_momentum, *args)
            else:
                x_next, delta = yield from self.adapt(node, mixed, k, batches, tracked_step, x, tracked, s, last)
            before, s_before, x, last = x, s, x_next, rate
            yield Report("after_local_training", x)
            k = yield from self.close(node, x, heard)


def mix_and_move(
    x: Tensor,
    s: Tensor,
    complete: Complete,
    before: Tensor,
    s_before: Tensor,
    delta: Tensor,
    last_rate: float | Tensor,
    mu: float,
    again: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """xb = x + s; s itself; and mu ((s + x - x_before + again * s_before) / lr' + delta). All: [num_params]."""
    moved = (s + x - before + again * s_before) / divisor(last_rate)
    return x + s, s, mu * (moved + delta)


def tracked_step(
    mixed: Tensor,
    g: Tensor,
    learning_rate: float | Tensor,
    x: Tensor,
    tracked: Tensor,
    s: Tensor,
    last_rate: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """x - lr y and delta = g - s / lr', with y = delta - tracked. All: [num_params]."""
    delta = g - s / divisor(last_rate)
    return x - learning_rate * (delta - tracked), delta


def with_momentum(
    mixed: Tensor,
    g: Tensor,
    learning_rate: float | Tensor,
    x: Tensor,
    tracked: Tensor,
    s: Tensor,
    last_rate: float | Tensor,
    m: Tensor,
    beta: float,
    nesterov: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `tracked_step` with m <- beta m + y, and x - lr m, or x - lr (y + beta m)."""
    delta = g - s / divisor(last_rate)
    y = delta - tracked
    m = beta * m + y
    return x - learning_rate * (y + beta * m if nesterov else m), delta, m


MIX_AND_MOVE = Combination(mix_and_move)

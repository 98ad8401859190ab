"""DSGT: decentralized stochastic gradient tracking.

Pu and Nedic, "Distributed stochastic gradient tracking methods", Mathematical Programming 187 (2021), arXiv 1805.11454; Di Lorenzo
and Scutari, "NEXT", IEEE Trans. Signal and Information Processing over Networks 2 (2016), with the order of the public code of
quasi-global momentum (epfml/quasi-global-momentum). Besides its model x_i a device keeps y_i, its estimate of the mean gradient
of all. In every round t, with neighbors j and mixing weights W:

    y_i^t = sum_j W_ij y_j^(t-1) + g_i(x_i^t) - g_i(x_i^(t-1)),    y_i^0 = g_i(x_i^0)
    x_i^(t+1) = sum_j W_ij x_j^t - lr y_i^t

so that mean_i y_i = mean_i g_i in every round, and constant steps have no bias where gradients have no noise. With `momentum`,
u_i <- beta u_i + g_i stands for g_i: see `momentum_tracking`.

Sends, per round and device: x_i and y_i as one message to every neighbor, 2 * 32 * num_params bits with float32.

The paper's: one minibatch a round. Ours: several local steps, whose pseudo-gradient takes the place of g; a deadline; and what
happens where something is missing. The state kept is s_i = sum_j W_ij y_j - g_i, what flowed in from others: the flows of the two
ends of a link cancel, which is the invariant mean_i s_i = 0, as long as both have heard each other. The theory has no losses.
Here a missing message's weight returns to the device, in x and y, and s_i starts anew from 0: its next y_i is its own
gradient, as in D-PSGD (ours; coordinate by coordinate where only parts are missing). What the other end kept stays with it until
it misses something itself, so that means are off for as long; carried along, the differences would add up for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from learners.decentralized.combination import Combination, Complete, where_complete
from learners.decentralized.neighbor_sgd import NeighborSgd
from learners.protocol import Node, Program, Report


@dataclass(frozen=True)
class GradientTracking(NeighborSgd):
    """momentum: beta, of the gradients that are tracked; the buffer is the device's own and never travels."""

    trains_with_momentum: ClassVar[bool] = False

    def program(self, node: Node) -> Program:
        x, s, u, k = node.initial_parameters, node.task.zero_parameters, node.task.zero_parameters, 0  # [num_params]
        while self.goes_on(k):
            rate, batches = self.rate(node, k), self.batches(node)
            if self.momentum:
                args: tuple[Any, ...] = (s, u, self.momentum, self.nesterov)
                xy, u, trained = yield from self.adapt(node, x, k, batches, with_tracked_momentum, *args)
            else:
                xy, trained = yield from self.adapt(node, x, k, batches, with_tracked_gradient, s)
            yield Report("after_local_training", trained)
            sent = yield from self.publish(node, k, xy)
            heard = yield from self.gather(node, sent)
            x, s = yield from heard.combine(MIX_AND_DESCEND, xy, s, rate)
            k = yield from self.close(node, x, heard)


def with_tracked_gradient(x: Tensor, g: Tensor, learning_rate: float | Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """(x, y) as one vector [2 num_params] with y = s + g, and x - lr y. x, g, s: [num_params]."""
    y = s + g
    return torch.cat((x, y)), x - learning_rate * y


def with_tracked_momentum(
    x: Tensor, g: Tensor, learning_rate: float | Tensor, s: Tensor, u: Tensor, beta: float, nesterov: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `with_tracked_gradient`, of u <- beta u + g, or of g + beta u with Nesterov's momentum; u second."""
    u = beta * u + g
    xy, trained = with_tracked_gradient(x, g + beta * u if nesterov else u, learning_rate, s)
    return xy, u, trained


def mix_and_descend(
    xy: Tensor, c: Tensor, complete: Complete, s: Tensor, learning_rate: float | Tensor
) -> tuple[Tensor, Tensor]:
    """x + c_x - lr y and s + c_y, or 0 where something is missing. xy, c: [2 num_params]; s: [num_params]."""
    n = s.shape[0]
    there = complete if isinstance(complete, bool) else complete[n:]
    return xy[:n] + c[:n] - learning_rate * xy[n:], where_complete(there, s + c[n:])


MIX_AND_DESCEND = Combination(mix_and_descend)

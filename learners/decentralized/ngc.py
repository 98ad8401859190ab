"""NGC: neighborhood gradient clustering.

Aketi, Kodge and Roy, "Neighborhood gradient clustering: an efficient decentralized learning method for non-IID data
distributions" (arXiv 2209.14390), as its public code runs it (aparna-aketi/neighborhood_gradient_clustering); reconstructed from it,
the paper's formulas could not be compared. In every round, at device i with neighbors j:

    exchange 1   x_i to all neighbors
    mix          xb_i <- x_i + gamma sum_j W_ij (x_j - x_i)
    gradients    s_i = g_i(xb_i);  g_ji = g_i(x_j), of own samples at the neighbors' models as received
    exchange 2   g_ji to neighbor j, each its own; back come g_ij = g_j(x_i)
    step         x_i <- xb_i - lr u,   u from  W_ii s_i + sum_j W_ij ((1 - alpha) g_ji + alpha g_ij)

u: with weight decay, and with momentum, the device's own or, with quasi_global = true, that of the code's form of quasi-global
momentum ("ngc-code" of `qg_dsgdm`, its mu that of `momentum`).

Sends, per round: 32 * num_params bits to all neighbors at once with float32, then 32 * num_params to each. With alpha = 0 there
is no second exchange.

The code's: order, weights, one minibatch a round; alpha 0 or 1. Ours: Metropolis weights where degrees differ, any alpha between, a
deadline of each exchange, several local steps: the gradients of their minibatches, all at the models that both ends know, are
added.
Lost messages: the weight of a gradient that is missing, of a neighbor whose model or whose answer was lost, returns to s_i,
coordinate by coordinate where an answer arrived in part; who lost a model answers with an empty message. Nothing but the
momentum is carried from round to round. The theory has no losses in it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.averaging import fill
from learners.decentralized.mix_first import MixFirst, completed
from learners.decentralized.neighbor_sgd import Heard
from learners.decentralized.qg_dsgdm import MIX_AND_AVERAGE, stepped_with_buffer
from learners.deferred import Op
from learners.local_step import Rule, gradient_of
from learners.protocol import Compute, Node, Program, Report, Value
from learners.quantities import Share
from learners.task import Task


@dataclass(frozen=True)
class Ngc(MixFirst):
    """alpha: share of the gradients that the neighbors compute, against those at the neighbors' models."""

    alpha: Share = 1.0

    recursion = "ngc-code"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha = {self.alpha!r}: from 0 to 1")

    def program(self, node: Node) -> Program:
        task, x, k = node.task, node.initial_parameters, 0  # x: [num_params]
        h = task.zero_parameters  # or m, where it is not quasi-global
        mixed: Any = None
        rate: Any = None
        while self.goes_on(k):
            batches = self.batches(node)
            heard = yield from completed((yield from self.listen(node, k, x)), x)
            if self.quasi_global and mixed is not None:
                mixed, h = yield from heard.combine(MIX_AND_AVERAGE, x, mixed, h, rate, self.momentum)
            else:
                mixed = yield from heard.mix(x, x)
            models = yield Compute(lined_up(task), (mixed, heard.values))
            nothing = task.zero_parameters.new_zeros(models.shape)
            add = cross_gradients(task, self.crop_padding).scan
            gradients = yield Compute(add, (nothing, batches.steps, models), work=batches.work)
            back, back_weights = yield from self._exchange(node, heard, gradients)
            rate = self.rate(node, k)
            args = (self.alpha, self.weight_decay, h, self.momentum, self.nesterov)
            weights = heard.weights / self.averaging_rate
            x, m = yield Compute(clustered(task), (mixed, gradients, weights, back, back_weights, rate, *args))
            h = h if self.quasi_global else m
            yield Report("after_local_training", x)
            k = yield from self.close(node, x, heard)

    def _exchange(self, node: Node, heard: Heard, gradients: Value) -> Generator[Any, Any, tuple[list[Value], Tensor]]:
        """Exchange 2: the g_ij that came back, and their weights."""
        if not self.alpha:
            return [], node.tensor([])
        own, *of_neighbors = yield Compute(apart(node.task), (gradients,))
        asked = heard.received.senders
        payloads = {j: self.codec.payload(g, node) for j, g in zip(asked, of_neighbors, strict=False)}
        back, senders, degrees = [], [], []
        for message in (yield from self.give_back(node, heard, payloads)):
            g = message.data
            if message.mask is not None:
                g = yield Compute(fill, (g, message.mask, own))
            back.append(g)
            senders.append(message.sender)
            degrees.append(message.degree)
        weights = self.weights_of(node, len(heard.sent.neighbors), senders, degrees)
        return back, node.tensor(weights)


def lined_up(task: Task) -> Op:
    """(xb, received) -> [1 + m, num_params] of xb and the received models; with zeros behind them where jobs are batched."""

    def lined_up(x: Tensor, received: Tensor) -> Tensor:
        return torch.cat((x.unsqueeze(0), received))

    return task.op(
        "lined_up",
        lambda: Op(
            lined_up,
            name="lined_up",
            loop=task.model.has_convolution,
            ragged=("received",),
            flops=lambda x, *_: x.numel(),
        ),
    )


def cross_gradients(task: Task, padding: int | None) -> Op:
    """(gradients, *steps, models) -> gradients, with those of one minibatch at every model added. gradients, models: [m, num_params];
    steps: one step of `Batches.steps`."""
    gradient = gradient_of(task, task.objective, Rule(crop_padding=padding))

    def cross_gradients(gradients: Tensor, *rest: Any) -> Tensor:
        *one, models = rest

        def at(x: Tensor) -> Tensor:
            return gradient(x, tuple(one), ())

        return gradients + torch.stack([at(x) for x in models.unbind(0)])

    return task.op(
        ("cross_gradients", padding),
        lambda: Op(cross_gradients, name="cross_gradients", loop=task.model.has_convolution),
    )


def apart(task: Task) -> Op:
    """[m, num_params] -> m vectors."""

    def apart(rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(row.clone() for row in rows.unbind(0))

    return task.op(
        "apart",
        lambda: Op(apart, name="apart", loop=task.model.has_convolution, flops=lambda rows: rows.shape[-1]),
    )


def clustered(task: Task) -> Op:
    """(xb, gradients, weights, back, back_weights, learning_rate, alpha, weight_decay, h, beta, nesterov) -> x and m.

    gradients: s, then g_ji in the order of weights W_ij [m]; back: ragged g_ij in the order of back_weights"""

    def clustered(
        x: Tensor,
        gradients: Tensor,
        weights: Tensor,
        back: Tensor,
        back_weights: Tensor,
        learning_rate: float | Tensor,
        alpha: float,
        weight_decay: float,
        h: Tensor,
        beta: float,
        nesterov: bool,
    ) -> tuple[Tensor, Tensor]:
        s = gradients[0]
        model_variant = (1 - weights.sum()) * s + (weights.unsqueeze(-1) * gradients[1 : 1 + len(weights)]).sum(0)
        g = (1 - alpha) * model_variant
        if alpha:
            g = g + alpha * ((1 - back_weights.sum()) * s + back_weights @ back)
        return stepped_with_buffer(x, g + weight_decay * x, learning_rate, h, beta, nesterov)

    return task.op(
        "clustered",
        lambda: Op(
            clustered,
            name="clustered",
            loop=task.model.has_convolution,
            ragged=("weights", "back", "back_weights"),
            flops=lambda x, *_: x.numel(),
        ),
    )

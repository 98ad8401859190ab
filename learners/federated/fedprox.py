"""FedProx: FedAvg whose clients are held near the model that they got.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated optimization in heterogeneous networks", MLSys 2020, Algorithm 2 (arXiv
1812.06127). Client i minimizes its own loss plus (mu / 2) |w_i - w|^2, where w is the model that it received in this round:

    w_i <- w,  then local SGD steps  w_i <- w_i - lr * (g_i(w_i; batch) + mu (w_i - w))
    w   <- sum_{i in S_k} p_i w_i                                                          as in FedAvg

Sends what FedAvg sends, 32 * num_params bits each way with float32, and has all of its keys. mu = 0 is FedAvg, bit for bit.

The paper's: the proximal term, and that a client may do less than the others and is averaged all the same. Ours: how much less is
a matter of time: with local_time_s a client stops after the step in which that much time has passed since it began, so that slow
ones do fewer steps. The paper samples clients by their number of samples and averages them equally; here, as in FedAvg and in
public code, clients are sampled equally and weighted by samples.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from learners.federated.fedavg import FedAvg
from learners.fields import check_number
from learners.protocol import Batches, Node, Observe, Value
from learners.quantities import PositiveOrZero, Seconds


@dataclass(frozen=True)
class FedProx(FedAvg):
    """As `FedAvg`. proximal_weight: mu. local_time_s: after which a client takes no further step, without momentum; not given: all
    steps."""

    proximal_weight: PositiveOrZero = 0.1
    local_time_s: Seconds | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("proximal_weight", self.proximal_weight, zero=True)
        check_number("local_time_s", self.local_time_s, optional=True)
        if self.local_time_s is not None and self.momentum:
            raise ValueError(f"local_time_s = {self.local_time_s!r}: only without momentum")

    def local_training(self, node: Node, w: Value, k: int) -> Generator[Any, Any, Value]:
        batches = self.batches(node)
        if self.local_time_s is None:
            return (yield from self._steps(node, w, k, batches, w))
        x, end_s = w, (yield Observe("time")) + self.local_time_s
        for step in batches.apart():
            x = yield from self._steps(node, x, k, step, w)
            if (yield Observe("time")) >= end_s:
                break
        return x

    def _steps(self, node: Node, x: Value, k: int, batches: Batches, w: Value) -> Generator[Any, Any, Value]:
        if not self.proximal_weight:
            return (yield from self.train(node, x, k, batches))
        args = w, self.proximal_weight
        return (yield from self.train(node, x, k, batches, None, *args, correction=proximal))


def proximal(x: Tensor, w: Tensor, proximal_weight: float) -> Tensor:
    """mu (x - w), the gradient of (mu / 2) |x - w|^2. x, w: [num_params]; proximal_weight: mu."""
    return proximal_weight * (x - w)

"""FedOpt: FedAvg with an optimizer at the server. FedAvgM, FedAdagrad, FedAdam and FedYogi.

Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated visual classification", 2019 (arXiv
1909.06335): server momentum. Reddi et al., "Adaptive federated optimization", ICLR 2021, Algorithm 2 (arXiv 2003.00295): the
others. How far the clients came on the mean in a round, D, is what the server takes for a descent direction, elementwise:

    D <- sum_{i in S_k} p_i w_i - w                                                       p_i: as in FedAvg

    momentum     v <- beta1 v + D,                       w <- w + server_rate v
    adagrad      v <- v + D^2
    adam         v <- beta2 v + (1 - beta2) D^2
    yogi         v <- v - (1 - beta2) D^2 sign(v - D^2)
    all three    m <- beta1 m + (1 - beta1) D,           w <- w + server_rate m / (sqrt(v) + tau)

m = 0 at first, v = initial_v (momentum: 0); no correction of the bias, as in the paper. Momentum with beta1 = 0 and server_rate = 1
is FedAvg. bias_correction = "flower" is the FedAdam of the library of that name, which in its r-th step, r = 1, 2, .., has

    w <- w + server_rate sqrt(1 - beta2^(r+1)) / (1 - beta1^(r+1)) m / (sqrt(v) + tau)

an exponent that is one ahead of Adam's, so that its first steps are smaller; there tau = 1e-9 and initial_v = 0, which are the defaults
then.

Sends what FedAvg sends, 32 * num_params bits each way with float32, and has all of its keys; the moments stay at the server.
Ours: in a round of which nothing came back the server keeps the model, and the moments too; it is no step.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from learners.deferred import op
from learners.federated.fedavg import FedAvg
from learners.fields import check_choice, check_number
from learners.protocol import Compute, Node, Value
from learners.quantities import LearningRate, Momentum, Positive, PositiveOrZero

DEFAULT_RATES = {"momentum": 1.0, "adagrad": 0.1, "adam": 0.1, "yogi": 0.1}
DEFAULT_BETA2 = 0.99
DEFAULT_TAU = 1e-3
FLOWER_TAU = 1e-9


@dataclass(frozen=True)
class FedOpt(FedAvg):
    """As `FedAvg`. optimizer: "momentum", "adagrad", "adam" or "yogi". server_rate: 1 with momentum, else 0.1. beta1: of the momentum,
    or of the first moment. beta2: of the second moment of "adam" and "yogi" (0.99). tau: the least that a step is divided by, not
    with "momentum" (0.001). initial_v: where the second moment starts, not with "momentum" (tau^2). bias_correction: of "adam", "none" or
    "flower", with which tau is 1e-9 and initial_v 0 where not given."""

    optimizer: Literal["momentum", "adagrad", "adam", "yogi"] = "momentum"
    server_rate: LearningRate | None = None
    beta1: Momentum = 0.9
    beta2: Momentum | None = None
    tau: Positive | None = None
    initial_v: PositiveOrZero | None = None
    bias_correction: Literal["none", "flower"] = "none"

    only_trains: ClassVar[bool] = (
        False  # the server steps along the mean change, of which running statistics are no part
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("optimizer", self.optimizer, tuple(DEFAULT_RATES))
        if self.server_rate is None:
            object.__setattr__(self, "server_rate", DEFAULT_RATES[self.optimizer])
        check_number("server_rate", self.server_rate)
        check_choice("bias_correction", self.bias_correction, ("none", "flower"))
        adaptive, corrects = self.optimizer != "momentum", self.bias_correction != "none"
        if corrects and self.optimizer != "adam":
            raise ValueError(f'bias_correction = {self.bias_correction!r}: only with optimizer = "adam"')
        self._only_with("beta2", self.optimizer in ("adam", "yogi"), 'optimizer = "adam" or "yogi"', DEFAULT_BETA2)
        self._only_with("tau", adaptive, "an adaptive optimizer", FLOWER_TAU if corrects else DEFAULT_TAU)
        initial_v = 0.0 if corrects else (self.tau or 0.0) ** 2
        self._only_with("initial_v", adaptive, "an adaptive optimizer", initial_v)
        check_number("tau", self.tau, optional=True)
        check_number("initial_v", self.initial_v, optional=True, zero=True)
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            check_number(name, value, optional=name == "beta2", zero=True)
            if value is not None and value >= 1:
                raise ValueError(f"{name} = {value!r}: less than 1")

    def next_model(self, node: Node, w: Value, mean: Value) -> Generator[Compute, Any, Value]:
        zeros = node.task.zero_parameters
        if self.optimizer == "momentum":
            v = node.state.get("v", zeros)
            w, node.state["v"] = yield Compute(momentum_step, (w, mean, v, self.server_rate, self.beta1))
            return w
        m, v = node.state.get("moments") or (zeros, zeros + (self.initial_v or 0.0))
        rate = self.server_rate if self.bias_correction == "none" else self._corrected_rate(node)
        args = (w, mean, m, v, rate, self.beta1, self.beta2, self.tau, self.optimizer)
        w, *node.state["moments"] = yield Compute(adaptive_step, args)
        return w

    def _corrected_rate(self, node: Node) -> Tensor:
        """Of the server's next step."""
        assert self.server_rate is not None
        assert self.beta2 is not None
        r = node.state["steps"] = node.state.get("steps", 0) + 1
        return node.tensor(self.server_rate * sqrt(1 - self.beta2 ** (r + 1)) / (1 - self.beta1 ** (r + 1)))


@op(loop=True, flops=lambda w, mean, v, server_rate, beta1: 5 * w.numel())
def momentum_step(w: Tensor, mean: Tensor, v: Tensor, server_rate: float, beta1: float) -> tuple[Tensor, Tensor]:
    """w and v after a step of momentum. w, mean, v: [num_params]."""
    v = beta1 * v + (mean - w)
    return w + server_rate * v, v


@op(loop=True, flops=lambda w, mean, m, v, server_rate, beta1, beta2, tau, optimizer: 15 * w.numel())
def adaptive_step(
    w: Tensor,
    mean: Tensor,
    m: Tensor,
    v: Tensor,
    server_rate: float | Tensor,
    beta1: float,
    beta2: float | None,
    tau: float,
    optimizer: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """w, m and v after a step of "adagrad", "adam" or "yogi". w, mean, m, v: [num_params]. Charged are 15 operations a value."""
    d = mean - w
    square = d * d
    m = beta1 * m + (1 - beta1) * d
    if optimizer == "adagrad":
        v = v + square
    elif optimizer == "adam":
        v = beta2 * v + (1 - beta2) * square  # type: ignore[operator]
    else:
        v = v - (1 - beta2) * square * torch.sign(v - square)  # type: ignore[operator]
    return w + server_rate * m / (v.sqrt() + tau), m, v

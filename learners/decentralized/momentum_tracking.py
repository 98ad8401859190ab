"""Momentum tracking: the mean of the devices' momenta is tracked, so that momentum does not amplify what differs between them.

Takezawa, Bao, Niwa, Sato and Yamada, "Momentum tracking: momentum acceleration for decentralized deep learning on heterogeneous
data", TMLR 2023 (arXiv 2209.15505), as a public code runs it (aparna-aketi/Momentum_Tracking). With c_i = u_i = 0 at first:

    u_i <- beta u_i + g_i(x_i)
    p_i = u_i - c_i
    x_i <- sum_j W_ij x_j - lr p_i
    c_i <- sum_j W_ij (c_j - u_j) + u_i

It is gradient tracking with u_i for g_i: p_i is its y_i, and -c_i its s_i, so that mean_i c_i = 0 and mean_i p_i = mean_i u_i.
What is sent (the code's c_j - u_j with the other sign: x_i and p_i, 2 * 32 * num_params bits with float32), several local steps,
and what a lost message does: see `gradient_tracking`. There c_i starts anew from 0, and the device goes on with its own momentum.
"""

from __future__ import annotations

from dataclasses import dataclass

from learners.decentralized.gradient_tracking import GradientTracking
from learners.quantities import Momentum


@dataclass(frozen=True)
class MomentumTracking(GradientTracking):
    """momentum: beta, above 0."""

    momentum: Momentum = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.momentum:
            raise ValueError("momentum = 0: needs momentum above 0 (without, it is gradient_tracking)")

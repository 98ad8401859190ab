"""Water-filling: the powers of K parallel channels with the largest sum of rates, in closed form, for many samples at once.

    maximize sum_k log2(1 + g_k p_k)   with p_k >= 0 and sum_k p_k = P
    p_k = max(0, mu - 1/g_k),   mu = (P + sum_{j <= q} 1/g_j) / q

with gains in falling order and q the largest number with mu > 1/g_q. Any textbook: Cover and Thomas, "Elements of information theory",
2nd ed., section 9.4. Computed from the depths 1/g_k - 1/g_1 below the best channel's, so that a budget far below 1/g_1 is
not rounded away.
"""

from __future__ import annotations

import numpy as np

from learners.control.gains import check_budget, check_gains


def water_filling(gains: np.ndarray, budget: float | np.ndarray) -> np.ndarray:
    """Powers [num, K], float64; each row adds up to its budget, or to 0 where all of its gains are.

    gains: [num, K] SNRs at unit power; a channel with gain 0 (padding) gets no power. budget: P, or [num] of them, above 0.
    Raises ValueError for negative or infinite gains, K = 0, or a budget that is not above 0.
    """
    gains = np.asarray(gains, dtype=np.float64)
    check_gains("gains", gains, 2)
    budgets = np.broadcast_to(np.asarray(budget, dtype=np.float64), gains.shape[:1])
    for power in {float(budgets.min()), float(budgets.max())} if len(budgets) else ():
        check_budget("budget", power)
    best = gains.max(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depths = np.where(gains > 0, (1 - gains / best) / gains, np.inf)
        levels = np.sort(depths, axis=1)  # rising, from 0
        num = np.arange(1, gains.shape[1] + 1)
        water = (budgets[:, None] + levels.cumsum(1)) / num  # mu - 1/g_1 if the best q channels have power
        used = np.maximum((water > levels).sum(1), 1)  # true for the first q, false for all others
        powers = water[np.arange(len(gains)), used - 1][:, None] - depths
    return np.where(depths < np.inf, np.maximum(0.0, powers), 0.0)

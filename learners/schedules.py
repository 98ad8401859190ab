"""Learning rates that change from round to round.

With base rate r, W warm-up rounds and round k = 0, 1, ...:

    warm-up     r (k + 1) / (W + 1)                                       k < W
    constant    r
    step        r f^floor(n / K)                                          n = k - W
    cosine      e + (r - e) (1 + cos(pi min(n / K, 1))) / 2,   e: the final rate, reached after K rounds and kept

Within a round the rate is constant: a device takes the round from the message that it answers, or from its own count
where nobody leads.

Sources: linear warm-up: Goyal et al., "Accurate, large minibatch SGD", arXiv 1706.02677, section 2.2 (theirs rises with
every step; ours with every round). Cosine: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5, one period.
"""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["constant", "step", "cosine"]


def learning_rate_at(
    k: int,
    learning_rate: float,
    schedule: ScheduleName = "constant",
    warmup_rounds: int = 0,
    decay_rounds: int = 1,
    decay_factor: float = 0.1,
    final_learning_rate: float = 0.0,
) -> float:
    """The rate of round k, from 0.

    learning_rate, warmup_rounds, decay_rounds, decay_factor, final_learning_rate: r, W, K, f and e above
    """
    n = k - warmup_rounds
    if n < 0:
        return learning_rate * (k + 1) / (warmup_rounds + 1)
    if schedule == "step":
        return learning_rate * decay_factor ** (n // decay_rounds)
    if schedule == "cosine":
        falling = (1 + math.cos(math.pi * min(n / decay_rounds, 1.0))) / 2
        return final_learning_rate + (learning_rate - final_learning_rate) * falling
    return learning_rate

"""D2 and exact diffusion: each device corrects its steps by what mixing has given it so far.

Tang, Lian, Yan, Zhang and Liu, "D2: decentralized training over decentralized data", ICML 2018 (arXiv 1803.07068); exact
diffusion: Yuan, Ying, Zhao and Sayed, IEEE Trans. Signal Processing 67 (2019), the same with (I + W) / 2 for W. With
neighbors j and mixing weights W:

    x_i^1 = sum_j W_ij (x_j^0 - lr g_j^0)
    x_i^(t+1) = sum_j W_ij (2 x_j^t - x_j^(t-1) - lr (g_j^t - g_j^(t-1)))

in the equivalent form of a correction c_i (0 at first), which any local optimizer fits into (as in the code of RelaySGD,
epfml/relaysgd):

    z_i = x_i - lr g_i + c_i
    x_i+ = sum_j W_ij z_j,    c_i+ = c_i + x_i+ - z_i

Constant steps have no bias where gradients have no noise. D2 needs the least eigenvalue of W above -1/3 (refused on fixed graphs
where it is not: a ring of an even number with weights of 1/3 has just that); exact diffusion is safe on any connected graph.

Sends, per round and device: z_i to every neighbor, 32 * num_params bits with float32.

The paper's: one minibatch a round. Ours: several local steps, or steps with momentum, whose displacement takes the place of -lr g;
a deadline; and what happens where something is missing. c_i is what flowed in over the links; the two ends of a link cancel, which
is the invariant mean_i c_i = 0, as long as both have heard each other. The theory has no losses; with the correction carried on, a
public study saw D2 diverge at 1 % of messages lost. Here a missing message's weight returns to the device, and its c_i starts anew
from 0, as D2 does in its first step (ours; coordinate by coordinate where only parts are missing): what the other end kept
biases the mean until that one misses something itself, and nothing adds up for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from torch import Tensor

from learners.decentralized.combination import Combination, Complete, where_complete
from learners.decentralized.neighbor_sgd import NeighborSgd
from learners.fields import check_choice
from learners.mixing import eigenvalues
from learners.protocol import Node, Program, Report

LEAST_EIGENVALUE = -1 / 3
SHARE_OF_MIXING = {"d2": 1.0, "exact_diffusion": 0.5}
"""a of (1 - a) I + a W."""


@dataclass(frozen=True)
class D2(NeighborSgd):
    """form: "d2" with W, "exact_diffusion" with (I + W) / 2."""

    form: Literal["d2", "exact_diffusion"] = "d2"

    takes_matrix = "symmetric"
    negative_weights = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("form", self.form, tuple(SHARE_OF_MIXING))

    def check_matrix(self, matrix: np.ndarray) -> None:
        """ValueError where a mixing matrix [num_devices, num_devices] makes the method unstable. One with entries below 0 may have eigenvalues
        anywhere."""
        values = np.sort(eigenvalues(matrix).real)
        others = np.delete(values, np.abs(values - 1).argmin())  # without the 1 of the mean
        limit = 1 - (1 - LEAST_EIGENVALUE) / SHARE_OF_MIXING[self.form]  # of W, that a W + (1 - a) I is above -1/3
        if len(others) and others[0] <= limit + 1e-9:
            says = 'form = "exact_diffusion" works on any graph' if self.form == "d2" else "entries of 0 or more"
            raise ValueError(
                f'form = "{self.form}": is stable where the least eigenvalue of the mixing matrix is above '
                f"{Fraction(limit).limit_denominator(9)}, here it is {others[0]:.4f}; {says}"
            )
        if len(others) and others[-1] >= 1 - 1e-9:
            raise ValueError(
                f'form = "{self.form}": the eigenvalues of the mixing matrix beside that of the mean have to be below 1, one is {others[-1]:.4f}'
            )

    def program(self, node: Node) -> Program:
        x, c, k = node.initial_parameters, node.task.zero_parameters, 0  # [num_params]
        share = SHARE_OF_MIXING[self.form]
        while self.goes_on(k):
            z, trained = yield from self.adapt(node, x, k, self.batches(node), corrected, c)
            yield Report("after_local_training", trained)
            sent = yield from self.publish(node, k, z)
            heard = yield from self.gather(node, sent)
            x, c = yield from heard.combine(MIX_AND_CORRECT, z, c, share)
            k = yield from self.close(node, x, heard)


def corrected(x: Tensor, g: Tensor, learning_rate: float | Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """x - lr g + c and x - lr g. All: [num_params]."""
    trained = x - learning_rate * g
    return trained + c, trained


def mix_and_correct(z: Tensor, mixing: Tensor, complete: Complete, c: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """x+ = z + a sum_j w_ij (z_j - z), and c + x+ - z, or 0 where something is missing. All: [num_params]."""
    step = share * mixing
    return z + step, where_complete(complete, c + step)


MIX_AND_CORRECT = Combination(mix_and_correct)

"""When quasi-global momentum is stable: what is left of a disagreement has to die out by itself.

Momentum that follows displacements feeds the steps of mixing back, and on some graphs every round makes more of a disagreement
instead of less. Without gradients each recursion (see `qg_dsgdm`) is linear and falls apart along the eigenvectors of the
mixing matrix W. With an eigenvalue l, v = lr * momentum, b = beta (beta^2 with Nesterov's momentum), G = 1 - averaging_rate (1 - l):

    qgm         x+ = l (x - b v),         v+ = mu v + (1 - mu) (x - x+)
    ngc-code    x+ = G x - b v+,          v+ = mu v + (1 - mu) (X - G x),     X+ = G x
    ccl-code    x+ = G x - b v+ / beta,   v+ = beta (v + (1 - G) x)

and is stable if the eigenvalues of its matrix are within the unit circle for every l but the 1 of the mean. Derived here. For
ccl-code with beta = 0.9 and Nesterov's momentum that is G > -0.402: an averaging rate of 1 fails on the Dyck graph, a torus of 4 x 8
and a hypercube, and 0.9, which its public code uses on the first two, does not. Gradients can move the limit: the model-variant term of
CCL pulls the way of mixing, and LeNet-5 on Fashion-MNIST and a hypercube of 16 devices (at most 0.87 without it) diverged at 0.85.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from learners.mixing import eigenvalues

MARGIN = 1e-9


def recursion(form: str, eigenvalue: complex, momentum: float, nesterov: bool, mu: float) -> np.ndarray:
    """The matrix of one round along an eigenvector, [2, 2] of (x, v) or [3, 3] of (x, v, X). eigenvalue: l, or G;
    mu: not looked at in ccl-code."""
    b, l, a = momentum**2 if nesterov else momentum, eigenvalue, 1 - mu
    if form == "qgm":
        return np.array([[l, -l * b], [a * (1 - l), mu + a * l * b]])
    if form == "ngc-code":
        v = np.array([-a * l, mu, a])
        return np.array([np.array([l, 0, 0]) - b * v, v, [l, 0, 0]])
    v = momentum * np.array([1 - l, 1])
    return np.array([np.array([l, 0]) - b / momentum * v, v])


def growth(
    form: str, eigenvalue: complex, momentum: float, nesterov: bool, mu: float, averaging_rate: float = 1.0
) -> float:
    """By how much a disagreement along an eigenvector grows in a round, in the long run. eigenvalue: l of the mixing matrix."""
    matrix = recursion(form, 1 - averaging_rate * (1 - eigenvalue), momentum, nesterov, mu)
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def check_stable(
    form: str, matrix: np.ndarray, momentum: float, nesterov: bool, mu: float = 0.0, averaging_rate: float | None = None
) -> None:
    """ValueError where a disagreement between devices grows. matrix: [num_devices, num_devices], of mixing; averaging_rate: None
    where the learner has none."""
    found = eigenvalues(matrix)
    others = sorted(np.delete(found, np.abs(found - 1).argmin()), key=lambda value: value.real)
    rate = 1.0 if averaging_rate is None else averaging_rate
    for eigenvalue in others:
        by = growth(form, eigenvalue, momentum, nesterov, mu, rate)
        if by > 1 + MARGIN:
            remedy = "a graph whose least eigenvalue is nearer to 0, such as a ring or a complete one, or less momentum"
            if averaging_rate is not None:
                largest = _largest_stable_rate(form, others, momentum, nesterov, mu, rate)
                remedy = f"averaging_rate at most {largest:g}, or less momentum" if largest else "less momentum"
            raise ValueError(
                f"momentum = {momentum}: quasi-global momentum as it is here makes a disagreement {by:.2f} times larger every round along "
                f"the eigenvalue {eigenvalue.real:.3f} of the mixing matrix; {remedy}"
            )


def _largest_stable_rate(
    form: str, others: Sequence[complex], momentum: float, nesterov: bool, mu: float, unstable: float
) -> float:
    """The largest averaging rate below an unstable one at which no disagreement grows, in thousandths, 0 where there is none: found by
    halving, since smaller rates bring all G nearer to 1, which is stable."""
    low, high = 0, math.ceil(1000 * unstable)
    while high - low > 1:
        middle = (low + high) // 2
        grows = any(growth(form, l, momentum, nesterov, mu, middle / 1000) > 1 + MARGIN for l in others)
        low, high = (low, middle) if grows else (middle, high)
    return low / 1000

"""Nakagami-m fading: the power |h|^2 is Gamma distributed with shape m and mean 1.

    P(|h|^2 < x) = P(m, m x), the regularized lower incomplete gamma function; m = 1 is Rayleigh, m = 1/2 the deepest fades

Nakagami, "The m-distribution: a general formula of intensity distribution of rapid fading", 1960. The law is one of a single
instant; it says nothing of phases and of how the power changes with time. Reconstructed here: the power is a memoryless
transform of that of a Rayleigh link, T(x) = F_m^-1(1 - exp(-x)), so that it has the exact law, is monotone in the Rayleigh
power, and is as smooth in time. With blocks it is one independent draw a block. With Doppler fading, whose powers have the
correlation coefficient r^2 (r = J0 or J0 J0 of the distances travelled), it has the autocovariance

    sum_{k >= 1} c_k^2 r^(2k),   c_k = integral_0^inf T(x) L_k(x) exp(-x) dx,   L_k the Laguerre polynomials

(Mehler's expansion of the bivariate exponential law, which the powers follow up to the order 1/N of the finite sum of N
sinusoids). It is r^2 for m = 1. For others r^2/m is an approximation: of the variance 1/m the first term holds 98 % for m = 0.5
and 2, 91 % for m = 10 and 85 % for m = 100, and the rest fades with higher powers of r. There is no complex gain, hence no
frequency-selective form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .bounds import Bounds
from .fading import Fading

Floats = NDArray[np.float64]

MShape = Annotated[float, Bounds(0.5, 1000.0, "Nakagami's m has no unit; 1 is Rayleigh")]

_LN_RANGE = (-45.0, 6.5)  # ln of the exponential powers in the table; beyond, the probability is below 1e-19
_NUM_KNOTS = 1 << 14  # then interpolation errs by less than 1e-5 of the power


@dataclass(frozen=True)
class Nakagami(Fading):
    """Nakagami-m fading: powers with a Gamma law.

    m: shape, 0.5 or more: 1 is Rayleigh, larger fades less, 0.5 fades most.
    """

    name: ClassVar[str] = "nakagami"
    standard: ClassVar[str] = "Nakagami-m law: Nakagami, The m-distribution, 1960"
    m: MShape = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.m) and self.m >= 0.5):
            raise ValueError(f"m = {self.m}: Nakagami's m is 0.5 or more (1 is Rayleigh)")

    def exceeds(self, power: Any, num_branches: int = 1) -> Any:
        """Gamma(m L, 1/m): branches are independent."""
        from scipy.special import gammaincc

        return gammaincc(self.m * num_branches, self.m * np.asarray(power))

    def from_exponential(self, power: Floats) -> Floats:
        """T: [...] unit exponential powers to [...] powers of this law, by a table of ln T over ln x."""
        ln_x, ln_t = self._table
        with np.errstate(divide="ignore"):
            return np.exp(np.interp(np.log(power), ln_x, ln_t))

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        ln_x = np.linspace(*_LN_RANGE, _NUM_KNOTS)
        return ln_x, np.log(transform(np.exp(ln_x), self.m))


def transform(power: Floats, m: float) -> Floats:
    """T(x) = F_m^-1(1 - exp(-x)), each tail by the function that keeps its digits. power: [...]. Returns [...]."""
    from scipy.special import gammainccinv, gammaincinv

    low = np.minimum(power, 1.0)
    high = np.maximum(power, 1.0)
    powers: Floats = np.where(power < 1.0, gammaincinv(m, -np.expm1(-low)), gammainccinv(m, np.exp(-high))) / m
    return powers

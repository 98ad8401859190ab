"""One comparison of a model with theory, and its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ERRORS_PER_TOLERANCE = 3.0


@dataclass(frozen=True)
class Comparison:
    """measured: an estimate with this standard error (0 where nothing is drawn); expected: from theory; tolerance: how far
    they may be apart, in the same unit."""

    model: str
    quantity: str
    measured: float
    expected: float
    standard_error: float
    tolerance: float

    @property
    def deviation(self) -> float:
        """measured - expected in units of the tolerance."""
        difference = self.measured - self.expected
        return difference / self.tolerance if self.tolerance > 0 else (0.0 if difference == 0 else math.inf)

    @property
    def is_sharp(self) -> bool:
        """Whether the standard error is at most a third of the tolerance."""
        return self.standard_error * ERRORS_PER_TOLERANCE <= self.tolerance

    @property
    def verdict(self) -> str:
        """pass; fail; or noisy, where the estimate is too rough to tell, which counts as failed."""
        if not math.isfinite(self.measured) or abs(self.deviation) > 1:
            return "fail"
        return "pass" if self.is_sharp else "noisy"

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"


def of_samples(model: str, quantity: str, samples: Floats, expected: float, tolerance: float) -> Comparison:
    """The mean of independent samples [n]."""
    error = float(samples.std(ddof=1)) / math.sqrt(samples.size)
    return Comparison(model, quantity, float(samples.mean()), float(expected), error, float(tolerance))


def of_value(model: str, quantity: str, measured: float, expected: float, tolerance: float) -> Comparison:
    """Something without randomness."""
    return Comparison(model, quantity, float(measured), float(expected), 0.0, float(tolerance))

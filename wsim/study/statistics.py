"""Means over seeds and differences between arms, with 95 % intervals by Student's t.

    mean +- t_{0.975, n-1} s / sqrt(n)                                          n seeds, s the sample's standard deviation

Seeds are common random numbers: with the same seed two arms meet the same movement, fading, data split and initial weights.
What they have in common cancels in the difference per seed, d_i = a_i - b_i, whose standard error is

    paired    s_d / sqrt(n)
    unpaired  sqrt(s_a^2 / n + s_b^2 / n)                                       as if the two had met different worlds

Their ratio is what pairing is worth: the same interval without it takes (unpaired / paired)^2 times as many seeds.

Where some seeds have no value (they did not reach the target), those that have one are a selection: their mean is given, with
how many they are, and neither an interval nor a standard error.
Source: Law, Simulation Modeling and Analysis, 5th ed., sections 4.5 (intervals), 10.2 (paired t) and 11.2 (common random
numbers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over `num` seeds; `num_without`: seeds that have no value. half_width: of the 95 % interval, NaN for fewer than
    two seeds and where any has no value; mean: NaN for none."""

    mean: float
    half_width: float
    num: int
    num_without: int = 0


@dataclass(frozen=True)
class Difference:
    """Of two arms over the `num` seeds that have a value in both; `num_without`: seeds of both that have none in one of them.
    half_width: of the 95 % interval, paired; it and the standard errors are NaN below two seeds and where any is without."""

    mean: float
    half_width: float
    paired_se: float
    unpaired_se: float
    num: int
    num_without: int = 0

    @property
    def ratio(self) -> float:
        """Unpaired over paired standard error; infinity where the difference is the same for every seed."""
        if self.paired_se == 0.0:
            return math.nan if self.unpaired_se == 0.0 else math.inf
        return self.unpaired_se / self.paired_se


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """Mean and interval of the values that are numbers; NaN stands for a seed without one, which is left out."""
    every = np.asarray(values, dtype=np.float64)
    known = every[~np.isnan(every)]
    num, num_without = len(known), len(every) - len(known)
    if num == 0:
        return Estimate(math.nan, math.nan, 0, num_without)
    half_width = math.nan if num_without else t_quantile(num) * standard_error(known)
    return Estimate(float(known.mean()), half_width, num, num_without)


def difference(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> Difference:
    """a - b, seed by seed; a, b: [num_seeds], NaN where an arm has no value, which leaves the seed out."""
    every = np.array([a, b], dtype=np.float64)
    pairs = every[:, ~np.isnan(every).any(axis=0)]
    num = pairs.shape[1]
    num_without = every.shape[1] - num
    if num == 0:
        return Difference(*(math.nan,) * 4, 0, num_without)
    per_seed = pairs[0] - pairs[1]
    if num_without:
        return Difference(float(per_seed.mean()), *(math.nan,) * 3, num, num_without)
    paired = standard_error(per_seed)
    unpaired = math.hypot(standard_error(pairs[0]), standard_error(pairs[1]))
    return Difference(float(per_seed.mean()), t_quantile(num) * paired, paired, unpaired, num)


def standard_error(values: np.ndarray) -> float:
    """s / sqrt(n), NaN below two values."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def t_quantile(num: int) -> float:
    """Two-sided 95 % quantile of Student's t with num - 1 degrees of freedom, NaN below two values."""
    if num < 2:
        return math.nan
    return float(stdtrit(num - 1, 0.5 + CONFIDENCE / 2))


def step_hold(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """[len(grid)] the latest y at or before each point, NaN before the first. x: [n], never decreasing."""
    index = np.searchsorted(x, grid, side="right") - 1
    return np.where(index >= 0, y[np.maximum(index, 0)], np.nan) if len(x) else np.full(len(grid), np.nan)


def band(curves: Sequence[tuple[np.ndarray, np.ndarray]], grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half width of the 95 % interval over curves at each point of the grid, [len(grid)] each.

    curves: (x, y) of each seed, held from each step to the next. NaN where a curve has not begun; a curve ends at its last x,
    beyond which nothing is known: the grid should end there.
    """
    held = np.array([step_hold(x, y, grid) for x, y in curves])  # [num_curves, len(grid)]
    num = len(held)
    spread = held.std(axis=0, ddof=1) / math.sqrt(num) if num > 1 else np.full(len(grid), np.nan)
    return held.mean(axis=0), t_quantile(num) * spread

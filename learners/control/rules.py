"""What a controller's scores decide, and what rates that gives: the objectives of control problems.

A sample is one tensor, [K, width], and its last column is the presence of each object (1, or 0 for padding at the end):

    matrix: width K + 1, column j of row k is a feature of the gain from transmitter j to receiver k
    vector: width 2, column 0 is a feature of the gain of object k

Features are what models see; `gains` turns them back. Objects that are not there get no power and no rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from learners.control.rates import link_rates, parallel_rates
from learners.task import weighted_mean

Kind = Literal["matrix", "vector"]
Feature = Literal["amplitude", "log"]


LOG_SCALE = 10.0


def log_feature(gains: np.ndarray) -> np.ndarray:
    """log2(1 + gain) / 10 [...]: between 0 and some 3."""
    feature: np.ndarray = np.log1p(gains) / (LOG_SCALE * log(2))
    return feature


class Rule(Protocol):
    """kind: of the samples, see above."""

    kind: ClassVar[Kind]

    def gains(self, inputs: Tensor) -> Tensor:
        """[..., K, K] or [..., K] of samples [..., K, width], at a power of 1 and over noise."""

    def decide(self, scores: Tensor, inputs: Tensor) -> Tensor:
        """Powers [..., K] of scores [..., K] for samples [..., K, width]."""

    def full(self, inputs: Tensor) -> Tensor:
        """Powers [..., K] without any decision: the largest, or equal shares."""

    def drawn(self, uniform: Tensor, inputs: Tensor) -> Tensor:
        """Powers [..., K] at random. uniform: [..., K] in [0, 1)."""

    def applied(self, powers: Tensor) -> Tensor:
        """The powers [..., K] as they are set where they count, in tests and on the air."""

    def rates(self, powers: Tensor, inputs: Tensor) -> Tensor:
        """bit/s/Hz [..., K] of powers [..., K]."""


@dataclass(frozen=True)
class PowerControl:
    """Transmit powers of K links that interfere, each from 0 to 1 (of the largest), by a sigmoid.

    feature: "amplitude", |h_kj|, with gain |h_kj|^2 / noise; "log", `log_feature`, for gains of many orders of magnitude.
    noise: over the power of a link of amplitude 1. rounded: powers are 0 or 1 where they are tested (link activation), by their nearest.
    """

    noise: float = 1.0
    feature: Feature = "amplitude"
    rounded: bool = False

    kind: ClassVar[Kind] = "matrix"

    def gains(self, inputs: Tensor) -> Tensor:
        features = inputs[..., :-1]
        return (
            features.square() / self.noise
            if self.feature == "amplitude"
            else torch.expm1(features * (LOG_SCALE * log(2)))
        )

    def features(self, gains: np.ndarray) -> np.ndarray:
        return np.sqrt(gains * self.noise) if self.feature == "amplitude" else log_feature(gains)

    def decide(self, scores: Tensor, inputs: Tensor) -> Tensor:
        return torch.sigmoid(scores) * inputs[..., -1]

    def full(self, inputs: Tensor) -> Tensor:
        return inputs[..., -1]

    def drawn(self, uniform: Tensor, inputs: Tensor) -> Tensor:
        return uniform * inputs[..., -1]

    def applied(self, powers: Tensor) -> Tensor:
        return powers.round() if self.rounded else powers

    def rates(self, powers: Tensor, inputs: Tensor) -> Tensor:
        return link_rates(self.gains(inputs), powers)


@dataclass(frozen=True)
class PowerSplit:
    """A budget of power split over K parallel channels by a softmax. mean_gain: over noise; features are gains over their mean.
    budget: per channel."""

    mean_gain: float = 5.0
    budget: float = 0.3

    kind: ClassVar[Kind] = "vector"

    def gains(self, inputs: Tensor) -> Tensor:
        return self.mean_gain * inputs[..., 0]

    def decide(self, scores: Tensor, inputs: Tensor) -> Tensor:
        presence = inputs[..., -1]
        total = self.budget * presence.sum(-1, keepdim=True)
        return total * torch.where(presence > 0, scores, -torch.inf).softmax(-1)

    def full(self, inputs: Tensor) -> Tensor:
        return self.budget * inputs[..., -1]

    def drawn(self, uniform: Tensor, inputs: Tensor) -> Tensor:
        shares = uniform * inputs[..., -1]
        return self.budget * inputs[..., -1].sum(-1, keepdim=True) * shares / shares.sum(-1, keepdim=True)

    def applied(self, powers: Tensor) -> Tensor:
        return powers

    def rates(self, powers: Tensor, inputs: Tensor) -> Tensor:
        return parallel_rates(self.gains(inputs), powers)


@dataclass(frozen=True)
class SumRate:
    """The objective, see `learners.task.Objective`: minus the mean over samples of the sum of rates."""

    rule: Any

    __name__ = "sum_rate"

    def __call__(
        self, model: Any, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        powers = self.rule.decide(model.forward(parameters, inputs), inputs)
        return -weighted_mean(self.rule.rates(powers, inputs).sum(-1), weights)

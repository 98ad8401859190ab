"""Models that are layers one after the other, which can be cut between any two.

    h_0 = x,   h_l = f_l(parameters of stage l; h_(l-1)),   z = h_L flattened,   logits = W z + b

A stage has its own tensors of the parameters, in order; the last, linear layer comes behind them. Cut at c, stages 1 .. c are the
lower part of the model and everything behind them is the upper one: two pieces of the flat row, [lower | upper].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from torch import Tensor

from learners.models.linear_head import LinearHead


class Stage(NamedTuple):
    """apply(own tensors, h [batch, ...]) -> h [batch, ...]."""

    num_tensors: int
    apply: Callable[[Sequence[Tensor], Tensor], Tensor]


class Staged(LinearHead):
    """A base of models that say their `stages`."""

    num_classes: int
    stages: tuple[Stage, ...]

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """The last stage, flattened; the input itself where there is none."""
        return self.flattened(self.lower(parameters, inputs, len(self.stages)))

    def lower(self, parameters: Sequence[Tensor], inputs: Tensor, cut: int) -> Tensor:
        """h_cut of inputs [batch, *input_shape]; parameters: at least those of these stages."""
        return _through(self.stages[:cut], parameters, inputs)

    def upper(self, parameters: Sequence[Tensor], h: Tensor, cut: int) -> Tensor:
        """Logits [batch, num_classes] of h_cut; parameters: those behind the cut."""
        return self.head(parameters, self.flattened(_through(self.stages[cut:], parameters, h)))

    def flattened(self, h: Tensor) -> Tensor:
        """z [batch, feature_dim] of the last stage's output."""
        return h.flatten(1)

    def num_lower_tensors(self, cut: int) -> int:
        """How many of `shapes` are below the cut."""
        return sum(stage.num_tensors for stage in self.stages[:cut])

    def num_lower_params(self, cut: int) -> int:
        """Length of the lower piece of the flat row."""
        return sum(prod(shape) for shape in self.shapes[: self.num_lower_tensors(cut)])


def _through(stages: Sequence[Stage], parameters: Sequence[Tensor], h: Tensor) -> Tensor:
    first = 0
    for stage in stages:
        h = stage.apply(parameters[first : first + stage.num_tensors], h)
        first += stage.num_tensors
    return h

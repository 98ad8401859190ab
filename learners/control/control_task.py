"""The task of a control problem: what training minimizes and how a controller is tested, as ops on flat parameters.

As `learners.task.Task`, but that the indices of a minibatch say, too, how many of a sample's objects are there
(`learners.control.scale_stream`), and that models may be tested with other numbers of objects than they are trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learners.control.problem import Problem, sample_width
from learners.control.rules import SumRate
from learners.control.scale_stream import decoded
from learners.data.samples import Samples
from learners.deferred import Op
from learners.models.flat import Model, flatten, unflatten
from learners.task import DTYPES, Task

PRICED_SAMPLES = 16
"""Of a batch whose operations are counted."""


class ControlSamples(Samples):
    """test_labels: the reference's mean rates, numbers of the run's dtype."""

    def __init__(self, problem: Problem, dtype: torch.dtype) -> None:
        super().__init__(problem, dtype)  # type: ignore[arg-type]  # has what is used of a data set
        self.test_labels = self.test_labels.to(dtype)


class ControlTask(Task):
    """metric: (x, inputs [n, K, width], references [n]) -> (rate / reference [n], - rate [n]) for any K that the model takes."""

    def __init__(
        self, problem: Problem, model: Model, dtype: str = "float32", samples: ControlSamples | None = None
    ) -> None:
        self.problem = problem
        samples = samples or ControlSamples(problem, DTYPES[dtype])
        objective = SumRate(problem.rule)
        super().__init__(problem, model, dtype, samples, objective)  # type: ignore[arg-type]
        self.has_head = True  # it answers: with scores

        def unpadded(x: Tensor, inputs: Tensor) -> Tensor:
            def loss(parameters: tuple[Tensor, ...]) -> Tensor:
                return objective(model, parameters, inputs, inputs, inputs.new_ones(len(inputs)))

            return flatten(torch.func.grad(loss)(unflatten(x, model.shapes)))

        self._unpadded = Op(unpadded)

    def with_model(self, model: Model) -> ControlTask:
        dtype = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        return ControlTask(self.problem, model, dtype, self.samples)  # type: ignore[arg-type]

    def training_samples(
        self, indices: Tensor, change: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Samples [B, max_scale, width] of codes [B], and the codes: nothing is labelled. In the place of codes, samples that are no rows of
        the data set stand for themselves."""
        if indices.dtype.is_floating_point:
            return indices, indices
        return decoded(indices, self.samples.train_inputs, self.problem.kind), indices

    def step_flops(self, scale: int) -> int:
        """Floating-point operations of the gradient on `PRICED_SAMPLES` samples of so many objects: what padded ones really take."""
        shape = (PRICED_SAMPLES, scale, sample_width(self.problem.kind, scale))
        return self._unpadded.flops(self.zero_parameters, torch.empty(shape, dtype=self.dtype, device="meta"))

    def of_scale(self, scale: int) -> tuple[Tensor, Tensor]:
        """inputs [n, K, width] and references [n] of the tests of K objects."""
        inputs, reference = self.problem.tests[scale]
        samples = torch.tensor(inputs, dtype=self.dtype)
        return samples, samples.new_full((len(samples),), reference)

    def _measured(self, x: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        rule: Any = self.problem.rule
        powers = rule.decide(self.model.forward(unflatten(x, self.model.shapes), inputs), inputs)
        rates = rule.rates(rule.applied(powers), inputs).sum(-1)
        return rates / labels, -rates

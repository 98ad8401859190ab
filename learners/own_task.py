"""The interface of a task that does not come from [data] and [model] but from the caller."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from learners.deferred import Op


class OwnSamples(Protocol):
    """Tensors [num_train, ...] and [num_test, ...] of what is evaluated: a metric gets rows of them. Labels are whatever the
    metric expects, one row a sample."""

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


class OwnTask(Protocol):
    """What a run needs of a task of your own, `wsim.simulate(..., task=...)`. `learners.task.Task` is one for
    classification, with a data set, a model, an objective and a score of your choice; this is for what it does not fit.

    dtype: of all values; the scenario's `dtype`. num_params: length of x.
    train_labels: int [num_train], what [data] partition deals the training samples by.
    gradient: (x, indices [B], weights [B]) -> g [num_params]
    sgd_step: (x, indices [B], weights [B], learning_rate) -> x, plain SGD, `gradient` as an op of one call
    metric: (x, inputs [n, ...], labels [n]) -> (correct [n] bool, losses [n]), for rows of `samples`

    The three are `learners.deferred.Op`s: pure functions of one device's tensors, which close over the training set and say
    their FLOPs where torch does not count them. Learners that are asked for momentum, weight decay or augmentation, or that
    use representations, need more: `model`, `op`, `training_samples`, `zero_parameters` and `objective` as `Task` has them.
    """

    dtype: torch.dtype
    num_params: int
    train_labels: np.ndarray
    samples: OwnSamples
    gradient: Op
    sgd_step: Op
    metric: Op

    def initial_parameters(self, rng: np.random.Generator) -> Tensor:
        """x [num_params] at the start."""

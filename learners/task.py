"""A learning task: data set, model and loss in one dtype, as ops on flat parameters.

    L(x) = sum_b weight_b * cross_entropy(f(x; input_b), label_b) / sum_b weight_b

The training set is closed over by the ops, which take indices. Weights are 1 for samples and 0 for padding; a batch of
padding only leaves the model as it is.

The gradient is taken with respect to views of the flat row and joined by one concatenation: differentiating through the
slices of the flat vector would write one full-size zero gradient a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.data.dataset import Dataset
from learners.data.samples import Samples
from learners.deferred import Op
from learners.models.flat import Model, flatten, num_params, unflatten

DTYPES = {"float32": torch.float32, "float64": torch.float64}


NO_SAMPLES = np.empty(0, dtype=np.int64)

Objective = Callable[..., Tensor]
"""(model, parameters, inputs, labels, weights, *args) -> scalar, with parameters in the model's shapes, inputs [B,
*model.input_shape], labels and weights [B]; a function of a module, so that it names the op. A weight of 0 is padding."""


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """[B] bool, whether the first of the largest logits is the label's. logits: [B, num_classes]; labels: [B]."""
    return logits.max(-1).indices == labels  # argmax, at two thirds of its time


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """[B] logsumexp(z_b) - z_b[label_b]. logits: [B, num_classes]; labels: [B]. Over columns: on a CPU a tenth of the time
    that a softmax of short rows takes."""
    return -logits.mT.contiguous().log_softmax(-2).gather(-2, labels.unsqueeze(-2)).squeeze(-2)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of logsumexp(z_b) - z_b[label_b]. logits: [B, num_classes]; labels, weights: [B]. 0 if all
    weights are."""
    losses = logits.logsumexp(-1) - logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return weighted_mean(losses, weights)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """sum_b weight_b value_b / sum_b weight_b, a scalar; 0 if all weights are. values, weights: [B]."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def hits_and_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What a classification is scored by."""
    return hits(logits, labels), sample_losses(logits, labels)


def cross_entropy(model: Any, parameters: Any, inputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The objective of plain training."""
    return weighted_cross_entropy(model.forward(parameters, inputs), labels, weights)


class Task:
    """Classification of `dataset` by `model`. dtype: "float32" or "float64". Devices of one architecture share one task, and
    with it the ops, so that their jobs run together.

    sgd_step: (x, indices [B], weights [B], learning_rate) -> x, one plain SGD step
    gradient: (x, indices [B], weights [B]) -> g, the gradient of the weighted mean loss
    metric: (x, inputs [n, *input_shape], labels [n]) -> (correct [n] bool, losses [n]), the cross-entropy of each
        sample
    objective: what is minimized, see `Objective`; score: (logits [n, num_classes], labels [n]) -> (correct [n] bool,
        losses [n]), what `metric` says of a model's answers
    num_buffers: how many of the model's first tensors are running statistics. plain: sgd_step and gradient are all there is to a plain
        step; not where there are running statistics, or an objective that charges more than torch counts: `learners.local_step`
    has_head: the model classifies; else it gives representations only, and sgd_step, gradient and metric cannot be used
    public_samples: int64 [num_public], training samples that every node has, in random order; none unless [data] sets some aside
    with x and g [num_params] and samples in the data set's shape, as stored or prepared (see `Samples`); samples: its
    tensors, None to make them. Charged are the multiplications of matrices and convolutions, forward and backward; the
    elementwise rest, the scaling of images among it, is left out, as is usual for counts of training work.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: Model,
        dtype: str = "float32",
        samples: Samples | None = None,
        objective: Objective = cross_entropy,
        score: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = hits_and_losses,
        public_samples: np.ndarray = NO_SAMPLES,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype = {dtype!r}: one of {', '.join(DTYPES)}")
        if model.num_classes != dataset.num_classes:
            raise ValueError(f"model has {model.num_classes} classes, data set {dataset.name} {dataset.num_classes}")
        self.dataset = dataset
        self.model = model
        self.objective = objective
        self.score = score
        self.dtype = DTYPES[dtype]
        self.num_params = num_params(model.shapes)
        self.num_buffers: int = getattr(model, "num_buffers", 0)
        self.num_classes = dataset.num_classes
        self.train_labels = dataset.train_labels
        self.public_samples = public_samples
        self.samples = samples or Samples(dataset, self.dtype)
        self.test_inputs = self.samples.test_inputs
        self.test_labels = self.samples.test_labels
        self.zero_parameters = torch.zeros(self.num_params, dtype=self.dtype)
        self.plain = not self.num_buffers and not hasattr(objective, "extra_flops")
        self._ops: dict[Any, Op] = {}

        def gradient(x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
            inputs, labels = self.training_samples(indices)

            def loss(parameters: tuple[Tensor, ...]) -> Tensor:
                return objective(model, parameters, inputs, labels, weights)

            return flatten(torch.func.grad(loss)(unflatten(x, model.shapes)))

        def sgd_step(x: Tensor, indices: Tensor, weights: Tensor, learning_rate: float | Tensor) -> Tensor:
            return x - learning_rate * gradient(x, indices, weights)

        self.gradient = Op(gradient, name="gradient", loop=model.has_convolution)
        self.sgd_step = Op(sgd_step, name="sgd_step", loop=model.has_convolution)
        self.has_head = hasattr(model, "head")
        self.metric = Op(self._measured, name="metric", loop=model.has_convolution)

    def with_model(self, model: Model) -> Task:
        """The same task for another architecture; the samples are shared."""
        dtype = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        return Task(self.dataset, model, dtype, self.samples, self.objective, self.score, self.public_samples)

    def training_samples(
        self, indices: Tensor, change: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Inputs [B, *model.input_shape] and labels [B] of training samples `indices` [B], inside an op. change: of the
        inputs in the data set's shape, before anything else is done to them."""
        inputs, labels = self.samples.train(indices, change)
        return inputs.reshape(-1, *self.model.input_shape), labels

    def _measured(self, x: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What `metric` computes."""
        inputs = self.samples.prepared(inputs).reshape(-1, *self.model.input_shape)
        return self.score(self.model.forward(unflatten(x, self.model.shapes), inputs), labels)

    def op(self, key: Any, make: Callable[[], Op]) -> Op:
        """The op that `make` returned when it was called for this key first: one for all devices of the task."""
        found = self._ops.get(key)
        if found is None:
            found = self._ops[key] = make()
        return found

    def initial_parameters(self, rng: np.random.Generator) -> Tensor:
        """Flat parameters [num_params]; drawn in float64, so that both dtypes start from the same model."""
        return torch.tensor(self.model.initial(rng), dtype=self.dtype)

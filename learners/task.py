"""A learning task: data set, model and loss in one dtype, as ops on flat parameters.

    L(x) = sum_b weight_b * cross_entropy(f(x; input_b), label_b) / sum_b weight_b

The training set is closed over by the ops: what travels into them are indices, so that a device's minibatch costs no
copy before its turn. Weights are 1 for samples and 0 for padding; a batch of padding only leaves the model as it is.

The gradient is taken with respect to views of the flat row and joined by one concatenation: differentiating through the
slices of the flat vector would write one full-size zero gradient a tensor.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from learners.data.dataset import Dataset
from learners.deferred import Op
from learners.models.flat import Model, flatten, num_params, unflatten

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Task:
    """Classification of `dataset` by `model`. dtype: "float32" or "float64".

    sgd_step: (x, indices [B], weights [B], learning_rate) -> x, one plain SGD step
    gradient: (x, indices [B], weights [B]) -> g, the gradient of the weighted mean loss
    metric: (x, inputs [n, ...], labels [n]) -> accuracy, scalar
    with x and g [num_params]. Charged are the multiplications of matrices and convolutions, forward and backward; the
    elementwise rest is left out, as is usual for counts of training work.
    """

    def __init__(self, dataset: Dataset, model: Model, dtype: str = "float32") -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype = {dtype!r}: one of {', '.join(DTYPES)}")
        if model.num_classes != dataset.num_classes:
            raise ValueError(f"model has {model.num_classes} classes, data set {dataset.name} {dataset.num_classes}")
        self.dataset = dataset
        self.model = model
        self.dtype = DTYPES[dtype]
        self.num_params = num_params(model.shapes)
        self.num_classes = dataset.num_classes
        self.train_labels = dataset.train_labels
        self.test_inputs = self._inputs(dataset.test_inputs)
        self.test_labels = torch.tensor(dataset.test_labels)

        train_inputs = self._inputs(dataset.train_inputs)
        train_labels = torch.tensor(dataset.train_labels)

        def gradient(x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
            inputs, labels = train_inputs[indices], train_labels[indices]

            def loss(parameters: tuple[Tensor, ...]) -> Tensor:
                return weighted_cross_entropy(model.forward(parameters, inputs), labels, weights)

            return flatten(torch.func.grad(loss)(unflatten(x, model.shapes)))

        def sgd_step(x: Tensor, indices: Tensor, weights: Tensor, learning_rate: float | Tensor) -> Tensor:
            return x - learning_rate * gradient(x, indices, weights)

        def metric(x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
            predicted = model.forward(unflatten(x, model.shapes), inputs).argmax(-1)
            return (predicted == labels).to(x.dtype).mean()

        self.gradient = Op(gradient, name="gradient", loop=model.has_convolution)
        self.sgd_step = Op(sgd_step, name="sgd_step", loop=model.has_convolution)
        self.metric = Op(metric, name="metric", loop=model.has_convolution)

    def _inputs(self, inputs: np.ndarray) -> Tensor:
        return torch.tensor(inputs, dtype=self.dtype).reshape(len(inputs), *self.model.input_shape)

    def initial_parameters(self, rng: np.random.Generator) -> Tensor:
        """Flat parameters [num_params]; drawn in float64, so that both dtypes start from the same model."""
        return torch.tensor(self.model.initial(rng), dtype=self.dtype)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of logsumexp(z_b) - z_b[label_b]. logits: [B, num_classes]; labels, weights: [B]. 0 if all
    weights are."""
    losses = logits.logsumexp(-1) - logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    total = weights.sum()
    return (losses * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))

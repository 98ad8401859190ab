"""A classifier on a frozen encoder, trained by each device on its own samples when its representation is done.

    linear   logits = W z + b
    mlp      logits = W2 leaky_relu(W1 z + b1, 0.2) + b2,   100 hidden units

Cross-entropy, Adam at 0.01 with weight decay 1e-5, minibatches of 64, z in evaluation mode: the reference code's (linear for
CIFAR, the other for MNIST). The number of passes is ours. Heads are local: second moments fix no directions, and a head of one device
is of no use on another's features. Every pass over the encoder is charged.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.deferred import Op
from learners.local_step import Rule, adam
from learners.models.flat import Shapes, flatten, unflatten, uniform_layers
from learners.protocol import Compute, Node, Report, Value
from learners.task import Task, hits_and_losses, weighted_cross_entropy

HeadKind = Literal["none", "linear", "mlp"]
HIDDEN, SLOPE = 100, 0.2
LEARNING_RATE, BATCH_SIZE = 0.01, 64
RULE = Rule(weight_decay=1e-5, optimizer="adam")


def shapes_of(kind: HeadKind, d: int, num_classes: int) -> Shapes:
    """Of the head's tensors, in the order of its flat vector."""
    if kind == "linear":
        return (num_classes, d), (num_classes,)
    return (HIDDEN, d), (HIDDEN,), (num_classes, HIDDEN), (num_classes,)


def logits(parameters: Sequence[Tensor], z: Tensor) -> Tensor:
    """[B, num_classes] of representations z [B, d]."""
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        z = F.leaky_relu(F.linear(z, weight, bias), SLOPE)
    return F.linear(z, parameters[-2], parameters[-1])


def head_step(task: Task, shapes: Shapes) -> Op:
    """((h, m, v, t), indices [B], weights [B], x) -> (h, m, v, t): a step of Adam of the head h on the encoder x."""
    model = task.model

    def head_step(carry: tuple[Tensor, ...], indices: Tensor, weights: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        h, *state = carry
        inputs, labels = task.training_samples(indices)
        z = model.representation(unflatten(x, model.shapes), inputs)

        def loss(parameters: tuple[Tensor, ...]) -> Tensor:
            return weighted_cross_entropy(logits(parameters, z), labels, weights)

        g = flatten(torch.func.grad(loss)(unflatten(h, shapes))) + RULE.weight_decay * h
        return adam(g, LEARNING_RATE, h, *state)

    return task.op(("head_step", shapes), lambda: Op(head_step, name="head_step", loop=model.has_convolution))


def head_metric(task: Task, shapes: Shapes) -> Op:
    """A metric of (x, h): ((x, h), inputs [n, ...], labels [n]) -> (correct [n], losses [n])."""
    model = task.model

    def head_metric(value: tuple[Tensor, Tensor], inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        inputs = task.samples.prepared(inputs).reshape(-1, *model.input_shape)
        z = model.representation(unflatten(value[0], model.shapes), inputs)
        return hits_and_losses(logits(unflatten(value[1], shapes), z), labels)

    return task.op(("head_metric", shapes), lambda: Op(head_metric, name="head_metric", loop=model.has_convolution))


def train_head(node: Node, x: Value, kind: HeadKind, num_epochs: int) -> Generator[Any, Any, None]:
    """Trains a head on the encoder x [num_params] and reports it as "head"."""
    task = node.task
    shapes = shapes_of(kind, task.model.feature_dim, task.num_classes)
    h = node.tensor(uniform_layers(node.rng, shapes))
    zeros = torch.zeros(sum(prod(shape) for shape in shapes), dtype=task.dtype)
    batches = node.batches(BATCH_SIZE, epochs=num_epochs)
    carry = h, zeros, zeros, zeros.new_zeros(())
    h, *_ = yield Compute(head_step(task, shapes).scan, (carry, batches.steps, x), work=batches.work)
    yield Report("head", (x, h), head_metric(task, shapes))

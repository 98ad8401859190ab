"""One step of SGD as an op, for any objective, with momentum, weight decay and augmentation.

    g <- gradient of the objective at x + weight_decay x
    v <- momentum v + g
    x <- x - lr v                    or, with Nesterov's momentum,  x <- x - lr (g + momentum v)

with v = 0 at the start: what torch.optim.SGD does (Sutskever et al., "On the importance of initialization and momentum in
deep learning", ICML 2013, up to where the rate enters). Plain steps on the cross-entropy are `Task.sgd_step`.

Charged are the multiplications of matrices and convolutions, as for the plain step: the elementwise work on x and v and
the augmentation of the images are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learners import augmentation
from learners.deferred import Op
from learners.models.flat import flatten, unflatten
from learners.task import Objective, Task

Finish = Callable[..., Any]
"""(x, g, learning_rate, *args) -> a tensor or a tuple of tensors: what an algorithm makes of the gradient g [num_params] of its
local work at x; a function of a module, so that it names the op."""


Correction = Callable[..., Tensor]
"""(x, *args) -> what is added to the gradient at x. Both: [num_params]; a function of a module, so that it names the op."""


@dataclass(frozen=True)
class Rule:
    """How a step follows from a gradient, the same for all devices. crop_padding: None without augmentation."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    crop_padding: int | None = None


def local_step(task: Task, objective: Objective, rule: Rule, correction: Correction | None = None) -> Op:
    """(carry, *steps, learning_rate, *args) -> carry, the same op for equal arguments.

    carry: x [num_params], or (x, v) with momentum. steps: one step of `Batches.steps`, indices [B], weights [B], and with
    augmentation offsets [B, 2] and flips [B]. learning_rate: a number or a tensor []. args: the objective's own, or those of the
    correction, where there is one.
    """
    name = f"{(correction or objective).__name__}_step"
    return task.op(
        (objective, rule, correction),
        lambda: Op(stepping(task, objective, rule, correction), name=name, loop=task.model.has_convolution),
    )


def gradient_step(task: Task, objective: Objective, rule: Rule, finish: Finish) -> Op:
    """(x, steps, learning_rate, *args) -> finish(x, g, learning_rate, *args), g the gradient on the one batch of `steps`, with
    weight decay and augmentation; the rule's momentum is left to `finish`. x and g: [num_params]; steps: `Batches.steps`."""
    rule = replace(rule, momentum=0.0, nesterov=False)
    return task.op((objective, rule, finish), lambda: _finished(task, objective, rule, finish))


def displacement_step(task: Task, finish: Finish) -> Op:
    """(x, x', learning_rate, *args) -> finish(x, g, learning_rate, *args) with g = (x - x') / learning_rate, where x' is x
    after local training. A rate of 0 counts as 1e-8 where it divides. Charged are two operations a value."""

    def displaced(x: Tensor, trained: Tensor, learning_rate: float | Tensor, *args: Any) -> Any:
        return finish(x, (x - trained) / divisor(learning_rate), learning_rate, *args)

    name = f"{finish.__name__}_displaced"
    return task.op((finish,), lambda: Op(displaced, name=name, flops=lambda x, *_: 2 * x.numel()))


def divisor(learning_rate: float | Tensor) -> float | Tensor:
    """The rate for the division of a displacement: at least 1e-8 (as epfml/relaysgd guards it)."""
    return learning_rate.clamp(min=1e-8) if isinstance(learning_rate, Tensor) else max(learning_rate, 1e-8)


def _finished(task: Task, objective: Objective, rule: Rule, finish: Finish) -> Op:
    gradient = gradient_of(task, objective, rule)

    def finished(x: Tensor, steps: tuple[Tensor, ...], learning_rate: float | Tensor, *args: Any) -> Any:
        return finish(x, gradient(x, tuple(part[0] for part in steps), ()), learning_rate, *args)

    return Op(finished, name=finish.__name__, loop=task.model.has_convolution)


def drawn_samples(task: Task, padding: int | None, indices: Tensor, *drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs [B, *model.input_shape] and labels [B] of one of `Batches.steps` (without its weights), inside an op. padding: of
    the crops; None without augmentation."""
    if padding is None:
        return task.training_samples(indices)
    offsets, flips = drawn
    return task.training_samples(
        indices, lambda images: augmentation.flip(augmentation.crop(images, offsets, padding), flips)
    )


def gradient_of(task: Task, objective: Objective, rule: Rule) -> Callable[..., Tensor]:
    """(x [num_params], one of `Batches.steps`, the objective's arguments) -> g [num_params]."""
    model, padding = task.model, rule.crop_padding

    def gradient(x: Tensor, steps: tuple[Tensor, ...], args: tuple[Any, ...]) -> Tensor:
        indices, weights, *drawn = steps
        inputs, labels = drawn_samples(task, padding, indices, *drawn)

        def loss(parameters: tuple[Tensor, ...]) -> Tensor:
            return objective(model, parameters, inputs, labels, weights, *args)

        g = flatten(torch.func.grad(loss)(unflatten(x, model.shapes)))
        return g + rule.weight_decay * x if rule.weight_decay else g

    return gradient


def stepping(task: Task, objective: Objective, rule: Rule, correction: Correction | None = None) -> Callable[..., Any]:
    """What `local_step` computes, as a function for ops of their own."""
    uncorrected = gradient_of(task, objective, rule)
    num_steps = 2 if rule.crop_padding is None else 4

    def corrected(x: Tensor, steps: tuple[Tensor, ...], args: tuple[Any, ...]) -> Tensor:
        return uncorrected(x, steps, ()) + correction(x, *args)  # type: ignore[misc]

    gradient = uncorrected if correction is None else corrected

    def step(x: Tensor, *rest: Any) -> Tensor:
        learning_rate, *args = rest[num_steps:]
        return x - learning_rate * gradient(x, rest[:num_steps], tuple(args))

    def momentum_step(carry: tuple[Tensor, Tensor], *rest: Any) -> tuple[Tensor, Tensor]:
        x, v = carry
        learning_rate, *args = rest[num_steps:]
        g = gradient(x, rest[:num_steps], tuple(args))
        v = rule.momentum * v + g
        return x - learning_rate * (g + rule.momentum * v if rule.nesterov else v), v

    return momentum_step if rule.momentum else step

"""One step of SGD as an op, for any objective, with momentum, weight decay and augmentation.

    g <- gradient of the objective at x + weight_decay x
    v <- momentum v + g
    x <- x - lr v                    or, with Nesterov's momentum,  x <- x - lr (g + momentum v)

with v = 0 at the start: what torch.optim.SGD does (Sutskever et al., "On the importance of initialization and momentum in
deep learning", ICML 2013, up to where the rate enters). Plain steps on the cross-entropy are `Task.sgd_step`. With optimizer =
"adam" (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1), as torch.optim.Adam does it:

    m <- .9 m + .1 g,   v <- .999 v + .001 g^2,   t <- t + 1
    x <- x - lr (m / (1 - .9^t)) / (sqrt(v / (1 - .999^t)) + 1e-8)

Running statistics of a model (its first `num_buffers` tensors) are no parameters: they have gradient 0 and no weight decay, and
a step sets them to what the model makes of its minibatch in training mode.

Charged are the multiplications of matrices and convolutions, as for the plain step, and what an objective says of itself
(`extra_flops`): the elementwise work on x and v and the augmentation of the images are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from learners import augmentation
from learners.deferred import Op, Scan
from learners.models.flat import flatten, num_params, unflatten
from learners.protocol import Batches
from learners.task import Objective, Task

Finish = Callable[..., Any]
"""(x, g, learning_rate, *args) -> a tensor or a tuple of tensors: what an algorithm makes of the gradient g [num_params] of its
local work at x; a function of a module, so that it names the op."""


Correction = Callable[..., Tensor]
"""(x, *args) -> what is added to the gradient at x. Both: [num_params]; a function of a module, so that it names the op."""


OptimizerName = Literal["sgd", "adam"]
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of Adam."""


@dataclass(frozen=True)
class Rule:
    """How a step follows from a gradient, the same for all devices. crop_padding: None without augmentation."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    crop_padding: int | None = None
    optimizer: OptimizerName = "sgd"

    def start(self, task: Task) -> tuple[Tensor, ...]:
        """What is carried beside x, at the start: nothing, (v,), or Adam's (m, v, t)."""
        zeros = task.zero_parameters
        if self.optimizer == "adam":
            return zeros, zeros, zeros.new_zeros(())
        return (zeros,) if self.momentum else ()


def local_step(task: Task, objective: Objective, rule: Rule, correction: Correction | None = None) -> Op:
    """(carry, *steps, learning_rate, *args) -> carry, the same op for equal arguments.

    carry: x [num_params], or (x, *state) where the rule has one, see `Rule.start`. steps: one step of `Batches.steps`, indices [B], weights [B], and with
    augmentation offsets [B, 2] and flips [B]. learning_rate: a number or a tensor []. args: the objective's own, or those of the
    correction, where there is one.
    """
    name = f"{(correction or objective).__name__}_step"
    extra = getattr(objective, "extra_flops", None)
    flops = None if extra is None else lambda carry, indices, *_: extra(task.model, indices.shape[0])
    loop = task.model.has_convolution or getattr(objective, "loop", False)
    return task.op(
        (objective, rule, correction),
        lambda: Op(stepping(task, objective, rule, correction), name=name, loop=loop, flops=flops),
    )


def real_share(step: Scan, carry: Any, batches: Batches, learning_rate: float | Tensor, *args: Any) -> float:
    """The share of the FLOPs of a scan of local steps that is real work: `Batches.work` of those that grow with the samples of a batch,
    and all others, such as log-determinants, which cost the same however many of the samples are padding.

    FLOPs are a constant and a multiple of the samples, so batches of twice as many tell them apart."""
    if batches.work == 1:
        return 1.0
    doubled = tuple(part.new_empty((len(part), 2 * part.shape[1], *part.shape[2:])) for part in batches.steps)
    once = step.flops(carry, batches.steps, learning_rate, *args)
    of_samples = step.flops(carry, doubled, learning_rate, *args) - once
    return 1 - (1 - batches.work) * of_samples / once


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
    """(x [num_params], one of `Batches.steps`, the objective's arguments) -> g [num_params], of a model without running
    statistics."""
    gradient = _gradient_and_buffers(task, objective, rule)
    return lambda x, steps, args: gradient(x, steps, args)[0]


def _gradient_and_buffers(
    task: Task, objective: Objective, rule: Rule
) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    """As `gradient_of`, and the running statistics after the minibatch, where the model has some."""
    model: Any = task.model
    padding = rule.crop_padding
    num_buffers = getattr(model, "num_buffers", 0)
    first = num_params(model.shapes[:num_buffers])

    def gradient(x: Tensor, steps: tuple[Tensor, ...], args: tuple[Any, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        indices, weights, *drawn = steps
        inputs, labels = drawn_samples(task, padding, indices, *drawn)

        def loss(parameters: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            seen = model.training(weights) if num_buffers else model
            value = objective(seen, parameters, inputs, labels, weights, *args)
            return value, tuple(seen.buffers) if num_buffers else ()

        parts, buffers = torch.func.grad(loss, has_aux=True)(unflatten(x, model.shapes))
        g = flatten(parts)
        if rule.weight_decay:
            g = g + rule.weight_decay * (torch.cat([torch.zeros_like(x[:first]), x[first:]]) if first else x)
        return g, buffers

    return gradient


def _with_buffers(x: Tensor, buffers: tuple[Tensor, ...]) -> Tensor:
    """x [num_params] with these running statistics."""
    if not buffers:
        return x
    new = flatten(buffers)
    return torch.cat([new, x[len(new) :]])


def stepping(task: Task, objective: Objective, rule: Rule, correction: Correction | None = None) -> Callable[..., Any]:
    """What `local_step` computes, as a function for ops of their own."""
    gradient = _gradient_and_buffers(task, objective, rule)
    num_steps = 2 if rule.crop_padding is None else 4
    update = _adam if rule.optimizer == "adam" else _sgd

    def step(carry: Any, *rest: Any) -> Any:
        x, *state = carry if isinstance(carry, tuple) else (carry,)
        learning_rate, *args = rest[num_steps:]
        if correction is None:
            g, buffers = gradient(x, rest[:num_steps], tuple(args))
        else:
            g, buffers = gradient(x, rest[:num_steps], ())
            g = g + correction(x, *args)
        x, *state = update(rule, g, learning_rate, x, *state)
        x = _with_buffers(x, buffers)
        return (x, *state) if state else x

    return step


def _sgd(rule: Rule, g: Tensor, learning_rate: float | Tensor, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
    if not rule.momentum:
        return (x - learning_rate * g,)
    v = rule.momentum * state[0] + g
    return x - learning_rate * (g + rule.momentum * v if rule.nesterov else v), v


def _adam(rule: Rule, g: Tensor, learning_rate: float | Tensor, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
    return adam(g, learning_rate, x, *state)


def adam(
    g: Tensor, learning_rate: float | Tensor, x: Tensor, m: Tensor, v: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, m, v and t after a step along g. All but t: [num_params]; t: []."""
    first, second = BETAS
    m, v, t = first * m + (1 - first) * g, second * v + (1 - second) * g * g, t + 1
    size = m / (1 - first**t)
    return x - learning_rate * size / ((v / (1 - second**t)).sqrt() + EPSILON), m, v, t

"""The three steps of a batch through a model that is cut in two, as ops: w = [w_c | w_s], loss L(w_s; f(w_c; x), y).

    forward        h = f(w_c; x)                                                     at the client
    upper step     w_s <- w_s - lr dL/dw_s,   and dL/dh at the old w_s               at the server
    lower step     w_c <- w_c - lr (dh/dw_c)^T dL/dh                                 at the client

Together they are one step of SGD on the whole model. L is the task's objective. Charged are the multiplications of matrices and
convolutions, as for a step of the whole model: the sum of the three is that step's, as the forward pass that the third repeats
here, since ops keep nothing, is not charged again (`lower_work`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op
from learners.local_step import drawn_samples
from learners.models.flat import unflatten
from learners.models.stages import Staged
from learners.task import Task


class Upper:
    """The upper part of a model as a model of activations, for objectives."""

    def __init__(self, model: Staged, cut: int) -> None:
        self._model = model
        self._cut = cut
        self.num_classes = model.num_classes

    def forward(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        return self._model.upper(parameters, h, self._cut)


class SplitSteps:
    """The ops of a task whose model is cut. padding: of crops, None without augmentation; weight_decay: of both parts."""

    def __init__(self, task: Task, cut: int, padding: int | None, weight_decay: float) -> None:
        model: Any = task.model
        num_lower = model.num_lower_tensors(cut)
        lower_shapes, upper_shapes = model.shapes[:num_lower], model.shapes[num_lower:]
        with torch.device("meta"):
            parameters = unflatten(torch.empty(model.num_lower_params(cut)), lower_shapes)
            shape = model.lower(parameters, torch.empty(1, *model.input_shape), cut).shape[1:]
        upper, objective, loop = Upper(model, cut), task.objective, model.has_convolution
        self.num_activations = shape.numel()
        """a, of one sample."""

        def activations(w_c: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
            inputs, _ = drawn_samples(task, padding, *steps)
            return model.lower(unflatten(w_c, lower_shapes), inputs, cut).reshape(-1)

        def split_forward(w_c: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
            """h [B * a]. steps: indices [B], and with augmentation offsets [B, 2] and flips [B]."""
            return activations(w_c, steps)

        def upper_step(
            w_s: Tensor, h: Tensor, labels: Tensor, counts: Tensor, learning_rate: float | Tensor
        ) -> tuple[Tensor, Tensor]:
            """(w_s, dL/dh [B * a]). h: [B * a]; labels: [B]; counts: bool [B], the samples that arrived, of which L is the mean."""
            weights = counts.to(w_s.dtype)
            inside = torch.where(counts[:, None], h.reshape(len(labels), -1), 0).reshape(-1)

            def loss(w_s: Tensor, inside: Tensor) -> Tensor:
                inputs = inside.reshape(len(labels), *shape)
                return objective(upper, unflatten(w_s, upper_shapes), inputs, labels, weights)

            g, back = torch.func.grad(loss, argnums=(0, 1))(w_s, inside)
            return w_s - learning_rate * decayed(g, w_s), back

        def lower_step(w_c: Tensor, steps: tuple[Tensor, ...], back: Tensor, learning_rate: float | Tensor) -> Tensor:
            """w_c after a step along dL/dh = back [B * a]."""
            pull: Any = torch.func.vjp(lambda w: activations(w, steps), w_c)[1]
            return w_c - learning_rate * decayed(pull(back)[0], w_c)

        def decayed(g: Tensor, w: Tensor) -> Tensor:
            return g + weight_decay * w if weight_decay else g

        self.forward = Op(split_forward, loop=loop)
        self.upper_step = Op(upper_step, loop=loop)
        self.lower_step = Op(lower_step, loop=loop)

    def lower_work(self, w_c: Any, steps: tuple[Tensor, ...], *args: Any) -> float:
        """Part of the third op's counted work that is not the forward pass."""
        return 1.0 - self.forward.flops(w_c, steps) / self.lower_step.flops(w_c, steps, *args)


def split_steps(task: Task, cut: int, padding: int | None, weight_decay: float) -> SplitSteps:
    """The same ops for equal arguments."""
    found: Any = task.op(("split", cut, padding, weight_decay), lambda: SplitSteps(task, cut, padding, weight_decay))  # type: ignore[arg-type, return-value]
    return found

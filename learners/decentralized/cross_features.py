"""Cross-features: representations of one device's samples by other devices' models, and the losses that pull them together.

    Z_ji = phi(x_j; X_i)     [B, feature_dim], phi the model's representation, X_i a minibatch of device i
    S_ji[c] = sum_{b: y_b = c} Z_ji[b],   N_i[c] = #{b: y_b = c}

    L_i = cross-entropy + lambda_m sum_j MSE(Z_ii, Z_ji) + lambda_d MSE(Z_ii, Zbar_i[y])
    Zbar_i[c] = (S_ii[c] + sum_j S_ij[c]) / (N_i[c] + sum_j N_j[c])

MSE is the mean over samples and dimensions; the sum over j is none. Gradients flow through Z_ii only, and not into Zbar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op, op
from learners.local_step import Rule, divisor, drawn_samples, stepping
from learners.models.flat import unflatten
from learners.task import Task, weighted_cross_entropy

Momentum = tuple[()] | tuple[Tensor, float | Tensor]
"""Nothing, or a buffer m [num_params] that loses the displacement, and the learning rate of the round before."""


def mix_and_compare(task: Task, padding: int | None, with_sums: bool) -> Op:
    """(x, received, weights, num_models, steps, momentum) -> xb = x + sum_j w_ij (x_j - x); m - (xb - x) / lr' where there is a
    buffer m; then what `compare` gives, sum_j Z_ji one by one for all steps, and S_ji one by one. weights: [m]; otherwise as
    there."""
    seen = _seen(task, padding, with_sums)

    def mix_and_compare(
        x: Tensor, received: Tensor, weights: Tensor, num_models: Tensor, steps: tuple[Tensor, ...], momentum: Momentum
    ) -> tuple[Tensor, ...]:
        c = weights @ received - weights.sum() * x
        displaced = (momentum[0] - c / divisor(momentum[1]),) if momentum else ()
        others, *sums = seen(received, num_models, steps)
        return x + c, *displaced, *others, *((sums[0], *sums[1].unbind(0)) if with_sums else ())

    return task.op(
        ("mix_and_compare", padding, with_sums),
        lambda: Op(
            mix_and_compare,
            name="mix_and_compare",
            loop=task.model.has_convolution,
            ragged=("received", "weights"),
            flops=lambda x, *_: x.numel(),  # beside what torch counts, also where nothing arrived
        ),
    )


def compare(task: Task, padding: int | None, with_sums: bool) -> Op:
    """(x, received, num_models, steps) -> sum_j Z_ji [B, feature_dim]; with_sums also N_i [num_classes] and S_ji [m, num_classes,
    feature_dim], for places j without a model of no meaning.

    received: [m, num_params], of which the first num_models [] are models; steps: `Batches.steps`, of which the first counts"""
    seen = _seen(task, padding, with_sums)

    def compare(x: Tensor, received: Tensor, num_models: Tensor, steps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        others, *sums = seen(received, num_models, tuple(part[:1] for part in steps))
        return others[0], *sums

    return task.op(
        ("compare", padding, with_sums),
        lambda: Op(compare, name="compare", loop=task.model.has_convolution, ragged=("received",)),
    )


@op(ragged=("counts", "sums"), flops=lambda zeros, counts, sums: counts.numel() + sums.numel())
def pooled(zeros: Tensor, counts: Tensor, sums: Tensor) -> tuple[Tensor, ...]:
    """N_i and every S_ji over all steps. counts: [num_steps, num_classes]; sums: [num_steps, m, num_classes, feature_dim]; zeros:
    [num_classes]."""
    return zeros + counts.sum(0), *sums.sum(0).unbind(0)


def contrastive_step(task: Task, rule: Rule, model_weight: float, data_weight: float) -> Op:
    """(carry, others, num_models, sums, counts, steps, learning_rate) -> carry: `local_step` on `contrastive_loss`.

    sums: ragged S_ij [num_classes, feature_dim]; counts: ragged N_j [num_classes]; the rest as there"""
    step = stepping(task, contrastive_loss, rule)

    def contrastive_step(
        carry: Any,
        others: Tensor,
        num_models: Tensor,
        sums: Tensor,
        counts: Tensor,
        steps: tuple[Tensor, ...],
        learning_rate: float | Tensor,
    ) -> Any:
        pooled = sums.sum(0), counts.sum(0)
        one = [part[0] for part in steps]
        return step(carry, *one, learning_rate, others, num_models, *pooled, model_weight, data_weight)

    return task.op(
        ("contrastive_step", rule, model_weight, data_weight),
        lambda: Op(
            contrastive_step, name="contrastive_step", loop=task.model.has_convolution, ragged=("sums", "counts")
        ),
    )


def contrastive_loss(
    model: Any,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    others: Tensor,
    num_models: Tensor,
    sums: Tensor,
    counts: Tensor,
    model_weight: float,
    data_weight: float,
) -> Tensor:
    """L_i, up to what no gradient sees: lambda_m sum_j MSE(0, Z_ji).

    others: sum_j Z_ji [B, feature_dim] over num_models [] models; sums: sum_j S_ij [num_classes, feature_dim]; counts: sum_j N_j
    [num_classes]; model_weight, data_weight: lambda_m, lambda_d; weights [B] of 0 are padding
    """
    z = model.representation(parameters, inputs)
    loss = weighted_cross_entropy(model.head(parameters, z), labels, weights)
    scale = z.shape[-1] * weights.sum().clamp(min=1)
    if model_weight:
        variant = ((num_models * z.square() - 2 * z * others) * weights.unsqueeze(-1)).sum()
        loss = loss + model_weight * variant / scale
    if data_weight:
        target = class_means(z.detach(), labels, weights, sums, counts)[labels]
        loss = loss + data_weight * ((z - target).square() * weights.unsqueeze(-1)).sum() / scale
    return loss


def class_means(z: Tensor, labels: Tensor, weights: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
    """Zbar [num_classes, feature_dim] of own representations z [B, feature_dim] and the others' sums; 0 for classes that nobody
    has."""
    own = _members(labels, weights, len(counts))
    number = (own.sum(0) + counts).unsqueeze(-1)
    return (own.mT @ z + sums) / torch.where(number > 0, number, 1)


def _members(labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """[B, num_classes] the weight of each sample in the column of its class."""
    return (labels.unsqueeze(-1) == torch.arange(num_classes)) * weights.unsqueeze(-1)


def _seen(task: Task, padding: int | None, with_sums: bool) -> Any:
    """(received, num_models, steps) -> sum_j Z_ji of each step; with_sums also N_i and S_ji over all of them (see `compare`)."""
    model, num_classes = task.model, task.num_classes

    def representations(received: Tensor, inputs: Tensor) -> Tensor:
        """[m, B, feature_dim]"""

        def of(x: Tensor) -> Tensor:
            return model.representation(unflatten(x, model.shapes), inputs)

        if not model.has_convolution:
            return torch.func.vmap(of)(received)
        if not len(received):
            return inputs.new_zeros((0, len(inputs), model.feature_dim))
        return torch.stack([of(x) for x in received])

    def seen(received: Tensor, num_models: Tensor, steps: tuple[Tensor, ...]) -> tuple[Any, ...]:
        indices, weights, *drawn = (part.flatten(0, 1) for part in steps)
        inputs, labels = drawn_samples(task, padding, indices, *drawn)
        z = representations(received, inputs)
        is_model = torch.arange(len(received)) < num_models  # zeros are no model, but may have a representation
        others = (is_model.to(z.dtype) @ z.flatten(1)).view(*steps[0].shape, -1).unbind(0)
        if not with_sums:
            return (others,)
        members = _members(labels, weights, num_classes)
        return others, members.sum(0), members.mT @ z

    return seen

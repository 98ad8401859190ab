"""Every op: equal bits whatever the group it is executed in, and pure.

An executor may run a job alone or with a hundred others, with operands that lie in one tensor, in several, or are the same for
all rows. That one seed gives one result for any window rests on every one of these giving the same bits.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import learners
from learners import averaging, registry, signature, trial
from learners.compression import (
    bfloat16,
    error_feedback,
    float16,
    low_rank,
    natural,
    onebit,
    qsgd,
    randk,
    sign,
    stc,
    ternary,
    topk,
    uniform,
)
from learners.control import closed_loop, local_wmmse
from learners.control.rules import PowerControl
from learners.data.dataset import Dataset
from learners.data.digits import digits
from learners.decentralized import (
    ad_psgd,
    all_reduce,
    ccl,
    cross_features,
    d2,
    drt_diffusion,
    drt_weights,
    gradient_tracking,
    gut,
    ngc,
    qg_dsgdm,
    relay_sgd,
    sgp,
)
from learners.decentralized.combination import Combination
from learners.deferred import Op
from learners.executors import BatchedExecutor
from learners.federated import (
    aircomp,
    candidates,
    fd,
    fedasync,
    fedbuff,
    feddf,
    fedgh,
    fedmd,
    fedopt,
    fedprox,
    heterofl,
    prototypes,
    scaffold,
    shared_part,
    split_message,
    split_steps,
    truncated_svd,
)
from learners.local_step import Rule, displacement_step, gradient_step, local_step
from learners.models.flat import unflatten
from learners.semantic import bases, block_rate, cluster_links, compositional_mcr2, consensus, moments, task_head
from learners.semantic.coding_rate import CodingRateReduction
from learners.task import Task, cross_entropy, weighted_mean

NUM_JOBS = 100
NUM_LARGE_JOBS = 9
"""Of models with more than `LARGE` parameters."""
LARGE = 50_000
NUM_GROUPED_JOBS = 40
"""Of the jobs, in smaller groups."""
SMALL_GROUPS = (4, 7)
BATCH_SIZE = 16
REPEATS = 3
"""An executor may record a call that comes back and replay it: all repeats have to give the same bits."""
DTYPES = ("float32", "float64")

Args = tuple[Any, ...]
Job = Callable[[np.random.Generator, Task], Args]


IMAGES = {
    "lenet5": (1, 28, 28),
    "small_cnn": (3, 16, 16),
    "resnet20": (3, 4, 4),
    "vgg11": (3, 4, 4),
    "mrl_cnn": (3, 4, 4),
    "conv_encoder": (1, 12, 12),
    "resnet18": (3, 4, 4),
    "resnet34": (3, 4, 4),
    "vgg11_encoder": (3, 4, 4),
    "vgg16_encoder": (3, 4, 4),
}
"""Models that get a few random images of this shape instead of digits."""
DEEP = ("resnet18", "resnet34", "vgg16_encoder")
"""Models of many kernels, which take seconds to record: their cases are marked slow. Their layers are those of vgg11_encoder and resnet20."""
BYTES = ("mlp", "lenet", "resnet20")
"""Models that also get them as bytes, which become numbers before any model sees them."""
CONTROLLERS = {
    name: (6, 7) if registry.load("model", name).controls == "matrix" else (6, 2)
    for name in registry.MODELS
    if hasattr(registry.load("model", name), "controls")
}
"""Models that decide for objects, with the shape of their samples; some of these are padded."""
SMALL: dict[str, dict[str, Any]] = {
    "small_cnn": {"maps": (4, 8), "feature_dim": 16},
    "mrl_cnn": {"number": 5, "feature_dim": 16},
    **{name: {"maps": 2, "feature_dim": 10} for name in ("conv_encoder", "resnet18", "resnet34")},
    **{name: {"maps": 2, "feature_dim": 10} for name in ("vgg11_encoder", "vgg16_encoder")},
}


@cache
def task_of(model: str, dtype: str, hidden: tuple[int, ...] = (64,), *, stored: str = "float") -> Task:
    if model in CONTROLLERS:
        shape = CONTROLLERS[model]
        return Task(
            random_objects(shape), registry.load("model", model)(shape, 1), dtype, objective=decided, score=decisions
        )
    dataset = random_images(IMAGES[model]) if model in IMAGES else digits(np.random.default_rng(1), test_fraction=0.2)
    keys = SMALL.get(model, {}) if model in IMAGES else {"hidden": hidden}
    if stored == "bytes":
        train, test = ((inputs * 255).astype(np.uint8) for inputs in (dataset.train_inputs, dataset.test_inputs))
        statistics = {"mean": np.full(dataset.num_channels, 0.3), "std": np.full(dataset.num_channels, 0.4)}
        dataset = replace(dataset, train_inputs=train, test_inputs=test, **statistics)
    return Task(dataset, registry.load("model", model)(dataset.input_shape, dataset.num_classes, **keys), dtype)


def random_images(shape: tuple[int, ...]) -> Dataset:
    rng = np.random.default_rng(1)
    inputs, labels = rng.random((60, *shape)), rng.integers(0, 10, 60)
    return Dataset("random", inputs[:40], labels[:40], inputs[40:], labels[40:], 10)


def random_objects(shape: tuple[int, ...]) -> Dataset:
    """60 samples of 1 to K_max objects, the last column presence."""
    rng = np.random.default_rng(1)
    present = np.arange(shape[0]) < rng.integers(1, shape[0] + 1, (60, 1))
    inputs = rng.exponential(size=(60, *shape)) * present[..., None]
    if shape[1] > 2:
        inputs[..., :-1] *= present[:, None]
    inputs[..., -1] = present
    return Dataset("objects", inputs[:40], np.zeros(40, np.int64), inputs[40:], np.zeros(20, np.int64), 1)


def decided(model: Any, parameters: Any, inputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """An objective of scores that leaves padded objects out."""
    scores = model.forward(parameters, inputs).sigmoid() * inputs[..., -1]
    return weighted_mean((scores * inputs[..., 0]).sum(-1).log1p(), weights)


def decisions(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return scores[:, 0] > labels, scores.square().mean(-1)


def vector(rng: np.random.Generator, task: Task) -> Tensor:
    """A random model [num_params]."""
    return torch.tensor(rng.standard_normal(task.num_params) * 0.1, dtype=task.dtype)


def upper_args(rng: np.random.Generator, task: Task) -> tuple[Any, ...]:
    """Of the upper part of a model that is cut behind its first layer, for 5 samples, of which most have arrived."""
    steps, num_lower = split_steps.split_steps(task, 1, None, 0.01), task.model.num_lower_params(1)  # type: ignore[attr-defined]
    h = torch.tensor(rng.standard_normal(5 * steps.num_activations), dtype=task.dtype)
    labels, counts = torch.from_numpy(rng.integers(0, 10, 5)), torch.from_numpy(rng.random(5) < 0.8)
    return vector(rng, task)[num_lower:].clone(), h, labels, counts, rate(rng, task)


def lower_args(rng: np.random.Generator, task: Task) -> tuple[Any, ...]:
    steps, num_lower = split_steps.split_steps(task, 1, None, 0.01), task.model.num_lower_params(1)  # type: ignore[attr-defined]
    back = torch.tensor(rng.standard_normal(5 * steps.num_activations), dtype=task.dtype)
    places = torch.from_numpy(rng.integers(0, 20, 5))
    return vector(rng, task)[:num_lower].clone(), (places,), back, rate(rng, task)


def mass(rng: np.random.Generator, task: Task) -> Tensor:
    """A random biased model and its weight [num_params + 1]."""
    return torch.cat((vector(rng, task), scalar(rng, task).expand(1)))


def several(
    rng: np.random.Generator, task: Task, make: Callable[[np.random.Generator, Task], Tensor] = vector
) -> list[Tensor]:
    """Up to four of them, or none."""
    return [make(rng, task) for _ in range(int(rng.integers(0, 5)))]


def joined_mean_args(rng: np.random.Generator, task: Task) -> Args:
    """Seven pieces of a model, sums of up to seven."""
    x = vector(rng, task)
    pieces = all_reduce.cut(x, 7)
    return tuple(pieces), torch.tensor(rng.integers(1, 8, 7), dtype=task.dtype), x


def scalar(rng: np.random.Generator, task: Task) -> Tensor:
    """A positive number."""
    return torch.tensor(0.5 + rng.random(), dtype=task.dtype)


def minibatch(rng: np.random.Generator, task: Task, size: int = BATCH_SIZE) -> tuple[Tensor, Tensor]:
    """Indices and weights of a batch of which the last samples may be padding."""
    weights = torch.ones(size, dtype=task.dtype)
    weights[int(rng.integers(1, size + 1)) :] = 0
    return torch.from_numpy(rng.integers(0, len(task.train_labels), size)), weights


def one_step(rng: np.random.Generator, task: Task) -> tuple[Tensor, Tensor]:
    """As `minibatch`, with the axis of steps."""
    indices, weights = minibatch(rng, task)
    return indices[None], weights[None]


def neighborhood(rng: np.random.Generator, task: Task) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """1 to 9 models, their weights and masks."""
    m = int(rng.integers(1, 10))
    models = [vector(rng, task) for _ in range(m)]
    masks = [torch.from_numpy(rng.random(task.num_params) < 0.7) for _ in range(m)]
    return models, torch.tensor(rng.random(m) / m, dtype=task.dtype), masks


def mix_args(rng: np.random.Generator, task: Task) -> Args:
    models, weights, _ = neighborhood(rng, task)
    return vector(rng, task), vector(rng, task), models, weights


def mix_masked_args(rng: np.random.Generator, task: Task) -> Args:
    return vector(rng, task), vector(rng, task), *neighborhood(rng, task)


def trusted(*rule: Any, masked: bool = False) -> Job:
    """Arguments of a combination by deep relative trust. rule: kernel, normalization, symmetric, max_ratio, min_own_weight."""

    def job(rng: np.random.Generator, task: Task) -> Args:
        models, weights, masks = neighborhood(rng, task)
        caps = torch.tensor(rng.random(len(models)), dtype=task.dtype)
        sizes = drt_weights.layer_sizes(task.model.shapes)
        return vector(rng, task), models, weights, caps, sizes, *rule, *([masks] if masked else [])

    return job


def combined(
    combination: Combination, values: Callable[[np.random.Generator, Task], Tensor], state: Job
) -> dict[Op, Job]:
    """Both ops of a combination. values: makes a message [num_values]; state: what follows in its arguments."""

    def parts(rng: np.random.Generator, task: Task) -> tuple[Tensor, list[Tensor], Tensor]:
        m = int(rng.integers(0, 9))
        return (
            values(rng, task),
            [values(rng, task) for _ in range(m)],
            torch.tensor(rng.random(m) / 9, dtype=task.dtype),
        )

    def masked(rng: np.random.Generator, task: Task) -> Args:
        z, received, weights = parts(rng, task)
        masks = [torch.from_numpy(rng.random(len(z)) < 0.7) for _ in received] or [torch.ones_like(z, dtype=torch.bool)]
        received = received or [values(rng, task)]
        weights = weights if len(weights) else torch.tensor([0.5], dtype=task.dtype)
        count = torch.tensor(len(masks) + int(rng.integers(2)), dtype=task.dtype)
        return z, received, weights, masks, count, *state(rng, task)

    return {
        combination.whole: lambda rng, task: (*parts(rng, task), True, *state(rng, task)),
        combination.masked: masked,
    }


def adaptive_step_args(optimizer: str) -> Job:
    """w, mean, m and v, which is not below 0."""
    rule = (0.1, 0.9, 0.99, 1e-3, optimizer)
    return lambda rng, task: (*(vector(rng, task) for _ in range(3)), vector(rng, task).abs(), *rule)


def doubled(rng: np.random.Generator, task: Task) -> Tensor:
    """Two vectors in one."""
    return torch.cat((vector(rng, task), vector(rng, task)))


def server_step_args(rng: np.random.Generator, task: Task) -> Args:
    """Of `scaffold.server_step_masked`."""
    number = int(rng.integers(1, 5))
    shares = torch.from_numpy(rng.random(number) + 0.1).to(task.dtype)
    updates, masks = [doubled(rng, task) for _ in range(number)], [doubled(rng, task) > 0 for _ in range(number)]
    whole = torch.from_numpy(rng.integers(0, 2, number)).to(task.dtype)
    return doubled(rng, task), updates, shares, shares.sum() + 1, 0.5, whole, masks


def add_weighted_masked_args(rng: np.random.Generator, task: Task) -> Args:
    differences, weights, masks = neighborhood(rng, task)
    return vector(rng, task), differences, weights, 0.1, masks


def average_args(rng: np.random.Generator, task: Task) -> Args:
    return neighborhood(rng, task)[:2]


def average_masked_args(rng: np.random.Generator, task: Task) -> Args:
    return *neighborhood(rng, task), vector(rng, task)


def fill_args(rng: np.random.Generator, task: Task) -> Args:
    return vector(rng, task), torch.from_numpy(rng.random(task.num_params) < 0.7), vector(rng, task)


def places_received_args(rng: np.random.Generator, task: Task) -> Args:
    k = task.num_params // 20
    sent = torch.zeros(task.num_params, dtype=torch.bool)
    sent[torch.from_numpy(rng.choice(task.num_params, k, replace=False))] = True
    return sent, torch.from_numpy(rng.random(k) < 0.7), torch.from_numpy(rng.random(task.num_params) < 0.7)


def quantize_args(rng: np.random.Generator, task: Task, bits: int, zero_point: bool, groups: Any) -> Args:
    noise = torch.from_numpy(rng.random(task.num_params, dtype=np.float32))
    return vector(rng, task), noise, bits, zero_point, groups


def levels_args(rng: np.random.Generator, task: Task, *keys: Any) -> Args:
    return vector(rng, task), torch.from_numpy(rng.random(task.num_params, dtype=np.float32)), *keys


def given_norms_args(rng: np.random.Generator, task: Task, num_levels: int) -> Args:
    norms = torch.from_numpy(rng.uniform(1.0, 2.0, task.num_params).astype(np.float32))
    return *levels_args(rng, task), norms, norms / 3, num_levels


def keep_drawn_args(rng: np.random.Generator, task: Task) -> Args:
    places = rng.choice(task.num_params, task.num_params // 20, replace=False)
    return vector(rng, task), torch.from_numpy(np.sort(places)), 20.0, 32


def put_args(rng: np.random.Generator, task: Task) -> Args:
    places = torch.arange(3, task.num_params, 2).roll(5)
    return vector(rng, task), places, vector(rng, task)[: len(places)]


def factor(rng: np.random.Generator, task: Task, shapes_of: Any = low_rank.left_shapes) -> Tensor:
    """A factor of rank 2, the left one unless another is named."""
    shapes = shapes_of(task.model.shapes, 2)
    return torch.tensor(rng.standard_normal(sum(prod(shape) for shape in shapes)), dtype=task.dtype)


def per_tensor(task: Task) -> tuple[int, ...]:
    return tuple(prod(shape) for shape in task.model.shapes)


def table(rng: np.random.Generator, task: Task) -> Tensor:
    """Random prototypes [num_classes, feature_dim]."""
    return torch.tensor(rng.standard_normal((task.num_classes, task.model.feature_dim)), dtype=task.dtype)


def counts(rng: np.random.Generator, task: Task) -> Tensor:
    """Samples of each class, none of some."""
    return torch.tensor(rng.integers(0, 4, task.num_classes), dtype=task.dtype)


def average_prototypes_args(rng: np.random.Generator, task: Task) -> Args:
    m = int(rng.integers(1, 10))
    return table(rng, task), [table(rng, task) for _ in range(m)], [counts(rng, task) for _ in range(m)]


def header_trained_args(rng: np.random.Generator, task: Task) -> Args:
    """Up to nine tables of representations, of which five rows are sorted into three batches of two."""
    _, tables, _ = average_prototypes_args(rng, task)
    rows = torch.from_numpy(rng.integers(0, task.num_classes, (3, 2)))
    header = torch.cat([part.flatten() for part in unflatten(vector(rng, task), task.model.shapes)[-2:]])
    return header, tables, rows, torch.tensor([[1, 1], [2, 1], [1, 0.0]], dtype=task.dtype), 0.1


def add_held_args(rng: np.random.Generator, task: Task) -> Args:
    """1 to 9 thirds of a model, of which a part arrived and a part is held."""
    places = torch.arange(1, task.num_params, 3)
    models, shares, arrived = neighborhood(rng, task)
    holds = [torch.from_numpy(rng.random(len(places)) < 0.7) for _ in models]
    state = vector(rng, task), vector(rng, task).abs()
    return *state, [x[places] for x in models], [mask[places] for mask in arrived], holds, shares, places


def average_prototypes_masked_args(rng: np.random.Generator, task: Task) -> Args:
    previous, tables, shares = average_prototypes_args(rng, task)
    return previous, tables, shares, [torch.from_numpy(rng.random(previous.shape) < 0.7) for _ in tables]


def held(rng: np.random.Generator, task: Task) -> Tensor:
    """3 classes."""
    return torch.from_numpy(np.sort(rng.choice(task.num_classes, 3, replace=False)))


def held_mask_args(rng: np.random.Generator, task: Task) -> Args:
    nothing = torch.zeros(6, 4, dtype=torch.bool)
    return torch.from_numpy(rng.random(12) < 0.5), torch.tensor([0, 2, 5]), nothing


def placed_args(rng: np.random.Generator, task: Task) -> Args:
    values = table(rng, task)
    return values[:3].flatten(), held(rng, task), torch.zeros_like(values)


def pooled_args(rng: np.random.Generator, task: Task) -> Args:
    """1 to 5 steps of 4 places."""
    found = [counts(rng, task) for _ in range(int(rng.integers(1, 6)))]
    return counts(rng, task), found, [torch.stack([table(rng, task) for _ in range(4)]) for _ in found]


def compare_args(rng: np.random.Generator, task: Task) -> Args:
    models = [vector(rng, task) for _ in range(int(rng.integers(1, 7)))]
    return vector(rng, task), models, torch.tensor(len(models), dtype=task.dtype), one_step(rng, task)


def mix_and_compare_args(rng: np.random.Generator, task: Task) -> Args:
    x, models, num_models, steps = compare_args(rng, task)
    models = models[: int(rng.integers(0, 7))]
    num_models = torch.tensor(len(models), dtype=task.dtype)
    weights = torch.tensor(rng.random(len(models)) / 9, dtype=task.dtype)
    steps = tuple(torch.cat(parts) for parts in zip(steps, one_step(rng, task), strict=True))
    return x, models, weights, num_models, steps, (vector(rng, task), rate(rng, task))


def contrastive_step_args(rng: np.random.Generator, task: Task) -> Args:
    """After 0 to 6 models, with class sums of at least one device (which may be zeros)."""
    others = torch.tensor(rng.standard_normal((BATCH_SIZE, task.model.feature_dim)), dtype=task.dtype)
    m = int(rng.integers(1, 7))
    tables, numbers = [table(rng, task) for _ in range(m)], [counts(rng, task) for _ in range(m)]
    carry, number = (vector(rng, task), vector(rng, task)), torch.tensor(m - 1, dtype=task.dtype)
    return carry, others, number, tables, numbers, one_step(rng, task), 0.1


def stacked(rng: np.random.Generator, task: Task, number: int = 5) -> Tensor:
    """[number, num_params]"""
    return torch.stack([vector(rng, task) for _ in range(number)])


def clustered_args(rng: np.random.Generator, task: Task) -> Args:
    """Gradients at up to 4 neighbors' models, up to 4 that came back."""
    m = int(rng.integers(0, 5))
    weights, back_weights = (
        torch.tensor(rng.random(n) / 5, dtype=task.dtype) for n in (4 if task.model.has_convolution else m, m)
    )
    back = [vector(rng, task) for _ in range(m)]
    state = (vector(rng, task), 0.9, True)
    return vector(rng, task), stacked(rng, task), weights, back, back_weights, rate(rng, task), 0.4, 0.01, *state


NUM_MATRICES, HELD = 5, (0, 2, 3)
"""Classes of second moments, and those that a message holds."""


def matrices(rng: np.random.Generator, task: Task, d: int = 8) -> Tensor:
    """Symmetric [NUM_MATRICES, d, d], not all positive definite."""
    found = torch.tensor(rng.standard_normal((NUM_MATRICES, d, d)), dtype=task.dtype)
    return found @ found.mT / d - 0.2 * torch.eye(d, dtype=task.dtype)


def flags(rng: np.random.Generator, task: Task) -> Tensor:
    """0 or 1 a class."""
    return torch.tensor(rng.integers(0, 2, NUM_MATRICES), dtype=task.dtype)


def packed_numbers(rng: np.random.Generator, task: Task, d: int = 8) -> Tensor:
    """A message of the held classes' triangles."""
    return torch.tensor(rng.standard_normal(len(HELD) * d * (d + 1) // 2), dtype=task.dtype)


def arrived(rng: np.random.Generator, d: int = 8) -> Tensor:
    """What of such a message: bool, mostly all of a class."""
    found = rng.random((len(HELD), d * (d + 1) // 2)) < 0.5
    found[rng.integers(0, len(HELD))] = True
    return torch.from_numpy(found.ravel())


def packed_bases(rng: np.random.Generator, task: Task) -> Tensor:
    """A message of the held classes' bases, of 3 directions in 8 dimensions."""
    return torch.tensor(rng.standard_normal(len(HELD) * 24), dtype=task.dtype)


def arrived_bases(rng: np.random.Generator) -> Tensor:
    """What of such a message: bool, most classes whole."""
    return torch.from_numpy(np.repeat(rng.random(len(HELD)) < 0.6, 24) | (rng.random(len(HELD) * 24) < 0.5))


def some(rng: np.random.Generator) -> Tensor:
    """Which of the held classes have come."""
    return torch.from_numpy(rng.random(len(HELD)) < 0.5)


def table_of_bases(rng: np.random.Generator, task: Task) -> Tensor:
    """Bases of all classes."""
    return torch.linalg.qr(torch.tensor(rng.standard_normal((NUM_MATRICES, 8, 3)), dtype=task.dtype))[0]


def head_state(rng: np.random.Generator, task: Task) -> Args:
    """A linear head and Adam's moments."""
    size = task.num_classes * (task.model.feature_dim + 1)
    h, m, v = (torch.tensor(rng.standard_normal(size), dtype=task.dtype) for _ in range(3))
    return h, m, v.square(), scalar(rng, task).round()


def dual_args(rng: np.random.Generator, task: Task) -> Args:
    return matrices(rng, task), matrices(rng, task), flags(rng, task), 0.1, *ragged(rng, task, matrices, flags)


def edges_args(rng: np.random.Generator, task: Task) -> Args:
    return matrices(rng, task), 0.1, *ragged(rng, task, matrices, flags, matrices, flags)


def ragged(rng: np.random.Generator, task: Task, *makes: Callable[[np.random.Generator, Task], Tensor]) -> Args:
    """Of each, as many as there are neighbors: 1 to 5."""
    m = int(rng.integers(1, 6))
    return tuple([make(rng, task) for _ in range(m)] for make in makes)


def penalized_args(rng: np.random.Generator, task: Task) -> Args:
    """Of a step with Adam's moments."""
    num_classes, d = task.num_classes, task.model.feature_dim
    y, target = (torch.tensor(rng.standard_normal((num_classes, d, d)), dtype=task.dtype) / d for _ in range(2))
    state = (vector(rng, task), vector(rng, task), vector(rng, task).square(), scalar(rng, task).abs().round())
    return state, *minibatch(rng, task), 0.01, y, target, counts(rng, task), counts(rng, task)


def subspace_args(rng: np.random.Generator, task: Task) -> Args:
    """Of a step, with projections onto 5 directions a class."""
    shape = task.num_classes, task.model.feature_dim, min(5, task.model.feature_dim)
    u = torch.linalg.qr(torch.tensor(rng.standard_normal(shape), dtype=task.dtype))[0]
    return vector(rng, task), *minibatch(rng, task), 0.01, u @ u.mT


def block_args(rng: np.random.Generator, task: Task) -> Args:
    """Of a turn's step with Adam's moments."""
    others = torch.tensor(rng.standard_normal((task.num_classes, 50, task.model.feature_dim)), dtype=task.dtype)
    of_classes = others.mT @ others / 10, counts(rng, task)
    scalars = torch.tensor(float(rng.integers(20, 90)), dtype=task.dtype), torch.tensor(2.0, dtype=task.dtype)
    state, indices, weights, learning_rate, *consensus = penalized_args(rng, task)
    return state, indices, weights, learning_rate, *of_classes, *scalars, *consensus


def some_links(rng: np.random.Generator, task: Task) -> Tensor:
    """SNRs of 1 to 6 links that interfere, padded to 6."""
    gains = torch.zeros((6, 6), dtype=task.dtype)
    K = int(rng.integers(1, 7))
    gains[:K, :K] = torch.from_numpy(10 ** rng.normal(1.0, 0.7, (K, K)))
    return gains


MODULE_OPS: dict[Op, Job] = {
    local_wmmse.local_wmmse: lambda rng, task: (some_links(rng, task), 3),
    moments.packed: lambda rng, task: (
        matrices(rng, task),
        flags(rng, task) * 7,
        torch.tensor(HELD),
        moments.cells_of("triangle", 8).cells,
    ),
    moments.merged: lambda rng, task: (
        packed_numbers(rng, task),
        arrived(rng),
        packed_numbers(rng, task),
        arrived(rng),
    ),
    moments.unpacked: lambda rng, task: (
        packed_numbers(rng, task),
        arrived(rng),
        torch.tensor(HELD),
        moments.cells_of("triangle", 8).places,
        torch.zeros((NUM_MATRICES, 8, 8), dtype=task.dtype),
    ),
    moments.projected: lambda rng, task: (matrices(rng, task), flags(rng, task)),
    consensus.dual_and_anchor: dual_args,
    consensus.dual_and_anchor_of_edges: edges_args,
    block_rate.of_others: lambda rng, task: (
        torch.zeros((NUM_MATRICES, 8, 8), dtype=task.dtype),
        *ragged(rng, task, matrices, flags, flags),
    ),
    cluster_links.joined: lambda rng, task: (arrived(rng), some(rng)),
    cluster_links.merged_counts: lambda rng, task: (
        7 * flags(rng, task),
        9 * flags(rng, task),
        torch.tensor(HELD),
        torch.cat([arrived(rng), some(rng)]),
    ),
    bases.class_bases: lambda rng, task: (matrices(rng, task), flags(rng, task) * 7, torch.tensor(HELD), 3),
    bases.taken: lambda rng, task: (packed_bases(rng, task), some(rng), packed_bases(rng, task), arrived_bases(rng)),
    bases.known_bases: lambda rng, task: (
        packed_bases(rng, task),
        some(rng),
        torch.tensor(HELD),
        torch.zeros((NUM_MATRICES, 8, 3), dtype=task.dtype),
    ),
    bases.joint_projections: lambda rng, task: (table_of_bases(rng, task), *ragged(rng, task, table_of_bases), 5),
    ccl.moved: lambda rng, task: (vector(rng, task), vector(rng, task), vector(rng, task)),
    cross_features.pooled: pooled_args,
    averaging.mix: mix_args,
    averaging.mix_masked: mix_masked_args,
    **combined(qg_dsgdm.MIX_AND_TRACK, vector, lambda rng, task: (vector(rng, task), vector(rng, task), 0.1, 0.9)),
    **combined(
        gradient_tracking.MIX_AND_DESCEND,
        lambda rng, task: torch.cat((vector(rng, task), vector(rng, task))),
        lambda rng, task: (vector(rng, task), 0.1),
    ),
    **combined(d2.MIX_AND_CORRECT, vector, lambda rng, task: (vector(rng, task), 0.5)),
    **combined(
        gut.MIX_AND_MOVE,
        vector,
        lambda rng, task: (vector(rng, task), vector(rng, task), vector(rng, task), rate(rng, task), 0.5, 0.9),
    ),
    **combined(
        qg_dsgdm.MIX_AND_AVERAGE, vector, lambda rng, task: (vector(rng, task), vector(rng, task), rate(rng, task), 0.9)
    ),
    **combined(qg_dsgdm.MIX_AND_DISPLACE, vector, lambda rng, task: (vector(rng, task), rate(rng, task))),
    drt_diffusion.combine: trusted("prod_sq", "residual", False, 2.0, 0.05),
    drt_diffusion.combine_masked: trusted("prod_sq", "residual", False, 2.0, 0.05, masked=True),
    relay_sgd.add: lambda rng, task: (vector(rng, task), several(rng, task)),
    relay_sgd.relayed_mean: lambda rng, task: (
        vector(rng, task),
        several(rng, task),
        vector(rng, task),
        scalar(rng, task),
        7,
    ),
    sgp.with_weight: lambda rng, task: (vector(rng, task),),
    sgp.shared_out: lambda rng, task: (mass(rng, task), vector(rng, task), vector(rng, task), scalar(rng, task)),
    sgp.collected: lambda rng, task: (mass(rng, task), several(rng, task, mass), several(rng, task, mass)),
    ad_psgd.half_difference: lambda rng, task: (vector(rng, task), vector(rng, task)),
    ad_psgd.displacement: lambda rng, task: (vector(rng, task), vector(rng, task)),
    all_reduce.cut: lambda rng, task: (vector(rng, task), 7),
    all_reduce.joined_mean: joined_mean_args,
    averaging.average: average_args,
    averaging.average_masked: average_masked_args,
    averaging.fill: fill_args,
    averaging.add_average: lambda rng, task: (vector(rng, task), *neighborhood(rng, task)[:2]),
    averaging.add_average_masked: lambda rng, task: (vector(rng, task), *neighborhood(rng, task)),
    error_feedback.plus: lambda rng, task: (vector(rng, task), vector(rng, task)),
    error_feedback.minus: lambda rng, task: (vector(rng, task), vector(rng, task)),
    bfloat16.round_to_bfloat16: lambda rng, task: (vector(rng, task) * 1e3,),
    float16.round_to_half: lambda rng, task: (vector(rng, task) * 1e3,),
    low_rank.left: lambda rng, task: (
        vector(rng, task),
        factor(rng, task, low_rank.start_shapes),
        task.model.shapes,
        2,
    ),
    low_rank.orthonormal: lambda rng, task: (factor(rng, task), task.model.shapes, 2),
    low_rank.right: lambda rng, task: (vector(rng, task), factor(rng, task), task.model.shapes, 2),
    low_rank.product: lambda rng, task: (
        factor(rng, task),
        factor(rng, task, low_rank.right_shapes),
        task.model.shapes,
        2,
    ),
    low_rank.residual: lambda rng, task: (
        vector(rng, task),
        factor(rng, task),
        factor(rng, task, low_rank.right_shapes),
        task.model.shapes,
        2,
    ),
    low_rank.warm: lambda rng, task: (
        factor(rng, task, low_rank.right_shapes),
        factor(rng, task, low_rank.start_shapes),
        task.model.shapes,
        2,
    ),
    qsgd.round_to_levels: lambda rng, task: levels_args(rng, task, 7, "l2", True, 361),
    qsgd.round_to_given_norms: lambda rng, task: given_norms_args(rng, task, 64),
    qsgd.round_and_show_levels: lambda rng, task: levels_args(rng, task, 127, "max", False, task.num_params),
    randk.keep_drawn: keep_drawn_args,
    sign.keep_signs: lambda rng, task: (vector(rng, task), 1452),
    sign.keep_signs_and_zeros: lambda rng, task: (vector(rng, task), 1452),
    natural.round_to_powers: lambda rng, task: levels_args(rng, task),
    stc.keep_signs_of_largest: lambda rng, task: (vector(rng, task), task.num_params // 20),
    onebit.keep_two_means: lambda rng, task: (vector(rng, task), 1452),
    ternary.make_ternary: lambda rng, task: levels_args(rng, task, 2.5, 1452),
    topk.keep_largest: lambda rng, task: (vector(rng, task), task.num_params // 20, 32),
    topk.places_received: places_received_args,
    uniform.quantize: lambda rng, task: quantize_args(rng, task, 4, False, 1452),
    aircomp.level: lambda rng, task: (vector(rng, task), scalar(rng, task)),
    aircomp.largest: lambda rng, task: ([scalar(rng, task) for _ in range(int(rng.integers(1, 5)))],),
    aircomp.normalized: lambda rng, task: (vector(rng, task), scalar(rng, task), scalar(rng, task)),
    aircomp.add_heard: lambda rng, task: (
        vector(rng, task),
        *neighborhood(rng, task)[:2],
        vector(rng, task),
        scalar(rng, task),
        scalar(rng, task),
    ),
    shared_part.in_one_row: lambda rng, task: ((vector(rng, task), vector(rng, task)[:33]),),
    shared_part.parts_of: lambda rng, task: (vector(rng, task), (7, task.num_params - 7)),
    split_message.whole_samples: lambda rng, task: (
        torch.from_numpy(rng.random(40) < 0.8),
        torch.from_numpy(rng.random(8) < 0.8),
    ),
    fedopt.momentum_step: lambda rng, task: (*(vector(rng, task) for _ in range(3)), 0.5, 0.9),
    fedopt.adaptive_step: adaptive_step_args("yogi"),
    scaffold.joined: lambda rng, task: (vector(rng, task), vector(rng, task)),
    scaffold.first_half: lambda rng, task: (vector(rng, task),),
    scaffold.second_half: lambda rng, task: (vector(rng, task),),
    scaffold.drift: lambda rng, task: (doubled(rng, task), vector(rng, task)),
    scaffold.update: lambda rng, task: (doubled(rng, task), vector(rng, task), rate(rng, task) + 0.1),
    scaffold.server_step: lambda rng, task: server_step_args(rng, task)[:-2],
    scaffold.server_step_masked: server_step_args,
    fedbuff.add_weighted: lambda rng, task: (vector(rng, task), *neighborhood(rng, task)[:2], 0.1),
    fedbuff.add_weighted_masked: add_weighted_masked_args,
    fedasync.mixed_in: lambda rng, task: (vector(rng, task), vector(rng, task), rate(rng, task)),
    fedasync.mixed_in_masked: lambda rng, task: (
        vector(rng, task),
        vector(rng, task),
        rate(rng, task),
        vector(rng, task) > 0,
    ),
    truncated_svd.truncated: lambda rng, task: (vector(rng, task), scalar(rng, task) * 0.6, task.model.shapes),
    fedgh.header_trained: header_trained_args,
    heterofl.part: lambda rng, task: (vector(rng, task), torch.arange(3, task.num_params, 2)),
    feddf.targets: lambda rng, task: ([scored(rng, task) for _ in range(int(rng.integers(1, 5)))], "logits"),
    heterofl.put: put_args,
    heterofl.add_held: add_held_args,
    heterofl.mean_of_holders: lambda rng, task: (vector(rng, task), vector(rng, task), vector(rng, task)),
    fd.answer_sums: lambda rng, task: average_prototypes_args(rng, task)[1:],
    fd.mean_of_others: lambda rng, task: (table(rng, task), table(rng, task), counts(rng, task), counts(rng, task)),
    prototypes.class_means: lambda rng, task: (table(rng, task), counts(rng, task)),
    prototypes.rows: lambda rng, task: (table(rng, task), held(rng, task)),
    prototypes.placed: placed_args,
    prototypes.held_mask: held_mask_args,
    prototypes.preferred: lambda rng, task: (table(rng, task), counts(rng, task), table(rng, task)),
    prototypes.average_prototypes: average_prototypes_args,
    prototypes.average_prototypes_masked: average_prototypes_masked_args,
}
FORMS: dict[str, tuple[Op, Job]] = {
    "adaptive_step-adam": (fedopt.adaptive_step, adaptive_step_args("adam")),
    "adaptive_step-adagrad": (fedopt.adaptive_step, adaptive_step_args("adagrad")),
    "quantize-affine": (
        uniform.quantize,
        lambda rng, task: quantize_args(rng, task, 8, True, per_tensor(task)),
    ),
    "quantize-message": (
        uniform.quantize,
        lambda rng, task: quantize_args(rng, task, 16, False, task.num_params),
    ),
    "quantize-nearest": (
        uniform.quantize,
        lambda rng, task: (vector(rng, task), None, 8, True, per_tensor(task)),
    ),
    "keep_signs-tensor": (sign.keep_signs, lambda rng, task: (vector(rng, task), per_tensor(task))),
    "keep_two_means-tensor": (onebit.keep_two_means, lambda rng, task: (vector(rng, task), per_tensor(task))),
    "keep_largest-half": (topk.keep_largest, lambda rng, task: (vector(rng, task).round(decimals=2), 7, 16)),
    "combine-singular": (drt_diffusion.combine, trusted("drt_sq", "simplex", False, 3.0, 0.0)),
    "combine-symmetric": (drt_diffusion.combine, trusted("log_sq", "residual", True, 3.0, 0.1)),
    "combine-log_abs": (drt_diffusion.combine_masked, trusted("log_abs", "residual", False, 3.0, 0.1, masked=True)),
}
"""Ops once more, whose paths depend on arguments that are no tensors."""
TASK_OPS: dict[str, Job] = {
    "sgd_step": lambda rng, task: (vector(rng, task), *minibatch(rng, task), 0.1),
    "gradient": lambda rng, task: (vector(rng, task), *minibatch(rng, task)),
    "metric": lambda rng, task: (vector(rng, task), task.test_inputs, task.test_labels),
}
MADE_OPS: dict[str, tuple[Callable[[Task], Op], Job]] = {
    "momentum": (
        lambda task: local_step(task, cross_entropy, Rule(0.9, nesterov=True, weight_decay=0.01)),
        lambda rng, task: ((vector(rng, task), vector(rng, task)), *minibatch(rng, task), rate(rng, task)),
    ),
    "augmented": (
        lambda task: local_step(task, cross_entropy, Rule(weight_decay=0.01, crop_padding=2)),
        lambda rng, task: (vector(rng, task), *minibatch(rng, task), *crops(rng), rate(rng, task)),
    ),
    "gradient and quasi-global momentum": (
        lambda task: gradient_step(task, cross_entropy, Rule(weight_decay=0.01), qg_dsgdm.stepped_with_buffer),
        lambda rng, task: (vector(rng, task), one_step(rng, task), 0.1, vector(rng, task), 0.9, True),
    ),
    "pseudo-gradient and quasi-global momentum": (
        lambda task: displacement_step(task, qg_dsgdm.stepped),
        lambda rng, task: (vector(rng, task), vector(rng, task), rate(rng, task), vector(rng, task), 0.9, False),
    ),
    "tracked momentum": (
        lambda task: gradient_step(task, cross_entropy, Rule(), gradient_tracking.with_tracked_momentum),
        lambda rng, task: (
            vector(rng, task),
            one_step(rng, task),
            0.1,
            vector(rng, task),
            vector(rng, task),
            0.9,
            True,
        ),
    ),
    "corrected step": (
        lambda task: gradient_step(task, cross_entropy, Rule(), d2.corrected),
        lambda rng, task: (vector(rng, task), one_step(rng, task), rate(rng, task), vector(rng, task)),
    ),
    "tracked updates": (
        lambda task: gradient_step(task, cross_entropy, Rule(), gut.with_momentum),
        lambda rng, task: (
            vector(rng, task),
            one_step(rng, task),
            0.1,
            *(vector(rng, task) for _ in range(3)),
            rate(rng, task),
            vector(rng, task),
            0.9,
            True,
        ),
    ),
    "prototype step": (
        lambda task: local_step(task, prototypes.prototype_loss, Rule(0.5)),
        lambda rng, task: (
            (vector(rng, task), vector(rng, task)),
            *minibatch(rng, task),
            0.1,
            table(rng, task),
            counts(rng, task).clamp(max=1),
            0.5,
        ),
    ),
    "prototype sums": (
        prototypes.prototype_sums,
        lambda rng, task: (table(rng, task), *minibatch(rng, task), vector(rng, task)),
    ),
    "second moments": (
        moments.second_moment_sums,
        lambda rng, task: (
            torch.zeros((task.num_classes, *2 * [task.model.feature_dim]), dtype=task.dtype),
            *minibatch(rng, task),
            vector(rng, task),
        ),
    ),
    "penalized step with Adam": (
        lambda task: local_step(
            task,
            consensus.PenalizedRate(CodingRateReduction(), 5.0),
            Rule(weight_decay=0.01, optimizer="adam"),
        ),
        penalized_args,
    ),
    "penalized step with agreed class shares": (
        lambda task: local_step(task, consensus.PenalizedRate(CodingRateReduction(), 5.0), Rule()),
        lambda rng, task: (*penalized_args(rng, task), 1 + counts(rng, task)),
    ),
    "step towards common subspaces": (
        lambda task: local_step(task, compositional_mcr2.SubspaceRate(CodingRateReduction(), 100.0), Rule()),
        subspace_args,
    ),
    "step towards common subspaces with cross-entropy": (
        lambda task: local_step(task, compositional_mcr2.SubspaceRate(None, 10.0), Rule()),
        subspace_args,
    ),
    "turn's step with Adam": (
        lambda task: local_step(
            task,
            block_rate.BlockRate(consensus.PenalizedRate(CodingRateReduction(), 5.0), rescale=True),
            Rule(weight_decay=0.01, optimizer="adam"),
        ),
        block_args,
    ),
    "upper half": (lambda task: split_steps.split_steps(task, 1, None, 0.01).upper_step, upper_args),
    "lower half": (lambda task: split_steps.split_steps(task, 1, None, 0.01).lower_step, lower_args),
    "mean loss": (
        candidates.mean_loss,
        lambda rng, task: (scalar(rng, task), *minibatch(rng, task), vector(rng, task), 40 * scalar(rng, task)),
    ),
    "mixing and cross-features": (
        lambda task: cross_features.mix_and_compare(task, None, True),
        mix_and_compare_args,
    ),
    "cross-features": (lambda task: cross_features.compare(task, None, True), compare_args),
    "cross-features without sums": (lambda task: cross_features.compare(task, None, False), compare_args),
    "contrastive step": (
        lambda task: cross_features.contrastive_step(task, Rule(0.9, nesterov=True, weight_decay=0.01), 0.1, 0.2),
        contrastive_step_args,
    ),
    "models in a row": (ngc.lined_up, lambda rng, task: compare_args(rng, task)[:2]),
    "cross-gradients": (
        lambda task: ngc.cross_gradients(task, None),
        lambda rng, task: (stacked(rng, task, 2), *minibatch(rng, task), stacked(rng, task, 2)),
    ),
    "gradients apart": (ngc.apart, lambda rng, task: (stacked(rng, task),)),
    "clustered gradients": (ngc.clustered, clustered_args),
    "nearest prototype": (
        prototypes.nearest_prototype,
        lambda rng, task: (
            (vector(rng, task), table(rng, task), counts(rng, task) + 1),
            task.test_inputs,
            task.test_labels,
        ),
    ),
}
"""Ops that a task makes when it is asked for them."""

CORRECTED: dict[str, tuple[Callable[[Task], Op], Job]] = {
    "head step": (
        lambda task: task_head.head_step(task, task_head.shapes_of("linear", task.model.feature_dim, task.num_classes)),
        lambda rng, task: (head_state(rng, task), *minibatch(rng, task), vector(rng, task)),
    ),
    "proximal step": (
        lambda task: local_step(task, cross_entropy, Rule(0.9), fedprox.proximal),
        lambda rng, task: ((vector(rng, task), vector(rng, task)), *minibatch(rng, task), 0.1, vector(rng, task), 0.5),
    ),
    "distillation": (
        lambda task: local_step(task, feddf.distillation, feddf.ADAM),
        lambda rng, task: (
            (vector(rng, task), *feddf.ADAM.start(task)),
            *minibatch(rng, task),
            rate(rng, task),
            positions(rng),
            scored(rng, task).softmax(-1),
        ),
    ),
    "digest step": (
        fedmd.digest_step,
        lambda rng, task: (vector(rng, task), *minibatch(rng, task), positions(rng), 0.1, scored(rng, task)),
    ),
    "scores": (
        fedmd.scores,
        lambda rng, task: (scored(rng, task), *minibatch(rng, task), positions(rng), vector(rng, task)),
    ),
}
"""The step of local training with something added to its gradient, and what is done with scores: the same for all models."""

LINKS = PowerControl(feature="log")
CONTROL_OPS: dict[str, tuple[Callable[[Task], Op], Job]] = {
    "decide": (
        lambda task: closed_loop.decide(task, LINKS),
        lambda rng, task: (vector(rng, task), task.test_inputs[int(rng.integers(len(task.test_inputs)))]),
    ),
    **{
        f"metric of {controller}": (
            lambda task, controller=controller: closed_loop.controller_metric(task, LINKS, controller, 3),
            lambda rng, task: (vector(rng, task), task.test_inputs[:5], task.test_labels[:5] + 1),
        )
        for controller in ("full", "wmmse")
    },
}
"""What a task of pairwise gains makes."""

CASES = (
    [(op.name, lambda task, op=op: op, args, "mlp", "float") for op, args in MODULE_OPS.items()]
    + [(name, lambda task, op=op: op, args, "mlp", "float") for name, (op, args) in FORMS.items()]
    + [
        (name, lambda task, name=name: getattr(task, name), args, model, stored)
        for name, args in TASK_OPS.items()
        for model in registry.MODELS
        for stored in ("float", "bytes")[: 1 + (model in BYTES)]
    ]
    + [
        (name, make_op, args, model, stored)
        for name, (make_op, args) in MADE_OPS.items()
        for model, stored in (("mlp", "float"), ("mlp", "bytes"), ("lenet", "float"), ("resnet20", "bytes"))
    ]
    + [(name, make_op, args, "mlp", "float") for name, (make_op, args) in CORRECTED.items()]
    + [(name, make_op, args, "edge_equivariant", "float") for name, (make_op, args) in CONTROL_OPS.items()]
)


def rate(rng: np.random.Generator, task: Task) -> Tensor:
    """A learning rate that differs between devices."""
    return torch.tensor(rng.random() * 0.1, dtype=task.dtype)


def positions(rng: np.random.Generator) -> Tensor:
    """Of a batch among 30 public samples."""
    return torch.from_numpy(rng.permutation(30)[:BATCH_SIZE])


def scored(rng: np.random.Generator, task: Task) -> Tensor:
    """Scores of 30 samples."""
    return torch.tensor(rng.standard_normal((30, task.num_classes)), dtype=task.dtype)


def crops(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Offsets and flips of one batch, for a padding of 2."""
    return torch.from_numpy(rng.integers(0, 5, (BATCH_SIZE, 2))), torch.from_numpy(rng.random(BATCH_SIZE) < 0.5)


@pytest.fixture
def deep_models_are_tried_on_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors take ten times as long for the step of a deep model on tiny images; the same ops are tried on them with
    LeNet."""
    monkeypatch.setattr(trial, "SMALL_BYTES", 1 << 24)
    monkeypatch.setattr(signature, "trial", lambda fn, keys, zeros: trial.trial(fn, keys))


def test_every_op_of_the_package_is_in_the_table() -> None:
    found = {
        op.name
        for module in pkgutil.walk_packages(learners.__path__, "learners.")
        for value in vars(import_module(module.name)).values()
        for op in ((value.whole, value.masked) if isinstance(value, Combination) else (value,))
        if isinstance(op, Op)
    }
    assert found == {op.name for op in MODULE_OPS}
    assert {name for name, value in vars(task_of("mlp", "float32")).items() if isinstance(value, Op)} == set(TASK_OPS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "make_op", "make", "model", "stored"),
    [
        pytest.param(*case, id=f"{case[0]}-{case[3]}-{case[4]}", marks=[pytest.mark.slow] if case[3] in DEEP else [])
        for case in CASES
    ],
)
def test_rows_are_bit_equal_in_every_group_and_ops_are_pure(
    name: str,
    make_op: Callable[[Task], Op],
    make: Job,
    model: str,
    stored: str,
    dtype: str,
    request: pytest.FixtureRequest,
) -> None:
    if model == "resnet20":
        request.getfixturevalue("deep_models_are_tried_on_zeros")
    task = task_of(model, dtype, stored=stored)
    op = make_op(task)
    rng = np.random.default_rng(7)
    num_jobs = NUM_LARGE_JOBS if task.num_params > LARGE else NUM_JOBS
    sizes, other_size, repeats = SMALL_GROUPS, 7, REPEATS
    if op.loop:  # one job after the other: a call is recorded when it comes for the second time, then replayed
        num_jobs, sizes, other_size, repeats = 3, (), 2, 2
    jobs = [make(rng, task) for _ in range(num_jobs)]
    copies = [_map(torch.clone, args) for args in jobs]
    versions = [_leaves(_map(lambda tensor: tensor._version, args)) for args in jobs]

    reference = run(op, jobs, num_jobs, repeats)
    some = min(num_jobs, NUM_GROUPED_JOBS)  # in groups that are called, recorded and replayed in turn
    for size in sizes:
        assert_equal_bits(run(op, jobs[:some], size, 1), reference[:some], f"{name}: groups of {size}")
    neighbors = run(op, jobs[:some][::-1], other_size, 1)[::-1]
    assert_equal_bits(neighbors, reference[:some], f"{name}: other neighbors in the group")

    assert [_leaves(_map(lambda tensor: tensor._version, args)) for args in jobs] == versions
    for args, copy in zip(jobs, copies):
        tensors = [(a, b) for a, b in zip(_leaves(args), _leaves(copy)) if isinstance(a, Tensor)]
        assert all(torch.equal(a, b) for a, b in tensors), f"{name} changed its arguments"
    alone = [_joined(_parts(op(*args))) for args in jobs[:8]]
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for one, many in zip(alone, reference):
        torch.testing.assert_close(one, many, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("hidden", "batch_size"), [((33,), 10), ((21, 13), 7)])
def test_rows_are_bit_equal_also_where_they_are_no_whole_cache_lines(
    hidden: tuple[int, ...], batch_size: int, dtype: str
) -> None:
    """A row of odd length starts anywhere in a cache line; kernels that treat the unaligned head of a row apart round it
    differently, so that the bits would depend on a row's place in the group (MKL does so unless told not to)."""
    task = task_of("mlp", dtype, hidden)
    rng = np.random.default_rng(7)
    jobs = [(vector(rng, task), *minibatch(rng, task, batch_size), 0.1) for _ in range(40)]
    reference = run(task.sgd_step, jobs, 40)
    assert_equal_bits(run(task.sgd_step, jobs, 7), reference, "groups of 7")
    assert_equal_bits(run(task.sgd_step, jobs[::-1], 7)[::-1], reference, "other neighbors in the group")


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_shared_model_equal_rows_of_copies(dtype: str) -> None:
    """After a download all clients start from one tensor, which is expanded and not copied; in a group with another round's
    clients it is copied."""
    task = task_of("mlp", dtype)
    rng = np.random.default_rng(3)
    x = vector(rng, task)
    batches = [minibatch(rng, task) for _ in range(12)]
    for count in (4, 12):
        shared = run(task.sgd_step, [(x, *batch, 0.1) for batch in batches[:count]], count)
        copied = run(task.sgd_step, [(x.clone(), *batch, 0.1) for batch in batches[:count]], count)
        assert_equal_bits(shared, copied, f"{count} clients of one model")


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_scan_do_not_depend_on_who_else_has_how_many_steps(dtype: str) -> None:
    task = task_of("mlp", dtype)
    rng = np.random.default_rng(5)
    lengths = [1, 9, 3, 3, 20, 2, 7, 1, 5, 5, 4, 6]
    jobs = []
    for length in lengths:
        batches = [minibatch(rng, task) for _ in range(length)]
        xs = tuple(torch.stack(part) for part in zip(*batches))
        jobs.append((vector(rng, task), xs, 0.1))
    reference = run(task.sgd_step.scan, jobs, len(jobs))
    for size in (1, 4, 7):
        assert_equal_bits(run(task.sgd_step.scan, jobs, size), reference, f"groups of {size}")
    stepped = jobs[4][0]
    for indices, weights in zip(*jobs[4][1]):
        stepped = run(task.sgd_step, [(stepped, indices, weights, 0.1)], 1)[0]
    assert torch.equal(stepped, reference[4])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_larger_result_equal_tensors_of_their_own(dtype: str) -> None:
    """A second step takes its models where the first one left them: in place, at any offset of a larger tensor."""
    task = task_of("mlp", dtype)
    rng = np.random.default_rng(9)
    models = [vector(rng, task) for _ in range(NUM_JOBS)]
    batches = [minibatch(rng, task) for _ in range(NUM_JOBS)]
    executor = BatchedExecutor(window=1 << 30)
    first = [task.sgd_step(executor.lift(x), *batch, 0.1) for x, batch in zip(models, batches)]
    own = [tensor.clone() for tensor in executor.materialize(first)]
    reference = run(task.sgd_step, [(x, *batch, 0.1) for x, batch in zip(own, batches)], NUM_JOBS)
    for start, size in ((0, 100), (3, 4), (13, 7), (50, 32)):
        chosen = slice(start, start + size)
        second = [task.sgd_step(x, *batch, 0.1) for x, batch in zip(first[chosen], batches[chosen])]
        assert_equal_bits(executor.materialize(second), reference[chosen], f"rows {start} to {start + size}")


# -- helpers ----------------------------------------------------------------------------------------------------------


def run(op: Any, jobs: list[Args], size: int, times: int = REPEATS) -> list[Tensor]:
    """The jobs' results, executed in groups of `size`, several times over."""
    executor = BatchedExecutor(window=1 << 30)
    repeats: list[list[Tensor]] = []
    for _ in range(times):
        results: list[Tensor] = []
        for start in range(0, len(jobs), size):
            values = [op(_lifted(executor, args[0]), *args[1:]) for args in jobs[start : start + size]]
            results += [_joined(executor.materialize(_parts(value))) for value in values]
        repeats.append(results)
    for again in repeats[1:]:
        assert_equal_bits(again, repeats[0], "the same group again")
    return repeats[-1]


def _parts(result: Any) -> tuple[Any, ...]:
    """The results of a call, one or several."""
    return result if isinstance(result, tuple) else (result,)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The results of one call as one tensor of its own."""
    return parts[0].clone() if len(parts) == 1 else torch.cat([part.to(torch.float64).flatten() for part in parts])


def _lifted(executor: BatchedExecutor, arg: Any) -> Any:
    """One deferred argument makes the call a job."""
    return type(arg)(map(executor.lift, arg)) if isinstance(arg, (list, tuple)) else executor.lift(arg)


def assert_equal_bits(results: list[Tensor], reference: list[Tensor], what: str) -> None:
    different = [
        i for i, (one, other) in enumerate(zip(results, reference, strict=True)) if not torch.equal(one, other)
    ]
    assert not different, (
        f"{what}: {len(different)} of {len(reference)} results differ, the first is job {different[0]}"
    )


def _map(function: Callable[[Tensor], Any], arg: Any) -> Any:
    """function of every tensor in nested tuples and lists."""
    if isinstance(arg, Tensor):
        return function(arg)
    return type(arg)(_map(function, part) for part in arg) if isinstance(arg, (tuple, list)) else arg


def _leaves(arg: Any) -> list[Any]:
    """Everything in nested tuples and lists, in order."""
    return [leaf for part in arg for leaf in _leaves(part)] if isinstance(arg, (tuple, list)) else [arg]

"""Models that decide for objects: sizes, order, padding, duplicates, costs, many devices at once, start, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from torch import Tensor

from learners import registry
from learners.models.batch_norm import MOMENTUM
from learners.models.controller import Controller
from learners.models.edge_equivariant import EdgeEquivariant
from learners.models.equivariant import Equivariant
from learners.models.flat import num_params, unflatten
from learners.models.message_passing import MessagePassing
from learners.models.padded_mlp import PaddedMlp
from learners.models.two_index import TwoIndex

F64 = torch.float64
K_MAX = 7


class Make(Protocol):
    def __call__(self, **keys: Any) -> Controller: ...


def maker(kind: type[Controller], **keys: Any) -> Make:
    """Of networks for up to K_MAX objects."""
    width = 2 if kind is Equivariant else K_MAX + 1
    return lambda **more: kind((K_MAX, width), 1, **keys, **more)  # type: ignore[call-arg]


EQUIVARIANT: dict[str, Make] = {
    **{f"equivariant {a}": maker(Equivariant, hidden=(6, 5), aggregation=a) for a in ("mean", "sum", "sqrt")},
    **{f"edge_equivariant {a}": maker(EdgeEquivariant, hidden=(6, 5), aggregation=a) for a in ("mean", "sum", "sqrt")},
    "edge_equivariant nonzero": maker(EdgeEquivariant, hidden=(6, 5), neighborhood="nonzero"),
    "edge_equivariant linear": maker(EdgeEquivariant, hidden=()),
    "two_index": maker(TwoIndex, hidden=(6, 5)),
    "message_passing": maker(MessagePassing, message=(6, 8), update=5),
}
"""Models whose scores follow their objects."""

HEADS = {name: make for name, make in EQUIVARIANT.items() if name in ("equivariant mean", "edge_equivariant mean")}
"""Models with a choice of heads."""

ALL: dict[str, Make] = {
    **EQUIVARIANT,
    **{f"{name}, {head}": lambda make=make, head=head: make(head=head) for name, make in HEADS.items() for head in ("invariant", "ego")},
    "padded_mlp": maker(PaddedMlp, hidden=(6, 5)),
    "padded_mlp vector": lambda: PaddedMlp((K_MAX, 2), 1, hidden=(6, 5)),
    "padded_mlp batch_norm": maker(PaddedMlp, hidden=(6, 5), batch_norm=True),
}  # fmt: skip


def parameters_of(model: Controller, seed: int = 1, dtype: torch.dtype = F64) -> tuple[Tensor, ...]:
    """Random ones, biases included, large enough for every unit to matter; running variances are positive."""
    x = np.random.default_rng(seed).standard_normal(num_params(model.shapes)) * 0.7
    num_buffers = getattr(model, "num_buffers", 0)
    first = num_params(model.shapes[:num_buffers])
    x[:first] = np.abs(x[:first]) + 0.1
    return unflatten(torch.tensor(x, dtype=dtype), model.shapes)


def samples(model: Controller, K: int, count: int = 4, seed: int = 2) -> Tensor:
    """[count, K, width] without padding; some gains between others are 0."""
    rng = np.random.default_rng(seed)
    ones = np.ones((count, K, 1))
    if model.controls == "vector":
        return torch.tensor(np.concatenate((rng.exponential(size=(count, K, 1)), ones), -1))
    gains = rng.exponential(size=(count, K, K)) * ((rng.random((count, K, K)) < 0.6) | np.eye(K, dtype=bool))
    return torch.tensor(np.concatenate((gains, ones), -1))


def permuted(model: Controller, inputs: Tensor, order: Tensor) -> Tensor:
    """The same samples with object order[k] in place k."""
    inputs = inputs[:, order]
    return inputs if model.controls == "vector" else torch.cat((inputs[..., :-1][..., order], inputs[..., -1:]), -1)


def padded(model: Controller, inputs: Tensor) -> Tensor:
    """With zeros behind the objects, up to K_MAX."""
    found = inputs.new_zeros((len(inputs), *model.input_shape))
    found[:, : inputs.shape[1], : inputs.shape[-1] - 1] = inputs[..., :-1]
    found[:, : inputs.shape[1], -1] = 1
    return found


def orders(K: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(K)
    return [torch.randperm(K, generator=generator) for _ in range(3)]


# Order


@pytest.mark.parametrize("K", [2, 5, 9])
@pytest.mark.parametrize("name", EQUIVARIANT)
def test_permuted_objects_get_permuted_scores(name: str, K: int) -> None:
    model = EQUIVARIANT[name]()
    parameters, inputs = parameters_of(model), samples(model, K)
    scores = model.forward(parameters, inputs)
    assert scores.shape == (4, K)
    assert float(scores.std(1).max()) > 1e-3  # objects differ
    for order in orders(K):
        found = model.forward(parameters, permuted(model, inputs, order))
        torch.testing.assert_close(found, scores[:, order], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", HEADS)
def test_invariant_and_ego_heads_do_not_feel_the_order(name: str) -> None:
    """The invariant one of all objects, the ego one of the neighbors, whose scores it leaves at 0."""
    invariant, ego, K = HEADS[name](head="invariant"), HEADS[name](head="ego"), 6
    inputs = samples(invariant, K)
    one, first = (model.forward(parameters_of(model), inputs) for model in (invariant, ego))
    assert torch.equal(one, one[:, :1].expand(-1, K))
    assert float(one[:, 0].std()) > 1e-3
    assert not first[:, 1:].any()
    every = HEADS[name]().forward(parameters_of(ego), inputs)
    assert torch.equal(first[:, 0], every[:, 0])
    for order in orders(K):
        found = invariant.forward(parameters_of(invariant), permuted(invariant, inputs, order))
        torch.testing.assert_close(found, one, rtol=0, atol=1e-10)
        of_neighbors = torch.cat((torch.zeros(1, dtype=torch.int64), 1 + torch.argsort(order[order > 0])))
        found = ego.forward(parameters_of(ego), permuted(ego, inputs, of_neighbors))
        torch.testing.assert_close(found, first, rtol=0, atol=1e-10)


def test_a_padded_network_knows_one_order() -> None:
    model = ALL["padded_mlp"]()
    inputs, order = samples(model, K_MAX), orders(K_MAX)[0]
    scores = model.forward(parameters_of(model), inputs)
    assert not torch.allclose(
        model.forward(parameters_of(model), permuted(model, inputs, order)), scores[:, order], atol=0.01
    )


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_duplicates_get_the_same_score(name: str) -> None:
    """Objects 1 and 3 hear and disturb the others and each other alike: no symmetric input has an asymmetric decision."""
    model = EQUIVARIANT[name]()
    inputs = samples(model, 5)
    if model.controls == "vector":
        inputs[:, 3] = inputs[:, 1]
    else:
        H = inputs[..., :-1]
        H[:, 3], H[:, :, 3] = H[:, 1], H[:, :, 1].clone()
        H[:, 1, 3] = H[:, 3, 1] = 0.7
        H[:, 3, 3] = H[:, 1, 1]
        H[:, 3, [0, 2, 4]], H[:, [0, 2, 4], 3] = H[:, 1, [0, 2, 4]], H[:, [0, 2, 4], 1]
    scores = model.forward(parameters_of(model), inputs)
    torch.testing.assert_close(scores[:, 3], scores[:, 1], rtol=0, atol=1e-12)
    assert (scores[:, 3] - scores[:, 0]).abs().max() > 1e-3


# Scale


@pytest.mark.parametrize("K", [1, 2, 6])
@pytest.mark.parametrize("name", ALL)
def test_padded_samples_get_the_scores_of_unpadded_ones(name: str, K: int) -> None:
    """With objects of their own scale each in one batch; scores of padding are finite."""
    model = ALL[name]()
    parameters, inputs = parameters_of(model), samples(model, K)
    alone = model.forward(parameters, inputs)
    mixed = torch.cat((samples(model, K_MAX, 2), padded(model, inputs), padded(model, samples(model, 3))))
    together = model.forward(parameters, mixed)
    torch.testing.assert_close(together[2:6, :K], alone, rtol=0, atol=1e-10)
    torch.testing.assert_close(together[:2], model.forward(parameters, mixed[:2]), rtol=0, atol=1e-10)
    assert together.isfinite().all()
    assert model.forward(parameters, torch.zeros_like(mixed)).isfinite().all()  # a batch of padding only


@pytest.mark.parametrize("name", ALL)
def test_float32_gives_the_same_to_six_digits(name: str) -> None:
    model = ALL[name]()
    inputs = padded(model, samples(model, 5))
    exact = model.forward(parameters_of(model), inputs)
    single = model.forward(parameters_of(model, dtype=torch.float32), inputs.float())
    assert single.dtype == torch.float32
    scale = float(exact.abs().max())
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5 * max(1.0, scale))


@pytest.mark.parametrize("name", ["equivariant mean", "edge_equivariant mean", "two_index", "message_passing"])
def test_means_and_maxima_keep_an_objects_score_however_many_equal_neighbors_it_has(name: str) -> None:
    model = EQUIVARIANT[name]()
    scores = []
    for K in (2, 5, 30):
        inputs = torch.full((1, K, 2 if model.controls == "vector" else K + 1), 0.3, dtype=F64)
        inputs[..., -1] = 1
        scores.append(model.forward(parameters_of(model), inputs)[0, 0])
    torch.testing.assert_close(torch.stack(scores), scores[0].expand(3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_representation_is_the_scores(name: str) -> None:
    model = ALL[name]()
    parameters, inputs = parameters_of(model), samples(model, K_MAX)
    z = model.representation(parameters, inputs)
    assert z.shape == (4, model.feature_dim)
    assert torch.equal(model.head(parameters, z), model.forward(parameters, inputs))


# Costs


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Equivariant((2, 2), 1), 1137),
        (Equivariant((32, 2), 1), 1137),
        (EdgeEquivariant((2, 3), 1), 6529),
        (EdgeEquivariant((30, 31), 1), 6529),
        (TwoIndex((8, 9), 1), 4 * (16 + 256 + 256 + 16) + 49),
        (MessagePassing((8, 9), 1), 5 * 16 + 16 + 16 * 32 + 32 + 35 * 16 + 16 + 16 + 1),
        (PaddedMlp((10, 11), 1), 43_570),
        (PaddedMlp((12, 13), 1), 52_532),
        (PaddedMlp((20, 21), 1), 104_380),
        (PaddedMlp((12, 2), 1), 12 * 200 + 200 + 200 * 80 + 80 + 80 * 80 + 80 + 80 * 12 + 12),
        (PaddedMlp((10, 11), 1, batch_norm=True), 43_570 + 4 * 360),
        # w and b instead of U, V and b
        (Equivariant((8, 2), 1, head="invariant"), 1137 - 16),
        (EdgeEquivariant((8, 9), 1, head="ego"), 6529),
    ],
)
def test_numbers_of_parameters(model: Controller, expected: int) -> None:
    """Of networks of sub-matrices the same at every scale, and so are their payloads (float32: 4,548 and 26,116 bytes)."""
    assert num_params(model.shapes) == expected
    assert model.initial(np.random.default_rng(1)).shape == (expected,)


# Many devices


@pytest.mark.parametrize("name", ALL)
def test_many_devices_at_once_get_the_gradients_of_one_after_the_other(name: str) -> None:
    """Scores of padding count, too, if only a little: no infinite or undefined slope may hide there."""
    model = ALL[name]()
    x = torch.stack([torch.cat([p.flatten() for p in parameters_of(model, seed)]) for seed in range(3)])
    inputs = torch.stack([padded(model, samples(model, K, seed=K)) for K in (1, 4, K_MAX)])

    def loss(x: Tensor, inputs: Tensor) -> Tensor:
        seen: Any = model
        if getattr(model, "num_buffers", 0):
            seen = model.training(torch.ones(4, dtype=F64))  # type: ignore[attr-defined]
        scores = seen.forward(unflatten(x, model.shapes), inputs)
        return (torch.sin(scores) * (0.01 + inputs[..., -1])).sum()

    together = torch.func.vmap(torch.func.grad(loss))(x, inputs)
    alone = torch.stack([torch.func.grad(loss)(*one) for one in zip(x, inputs, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    assert alone.isfinite().all()
    assert alone.any(1).all()


def test_a_padded_network_normalizes_batches_and_keeps_running_statistics() -> None:
    """Of the first hidden layer, by hand; rows of weight 0 count nowhere."""
    model = PaddedMlp((3, 4), 1, hidden=(4,), batch_norm=True)
    parameters, inputs = parameters_of(model), samples(model, 3, count=6)
    mean, var, W, b, scale, shift, last, last_b = parameters
    assert (model.num_buffers, model.shapes[:2]) == (2, ((4,), (4,)))
    h = inputs[..., :-1].flatten(1) @ W.T + b
    evaluated = torch.relu((h - mean) / (var + 1e-5).sqrt() * scale + shift) @ last.T + last_b
    torch.testing.assert_close(model.forward(parameters, inputs), evaluated, rtol=0, atol=1e-12)
    training, real = model.training(torch.tensor([1.0, 1, 1, 1, 0, 0], dtype=F64)), h[:4]
    scores = training.forward(parameters, inputs)
    normalized = (real - real.mean(0)) / (real.var(0, correction=0) + 1e-5).sqrt() * scale + shift
    torch.testing.assert_close(scores[:4], torch.relu(normalized) @ last.T + last_b, rtol=0, atol=1e-12)
    for found, before, now in zip(training.buffers, (mean, var), (real.mean(0), real.var(0)), strict=True):
        torch.testing.assert_close(found, before + MOMENTUM * (now - before), rtol=0, atol=1e-12)


# Definitions


def test_the_message_passing_network_is_its_definition() -> None:
    """By loops over links and neighbors."""
    model, K = EQUIVARIANT["message_passing"](), 4
    (inputs,), (W1, b1, W2, b2, U1, c1, U2, c2) = samples(model, K, 1), parameters_of(model)
    H, powers, scores = inputs[:, :-1], torch.ones(K, dtype=F64), torch.zeros(K, dtype=F64)
    for _ in range(3):
        x = [torch.stack((H[k, k], torch.ones((), dtype=F64), powers[k])) for k in range(K)]
        scores = torch.zeros(K, dtype=F64)
        for k in range(K):
            told = []
            for j in range(K):
                if j != k:
                    first = torch.relu(W1 @ torch.cat((x[j], H[k, j][None], H[j, k][None])) + b1)
                    told.append(torch.relu(W2 @ first + b2))
            m = torch.stack(told).max(0).values
            scores[k] = U2[0] @ torch.relu(U1 @ torch.cat((m, x[k])) + c1) + c2[0]
        powers = torch.sigmoid(scores)
    torch.testing.assert_close(model.forward(parameters_of(model), inputs[None])[0], scores, rtol=0, atol=1e-12)
    once = MessagePassing((K, K + 1), 1, (6, 8), 5, iterations=1).forward(parameters_of(model), inputs[None])[0]
    assert (once - scores).abs().max() > 1e-3


def test_the_two_index_network_does_not_know_the_other_links_own_gains() -> None:
    """Row and column of link 0 in their places, all others' columns permuted apart from their rows: its score stays."""
    model = EQUIVARIANT["two_index"]()
    inputs = samples(model, 5)
    other = inputs.clone()
    other[:, 1:, 1:-1] = inputs[:, 1:, 1:-1][:, :, [1, 2, 3, 0]]
    other[:, 0, 1:-1] = inputs[:, 0, 1:-1][:, [1, 2, 3, 0]]
    scores, found = (model.forward(parameters_of(model), part) for part in (inputs, other))
    torch.testing.assert_close(found[:, 0], scores[:, 0], rtol=0, atol=1e-10)
    edge = EQUIVARIANT["edge_equivariant mean"]()
    scores, found = (edge.forward(parameters_of(edge), part) for part in (inputs, other))
    assert (found[:, 0] - scores[:, 0]).abs().max() > 1e-3


# Start


def start(model: Controller) -> tuple[np.ndarray, ...]:
    x = torch.tensor(model.initial(np.random.default_rng(3)))
    return tuple(part.numpy() for part in unflatten(x, model.shapes))


def assert_variance(values: np.ndarray, expected: float) -> None:
    """Relative standard error of the variance of n normal numbers: sqrt(2 / n); tolerance 4 of them."""
    assert values.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / values.size))


@pytest.mark.parametrize(("aggregation", "divisor"), [("mean", 1), ("sqrt", 1), ("sum", K_MAX - 1)])
def test_sub_matrices_start_with_the_stated_variances(aggregation: Any, divisor: int) -> None:
    """1 / i of U, and of V over the square of the number of neighbors where these are summed; biases 0; the last layer a tenth."""
    U, V, b = start(Equivariant((K_MAX, 2), 1, (50, 50), aggregation))[3:6]
    assert_variance(U, 1 / 50)
    assert_variance(V, 1 / 50 / divisor**2)
    assert not b.any()
    *_, U, V, _, last_U, last_V, _ = start(EdgeEquivariant((K_MAX, K_MAX + 1), 1, (60, 60), aggregation))
    assert_variance(U, 1 / 60)
    assert_variance(V, 1 / 60 / divisor**2)
    assert_variance(last_U, 0.01 / 60)
    assert_variance(last_V, 0.01 / 60 / divisor**2)
    w, w_b = start(EdgeEquivariant((K_MAX, K_MAX + 1), 1, (60,), aggregation, head="invariant"))[-2:]
    assert_variance(w, 0.01 / 60)
    assert not w_b.any()


def test_networks_of_others_start_as_their_sources_say() -> None:
    """A standard normal number within +- 2 has variance 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737; its kurtosis and that of a uniform one
    are below 3, so that the tolerance of a normal one is generous."""
    W, b = start(PaddedMlp((10, 11), 1))[:2]
    assert_variance(W, 0.7737 / 100)
    assert np.abs(W).max() <= 0.2
    assert (b == 0.1).all()
    U, V, P, Q, b = start(TwoIndex((5, 6), 1, (40, 40)))[5:10]
    for part in (U, V, P, Q):
        assert_variance(part, 0.7737 / 100)
        assert np.abs(part).max() <= 0.2
    assert not b.any()
    W = start(MessagePassing((5, 6), 1))[2]
    assert_variance(W, 1 / 16 / 3)
    assert np.abs(W).max() <= 0.25


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Equivariant((1, 8, 8), 10), r"input_shape = \(1, 8, 8\) with 10 classes: Equivariant .*\[K, 2\].*parallel_channels"),
        (lambda: EdgeEquivariant((8, 2), 1), r"EdgeEquivariant decides .*\[K, K \+ 1\].*interference_channel"),
        (lambda: EdgeEquivariant((8, 9), 10), "with 10 classes"),
        (lambda: EdgeEquivariant((0, 1), 1), r"input_shape = \(0, 1\)"),
        (lambda: Equivariant((64,), 1), r"input_shape = \(64,\)"),
        (lambda: PaddedMlp((8, 8), 1), r"\[K, K \+ 1\] .* or \[K, 2\] "),
        (lambda: Equivariant((8, 2), 1, hidden=(0,)), r"hidden = \(0,\): every layer needs at least 1 unit"),
        (lambda: PaddedMlp((8, 9), 1, hidden=(4, 0)), "hidden = "),
        (lambda: Equivariant((8, 2), 1, aggregation="max"), "aggregation = 'max': one of mean, sum, sqrt"),  # type: ignore[arg-type]
        (lambda: EdgeEquivariant((8, 9), 1, aggregation="max"), "aggregation = 'max'"),  # type: ignore[arg-type]
        (lambda: EdgeEquivariant((8, 9), 1, neighborhood="near"), "neighborhood = 'near': one of all, nonzero"),  # type: ignore[arg-type]
        (lambda: EdgeEquivariant((8, 9), 1, last_layer_scale=0), "last_layer_scale = 0: a positive"),
        (lambda: Equivariant((8, 2), 1, head="own"), "head = 'own': one of equivariant, invariant, ego"),  # type: ignore[arg-type]
        (lambda: TwoIndex((8, 9), 1, hidden=(0,)), r"hidden = \(0,\)"),
        (lambda: MessagePassing((8, 9), 1, message=(0, 4)), r"message = \(0, 4\): every layer"),
        (lambda: MessagePassing((8, 9), 1, update=0), "update = 0: a positive integer"),
        (lambda: MessagePassing((8, 9), 1, iterations=0), "iterations = 0: a positive integer"),
        (lambda: PaddedMlp((8, 9), 1).forward((), torch.zeros(1, 9, 10)), "samples of 9 objects, it has inputs for 8"),
    ],
)  # fmt: skip
def test_controllers_refuse_what_they_cannot_be_built_for(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_every_listed_controller_is_tested_here() -> None:
    found = {name for name in registry.MODELS if issubclass(registry.load("model", name), Controller)}
    assert found == {name.partition(" ")[0].removesuffix(",") for name in ALL}

"""PowerSGD: the worked example through its two exchanges, sizes, and what its factors keep of a matrix."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression import low_rank
from learners.compression.powersgd import PowerSgd
from learners.loopback import LoopbackNode, loopback
from learners.protocol import SERVER, Send
from tests.learners.test_quantization import CNN, NUM_PARAMS

M1 = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=torch.float64)
M2 = torch.tensor([[0.0, 1, 0], [1, 0, 1]], dtype=torch.float64)
SHAPE = ((2, 3),)


def run(
    differences: list[list[Tensor]], shapes: Any, rank: int, start: Tensor | None = None
) -> tuple[list[list[Tensor]], list[Tensor], list[Any]]:
    """Means at the server and at each client, the errors of the clients at the end, and what was sent. differences: of each
    client, a step after the other."""
    task = SimpleNamespace(model=SimpleNamespace(shapes=shapes))
    num_clients, num_steps = len(differences), len(differences[0])
    means: dict[int, list[Tensor]] = {i: [] for i in (SERVER, *range(num_clients))}
    errors: dict[int, Tensor] = {}
    sent: list[Any] = []

    def program(n: Any) -> Any:
        exchange = PowerSgd(n, rank, right=start)
        for k in range(num_steps):
            if n.id == SERVER:
                shares = dict.fromkeys(range(num_clients), 1.0)
                steps = exchange.serve(k, list(range(num_clients)), shares)
            else:
                steps = exchange.average(k, differences[n.id][k].flatten())
            means[n.id].append((yield from noted(steps, n.id)))
        if n.id != SERVER:
            errors[n.id] = exchange.error

    def noted(steps: Any, node: int) -> Any:
        answer = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            if isinstance(request, Send):
                sent.append((node, request))
            answer = yield request

    ids = (SERVER, *range(num_clients))
    nodes = [
        LoopbackNode(i, tuple(j for j in ids if j != i), None, np.random.default_rng(0), dtype=torch.float64, task=task)
        for i in ids
    ]
    loopback(program, nodes)
    return [means[i] for i in ids], [errors[i] for i in range(num_clients)], sent


def test_worked_example() -> None:
    """Q = (1, 0, 0): P = mean of (1, 4) and (0, 1) = (.5, 2.5), normalized (.196116, .980581)."""
    mean = (M1 + M2) / 2
    q = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    p_hat = low_rank.orthonormal(low_rank.left(mean.flatten(), q, SHAPE, 1), SHAPE, 1)
    torch.testing.assert_close(p_hat, torch.tensor([0.196116, 0.980581]).double(), rtol=0, atol=1e-6)
    found = low_rank.right(mean.flatten(), p_hat, SHAPE, 1)
    torch.testing.assert_close(found, torch.tensor([2.549510, 2.745626, 3.726207]).double(), rtol=0, atol=1e-6)
    means, _, sent = run([[M1], [M2]], SHAPE, 1, q)
    assert float((means[0][0].view(2, 3) - mean).square().sum()) == pytest.approx(1.576923, abs=1e-6)
    assert all(torch.equal(other[0], means[0][0]) for other in means), "the same at the server and at all clients"
    up = [request.payload.num_bits for node, request in sent if node == 0]
    assert up == [32 * 2, 32 * 3], "32 r n, then 32 r m"


def test_the_second_pass_starts_warm() -> None:
    """The error of the same mean matrix falls to .430258; the best of rank 1 is .429997."""
    mean = ((M1 + M2) / 2).flatten()
    q = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    for _ in range(2):
        p_hat = low_rank.orthonormal(low_rank.left(mean, q, SHAPE, 1), SHAPE, 1)
        q = low_rank.right(mean, p_hat, SHAPE, 1)
    torch.testing.assert_close(p_hat, torch.tensor([0.385593, 0.922669]).double(), rtol=0, atol=1e-6)
    error = float((low_rank.product(p_hat, q, SHAPE, 1) - mean).square().sum())
    assert error == pytest.approx(0.430258, abs=1e-6)
    least = float(torch.linalg.svdvals(mean.view(2, 3))[1:].square().sum())
    assert least == pytest.approx(0.429997, abs=1e-6)


def test_what_was_applied_and_the_errors_add_up_to_all_differences() -> None:
    """sum_t mean_t + mean_i e_i = sum_t mean_i u_it, to 1e-12, for matrices, a kernel and a bias."""
    shapes = ((4, 6), (4,), (2, 3, 2, 2))
    rng = np.random.default_rng(3)
    u = [[torch.from_numpy(rng.standard_normal(52)) for _ in range(5)] for _ in range(3)]
    means, errors, _ = run(u, shapes, 2)
    applied, left_out = torch.stack(means[0]).sum(0), torch.stack(errors).mean(0)
    total = torch.stack([torch.stack(steps).sum(0) for steps in u]).mean(0)
    assert float((applied + left_out - total).abs().max()) < 1e-12
    assert float(left_out[:24].abs().max()) > 1e-2
    assert float(left_out[24:28].abs().max()) < 1e-12, "a bias travels whole"


@pytest.mark.parametrize(("rank", "num_floats"), [(1, 4_391), (2, 7_724), (4, 14_390), (8, 27_722)])
def test_floats_of_a_model_with_ten_tensors(rank: int, num_floats: int) -> None:
    count = sum(int(np.prod(shape)) for shape in (*low_rank.left_shapes(CNN, rank), *low_rank.right_shapes(CNN, rank)))
    assert count == num_floats


@pytest.mark.parametrize(("rank", "num_bytes"), [(1, 17_564), (4, 57_560)])
def test_bytes_that_a_client_sends_of_a_model_with_ten_tensors(rank: int, num_bytes: int) -> None:
    change = torch.from_numpy(np.random.default_rng(2).standard_normal(NUM_PARAMS))
    _, _, sent = run([[change]], CNN, rank)
    assert sum(request.payload.num_bits for node, request in sent if node == 0) == 8 * num_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_of_low_rank_comes_out_exactly(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(4)
    for rank in (1, 2, 3):
        m = torch.tensor(rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5)), dtype=dtype).flatten()
        q = torch.tensor(low_rank.initial_right(((6, 5),), rank), dtype=dtype)
        p_hat = low_rank.orthonormal(low_rank.left(m, q, ((6, 5),), rank), ((6, 5),), rank)
        found = low_rank.product(p_hat, low_rank.right(m, p_hat, ((6, 5),), rank), ((6, 5),), rank)
        error = float(torch.linalg.vector_norm(found - m) / torch.linalg.vector_norm(m))
        assert (error < 100 * torch.finfo(dtype).eps) == (rank >= 2)
        assert error <= 1, "a projector"


@pytest.mark.parametrize(
    "p", [torch.zeros(5, 2), torch.ones(5, 3), torch.eye(5)[:, :2] * 1e-30], ids=["0", "1", "tiny"]
)
def test_orthonormal_columns_of_what_has_fewer(p: Tensor) -> None:
    columns = low_rank.orthonormalized(p)
    gram = columns.T @ columns
    rank = int(torch.linalg.matrix_rank(p / p.abs().max().clamp(min=1e-38)))
    assert torch.isfinite(columns).all()
    torch.testing.assert_close(gram, torch.diag((torch.arange(p.shape[1]) < rank).float()))


def test_columns_that_become_zero_keep_their_direction() -> None:
    """Else a step without any change would end all later ones."""
    before = torch.arange(6.0)
    assert torch.equal(
        low_rank.warm(torch.tensor([1.0, 0, 2, 0, 0, 0]), before, SHAPE, 2)[::2], torch.tensor([1.0, 2, 0])
    )
    assert torch.equal(low_rank.warm(torch.zeros(6), before, SHAPE, 2), before)


def test_what_has_no_factors_is_refused() -> None:
    node = LoopbackNode(0, (), torch.zeros(1), np.random.default_rng(0))
    node.task = SimpleNamespace(model=SimpleNamespace(shapes=((4,),)))  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no tensor of two dimensions"):
        PowerSgd(node, 2)
    with pytest.raises(ValueError, match="rank = 0: a positive integer"):
        PowerSgd(node, 0)

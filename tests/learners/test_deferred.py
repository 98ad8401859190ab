"""Ops and deferred values: signatures, shapes, FLOPs, ragged arguments."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from learners.deferred import Op, op
from learners.executors import BatchedExecutor, NullExecutor
from learners.executors.contract import assert_pure
from learners.values import Deferred


def mlp_step(inputs: torch.Tensor, labels: torch.Tensor) -> Op:
    """One SGD step of an MLP 64-64-10 on rows of a data set that the op closes over."""

    def step(x, indices, learning_rate):
        def loss(x):
            w1, b1, w2, b2 = x.split([4096, 64, 640, 10])
            h = torch.relu(F.linear(inputs[indices], w1.view(64, 64), b1))
            return F.cross_entropy(F.linear(h, w2.view(10, 64), b2), labels[indices])

        return x - learning_rate * torch.func.grad(loss)(x)

    return Op(step, name="mlp_step")


def test_flops_of_a_gradient_step_are_those_of_its_matrix_products() -> None:
    """MLP 64-64-10, batch of 16: forward and weight gradients 2 * 16 * (4096 + 640) each, and the gradient with respect to
    the hidden layer 2 * 16 * 640; the data set is a real tensor, and nothing is computed on it."""
    step = mlp_step(torch.zeros(50, 64), torch.zeros(50, dtype=torch.int64))
    x, indices, learning_rate = torch.zeros(4810), torch.zeros(16, dtype=torch.int64), torch.tensor(0.1)
    expected = 16 * (2 * (4096 + 640) + 2 * (4096 + 640) + 2 * 640)
    assert expected == 323_584
    assert step.flops(x, indices, learning_rate) == expected
    assert step.flops(NullExecutor().lift(x), indices, learning_rate) == expected
    assert step.scan.flops(x, (torch.zeros(7, 16, dtype=torch.int64),), learning_rate) == 7 * expected


@pytest.mark.parametrize("executor", [BatchedExecutor(), NullExecutor(), None])
def test_a_priced_call_is_the_call_and_its_flops(executor: BatchedExecutor | NullExecutor | None) -> None:
    mixing = Op(
        lambda x, received: x + received.sum(0), name="mixing", ragged=("received",), flops=lambda x, r: r.numel()
    )
    step = mlp_step(torch.zeros(50, 64), torch.zeros(50, dtype=torch.int64))
    x, rate = torch.linspace(-1, 1, 4810), torch.tensor(0.1)
    own = x if executor is None else executor.lift(x)
    indices = torch.arange(7 * 16).reshape(7, 16) % 50
    for operation, args in (
        (step, (own, indices[0], rate)),
        (step.scan, (own, (indices,), rate)),
        (step.scan, (own, (indices[:0],), rate)),
        (mixing, (own, [own] * 3)),
    ):
        value, flops = operation.priced(*args)
        expected = operation(*args)
        assert flops == operation.flops(*args)
        assert value.shape == expected.shape
        if not isinstance(executor, NullExecutor):
            values = (value, expected) if executor is None else executor.materialize((value, expected))
            assert torch.equal(*values)


def test_formula_is_added_to_the_count_and_sees_exact_lengths() -> None:
    mixing = Op(
        lambda x, received: x + received.sum(0), name="mixing", ragged=("received",), flops=lambda x, r: r.numel()
    )
    assert mixing.flops(torch.zeros(6), [torch.zeros(6)] * 3) == 18
    assert mixing.flops(torch.zeros(6), torch.zeros(5, 6)) == 30


def test_zero_flops_are_an_error_that_names_the_op() -> None:
    @op
    def halve(x):
        return x / 2

    with pytest.raises(ValueError, match="op halve: no FLOPs"):
        halve.flops(torch.zeros(3))


def test_called_with_tensors_an_op_computes() -> None:
    @op(ragged=("received",))
    def total(x, received):
        return x + received.sum(0)

    assert torch.equal(total(torch.ones(2), [torch.ones(2)] * 3), torch.full((2,), 4.0))
    assert torch.equal(total(torch.ones(2), []), torch.ones(2))
    carry = Op(lambda x, step: x + step, name="add").scan(torch.zeros(2), (torch.ones(4, 2),))
    assert torch.equal(carry, torch.full((2,), 4.0))


@pytest.mark.parametrize(("m", "padded"), [(0, 4), (1, 4), (4, 4), (5, 8), (8, 8), (9, 16)])
def test_ragged_arguments_are_padded_by_their_own_length(m: int, padded: int) -> None:
    lengths = []

    def fn(x, received, weights):
        lengths.append((len(received), len(weights)))
        return x + weights @ received

    for loop, expected in ((False, padded), (True, m)):
        mixing = Op(fn, name="mixing", ragged=("received", "weights"), loop=loop)
        mixing(torch.zeros(3), [torch.ones(3)] * m, torch.ones(m))
        assert lengths.pop() == (expected, expected)


def test_recording_gives_shapes_and_computes_nothing() -> None:
    executor = BatchedExecutor()
    product = Op(lambda a, b: (a @ b, (a @ b).sum()), name="product")
    matrix, total = product(executor.lift(torch.ones(2, 3)), torch.ones(3, 5))
    assert (tuple(matrix.shape), tuple(total.shape), matrix.dtype) == ((2, 5), (), torch.float32)
    assert (matrix.numel(), matrix.ndim, len(matrix)) == (10, 2, 2)
    assert executor.num_calls == 0
    assert "pending" in repr(matrix)
    assert torch.equal(total.tensor(), torch.tensor(30.0))


def test_what_is_the_same_for_all_devices_splits_the_groups() -> None:
    scale = Op(lambda x, factor: x * factor, name="scale")
    executor = BatchedExecutor()
    x = executor.lift(torch.ones(2))
    results = [scale(x, factor) for factor in (1, 1.0, True, 0.0, -0.0, 2.0, 2.0)]
    values = executor.materialize(results)
    assert executor.num_calls == 6
    assert [str(value[0].item()) for value in values] == ["1.0", "1.0", "1.0", "0.0", "-0.0", "2.0", "2.0"]


def test_bad_calls_are_refused_with_the_ops_name() -> None:
    add = Op(lambda a, b: a + b, name="add")
    x = BatchedExecutor().lift(torch.ones(3))
    with pytest.raises(RuntimeError, match=r"op add fails on arguments \[3\] float32, \[4\] float32"):
        add(x, torch.ones(4))
    with pytest.raises(TypeError, match="op add: an argument of type dict"):
        add(x, {})
    with pytest.raises(ValueError, match="two executors"):
        add(x, NullExecutor().lift(torch.ones(3)))
    with pytest.raises(ValueError, match=r"op add.scan: tensors of steps with lengths \[2, 3\]"):
        add.scan(x, (torch.ones(2, 3), torch.ones(3, 3)))
    with pytest.raises(TypeError, match="the steps of a scan are tensors"):
        add.scan(x, (x,))
    with pytest.raises(TypeError, match="a scan needs results like the carry"):
        Op(lambda a, b: (a + b).sum(), name="shrink").scan(x, (torch.ones(2, 3),))
    with pytest.raises(TypeError, match="op text returns str"):
        Op(lambda a: "text", name="text")(x)
    with pytest.raises(ValueError, match="ragged argument 'c' is not among a, b"):
        Op(lambda a, b: a, name="add", ragged=("c",))
    with pytest.raises(ValueError, match="must be alike"):
        Op(lambda a, b: a, name="add", ragged=("b",))(x, [torch.ones(2), torch.ones(3)])


def test_a_deferred_value_is_not_a_truth_value() -> None:
    with pytest.raises(TypeError, match="yield Read"):
        bool(BatchedExecutor().lift(torch.ones(1)))


def test_purity_check_finds_writes_in_place() -> None:
    def impure(x):
        return x.add_(1)

    with pytest.raises(AssertionError, match="op impure writes in place"):
        assert_pure(Op(impure), torch.ones(3))
    assert_pure(mlp_step(torch.ones(9, 64), torch.ones(9, dtype=torch.int64)), torch.ones(4810), torch.arange(5), 0.1)


def test_null_executor_gives_the_shapes_of_a_run() -> None:
    """Same calls on both executors; only the null one never computes."""
    step = mlp_step(torch.zeros(50, 64), torch.zeros(50, dtype=torch.int64))
    pair = Op(lambda x, xs: (x + xs.sum(0), xs.mean()), name="pair", ragged=("xs",))
    shapes = []
    for executor in (BatchedExecutor(), NullExecutor()):
        x = executor.lift(torch.zeros(4810))
        y = step.scan(x, (torch.zeros(3, 16, dtype=torch.int64),), torch.tensor(0.1))
        z, mean = pair(y, [x, y, x])
        shapes.append([(value.shape, value.dtype) for value in (y, z, mean)])
        assert all(type(value) is Deferred for value in (x, y, z, mean))
    assert shapes[0] == shapes[1]
    assert (executor.num_jobs, executor.num_calls) == (4, 0)
    with pytest.raises(RuntimeError, match="holds no numbers"):
        y.tensor()

"""Executors: the same numbers from each, bit for bit whatever the grouping, in bounded memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learners.deferred import Op
from learners.executors import BatchedExecutor, EagerExecutor
from learners.executors import blocks as blocks_module
from learners.executors import calls as calls_module
from learners.executors.contract import assert_pure, assert_rows_bit_equal
from learners.executors.gather import gather
from learners.executors.passes import maxima
from learners.executors.tape import NotReplayable, Tape

FEATURES, HIDDEN, CLASSES = 12, 9, 5
NUM_PARAMS = FEATURES * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES
DATA = torch.randn(60, FEATURES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.arange(60) % CLASSES


def _mlp_loss(x, indices, weights):
    w1, b1, w2, b2 = x.split([FEATURES * HIDDEN, HIDDEN, HIDDEN * CLASSES, CLASSES])
    hidden = torch.relu(F.linear(DATA.to(x.dtype)[indices], w1.view(HIDDEN, FEATURES), b1))
    logits = F.linear(hidden, w2.view(CLASSES, HIDDEN), b2)
    losses = logits.logsumexp(-1) - logits.gather(-1, LABELS[indices].unsqueeze(-1)).squeeze(-1)
    return (losses * weights).sum() / weights.sum()


def _sgd_step(x, indices, weights, learning_rate):
    return x - learning_rate * torch.func.grad(_mlp_loss)(x, indices, weights)


def _mix(x, received, weights):
    return (1 - weights.sum()) * x + weights @ received


def _with_buffer(x, buffer, noise):
    mean = 0.9 * buffer + 0.1 * x.mean()
    return x - 0.1 * mean * torch.tanh(x + noise), mean


def _in_place_inside(x, y):
    total = torch.zeros_like(x)
    total.add_(x).mul_(y)
    return total.exp()


SGD = Op(_sgd_step, name="sgd_step")
MIX = Op(_mix, name="mix", ragged=("received", "weights"))
BUFFER = Op(_with_buffer, name="with_buffer")
LOOPED = Op(_sgd_step, name="sgd_step_looped", loop=True)
INSIDE = Op(_in_place_inside, name="in_place_inside")


def _random(*seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))


def sgd_args(dtype: torch.dtype):
    def make(i: int):
        g = _random(2, i)
        indices = torch.randint(0, 60, (6,), generator=g)
        x = torch.randn(NUM_PARAMS, generator=g, dtype=torch.float64).to(dtype)
        return x, indices, torch.ones(6, dtype=dtype), torch.tensor(0.1 + i / 100, dtype=dtype)

    return make


def mix_args(i: int):
    g = _random(3, i)
    return (
        torch.randn(33, generator=g),
        [torch.randn(33, generator=g) for _ in range(i % 5)],
        torch.rand(i % 5, generator=g),
    )


def buffer_args(i: int):
    g = _random(4, i)
    return torch.randn(33, generator=g), torch.rand((), generator=g), torch.randn(33, generator=g)


def inside_args(i: int):
    g = _random(5, i)
    return torch.randn(33, generator=g), torch.randn(33, generator=g)


@pytest.mark.parametrize(
    ("op", "make_args"),
    [
        (SGD, sgd_args(torch.float32)),
        (SGD, sgd_args(torch.float64)),
        (MIX, mix_args),
        (BUFFER, buffer_args),
        (LOOPED, sgd_args(torch.float32)),
        (INSIDE, inside_args),
    ],
    ids=["sgd32", "sgd64", "mix", "buffer", "looped", "in_place_inside"],
)
def test_ops_keep_to_the_contract(op: Op, make_args) -> None:
    assert_pure(op, *make_args(3))
    assert_rows_bit_equal(op, make_args)


def test_contract_check_finds_rows_that_depend_on_the_group() -> None:
    """A sum along the group is seen by no batched kernel; a function that counts its calls stands for it."""
    calls = []

    def impure(x):
        calls.append(1)
        return x + len(calls)

    with pytest.raises(AssertionError, match="op impure: results differ"):
        assert_rows_bit_equal(Op(impure), lambda i: (torch.full((3,), float(i)),))


def run_dag(executor, dtype: torch.dtype, num_jobs: int = 200, devices: int = 12) -> torch.Tensor:
    """A random schedule of scans of unequal lengths, mixings of unequal degree and two-result jobs over `devices` models."""
    rng = np.random.default_rng(7)
    start = torch.linspace(-1, 1, NUM_PARAMS, dtype=torch.float64).to(dtype)
    models = [executor.lift(start) for _ in range(devices)]
    buffers = [executor.lift(torch.zeros((), dtype=dtype)) for _ in range(devices)]
    learning_rate = torch.tensor(0.2, dtype=dtype)
    for _ in range(num_jobs):
        i = int(rng.integers(devices))
        kind = rng.integers(4)
        if kind == 0:
            steps = int(rng.integers(1, 6))
            indices = torch.from_numpy(rng.integers(0, 60, (steps, 6)))
            weights = torch.from_numpy(rng.integers(1, 3, (steps, 6))).to(dtype)
            models[i] = executor.scan(SGD, models[i], (indices, weights), (learning_rate,))
        elif kind == 1:
            others = rng.choice(devices, int(rng.integers(0, 7)), replace=False)
            weights = torch.full((len(others),), 0.1, dtype=dtype)
            models[i] = executor.call(MIX, (models[i], [models[j] for j in others], weights))
        elif kind == 2:
            noise = torch.from_numpy(rng.standard_normal(NUM_PARAMS)).to(dtype)
            models[i], buffers[i] = executor.call(BUFFER, (models[i], buffers[i], noise))
        else:
            indices = torch.from_numpy(rng.integers(0, 60, 6))
            models[i] = executor.call(LOOPED, (models[i], indices, torch.ones(6, dtype=dtype), learning_rate))
    return torch.stack(executor.materialize(models))


def test_results_are_equal_bit_for_bit_whatever_the_window() -> None:
    reference = run_dag(BatchedExecutor(), torch.float32)
    assert reference.isfinite().all()
    for window in (1, 3, 50, 4096):
        assert torch.equal(run_dag(BatchedExecutor(window=window), torch.float32), reference)
    assert torch.equal(run_dag(BatchedExecutor(live_bytes=20_000), torch.float32), reference)


@pytest.mark.parametrize("record_at", [1, 10**9])
def test_recorded_calls_change_no_bit(record_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = run_dag(BatchedExecutor(), torch.float32)
    monkeypatch.setattr(calls_module, "RECORD_AT", record_at)
    executor = BatchedExecutor()
    assert torch.equal(run_dag(executor, torch.float32), reference)
    assert any(isinstance(tape, Tape) for tape in executor._calls.tapes.values()) == (record_at == 1)


@pytest.mark.parametrize("loop", [False, True])
def test_a_scan_of_several_steps_is_recorded_at_its_first(loop: bool) -> None:
    """Its function is called for the shapes and twice for the recording; where there is one step, for the shapes and to run."""
    calls = []

    def counted(x, y):
        calls.append(1)
        return x + y

    for num_steps, num_calls in ((3, 3), (1, 2)):
        calls.clear()
        executor = BatchedExecutor()
        steps = torch.arange(num_steps, dtype=torch.float64)
        x = Op(counted, name="counted", loop=loop).scan(executor.lift(torch.zeros(2, dtype=torch.float64)), (steps,))
        assert executor.read(x).tolist() == [float(steps.sum())] * 2
        assert len(calls) == num_calls


def _convolved(x, indices, learning_rate):
    """A step of a small convolutional network; nobody asks for the gradient of its input."""
    images = DATA[indices].to(x.dtype).view(-1, 1, 3, 4)

    def loss(x):
        w1, b1, w2 = x.split([2 * 9, 2, CLASSES * 4])
        maps = torch.relu(F.conv2d(images, w1.view(2, 1, 3, 3), b1, padding=1))
        logits = F.linear(F.max_pool2d(maps, 2).flatten(1), w2.view(CLASSES, 4))
        return F.cross_entropy(logits, LABELS[indices])

    gradient, value = torch.func.grad_and_value(loss)(x)
    return x - learning_rate * gradient, value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_looped_ops_are_replayed_with_the_bits_of_a_plain_call(dtype: torch.dtype) -> None:
    convolved = Op(_convolved, name="convolved", loop=True)
    executor, rng = BatchedExecutor(), np.random.default_rng(4)
    x = torch.from_numpy(rng.standard_normal(2 * 9 + 2 + CLASSES * 4)).to(dtype)
    value, expected = executor.lift(x), x
    for _ in range(6):
        indices = torch.from_numpy(rng.integers(0, 60, 8))
        value, loss = convolved(value, indices, 0.5)
        expected, expected_loss = convolved(expected, indices, 0.5)
        assert torch.equal(executor.read(value), expected)
        assert torch.equal(executor.read(loss), expected_loss)
    assert [type(tape) for tape in executor._calls.tapes.values()] == [Tape]


def test_a_looped_op_may_keep_its_arguments_and_take_scalars() -> None:
    """What is returned is nobody else's memory, and the number of rows means nothing."""
    same = Op(lambda x, scale: (x, scale, x[:2] * scale), name="same", loop=True)
    executor = BatchedExecutor()
    for i in range(4):
        x, scale = torch.arange(3.0 + i), torch.tensor(float(i))
        found = [executor.read(value) for value in same(executor.lift(x), executor.lift(scale))]
        assert all(torch.equal(a, b) for a, b in zip(found, (x, scale, x[:2] * scale), strict=True))


def test_eager_equals_batched() -> None:
    eager = run_dag(EagerExecutor(), torch.float64)
    batched = run_dag(BatchedExecutor(), torch.float64)
    assert (eager - batched).abs().max() < 1e-12 * eager.abs().max()


def test_scans_of_unequal_lengths_equal_their_steps_one_by_one() -> None:
    make, rng = sgd_args(torch.float64), np.random.default_rng(3)
    lengths = [7, 1, 4, 4, 2, 7, 0, 3, 1]
    starts = [make(i)[0] for i in range(len(lengths))]
    xs = [
        (torch.from_numpy(rng.integers(0, 60, (n, 6))), torch.from_numpy(rng.integers(1, 4, (n, 6))).double())
        for n in lengths
    ]
    learning_rate = torch.tensor(0.1, dtype=torch.float64)
    executor = BatchedExecutor()
    scans = [SGD.scan(executor.lift(x), steps, learning_rate) for x, steps in zip(starts, xs)]
    assert executor.num_calls == 0
    found = executor.materialize(scans)
    assert (executor.num_jobs, executor.num_calls) == (sum(lengths), max(lengths))
    for x, steps, value in zip(starts, xs, found):
        expected = SGD.scan(x, steps, learning_rate)
        assert torch.allclose(value, expected, rtol=0, atol=1e-12)
        one_by_one = executor.lift(x)
        for indices, weights in zip(*steps):
            one_by_one = SGD(one_by_one, indices, weights, learning_rate)
        assert torch.equal(executor.read(one_by_one), value)


def test_ragged_groups_form_by_bucket() -> None:
    """Degrees 0 to 4 share one call, 5 to 8 another; each result is that of the op on its own."""
    executor = BatchedExecutor()
    x = executor.lift(torch.arange(33.0))
    args = [
        (x, [executor.lift(torch.full((33,), float(j))) for j in range(m)], torch.full((m,), 0.1)) for m in range(9)
    ]
    found = executor.materialize([MIX(*arg) for arg in args])
    assert executor.num_calls == 2
    for m, value in enumerate(found):
        expected = (1 - 0.1 * m) * torch.arange(33.0) + 0.1 * sum(range(m))
        assert torch.allclose(value, expected, rtol=1e-6, atol=1e-5)


def test_ragged_tensors_and_lists_are_padded_alike() -> None:
    executor = BatchedExecutor()
    x = executor.lift(torch.zeros(4))
    rows = [torch.rand(4, generator=_random(6, j)) for j in range(6)]
    weights = [torch.rand(m, generator=_random(7, m)) for m in (5, 6)]
    as_lists = [MIX(x, rows[:m], w) for m, w in zip((5, 6), weights)]
    as_tensors = [MIX(x, torch.stack(rows[:m]), w) for m, w in zip((5, 6), weights)]
    for a, b in zip(executor.materialize(as_lists), executor.materialize(as_tensors)):
        assert torch.equal(a, b)


def test_jobs_of_many_devices_take_one_call_and_the_largest_group_goes_first() -> None:
    """Two dependent ops on 50 devices, recorded device by device: two calls. Ten devices that are a step ahead of the others
    wait for them, so that the second op is still one call."""
    executor = BatchedExecutor()
    double, shift = Op(lambda x: 2 * x, name="double"), Op(lambda x: x + 1, name="shift")
    values = [shift(double(executor.lift(torch.full((3,), float(i))))) for i in range(50)]
    executor.flush()
    assert (executor.num_jobs, executor.num_calls) == (100, 2)
    assert torch.equal(executor.stack(values)[:, 0], 2 * torch.arange(50.0) + 1)
    ahead = [executor.lift(torch.ones(3)) for _ in range(10)] + [double(values[i]) for i in range(40)]
    found = executor.materialize([shift(x) for x in ahead])
    assert executor.num_calls == 4
    assert torch.equal(found[0], torch.full((3,), 2.0))


def test_read_executes_only_what_the_value_depends_on() -> None:
    executor = BatchedExecutor()
    double, shift = Op(lambda x: 2 * x, name="double"), Op(lambda x: x + 1, name="shift")
    a, b = executor.lift(torch.ones(3)), executor.lift(torch.ones(3))
    wanted, other = double(double(a)), shift(double(b))
    value = executor.read(wanted)
    assert torch.equal(value, torch.full((3,), 4.0))
    value += 1  # the caller's own
    assert torch.equal(executor.read(wanted), torch.full((3,), 4.0))
    assert "pending" in repr(other)
    executor.flush()
    assert "resolved" in repr(other)


def test_window_and_bytes_bound_what_waits() -> None:
    double = Op(lambda x: 2 * x, name="double")
    for bounds in ({"window": 10}, {"live_bytes": 10 * 2 * 4 * 100}):  # argument and result of 100 float32
        executor = BatchedExecutor(**bounds)
        x = executor.lift(torch.ones(100))
        values = [double(x) for _ in range(25)]
        assert [value.job is None for value in values] == [True] * 20 + [False] * 5


def test_rows_without_a_copy_where_they_lie_in_order() -> None:
    executor = BatchedExecutor()
    shift = Op(lambda x: x + 1, name="shift")
    values = [shift(executor.lift(torch.full((3,), float(i)))) for i in range(8)]
    executor.flush()
    base = values[0].base
    assert gather(values) is base
    assert gather(values[2:6]).data_ptr() == base[2].data_ptr()
    assert gather([values[3]] * 5).stride() == (0, 1)
    assert torch.equal(gather(values[::-1]), base.flip(0))


def test_memory_is_flat_over_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 rounds of 10 devices; what is held after 200 rounds is held after 1000. One device in ten keeps an old model, which
    must not keep the other nine of its group alive: rows of 8 kB, compacted at 1 MB."""
    monkeypatch.setattr(blocks_module, "COMPACT_BYTES", 1_000_000)
    executor = BatchedExecutor(window=64)
    shift = Op(lambda x, by: x + by, name="shift")
    models = [executor.lift(torch.zeros(2_000)) for _ in range(10)]
    by = torch.ones(())
    held = []
    kept = []
    for k in range(1000):
        models = [shift(x, by) for x in models]
        if k % 10 == 0:
            kept = [*kept[-49:], models[k % 10]]
        if k in (200, 999):
            executor.flush()
            gc.collect()
            storages = {
                t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                for t in gc.get_objects()
                if type(t) is torch.Tensor and t.shape[-1:] == (2_000,)
            }
            held.append(sum(storages.values()))
    assert torch.equal(executor.read(models[0]), torch.full((2_000,), 1000.0))
    assert torch.equal(executor.read(kept[0]), torch.full((2_000,), 1000.0 - 499))
    assert held[1] < 1.5 * held[0] + 200_000
    wanted = 60 * 8_000
    assert held[1] < 4 * wanted + blocks_module.COMPACT_BYTES
    assert len(executor._blocks.blocks) < 600


def test_rows_of_old_groups_do_not_keep_them_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "COMPACT_BYTES", 1000)
    executor = BatchedExecutor()
    shift = Op(lambda x, by: x + by, name="shift")
    one = torch.ones(())
    kept = []
    for k in range(20):
        values = [shift(executor.lift(torch.full((50,), float(i))), one) for i in range(16)]
        kept.append(values[k % 16])
        executor.flush()
    bases = {id(value.base): value.base for value in kept}
    assert sum(base.nbytes for base in bases.values()) < 4 * 20 * 200 + 2 * 16 * 200
    assert [float(value.tensor()[0]) for value in kept] == [float(k % 16 + 1) for k in range(20)]


def test_failing_ops_are_named_with_group_and_shapes() -> None:
    def wrong_number(x, i):
        return x.index_select(0, i)

    executor = BatchedExecutor()
    x = executor.lift(torch.ones(3))
    pick = Op(wrong_number, name="pick")
    for i in (1, 7):
        value = pick(x, torch.tensor([i]))
    with pytest.raises(
        RuntimeError, match=r"op pick fails in a group of 2 on arguments \[3\] float32, \[1\] int64"
    ) as error:
        executor.read(value)
    assert "out of bounds" in str(error.value.__cause__)


def test_writing_into_arguments_is_found_at_run_time() -> None:
    def impure(x, y):
        x.add_(y)
        return x * 1

    executor = BatchedExecutor()
    op = Op(impure)
    for i in range(5):
        value = op(executor.lift(torch.full((3,), float(i))), torch.ones(3))
    with pytest.raises(RuntimeError, match="op impure fails .* writes into its arguments"):
        executor.read(value)


def test_one_tensor_passed_twice_is_two_arguments_when_replayed() -> None:
    """Recorded with the same tensor for both, replayed with different ones."""
    minus = Op(lambda a, b: 2 * a - b, name="minus")
    executor = BatchedExecutor()
    rows = [executor.lift(torch.full((5,), float(i))) for i in range(4)]
    shift = Op(lambda x: x + 1, name="shift")
    same = [shift(x) for x in rows]
    other = [shift(shift(x)) for x in rows]
    for second in (same, same, same, other):
        found = executor.stack([minus(a, b) for a, b in zip(same, second)])
        expected = 2 * executor.stack(same) - executor.stack(second)
        assert torch.equal(found, expected)


def test_tape_keeps_the_kernels_that_matter() -> None:
    """Views that exist already, unused results and what depends on constants alone are left out; any number of rows will do."""
    table = torch.arange(12.0).view(3, 4)

    def fn(x, index):
        unused = x.exp()  # noqa: F841
        constant = table.t().sum(0)
        ones = torch.ones(len(x)).cumsum(0)
        return ((x.detach().t().t() + table[index] * constant[0]).relu() + ones.view(-1, 1).expand(len(x), 4),)

    tape = Tape(fn, [torch.ones(2, 4), torch.tensor([2, 0])])
    for num_rows in (2, 3, 11, 100):
        x = torch.linspace(-20, 20, 4 * num_rows).view(num_rows, 4)
        before = x.clone()
        for index in (torch.arange(num_rows) % 3, torch.arange(num_rows) % 5 - 3):  # negative: by the slower kernel
            if index.max() < 3:
                assert torch.equal(tape.replay([x, index])[0], fn(x, index)[0])
        assert torch.equal(x, before)
    names = [str(step[0]) for step in tape._program]
    assert not any(word in name for name in names for word in ("exp.", "sum", "detach", "ones"))
    assert tape.num_steps < tape.num_recorded


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [True, False], ids=["batched", "looped"])
def test_pooling_without_a_gradient_takes_the_maxima_alone(rows: bool, dtype: torch.dtype) -> None:
    images = torch.randn((13, 3, 6, 8), generator=torch.Generator().manual_seed(2)).to(dtype)
    images[0, 0, :2] = torch.tensor([-torch.inf, torch.inf, torch.nan, 1, 1, torch.nan, 2, 2])

    def pooled(x):
        return (F.max_pool2d(x + 0, 2),)

    def differentiated(x):
        return (torch.func.grad(lambda x: F.max_pool2d(x, 2).square().sum())(x),)

    def kernels(fn):
        tape = Tape(fn, [images], rows=rows)
        assert torch.equal(torch.nan_to_num(tape.replay([images])[0], 7.0), torch.nan_to_num(fn(images)[0], 7.0))
        return [step[0] for step in tape._program]

    assert maxima in kernels(pooled)
    others = [differentiated] + [
        lambda x, window=window: (F.max_pool2d(x, **window),)
        for window in (
            {"kernel_size": 3},
            {"kernel_size": 2, "stride": 1},
            {"kernel_size": 2, "padding": 1},
            {"kernel_size": 2, "dilation": 2},
            {"kernel_size": (2, 1)},
        )
    ]
    odd = [lambda x: (F.max_pool2d(x[..., :5, :].contiguous(), 2),), lambda x: (F.max_pool2d(x.mT, 2),)]
    for fn in others + odd:
        assert maxima not in kernels(fn)
    assert maxima not in kernels(lambda x: F.max_pool2d(x, 2, return_indices=True))


def test_calls_whose_kernels_depend_on_values_or_on_the_number_of_rows_are_not_replayed() -> None:
    def by_value(x):
        return (x * 2 if x.sum() > 0 else x,)

    def by_rows(x):
        return (x.view(-1)[: len(x) ** 2 % 50],)

    def by_shape(x):
        return (x.exp() if len(x) > 12 else x.exp().log(),)

    for fn in (by_value, by_rows, by_shape):
        with pytest.raises(NotReplayable):
            Tape(fn, [torch.ones(4, 50)])


def test_looped_calls_whose_kernels_depend_on_values_are_not_replayed() -> None:
    def by_value(x):
        return (x * 2 if x.sum() > 0 else x,)

    def by_mask(x):
        return (x[x > 0].sum(),)

    def by_count(x):
        return (x.unique().sum(),)

    for fn in (by_value, by_mask, by_count):
        with pytest.raises(NotReplayable):
            Tape(fn, [torch.ones(4, 50)], rows=False)
    assert Tape(lambda x: (x[torch.tensor([2, 0])],), [torch.ones(4, 50)], rows=False).num_steps == 1


IMPURE = {
    "branches": lambda x: x * 2 if x.sum() > 0 else x,
    "branches in a gradient": lambda x: torch.func.grad(lambda y: y @ y if y.sum() > 0 else y.sum())(x),
    "item": lambda x: x * x[0].item(),
    "tolist": lambda x: x * x.tolist()[0],
    "numpy": lambda x: x * float(x.numpy()[0]),
    "data": lambda x: x * float(x.data.numpy()[0]),
    "mask": lambda x: x[x > 0].sum(),
    "unique": lambda x: x.unique().sum(),
    "draws": lambda x: x + torch.rand(4),
    "draws like": lambda x: x + torch.randn_like(x),
    "permutes": lambda x: x[torch.randperm(4)],
    "drops out": F.dropout,
}


@pytest.mark.parametrize("loop", [True, False], ids=["looped", "batched"])
@pytest.mark.parametrize("name", IMPURE)
def test_ops_that_a_recording_would_freeze_are_refused(name: str, loop: bool) -> None:
    """Numbers that reach Python, shapes that depend on them and random numbers would stay those of the recorded call."""
    executor, fn = BatchedExecutor(), Op(IMPURE[name], name=name, loop=loop)
    with pytest.raises(RuntimeError, match=rf"op {name} fails .*arguments \[4\] float32"):
        executor.read(fn(executor.lift(torch.arange(4.0) - 1)))


@pytest.mark.parametrize("loop", [True, False], ids=["looped", "batched"])
def test_constants_made_inside_an_op_are_replayed(loop: bool) -> None:
    table = np.arange(4, dtype=np.float32)
    constants = Op(
        lambda x: x * torch.tensor(2.0) + torch.from_numpy(table) - torch.tensor([1.0, 0, 0, 0]) + torch.arange(4),
        name="constants",
        loop=loop,
    )
    executor = BatchedExecutor()
    for i in range(4):
        x = torch.full((4,), float(i))
        assert torch.equal(executor.read(constants(executor.lift(x))), constants(x))
    assert [type(tape) for tape in executor._calls.tapes.values()] == [Tape]


def test_a_looped_op_with_a_state_of_its_own_is_not_replayed() -> None:
    """What two recordings do not have in common is no tape: the op is called, as it is without one."""
    calls = iter(range(100))
    counted = Op(lambda x: x * next(calls), name="counted", loop=True)
    executor = BatchedExecutor()
    factors = [float(executor.read(counted(executor.lift(torch.ones(1))))) for _ in range(5)]
    assert factors == sorted(set(factors))
    assert list(executor._calls.tapes.values()) == [None]

"""PowerSGD: the worked example through its two exchanges, sizes, and what its factors keep of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression import low_rank
from learners.compression.float32 import Float32
from learners.federated.powersgd import LowRankMean, LowRankUpdates
from learners.federated.round_end import INSTANT_BITS
from learners.loopback import LoopbackNode, loopback
from learners.protocol import SERVER, Compute, Outcome, Receive, Send
from tests.contract.recording import record
from tests.contract.test_estimate import assert_equal_but_for_values
from tests.contract.worlds import calm, harsh
from tests.learners.odd_vectors import vectors
from tests.learners.test_fedavg_differences import OPTIMA, Bowls
from tests.learners.test_fedavg_differences import run as federated
from tests.learners.test_quantization import CNN, NUM_PARAMS
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError

M1 = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=torch.float64)
M2 = torch.tensor([[0.0, 1, 0], [1, 0, 1]], dtype=torch.float64)
SHAPE = ((2, 3),)
TASK_2_BY_3 = SimpleNamespace(model=SimpleNamespace(shapes=SHAPE))


def run(
    differences: list[list[Tensor]], shapes: Any, rank: int, start: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor], list[Any]]:
    """The server's means, the errors of the clients at the end, and what was sent. differences: of each client, a step after the
    other."""
    task = SimpleNamespace(model=SimpleNamespace(shapes=shapes))
    clients, num_steps = list(range(len(differences))), len(differences[0])
    means: list[Tensor] = []
    errors: dict[int, Tensor] = {}

    def server(node: Any) -> Any:
        factors = LowRankMean(node, rank)
        factors.start = factors.start if start is None else start
        for k in range(num_steps):
            yield Send(clients, "model", 2 * k, factors.invitation(0 * differences[0][0].flatten()))
            mean, whose = yield from factors.collect(
                k, clients, lambda _, received: torch.ones(len(received.senders)).double(), True, None
            )
            assert whose == clients
            means.append(mean)

    def client(node: Any) -> Any:
        factors = LowRankUpdates(node, rank)
        for k in range(num_steps):
            _, q = factors.opened((yield Receive([SERVER], "model", 2 * k)).data[0])
            yield from factors.begin(k, differences[node.id][k].flatten(), q, None)
            p_hat = (yield Receive([SERVER], "model", 2 * k + 1)).data[0]
            yield from factors.go_on(2 * k + 1, p_hat, None)
        errors[node.id] = yield from factors.error()

    ids = (SERVER, *clients)
    nodes = [
        LoopbackNode(i, tuple(j for j in ids if j != i), None, np.random.default_rng(0), dtype=torch.float64, task=task)
        for i in ids
    ]
    bench = loopback(lambda node: server(node) if node.id == SERVER else client(node), nodes)
    return means, [errors[i] for i in clients], bench.trace


def averaged(num_rounds: int = 10, **options: Any) -> Tensor:
    """The server's models [num_rounds, 4] where a client's parameters are a matrix of 2 x 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bowls, "model", SimpleNamespace(shapes=((2, 2),)))
        return federated(num_rounds, codec=Float32(), **options)[0]


def by_hand(steps: Any, *outcomes: str) -> Any:
    """What a part of a program returns, whose computations are done and messages taken."""
    answer, fates = None, list(outcomes)
    while True:
        try:
            request = steps.send(answer)
        except StopIteration as stop:
            return stop.value
        answer = None
        if isinstance(request, Compute):
            answer = request.op(*request.args)
        elif isinstance(request, Outcome):
            answer = fates.pop(0)


def test_worked_example() -> None:
    """Q = (1, 0, 0): P = mean of (1, 4) and (0, 1) = (.5, 2.5), normalized (.196116, .980581)."""
    mean = (M1 + M2) / 2
    q = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    p_hat = low_rank.orthonormal(low_rank.left(mean.flatten(), q, SHAPE, 1), SHAPE, 1)
    torch.testing.assert_close(p_hat, torch.tensor([0.196116, 0.980581]).double(), rtol=0, atol=1e-6)
    found = low_rank.right(mean.flatten(), p_hat, SHAPE, 1)
    torch.testing.assert_close(found, torch.tensor([2.549510, 2.745626, 3.726207]).double(), rtol=0, atol=1e-6)
    means, _, trace = run([[M1], [M2]], SHAPE, 1, q)
    assert float((means[0].view(2, 3) - mean).square().sum()) == pytest.approx(1.576923, abs=1e-6)
    sent = [(line[3], line[5]) for line in trace if line[1] == "send"]
    assert [bits for kind, bits in sent if kind == "update"] == 2 * [32 * 2] + 2 * [32 * 3], "32 r n, then 32 r m"
    assert [bits for kind, bits in sent if kind == "model"] == [32 * (6 + 3), 32 * 2], "model and Q, then P^"


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
    applied, left_out = torch.stack(means).sum(0), torch.stack(errors).mean(0)
    total = torch.stack([torch.stack(steps).sum(0) for steps in u]).mean(0)
    assert float((applied + left_out - total).abs().max()) < 1e-12
    assert float(left_out[:24].abs().max()) > 1e-2
    assert not torch.stack(errors)[:, 24:28].any(), "a bias travels whole"


@pytest.mark.parametrize(("rank", "num_floats"), [(1, 4_391), (2, 7_724), (4, 14_390), (8, 27_722)])
def test_floats_of_a_model_with_ten_tensors(rank: int, num_floats: int) -> None:
    count = sum(int(np.prod(shape)) for shape in (*low_rank.left_shapes(CNN, rank), *low_rank.right_shapes(CNN, rank)))
    assert count == num_floats
    assert NUM_PARAMS / count == pytest.approx({1: 152.6, 2: 86.8, 4: 46.6, 8: 24.2}[rank], abs=0.05)


@pytest.mark.parametrize(("rank", "num_bytes"), [(1, 17_564), (4, 57_560)])
def test_bytes_that_a_client_sends_of_a_model_with_ten_tensors(rank: int, num_bytes: int) -> None:
    change = torch.from_numpy(np.random.default_rng(2).standard_normal(NUM_PARAMS))
    _, _, trace = run([[change]], CNN, rank)
    assert sum(line[5] for line in trace if line[1] == "send" and line[3] == "update") == 8 * num_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_of_low_rank_comes_out_exactly(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(4)
    for rank in (1, 2, 3):
        m = torch.tensor(rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5)), dtype=dtype).flatten()
        q = torch.tensor(low_rank.initial_start(((6, 5),), rank), dtype=dtype)
        p_hat = low_rank.orthonormal(low_rank.left(m, q, ((6, 5),), rank), ((6, 5),), rank)
        found = low_rank.product(p_hat, low_rank.right(m, p_hat, ((6, 5),), rank), ((6, 5),), rank)
        error = float(torch.linalg.vector_norm(found - m) / torch.linalg.vector_norm(m))
        assert (error < 100 * torch.finfo(dtype).eps) == (rank >= 2)
        assert error <= 1, "a projector"


def test_a_thousand_matrices_never_grow() -> None:
    """P^ P^T is a projector, whatever Q: ||M - P^ P^T M||^2 = ||M||^2 - ||P^T M||^2, of odd matrices too; nothing is left of one
    with no more than two rows or columns. (It is no more than that: a Q in the null space of M keeps nothing.)"""
    rank, rng, kept = 2, np.random.default_rng(12), []
    for v in vectors(1_000):
        n = int(rng.choice([i for i in range(1, len(v) + 1) if len(v) % i == 0]))
        shapes = ((n, len(v) // n),)
        q = torch.from_numpy(rng.standard_normal(low_rank.num_start(shapes, rank)))
        p_hat = low_rank.orthonormal(low_rank.left(v, q, shapes, rank), shapes, rank)
        factor = low_rank.right(v, p_hat, shapes, rank)
        rest = float(low_rank.residual(v, p_hat, factor, shapes, rank).square().sum())
        total, projected = float(v.square().sum()), float(factor.square().sum())
        assert rest <= total * (1 + 1e-12)
        assert rest == pytest.approx(total - projected, abs=1e-12 * total)
        if min(shapes[0]) <= rank:
            assert rest <= 1e-20 * total
        elif total:
            kept.append(projected / total)
    assert len(kept) > 100
    assert 0 < min(kept) < max(kept) <= 1 + 1e-12
    zero_of = torch.tensor([0.0, 0.0, 1.0]).double()
    p_hat = low_rank.orthonormal(low_rank.left(M1.flatten() * (torch.arange(6) % 3 < 2), zero_of, SHAPE, 1), SHAPE, 1)
    assert not p_hat.any()


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


def test_factors_of_full_rank_are_federated_averaging() -> None:
    """With rank 2 of 2 x 2 matrices, which come out exactly."""
    models = [averaged(**options) for options in ({"update": "difference"}, {"uplink": "powersgd", "rank": 2})]
    assert float((models[0] - models[1]).abs().max()) < 1e-12


def test_low_rank_with_feedback_reaches_the_optimum() -> None:
    """Rank 1 of 2 x 2. The mean of the last models, as for top-k: the bowls differ, so that the last model alone moves about."""
    optimum = OPTIMA.mean(0)
    assert float((averaged(300, uplink="powersgd", rank=1)[150:].mean(0) - optimum).abs().max()) < 0.02


@pytest.mark.parametrize(("fates", "expected"), [(["lost"], "all"), (["delivered"], "rest")])
def test_what_was_lost_is_kept_whole(fates: list[str], expected: str) -> None:
    """Of a lost Q_i nothing was used; neither where P^ never came."""
    node = LoopbackNode(0, (SERVER,), None, np.random.default_rng(0), dtype=torch.float64, task=TASK_2_BY_3)  # type: ignore[arg-type]
    factors = LowRankUpdates(node, 1)
    u = M1.flatten()
    by_hand(factors.begin(0, u, torch.tensor([1.0, 0, 0]).double(), None))
    assert torch.equal(by_hand(factors.error()), u), "P^ has not come"
    p_hat = torch.tensor([0.6, 0.8]).double()
    assert by_hand(factors.go_on(3, p_hat, None)) is None, "that is of another round"
    by_hand(factors.go_on(1, p_hat, None))
    left_out = u - torch.outer(p_hat, p_hat @ M1).flatten()
    torch.testing.assert_close(by_hand(factors.error(), *fates), u if expected == "all" else left_out)


RUNS = ["codec.name=float32", "algorithm.uplink=powersgd", "algorithm.rank=1", "transport.reliability=arq"]


def test_an_estimate_of_rounds_with_factors_equals_the_run() -> None:
    loaded = harsh("fedavg", *RUNS, "transport.max_attempts=2", "stop.rounds=3")
    run, estimate = (simulate(loaded, executor) for executor in ("batched", "null"))
    assert_equal_but_for_values(run, estimate)
    assert 0 < sum(run.messages_lost.values()) < run.messages_sent


def test_the_window_changes_no_bit_of_rounds_with_factors() -> None:
    loaded = harsh("fedavg", *RUNS, "transport.max_attempts=2", "stop.rounds=3")
    one, all_at_once = (record(loaded, window=window)[1].models() for window in (1, 4096))
    assert all(torch.equal(a, b) for a, b in zip(one, all_at_once, strict=True))


SLOW_AIR = ["mac.kind=fdma", "channel.bandwidth_hz=20e3"]


@dataclass(frozen=True)
class Closing:
    """When a message, of a client where it is an update, was sent and when it was off the air, and whether it was through; over_s: when
    its exchange was over."""

    kind: str
    number: int
    sent_s: float
    off_s: float
    over_s: float
    delivered: bool


def closings(late: str, deadline_s: float, *keys: str) -> tuple[Any, list[Closing]]:
    keys = (*RUNS, *SLOW_AIR, f"algorithm.deadline_s={deadline_s}", f"algorithm.late={late}", *keys)
    run = Run(calm("fedavg", *keys), "null", None, None, None, None)
    begins: dict[int, float] = {}
    sent: dict[tuple[int, str, int], float] = {}
    found: list[Closing] = []
    close, send = run.transport.delivery.close, run.transport.send

    def watched_close(flight: Any, delivered: bool) -> None:
        kind, number = flight.kind, flight.round
        first = kind == "update" and number % 2 == 0
        over_s = begins[number // 2] + deadline_s * (0.5 if first else 1.0)
        found.append(Closing(kind, number, sent[flight.sender, kind, number], run.clock.now_s, over_s, delivered))
        close(flight, delivered)

    def watched_send(sender: int, audiences: Any, request: Send, degree: int) -> Any:
        begins.setdefault(request.round // 2, run.clock.now_s)
        sent[sender, request.kind, request.round] = run.clock.now_s
        return send(sender, audiences, request, degree)

    run.transport.delivery.close, run.transport.send = watched_close, watched_send  # type: ignore[method-assign]
    run.go()
    return run.record(), found


@pytest.mark.parametrize(
    ("exchange", "deadline_s", "keys"),
    [(0, 0.62, ()), (1, 0.3, ("algorithm.downlink=broadcast", "model.hidden=[4]", "algorithm.rank=4"))],
    ids=["P", "Q"],
)
def test_no_factor_is_on_the_air_when_its_exchange_is_over(exchange: int, deadline_s: float, keys: Any) -> None:
    """P_i until half of the deadline, Q_i and P^ until all of it; without "abort" some are longer. What is delivered is used, also
    where only its acknowledgment was cut. A Q_i that lasts until the end has more of it than the half that "discard" gives it."""
    (aborted, cut), (discarded, uncut) = (closings(late, deadline_s, *keys) for late in ("abort", "discard"))
    assert all(one.off_s <= max(one.over_s, one.sent_s) + 2e-9 for one in cut)
    under_way = [one for one in cut if one.kind == "update" and one.sent_s < one.over_s - 2e-9 and not one.delivered]
    assert under_way
    assert {one.number % 2 for one in under_way} == {exchange}
    assert all(one.off_s == pytest.approx(one.over_s, abs=2e-9) for one in under_way)
    assert any(one.off_s > one.over_s + 0.001 for one in uncut)
    assert aborted.messages_lost["deadline"] > 0
    assert aborted.messages_delivered_unused == 0
    assert discarded.messages_delivered_unused > 0


def test_aborted_rounds_with_factors_are_bit_equal_whatever_executes_them() -> None:
    """And who is on time learns the same, for 64 bits more with either message of the server."""
    keys = [*RUNS, *SLOW_AIR, "algorithm.late=abort", "algorithm.deadline_s=0.55", "stop.rounds=3"]
    run, estimate = (simulate(calm("fedavg", *keys), executor) for executor in ("batched", "null"))
    assert_equal_but_for_values(run, estimate)
    in_time = ["algorithm.deadline_s=5.0", "stop.rounds=3"]
    discard, abort = (
        simulate(calm("fedavg", *RUNS, *in_time, f"algorithm.late={late}")) for late in ("discard", "abort")
    )
    assert abort.payload_bits - discard.payload_bits == 3 * 6 * 2 * INSTANT_BITS
    assert abort.accuracy[-1] == discard.accuracy[-1]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["transport.reliability=none"], r'reliability = "none": algorithm.uplink = "powersgd" has to learn'),
        (
            ["codec.name=topk", "codec.ratio=0.1"],
            'uplink = "powersgd": sends factors of differences in single precision',
        ),
        (["algorithm.late=use"], 'late = "use": late factors fit no other round of uplink = "powersgd"'),
        (["algorithm.uplink=digital"], 'rank = 1: only with uplink = "powersgd"'),
    ],
)
def test_what_does_not_go_with_factors_is_refused(keys: list[str], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        harsh("fedavg", *RUNS, *keys)


def test_what_has_no_factors_is_refused() -> None:
    node = LoopbackNode(0, (), torch.zeros(1), np.random.default_rng(0))
    node.task = SimpleNamespace(model=SimpleNamespace(shapes=((4,),)))  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no tensor of two dimensions"):
        LowRankUpdates(node, 2)

"""FedMRL: the worked step of the specification, its invariants, a plain torch twin, sizes, and how its jobs batch."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.averaging import average
from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.data.dataset import Dataset
from learners.executors import BatchedExecutor
from learners.federated.fedmrl import FedMrl
from learners.federated.matryoshka import Matryoshka, matryoshka_loss
from learners.federated.shared_part import head_metric
from learners.local_step import Rule, local_step
from learners.models.flat import num_params, unflatten
from learners.models.mlp import Mlp
from learners.models.mrl_cnn import MrlCnn
from learners.protocol import SERVER
from learners.signature import Signature
from learners.task import Task
from tests.contract.worlds import calm
from tests.learners.pair_runs import F64, learner, matrix, play, small_digits, starts_of, two_points, vector
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError

# -- the worked step --------------------------------------------------------------------------------------------------

THETA = torch.cat((vector(0.5, 0.25), vector(0), vector(1, -1), vector(0, 0)))  # A, its bias, G's head and its bias
OMEGA = torch.cat((vector(1, 0, 0, 1), vector(0, 0), vector(1, 0, 0, 1), vector(0, 0)))  # B, F's head: identities
PHI = torch.cat((vector(1, 0, 1, 0, 1, 0), vector(0, 0)))  # W, b


def worked_task() -> Task:
    return Task(two_points(), Mlp((2,), 2, [1]), "float64")


def test_losses_and_gradients_of_the_worked_step() -> None:
    """Client 1: r = (1, 1, 2), fused (3, 1), z_G = (3, -3), z_F = (3, 1). All numbers were worked out outside this code."""
    task = worked_task().with_model(Matryoshka(Mlp((2,), 2, [1]), Mlp((2,), 2, [2])))
    x = torch.cat((THETA, OMEGA, PHI))

    def loss(x: Tensor, sample: int, *weights: float) -> Tensor:
        inputs, labels = task.training_samples(torch.tensor([sample]))
        ones = torch.ones(1, dtype=F64)
        return matryoshka_loss(task.model, unflatten(x, task.model.shapes), inputs, labels, ones, *weights)  # type: ignore[arg-type]

    assert float(loss(x, 0, 1.0, 1.0)) == pytest.approx(8.129404, abs=5e-7)
    assert float(loss(x, 0, 1.0, 0.0)) == pytest.approx(6.002476, abs=5e-7)
    assert float(loss(x, 0, 0.0, 1.0)) == pytest.approx(2.126928, abs=5e-7)
    assert float(loss(x, 3, 1.0, 1.0)) == pytest.approx(0.586987, abs=5e-7)
    assert float(loss(x, 3, 1.0, 0.0)) == pytest.approx(0.011048, abs=5e-7)
    assert float(loss(x, 3, 0.0, 1.0)) == pytest.approx(0.575939, abs=5e-7)
    g = unflatten(torch.func.grad(loss)(x, 0, 1.0, 1.0), task.model.shapes)
    assert torch.allclose(g[0], matrix((2.875852, 5.751704)), atol=1e-6)
    assert torch.allclose(g[2], matrix((2.992582,), (-2.992582,)), atol=1e-6)
    assert torch.allclose(g[-2], matrix((2.875852, 2.875852, 5.751704), (-0.880797, -0.880797, -1.761594)), atol=1e-6)
    coarse = unflatten(torch.func.grad(loss)(x, 0, 1.0, 0.0), task.model.shapes)[-2]
    assert float(coarse[0, 0]) == pytest.approx(1.995055, abs=1e-6)
    assert not coarse[1:].any(), "rows from d1 on are of the fine view only"


def test_a_round_of_the_worked_example(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Client 1 has three times the samples of client 2: aggregate A = (.307301, -.169883)."""
    monkeypatch.setattr(Matryoshka, "initial_projector", lambda self, rng: PHI.numpy())
    task = worked_task()
    private = task.with_model(Mlp((2,), 2, [2]))
    mrl = learner(FedMrl, task, batch_size=3, learning_rate=0.1)
    found = play(mrl, [private] * 2, [[0, 1, 2], [3]], [OMEGA] * 2, THETA, executor)
    assert all(torch.equal(found[i, "model"][0], torch.cat((THETA, OMEGA, PHI))) for i in (0, 1))
    first, second = (found[i, "after_local_training"][0] for i in (0, 1))
    assert torch.allclose(first[:2], vector(0.212415, -0.325170), atol=1e-6)
    assert torch.allclose(first[3:7], vector(0.700742, -0.700742, -0.099753, 0.099753), atol=1e-6)
    assert torch.allclose(first[-8:-5], vector(0.712415, -0.287585, 0.424830), atol=1e-6)
    assert torch.allclose(second[:2], vector(0.591959, 0.295980), atol=1e-6)
    assert torch.allclose(second[3:5], vector(1.002472, -1.002472), atol=1e-6)
    theta = found[SERVER, "single_small"][0]
    assert torch.allclose(theta[:2], vector(0.307301, -0.169883), atol=1e-6)
    assert torch.allclose(theta[3:], vector(0.776174, -0.776174, -0.074540, 0.074540), atol=1e-6)


# -- invariants -------------------------------------------------------------------------------------------------------


def digits_run(executor: Any = None, **options: Any) -> tuple[dict[tuple[int, str], list[Any]], int]:
    """Reports of six rounds of four devices of two architectures, and |theta|."""
    shared = small_digits([4])
    tasks = [shared.with_model(Mlp((1, 8, 8), 10, hidden)) for hidden in ([6], [5, 8])] * 2
    parts = [range(40 * i, 40 * i + 20 + 10 * i) for i in range(4)]
    mrl = learner(FedMrl, shared, 6, **({"batch_size": 16} | options))
    theta = shared.initial_parameters(np.random.default_rng(1))
    return play(mrl, tasks, parts, starts_of(tasks), theta, executor), shared.num_params


def test_all_clients_of_a_round_hold_the_same_bits_of_theta_and_their_own_rest() -> None:
    found, n = digits_run()
    for k in range(6):
        held = [found[i, "model"][k] for i in range(4)]
        assert all(torch.equal(row[:n], held[0][:n]) for row in held)
        assert not torch.equal(held[0][n : n + 50], held[2][n : n + 50])  # one architecture, two devices


def test_a_single_client_hands_its_theta_on_and_the_others_keep_theirs() -> None:
    """One client a round: theta^t = theta_k; omega and phi of a client are those that it trained last."""
    found, n = digits_run(clients_per_round=1)
    rounds = Counter(i for i in range(4) for _ in found.get((i, "model"), []))
    assert rounds.total() == 6
    assert max(rounds.values()) > 1
    uploads = [row[:n] for i in rounds for row in found[i, "after_local_training"]]
    for theta in found[SERVER, "single_small"]:
        assert any(torch.allclose(theta, upload, rtol=0, atol=1e-15) for upload in uploads)
    for i, count in rounds.items():
        for k in range(1, count):
            assert torch.equal(found[i, "model"][k][n:], found[i, "after_local_training"][k - 1][n:])


def test_the_average_of_equal_uploads_is_one_of_them_whatever_their_order() -> None:
    theta, shares = torch.rand(7, generator=torch.Generator().manual_seed(1), dtype=F64), vector(5, 3, 2)
    assert torch.allclose(average([theta] * 3, shares), theta, rtol=0, atol=1e-15)
    uploads = [vector(1), vector(5), vector(9)]
    assert float(average(uploads, shares)) == pytest.approx(3.8, abs=1e-14)  # references to one network would give 9
    assert float(average(uploads[::-1], shares.flip(0))) == pytest.approx(3.8, abs=1e-14)


def test_with_a_frozen_projector_that_passes_the_private_part_the_private_model_trains_alone() -> None:
    """W = [0 | I], b = 0, no coarse loss: the private model's gradient is that of training by itself."""
    shared, private = small_digits([4]), Mlp((1, 8, 8), 10, [6])
    task, alone = shared.with_model(Matryoshka(shared.model, private)), shared.with_model(private)
    w = torch.cat((torch.zeros(6, 4, dtype=F64), torch.eye(6, dtype=F64)), 1).flatten()
    theta, omega = (t.initial_parameters(np.random.default_rng(1)) for t in (shared, alone))
    row = torch.cat((theta, omega, w, torch.zeros(6, dtype=F64)))
    step, batch = local_step(task, matryoshka_loss, Rule()), (torch.arange(16), torch.ones(16, dtype=F64))
    stepped = step(row, *batch, 0.3, 0.0, 1.0)[len(theta) : len(theta) + len(omega)]
    assert torch.allclose(stepped, alone.sgd_step(omega, *batch, 0.3), rtol=0, atol=1e-14)
    assert float((stepped - omega).abs().max()) > 1e-3
    coarse = step(row, *batch, 0.3, 1.0, 1.0)[len(theta) : len(theta) + len(omega)]
    assert not torch.allclose(coarse, stepped, rtol=0, atol=1e-6)


def test_theta_is_all_that_travels_both_ways() -> None:
    run = simulate(calm("fedmrl", "dtype=float32", "model.hidden=[3]", "algorithm.clients_per_round=2", VARIANTS))
    theta_bits = 32 * (8 * 3 + 3 + 3 * 4 + 4)
    assert run.payload_bits == 5 * 2 * 2 * theta_bits  # rounds, clients, ways
    assert run.messages_sent == 20


# -- a twin -----------------------------------------------------------------------------------------------------------


def body(*widths: int) -> nn.Module:
    layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*[part for layer in layers for part in layer])


class Twin:
    """What a researcher would write for one client: three modules, one optimizer."""

    def __init__(self, row: Tensor, n: int, d1: int, hidden: list[int]) -> None:
        d2 = hidden[-1]
        self.g, self.g_head = body(64, d1), nn.Linear(d1, 10)
        self.f, self.f_head = body(64, *hidden), nn.Linear(d2, 10)
        self.p = nn.Linear(d1 + d2, d2)
        self.modules = nn.ModuleList([self.g, self.g_head, self.f, self.f_head, self.p]).double()
        nn.utils.vector_to_parameters(row, self.modules.parameters())
        self.d1 = d1

    def heads(self, inputs: Tensor) -> dict[str, Tensor]:
        small, large = self.g(inputs), self.f(inputs)
        fused = self.p(torch.cat((small, large), 1))
        return {
            "model": self.f_head(fused),
            "mix_small": self.g_head(fused[:, : self.d1]),
            "single_small": self.g_head(small),
            "single_large": self.f_head(large),
        }

    @property
    def row(self) -> Tensor:
        return nn.utils.parameters_to_vector(self.modules.parameters()).detach()


def test_a_run_with_two_architectures_equals_a_plain_torch_loop(executor: Any) -> None:
    options = {"learning_rate": 0.2, "momentum": 0.9, "weight_decay": 0.01, "local_steps": None, "local_epochs": 2}
    options |= {"coarse_weight": 0.5, "fine_weight": 2.0}
    found, n = digits_run(executor, **options)
    task = small_digits([4])
    inputs, labels = torch.tensor(task.dataset.train_inputs).flatten(1), torch.tensor(task.train_labels)
    sizes = [20 + 10 * i for i in range(4)]
    streams = [BatchStream(np.arange(40 * i, 40 * i + sizes[i]), np.random.default_rng(i), F64) for i in range(4)]
    rows = [found[i, "model"][0] for i in range(4)]
    for k in range(6):
        for i in range(4):
            assert torch.allclose(found[i, "model"][k], rows[i], rtol=0, atol=1e-10), f"round {k}, device {i}"
            twin = Twin(rows[i], n, 4, ([6], [5, 8])[i % 2])
            optimizer = torch.optim.SGD(twin.modules.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01)
            draw = streams[i].draw(16, epochs=2)
            for batch, real in zip(draw.indices, draw.weights > 0, strict=True):
                heads, y = twin.heads(inputs[batch[real]]), labels[batch[real]]
                loss = 0.5 * nn.functional.cross_entropy(heads["mix_small"], y)
                loss = loss + 2.0 * nn.functional.cross_entropy(heads["model"], y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            rows[i] = twin.row
            assert torch.allclose(found[i, "after_local_training"][k], rows[i], rtol=0, atol=1e-10)
        theta = sum(size * row[:n] for size, row in zip(sizes, rows)) / sum(sizes)
        rows = [torch.cat((theta, row[n:])) for row in rows]


def test_each_head_answers_with_its_own_layers() -> None:
    shared = small_digits([4])
    task = shared.with_model(Matryoshka(shared.model, Mlp((1, 8, 8), 10, [5, 8])))
    x = task.initial_parameters(np.random.default_rng(2))
    expected = Twin(x, shared.num_params, 4, [5, 8]).heads(task.test_inputs.flatten(1))
    for head, method in {"model": "forward", **FedMrl.heads}.items():
        correct, losses = head_metric(task, method)(x, task.test_inputs, task.test_labels)
        assert torch.equal(correct, expected[head].argmax(1) == task.test_labels)
        entropy = nn.functional.cross_entropy(expected[head], task.test_labels, reduction="none")
        assert torch.allclose(losses, entropy.detach(), rtol=0, atol=1e-12)


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d1", "projector"), [(100, 300_500), (250, 375_500), (500, 500_500)])
def test_the_projector_has_the_stated_size(d1: int, projector: int) -> None:
    image = (3, 32, 32)
    pair = Matryoshka(MrlCnn(image, 10, 5, d1), MrlCnn(image, 10, 1))
    assert num_params(pair.projector_shapes) == projector
    assert num_params(pair.shapes) - projector == num_params(pair.shared.shapes) + 2_621_558


def test_ten_clients_in_five_hundred_rounds_send_what_is_stated() -> None:
    """d1 = 100, CIFAR-10: 37.25 MB a round both ways, 18.6 GB in all."""
    num_bytes = 2 * 10 * Float32().num_bits((num_params(MrlCnn((3, 32, 32), 10, 5, 100).shapes),)) // 8
    assert num_bytes / 1e6 == pytest.approx(37.25, abs=5e-3)
    assert 500 * num_bytes / 1e9 == pytest.approx(18.6, abs=0.05)


@pytest.mark.parametrize(
    ("number", "private_macs", "mflop", "alone"), [(1, 4_825_800, 46.8, 29.0), (5, 2_875_800, 35.1, 17.3)]
)
def test_a_step_is_charged_with_all_three(number: int, private_macs: int, mflop: float, alone: float) -> None:
    """Alone 29.0 and 17.3 MFLOP, so 1.62 and 2.03 times as much. 2.67 million multiplications of the small network, 0.3 million of the projector; three times that forward and backward,
    but for the gradients of the two first layers' inputs. The specification's 46.8 and 35.1 MFLOP count those."""
    rng = np.random.default_rng(1)
    image = (3, 32, 32)
    inputs, labels = rng.random((4, *image), dtype=np.float32), np.arange(4)
    data = Dataset("random", inputs, labels, inputs, labels, 10)
    task = Task(data, Matryoshka(MrlCnn(image, 10, 5, 100), MrlCnn(image, 10, number)))
    macs = (2_875_800 - 500 * 400 - 10 * 400) + private_macs + 500 * 600
    assert 6 * macs == pytest.approx(mflop * 1e6, rel=2e-3)
    assert 6 * private_macs == pytest.approx(alone * 1e6, rel=3e-3)
    step = local_step(task, matryoshka_loss, Rule())
    arguments = torch.zeros(4, dtype=torch.int64), torch.ones(4), 0.1, 1.0, 1.0
    first_layers = 2 * 28 * 28 * 16 * 75
    assert step.flops(torch.empty(task.num_params), *arguments) == 4 * (6 * macs - 2 * first_layers)
    plain = Task(data, MrlCnn(image, 10, number))
    found = local_step(plain, plain.objective, Rule()).flops(torch.empty(plain.num_params), *arguments[:3])
    assert found == 4 * (6 * private_macs - first_layers)


# -- in the simulator -------------------------------------------------------------------------------------------------

VARIANTS = 'model.variants=[{name="mlp", hidden=[6]}, {name="mlp", hidden=[8]}, {name="mlp", hidden=[8, 4]}]'


def test_jobs_batch_by_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine devices of three architectures in lockstep: each of the 3 x 4 training steps is one call for each architecture."""
    calls: Counter[str] = Counter()
    call = BatchedExecutor._call

    def counted(self: BatchedExecutor, signature: Signature, leaves: list[Tensor], **how: bool) -> list[Tensor]:
        calls[signature.op.name] += 1
        return call(self, signature, leaves, **how)

    monkeypatch.setattr(BatchedExecutor, "_call", counted)
    keys = ["devices.0.count=9", "stop.rounds=3", "algorithm.local_steps=4", "algorithm.batch_size=8"]
    keys += ["model.hidden=[3]", "devices.0.compute.spread=none", "evaluation.every_rounds=100", "data.num_samples=450"]
    simulate(calm("fedmrl", *keys, VARIANTS))
    assert calls["matryoshka_loss_step"] == 3 * 3 * 4


def test_all_heads_are_measured() -> None:
    keys = [
        "model.hidden=[3]",
        "stop.rounds=2",
        "data.local_test_fraction=0.3",
        'evaluation.data=["own_test"]',
        VARIANTS,
    ]
    accuracies = []
    for inference in ("method_default", *FedMrl.heads):
        for time in ("method_default", "after_local_training"):
            run = simulate(calm("fedmrl", *keys, f"evaluation.inference={inference}", f"evaluation.model_time={time}"))
            accuracies.append(float(run.accuracy[-1]))
    assert np.isfinite(accuracies).all()
    assert len(set(accuracies)) > 4


def test_a_shared_representation_that_does_not_fit_is_one_clear_line() -> None:
    with pytest.raises(ScenarioError, match=r"calm \[model\]: .*representation of 7 numbers.* at most .*, 4") as error:
        Run(calm("fedmrl", "model.hidden=[7]", VARIANTS), "null", None, None, None, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coarse_weight": -1.0}, "coarse_weight = -1.0: a non-negative"),
        ({"coarse_weight": 0.0, "fine_weight": 0.0}, "fine_weight = 0.0: one of the two losses"),
    ],
)
def test_bad_weights_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(FedMrl, worked_task(), **options)

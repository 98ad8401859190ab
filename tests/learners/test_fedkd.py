"""FedKD: the rank search, the compressed message, its losses, and whole runs against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.batching import BatchStream
from learners.compression.float16 import Float16
from learners.federated import truncated_svd
from learners.federated.fedkd import Distilled, FedKd, distilled_loss
from learners.local_step import Rule, local_step
from learners.models.flat import unflatten
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Message, Node
from learners.task import Task
from tests.contract.recording import record, value_of
from tests.contract.worlds import calm
from tests.learners.pair_runs import F64, learner, play, small_digits, starts_of, vector
from tests.learners.test_algorithm_steps import Hand
from tests.learners.test_fedproto import node_of, small_task
from wsim.engine import simulate

# -- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("singular_values", "energy", "rank"),
    [
        ([1.0] * 10, 0.95, 10),  # a flat spectrum: the authors' search gives 0
        ([3.0, 3.0], 0.95, 2),  # there 0
        ([4.0, 3.0, 2.0, 1.0], 0.95, 3),  # 16 + 9 of 30 are .83, with 4 more .967
        ([4.0, 3.0, 2.0, 1.0], 1.0, 4),
        ([5.0, 0.0, 0.0], 1.0, 1),
        ([0.0, 0.0], 0.95, 0),
        ([1.0], 0.95, 1),
    ],
)
def test_the_rank_search_includes_the_full_rank(singular_values: list[float], energy: float, rank: int) -> None:
    assert int(truncated_svd.ranks_of(torch.tensor(singular_values, dtype=F64), energy)) == rank


SHAPES = ((12, 9), (12,), (4, 12), (4,), (6, 2, 3, 3))


def update() -> np.ndarray:
    """A [12, 9] of rank 2 but for a little, zeros, a [4, 12] of full rank, zeros and ones."""
    rng = np.random.default_rng(4)
    low = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 9)) + 1e-3 * rng.standard_normal((12, 9))
    parts = [low, rng.standard_normal(12), np.linalg.qr(rng.standard_normal((12, 4)))[0].T, np.zeros(4), np.ones(108)]
    return np.concatenate([part.ravel() for part in parts])


def test_matrices_are_cut_where_the_energy_is_enough_and_vectors_go_as_they_are() -> None:
    """Full rank 4 of a [4, 12] would be 4 x 17 = 68 numbers: it goes as its 48. Ones in a kernel [6, 2, 3, 3] are a matrix [6, 18] of rank 1."""
    x = update()
    found, ranks = truncated_svd.truncated(torch.tensor(x), torch.tensor(0.97, dtype=F64), SHAPES)
    assert ranks.tolist() == [2, 4, 1]
    low = x[:108].reshape(12, 9)
    u, s, v = np.linalg.svd(low, full_matrices=False)
    np.testing.assert_allclose(found[:108].reshape(12, 9), (u[:, :2] * s[:2]) @ v[:2], rtol=0, atol=1e-12)
    assert 1e-4 < float((found[:108] - torch.tensor(x[:108])).abs().max()) < 1e-2
    np.testing.assert_allclose(found[108:], x[108:], rtol=0, atol=1e-12)
    assert torch.equal(found[108:172], torch.tensor(x[108:172]))
    assert truncated_svd.num_bits(SHAPES, ranks.tolist()) == 32 * (2 * 22 + 12 + 48 + 4 + 1 * 25) + 3 * 16
    nothing, ranks = truncated_svd.truncated(torch.zeros(len(x), dtype=F64), torch.tensor(0.97, dtype=F64), SHAPES)
    assert not nothing.any()
    assert truncated_svd.num_bits(SHAPES, ranks.tolist()) == 32 * 16 + 3 * 16


def test_what_is_not_finite_goes_as_it_is() -> None:
    """A matrix of a run that diverges has no decomposition; the other one is cut as ever."""
    x = torch.tensor(update())
    x[3], energy = float("nan"), torch.tensor(0.3, dtype=F64)
    found, ranks = truncated_svd.truncated(x, energy, SHAPES)
    assert torch.equal(found[:108].nan_to_num(7.0), x[:108].nan_to_num(7.0))
    whole, usual = truncated_svd.truncated(torch.tensor(update()), energy, SHAPES)
    assert (ranks[0], ranks[1:].tolist()) == (9, usual[1:].tolist())
    assert torch.equal(found[108:], whole[108:])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_ranks_do_not_depend_on_the_scale_in_single_precision(scale: float) -> None:
    """Where squares are below the smallest number, or above the largest."""
    energy = torch.tensor(0.97)
    usual, wanted = truncated_svd.truncated(torch.tensor(update(), dtype=torch.float32), energy, SHAPES)
    found, ranks = truncated_svd.truncated(torch.tensor(update() * scale, dtype=torch.float32), energy, SHAPES)
    assert ranks.tolist() == wanted.tolist()
    assert torch.allclose(found / scale, usual, rtol=1e-4, atol=1e-4)


def test_a_run_that_diverges_says_so() -> None:
    keys = ["algorithm.compression=svd", "algorithm.learning_rate=9000", "algorithm.local_steps=20", "dtype=float32"]
    run = simulate(calm("fedkd", *keys, "stop.rounds=3", "devices.0.count=2"))
    assert run.notes[0].startswith("diverged: ")


def test_it_pays_below_the_rank_of_the_specification() -> None:
    """A [500, 800]: 307 x 1301 < 400,000 <= 308 x 1301."""
    bits = [truncated_svd.num_bits(((500, 800),), [r]) for r in (306, 307, 308, 500)]
    assert bits[1] - bits[0] == 32 * 1301
    assert bits[1] < bits[2] == bits[3] == 32 * 400_000 + 16


@pytest.mark.parametrize("energy", [0.3, 0.97, 1.0])
def test_a_message_has_the_bits_and_values_of_its_bytes(energy: float) -> None:
    """Factors in single precision: each entry of U diag(s) V is off by at most a few 2^-24 of the largest singular value, 15."""
    x = torch.tensor(update())
    received, ranks = truncated_svd.truncated(x, torch.tensor(energy, dtype=F64), SHAPES)
    form = truncated_svd.Message(SHAPES, tuple(ranks.tolist()))
    data = form.encode(received)
    assert 8 * len(data) == form.num_bits == truncated_svd.num_bits(SHAPES, ranks.tolist())
    found, found_ranks = truncated_svd.Message.decode(data, SHAPES)
    assert found_ranks == form.ranks
    assert float((found - received).abs().max()) < 15 * 8 * 2**-24
    assert torch.equal(found[108:120], received[108:120].float()), "a vector as it is"
    if energy < 1:
        assert int.from_bytes(data[:2], "little") == ranks[0] < 9
        np.testing.assert_allclose(
            np.frombuffer(data[2 + 4 * 12 * int(ranks[0]) :][:4], "<f4")[0],
            np.linalg.svd(update()[:108].reshape(12, 9), compute_uv=False)[0],
            rtol=1e-6,
        )


def test_bytes_that_are_no_message_are_refused() -> None:
    form = truncated_svd.Message(((3, 4), (3,)), (1,))
    data = form.encode(torch.ones(15))
    with pytest.raises(ValueError, match="48 bytes: 2 behind the last number"):
        form.decode(data + b"\0\0", form.shapes)
    with pytest.raises(ValueError, match="42 bytes: the message ends before its numbers do"):
        form.decode(data[:-4], form.shapes)
    with pytest.raises(ValueError, match="ranks = None: an estimate has no bytes"):
        truncated_svd.Message(form.shapes, None).encode(torch.ones(15))


# -- losses and runs --------------------------------------------------------------------------------------------------

HIDDEN = ([6], [5, 8], [6])
PARTS = [range(40 * i, 40 * i + 20 + 10 * i) for i in range(3)]


class Twin:
    """Student, teacher and matching as modules."""

    def __init__(self, row: Tensor, hidden: list[int]) -> None:
        layers = [part for a, b in zip([64, *hidden], hidden, strict=False) for part in (nn.Linear(a, b), nn.ReLU())]
        self.student, self.student_head = nn.Sequential(nn.Linear(64, 4), nn.ReLU()), nn.Linear(4, 10)
        self.teacher, self.teacher_head = nn.Sequential(*layers), nn.Linear(hidden[-1], 10)
        self.matching = nn.Linear(4, hidden[-1], bias=False)
        parts = [self.student, self.student_head, self.teacher, self.teacher_head, self.matching]
        self.modules = nn.ModuleList(parts).double()
        nn.utils.vector_to_parameters(row.clone(), self.modules.parameters())

    def step(self, inputs: Tensor, labels: Tensor, learning_rate: float) -> None:
        h_student, h_teacher = self.student(inputs), self.teacher(inputs)
        student, teacher = self.student_head(h_student), self.teacher_head(h_teacher)
        cross, kl = nn.functional.cross_entropy, nn.functional.kl_div
        total = (cross(student, labels) + cross(teacher, labels)).detach()
        of_teacher = cross(teacher, labels)
        of_teacher = of_teacher + kl(teacher.log_softmax(1), student.detach().softmax(1), reduction="batchmean") / total
        matched = self.matching(h_student)
        of_teacher = of_teacher + nn.functional.mse_loss(h_teacher, matched.detach()) / total
        of_student = cross(student, labels)
        of_student = of_student + kl(student.log_softmax(1), teacher.detach().softmax(1), reduction="batchmean") / total
        of_student = of_student + nn.functional.mse_loss(h_teacher.detach(), matched) / total
        gradients = torch.autograd.grad(of_teacher + of_student, list(self.modules.parameters()))
        with torch.no_grad():
            for parameter, g in zip(self.modules.parameters(), gradients, strict=True):
                parameter -= learning_rate * g

    @property
    def row(self) -> Tensor:
        return nn.utils.parameters_to_vector(self.modules.parameters()).detach()


def compressed(x: Tensor, shapes: Any, energy: float) -> Tensor:
    parts = []
    for part in unflatten(x, shapes):
        matrix = part.numpy()
        if matrix.ndim == 2:
            u, s, v = np.linalg.svd(matrix, full_matrices=False)
            reached = np.cumsum(s**2) > energy * (s**2).sum()
            r = int(np.argmax(reached)) + 1 if reached.any() else len(s)
            if r * (sum(matrix.shape) + 1) < matrix.size:
                matrix = (u[:, :r] * s[:r]) @ v[:r]
        parts.append(torch.tensor(matrix).flatten())
    return torch.cat(parts)


@pytest.mark.parametrize("compression", ["svd", "none"])
def test_a_run_equals_a_plain_torch_loop(compression: str, executor: Any) -> None:
    """All take part and nothing is lost: everybody has the same student. Energy .4 to .8, so that small matrices are cut, too."""
    shared = small_digits([4])
    tasks = [shared.with_model(Mlp((1, 8, 8), 10, hidden)) for hidden in HIDDEN]
    options = {"compression": compression}
    options |= {"energy_start": 0.4, "energy_end": 0.8} if compression == "svd" else {}
    made = learner(FedKd, shared, 3, batch_size=16, local_steps=3, learning_rate=0.1, **options)
    assert made.value_dependent == (compression == "svd")
    theta = shared.initial_parameters(np.random.default_rng(1))
    found = play(made, tasks, PARTS, starts_of(tasks), theta, executor)
    n, labels = len(theta), torch.tensor(shared.train_labels)
    inputs = torch.tensor(shared.dataset.train_inputs).flatten(1)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(PARTS)]
    rows = [found[i, "model"][0] for i in range(3)]
    assert all(torch.equal(row[:n], theta) for row in rows)
    for k in range(3):
        changes = []
        for i in range(3):
            assert torch.allclose(found[i, "model"][k], rows[i], rtol=0, atol=1e-9), f"round {k}, device {i}"
            twin = Twin(rows[i], HIDDEN[i])
            for batch in streams[i].draw(16, steps=3).indices:
                twin.step(inputs[batch], labels[batch], 0.1)
            rows[i] = twin.row
            assert torch.allclose(found[i, "after_local_training"][k], rows[i], rtol=0, atol=1e-9)
            changes.append(rows[i][:n] - theta)
        if compression == "svd":
            energy = 0.4 + 0.4 * k / 3
            changes = [compressed(change, shared.model.shapes, energy) for change in changes]
            theta = theta + compressed(torch.stack(changes).mean(0), shared.model.shapes, energy)
        else:
            theta = theta + torch.stack(changes).mean(0)
        assert torch.allclose(found[SERVER, "student"][k], theta, rtol=0, atol=1e-9)
        rows = [torch.cat((theta, row[n:])) for row in rows]


def test_a_batch_of_padding_leaves_everything_as_it_is() -> None:
    shared = small_digits([4])
    task = shared.with_model(Distilled(shared.model, Mlp((1, 8, 8), 10, [6])))
    x = task.initial_parameters(np.random.default_rng(1))
    stepped = local_step(task, distilled_loss, Rule())(x, torch.arange(3), torch.zeros(3, dtype=F64), 0.1)
    assert torch.equal(stepped, x)


def message(sender: int, k: int, task: Task) -> Message:
    return Message(sender, "update", k, (torch.full((task.num_params,), 0.5, dtype=F64), ranks_one(task)))


def ranks_one(task: Task) -> truncated_svd.Message:
    return truncated_svd.Message(task.model.shapes, (1, 1))


def test_who_may_not_have_the_last_student_gets_all_of_it() -> None:
    """Client 1's upload is missing in round 0, so that it gets 32 bits a parameter in round 1; the others get the change."""
    task = small_task(2)
    node: Node = node_of(task, id=SERVER)  # type: ignore[assignment]
    server = Hand(learner(FedKd, task, 3, deadline_s=1.0).program(node))
    whole = 32 * task.num_params
    assert [(sent.to, sent.payload.num_bits) for sent in server.sent] == [([0, 1, 2], whole)]
    server.answer(message(0, 0, task), message(2, 0, task), missing=(1,))
    change, full = server.sent[1:]
    assert (change.to, full.to) == ([0, 2], [1])
    assert full.payload.num_bits == whole
    assert change.payload.num_bits == truncated_svd.num_bits(task.model.shapes, [1, 1])
    assert change.payload.data[1].ranks == (1, 1)
    assert full.payload.data[1] is None
    assert torch.allclose(full.payload.data[0], node.initial_parameters + change.payload.data[0], rtol=0, atol=1e-14)
    server.answer(missing=(0, 1, 2))
    assert [sent.to for sent in server.sent[3:]] == [[0, 1, 2]]


def test_a_run_in_the_simulator_sends_less_and_its_estimate_says_that_it_is_not_exact() -> None:
    keys = ["stop.rounds=2", "devices.0.count=3", "model.hidden=[24]"]
    energies = ["algorithm.energy_end=0.95", "algorithm.energy_start=0.5"]
    loaded = calm("fedkd", *keys, *energies, "algorithm.compression=svd")
    run, whole = simulate(loaded), simulate(calm("fedkd", *keys))
    assert run.payload_bits < 0.8 * whole.payload_bits
    assert run.accuracy[-1] > 0.2
    estimate = simulate(loaded, "null")
    assert not estimate.exact
    matrices = 2
    assert (
        estimate.payload_bits == whole.payload_bits + 9 * matrices * truncated_svd.RANK_BITS
    )  # nothing compressed but the first downloads


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"energy_start": 0.0}, "energy_start = 0.0: above 0"),
        ({"compression": "pca"}, "compression = 'pca': one of"),
        ({"compression": "none", "energy_start": 0.9}, 'energy_start = 0.9: only with compression = "svd"'),
        ({"codec": Float16()}, 'codec = Float16: .*float32, or compression = "none"'),
    ],
)
def test_bad_fields_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learner(FedKd, small_task(2), **options)
    learner(FedKd, small_task(2), compression="none", codec=Float16())


def test_energies_rise_from_round_to_round() -> None:
    made = learner(FedKd, small_task(2), 10)
    assert [made.energy(k) for k in (0, 5)] == pytest.approx([0.95, 0.965], abs=1e-15)
    assert vector(made.energy(9)) < 0.98


def test_a_late_update_does_not_tell_that_its_client_has_the_last_student() -> None:
    """Client 1's upload of round 0 comes in round 1 and moves the student; whether it has that of round 1, too, is not known."""
    task = small_task(2)
    server = Hand(learner(FedKd, task, 3, deadline_s=1.0, late="use").program(node_of(task, id=SERVER)))
    server.answer(message(0, 0, task), message(2, 0, task), missing=(1,))
    late = message(1, 0, task)._replace(data=(torch.full((task.num_params,), 1.5, dtype=F64), ranks_one(task)))
    server.answer(message(0, 1, task), missing=(1, 2), late=(late,))
    change, full = server.sent[3:]
    assert (change.to, full.to) == ([0], [1, 2])
    first, _, second, _ = server.reports
    assert torch.allclose(second - first, torch.ones(task.num_params, dtype=F64), rtol=0, atol=1e-9)


def test_late_updates_count_and_their_clients_get_all_of_the_student() -> None:
    """Some of six are late. Whoever trains begins with a student that the server has had."""
    keys = ["algorithm.local_steps=20", "stop.rounds=5", "algorithm.deadline_s=1.1", "algorithm.late=use"]
    run, recording = record(calm("fedkd", *keys, "algorithm.compression=svd", "model.hidden=[24]"))
    staleness = run.measure_value[0]
    assert np.nanmin(staleness) == 0 < np.nanmax(staleness)
    students = [recording.nodes[SERVER].initial_parameters]
    students += [value for node, name, value in recording.reported if node == SERVER and name == "student"]
    known = torch.stack([value_of(student) for student in students])
    begun = [value for node, name, value in recording.reported if node >= 0 and name == "student"]
    assert len(begun) > 6 + 15
    for value in begun[6:]:  # before the first download everybody has a student of his own
        assert (known - value_of(value)[: known.shape[1]]).abs().amax(1).min() < 1e-9

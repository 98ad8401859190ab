"""FedMD: public samples, its programs, a whole run against a plain torch loop, and what travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.batching import BatchStream
from learners.data.digits import digits
from learners.data.holdout import num_set_aside, set_aside
from learners.federated.fedmd import FedMd, digest_step, scores
from learners.models.flat import unflatten
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Message
from learners.task import Task
from tests.contract.worlds import calm
from tests.learners.pair_runs import F64, learner, matrix, play, starts_of, vector
from tests.learners.test_algorithm_steps import Hand
from tests.learners.test_fedproto import node_of, small_task
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError

AT_ONCE = {"public_epochs": 0, "private_epochs": 0}


def with_public(task: Task, public: list[int]) -> Task:
    return Task(task.dataset, task.model, "float64", public_samples=np.array(public))


# -- public samples ---------------------------------------------------------------------------------------------------


def test_public_samples_are_a_part_of_every_class_that_nobody_is_dealt() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    dealt, public = set_aside(labels, 0.2, np.random.default_rng(1))
    assert np.bincount(labels[public]).tolist() == [12, 6, 2]
    assert len(public) == num_set_aside(100, 0.2)
    assert sorted([*dealt, *public]) == list(range(100))
    assert public.tolist() != sorted(public)
    with pytest.raises(ValueError, match=r"public_fraction = 1: between 0 and 1"):
        set_aside(labels, 1, np.random.default_rng(1))
    learning = Run(calm("fedmd"), "null", None, None, None, None).learning
    dealt = np.concatenate(learning.parts)
    assert len(dealt) == len(np.unique(dealt)) == len(learning.task.train_labels) - len(learning.task.public_samples)
    assert not np.isin(learning.task.public_samples, dealt).any()


def test_rounds_go_around_the_public_samples() -> None:
    task = with_public(small_task(), [7, 3, 9, 1, 5])
    made = learner(FedMd, task, scores_per_round=2)
    assert [made.asked(task, k).tolist() for k in range(4)] == [[7, 3], [9, 1], [5, 7], [3, 9]]
    assert learner(FedMd, task).asked(task, 3).tolist() == [7, 3, 9, 1, 5]


# -- ops --------------------------------------------------------------------------------------------------------------


def test_a_digest_step_follows_the_mean_absolute_error_over_samples_and_classes() -> None:
    task = small_task(3)
    x, consensus = task.initial_parameters(np.random.default_rng(1)), torch.rand(4, 3, dtype=F64)
    tensors = [part.clone().requires_grad_() for part in unflatten(x, task.model.shapes)]
    inputs = torch.tensor(task.dataset.train_inputs[[8, 2]])
    nn.functional.l1_loss(task.model.forward(tensors, inputs), consensus[[3, 0]]).backward()
    expected = x - 0.1 * torch.cat([part.grad.flatten() for part in tensors if part.grad is not None])
    steps = torch.tensor([8, 2, 5]), vector(1, 1, 0), torch.tensor([3, 0, 3])
    assert torch.allclose(digest_step(task)(x, *steps, 0.1, consensus), expected, rtol=0, atol=1e-15)
    table = scores(task)(torch.zeros(4, 3, dtype=F64), *steps, x)
    assert torch.allclose(
        table[[3, 0]], task.model.forward(unflatten(x, task.model.shapes), inputs), rtol=0, atol=1e-15
    )
    assert not table[1:3].any()


# -- programs ---------------------------------------------------------------------------------------------------------


def test_the_server_averages_samples_all_scores_of_which_arrived() -> None:
    """Two samples, two classes; the second client loses a number of the first sample, the third all."""
    task = with_public(small_task(2), [4, 6])
    server = Hand(learner(FedMd, task, 3, deadline_s=1.0).program(node_of(task, id=SERVER)))
    assert [(sent.to, sent.payload.num_bits) for sent in server.sent] == [([0, 1, 2], 8)]
    lost = torch.tensor([True, False, True, True])
    server.answer(
        Message(0, "update", 0, vector(1, 2, 3, 4)),
        Message(1, "update", 0, vector(9, 9, 5, 8), lost),
        Message(2, "update", 0, vector(9, 9, 9, 9), torch.zeros(4, dtype=torch.bool)),
    )
    table, known = server.sent[1].payload.data
    assert torch.equal(table, matrix((1, 2), (4, 6)))
    assert known.tolist() == [1, 1]
    server.answer(Message(0, "update", 1, vector(1, 2, 3, 4), lost), missing=(1, 2))
    table, known = server.sent[2].payload.data
    assert (table[1].tolist(), known.tolist(), server.sent[2].payload.num_bits) == ([3, 4], [0, 1], 8 + 64)


def test_shares_may_be_samples() -> None:
    task = with_public(small_task(2), [4])
    server = Hand(learner(FedMd, task, 2, server_weights="samples").program(node_of(task, id=SERVER)))
    server.answer(Message(0, "update", 0, vector(4, 0)), Message(2, "update", 0, vector(8, 4)))
    assert torch.allclose(server.sent[1].payload.data[0], matrix((7, 3)))  # 10 and 30 samples


def test_a_client_digests_whole_rows_only() -> None:
    task = with_public(small_task(2), [4, 6, 8])
    made = learner(FedMd, task, **AT_ONCE, scores_per_round=2)
    client = Hand(made.program(node_of(task, np.arange(12))))

    def digested() -> list[Any]:
        return [request for request in client.requests if getattr(request, "op", None) is digest_step(task).scan]

    table, held = matrix((1, 2), (3, 4)), vector(1, 1)
    client.answer(Message(SERVER, "consensus", 1, (table, held)))
    assert sorted(digested()[-1].args[1][0].flatten().tolist()) == [4, 6]  # the samples of round 0
    client.answer(Message(SERVER, "consensus", 2, (table, held), torch.tensor([True, False, True, True])))
    _, (indices, weights, positions), *_ = digested()[-1].args
    counted = weights > 0
    assert (indices[counted].tolist(), positions[counted].tolist()) == ([4], [1])  # of 8 and 4
    client.answer(Message(SERVER, "consensus", 3, (table, held), torch.zeros(4, dtype=torch.bool)))
    client.answer(Message(SERVER, "consensus", 4, (0 * table, 0 * held)))
    assert len(digested()) == 2
    assert [sent.payload.num_bits for sent in client.sent] == [32 * 4] * 4


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_equals_a_plain_torch_loop(executor: Any) -> None:
    """Three devices of two architectures and different labels, transfer learning and three rounds, two passes of digest."""
    dataset = digits(np.random.default_rng(1))
    public = list(range(900, 912))
    shared = Task(dataset, Mlp((1, 8, 8), 10, [4]), "float64", public_samples=np.array(public))
    tasks = [shared.with_model(Mlp((1, 8, 8), 10, hidden)) for hidden in ([6], [5, 8], [6])]
    labels, inputs = torch.tensor(dataset.train_labels), torch.tensor(dataset.train_inputs).flatten(1)
    parts = [[int(i) for i in torch.nonzero((labels >= 3 * j) & (labels < 3 * j + 5)).flatten()[:20]] for j in range(3)]
    keys = {"batch_size": 10, "local_steps": 2, "learning_rate": 0.2, "public_epochs": 2, "private_epochs": 1}
    digest = {"scores_per_round": 7, "digest_epochs": 2, "digest_batch_size": 4, "digest_learning_rate": 0.05}
    rows = starts_of(tasks)
    made = learner(FedMd, shared, 3, **keys, **digest)
    found = play(made, tasks, parts, rows, shared.initial_parameters(np.random.default_rng(1)), executor)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(parts)]
    orders = [np.random.default_rng(100 + i) for i in range(3)]

    def stepped(task: Task, x: Tensor, rate: float, loss: Any) -> Tensor:
        tensors = [part.clone().requires_grad_() for part in unflatten(x, task.model.shapes)]
        optimizer = torch.optim.SGD(tensors, lr=rate)
        loss(lambda samples: task.model.forward(tensors, inputs[samples])).backward()
        optimizer.step()
        return torch.cat([part.detach().flatten() for part in tensors])

    def trained(task: Task, x: Tensor, samples: Any) -> Tensor:
        return stepped(task, x, 0.2, lambda f: nn.functional.cross_entropy(f(samples), labels[samples]))

    said: list[Tensor] = []
    for k in range(3):
        before = [public[(7 * (k - 1) + j) % 12] for j in range(7)]
        asked = [public[(7 * k + j) % 12] for j in range(7)]
        answers = []
        for i, task in enumerate(tasks):
            if k == 0:
                for _ in range(2):
                    order = orders[i].permutation(public)
                    for batch in (order[:10], order[10:]):
                        rows[i] = trained(task, rows[i], batch)
                for batch in streams[i].draw(10, epochs=1).indices:
                    rows[i] = trained(task, rows[i], batch)
            else:
                consensus = torch.stack(said).mean(0)
                for _ in range(2):
                    order = orders[i].permutation(7)
                    for j in (order[:4], order[4:]):
                        target, samples = consensus[j], [before[at] for at in j]
                        rows[i] = stepped(
                            task, rows[i], 0.05, lambda f, s=samples, t=target: nn.functional.l1_loss(f(s), t)
                        )
            for batch in streams[i].draw(10, steps=2).indices:
                rows[i] = trained(task, rows[i], batch)
            assert torch.allclose(found[i, "model"][k], rows[i], rtol=0, atol=1e-10), f"round {k}, device {i}"
            answers.append(task.model.forward(unflatten(rows[i], task.model.shapes), inputs[asked]))
        said = answers


def test_payloads_are_those_of_the_specification() -> None:
    """20 samples of 4 classes: up 32 m C, down as much and 3 bytes for which samples they are of; the first time only these."""
    run = simulate(calm("fedmd", "stop.rounds=2", "devices.0.count=3"), "null")
    assert run.payload_bits == 3 * (2 * 32 * 80 + 24 + (24 + 32 * 80))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.public_fraction=none", r"\[data\] public_fraction: is missing; fedmd needs a part of the training samples"),
        ("data.public_fraction=1.0", r"\[data\] public_fraction = 1: fractions are between 0 and 1"),
        ("algorithm.scores_per_round=65", r"calm \[algorithm\] scores_per_round = 65: there are 64 public samples"),
        ("algorithm={late='use', deadline_s=1.0}", r"\[algorithm\] late = \"use\": late scores are of samples of another"),
        ("algorithm.public_epochs=-1", r"\[algorithm\] public_epochs = -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_clear_line(change: str, message: str) -> None:
    keys = ["algorithm.late=use", "algorithm.deadline_s=1.0"] if "late" in change else [change]
    with pytest.raises(ScenarioError, match=message) as error:
        Run(calm("fedmd", *keys), "null", None, None, None, None)
    assert "\n" not in str(error.value)

"""Federated distillation: the values of the specification, its programs, and a whole run against a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.batching import BatchStream
from learners.federated.fd import FederatedDistillation, answer_loss, answer_sums, mean_of_others, soft_cross_entropy
from learners.federated.prototypes import class_means
from learners.models.flat import unflatten
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Message
from tests.contract.worlds import calm
from tests.learners.pair_runs import F64, learner, matrix, play, small_digits, starts_of, vector
from tests.learners.test_algorithm_steps import Hand
from tests.learners.test_fedproto import node_of, small_task
from wsim.engine import simulate


def test_targets_with_and_without_ones_own() -> None:
    """(.8,.2), (.6,.4), (.1,.9): mean (.5,.5); of the two others (.35,.65), (.45,.55), (.7,.3)."""
    tables = [matrix(row, (0, 0)) for row in ((0.8, 0.2), (0.6, 0.4), (0.1, 0.9))]
    shares = [vector(1, 0)] * 3
    sums = answer_sums(tables, shares)
    assert torch.allclose(class_means(sums, vector(3, 0)), matrix((0.5, 0.5), (0, 0)), rtol=0, atol=1e-15)
    for own, expected in zip(tables, ((0.35, 0.65), (0.45, 0.55), (0.7, 0.3)), strict=True):
        found = mean_of_others(sums, own, vector(1, 0), vector(2, 0))
        assert torch.allclose(found, matrix(expected, (0, 0)), rtol=0, atol=1e-15)


def test_the_target_is_a_probability() -> None:
    """Out (2, 0, -1), target (1, 0, .5): 1.464081 with its softmax, 1.754769 where raw numbers are taken for one."""
    out, target = matrix((2, 0, -1)), matrix((1, 0, 0.5))
    assert float(soft_cross_entropy(out, target.softmax(-1))) == pytest.approx(1.464081, abs=5e-7)
    assert float(soft_cross_entropy(out, target)) == pytest.approx(1.754769, abs=5e-7)


def test_labels_without_a_target_have_the_first_term_only() -> None:
    task = small_task(3)
    parameters = unflatten(task.initial_parameters(np.random.default_rng(1)), task.model.shapes)
    inputs, labels, weights = torch.rand(3, 5, dtype=F64), torch.tensor([0, 1, 2]), vector(1, 1, 0)
    table = matrix((0.2, 0.3, 0.5), (9, 9, 9), (9, 9, 9))
    logits = task.model.forward(parameters, inputs)
    expected = nn.functional.cross_entropy(logits[:2], labels[:2])
    expected = expected + 0.5 * nn.functional.cross_entropy(logits[:1], table[:1]) / 2
    found = answer_loss(task.model, parameters, inputs, labels, weights, table, vector(1, 0, 0), 0.5)
    assert float(found) == pytest.approx(float(expected), abs=1e-14)


# -- programs ---------------------------------------------------------------------------------------------------------


def update(sender: int, k: int, table: Tensor, counts: list[float], mask: Tensor | None = None) -> Message:
    return Message(sender, "update", k, (table, torch.tensor(counts, dtype=F64)), mask)


def test_the_server_sends_every_client_what_the_others_brought() -> None:
    task = small_task(2)
    server = Hand(learner(FederatedDistillation, task, 3).program(node_of(task, id=SERVER)))
    assert [(sent.to, sent.payload.num_bits) for sent in server.sent] == [([0, 1, 2], 8)]
    server.answer(
        update(0, 0, matrix((0.8, 0.2), (0.5, 0.5)), [1, 1]), update(1, 0, matrix((0.6, 0.4), (0, 0)), [1, 0])
    )
    by_client = {sent.to[0]: sent.payload for sent in server.sent[1:]}
    assert [sent.to for sent in server.sent[1:]] == [[0], [1], [2]]
    known = {client: payload.data[1].tolist() for client, payload in by_client.items()}
    assert known == {0: [1, 0], 1: [1, 1], 2: [1, 1]}
    assert [by_client[i].num_bits for i in range(3)] == [8 + 64, 8 + 128, 8 + 128]
    assert torch.allclose(by_client[0].data[0][0], vector(0.6, 0.4))
    assert torch.allclose(by_client[1].data[0], matrix((0.8, 0.2), (0.5, 0.5)))
    assert torch.allclose(by_client[2].data[0], matrix((0.7, 0.3), (0.5, 0.5)))
    server.answer(missing=(0, 1, 2))  # nothing came: the same again
    assert torch.equal(server.sent[-1].payload.data[0], by_client[2].data[0])


def test_with_a_broadcast_all_get_one_table_weighted_by_the_samples_of_a_label() -> None:
    task = small_task(2)
    made = learner(FederatedDistillation, task, 2, downlink="broadcast", server_weights="samples")
    server = Hand(made.program(node_of(task, id=SERVER)))
    server.answer(update(0, 0, matrix((0.8, 0.2), (0, 0)), [30, 0]), update(1, 0, matrix((0.4, 0.6), (0, 0)), [10, 0]))
    assert [sent.to for sent in server.sent] == [[0, 1, 2]] * 2
    assert all(sent.broadcast for sent in server.sent)
    assert torch.allclose(server.sent[1].payload.data[0][0], vector(0.7, 0.3))
    with pytest.raises(ValueError, match="own_answers = 'left_out': a broadcast is one table"):
        learner(FederatedDistillation, task, downlink="broadcast", own_answers="left_out")


def test_a_client_keeps_targets_that_the_newest_table_does_not_have() -> None:
    task = small_task(2)
    client = Hand(learner(FederatedDistillation, task).program(node_of(task, np.arange(12))))

    def targets() -> tuple[Tensor, Tensor]:
        request = [request for request in client.requests if getattr(request, "op", None) is not None][-3]
        assert request.op.name == "answer_loss_step.scan"
        return request.args[3], request.args[4]

    client.answer(Message(SERVER, "answers", 0, (matrix((0.9, 0.1), (0, 0)), vector(1, 0))))
    assert targets()[1].tolist() == [1, 0]
    client.answer(Message(SERVER, "answers", 1, (matrix((0, 0), (0.3, 0.7)), vector(0, 1))))
    table, known = targets()
    assert known.tolist() == [1, 1]
    assert torch.equal(table, matrix((0.9, 0.1), (0.3, 0.7)))
    own, counts = client.sent[-1].payload.data
    assert torch.allclose(own[counts > 0].sum(-1), torch.ones(int((counts > 0).sum()), dtype=F64))


def test_a_run_equals_a_plain_torch_loop(executor: Any) -> None:
    """Three devices of two architectures and different labels, four rounds."""
    shared = small_digits([4])
    tasks = [shared.with_model(Mlp((1, 8, 8), 10, hidden)) for hidden in ([6], [5, 8], [6])]
    labels = torch.tensor(shared.train_labels)
    parts = [[int(i) for i in torch.nonzero((labels >= 3 * j) & (labels < 3 * j + 5)).flatten()[:30]] for j in range(3)]
    made = learner(FederatedDistillation, shared, 4, batch_size=10, local_steps=3, learning_rate=0.2)
    rows, inputs = starts_of(tasks), torch.tensor(shared.dataset.train_inputs).flatten(1)
    found = play(made, tasks, parts, rows, shared.initial_parameters(np.random.default_rng(1)), executor)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(parts)]
    brought: list[dict[int, Tensor]] = [{}, {}, {}]
    for k in range(4):
        answers: list[dict[int, Tensor]] = []
        for i, task in enumerate(tasks):
            others = [table for j, table in enumerate(brought) if j != i]
            targets = {y: torch.stack([t[y] for t in others if y in t]).mean(0) for t in others for y in t}
            for batch in streams[i].draw(10, steps=3).indices:
                x = rows[i].clone().requires_grad_()
                logits = task.model.forward(unflatten(x, task.model.shapes), inputs[batch])
                soft = [
                    nn.functional.cross_entropy(z, targets[y])
                    for z, y in zip(logits, labels[batch].tolist())
                    if y in targets
                ]
                loss = nn.functional.cross_entropy(logits, labels[batch]) + sum(soft) / 10
                rows[i] = (x - 0.2 * torch.autograd.grad(loss, x)[0]).detach()
            assert torch.allclose(found[i, "model"][k], rows[i], rtol=0, atol=1e-10), f"round {k}, device {i}"
            said = task.model.forward(unflatten(rows[i], task.model.shapes), inputs[parts[i]]).softmax(1)
            mine = labels[parts[i]]
            answers.append({int(y): said[mine == y].mean(0) for y in mine.unique()})
        brought = answers


def test_payloads_are_those_of_the_specification() -> None:
    """Down 32 C^2 at most, up 32 C_k C, and a byte for the four classes: here everybody holds all four of them."""
    run = simulate(calm("fd", "stop.rounds=2", "devices.0.count=3"), "null")
    assert run.payload_bits == 3 * (2 * (8 + 32 * 16) + 8 + 8 + 32 * 16)

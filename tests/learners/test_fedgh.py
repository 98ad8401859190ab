"""FedGH: the server's pass over representations, a whole run against a plain torch loop, and what travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learners.batching import BatchStream
from learners.compression.topk import TopK
from learners.federated.fedgh import FedGh, header_trained
from learners.federated.lg_fedavg import LgFedAvg
from learners.models.flat import unflatten
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Message
from tests.contract.worlds import calm
from tests.learners.pair_runs import F64, learner, matrix, play, small_digits, starts_of, vector
from tests.learners.test_algorithm_steps import Hand
from tests.learners.test_fedproto import node_of, small_task
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError


def test_a_step_on_one_representation_by_hand() -> None:
    """h = 0, so that p = (.5, .5): of z = (2, 4) and class 1 the weights move by -.1 (.5 z, -.5 z), the biases by -.1 (.5, -.5)."""
    tables = [matrix((0, 0), (9, 9)), matrix((9, 9), (2, 4))]
    found = header_trained(torch.zeros(6, dtype=F64), tables, torch.tensor([[3, 0]]), matrix((5, 0)), 0.1)
    assert torch.allclose(found, vector(-0.1, -0.2, 0.1, 0.2, -0.05, 0.05), rtol=0, atol=1e-15)


def test_a_run_equals_a_plain_torch_loop(executor: Any) -> None:
    """Three devices of two architectures and different labels; the server's order of the representations from its own stream."""
    shared = small_digits([8])
    hidden = ([8], [5, 8], [8])
    tasks = [shared.with_model(Mlp((1, 8, 8), 10, widths)) for widths in hidden]
    labels, inputs = torch.tensor(shared.train_labels), torch.tensor(shared.dataset.train_inputs).flatten(1)
    parts = [[int(i) for i in torch.nonzero((labels >= 3 * j) & (labels < 3 * j + 4)).flatten()[:30]] for j in range(3)]
    made = learner(FedGh, shared, 3, batch_size=5, local_steps=3, learning_rate=0.2, server_learning_rate=0.3)
    rows, theta = starts_of(tasks), shared.initial_parameters(np.random.default_rng(1))
    found = play(made, tasks, parts, rows, theta, executor)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(parts)]
    server, header = np.random.default_rng(99), theta[-90:]
    for k in range(3):
        brought = []
        for i, task in enumerate(tasks):
            rows[i] = torch.cat((rows[i][:-90], header))
            assert torch.allclose(found[i, "model"][k], rows[i], rtol=0, atol=1e-10), f"round {k}, device {i}"
            for batch in streams[i].draw(5, steps=3).indices:
                rows[i] = task.sgd_step(rows[i], batch, torch.ones(5, dtype=F64), 0.2)
            assert torch.allclose(found[i, "after_local_training"][k], rows[i], rtol=0, atol=1e-10)
            z, mine = (
                task.model.representation(unflatten(rows[i], task.model.shapes), inputs[parts[i]]),
                labels[parts[i]],
            )
            brought += [(z[mine == y].mean(0), int(y)) for y in mine.unique()]
        layer = nn.Linear(8, 10).double()
        nn.utils.vector_to_parameters(header.clone(), layer.parameters())
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
        order = server.permutation(len(brought))
        for at in range(0, len(order), 5):
            chosen = [brought[j] for j in order[at : at + 5]]
            optimizer.zero_grad()
            answers = layer(torch.stack([c for c, _ in chosen]))
            nn.functional.cross_entropy(answers, torch.tensor([y for _, y in chosen])).backward()
            optimizer.step()
        header = nn.utils.parameters_to_vector(layer.parameters()).detach()


def test_the_server_keeps_its_layer_where_nothing_whole_arrives() -> None:
    task = small_task(2)
    server = Hand(learner(FedGh, task, 3, deadline_s=1.0).program(node_of(task, id=SERVER)))
    first = server.sent[0].payload.data
    part = Message(
        0, "update", 0, (torch.ones(2, 3, dtype=F64), vector(1, 0)), torch.tensor([True, False, True, *[False] * 3])
    )
    server.answer(part, missing=(1, 2))
    server.answer(missing=(0, 1, 2))
    assert all(torch.equal(sent.payload.data, first) for sent in server.sent)
    assert server.sent[0].payload.num_bits == 32 * (3 * 2 + 2)


def test_payloads_are_those_of_the_specification() -> None:
    """Down the last layer, up a row of d for each of the four classes and a byte that says which."""
    run = simulate(calm("fedgh", "stop.rounds=2", "devices.0.count=3"), "null")
    assert run.payload_bits == 2 * 3 * (32 * (8 * 4 + 4) + 8 + 32 * 4 * 8)


@pytest.mark.parametrize(
    ("cls", "sent"), [(FedGh, "a whole layer and tables of representations"), (LgFedAvg, "whole layers")]
)
def test_codecs_for_changes_are_refused_in_its_own_words(cls: Any, sent: str) -> None:
    with pytest.raises(ValueError, match=f"codec = TopK: sends {sent}, and this codec is for changes"):
        learner(cls, small_task(2), codec=TopK(0.5))


def test_last_layers_of_different_size_are_one_clear_line() -> None:
    variants = 'model.variants=[{name="mlp", hidden=[6]}]'
    with pytest.raises(ScenarioError, match=r"calm \[model\]: representation of 8 numbers .* of variants 6: fedgh"):
        Run(calm("fedgh", "model.hidden=[8]", variants), "null", None, None, None, None)

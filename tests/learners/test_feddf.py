"""FedDF: the two losses of the specification, a plain torch loop, lost parts, and what travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.batching import BatchStream
from learners.compression.topk import TopK
from learners.data.digits import digits
from learners.federated.fedavg import FedAvg
from learners.federated.feddf import FedDf, distillation, targets
from learners.models.flat import unflatten
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Message
from learners.task import Task
from tests.contract.worlds import calm
from tests.learners.pair_runs import F64, learner, matrix, play, vector
from tests.learners.test_algorithm_steps import Hand
from tests.learners.test_fedproto import node_of, small_task
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError

PUBLIC = np.arange(900, 912)


def public_digits() -> Task:
    return Task(digits(np.random.default_rng(1)), Mlp((1, 8, 8), 10, [4]), "float64", public_samples=PUBLIC)


@pytest.mark.parametrize(("ensemble", "loss"), [("logits", 0.229872), ("probabilities", 0.180157)])
def test_losses_of_the_specification(ensemble: str, loss: float) -> None:
    """Teachers' scores (2, 0, -1) and (.5, .5, 0), a student's of 0: KL(q || 1/3) = log 3 + sum q log q."""
    task = small_task(3)
    table = targets([matrix((2, 0, -1)), matrix((0.5, 0.5, 0))], ensemble)
    student = unflatten(torch.zeros(task.num_params, dtype=F64), task.model.shapes)
    inputs, labels = task.training_samples(torch.tensor([0]))
    found = distillation(task.model, student, inputs, labels, vector(1), torch.tensor([0]), table)
    assert float(found) == pytest.approx(loss, abs=5e-7)
    certain = distillation(task.model, student, inputs, labels, vector(1), torch.tensor([0]), matrix((1, 0, 0)))
    assert float(certain) == pytest.approx(np.log(3), abs=1e-14), "0 log 0 is 0"


@pytest.mark.parametrize("ensemble", ["logits", "probabilities"])
def test_a_run_equals_a_plain_torch_loop(ensemble: str, executor: Any) -> None:
    """Three clients of different labels and numbers of samples, two rounds of six steps of torch's Adam and cosine at the server."""
    task = public_digits()
    labels, inputs = torch.tensor(task.train_labels), torch.tensor(task.dataset.train_inputs).flatten(1)
    parts = [[int(i) for i in torch.nonzero(labels[:900] == j).flatten()[: 10 + 5 * j]] for j in range(3)]
    server = {"distill_steps": 6, "distill_batch_size": 5, "distill_learning_rate": 0.01, "ensemble": ensemble}
    made = learner(FedDf, task, 2, batch_size=5, local_steps=2, learning_rate=0.2, **server)
    w = task.initial_parameters(np.random.default_rng(1))
    found = play(made, [task] * 3, parts, [w] * 3, w, executor, uninvited=0)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(parts)]
    order = np.random.default_rng(99)

    def answers(tensors: Any, samples: Any) -> Tensor:
        return task.model.forward(tensors, inputs[samples])

    def stepped(x: Tensor, kind: Any, rate: float, losses: list[Any], decays: bool = False) -> Tensor:
        tensors = [part.clone().requires_grad_() for part in unflatten(x, task.model.shapes)]
        optimizer = kind(tensors, lr=rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(losses))
        for loss in losses:
            optimizer.zero_grad()
            loss(tensors).backward()
            optimizer.step()
            if decays:
                cosine.step()
        return torch.cat([part.detach().flatten() for part in tensors])

    for k in range(2):
        sent = []
        for i, stream in enumerate(streams):
            assert torch.allclose(found[i, "model"][k], w, rtol=0, atol=1e-10)
            batches = stream.draw(5, steps=2).indices
            local = [lambda x, b=batch: F.cross_entropy(answers(x, b), labels[b]) for batch in batches]
            sent.append(stepped(w, torch.optim.SGD, 0.2, local))
            assert torch.allclose(found[i, "after_local_training"][k], sent[i], rtol=0, atol=1e-10)
        w = sum(len(part) * x for part, x in zip(parts, sent, strict=True)) / sum(map(len, parts))  # type: ignore[assignment]
        table = torch.stack([answers(unflatten(x, task.model.shapes), PUBLIC) for x in sent])
        q = table.mean(0).softmax(-1) if ensemble == "logits" else table.softmax(-1).mean(0)
        draws = BatchStream(np.arange(12), order, F64).draw(5, steps=6).indices
        steps = [
            lambda x, b=batch, q=q: F.kl_div(answers(x, PUBLIC[b]).log_softmax(-1), q[b], reduction="batchmean")
            for batch in draws
        ]
        w = stepped(w, torch.optim.Adam, 0.01, steps, decays=True)
        assert torch.allclose(found[SERVER, "model"][k], w, rtol=0, atol=1e-9), f"server, round {k}"


def test_a_vanishing_rate_is_fedavg() -> None:
    task = public_digits()
    w, parts = task.initial_parameters(np.random.default_rng(1)), [range(0, 20), range(20, 50)]
    ours, theirs = (
        play(learner(cls, task, 2, local_steps=2, **keys), [task] * 2, parts, [w] * 2, w)[SERVER, "model"]
        for cls, keys in ((FedDf, {"distill_learning_rate": 1e-18, "distill_steps": 1}), (FedAvg, {}))
    )
    assert torch.allclose(torch.stack(ours), torch.stack(theirs), rtol=0, atol=1e-14)


def test_missing_numbers_are_the_servers_own_and_a_round_of_nothing_changes_nothing() -> None:
    task = public_digits()
    keys = {"distill_learning_rate": 1e-18, "distill_steps": 1, "deadline_s": 1.0, "server_weights": "uniform"}
    server = Hand(learner(FedDf, task, 3, **keys).program(node_of(task, id=SERVER)))
    w, n = server.sent[0].payload.data, task.num_params
    mask = torch.ones(n, dtype=torch.bool)
    mask[3] = False
    server.answer(Message(0, "update", 0, w + 1, mask), Message(2, "update", 0, w + 3))
    expected = w + 2
    expected[3] = w[3] + 1.5
    assert torch.allclose(server.sent[1].payload.data, expected, rtol=0, atol=1e-12)
    server.answer(missing=(0, 1, 2))
    assert torch.equal(server.sent[2].payload.data, server.sent[1].payload.data)


def test_models_are_all_that_travels() -> None:
    run = simulate(calm("feddf", "stop.rounds=2"), "null")
    assert run.payload_bits == 2 * 6 * 2 * 32 * 108


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.public_fraction=none", r"\[data\] public_fraction: is missing; feddf needs a part of the training samples"),
        ("algorithm.ensemble=votes", r"\[algorithm\] ensemble.*logits.*probabilities"),
        ("algorithm.distill_steps=0", r"\[algorithm\] distill_steps = 0"),
        ("codec={name='topk', ratio=0.1}", r"name = \"feddf\": sends whole models, and this codec is for changes"),
        ("model.variants=['mlp']", r"\[model\] variants.*feddf needs one architecture"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_clear_line(change: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as error:
        Run(calm("feddf", change), "null", None, None, None, None)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="whole models"):
        learner(FedDf, small_task(2), codec=TopK(0.1))

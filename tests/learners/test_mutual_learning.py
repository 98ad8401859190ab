"""FML, FedAPEN and LG-FedAvg: their losses by hand, whole runs against plain torch loops, and what travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.batching import BatchStream
from learners.federated.fedapen import FedApen, ensemble_metric, learned_share
from learners.federated.fml import Fml
from learners.federated.lg_fedavg import LgFedAvg
from learners.federated.mutual import Pair, divergence, ensemble_loss, mutual_loss
from learners.models.flat import num_params, unflatten
from learners.models.mlp import Mlp
from learners.models.mrl_cnn import MrlCnn
from learners.protocol import SERVER
from learners.task import Task
from tests.contract.worlds import calm
from tests.learners.pair_runs import F64, Reports, learner, matrix, play, small_digits, starts_of, vector
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError

HIDDEN = ([6], [5, 8])
PARTS = [range(40 * i, 40 * i + 20 + 10 * i) for i in range(3)]


def twin(*widths: int) -> nn.Sequential:
    layers = [part for a, b in zip(widths, widths[1:], strict=False) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def vector_of(*modules: nn.Module) -> Tensor:
    return torch.cat([nn.utils.parameters_to_vector(module.parameters()).detach() for module in modules])


# -- losses -----------------------------------------------------------------------------------------------------------


def test_the_divergence_is_a_mean_over_the_batch_and_teaches_one_side() -> None:
    """p = (.75, .25), q = (.5, .5): .75 ln 1.5 + .25 ln .5; a sample of padding does not count."""
    teacher = matrix((np.log(3), 0), (0, 0), (9, 9)).requires_grad_()
    student = matrix((1, 1), (2, 2), (0, 7)).requires_grad_()
    found = divergence(teacher, student, vector(1, 1, 0))
    assert float(found.detach()) == pytest.approx((0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2, abs=1e-15)
    found.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert torch.allclose(student.grad, matrix((-0.125, 0.125), (0, 0), (0, 0)), rtol=0, atol=1e-15)  # (q - p) / 2


def losses_apart(loss: Any, shared: Tensor, private: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What the two models minimize, as the papers write them: of logits."""
    cross, kl = (
        nn.functional.cross_entropy,
        lambda p, q: nn.functional.kl_div(
            q.log_softmax(1), p.detach().log_softmax(1), log_target=True, reduction="batchmean"
        ),
    )
    if loss is mutual_loss:  # alpha = .25, beta = .75
        return (
            0.25 * cross(private, labels) + 0.75 * kl(shared, private),
            0.75 * cross(shared, labels) + 0.25 * kl(private, shared),
        )
    mixed_for_private = 0.3 * private + 0.7 * shared.detach()
    mixed_for_shared = 0.3 * private.detach() + 0.7 * shared
    return (
        cross(private, labels) + kl(shared, private) + cross(mixed_for_private, labels),
        cross(shared, labels) + kl(private, shared) + cross(mixed_for_shared, labels),
    )


@pytest.mark.parametrize(("loss", "args"), [(mutual_loss, (0.25, 0.75)), (ensemble_loss, (vector(0.3)[0],))])
def test_one_backward_pass_is_that_of_both_losses(loss: Any, args: tuple[Any, ...]) -> None:
    shared_task = small_digits([4])
    task = shared_task.with_model(Pair(shared_task.model, Mlp((1, 8, 8), 10, HIDDEN[1])))
    x = task.initial_parameters(np.random.default_rng(3))
    inputs, labels = task.training_samples(torch.arange(12))
    ones = torch.ones(12, dtype=F64)
    found = torch.func.grad(lambda x: loss(task.model, unflatten(x, task.model.shapes), inputs, labels, ones, *args))(x)
    small, large = twin(64, 4, 10), twin(64, 5, 8, 10)
    nn.utils.vector_to_parameters(x[: shared_task.num_params], small.parameters())
    nn.utils.vector_to_parameters(x[shared_task.num_params :], large.parameters())
    of_private, of_shared = losses_apart(loss, small(inputs), large(inputs), labels)
    gradients = [
        *torch.autograd.grad(of_shared, list(small.parameters()), retain_graph=True),
        *torch.autograd.grad(of_private, list(large.parameters())),
    ]
    assert torch.allclose(found, torch.cat([g.flatten() for g in gradients]), rtol=0, atol=1e-13)


# -- whole runs -------------------------------------------------------------------------------------------------------


def digits_run(cls: Any, shared: Task, executor: Any = None, **options: Any) -> tuple[Reports, list[Task]]:
    tasks = [shared.with_model(Mlp((1, 8, 8), 10, hidden)) for hidden in (HIDDEN * 2)[:3]]
    made = learner(cls, shared, 4, **({"batch_size": 16, "local_steps": 3, "learning_rate": 0.2} | options))
    theta = shared.initial_parameters(np.random.default_rng(1))
    return play(made, tasks, PARTS, starts_of(tasks), theta, executor), tasks


def test_fml_equals_a_plain_torch_loop(executor: Any) -> None:
    shared = small_digits([4])
    found, tasks = digits_run(Fml, shared, executor, private_label_weight=0.25, shared_label_weight=0.75)
    inputs, labels = torch.tensor(shared.dataset.train_inputs).flatten(1), torch.tensor(shared.train_labels)
    n, theta = shared.num_params, shared.initial_parameters(np.random.default_rng(1))
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(PARTS)]
    private = starts_of(tasks)
    for k in range(4):
        uploads = []
        for i in range(3):
            assert torch.allclose(found[i, "model"][k], torch.cat((theta, private[i])), rtol=0, atol=1e-10)
            small, large = twin(64, 4, 10), twin(64, *HIDDEN[i % 2], 10)
            nn.utils.vector_to_parameters(theta.clone(), small.parameters())
            nn.utils.vector_to_parameters(private[i].clone(), large.parameters())
            optimizer = torch.optim.SGD([*small.parameters(), *large.parameters()], lr=0.2)
            for batch in streams[i].draw(16, steps=3).indices:
                optimizer.zero_grad()
                for loss in losses_apart(mutual_loss, small(inputs[batch]), large(inputs[batch]), labels[batch]):
                    loss.backward(retain_graph=True)
                optimizer.step()
            private[i] = vector_of(large)
            uploads.append(vector_of(small))
            assert torch.allclose(found[i, "after_local_training"][k][:n], uploads[-1], rtol=0, atol=1e-10)
        theta = torch.stack(uploads).mean(0)  # plain, though the devices have 20, 30 and 40 samples
        assert torch.allclose(found[SERVER, "shared"][k], theta, rtol=0, atol=1e-10)


def test_fedapen_holds_samples_out_learns_its_share_on_them_and_trains_with_it(executor: Any) -> None:
    shared = small_digits([4])
    found, tasks = digits_run(
        FedApen, shared, executor, private_share_part=0.2, private_share_rate=0.5, private_share_passes=3
    )
    inputs, labels = torch.tensor(shared.dataset.train_inputs).flatten(1), torch.tensor(shared.train_labels)
    n, theta = shared.num_params, shared.initial_parameters(np.random.default_rng(1))
    private = starts_of(tasks)
    rngs = [np.random.default_rng(100 + i) for i in range(3)]
    orders = [rng.permutation(np.array(part)) for rng, part in zip(rngs, PARTS, strict=True)]
    held = [torch.from_numpy(order[: round(0.2 * len(order))]) for order in orders]
    streams = [BatchStream(order[len(h) :], rng, F64) for order, h, rng in zip(orders, held, rngs, strict=True)]
    shares = [0.5] * 3
    for k in range(4):
        uploads = []
        for i in range(3):
            small, large = twin(64, 4, 10), twin(64, *HIDDEN[i % 2], 10)
            nn.utils.vector_to_parameters(theta.clone(), small.parameters())
            nn.utils.vector_to_parameters(private[i].clone(), large.parameters())
            if k:
                share = torch.tensor(shares[i], dtype=F64, requires_grad=True)
                for _ in range(3):
                    z = share * large(inputs[held[i]]).detach() + (1 - share) * small(inputs[held[i]]).detach()
                    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(z, labels[held[i]]), [share])
                    share = (share - 0.5 * slope).detach().clamp(0, 1).requires_grad_()
                shares[i] = float(share.detach())
            x, lam = found[i, "model"][k]
            assert float(lam) == pytest.approx(shares[i], abs=1e-10)
            assert torch.allclose(x, torch.cat((theta, private[i])), rtol=0, atol=1e-10)
            optimizer = torch.optim.SGD([*small.parameters(), *large.parameters()], lr=0.2)
            for batch in streams[i].draw(16, steps=3).indices:
                optimizer.zero_grad()
                of_shared, of_private = small(inputs[batch]), large(inputs[batch])
                kl = nn.functional.kl_div
                loss = sum(
                    nn.functional.cross_entropy(z, labels[batch])
                    for z in (of_shared, of_private, shares[i] * of_private + (1 - shares[i]) * of_shared)
                )
                for p, q in ((of_shared, of_private), (of_private, of_shared)):
                    loss = loss + kl(q.log_softmax(1), p.detach().softmax(1), reduction="batchmean")
                loss.backward()  # type: ignore[union-attr]
                optimizer.step()
            private[i] = vector_of(large)
            uploads.append(vector_of(small))
        theta = torch.stack(uploads).mean(0)
    assert len({round(share, 6) for share in shares}) == 3
    assert torch.allclose(found[SERVER, "shared"][-1], theta, rtol=0, atol=1e-10)
    assert n == len(theta)


def test_the_share_stays_between_0_and_1_and_the_metric_mixes_logits() -> None:
    shared = small_digits([4])
    task = shared.with_model(Pair(shared.model, Mlp((1, 8, 8), 10, [6])))
    x = task.initial_parameters(np.random.default_rng(3))
    for rate in (1e3, 1e4):
        share = learned_share(task)(vector(0.5)[0], x, torch.arange(9), torch.ones(9, dtype=F64), 4, 5, rate)
        assert 0 <= float(share) <= 1
    both = task.model.both(unflatten(x, task.model.shapes), task.test_inputs.flatten(1))  # type: ignore[attr-defined]
    correct, _ = ensemble_metric(task)((x, vector(0.3)[0]), task.test_inputs, task.test_labels)
    assert torch.equal(correct, (0.3 * both[1] + 0.7 * both[0]).argmax(1) == task.test_labels)


def test_without_held_out_samples_the_share_stays_a_half() -> None:
    found, _ = digits_run(FedApen, small_digits([4]), private_share_part=0.0)
    assert {float(lam) for _, lam in found[0, "model"]} == {0.5}


def test_lg_fedavg_shares_the_last_layer_only(executor: Any) -> None:
    shared = small_digits([8])
    tasks = [shared.with_model(Mlp((1, 8, 8), 10, hidden)) for hidden in ([8], [5, 8], [8])]
    theta, starts = shared.initial_parameters(np.random.default_rng(1)), starts_of(tasks)
    made = learner(LgFedAvg, shared, 4, batch_size=16, local_steps=3, learning_rate=0.2)
    found = play(made, tasks, PARTS, starts, theta, executor)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(PARTS)]
    header, rows = theta[-90:], list(starts)
    for k in range(4):
        for i in range(3):
            rows[i] = torch.cat((rows[i][:-90], header))
            assert torch.allclose(found[i, "model"][k], rows[i], rtol=0, atol=1e-12)
            for batch in streams[i].draw(16, steps=3).indices:
                rows[i] = tasks[i].sgd_step(rows[i], batch, torch.ones(16, dtype=F64), 0.2)
            assert torch.allclose(found[i, "after_local_training"][k], rows[i], rtol=0, atol=1e-12)
        header = sum((20 + 10 * i) / 90 * rows[i][-90:] for i in range(3))  # type: ignore[assignment]


# -- messages ---------------------------------------------------------------------------------------------------------

VARIANTS = 'model.variants=[{name="mlp", hidden=[6]}, {name="mlp", hidden=[8, 6]}]'


@pytest.mark.parametrize(
    ("name", "num_values"),
    [("fml", 8 * 6 + 6 + 6 * 4 + 4), ("fedapen", 8 * 6 + 6 + 6 * 4 + 4), ("lg_fedavg", 6 * 4 + 4)],
)
def test_what_travels_is_the_shared_part_both_ways(name: str, num_values: int) -> None:
    run = simulate(calm(name, "stop.rounds=2", "model.hidden=[6]", "algorithm.clients_per_round=3", VARIANTS), "null")
    assert run.payload_bits == 2 * 3 * 2 * 32 * num_values


def test_payloads_of_the_specification() -> None:
    """CIFAR-100: LG-FedAvg 50,100 numbers; FML and FedAPEN with the fifth network 715,148."""
    model = MrlCnn((3, 32, 32), 100, 5)
    assert num_params(model.shapes[-2:]) == 50_100
    assert num_params(model.shapes) == 715_148


def test_last_layers_of_different_size_are_one_clear_line() -> None:
    with pytest.raises(
        ScenarioError, match=r"calm \[model\]: representation of 8 numbers .* of variants 6: lg_fedavg"
    ) as e:
        Run(calm("lg_fedavg", "model.hidden=[8]", VARIANTS), "null", None, None, None, None)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Fml, {"private_label_weight": 1.5}, "private_label_weight = 1.5: from 0 to 1"),
        (FedApen, {"private_share_part": 1.0}, "private_share_part = 1.0: from 0 to below 1"),
        (FedApen, {"private_share_rate": 0.0}, "private_share_rate = 0.0: a positive"),
    ],
)
def test_bad_fields_are_named(cls: Any, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(cls, small_digits([4]), **options)


@pytest.mark.parametrize("name", ["fml", "fedproto"])
def test_devices_that_have_not_been_invited_count_with_the_model_that_they_begin_with(name: str) -> None:
    """One of six a round, the first evaluation after the first: everybody has an accuracy, as with learners that send nothing."""
    run = simulate(calm(name, "algorithm.clients_per_round=1", "stop.rounds=2"))
    accuracies = run.accuracy_by_device
    assert not np.isnan(accuracies).any()
    assert run.accuracy == pytest.approx(accuracies.mean(-1))
    assert (accuracies[0] != accuracies[1]).sum() <= 1

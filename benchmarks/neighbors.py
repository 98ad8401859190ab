"""Plain torch loops of methods between neighbors, as one would write them without a simulator: device after device.

The problem, the graph and the minibatches are those of benchmarks/floor.py (100 devices, a 4-regular graph, steps of 16 samples);
after every round all models are evaluated, as there. Each method with one step a round, as in its paper, and with five.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from benchmarks.floor import (
    BATCH_SIZE,
    LEARNING_RATE,
    NUM_CLASSES,
    NUM_DEVICES,
    Problem,
    accuracy,
    copy_state,
    make_model,
    make_problem,
    minibatches,
    train,
)

__all__ = ["BATCH_SIZE", "LEARNING_RATE", "METHODS", "NUM_DEVICES", "WORKLOADS", "measure"]

MOMENTUM = 0.9
MODEL_WEIGHT = DATA_WEIGHT = 0.1

State = dict[str, Tensor]
LAYERS = (("0.weight", "0.bias"), ("2.weight", "2.bias"))


def neighborhoods(problem: Problem) -> list[list[int]]:
    """Each with the device itself."""
    return [row.nonzero().flatten().tolist() for row in problem.mixing]


def averaged(problem: Problem, device: int, sent: list[State], members: list[int]) -> State:
    weights = problem.mixing[device].tolist()
    return {name: sum(weights[j] * sent[j][name] for j in members) for name in sent[device]}


def mean_accuracy(models: list[nn.Sequential], problem: Problem) -> float:
    return sum(accuracy(model, problem) for model in models) / NUM_DEVICES


def plain_qg_dsgdm(problem: Problem, rounds: int, steps: int) -> float:
    """Quasi-global momentum: m = beta h + g, a half step, averaging, h <- mu h + (1 - mu) (x - x+) / lr."""
    models, drawn, groups = (
        [make_model(problem) for _ in range(NUM_DEVICES)],
        minibatches(problem),
        neighborhoods(problem),
    )
    optimizers = [torch.optim.SGD(model.parameters(), lr=LEARNING_RATE) for model in models]
    buffers = [{name: torch.zeros_like(t) for name, t in copy_state(model).items()} for model in models]
    for _ in range(rounds):
        old, half = [copy_state(model) for model in models], []
        for device, model in enumerate(models):
            train(model, optimizers[device], problem, drawn[device], steps)
            half.append(
                {name: x - LEARNING_RATE * MOMENTUM * buffers[device][name] for name, x in copy_state(model).items()}
            )
        for device, model in enumerate(models):
            new = averaged(problem, device, half, groups[device])
            for name, h in buffers[device].items():
                h.mul_(MOMENTUM).add_(old[device][name] - new[name], alpha=(1 - MOMENTUM) / LEARNING_RATE)
            model.load_state_dict(new)
        result = mean_accuracy(models, problem)
    return result


def plain_drt(problem: Problem, rounds: int, steps: int) -> float:
    """DRT diffusion: kernel prod_sq, residual normalization, N = 2, a_min = 0.05."""
    models, drawn, groups = (
        [make_model(problem) for _ in range(NUM_DEVICES)],
        minibatches(problem),
        neighborhoods(problem),
    )
    optimizers = [torch.optim.SGD(model.parameters(), lr=LEARNING_RATE) for model in models]
    for _ in range(rounds):
        for device, model in enumerate(models):
            train(model, optimizers[device], problem, drawn[device], steps)
        psi = [copy_state(model) for model in models]
        flat = [[torch.cat([state[name].flatten() for name in layer]) for layer in LAYERS] for state in psi]
        norms = [[float(layer.norm()) for layer in layers] for layers in flat]
        for device, model in enumerate(models):
            neighbors = [j for j in groups[device] if j != device]
            squares = {
                j: [
                    (float((b - a).norm()) / r) ** 2
                    for a, b, r in zip(flat[device], flat[j], norms[device], strict=True)
                ]
                for j in neighbors
            }
            model.load_state_dict(_trusted(problem, device, psi, squares))
        result = mean_accuracy(models, problem)
    return result


def _trusted(problem: Problem, device: int, psi: list[State], squares: dict[int, list[float]]) -> State:
    """squares: of the relative distances of the layers, by neighbor."""
    own, c = psi[device], problem.mixing[device].tolist()
    combined: State = {}
    for p, layer in enumerate(LAYERS):
        weights = {}
        for j, each in squares.items():
            kappa = 1.0
            for q, square in enumerate(each):
                kappa *= 1.0 if q == p else 1 + square
            weights[j] = c[j] * min(max(kappa, 0.5), 2.0)
        total = sum(weights.values())
        scale = 0.95 / total if total > 0.95 else 1.0
        for name in layer:
            combined[name] = own[name] + sum(scale * weights[j] * (psi[j][name] - own[name]) for j in squares)
    return combined


def plain_ccl(problem: Problem, rounds: int, steps: int) -> float:
    """CCL without momentum: mix, features of own samples by the neighbors' models, class sums to each, contrastive steps."""
    models, drawn, groups = (
        [make_model(problem) for _ in range(NUM_DEVICES)],
        minibatches(problem),
        neighborhoods(problem),
    )
    for _ in range(rounds):
        sent = [copy_state(model) for model in models]
        samples = [[torch.from_numpy(batches.draw()) for _ in range(steps)] for batches in drawn]
        features: list[list[list[Tensor]]] = [[] for _ in models]  # by device, step, neighbor
        sums = [torch.zeros(NUM_CLASSES, models[0][0].out_features) for _ in models]  # type: ignore[call-overload]
        counts = [torch.zeros(NUM_CLASSES) for _ in models]
        for device in range(NUM_DEVICES):
            for batch in samples[device]:
                inputs, labels = problem.inputs[batch], problem.labels[batch]
                features[device].append([])
                member = nn.functional.one_hot(labels, NUM_CLASSES).float()
                for j in groups[device]:
                    if j == device:
                        continue
                    with torch.no_grad():
                        z = torch.relu(nn.functional.linear(inputs, sent[j]["0.weight"], sent[j]["0.bias"]))
                    features[device][-1].append(z)
                    sums[j] += member.T @ z
                    counts[j] += member.sum(0)
        for device, model in enumerate(models):
            model.load_state_dict(averaged(problem, device, sent, groups[device]))
            for batch, others in zip(samples[device], features[device], strict=True):
                inputs, labels = problem.inputs[batch], problem.labels[batch]
                z = model[1](model[0](inputs))
                member = nn.functional.one_hot(labels, NUM_CLASSES).float()
                number = (member.sum(0) + counts[device]).clamp(min=1).unsqueeze(1)
                means = (member.T @ z.detach() + sums[device]) / number
                loss = nn.functional.cross_entropy(model[2](z), labels)
                loss = loss + MODEL_WEIGHT * sum(nn.functional.mse_loss(z, other) for other in others)
                loss = loss + DATA_WEIGHT * nn.functional.mse_loss(z, means[labels])
                model.zero_grad()
                loss.backward()
                with torch.no_grad():
                    for parameter in model.parameters():
                        assert parameter.grad is not None
                        parameter.sub_(parameter.grad, alpha=LEARNING_RATE)
        result = mean_accuracy(models, problem)
    return result


METHODS = {"qg_dsgdm": plain_qg_dsgdm, "drt_diffusion": plain_drt, "ccl": plain_ccl}

WORKLOADS = {name: (name, 20, 5) for name in METHODS} | {f"{name}_one_step": (name, 50, 1) for name in METHODS}
"""Name -> method, rounds, local steps a round."""


def measure(workload: str, variant: str) -> tuple[float, float]:
    """(CPU seconds, accuracy at the end) of one loop, on one thread. variant: "plain"."""
    if variant != "plain":
        raise ValueError(f"variant = {variant!r}: plain")
    torch.set_num_threads(1)
    problem = make_problem("iid")
    name, rounds, steps = WORKLOADS[workload]
    METHODS[name](problem, 1, 1)  # torch sets itself up at first use
    start = time.process_time()
    result = METHODS[name](problem, rounds, steps)
    return time.process_time() - start, result

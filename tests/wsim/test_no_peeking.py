"""No algorithm reads another node's state: a program holds its own node only, and others act on it by messages alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from learners import registry
from learners.batching import BatchStream
from learners.protocol import SERVER, Node, Payload, Report, Send, Sleep
from tests.wsim.builders import peers, play
from tests.wsim.test_closing import BASE, LEARNERS
from wsim.driver import Driver
from wsim.engine import Run
from wsim.node import SimNode
from wsim.scenario import Loaded, load_text
from wsim.transport import Transport

NODE_NAMES = (  # of learners.protocol.Node: all that an algorithm may ask of its node
    "all_samples", "batches", "class_counts_of", "devices", "edges", "id", "initial_parameters", "mixing_row", "neighbors", "num_devices", "num_samples", "peers", "rng",
    "samples_of", "state", "packet_payload_bits", "task", "tensor", "uniform",
)  # fmt: skip


class Window:
    """A node as the protocol shows it; anything else is an AttributeError."""

    __slots__ = ("_node",)

    def __init__(self, node: SimNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        if name not in NODE_NAMES:
            raise AttributeError(f"{name!r} is not a part of the protocol of a node")
        return getattr(self._node, name)


class ThroughWindow:
    """A registered learner whose programs see their node through a `Window`."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def program(self, node: SimNode) -> Any:
        return self.inner.program(Window(node))


def run_of(loaded: Loaded, learner: Any = None) -> Run:
    run = Run(loaded, "eager", None, None, learner, None)
    run.go()
    return run


def test_the_protocol_of_a_node_is_what_this_test_opens():
    names = {*Node.__annotations__, *(name for name in vars(Node) if not name.startswith("_"))}
    assert names == set(NODE_NAMES)


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_need_nothing_but_the_protocol_of_their_node(name):
    loaded = load_text(BASE, [*LEARNERS[name], "stop.simulated_s=1.0", "transport.partial=use"])

    def learner(task: Any, codec: Any, num_rounds: int | None) -> Any:
        hyperparameters = loaded.scenario.algorithm.hyperparameters
        inner = registry.load("learner", name)(task=task, codec=codec, num_rounds=num_rounds, **hyperparameters)
        return ThroughWindow(inner)

    seen, plain = run_of(loaded, learner).record(), run_of(loaded).record()
    assert seen.event_digest == plain.event_digest
    assert np.array_equal(seen.accuracy, plain.accuracy)


def reachable(roots: list[Any]) -> Iterator[Any]:
    """Everything that public attributes, bound methods and containers lead to from these objects."""
    seen, stack = set(), list(roots)
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, (str, bytes, int, float, np.ndarray, torch.Tensor, type)):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, dict):
            stack += [*thing, *thing.values()]
        elif isinstance(thing, (tuple, list, set, frozenset)):
            stack += thing
        elif type(thing).__module__.startswith(("wsim", "learners")):
            stack += [getattr(thing, name, None) for name in dir(thing) if not name.startswith("_")]


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_that_a_node_shows_leads_to_another_node(name):
    run = run_of(load_text(BASE, [*LEARNERS[name], "stop.simulated_s=1.0"]))
    for node in run.driver.nodes:
        found = list(reachable([getattr(node, attribute) for attribute in NODE_NAMES]))
        assert len(found) >= len(NODE_NAMES) - 3
        assert not [thing for thing in found if isinstance(thing, (SimNode, Run, Driver, Transport))]


LOST = {  # messages that expire within a microsecond
    "fedavg": "algorithm.deadline_s=1e-6",
    "dpsgd": "algorithm.deadline_s=1e-6",
    "gossip": "transport.expires_s=1e-6",
}


def final_models(changes: list[str]) -> tuple[Run, dict[int, list[Any]]]:
    """A run with real arithmetic, and every model that each node reported, in order."""
    run = Run(load_text(BASE, changes), "eager", None, None, None, None)
    models: dict[int, list[Any]] = {}
    report = run.driver._on_report

    def keep(node: SimNode, request: Report) -> None:
        if request.name == "model":
            models.setdefault(node.id, []).append(request.value)
        report(node, request)

    run.driver._on_report = keep
    run.go()
    return run, models


def trained_alone(run: Run, device: int, rounds: int, learning_rate: float, batch_size: int) -> list[Any]:
    """Local SGD of one device on its own batches and nothing else, one step a round."""
    task = run.learning.task
    x = task.initial_parameters(run.streams("initial_parameters", 0))
    batches = BatchStream(run.learning.parts[device], run.streams("batches", device), task.dtype)
    models = []
    for _ in range(rounds):
        x = task.sgd_step.scan(x, batches.draw(batch_size, steps=1, epochs=None).steps, learning_rate)
        models.append(x)
    return models


@pytest.mark.parametrize("name", ["dpsgd", "gossip"])
def test_without_messages_every_device_trains_alone(name):
    """All messages expire at once: the models are those of local SGD, bit for bit; with messages they are not."""
    run, models = final_models([*LEARNERS[name], LOST[name], "stop.rounds=4"])
    hyperparameters = run.scenario.algorithm.hyperparameters
    assert run.ledger.sent > 0 == run.ledger.delivered
    for device in range(9):
        alone = trained_alone(run, device, 4, hyperparameters["learning_rate"], hyperparameters["batch_size"])
        assert len(models[device]) >= 3
        for model, expected in zip(models[device], alone, strict=False):
            assert torch.equal(model, expected)
    heard_run, heard = final_models([*LEARNERS[name], "stop.rounds=4", "transport.reliability=arq"])
    assert heard_run.ledger.used > 0
    assert not torch.equal(heard[0][-1], models[0][len(heard[0]) - 1])


def test_without_messages_a_server_keeps_its_model():
    run, models = final_models([*LEARNERS["fedavg"], LOST["fedavg"], "stop.rounds=4"])
    initial = run.learning.task.initial_parameters(run.streams("initial_parameters", 0))
    assert run.ledger.delivered == 0
    assert set(models) == {SERVER}  # no client ever heard of a round
    assert all(torch.equal(model, initial) for model in models[SERVER])


def test_what_a_neighbor_computes_is_unknown_until_its_message_arrives():
    """Two runs that differ in the content of one message agree in everything that its receiver does before it arrives."""

    def times(first_bits: int) -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []

        def sender(node):
            node.state["secret"] = first_bits
            yield Sleep(1.0)
            yield Send(1, "m", 0, Payload(first_bits, 8000))
            yield Sleep(1.0)

        def receiver(node):
            for k in range(40):
                seen.append((k * 0.05, sum(m.data for box in node.inbox.values() for m in box.values())))
                assert node.state == {}
                yield Sleep(0.05)

        play(peers([(0, 0), (10, 0)]), {0: sender, 1: receiver})
        return seen

    a, b = times(3), times(5)
    assert [entry for entry in a if entry[0] <= 1.0] == [entry for entry in b if entry[0] <= 1.0]
    assert (a[-1][1], b[-1][1]) == (3, 5)


@pytest.mark.parametrize(
    ("to", "says"), [(0, "sends to itself"), (5, "there is no such node"), (SERVER, "no such node")]
)
def test_only_other_nodes_that_exist_can_be_sent_to(to, says):
    def program(node):
        yield Send(to, "m", 0, Payload(None, 8))

    with pytest.raises(ValueError, match=says):
        play(peers([(0, 0), (10, 0)]), {0: program})

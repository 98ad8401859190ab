"""Common random numbers: what happens to a device is a function of (seed, device, time), whatever the protocol does.

So a difference between two runs of one seed is a difference between protocols.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from learners.protocol import SERVER, Compute, Service
from tests.contract.recording import learner_of, value_of
from wsim.engine import Run, simulate
from wsim.scenario import Loaded, load_text

WORLD = """
[scenario]
name = "common"

[stop]
rounds = 5

[area]
shape = "disc"
radius_m = 80.0

[data]
name = "gaussian_mixture"
num_samples = 400
num_features = 8
num_classes = 4
partition = "dirichlet"
alpha = 0.5

[model]
name = "mlp"
hidden = [8]
same_initial_weights = false

[[devices]]
name = "walkers"
count = 5
mobility = { kind = "random_waypoint", speed_mps = [1.0, 3.0] }
compute = { effective_flops = 1e5, spread = "lognormal", jitter = "lognormal" }
radio = { tx_power_dbm = 15.0 }

[channel]
carrier_hz = 3.5e9
bandwidth_hz = 50e3
path_loss = { kind = "log_distance", exponent = 3.0 }
shadowing = { sigma_db = 4.0, correlation_m = 20.0 }
fading = { kind = "rayleigh", correlation = "doppler" }
forced_loss = { rate = 0.05 }

[mac]
kind = "ideal"

[algorithm]
local_steps = 3
"""
CELL = """
name = "fedavg"

[topology]
kind = "star"

[server]
radio = { tx_power_dbm = 30.0, rx_antennas = 2 }
"""
PEERS = """
name = "dpsgd"
deadline_s = 5.0

[topology]
kind = "ring"
"""
PROTOCOLS = {
    "fedavg": (CELL, []),
    "fedavg of few": (CELL, ["algorithm.clients_per_round=2", "algorithm.local_steps=7", "codec.name=float16"]),
    "dpsgd": (PEERS, []),
    "gossip": (PEERS.replace('"dpsgd"\ndeadline_s = 5.0', '"gossip"'), ["transport.reliability=none"]),
}
DEVICES = list(range(5))
TIMES_S = np.array([0.0, 0.5, 3.0, 11.0, 200.0])


def cell(*overrides: str) -> Loaded:
    return load_text(WORLD + CELL, list(overrides))


class Listening:
    """Passes a learner's requests on and keeps the minibatches of every device, in order."""

    def __init__(self, learner: Any) -> None:
        self.learner = learner
        self.uses_server = learner.uses_server
        self.synchronous = learner.synchronous
        self.value_dependent = learner.value_dependent
        self.reports = learner.reports
        self.minibatches: dict[int, list[torch.Tensor]] = {}

    def program(self, node: Any) -> Any:
        program = self.learner.program(node)
        if isinstance(program, Service):
            return Service(self._pass_on(node.id, program.program))
        return self._pass_on(node.id, program)

    def _pass_on(self, id: int, program: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
        answer = None
        while True:
            try:
                request = program.send(answer)
            except StopIteration:
                return
            if isinstance(request, Compute) and request.op.name == "sgd_step.scan":
                self.minibatches.setdefault(id, []).append(request.args[1][0].clone())
            answer = yield request


class Lived:
    """A run that is over, and what its channel was asked while it lasted: (tx, rx, cell) -> gain."""

    def __init__(self, loaded: Loaded) -> None:
        self.heard: list[Listening] = []
        self.gains: dict[tuple[int, int, int], float] = {}

        def make(task: Any, codec: Any, num_rounds: int | None) -> Listening:
            self.heard.append(Listening(learner_of(loaded)(task, codec, num_rounds)))
            return self.heard[0]

        self.run = Run(loaded, "batched", None, None, make, None)
        channel = self.run.world.links.channel
        ask = channel.gain

        def gain(tx: np.ndarray, rx: np.ndarray, first_cell: int, num_cells: int) -> np.ndarray:
            answer = ask(tx, rx, first_cell, num_cells)
            for row, a, b in zip(answer, tx.tolist(), rx.tolist()):
                self.gains |= {(a, b, first_cell + k): value for k, value in enumerate(row.tolist())}
            return answer

        channel.gain = gain  # type: ignore[method-assign]
        self.run.go()
        channel.gain = ask  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def lived() -> dict[str, Lived]:
    return {name: Lived(load_text(WORLD + text, keys)) for name, (text, keys) in PROTOCOLS.items()}


def world_of(run: Run, nodes: list[int]) -> dict[str, bytes]:
    """Everything physical about these nodes (array indices), now that the run is over, as bits."""
    world = run.world
    links = [(a, b) for a in nodes for b in nodes if a != b]
    tx, rx = np.array(links).T
    return {
        "positions": world.positions.at(np.array(nodes), TIMES_S).tobytes(),
        "travelled": world.positions.travelled_m(np.array(nodes), TIMES_S).tobytes(),
        "mean gains": world.links.channel.mean_gain_db(tx, rx, TIMES_S).tobytes(),
        "gains": world.links.channel.exact_gain(tx, rx, TIMES_S).tobytes(),
        "processors": world.effective_flops[nodes].tobytes(),
    }


@pytest.mark.parametrize("other", list(PROTOCOLS)[1:])
def test_two_protocols_meet_the_same_world(lived: dict[str, Lived], other: str) -> None:
    one, two = lived["fedavg"].run, lived[other].run
    assert one.ledger.event_digest != two.ledger.event_digest
    assert world_of(one, DEVICES) == world_of(two, DEVICES)
    for ours, theirs in zip(one.learning.parts, two.learning.parts, strict=True):
        assert np.array_equal(ours, theirs)
    assert torch.equal(one.learning.task.test_inputs, two.learning.task.test_inputs)
    initial = [[value_of(run.learning.initial_parameters(i)()) for i in DEVICES] for run in (one, two)]
    assert all(torch.equal(a, b) for a, b in zip(*initial))
    assert not torch.equal(initial[0][0], initial[0][1])
    for i in DEVICES:
        jitters = [[run._jitter(i)() for _ in range(4)] for run in (one, two)]
        assert jitters[0] == jitters[1]


@pytest.mark.parametrize(("one", "two"), [("fedavg", "fedavg of few"), ("dpsgd", "gossip")])
def test_what_two_runs_asked_of_the_channel_had_the_same_answers(lived: dict[str, Lived], one: str, two: str) -> None:
    """Links in use at equal times: the same gain, in whatever company and order they were asked for."""
    ours, theirs = lived[one].gains, lived[two].gains
    common = ours.keys() & theirs.keys()
    assert len(common) > 100
    assert all(ours[key] == theirs[key] for key in common)
    assert len({ours[key] for key in common}) > 0.9 * len(common)


def test_two_protocols_train_on_the_same_minibatches(lived: dict[str, Lived]) -> None:
    """The k-th draw of a device is the same for protocols that draw alike."""
    drawn = [lived[name].heard[0].minibatches for name in ("fedavg", "dpsgd", "gossip")]
    for ours, theirs in combinations(drawn, 2):
        for device in DEVICES:
            rounds = list(zip(ours[device], theirs[device]))
            assert len(rounds) >= 3
            assert all(torch.equal(a, b) for a, b in rounds)


def test_another_device_shifts_nobody_elses_world() -> None:
    """The split is another matter: seven devices share the data otherwise than five do."""
    few = Lived(cell()).run
    many = Lived(cell("devices.walkers.count=7")).run
    assert world_of(few, [*DEVICES, few.world.server_index]) == world_of(many, [*DEVICES, many.world.server_index])
    for i in DEVICES:
        assert few._jitter(i)() == many._jitter(i)()
        assert torch.equal(*(value_of(run.learning.initial_parameters(i)()) for run in (few, many)))
        for name, ids in (("learner", (i,)), ("batches", (i,)), ("forced_loss", (i, 0))):
            assert few.streams(name, *ids).random() == many.streams(name, *ids).random()


def test_nodes_are_given_streams_that_follow_their_id_alone() -> None:
    """What a program draws from `node.rng`, with 5 and with 7 devices."""
    runs = [Run(cell(f"devices.walkers.count={n}"), "null", None, None, None, None) for n in (5, 7)]
    few, many = ({node.id: node.rng.random() for node in run.driver.nodes} for run in runs)
    assert set(few) == {0, 1, 2, 3, 4, SERVER}
    assert all(few[i] == many[i] for i in range(5))
    assert len(set(many.values())) == 8


def test_recording_more_changes_no_event() -> None:
    plain = simulate(cell())
    more = ["output.topology_every_s=0.1", "evaluation.every_s=0.05", "evaluation.targets.accuracy=[0.5]"]
    recorded = simulate(cell(*more))
    assert len(recorded.snapshot_time_s) > len(plain.snapshot_time_s)
    assert plain.event_digest == recorded.event_digest
    assert plain.simulated_s == recorded.simulated_s
    assert plain.accuracy[-1] == recorded.accuracy[-1]


@pytest.mark.parametrize("part", ["data", "radio", "learner"])
def test_each_seed_changes_its_own_part_only(part: str) -> None:
    base = Run(cell(), "null", None, None, None, None)
    changed = Run(cell(f"seeds.{part}=99"), "null", None, None, None, None)
    everyone = list(range(6))
    same = {
        "data": all(map(np.array_equal, base.learning.parts, changed.learning.parts)),
        "radio": world_of(base, everyone) == world_of(changed, everyone),
        "learner": base.driver.nodes[0].rng.random() == changed.driver.nodes[0].rng.random(),
    }
    assert same == {name: name != part for name in same}

"""HierFAVG: the specification's example, FedAvg as its special case, a plain twin; edges, hand-over and the books of the backhaul."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.federated.fedavg import FedAvg
from learners.federated.hierfavg import HierFavg
from learners.protocol import SERVER
from tests.contract.recording import record, value_of
from tests.contract.worlds import KEYS, calm
from tests.learners.oracle_runs import Minibatches, Overheard, Quadratics, digits_task, run, zeros
from wsim.engine import simulate
from wsim.errors import ScenarioError

CLIENTS = [0, 1, 2], [3, 4], []
"""Of three edges, the last of which serves nobody."""
NUM_PARAMS = 8 * 8 + 8 + 8 * 4 + 4  # of the calm world's model


def hier(task: Any, num_rounds: int, **options: Any) -> HierFavg:
    options = {"codec": Float32(), "learning_rate": 0.1, "batch_size": 16, "local_steps": 2} | options
    return HierFavg(task, num_rounds=num_rounds, **options)


def test_the_specifications_example(executor: Any) -> None:
    """Clients that end at 1, 2 | 3, 6 with 10, 30 | 20, 40 samples: edges at 1.75 and 5, the cloud at 3.7. (One full step at rate
    1 on (x - b)^2 / 2 ends at b.) Edges answer with 70 / 40 and 300 / 60 of samples, so only the right weights give 3.7."""
    sizes, ends = [10, 30, 20, 40], [1.0, 2.0, 3.0, 6.0]
    places = np.split(np.arange(100), np.cumsum(sizes)[:-1])
    task = Quadratics([1.0] * 100, np.repeat(ends, sizes).tolist())
    codec = Overheard()
    learner = hier(task, 1, codec=codec, learning_rate=1.0, batch_size=64, local_steps=1, edge_rounds=1)
    models = run(learner, executor, [place.tolist() for place in places], zeros(4), edges=[[0, 1], [2, 3]])
    assert models[SERVER] == pytest.approx(np.array([[3.7]]), abs=1e-12)
    second = hier(task, 1, codec=codec, learning_rate=1.0, batch_size=64, local_steps=1, edge_rounds=2)
    codec.sent.clear()
    run(second, executor, [place.tolist() for place in places], zeros(4), edges=[[0, 1], [2, 3]])
    by_edge = {id: executor.materialize([x for sender, x in codec.sent if sender == id]) for id in (4, 5)}
    assert [float(x) for x in by_edge[4]] == pytest.approx([0.0, 1.75])  # what it sends in both of its rounds
    assert [float(x) for x in by_edge[5]] == pytest.approx([0.0, 5.0])


def test_the_cloud_weighs_edges_by_the_samples_behind_all_their_updates(executor: Any) -> None:
    """One client of each edge in turn, two edge rounds: edges end at 2 and 6, their last clients', after 10 + 30 and 20 + 40
    samples, so the cloud is at 4.4; by the last edge round's samples alone it were at 4.29."""
    sizes, ends = [10, 30, 20, 40], [1.0, 2.0, 3.0, 6.0]
    places = np.split(np.arange(100), np.cumsum(sizes)[:-1])
    task = Quadratics([1.0] * 100, np.repeat(ends, sizes).tolist())
    options = {
        "learning_rate": 1.0,
        "batch_size": 64,
        "local_steps": 1,
        "clients_per_round": 1,
        "selection": "round_robin",
    }
    learner = hier(task, 1, edge_rounds=2, **options)
    models = run(learner, executor, [place.tolist() for place in places], zeros(4), edges=[[0, 1], [2, 3]])
    assert models[SERVER] == pytest.approx(np.array([[4.4]]), abs=1e-12)


def test_one_edge_round_is_fedavg(executor: Any) -> None:
    """Uneven shares, momentum, unequal edges: the same models of the cloud as of FedAvg's server, up to the order of sums."""
    world = Minibatches(5, same_start=True)
    options: dict[str, Any] = {
        "codec": Float32(),
        "learning_rate": 0.1,
        "batch_size": 16,
        "local_steps": 3,
        "momentum": 0.5,
    }
    flat = run(FedAvg(digits_task(), num_rounds=4, **options), executor, world.parts, world.initial)
    learner = HierFavg(digits_task(), num_rounds=4, edge_rounds=1, **options)
    tree = run(learner, executor, world.parts, world.initial, edges=CLIENTS)
    assert np.abs(tree[SERVER] - flat[SERVER]).max() < 1e-12
    assert np.abs(np.diff(flat[SERVER], axis=0)).max() > 1e-3


def test_two_edge_rounds_against_a_plain_twin(executor: Any) -> None:
    """Three rounds of the cloud, two of the edges in each, two local steps, written out."""
    world, task = Minibatches(5, same_start=True), digits_task()
    streams = [
        BatchStream(np.array(part), np.random.default_rng(i), torch.float64) for i, part in enumerate(world.parts)
    ]
    sizes = [len(part) for part in world.parts]
    w, expected = world.initial[0], []
    for _ in range(3):
        edges = []
        for clients in CLIENTS[:2]:
            at_edge = w
            for _ in range(2):
                total = torch.zeros_like(w)
                for i in clients:
                    draw, x = streams[i].draw(16, steps=2), at_edge
                    for step in range(2):
                        x = x - 0.1 * task.gradient(x, draw.indices[step], draw.weights[step])
                    total += sizes[i] * x
                at_edge = total / sum(sizes[i] for i in clients)
            edges.append(sum(sizes[i] for i in clients) * at_edge)
        w = sum(edges) / sum(sizes)
        expected.append(w.numpy())
    models = run(hier(task, 3), executor, world.parts, world.initial, edges=CLIENTS)[SERVER]
    assert np.abs(models - np.array(expected)).max() < 1e-12


def test_the_schedule_counts_rounds_of_the_cloud(executor: Any) -> None:
    """Rates 0.1, 0.01 with a drop after the first round: x <- (1 - rate) x twice in each, towards 0."""
    task = Quadratics([1.0], [0.0])
    keys = {"learning_rate_schedule": "step", "decay_rounds": 1, "local_steps": 1, "batch_size": 1}
    start = [torch.ones(1, dtype=torch.float64)]
    models = run(hier(task, 2, **keys), executor, [[0]], start, edges=[[0]])[SERVER]
    assert models[:, 0] == pytest.approx([0.9**2, 0.9**2 * 0.99**2], abs=1e-14)


def test_bits_are_those_of_the_specification() -> None:
    """A round: kappa_2 models down and up a client on the air, one to and from each edge on the wire, with a number upwards. All
    in one packet, 44 bytes of header each."""
    run, recording = record(calm("hierfavg", "algorithm.edge_rounds=3"), "null")
    rounds, clients, edges = 5, 6, 2
    assert run.payload_bits == rounds * 3 * 2 * clients * 32 * NUM_PARAMS
    assert run.backhaul_bits == rounds * edges * (2 * (32 * NUM_PARAMS + 44 * 8) + 32)
    assert run.messages_sent == rounds * (3 * 2 * clients + 2 * edges)
    assert run.node_names[-3:] == ["station 0", "station 1", "server"]
    assert run.radio_s[-1, :3].sum() == 0.0  # the server has no radio
    served = [set(recording.nodes[id].devices) for id in (6, 7)]
    assert served[0] | served[1] == set(range(6))
    assert not served[0] & served[1]


def test_an_edge_goes_on_when_its_own_clients_have_answered() -> None:
    """Devices of very different speed: one edge is through with both of its rounds while the other one has to begin its second."""
    keys = ["devices.0.compute.spread_sigma_ln=3.0", "devices.0.compute.effective_flops=1e4", "stop.rounds=1"]
    trace: list[Any] = []
    record(calm("hierfavg", *keys), "null", trace=trace)
    sends = [(line[0], line[3]) for line in trace if line[1] == "send" and line[0] in (6, 7)]
    first = next(edge for edge, kind in sends if kind == "edge model")
    assert sends.index((first, "edge model")) < len(sends) - 1 - sends[::-1].index((13 - first, "model"))


WALK = "0,0.0,-30,0\n0,0.05,-30,0\n0,0.1,30,0\n" + "".join(
    f"{i},0.0,{x},0\n" for i, x in enumerate((-25, -20, 20, 25, 30), 1)
)


def test_a_client_answers_who_invited_it_and_then_belongs_to_the_next(tmp_path: Path) -> None:
    """Device 0 walks from station 0 to station 1 while it trains: its update reaches the first edge by the second station and the
    backhaul, and from then on it is the second edge's."""
    file = tmp_path / "walk.csv"
    file.write_text(WALK)
    moves = [
        f'devices.0.mobility={{kind="trace", file="{file}"}}',
        "cells.update_every_s=0.01",
        "algorithm.edge_rounds=1",
    ]
    run, recording = record(calm("hierfavg", *moves, "algorithm.local_steps=20"))
    answers = [line[1] for line in recording.traces[0] if line[0] == "send"]
    assert answers == [(6,), (7,), (7,), (7,), (7,)]
    stays, _ = record(calm("hierfavg", "algorithm.edge_rounds=1", "algorithm.local_steps=20"), "null")
    assert run.backhaul_bits - stays.backhaul_bits == 32 * NUM_PARAMS + 44 * 8
    assert run.eval_round[-1] == 5


def test_edges_may_send_float32_beside_any_codec() -> None:
    """Of a round, in which each of six devices gets and sends two models: int8 both ways, or on the way up alone."""
    runs = {}
    for downlink in ("auto", "float32"):
        keys = ["codec.name=int8_affine", f"algorithm.downlink_codec={downlink}", "stop.rounds=1"]
        runs[downlink] = record(calm("hierfavg", *keys), "null")[1].sent
    int8 = min(payload.num_bits for payload in runs["auto"])
    assert sum(payload.num_bits == int8 for payload in runs["float32"]) == 2 * 6
    assert sum(payload.num_bits == int8 for payload in runs["auto"]) > 2 * 6


@pytest.mark.parametrize("selection", ["loss", "deadline"])
def test_an_edge_asks_its_own_clients(selection: str) -> None:
    """In each of its rounds an edge asks all of its clients, hears from all, and one trains: by loss the one with the highest."""
    keys = [f"algorithm.selection={selection}", "algorithm.clients_per_round=1", "algorithm.candidates_per_round=6"]
    run, recording = record(calm("hierfavg", *keys, "algorithm.deadline_s=5.0", "stop.rounds=2"))
    assert run.eval_round[-1] == 2
    reports = [message for message in recording.received if message.kind == "report"]
    for edge in (6, 7):
        clients = tuple(sorted(recording.nodes[edge].devices))
        sends = [line[1:4] for line in recording.traces[edge] if line[:1] == ("send",) and line[2] == "model"]
        assert sends[::2] == [(clients, "model", 2 * number) for number in range(4)]
        for number, (chosen, _, invitation) in enumerate(sends[1::2]):
            assert invitation == 2 * number + 1
            told = {m.sender: value_of(m.data) for m in reports if m.round == number and m.sender in clients}
            assert set(told) == set(clients)
            assert set(chosen) <= set(clients)
            assert len(chosen) == 1
            if selection == "loss":
                assert chosen[0] == max(told, key=lambda client: float(told[client]))


@pytest.mark.parametrize("seed", [1, 4])
def test_a_client_that_two_edges_ask_answers_both(seed: int) -> None:
    """Devices that run to and fro between the stations, and no deadline: nobody is forgotten, or an edge would wait for ever."""
    keys = [
        'devices.0.mobility={kind="random_waypoint", speed_mps=[20.0, 40.0], pause_s=[0.0, 0.0]}',
        'cells={layout="positions", positions_m=[[-40.0, 0.0], [40.0, 0.0]], hysteresis_db=0.0, update_every_s=0.01}',
        "devices.0.compute.effective_flops=2e4",
        "algorithm.selection=loss",
        "algorithm.clients_per_round=2",
        f"scenario.seed={seed}",
    ]
    run = simulate(calm("hierfavg", *keys, "area.side_m=150", "stop.rounds=6"), "null")
    assert run.stop_reason == "rounds"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["cells=none"], '[algorithm] name = "hierfavg": averages at the base stations of [cells], which is missing'),
        (["algorithm.edge_rounds=0"], "edge_rounds"),
        (["algorithm.uplink=aircomp"], "digital"),
    ],
)
def test_bad_input_is_one_clear_line(keys: list[str], says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        calm("hierfavg", *keys)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_one_station_is_one_edge() -> None:
    """Two edge rounds of FedAvg a round: the same models, every second."""
    one = 'cells={layout="positions", positions_m=[[0.0, 0.0]]}'
    assert "hierfavg" in KEYS
    _, tree = record(calm("hierfavg", one, "stop.rounds=2"))
    _, flat = record(calm("fedavg", one, "mac.kind=fdma", "stop.rounds=4"))
    ours, theirs = ([x for node, _, x in runs.reported if node == SERVER] for runs in (tree, flat))
    for mine, his in zip(ours, theirs[1::2], strict=True):
        assert float((mine.tensor() - his.tensor()).abs().max()) < 1e-12

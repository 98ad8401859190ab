"""Named random streams: what one purpose draws never shifts what another one draws."""

from __future__ import annotations

import numpy as np
import pytest

from channels.counter import uniform
from tests.wsim.builders import play, waits
from tests.wsim.test_closing import BASE, LEARNERS, SERVER
from wsim.engine import Run
from wsim.scenario import load_text
from wsim.streams import PURPOSES, Streams

NAMES = [name for names in PURPOSES.values() for name in names]


def test_a_stream_is_the_same_whoever_asks_in_whatever_order():
    first, second = Streams(5), Streams(5)
    forward = {(name, i): first(name, i).random(4).tolist() for name in NAMES for i in range(3)}
    backward = {(name, i): second(name, i).random(4).tolist() for name in reversed(NAMES) for i in (2, 0, 1)}
    assert forward == backward
    assert len({tuple(values) for values in forward.values()}) == len(forward)


def test_streams_are_uncorrelated():
    """Correlation of two independent sequences of n numbers has a standard error of 1 / sqrt(n)."""
    n = 4000
    draws = np.array(
        [Streams(1)(name, i).standard_normal(n) for name in ("mobility", "batches", "jitter") for i in range(4)]
    )
    off_diagonal = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    assert np.abs(off_diagonal).max() < 4 / np.sqrt(n)


def test_a_seed_of_its_own_shifts_only_its_purposes():
    base, other = Streams(1), Streams(1, radio=2)
    for purpose, names in PURPOSES.items():
        for name in names:
            same = base(name, 3).random() == other(name, 3).random()
            assert same == (purpose != "radio")
            assert (base.key(name) == other.key(name)) == same


def test_an_unlisted_name_is_an_error():
    with pytest.raises(KeyError):
        Streams(1)("surprise")


def test_keys_of_neighboring_ids_give_unrelated_counters():
    keys = [Streams(1).key("channel", i) for i in range(1000)]
    assert len(set(keys)) == 1000
    first = np.array([float(uniform(key, np.array([7]))[0]) for key in keys])
    assert first.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * 1000))


def world_of(changes: list[str]) -> tuple[Run, np.ndarray, np.ndarray]:
    """A run to its end, positions [9, times, 3] and gains [8, cells] of the links 0 -> 1 .. 8."""
    run = Run(load_text(BASE, changes), "null", None, None, None, None)
    run.go()
    places = run.world.positions.at(np.arange(9), np.array([0.0, 1.7, 9.3]))
    gains = run.world.links.channel.gain(np.zeros(8, dtype=int), np.arange(1, 9), 0, 200)
    return run, places, gains


COMMON = [
    "stop.simulated_s=2.0",
    "channel.fading={kind='rayleigh', block_s=0.05}",
    "channel.shadowing={sigma_db=4.0, correlation_m=20.0}",
    "devices.some.mobility={kind='random_waypoint', speed_mps=[1.0, 5.0]}",
]


def test_two_learners_on_one_seed_meet_the_same_world():
    """Positions, gains, data splits, processor speeds and initial weights at equal times, bit for bit."""
    (dpsgd, places, gains), (gossip, same_places, same_gains) = (
        world_of([*COMMON, *LEARNERS[name]]) for name in ("dpsgd", "gossip")
    )
    assert np.array_equal(places, same_places)
    assert np.array_equal(gains, same_gains)
    for part, same in zip(dpsgd.learning.parts, gossip.learning.parts, strict=True):
        assert np.array_equal(part, same)
    assert np.array_equal(dpsgd.world.effective_flops, gossip.world.effective_flops)
    tasks = [run.learning.task.initial_parameters(run.streams("initial_parameters", 0)) for run in (dpsgd, gossip)]
    assert bool((tasks[0] == tasks[1]).all())


def test_recording_more_shifts_nothing():
    plain = world_of([*COMMON, *LEARNERS["gossip"]])[0].record()
    recorded = world_of([*COMMON, *LEARNERS["gossip"], "output.topology_every_s=0.1", "evaluation.every_s=0.15"])[
        0
    ].record()
    assert len(recorded.snapshot_time_s) > len(plain.snapshot_time_s)
    assert recorded.event_digest == plain.event_digest


def test_another_device_shifts_nobody_else():
    more = [*COMMON, *LEARNERS["dpsgd"], "devices.some.count=10"]
    _, places, gains = world_of([*COMMON, *LEARNERS["dpsgd"]])
    _, more_places, more_gains = world_of(more)
    assert np.array_equal(places, more_places)
    assert np.array_equal(gains, more_gains)


def test_a_server_shifts_no_device():
    _, places, gains = world_of([*COMMON, *LEARNERS["dpsgd"]])
    loaded = load_text(BASE, [*COMMON, *LEARNERS["fedavg"], "phy.duplex=tdd"])
    run = Run(loaded, "null", None, None, None, None)
    assert loaded.scenario.server is not None
    assert SERVER in LEARNERS["fedavg"]
    assert np.array_equal(run.world.positions.at(np.arange(9), np.array([0.0, 1.7, 9.3])), places)
    assert np.array_equal(run.world.links.channel.gain(np.zeros(8, dtype=int), np.arange(1, 9), 0, 200), gains)


def test_toy_programs_draw_from_their_own_node():
    drawn: dict[int, float] = {}

    def program(node):
        drawn[node.id] = float(node.rng.random())
        yield from waits(0.1)(node)

    from tests.wsim.builders import peers

    play(peers([(0, 0), (10, 0), (20, 0)]), program)
    assert drawn == {i: float(Streams(1)("learner", i).random()) for i in range(3)}

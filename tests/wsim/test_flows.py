"""Pairs of devices: disjoint, greedy by mean SNR at full power, a function of (seed, time); and what programs see of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from learners.protocol import Actuate, Observe, Report
from wsim.clock import to_ns
from wsim.engine import Run, simulate
from wsim.errors import SimulationError
from wsim.flows import HEARD_DB
from wsim.scenario import Loaded, load_text

MOVING = """
[scenario]
name = "moving"
[stop]
rounds = 1
[area]
shape = "square"
side_m = 300.0
[data]
name = "gaussian_mixture"
num_samples = 400
num_features = 8
num_classes = 4
[[devices]]
name = "walkers"
count = 14
mobility = { kind = "random_waypoint", speed_mps = [5.0, 10.0] }
radio = { tx_power_dbm = 10.0 }
compute = { effective_flops = 1e9 }
[[devices]]
name = "strong"
count = 3
radio = { tx_power_dbm = 16.0 }
compute = { effective_flops = 1e9 }
[channel]
carrier_hz = 3.5e9
bandwidth_hz = 1e7
path_loss = { kind = "log_distance", exponent = 3.5, reference_loss_db = 43.0 }
shadowing = { kind = "lognormal", sigma_db = 6.0, correlation_m = 20.0 }
fading = { kind = "rayleigh", correlation = "block", block_s = 0.05 }
[mac]
kind = "ideal"
[topology]
kind = "radio"
neighbor_mean_snr_db = 5.0
update_every_s = 0.5
[observation]
delay_s = 0.25
energy_j = 0.5
[algorithm]
name = "local_only"
learning_rate = 0.1
batch_size = 16
local_steps = 1
"""


def moving(*overrides: str) -> Loaded:
    return load_text(MOVING, overrides)


def run_of(*overrides: str) -> Run:
    return Run(moving(*overrides), "null", None, None, None, None)


def snr_db(run: Run, time_s: float) -> np.ndarray:
    """[n, n] mean SNR at full power, of every pair in its weaker direction."""
    links, n = run.world.links, run.world.num_devices
    a, b = np.triu_indices(n, 1)
    weaker = np.minimum(links.mean_cn0(a, b, time_s), links.mean_cn0(b, a, time_s)) / 1e7
    found = np.full((n, n), -np.inf)
    found[a, b] = found[b, a] = 10 * np.log10(weaker)
    return found


def greedy(run: Run, time_s: float, least_db: float) -> list[tuple[int, int]]:
    left, pairs = snr_db(run, time_s), []
    while left.max() >= least_db:
        a, b = sorted(int(end) for end in np.unravel_index(left.argmax(), left.shape))
        pairs.append((a, b))
        left[[a, b]] = left[:, [a, b]] = -np.inf
    return pairs


def test_pairs_are_the_greedy_matching_at_full_power() -> None:
    run = run_of()
    times = [0.0, 0.5, 7.0, 30.5]
    found = [run.flows.at(time_s) for time_s in times]
    for time_s, pairs in zip(times, found, strict=True):
        assert [tuple(pair) for pair in pairs.tolist()] == greedy(run, time_s, 5.0)
        assert len(np.unique(pairs)) == pairs.size  # disjoint
        assert (pairs[:, 0] < pairs[:, 1]).all()
    assert not np.array_equal(found[0], found[-1])
    assert len(found[0]) >= 3


def test_pairs_depend_on_seed_and_time_alone() -> None:
    times = np.arange(0, 20, 0.25)
    forth, back = run_of(), run_of()
    pairs = {time_s: forth.flows.at(time_s).tolist() for time_s in times}
    for node in (0, 3):
        back.world.links.set_power(node, 0.0)  # what is set now does not count
    assert {time_s: back.flows.at(time_s).tolist() for time_s in times[::-1]} == pairs
    assert all(pairs[t] == pairs[math.floor(t * 2) / 2] for t in times)  # from one look to the next
    assert {time_s: run_of("scenario.seed=2").flows.at(time_s).tolist() for time_s in times} != pairs


@pytest.mark.parametrize("max_scale", [1, 3, 20])
def test_objects_are_the_own_pair_and_those_within_reach_of_it(max_scale: int) -> None:
    run = run_of()
    for time_s in (0.0, 4.0):
        strengths, pairs = snr_db(run, time_s), greedy(run, time_s, 5.0)
        in_pairs = {end for pair in pairs for end in pair}
        whos = [*pairs, *((i,) for i in range(run.world.num_devices) if i not in in_pairs)]
        expected = []
        for who in whos:
            reach = {pair: max(strengths[a, b] for a in who for b in pair) for pair in pairs if pair != who}
            near = sorted((pair for pair, best in reach.items() if best >= 5.0), key=lambda pair: -reach[pair])
            objects = ([who] if len(who) == 2 else []) + near
            if objects:
                expected.append((who, objects[:max_scale]))
        found = [
            (owner.devices, [tuple(o) for o in owner.objects.tolist()]) for owner in run.flows.owners(time_s, max_scale)
        ]
        assert found == expected
    if max_scale == 20:
        assert len({len(objects) for _, objects in found}) > 2


def test_a_rate_is_that_of_all_senders_at_once_with_their_present_powers() -> None:
    run = run_of()
    links, time_s = run.world.links, 3.1
    pairs, strengths = greedy(run, 3.0, 5.0), snr_db(run, 3.0)
    links.set_power(pairs[0][0], links.tx_power_w[pairs[0][0]] / 10)
    links.set_power(pairs[1][0], 0.0)
    cell = to_ns(time_s) // links.cell_ns

    def cn0(tx: int, rx: int) -> float:
        return float(links.cn0(np.array([tx]), np.array([rx]), cell, 1)[0, 0])

    for sender, receiver in pairs:
        others = [j for j, _ in pairs if j != sender and strengths[j, receiver] >= HEARD_DB]
        sinr = cn0(sender, receiver) / 1e7 / (1 + sum(cn0(j, receiver) / 1e7 for j in others))
        assert run.flows.rate(sender, time_s) == pytest.approx(math.log2(1 + sinr), rel=1e-12)
        assert run.flows.rate(receiver, time_s) == run.flows.rate(sender, time_s)
    assert run.flows.rate(pairs[1][0], time_s) == 0.0
    idle = set(range(17)) - {end for pair in pairs for end in pair}
    assert [run.flows.rate(device, time_s) for device in idle] == [None] * len(idle)


class Looks:
    """Every device looks at its pair, sets no power at all, and looks at gains and rates."""

    uses_server = False
    synchronous = False
    value_dependent = False
    sends = False
    only_trains = True

    def __init__(self) -> None:
        self.seen: dict[int, list[object]] = {}

    def program(self, node):  # type: ignore[no-untyped-def]
        seen = self.seen[node.id] = [(yield Observe("link"))]
        seen.append((yield Observe("time")))
        yield Actuate("power", -math.inf)
        pair = seen[0]
        if pair is not None:
            peer = sum(pair) - node.id
            seen.append((yield Observe("gain", peer)))
        before = yield Observe("time")
        seen.append((yield Observe("link_rate")))
        assert (yield Observe("time")) == before + 0.25  # a look at the clock costs its delay, the record nothing
        yield Report("model", node.initial_parameters)


def test_programs_see_their_pair_and_gains_of_silent_devices() -> None:
    looks = Looks()
    record = simulate(moving(), learner=lambda task, codec, rounds: looks)
    run = run_of()
    pairs = dict.fromkeys(range(17))
    pairs |= {end: pair for pair in greedy(run, 0.0, 5.0) for end in pair}
    links = run.world.links
    for device, (pair, time_s, *rest) in looks.seen.items():
        assert pair == pairs[device]
        assert time_s == 0.25  # looking takes that long, and shows what was there at first
        if pair is not None:
            other = np.array([sum(pair) - device])
            gain = links.channel.gain(np.array([device]), other, int(0.5 / 0.05), 1)[0, 0]
            assert rest[0] == pytest.approx(10 * math.log10(gain), rel=1e-12)
            assert rest[1] == 0.0
    assert record.energy_j.sum() > 0


def test_programs_measure_snrs_of_others_at_their_full_power() -> None:
    """Of what the other sends, here; whatever its power is set to."""
    seen: dict[int, tuple[float, float]] = {}

    class Measures(Looks):
        def program(self, node):  # type: ignore[no-untyped-def]
            largest_dbm = yield Observe("max_power")
            yield Actuate("power", largest_dbm - 30)
            seen[node.id] = largest_dbm, (yield Observe("snr", (node.id + 1) % 17))
            yield Report("model", node.initial_parameters)

    simulate(moving("observation.delay_s=0"), learner=lambda task, codec, rounds: Measures())
    run = run_of()
    for device, (largest_dbm, snr) in seen.items():
        assert largest_dbm == (10.0 if device < 14 else 16.0)
        assert snr == run.flows.snr(np.array([(device + 1) % 17]), np.array([device]), 0.0)[0]


def test_the_words_are_in_the_message_for_others() -> None:
    class Asks(Looks):
        def program(self, node):  # type: ignore[no-untyped-def]
            yield Observe("links")

    with pytest.raises(SimulationError, match="link, link_rate"):
        simulate(moving(), learner=lambda task, codec, rounds: Asks())

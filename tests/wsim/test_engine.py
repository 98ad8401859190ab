"""A run ends, or says why it cannot; what it measures on the way agrees with what it leaves at the end."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learners.protocol import SERVER, Receive, Report, Service, Sleep
from wsim import engine
from wsim.engine import simulate
from wsim.errors import SimulationError
from wsim.record import RADIO_STATES
from wsim.scenario import load

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.toml"
WEAK = ("devices.walkers.count=6", "devices.walkers.radio.tx_power_dbm=-10.0")  # their uplinks stall now and then


@dataclass(frozen=True)
class Toy:
    """Runs the generators of `programs`, by node id."""

    programs: dict[int, Any]
    uses_server = True
    synchronous = False
    value_dependent = False

    def program(self, node):
        return self.programs[node.id](node) if node.id in self.programs else Service(waits(node))


def waits(node):
    yield Receive([SERVER if node.id != SERVER else 0], "never", 0)


def estimate(*changes, programs=None):
    learner = None if programs is None else Toy(programs)
    return simulate(load(QUICKSTART, [*WEAK, *changes]), executor="null", learner=learner)


@pytest.mark.parametrize(
    "recurring",
    ["evaluation.every_rounds=1", "evaluation={every_s=0.3}", "output.topology_every_s=0.3", "stop.simulated_s=9"],
)
def test_a_deadlock_is_named_whatever_recurs(recurring):
    with pytest.raises(SimulationError, match="server waits for 'never' of round 0 from 0"):
        estimate(recurring, programs={SERVER: waits})


def test_a_service_may_wait_for_ever():
    def main(node):
        yield Sleep(0.5)

    record = estimate(programs={SERVER: main})
    assert (record.simulated_s, record.stop_reason) == (0.5, "finished")


@pytest.mark.parametrize(("with_server", "expected_s"), [(True, [0.05, 0.1]), (False, [0.25, 0.5])])
def test_the_server_closes_the_rounds_else_all_who_take_part(with_server, expected_s):
    """The server reports after 0.05 s and 0.1 s; devices 0 and 1 after 0.1 s and 0.2 s, and 0.25 s and 0.5 s."""

    def reports_every(period_s):
        def main(node):
            for _ in range(2):
                yield Sleep(period_s)
                yield Report("model", None)

        return main

    programs = {0: reports_every(0.1), 1: reports_every(0.25)} | {i: lambda node: () for i in range(2, 6)}
    programs[SERVER] = reports_every(0.05) if with_server else lambda node: ()
    record = estimate("stop.rounds=2", "evaluation.every_rounds=1", programs=programs)
    assert record.eval_round.tolist() == [1, 2]
    assert record.eval_time_s == pytest.approx(expected_s)


def test_a_program_that_takes_no_time_is_stopped(monkeypatch):
    def restless(node):
        while True:
            yield Sleep(0.0)

    monkeypatch.setattr("wsim.driver.driver.MAX_REQUESTS", 1000)
    with pytest.raises(SimulationError, match="node 0 has made 1,000 requests at 0 s"):
        estimate(programs={0: restless})


def test_work_takes_time_however_fast_the_processor():
    record = estimate("stop.rounds=2", "devices.walkers.compute={effective_flops=1e18}")
    assert record.processor_s[:6, 0] == pytest.approx(np.full(6, 2e-9), abs=1e-12)


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
def test_cumulative_joules_never_fall_and_end_at_the_total(mac):
    record = estimate(f"mac.kind={mac}", "stop={simulated_s=5.017}", "evaluation={every_s=0.007}", "phy.min_snr_db=3.0")
    assert record.radio_s[:6, RADIO_STATES.index("accessing")].sum() > 0.05  # some have stalled
    assert np.diff(record.eval_energy_j, axis=0).min() >= -1e-12
    assert np.diff(record.eval_on_air_bits).min() >= 0
    assert record.eval_energy_j[-1].sum() == pytest.approx(record.total_energy_j, rel=1e-12)
    assert record.eval_on_air_bits[-1] == record.on_air_bits


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
@pytest.mark.parametrize("limit", [1.0e6, 7.654321e6])
def test_a_run_stops_at_the_bit_that_meets_its_limit(mac, limit):
    record = estimate(f"mac.kind={mac}", f"stop={{air_bits={limit!r}}}")
    assert record.stop_reason == "air_bits"
    assert record.on_air_bits == pytest.approx(limit, abs=8)  # a bit or so for each transfer that was cut short


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
def test_a_run_stops_at_the_instant_at_which_its_joules_are_spent(mac):
    record = estimate(f"mac.kind={mac}", "stop={energy_j=2.5}")
    assert record.stop_reason == "energy_j"
    assert record.total_energy_j == pytest.approx(2.5, rel=1e-7)


def test_links_that_stay_dead_end_the_run(monkeypatch):
    """Walkers' links change for ever and carry nothing."""
    monkeypatch.setattr("wsim.limits.STARVED_S", 60)
    with pytest.raises(SimulationError, match="no link has carried a bit for 60 s of simulated time"):
        estimate(
            "devices.walkers.radio.tx_power_dbm=-60.0", "server.radio.tx_power_dbm=-60.0", "devices.walkers.count=1"
        )


@pytest.fixture(params=[False, True], ids=["", "frozen"])
def frozen(request, monkeypatch):
    """Whether the process has frozen its objects before the run, as the tests' has."""
    monkeypatch.setattr(engine, "_frozen", False)
    gc.freeze() if request.param else gc.unfreeze()
    yield request.param
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def test_a_later_run_frees_the_worlds_of_earlier_ones(frozen, monkeypatch):
    worlds = []
    build_world = engine.build_world

    def watched(*args):
        world = build_world(*args)
        worlds.append(weakref.ref(world))
        return world

    monkeypatch.setattr(engine, "build_world", watched)
    monkeypatch.setattr(engine, "_COLLECT_EVERY_S", 0.0)
    for _ in range(3):
        simulate(load("dpsgd_ring", ["stop.rounds=1"]), executor="null")
    assert [world() is None for world in worlds[:2]] == [True, True]
    assert (gc.get_freeze_count() > 0) == frozen

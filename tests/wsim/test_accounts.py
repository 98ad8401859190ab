"""The timelines and the joules, at their source."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.protocol import SERVER, Compute, Observe, Receive
from tests.wsim.builders import ACTIVE_W, RX_W, arrivals, cell, coded_bits, play, rate_bps, sends
from wsim.accounts import ACCESS, BOTH, LISTEN, RX, TX, Processors, Radios

NS_PER_S = 10**9


@st.composite
def share_changes(draw: st.DrawFn) -> tuple[bool, list[tuple[int, float, float, int]]]:
    """Whether the radio is full duplex, and (elapsed ns, tx share, rx share, transfers that wait) from then on."""
    full_duplex = draw(st.booleans())
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        tx = draw(st.sampled_from([1.0, 0.5, 0.0, 1 / 3]))
        rx = draw(st.sampled_from([0.5, 1 / 3, 1 / 7, 0.0] if full_duplex else [0.0, (1 - tx) / 2, 1 - tx]))
        steps.append((draw(st.integers(1, 9)), tx, rx, draw(st.integers(0, 2))))
    return full_duplex, steps


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(share_changes())
def test_every_nanosecond_of_a_radio_has_one_state(changes):
    """By arrays and one by one alike: no state is negative, together they are the time that has passed."""
    full_duplex, steps = changes
    for one_by_one in (True, False):
        radios = Radios(np.array([full_duplex]), np.array([2.0]))
        now = 0
        for elapsed, tx, rx, waiting in steps:
            radios.change(
                0, now, tx=tx - radios.tx_share[0], rx=rx - radios.rx_share[0], waiting=waiting - int(radios.waiting[0])
            )
            now += elapsed
            before = radios.state_ns.copy()
            if one_by_one:
                radios.settle_one(0, now)
            else:
                radios.settle(slice(None), now)
            assert (radios.state_ns >= before).all()
            assert radios.state_ns.sum() == now
        on_air_ns = radios.state_ns[TX, 0] + radios.state_ns[BOTH, 0]
        assert radios.tx_j[0] == pytest.approx(on_air_ns * 2.0 / NS_PER_S, rel=1e-12)


def test_a_half_duplex_radio_never_sends_and_receives_at_once():
    for settle in (lambda radios: radios.settle_one(0, 10), lambda radios: radios.settle(slice(None), 10)):
        radios = Radios(np.array([False]), np.array([1.0]))
        radios.change(0, 0, tx=0.7, rx=0.4)
        with pytest.raises(AssertionError, match="half-duplex"):
            settle(radios)


def test_states_of_a_radio_by_hand():
    """1,000 ns: sends a quarter of the time while something waits, then receives half of it, then rests."""
    radios = Radios(np.array([False, True]), np.array([1.0, 1.0]))
    radios.change(0, 0, tx=0.25, waiting=1)
    radios.change(0, 400, tx=-0.25, rx=0.5, waiting=-1)
    radios.change(0, 800, rx=-0.5)
    radios.change(1, 0, tx=0.5, rx=0.5)
    radios.settle(slice(None), 1000)
    assert radios.state_ns[[TX, RX, BOTH, ACCESS, LISTEN], 0].tolist() == [100, 200, 0, 300, 400]
    assert radios.state_ns[[TX, RX, BOTH, LISTEN], 1].tolist() == [250, 250, 250, 250]  # independent halves overlap


def test_jobs_of_a_processor_queue_and_only_the_past_is_counted():
    processors = Processors(2)
    assert processors.run(0, 100, 50) == 150
    assert processors.run(0, 120, 30) == 180
    assert processors.run(1, 0, 10) == 10
    assert [processors.computing_ns(now).tolist() for now in (100, 110, 170, 500)] == [
        [0, 10],
        [10, 10],
        [70, 10],
        [80, 10],
    ]


def test_joules_of_one_upload_by_hand():
    """The device sends for T and rests for T after; the server, counted, receives for T."""
    loaded = cell([0.0], "transport.reliability=none", "server.energy={rx_w=3.0, idle_w=0.5}", mac="fdma")
    seconds = coded_bits(80_000) / rate_bps(0.0)

    def server(node):
        yield from arrivals([], 1)(node)
        yield Receive(None, "never", timeout_s=seconds)

    run = play(loaded, {0: sends(SERVER, 80_000), SERVER: server})
    joules = dict(
        zip(("compute", "transmit", "receive", "listen", "idle", "observe"), run.record().energy_j.T, strict=True)
    )
    assert joules["transmit"][0] == pytest.approx(run.world.tx_w[0] * seconds, rel=1e-6)
    assert joules["idle"] == pytest.approx([0.05 * seconds, 0.5 * seconds], rel=1e-6)
    assert joules["receive"] == pytest.approx([0.0, 3.0 * seconds], rel=1e-6)
    assert joules["listen"].sum() == joules["compute"].sum() == 0.0
    assert RX_W == 0.2


def test_computing_takes_flops_over_speed_and_draws_its_power():
    """The op's counted FLOPs at 1 MFLOP/s; half the work takes half the time."""
    seen: list[float] = []

    def program(node):
        task = run_box[0].learning.task
        x = node.initial_parameters
        batches = node.batches(8, steps=1)
        step = (x, *(column[0] for column in batches.steps), 0.1)
        seen.append(task.sgd_step.flops(*step))
        yield Compute(task.sgd_step, step)
        yield Compute(task.sgd_step, step, work=0.5)
        seen.append((yield Observe("time")))

    run_box: list = []
    run = play(cell([0.0]), {0: program}, hook=run_box.append)
    assert seen[1] == pytest.approx(1.5 * seen[0] / 1e6, abs=2e-9)
    assert run.record().energy_j[0, 0] == pytest.approx(seen[1] * ACTIVE_W, rel=1e-9)


def test_observing_costs_its_time_and_its_joules():
    def program(node):
        for what in ("position", "battery", "time", "membership"):
            yield Observe(what)

    loaded = cell([0.0], "observation={delay_s=0.25, energy_j=0.5}", "devices.d-0.energy.battery_j=10.0")
    record = play(loaded, {0: program}).record()
    assert record.simulated_s == 1.0
    assert record.energy_j[0, -1] == 2.0

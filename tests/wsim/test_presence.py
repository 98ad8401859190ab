"""Devices that join, leave and fail: what happens to their programs, their messages, and to those who wait for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners.protocol import (
    SERVER,
    AwaitJoin,
    Compute,
    Joined,
    Left,
    Observe,
    Outcome,
    Payload,
    Receive,
    Send,
    Sleep,
)
from tests.wsim.builders import ACTIVE_W, IDLE_W, cell, peers, play, rate_bps
from wsim.churn import churn_of
from wsim.errors import ScenarioError, SimulationError
from wsim.record import RADIO_STATES
from wsim.streams import Streams

OFF = RADIO_STATES.index("off")
PAIR = [(0.0, 0.0), (100.0, 0.0)]
THREE = [*PAIR, (50.0, 80.0)]
BITS = 1_000_000  # about 0.3 s at 10 dB


def away(device: int, *times_s: float, first: str = "leave") -> str:
    """A churn file for one device: it leaves, joins, ... at these times."""
    turns = ["leave", "join"] if first == "leave" else ["join", "leave"]
    return "\n".join(f"{device}, {time_s}, {turns[i % 2]}" for i, time_s in enumerate(times_s))


def among(places: list[tuple[float, float]], lines: str, *changes: str, **how: Any) -> Any:
    churn = 'devices.0.churn={kind="schedule", file="churn.csv"}'
    return peers(places, churn, "transport.reliability=arq", *changes, referenced={"churn.csv": lines}, **how)


def times(found: list[Any]) -> Any:
    """A program that sleeps to 0.1 s, 0.2 s, ... and notes who is there."""

    def program(node: Any) -> Any:
        for _ in range(6):
            yield Sleep(0.1)
            found.append(((yield Observe("time")), node.neighbors, (yield Observe("membership"))))

    return program


def test_neighbors_are_those_present_and_changes_are_told_once() -> None:
    seen: list[Any] = []
    play(among(THREE, away(1, 0.15, 0.45) + "\n" + away(2, 0.25, first="join")), {0: times(seen)})
    assert [there for _, there, _ in seen] == [(1,), (), (2,), (2,), (1, 2), (1, 2)]
    assert [changes for _, _, changes in seen] == [(), (Left(1),), (Joined(2),), (), (Joined(1),), ()]


@pytest.mark.parametrize("mac", ["ideal", "shared"])
def test_what_a_device_was_sending_or_getting_is_lost_when_it_leaves(mac: str) -> None:
    """Both directions on the way at 0.1 s. The one who stays hears that its message is lost, at that instant."""
    told: list[Any] = []

    def program(node: Any) -> Any:
        ticket = yield Send(1 - node.id, "m", 0, Payload(None, BITS))
        told.append((node.id, (yield Outcome(ticket)), (yield Observe("time"))))

    run = play(among(PAIR, away(1, 0.1, 0.5), mac=mac), program)
    assert told == [(0, "lost", 0.1), (1, "lost", 0.5)]
    record = run.record()
    assert record.messages_sent == record.messages_lost["departure"] == 2
    links = 2 if mac == "ideal" else 1
    assert record.on_air_bits == pytest.approx(links * 0.1 * rate_bps(10.0), abs=2)
    assert record.radio_s[1, OFF] == pytest.approx(0.4)


def test_a_broadcast_goes_on_for_those_who_stay() -> None:
    got: list[int] = []

    def program(node: Any) -> Any:
        if node.id == 0:
            yield Send((1, 2), "m", 0, Payload(None, BITS), broadcast=True)
            yield Sleep(2.0)
            yield Send((1, 2), "m", 1, Payload(None, BITS), broadcast=True)  # to one who is away
            yield Sleep(1.0)
            return
        received = yield Receive([0], "m", 0, timeout_s=1.9)
        got.extend(node.id for _ in received.messages)

    run = play(among(THREE, away(1, 0.1, 0.2, 1.95), "transport.reliability=none"), program)
    assert got == [2]
    record = run.record()
    assert record.messages_lost["departure"] == 2
    assert record.messages_delivered_used + record.messages_delivered_unused == 2


def test_a_receive_does_not_wait_for_who_goes_or_is_away() -> None:
    answers: list[Any] = []

    def program(node: Any) -> Any:
        if node.id == 0:
            for k in range(2):
                received = yield Receive([1, 2], "m", k)
                answers.append((received.senders, received.missing, (yield Observe("time"))))
        elif node.id == 2:
            for k in range(2):
                yield Send(0, "m", k, Payload(None, 8))
        else:
            yield Sleep(10.0)

    play(among(THREE, away(1, 0.25)), program)
    assert answers == [([2], (1,), 0.25), ([2], (1,), 0.25)]


def test_who_is_back_does_not_wait_for_a_round_that_went_without_it() -> None:
    """Device 1 misses rounds 0 and 1 of device 0; it is told that others are further when the next one comes."""
    answers: list[Any] = []

    def program(node: Any) -> Any:
        if node.id == 0:
            for k in range(4):
                yield Send(node.neighbors, "m", k, Payload(None, 8))
                yield Sleep(0.2)
            return
        node.neighbors  # noqa: B018  # a look, as a learner has at the beginning of a round
        for k in range(2):
            received = yield Receive([0], "m", k)
            answers.append((received.senders, received.newer, round((yield Observe("time")), 3)))

    play(among(PAIR, away(1, 0.0, 0.3)), program)
    assert answers == [([], None, 0.3), ([], None, 0.3)]
    answers.clear()

    def late(node: Any) -> Any:
        if node.id == 1:
            yield Sleep(0.45)
        yield from program(node)

    play(among(PAIR, away(1, 0.1, 0.3)), late)  # round 0 was lost on the way or waits; round 2 has come at 0.4 s
    assert answers[-1] == ([], 2, 0.45)


def test_computing_stands_still_while_away_and_its_joules_too() -> None:
    """An op of T seconds that is interrupted takes T and the time away; only T is drawn, and nothing while off."""
    done: list[float] = []

    def program(node: Any) -> Any:
        task = boxes[0].learning.task
        x, batches = node.initial_parameters, node.batches(8, steps=1)
        yield Compute(task.sgd_step, (x, *(column[0] for column in batches.steps), 0.1))
        done.append((yield Observe("time")))

    boxes: list[Any] = []
    flat = 'devices.0.churn={kind="schedule", leave_s=[%r], join_s=[%r]}'
    play(cell([0.0]), {0: program}, hook=boxes.append)
    boxes.clear()
    run = play(cell([0.0], flat % (done[0] / 4, 1.0)), {0: program}, hook=boxes.append)
    assert done[1] == pytest.approx(done[0] + 1.0 - done[0] / 4, abs=3e-9)
    joules = run.record().energy_j[0]
    assert joules[0] == pytest.approx(ACTIVE_W * done[0], rel=1e-6)
    assert joules.sum() == pytest.approx((ACTIVE_W + IDLE_W) * done[0], rel=1e-6)


def test_sleeps_and_timeouts_go_by_the_clock_while_away() -> None:
    at: list[float] = []

    def program(node: Any) -> Any:
        yield Sleep(0.2)
        at.append((yield Observe("time")))
        yield Receive(None, "never", timeout_s=0.3)
        at.append((yield Observe("time")))
        yield Sleep(1.0)
        at.append((yield Observe("time")))

    play(cell([0.0], 'devices.0.churn={kind="schedule", leave_s=[0.1, 0.6], join_s=[0.5, 0.9]}'), {0: program})
    assert at == [0.5, 0.9, 1.9]


def test_a_server_waits_for_company_and_a_late_program_starts_when_its_device_joins() -> None:
    seen: list[Any] = []

    def server(node: Any) -> Any:
        seen.append(node.devices)
        seen.append((yield AwaitJoin()))
        seen.append((node.devices, (yield Observe("time"))))

    def device(node: Any) -> Any:
        seen.append((yield Observe("time")))

    play(cell([0.0], 'devices.0.churn={kind="schedule", join_s=[0.75]}'), {SERVER: server, 0: device})
    assert seen == [(), 0.75, Joined(0), ((0,), 0.75)]


def test_nobody_left_ends_the_run_and_company_that_never_comes_is_an_error() -> None:
    def server(node: Any) -> Any:
        yield AwaitJoin()

    run = play(cell([0.0], 'devices.0.churn={kind="schedule", leave_s=[0.75]}'), {SERVER: server})
    assert (run.stop_reason, run.clock.now_s) == ("nobody_left", 0.75)
    with pytest.raises(SimulationError, match="nothing can happen any more"):
        play(cell([0.0], "stop={rounds=1}"), {SERVER: server})


def test_latency_does_not_deliver_to_who_has_gone() -> None:
    def program(node: Any) -> Any:
        if node.id == 0:
            yield Send(1, "m", 0, Payload(None, 8))
        yield Sleep(1.0)

    run = play(among(PAIR, away(1, 0.1), "mac.latency_s=0.2"), program)
    assert run.record().messages_lost["departure"] == 1
    assert run.clock.now_s == 1.0


def test_random_churn_is_stationary_and_independent_of_everything_else() -> None:
    """Present at any time with probability up / (up + down), for a mean time of up: 4,000 devices, 4 standard errors."""
    n, up_s, down_s = 4000, 3.0, 1.0
    loaded = cell([0.0], f"devices.0.churn={{kind='random', mean_up_s={up_s}, mean_down_s={down_s}}}", f"devices.0.count={n}",
                  "devices.0.positions_m=none", "data.num_samples=8000")  # fmt: skip
    share = up_s / (up_s + down_s)
    error = (share * (1 - share) / n) ** 0.5
    found = churn_of(loaded.scenario, {}, Streams(7))
    assert len(found) == n
    here = np.zeros((n, 3), dtype=bool)
    lives = []
    for device, (present, events) in found.items():
        time_s, state = 0.0, present
        marks = iter(enumerate((0.0, 1.0, 7.0)))
        i, mark = next(marks)
        while True:
            next_s, what = next(events)
            while mark is not None and mark <= next_s:
                here[device, i] = state
                i, mark = next(marks, (0, None))  # type: ignore[arg-type]
            if state and time_s > 0:
                lives.append(next_s - time_s)
            time_s, state = next_s, what == "join"
            if time_s > 8.0:
                break
    assert here.mean(axis=0) == pytest.approx(share, abs=4 * error)
    again = {device: next(events) for device, (_, events) in churn_of(loaded.scenario, {}, Streams(7)).items()}
    assert again[5] == next(churn_of(loaded.scenario, {}, Streams(7))[5][1])
    assert again[5] != next(churn_of(loaded.scenario, {}, Streams(8))[5][1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('{kind="random", mean_up_s=1.0}', r"mean_down_s: this key is missing"),
        ('{kind="failure"}', r"mean_life_s: this key is missing"),
        ('{kind="schedule"}', r"leave_s: this key is missing"),
        ('{kind="schedule", leave_s=[2.0, 1.0]}', r"leave_s = .*times have to increase"),
        ('{kind="schedule", leave_s=[1.0, 2.0]}', r"cannot leave at 2.0 s"),
        ('{kind="schedule", leave_s=[1.0], join_s=[1.0]}', r"at 1.0 s"),
        ('{kind="schedule", file="churn.csv", leave_s=[1.0]}', r"leave out join_s"),
        ('{kind="sometimes"}', r"churn"),
        ('{kind="random", mean_up_s=-1.0, mean_down_s=1.0}', r"mean_up_s = -1: times are in s"),
    ],
)
def test_bad_churn_is_one_clear_line(change: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as caught:
        peers(PAIR, f"devices.0.churn={change}", referenced={"churn.csv": "0 1 leave"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("0, 1.0, leave\n0, 2.0, leave", "line 2: node 0 has left already"),
        ("0, 2.0, leave\n0, 1.0, join", "line 2: times of node 0 have to increase"),
        ("2, 1.0, leave", "line 1: node 2 does not exist, the group has 0 to 1"),
        ("0, 1.0", "line 1: has to be"),
        ("0, 1.0, die", "line 1: has to be"),
        ("0, nan, leave", "line 1: has to be"),
    ],
)
def test_a_bad_churn_file_names_its_line(lines: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        among(PAIR, lines)


def test_found_by_beacons_a_device_is_told_of_once_when_it_comes_and_goes() -> None:
    """Away at 1.05 s, for longer than three periods of beacons: known to be gone at once, and found again by a beacon."""
    beacons = (
        "topology={kind='radio', discovery='beacon', beacon_every_s=0.1, update_every_s=0.1, neighbor_mean_snr_db=3.0}"
    )
    seen: list[Any] = []

    def program(node: Any) -> Any:
        for time_s in (1.0, 1.1, 2.0, 2.5, 3.0):
            yield Sleep(time_s - (yield Observe("time")))
            if node.id == 0:
                seen.append((node.neighbors, (yield Observe("membership"))))

    run = play(among(THREE, away(1, 1.05, 2.05), beacons, mac="shared"), program)
    assert [there for there, _ in seen] == [(1, 2), (2,), (2,), (1, 2), (1, 2)]
    assert set(seen[0][1]) == {Joined(1), Joined(2)}
    assert [changes for _, changes in seen[1:]] == [(Left(1),), (), (Joined(1),), ()]
    assert run.presence is not None
    assert run.presence.edges().tolist() == [[0, 1], [0, 2], [1, 2]]


def test_who_moves_into_range_while_away_has_not_joined() -> None:
    """Device 1 walks past device 0 while it is switched off, and comes back behind it, out of range."""
    trace = "\n".join(f"{node},{t},{x},0.0" for node, t, x in ((0, 0, 0), (0, 10, 0), (1, 0, -3000), (1, 10, 3000)))
    found: list[Any] = []

    def program(node: Any) -> Any:
        for _ in range(10):
            yield Sleep(1.0)
            if node.id == 0:
                found.append((node.neighbors, (yield Observe("membership"))))

    loaded = peers(
        PAIR,
        "devices.0.positions_m=none",
        "devices.0.mobility={kind='trace', file='walk.csv'}",
        "topology={kind='radio', neighbor_mean_snr_db=-10.0, update_every_s=0.1}",
        'devices.0.churn={kind="schedule", file="churn.csv"}',
        referenced={"churn.csv": away(1, 2.0, 8.9), "walk.csv": trace},
    )
    play(loaded, program)
    assert all(there == () and changes == () for there, changes in found), found

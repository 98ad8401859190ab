"""For whom programs wait: every case by hand, and that a node's waits are all of the time that its programs receive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners.protocol import SERVER, AwaitJoin, Observe, Payload, Receive, Send, Sleep
from tests.wsim.builders import Program, cell, peers, play
from wsim.clock import NS_PER_S
from wsim.record import ANYONE, RunRecord
from wsim.waits import for_anyone_s, longest, receiving_s, waited_s

PLACES = [(0.0, 0.0), (100.0, 0.0), (50.0, 80.0), (50.0, -80.0)]
Rows = dict[tuple[int, int], tuple[int, int, int]]


def waits(record: RunRecord) -> Rows:
    """(who waits, for whom) -> ns, waits, of which ended by a deadline."""
    ns = np.rint(record.wait_s * NS_PER_S).astype(np.int64)
    columns = (record.wait_node, record.wait_awaited, ns, record.wait_count, record.wait_deadline_count)
    found = {(row[0], row[1]): row[2:] for row in zip(*(column.tolist() for column in columns), strict=True)}
    assert list(found) == sorted(found)
    assert len(found) == len(record.wait_s)
    np.testing.assert_allclose(waited_s(record), receiving_s(record), rtol=0, atol=0.4 / NS_PER_S)
    return found  # type: ignore[return-value]


def tell(node: int, at_s: float, kind: str = "m", to: int = 0) -> Program:
    """Sends one byte at this time."""

    def program(_: Any) -> Any:
        yield Sleep(at_s)
        yield Send(to, kind, 0, Payload(node, 8))

    return program


def ask(*requests: Receive, times_s: list[float] | None = None) -> Program:
    """Makes these requests; times_s gets the instants at which they are answered."""

    def program(_: Any) -> Any:
        for request in requests:
            yield request
            if times_s is not None:
                times_s.append((yield Observe("time")))

    return program


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def test_a_wait_is_for_the_sender_whose_message_ends_it_and_none_where_all_is_there() -> None:
    at: list[float] = []
    asks = ask(Receive([1, 2], "m", 0), Receive([3], "n", 0), times_s=at)
    run = play(peers(PLACES), {0: asks, 1: tell(1, 0.5), 2: tell(2, 0.2), 3: tell(3, 0.1, "n")})
    assert at[0] == at[1] > 0.5
    assert waits(run.record()) == {(0, 1): (ns(at[0]), 1, 0)}


def test_a_wait_for_a_count_is_for_the_one_who_fills_it() -> None:
    at: list[float] = []
    asks = ask(Receive([1, 2, 3], "m", 0, count=2), times_s=at)
    run = play(peers(PLACES), {0: asks, 1: tell(1, 0.5), 2: tell(2, 0.2), 3: tell(3, 0.1)})
    assert waits(run.record()) == {(0, 2): (ns(at[0]), 1, 0)}


def test_a_deadline_is_shared_by_who_is_missing_to_the_nanosecond() -> None:
    asks = ask(Receive([1, 2, 3], "m", 0, timeout_s=0.300_000_001), Receive([2], "m", 1, timeout_s=0.1))
    run = play(peers(PLACES), {0: asks, 1: tell(1, 0.1)})
    assert waits(run.record()) == {(0, 2): (150_000_001 + 100_000_000, 2, 2), (0, 3): (150_000_000, 1, 1)}


def test_who_names_nobody_waits_for_anyone_and_who_only_looks_does_not_wait() -> None:
    at: list[float] = []
    asks = ask(
        Receive(None, "m", timeout_s=0), Receive(None, "m", count=1), Receive(None, "m", timeout_s=0.1), times_s=at
    )
    run = play(peers(PLACES), {0: asks, 1: tell(1, 0.5)})
    record = run.record()
    assert waits(record) == {(0, ANYONE): (ns(at[1]) + ns(0.1), 2, 1)}
    assert for_anyone_s(record).tolist() == pytest.approx([at[2], 0, 0, 0])
    assert longest(record) == [None] * 4


def test_programs_of_a_node_are_summed() -> None:
    run = play(peers(PLACES), {0: lambda _: [ask(Receive([k], "m", 0, timeout_s=0.1))(None) for k in (1, 1, 2)]})
    assert waits(run.record()) == {(0, 1): (ns(0.2), 2, 2), (0, 2): (ns(0.1), 1, 1)}


def test_what_the_end_of_the_run_cuts_off_is_shared_by_who_is_missing_and_no_deadline() -> None:
    programs = {0: ask(Receive([1, 2, 3], "m", 0)), 1: tell(1, 0.1), 3: ask(Receive(None, "m", timeout_s=9.0))}
    record = play(peers(PLACES, "stop.simulated_s=1"), programs).record()
    assert waits(record) == {(0, 2): (ns(0.5), 1, 0), (0, 3): (ns(0.5), 1, 0), (3, ANYONE): (ns(1.0), 1, 0)}


def test_server_and_devices_wait_for_each_other() -> None:
    at: list[float] = []

    def server(_: Any) -> Any:
        yield Receive([0], "m", 0)
        at.append((yield Observe("time")))
        yield Send(1, "m", 0, Payload(None, 8))

    asks = ask(Receive([SERVER], "m", count=1), times_s=at)
    record = play(cell([10.0, 10.0]), {SERVER: server, 0: tell(0, 0.3, to=SERVER), 1: asks}).record()
    assert waits(record) == {(1, 2): (ns(at[1]), 1, 0), (2, 0): (ns(at[0]), 1, 0)}


CHURN = {
    "who leaves": ("1 0.25 leave", {(0, 1): (ns(0.25), 1, 0)}),
    # two go: the first is not what ends it
    "who leaves last": ("2 0.1 leave\n1 0.25 leave", {(0, 1): (ns(0.25), 1, 0)}),
    "who go at one instant": ("1 0.25 leave\n2 0.25 leave", {(0, 1): (ns(0.125), 1, 0), (0, 2): (ns(0.125), 1, 0)}),
    # device 0 is away from 0.1 to 0.4 s: what it was to be sent in the meantime is lost, but both would send in later rounds
    "who is away itself": ("0 0.1 leave\n0 0.4 join\n1 0.6 leave\n2 0.7 leave", {(0, 1): (ns(0.05), 1, 0), (0, 2): (ns(0.05), 1, 0)}),
    "who is left out while one is away": ("0 0.1 leave\n2 0.2 leave\n1 0.3 leave\n0 0.4 join", {(0, 1): (ns(0.1), 1, 0)}),
    "who fails itself": ("0 0.3 leave", {(0, 1): (ns(0.15), 1, 0), (0, 2): (ns(0.15), 1, 0)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CHURN)
def test_who_goes_or_is_away(case: str) -> None:
    lines, expected = CHURN[case]
    churn = 'devices.0.churn={kind="schedule", file="churn.csv"}'
    loaded = peers(PLACES, churn, "stop.simulated_s=2", "transport.reliability=arq", referenced={"churn.csv": lines})

    def sleeper(_: Any) -> Any:
        yield Sleep(1.0)

    second = tell(2, 0.01) if case == "who leaves" else sleeper
    run = play(loaded, {0: ask(Receive([1, 2], "m", 0)), 1: sleeper, 2: second, 3: sleeper})
    assert waits(run.record()) == expected


def test_waiting_for_company_is_for_anyone() -> None:
    def server(_: Any) -> Any:
        yield AwaitJoin()
        yield Receive([0], "m", 0, timeout_s=0.1)

    def device(_: Any) -> Any:
        yield Sleep(1.0)

    churn = 'devices.0.churn={kind="schedule", join_s=[0.75]}'
    record = play(cell([0.0], churn), {SERVER: server, 0: device}).record()
    assert waits(record) == {(1, ANYONE): (ns(0.75), 1, 0), (1, 0): (ns(0.1), 1, 1)}

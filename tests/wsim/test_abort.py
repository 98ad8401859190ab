"""Messages that go off the air at an instant: on every medium, and as uploads of rounds that are over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.federated import header, round_end
from learners.protocol import SERVER, Message, Observe, Outcome, Payload, Send, Sleep
from tests.contract.recording import record
from tests.contract.worlds import calm, harsh
from tests.wsim.builders import ROOM_BITS, arrivals, cell, ledger_closes, peers, play, rate_bps, sends, waits
from wsim.engine import Run, simulate

NS = 1e-9
LONG_BITS = 20 * ROOM_BITS


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
def test_what_is_under_way_ends_at_the_instant_and_nothing_begins_after_it(mac: str) -> None:
    """Two messages of 0.24 s at 0.03 s, one after the instant, 0.05 s: the air is held for 0.02 s and free again; of the third nothing is
    ever on it. The sender learns that all are lost."""
    told: list[tuple[float, str]] = []

    def program(node: Any) -> Any:
        yield Sleep(0.03)
        tickets = []
        for k in range(2):
            tickets.append((yield Send(SERVER, "m", k, Payload(None, LONG_BITS), expires_at_s=0.05)))
        told.append(((yield Outcome(tickets[1])), (yield Observe("time"))))
        yield Sleep(0.02)
        tickets.append((yield Send(SERVER, "m", 2, Payload(None, LONG_BITS), expires_at_s=0.05)))
        told.append(((yield Outcome(tickets[2])), (yield Observe("time"))))
        yield Send(SERVER, "m", 3, Payload(None, 800))

    log: list[tuple[float, int, int]] = []
    run = play(cell([0.0], "transport.reliability=arq", mac=mac), {0: program, SERVER: arrivals(log, 1)})
    (arrived_s, _, last), own_bits = log[0], run.ledger.on_air_bits
    assert told == [("lost", pytest.approx(0.05, abs=2 * NS)), ("lost", pytest.approx(0.07, abs=2 * NS))]
    assert last == 3
    short_s = arrived_s - 0.07
    both = 2 if mac == "ideal" else 1
    assert own_bits == pytest.approx((both * 0.02 + short_s) * rate_bps(0.0), abs=3)
    assert run.record().radio_s[0, 0] == pytest.approx(0.02 + short_s, abs=4 * NS)
    assert run.ledger.lost["deadline"] == 3
    assert (run.ledger.sent, run.ledger.delivered) == (4, 1)
    assert ledger_closes(run)


def test_the_shorter_of_duration_and_instant_counts() -> None:
    for ends in ({"expires_s": 0.02, "expires_at_s": 0.5}, {"expires_s": 0.5, "expires_at_s": 0.02}):
        run = play(cell([0.0], mac="fdma"), {0: sends(SERVER, LONG_BITS, **ends), SERVER: waits(1.0)})
        assert run.record().radio_s[0, 0] == pytest.approx(0.02, abs=2 * NS)


def test_a_neighbor_that_shares_the_air_has_all_of_it_then() -> None:
    """Device 1 has half of the air while device 0, which it hears, is on it, and is alone from 0.05 s on."""
    log: list[tuple[float, int, int]] = []
    programs = {0: sends(2, 100 * LONG_BITS, expires_at_s=0.05), 1: sends(2, 2 * LONG_BITS), 2: arrivals(log, 1)}
    loaded = peers([(0.0, 0.0), (50.0, 0.0), (0.0, 50.0)], "transport.reliability=none", mac="shared")
    run = play(loaded, programs)
    first_s, second_s = run.record().radio_s[:2, 0]
    assert first_s == pytest.approx(0.025, rel=1e-3)
    assert log == [(pytest.approx(0.025 + second_s, rel=1e-3), 1, 0)]
    assert second_s > 0.05
    assert ledger_closes(run)


# -- rounds ------------------------------------------------------------------------------------------------------------

UPLOADS = ["mac.kind=fdma", "channel.bandwidth_hz=20e3", "algorithm.deadline_s=0.44"]
"""One upload of six takes 0.436 s from the invitation, the others up to 0.465 s."""


def closed(late: str, *keys: str) -> tuple[Run, dict[int, float], list[tuple[int, float]]]:
    """A run of FedAvg; when its rounds end, and when each upload was off the air, with its round."""
    loaded = calm("fedavg", *UPLOADS, f"algorithm.late={late}", *keys)
    ends: dict[int, float] = {}
    closings: list[tuple[int, float]] = []
    run = Run(loaded, "null", None, None, None, None)
    close, send = run.transport.delivery.close, run.transport.send

    def watched_close(flight: Any, delivered: bool) -> None:
        if flight.kind == "update":
            closings.append((flight.round, run.clock.now_s))
        close(flight, delivered)

    def watched_send(sender: int, audiences: Any, request: Send, degree: int) -> Any:
        if request.kind == "model":
            ends[request.round] = run.clock.now_s + 0.44
        return send(sender, audiences, request, degree)

    run.transport.delivery.close, run.transport.send = watched_close, watched_send  # type: ignore[method-assign]
    run.go()
    return run, ends, closings


def test_no_upload_is_on_the_air_when_its_round_is_over() -> None:
    (aborted, ends, closings), (discarded, _, later) = closed("abort"), closed("discard")
    assert all(at_s <= ends[k] + NS for k, at_s in closings if at_s <= max(ends.values()))
    assert any(at_s > ends[k] + 0.01 for k, at_s in later)
    assert any(at_s == pytest.approx(ends[k], abs=2 * NS) for k, at_s in closings)
    with_late, without = discarded.record(), aborted.record()
    assert without.messages_delivered_unused == 0
    assert (with_late.messages_delivered_unused, without.messages_lost["deadline"]) == (
        20,
        25,
    )  # the run ends with the last round
    assert without.messages_delivered_used == with_late.messages_delivered_used == 5 * (6 + 1)
    assert without.on_air_bits < with_late.on_air_bits
    assert without.energy_by_use()["transmit"] < with_late.energy_by_use()["transmit"]
    assert without.on_air_bits == without.sent_bits_by_node.sum()
    assert ledger_closes(aborted)


def test_who_is_on_time_learns_the_same_and_hears_64_bits_more_a_round() -> None:
    """Of the default run, too: the events are others by the bits alone."""
    keys = ["algorithm.deadline_s=5.0", "stop.rounds=3"]
    discard, abort = (simulate(calm("fedavg", *keys, f"algorithm.late={late}")) for late in ("discard", "abort"))
    assert abort.payload_bits - discard.payload_bits == 3 * 6 * round_end.INSTANT_BITS
    assert abort.accuracy[-1] == discard.accuracy[-1]
    assert abort.messages_delivered_used == discard.messages_delivered_used


def test_aborted_runs_are_bit_equal_whatever_executes_them() -> None:
    keys = ["algorithm.late=abort", "algorithm.deadline_s=0.1", "transport.reliability=none", "stop.rounds=3"]
    keys += ["codec.name=float16", "algorithm.selection=deadline", "algorithm.local_steps=5"]
    runs = [record(harsh("fedavg", *keys), "batched", window=window)[0] for window in (None, 3)]
    estimate = simulate(harsh("fedavg", *keys), "null")
    assert runs[0].messages_lost["deadline"] > 0
    assert runs[0].event_digest == runs[1].event_digest == estimate.event_digest
    assert runs[0].accuracy.tobytes() == runs[1].accuracy.tobytes()


def test_without_the_packet_that_holds_the_instant_an_invitation_cannot_be_read() -> None:
    """Packets of 128 bits: the instant and two values, then four values each."""
    values = torch.arange(10.0)
    payload = round_end.stamped(Payload(values, 320, Float32(), 10), 7.5)
    assert payload.num_bits == 384
    mask = payload.codec.received_mask(np.array([True, False, True]), 128, 10)
    assert mask.tolist() == [True] * 2 + [False] * 4 + [True] * 4
    lost = payload.codec.received_mask(np.array([False, True, True]), 128, 10)
    assert not lost.any()

    def read(mask: np.ndarray) -> Any:
        program = header.read(Message(SERVER, "model", 3, payload.data, torch.from_numpy(mask)))
        with pytest.raises(StopIteration) as ended:
            next(program)
        return ended.value.value

    message, ends_s = read(mask)
    assert (ends_s, message.round) == (7.5, 3)
    assert message.data is values
    assert read(lost) is None

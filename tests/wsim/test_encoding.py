"""Encoding a message costs its sender's processor time and joules, before the air; noise of codecs has streams of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from learners.protocol import SERVER, Observe, Payload, Receive, Send
from tests.wsim.builders import ACTIVE_W, FEEDBACK_BITS, arrivals, cell, coded_bits, peers, play, rate_bps
from wsim.engine import simulate
from wsim.errors import SimulationError
from wsim.record import ENERGY_USES, PROGRAM_STATES
from wsim.scenario import load

FLOPS_PER_S = 1e6  # of the devices of these scenarios
NS = 1e-9


@pytest.mark.parametrize("flops", [0, 250_000])
def test_a_message_is_on_the_air_when_its_sender_has_encoded_it(flops: int) -> None:
    times: list[float] = []
    log: list[tuple[float, int, int]] = []

    def device(node: Any) -> Any:
        yield Send(SERVER, "m", 0, Payload(None, 12_000, flops=flops))
        times.append((yield Observe("time")))

    run = play(cell([10.0]), {0: device, SERVER: arrivals(log, 1)})
    encoded_s = flops / FLOPS_PER_S
    assert times == [pytest.approx(encoded_s, abs=NS)]
    assert log[0][0] == pytest.approx(encoded_s + (coded_bits(12_000) + FEEDBACK_BITS) / rate_bps(10.0), abs=2 * NS)
    compute_j = run.record().energy_j[0, ENERGY_USES.index("compute")]
    assert compute_j == pytest.approx(ACTIVE_W * encoded_s, abs=1e-9)
    computing = run.driver.runners[0].state_ns[PROGRAM_STATES.index("computing")]
    assert computing * NS == pytest.approx(encoded_s, abs=NS)


def test_a_message_to_nobody_is_not_encoded() -> None:
    times: list[float] = []

    def device(node: Any) -> Any:
        yield Send((), "m", 0, Payload(None, 12_000, flops=250_000))
        times.append((yield Observe("time")))

    play(cell([10.0]), {0: device})
    assert times == [0.0]


def noise_of(executor: str, *changes: str, first: int = 0) -> dict[int, torch.Tensor]:
    """What two nodes draw, after `first` numbers for decisions of the algorithm."""
    drawn: dict[int, torch.Tensor] = {}

    def device(node: Any) -> Any:
        node.rng.random(first)
        drawn[node.id] = torch.cat([node.uniform(600), node.uniform(400)])
        yield Receive(None, "nothing", timeout_s=0)

    play(peers([(0.0, 0.0), (100.0, 0.0)], *changes), device, executor=executor)
    return drawn


def test_noise_of_codecs_follows_the_learners_seed_and_nothing_else() -> None:
    drawn = noise_of("batched")
    for x in drawn.values():
        assert x.dtype == torch.float32
        assert 0 <= float(x.min()) < 0.02
        assert 0.98 < float(x.max()) < 1
    assert not torch.equal(drawn[0], drawn[1])
    for same in (noise_of("eager"), noise_of("batched", "seeds.radio=5", "seeds.data=6", first=9)):
        assert all(torch.equal(same[i], drawn[i]) for i in drawn)
    assert not torch.equal(noise_of("batched", "seeds.learner=5")[0], drawn[0])


def test_an_estimate_draws_no_noise() -> None:
    loaded = peers([(0.0, 0.0), (100.0, 0.0)])

    def device(node: Any) -> Any:
        assert node.uniform(600).shape == (600,)
        yield Receive(None, "nothing", timeout_s=0)

    run = play(loaded, device, executor="null")
    assert not run.learning._codec_streams


def test_a_run_that_diverges_ends_with_one_line_where_values_are_known() -> None:
    """The eager executor knows them; the batched one learns them later, and its models are NaN."""
    path = Path(__file__).parents[2] / "scenarios" / "quickstart.toml"
    keys = [
        "codec.name=uniform",
        "algorithm.learning_rate=1e4",
        "algorithm.weight_decay=1e4",
        "stop.rounds=2",
        "devices.0.count=3",
    ]
    with pytest.raises(SimulationError, match=r"device \d at [\d.]+ s: value \d+ of 4810 is -?(nan|inf) \(\d+ are not"):
        simulate(load(path, keys), "eager")
    assert simulate(load(path, keys)).stop_reason == "rounds"

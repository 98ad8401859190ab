"""Runs in which something is learned, to see how much of it is lost where the world gets harder."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from tests.contract.recording import Recording, record
from tests.contract.worlds import calm
from wsim.clock import NS_PER_S
from wsim.record import RunRecord
from wsim.waits import receiving_s, waited_s

LEARNING = [
    "dtype=float32",
    "stop.rounds=8",
    "data.num_samples=800",
    "algorithm.local_steps=10",
    "algorithm.learning_rate=0.3",
]
CHANCE = 0.25


@cache
def clean_accuracy(learner: str) -> float:
    """What the learner reaches in the calm world, where nothing is lost and nobody leaves."""
    run, _ = record(calm(learner, *LEARNING))
    return float(run.accuracy[-1])


def assert_half_is_learned(learner: str, run: RunRecord, recording: Recording | None = None) -> None:
    """Numbers are finite, and less than half of what is learned above chance in the calm world is lost."""
    assert recording is None or all(torch.isfinite(model).all() for model in recording.models())
    assert run.accuracy[-1] > CHANCE + 0.5 * (clean_accuracy(learner) - CHANCE)


def assert_books_close(run: RunRecord) -> None:
    arrived = run.messages_delivered_used + run.messages_delivered_unused
    assert run.messages_sent == arrived + sum(run.messages_lost.values()) + run.messages_in_flight
    assert np.abs(waited_s(run) - receiving_s(run)).max() < 0.4 / NS_PER_S

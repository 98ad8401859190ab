"""Memory is flat in simulated time and linear in devices.

Measured are live bytes in mid-run, at the end of a round: what Python and numpy hold (the objects that the collector reaches, which
takes a third of the time that tracemalloc does) and the storage of all tensors that are alive. What is remembered on purpose has a bound: rows handed out until they are compacted, links,
outcomes, events until they are folded into the digest. These bounds are made for large runs and are lowered here, so that
a small run reaches them within 120 rounds.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from channels import channel
from learners.executors import blocks
from learners.values import Deferred
from tests.contract.worlds import LEARNERS, every_other, harsh
from wsim.driver import sending
from wsim.driver.runner import FINISHED
from wsim.engine import Run


class Live(NamedTuple):
    objects: int
    """Bytes of Python and numpy."""
    tensors: int
    """Bytes of tensors."""


class EnoughError(Exception):
    """Ends a run."""


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "COMPACT_BYTES", 1 << 16)
    monkeypatch.setattr(channel, "_LEAST_LINKS_KEPT", 0)
    monkeypatch.setattr(sending, "KEPT_OUTCOMES", 8)


@pytest.fixture(autouse=True, scope="module")
def _frozen_worlds_are_freed() -> Iterator[None]:
    """Everything here freezes what there is before it begins: it stays frozen to the end, since looking through all that the
    process holds takes its time."""
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def object_bytes() -> int:
    """Of everything made since `gc.freeze()`, with what the collector does not track (numbers, strings, arrays behind views)."""
    stack = gc.get_objects()  # first: of this function there is nothing in it
    total, seen = 0, set[int]()
    while stack:
        thing: Any = stack.pop()
        total += sys.getsizeof(thing)
        behind = [thing.base] if isinstance(thing, np.ndarray) and thing.base is not None else []
        for other in (*gc.get_referents(thing), *behind):
            if not gc.is_tracked(other) and id(other) not in seen:
                seen.add(id(other))
                stack.append(other)
    return total


def tensor_bytes() -> int:
    storages = {}
    for thing in gc.get_objects():
        tensor = thing if type(thing) is torch.Tensor else thing.base if type(thing) is Deferred else None
        if tensor is not None:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


FEW_NEIGHBORS = {"semantic_mcr2_clusters": ["topology.kind=ring", "data.partition=iid"]}
"""Where every device keeps something of every other one that holds one of its classes: they are neighbors on a ring, and all hold all."""


def live_at(learner: str, num_devices: int, rounds: list[int], num_samples: int, *own: str) -> list[Live]:
    """Live bytes at these rounds."""
    keys = [
        f"devices.0.count={num_devices}",
        f"data.num_samples={num_samples}",
        "stop.rounds=1000000",
        "evaluation.every_s=1e6",
        "output.topology_every_s=1e6",
    ]
    run = Run(harsh(learner, *keys, *own), "batched", 64, None, None, None)
    live = []

    def look(num_rounds: int) -> None:
        if num_rounds in rounds:
            assert run.ledger.event_digest  # folds the events kept so far
            gc.collect()
            live.append(Live(object_bytes(), tensor_bytes()))
            if num_rounds == rounds[-1]:
                raise EnoughError

    run.evaluator._on_round = look
    gc.collect()
    gc.freeze()
    with pytest.raises(EnoughError):
        run.go()
    return live


@cache
def warm_up(learner: str) -> None:
    """Makes what is made once, whoever comes first."""
    live_at(learner, 4, [2], 400)


def test_everything_that_is_kept_is_counted() -> None:
    """1,000 each of numbers, strings in tuples, objects, and one number of an array each, which keeps all of it alive."""

    class Thing:
        __slots__ = ("value",)

    gc.collect()
    gc.freeze()
    for make, least in (
        (lambda i: i + 0.5, 24),
        (lambda i: (f"number {i}", 2.0**i), 100),
        (lambda i: Thing(), 24),
        (lambda i: np.zeros(100)[3:4], 800),
    ):
        before = object_bytes()
        kept = [make(i) for i in range(1000)]
        assert object_bytes() - before > 1000 * (least + 8)
        del kept


@pytest.mark.parametrize("learner", every_other(LEARNERS, 0))
def test_memory_is_flat_in_simulated_time(learner: str) -> None:
    """Half again as many rounds add less than 15 % to what is live after 120 (by then even the rarest calls have been recorded),
    and nothing but noise to the tensors: an object of 300 bytes kept by mistake once a device and round would add that much of
    500 kB, a model 60 x 4 x 432 bytes = 104 kB."""
    warm_up(learner)
    early, late = live_at(learner, 4, [120, 180], 400)
    assert late.objects < early.objects * 1.15, (early, late)
    assert late.tensors < early.tensors + 80_000, (early, late)


@pytest.mark.parametrize("learner", every_other(LEARNERS, 1))
def test_memory_is_linear_in_devices(learner: str) -> None:
    """Four times as many devices hold at most half more each; with anything for every pair of devices it would be up to four
    times as much."""
    warm_up(learner)
    own = FEW_NEIGHBORS.get(learner, [])
    num_few = 8 if learner == "all_reduce" else 16  # which sends 2 n (n - 1) messages a round
    few, many = (live_at(learner, num_devices, [2], 2000, *own)[0] for num_devices in (num_few, 4 * num_few))
    assert many.objects < 1.5 * 4 * few.objects, (few, many)
    assert many.tensors < 1.5 * 4 * few.tensors, (few, many)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_node_whose_programs_have_ended_keeps_no_messages(learner: str) -> None:
    """A fast device of an asynchronous protocol ends early, and its neighbors go on sending to it. Where it has a service that goes on
    answering, that has taken all but the last messages: at most one of every other device."""
    run = Run(harsh(learner, "stop.rounds=15", "devices.0.compute.spread_sigma_ln=1.0"), "null", None, None, None, None)
    run.go()
    ended = [
        node
        for node in run.driver.nodes
        if any(not runner.is_service for runner in node.runners)
        and all(runner.state == FINISHED for runner in node.runners if not runner.is_service)
    ]
    assert ended
    for node in ended:
        serves = any(runner.is_service for runner in node.runners)
        num_kept = sum(map(len, (*node.inbox.values(), *node.late.values())))
        assert num_kept <= (node.num_devices - 1 if serves else 0), f"node {node.id}"

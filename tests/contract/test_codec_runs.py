"""Runs with every registered codec: an estimate is the run without the arithmetic, the executor's window changes no bit, and every
message has the length of a real encoding of what it holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from learners import registry
from learners.compression.codec import differences_only
from learners.compression.randk import DrawnFragments
from learners.compression.topk import SparseFragments
from learners.decentralized.gossip import AgeFirst
from tests.contract.equality import assert_equal_records
from tests.contract.recording import record, value_of
from tests.contract.test_estimate import assert_equal_but_for_values
from tests.contract.worlds import harsh
from wsim.engine import simulate

FORMS: dict[str, list[list[str]]] = {
    "float32": [[]],
    "float16": [[]],
    "bfloat16": [[]],
    "uniform": [["scale_per=packet"], ["bits=3", "scale_per=tensor", "zero_point=true", "error_feedback=true"]],
    "int8_affine": [["scale_per=packet"]],
    "int4_affine": [["scale_per=message"]],
    "qsgd": [["levels=7", "scale_per=packet"]],
    "ternary": [["scale_per=packet"]],
    "sign": [["scale_per=packet"]],
    "onebit": [["scale_per=packet"]],
    "natural": [[]],
    "topk": [["ratio=0.1"], ["ratio=0.3", "index=bitmap", "value_bits=16", "error_feedback=false"]],
    "randk": [["ratio=0.3", "error_feedback=false"]],
    "stc": [["ratio=0.3", "index=packed", "error_feedback=false"]],
}
"""Registry name -> keys; between them all ways to lose a part of a message."""


SMALL = ["stop.rounds=3", "transport.mtu_bytes=72"]  # 28 bytes of a message each: the shortest, int4, takes three


def cases(*others: str) -> list[Any]:
    """Differences from clients to a server; whole models between devices, with something else in front; and other learners that
    take codecs for whole values."""
    found = []
    for name in registry.CODECS:
        for keys in FORMS[name]:
            codec = [f"codec.name={name}", *(f"codec.{key}" for key in keys)]
            found.append(pytest.param("fedavg", [*codec, "algorithm.update=difference"], id=f"fedavg {name} {keys}"))
            for_changes = differences_only(registry.load("codec", name))
            whole = not for_changes and "error_feedback=true" not in keys
            if whole:
                found.append(pytest.param("gossip", [*codec, "algorithm.merge=age"], id=f"gossip {name} {keys}"))
                found += [pytest.param(other, codec, id=f"{other} {name} {keys}") for other in others]
    return found


def in_parts(codec: list[str]) -> str:
    """Messages are used in part, but by an algorithm that has to know their fate."""
    given = [key for key in codec if key.startswith("codec.error_feedback=")]
    kind = registry.load("codec", codec[0].removeprefix("codec.name="))
    feeds_back = given[0].endswith("true") if given else getattr(kind, "error_feedback", False)
    return "arq" if feeds_back else "none"


@pytest.mark.parametrize(("learner", "keys"), cases("fedproto"))
def test_an_estimate_equals_the_run(learner: str, keys: list[str]) -> None:
    loaded = harsh(learner, *keys, f"transport.reliability={in_parts(keys)}", "transport.max_attempts=2", *SMALL)
    in_order: dict[str, list[Any]] = {"batched": [], "null": []}
    run, estimate = (simulate(loaded, executor, trace=trace) for executor, trace in in_order.items())
    assert in_order["batched"] == in_order["null"]
    assert_equal_but_for_values(run, estimate)


@pytest.mark.parametrize(("learner", "keys"), cases("fedproto"))
def test_the_window_changes_no_bit(learner: str, keys: list[str]) -> None:
    loaded = harsh(learner, *keys, f"transport.reliability={in_parts(keys)}", "transport.max_attempts=2", *SMALL)
    runs, models = [], []
    for window in (1, 4096):
        run, recording = record(loaded, window=window)
        runs.append(run)
        models.append(recording.models())
    assert_equal_records(*runs)
    for other in models[1:]:
        assert all(torch.equal(a, b) for a, b in zip(models[0], other, strict=True))
    assert all(torch.isfinite(model).all() for model in models[0])
    kinds = {"fedavg": ["update"]}.get(learner, [])  # its downlink has no error feedback
    in_part = [message.mask is not None for message in recording.received if not kinds or message.kind in kinds]
    assert any(in_part) == (in_parts(keys) == "none")


@pytest.mark.parametrize(("learner", "keys"), cases())
def test_every_message_has_the_bits_of_a_real_encoding(learner: str, keys: list[str]) -> None:
    loaded = harsh(learner, *keys, "transport.reliability=arq", "stop.rounds=2")
    _, recording = record(loaded)
    assert recording.sent
    for payload in recording.sent:
        data, prefix_bits, encoding = payload.data, 0, payload.codec
        if isinstance(encoding, AgeFirst):
            data, prefix_bits, encoding = data[0], 32, encoding.model
        if isinstance(encoding, (SparseFragments, DrawnFragments)):
            encoding = encoding.codec
        if encoding is None:  # all or nothing
            encoding = recording.learner.codec.encoding(payload.num_values, recording.nodes[0])
        shape = (payload.num_values,)
        tensors = encoding.compress(value_of(data), torch.full(shape, 0.5))
        assert payload.num_bits == prefix_bits + 8 * len(encoding.encode(tensors, shape))

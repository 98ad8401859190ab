"""Every learner goes on where a fifth of all packets is lost, and every message has exactly the bits of its encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.decentralized import class_sums
from learners.federated import class_flags, split_message, truncated_svd
from learners.federated.class_flags import FlaggedFragments
from learners.federated.header import Headed
from learners.federated.prototype_message import PrototypeFragments, framed
from learners.federated.split_message import SampleFragments
from learners.protocol import Payload
from learners.semantic.cluster_links import CountedFragments
from tests.contract.learning import LEARNING, assert_books_close, assert_half_is_learned
from tests.contract.recording import record, value_of
from tests.contract.worlds import SENDERS, VARIANTS, calm, has_key, says
from wsim.scenario import Loaded

AGE_BITS = 32  # a count of steps beside a model
MTU_BYTES = {
    "fedproto": 76,
    "lg_fedavg": 76,
    "fedgh": 76,
    "fd": 60,
    "fedmd": 112,
    "scaffold": 244,
    "split_learning": 244,
}
"""Of those that send less than a model, or two, so that it takes a few packets, too."""
HEADED = ("fedproto", "fd", "fedgh", "fedmd", "heterofl", "scaffold", "split_learning")
"""Without its first packet a message cannot be read: it says which classes or samples a table, or a part of a model, is of, or whose updates
are in a control variate. Without its last, activations have no labels."""


def lossy(learner: str, partial: str, codec: str) -> Loaded:
    """20 % of all packets are lost and never repeated; a model, or a table of prototypes, takes 3 packets with float16 (so half
    of all messages arrive whole) and 5 with float32; so does a model with its control variate."""
    keys = ["channel.forced_loss.rate=0.2", "transport.reliability=none", f"transport.partial={partial}"]
    mtu_bytes = MTU_BYTES.get(learner, 144)
    keys += [f"transport.mtu_bytes={mtu_bytes}", f"codec.name={codec}", *LEARNING]
    if has_key(learner, "deadline_s"):
        keys.append("algorithm.deadline_s=1.0")
    return calm(learner, *keys)


PAIRS = [(learner, codec) for learner in SENDERS for codec in ("float16", "float32")]
PAIRS += [(variant, "float32") for variant in VARIANTS]
NOT_ROUNDED = ("sgp", "float16")  # the sums that make up for losses


def losses() -> list[Any]:
    """Every learner with each codec and each use of what arrived in part: two of the four, in turn; the others are slow."""
    found = []
    alone = {NOT_ROUNDED[0], *VARIANTS}  # with one codec: both uses
    for number, (learner, codec) in enumerate(PAIRS):
        for partial in ("use", "drop"):
            in_turn = (number // 2 + number + (partial == "use")) % 2 == 0
            if (learner, codec) != NOT_ROUNDED:
                marks = () if in_turn or learner in alone else pytest.mark.slow
                found.append(pytest.param(learner, codec, partial, marks=marks, id=f"{learner}-{codec}-{partial}"))
    return found


@pytest.mark.parametrize(("learner", "codec", "partial"), losses())
def test_learner_survives_a_fifth_of_all_packets_lost(learner: str, codec: str, partial: str) -> None:
    run, recording = record(lossy(learner, partial, codec))
    assert run.stop_reason == "rounds"
    assert run.eval_round[-1] == 8
    lost = run.packets_lost / run.packets_sent
    error = (0.2 * 0.8 / run.packets_sent) ** 0.5
    assert lost == pytest.approx(0.2, abs=4 * error)
    assert_books_close(run)
    masked = [message for message in recording.received if message.mask is not None]
    if partial == "use" and says(learner, "uses_parts", True):
        least = 0 if learner in HEADED else 1
        assert all(least <= int(message.mask.sum()) < message.mask.numel() for message in masked)
        assert any(message.mask.any() for message in masked)
    else:
        assert not masked
        assert run.messages_lost["forced"] > 0
    assert_half_is_learned(learner, run, recording)


@pytest.mark.parametrize(("learner", "codec"), PAIRS)
def test_every_message_has_the_bits_of_its_encoding(learner: str, codec: str) -> None:
    variants: list[list[str]] = [["algorithm.recovers=false"] if (learner, codec) == NOT_ROUNDED else []]
    if has_key(learner, "merge"):
        variants.append(["algorithm.merge=age"])
    for variant in variants:
        _, recording = record(calm(learner, f"codec.name={codec}", "dtype=float32", *variant))
        assert recording.sent
        for payload in recording.sent:
            by_wire = isinstance(payload.codec, Float32)  # the backhaul rounds nothing
            assert payload.num_bits == encoded_bits(payload, payload.codec if by_wire else recording.learner.codec)


def encoded_bits(payload: Payload, codec: Any) -> int:
    """Length of a message: models as the codec encodes them, single numbers as 32 bits, prototypes and parts of models behind what
    says which classes they are of, class sums before their counts, a control variate behind what says whose updates are in it, activations
    before labels, second moments before counts."""
    if isinstance(payload.codec, CountedFragments):
        matrices, counts = payload.data
        return 8 * len(class_sums.framed(encoded(value_of(matrices), codec), counts[counts > 0].numpy()))
    if isinstance(payload.codec, SampleFragments):
        activations, labels = payload.data
        values = encoded(value_of(activations), codec)
        return 8 * len(split_message.framed(values, labels.numpy(), payload.codec.num_classes))
    if isinstance(payload.codec, PrototypeFragments):
        table, counts = payload.data
        held = value_of(table)[counts > 0].flatten()
        values = encoded(held, codec) if len(held) else b""
        return 8 * len(framed(counts.numpy(), values, with_counts=payload.codec.with_counts))
    if isinstance(payload.codec, FlaggedFragments):
        x, classes = payload.data
        return 8 * len(class_flags.framed(classes.numpy(), encoded(value_of(x), codec)))
    if isinstance(payload.codec, Headed):  # a bit a device
        values, bits = payload.data
        return 8 * (len(np.packbits(bits)) + len(encoded(value_of(values), codec)))
    parts = payload.data if isinstance(payload.data, tuple) else (payload.data,)
    if isinstance(parts[-1], truncated_svd.Message):
        return 8 * len(parts[-1].encode(value_of(parts[0])))
    parts = tuple(part for part in parts if part is not None)
    tensors = [value_of(part) for part in parts]
    if tensors[0].ndim == 2:  # class sums, with counts behind them
        return 8 * len(class_sums.framed(encoded(tensors[0], codec), tensors[1].numpy()))
    return sum(AGE_BITS if tensor.ndim == 0 else 8 * len(encoded(tensor, codec)) for tensor in tensors)


def encoded(values: torch.Tensor, codec: Any) -> bytes:
    data: bytes = codec.encode(codec.compress(values), values.shape)
    return data

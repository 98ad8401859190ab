"""Codes whose length depends on values: Elias omega for levels of QSGD, Rice for the gaps of top-k."""

from __future__ import annotations

from math import lgamma, log, log2, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch

from learners.compression import elias, rice
from learners.compression.qsgd import Qsgd
from learners.compression.topk import SparseFragments, TopK
from learners.executors import BatchedExecutor, NullExecutor
from tests.contract.recording import record, value_of
from tests.contract.worlds import harsh
from tests.learners.codec_cases import PACKET_BITS, node, noise
from wsim.engine import simulate
from wsim.results import content_digest, write

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])
ELIAS = Qsgd(4, scale_per="message", code="elias")


# -- Elias -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(1, "0"), (2, "100"), (3, "110"), (4, "101000"), (8, "1110000"), (16, "10100100000")]
)
def test_omega_code(number: int, code: str) -> None:
    assert "".join(map(str, elias.omega(number))) == code


def test_lengths_of_omega_codes() -> None:
    """1; 2 and 3; 4 to 7; 8 to 15; 16; and whatever is written, up to beyond a single-precision number's digits."""
    numbers = np.array([1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 1000, 2**24 - 1, 2**24, 2**24 + 1, 2**31])
    lengths = elias.omega_lengths(numbers)
    assert lengths[:8].tolist() == [1, 3, 3, 6, 6, 7, 7, 11]
    assert lengths.tolist() == [len(elias.omega(int(number))) for number in numbers]


def test_worked_example() -> None:
    """Levels (3, -1, 0, 0, -2, 0, 0, 1): gaps 1, 1, 3, 3 in 8 bits, levels 3, 1, 2, 1 in 8, signs in 4, the norm in 32: 52; and
    4 bits for how many levels are not zero."""
    encoding = ELIAS.encoding(8, node())
    z, r = encoding.compress(V, torch.full((8,), 0.5))
    assert elias.stream_length(z.numpy()) == 52 - 32 + 4
    data = encoding.encode((z, r), (8,))
    assert len(data) == 7
    found = encoding.decode(data, (8,))
    assert torch.equal(found[0], z)
    assert torch.equal(found[1], r)


@pytest.mark.parametrize("scale_per", ["message", "tensor", "bucket"])
@pytest.mark.parametrize("s", [1, 4, 127])
def test_a_message_has_the_bits_and_values_of_its_bytes(s: int, scale_per: str) -> None:
    """Where values are known at once and where they come later."""
    buckets = {"bucket_values": 50} if scale_per == "bucket" else {}
    codec = Qsgd(s, scale_per=scale_per, code="elias", **buckets)  # type: ignore[arg-type]
    rng = np.random.default_rng(s)
    for n in (1, 2, 120, 241):
        v = torch.from_numpy(rng.standard_normal(n)).float()
        encoding = codec.encoding(n, node())
        data = encoding.encode(encoding.compress(v, noise(n)), (n,))
        executor = BatchedExecutor()
        for payload in (codec.payload(v, node()), codec.payload(executor.lift(v), node())):
            assert payload.num_bits == 8 * len(data)
            assert payload.codec is None, "all or nothing"
            values = payload.data if isinstance(payload.data, torch.Tensor) else executor.read(payload.data)
            assert torch.equal(values, encoding.decompress(encoding.decode(data, (n,)), (n,)))
        estimate = codec.payload(NullExecutor().lift(v), node())
        assert estimate.num_bits == encoding.num_bits((n,))


def test_zeros_take_a_norm_and_a_count() -> None:
    assert ELIAS.payload(torch.zeros(1000), node()).num_bits == 48  # 32 + 10 bits, in whole bytes


def test_expected_length_is_below_the_bounds_of_the_paper() -> None:
    """2.8 d + 32 for s = sqrt(d), and what estimates assume for fewer levels, on Gaussian values; each beside its count of
    nonzeros. 20 draws have a spread far below the distance."""
    d = 4096
    rng = np.random.default_rng(1)
    for s, bound in ((64, 2.8 * d + 32), (1, ELIAS_ESTIMATE(1, d)), (4, ELIAS_ESTIMATE(4, d))):
        codec = Qsgd(s, scale_per="message", code="elias")
        lengths = [codec.payload(torch.from_numpy(rng.standard_normal(d)).float(), node()).num_bits for _ in range(20)]
        assert np.mean(lengths) + 4 * np.std(lengths) / sqrt(20) < bound + 13 + 8
        assert np.mean(lengths) > bound / 4, "no empty bound"


def ELIAS_ESTIMATE(s: int, d: int) -> int:
    return Qsgd(s, scale_per="message", code="elias").encoding(d, node()).num_bits((d,))


def test_what_is_no_stream_is_refused() -> None:
    bits = np.concatenate([elias.write(np.array([0, 0, 0, 5])), np.zeros(40, dtype=np.uint8)])
    with pytest.raises(ValueError, match="place 3 of 2: no stream of levels"):
        elias.read(np.concatenate([[1, 0], bits[3:]]), 2)


def test_packets_have_no_norms_of_their_own() -> None:
    with pytest.raises(ValueError, match="code = 'elias': how many values fit into a packet is not known"):
        Qsgd(code="elias", scale_per="packet")


# -- Rice --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "b", "bits", "limit"), [(0.1, 3, 4.76, 4.69), (0.01, 6, 8.11, 8.08), (0.001, 9, 11.49, 11.41)]
)
def test_bits_of_a_gap(q: float, b: int, bits: float, limit: float) -> None:
    """Beside the entropy of a place, sent or not, for each one sent: the least for many places, which d choose k comes near to."""
    d = 670_058
    k = int(q * d)
    assert rice.parameter(d, k) == b
    assert rice.mean_gap_bits(d, k) == pytest.approx(bits, abs=0.005)
    assert -(q * log2(q) + (1 - q) * log2(1 - q)) / q == pytest.approx(limit, abs=0.005)
    choices = (lgamma(d + 1) - lgamma(k + 1) - lgamma(d - k + 1)) / log(2)
    assert limit - 0.02 < choices / k < limit + 0.005


def test_bytes_of_one_percent_of_a_model() -> None:
    """About 6,700 * (32 + 8.11) / 8 = 33,590 bytes; 12 more bits for the first place in each of 24 packets, and on average half
    an entry of filling."""
    codec = TopK(0.01, "rice")
    v = torch.from_numpy(np.random.default_rng(3).standard_normal(670_058)).float()
    payload = codec.payload(v, node(11_648))
    assert payload.num_bits / 8 == pytest.approx(33_590 + 24 * (12 + 20) / 8, rel=0.003)
    assert payload.num_bits == pytest.approx(codec.encoding(670_058, node(11_648)).num_bits((670_058,)), rel=0.01)


def test_every_packet_can_be_read_without_the_others() -> None:
    """Bit by bit: of a message of which one packet alone arrived, its own entries are there."""
    codec = TopK(0.3, "rice")
    v = torch.from_numpy(np.random.default_rng(4).standard_normal(241)).float()
    payload = codec.payload(v, node())
    num_packets = -(-payload.num_bits // PACKET_BITS)
    assert num_packets > 5
    alone = [
        np.asarray(payload.codec.received_mask(np.arange(num_packets) == p, PACKET_BITS, 241))
        for p in range(num_packets)
    ]
    assert all(mask.any() for mask in alone)
    assert np.sum(alone) == codec.num_kept(241)
    for mask, after in zip(alone, alone[1:]):
        assert mask.nonzero()[0].max() < after.nonzero()[0].min()


def test_entries_by_the_definition_of_the_code() -> None:
    """d = 100, k = 4: b = round(log2(17.3)) = 4. Places 3, 4, 40, 99 with values of 16 bits, 60 bits a packet: 7 + 16, then 5 + 16
    for a gap of 1 (44 bits), and no room for that of 36 = 1 + 2 * 16 + 3: 7 + 16 in the next packet; 59 = 1 + 3 * 16 + 10: 8 + 16."""
    codec = TopK(0.04, "rice", 16)
    entries = rice.RiceEncoding(codec, 60).entries(np.array([3, 4, 40, 99]), 100)
    assert entries.starts.tolist() == [0, 23, 60, 83]
    assert entries.ends.tolist() == [23, 44, 83, 107]
    assert entries.packets.tolist() == [0, 0, 60, 60]
    values = torch.tensor([1.0, -1.0, 2.0, 0.5], dtype=torch.float16)
    encoding = rice.RiceEncoding(codec, 60)
    data = encoding.encode((torch.tensor([3, 4, 40, 99]), values), (100,))
    bits = "".join(f"{byte:08b}"[::-1] for byte in data)
    assert bits[23:28] == "00000", "no ones, a zero, 1 - 1 in four bits"
    assert bits[44:60] == 16 * "1"
    assert bits[83:91] == "1110" + "0101", "three ones, a zero, 10 with its lowest bit first"


def test_a_packet_without_room_for_an_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="index = 'rice': a packet has room for 60 bits, a place and a value need 64"):
        TopK(0.1, "rice").payload(V, node(60))


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        ["codec.name=qsgd", "codec.levels=1", "codec.code=elias"],
        ["codec.name=topk", "codec.ratio=0.1", "codec.index=rice", "codec.error_feedback=false"],
    ],
    ids=["elias", "rice"],
)
def test_lengths_follow_the_values_in_a_run(keys: list[str], tmp_path: Path) -> None:
    """The executor's window changes no bit; messages differ in length, each has that of a real encoding; an estimate says that it
    is not exact."""
    rest = ["algorithm.update=difference", "stop.rounds=3", "transport.mtu_bytes=100", "transport.reliability=none"]
    loaded = harsh("fedavg", *keys, *rest)
    digests = []
    for window in (1, 4096):
        run, recording = record(loaded, window=window)
        path = tmp_path / f"{window}.h5"
        write(run, path)
        digests.append(content_digest(path))
    assert digests[0] == digests[1]
    sent = [
        payload for payload in recording.sent if payload.codec is None or isinstance(payload.codec, SparseFragments)
    ]
    assert len(sent) >= 6
    assert len({payload.num_bits for payload in sent}) > 1
    for payload in sent:
        encoding = recording.learner.codec.encoding(payload.num_values, recording.nodes[0])
        values = value_of(payload.data).float()
        tensors = encoding.compress(values) if "codec.index=rice" in keys else as_sent(values, encoding.layout.groups)
        assert payload.num_bits == 8 * len(encoding.encode(tensors, values.shape))
    assert run.exact
    assert not simulate(loaded, "null").exact


def as_sent(values: torch.Tensor, groups: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels -1, 0, 1 and norms of decoded values; a norm of a group of zeros is not seen in them, and as long as any."""
    norms = torch.stack([part.abs().max() for part in values.split(groups)])
    return values.sign().to(torch.int32), norms

"""Codes whose length depends on values: Elias omega for levels of QSGD, Rice for the gaps of top-k."""

from __future__ import annotations

from math import lgamma, log, log2, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learners.compression import elias, rice
from learners.compression.qsgd import Qsgd
from learners.compression.qsgd_elias import PacketEncoding, PacketFragments
from learners.compression.qsgd_levels import levels
from learners.compression.topk import SparseFragments, TopK
from learners.executors import BatchedExecutor, NullExecutor
from learners.loopback import LoopbackNode
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


def test_expected_length_is_below_the_bounds_of_the_paper_and_what_an_estimate_assumes() -> None:
    """2.8 d + 32 for s = sqrt(d), and (3 + 3/2 log2(2 (s^2 + d) / (s (s + sqrt d)))) s (s + sqrt d) + 32 for fewer levels, without its
    vanishing term, on Gaussian values; each beside the count of those that are not zero. 20 draws have a spread far below the
    distance. An estimate assumes such values: within 2 % (a norm is taken as its mean)."""
    d = 4096
    rng = np.random.default_rng(1)
    sender = LoopbackNode(0, (), None, rng)
    for s, bound in ((64, 2.8 * d + 32), (1, paper_bound(1, d)), (4, paper_bound(4, d))):
        codec = Qsgd(s, scale_per="message", code="elias")
        lengths = [codec.payload(torch.from_numpy(rng.standard_normal(d)).float(), sender).num_bits for _ in range(20)]
        error = np.std(lengths) / sqrt(20)
        assert np.mean(lengths) + 4 * error < bound + 13 + 8
        assert codec.encoding(d, node()).num_bits((d,)) == pytest.approx(np.mean(lengths), rel=0.02, abs=4 * error)


def paper_bound(s: int, d: int) -> float:
    sparsity = s * (s + sqrt(d))
    return (3 + 1.5 * log2(2 * (s**2 + d) / sparsity)) * sparsity + 32


def test_what_is_no_stream_is_refused() -> None:
    bits = np.concatenate([elias.write(np.array([0, 0, 0, 5])), np.zeros(40, dtype=np.uint8)])
    with pytest.raises(ValueError, match="place 3 of 2: no stream of levels"):
        elias.read(np.concatenate([[1, 0], bits[3:]]), 2)


# -- a stream in each packet ---------------------------------------------------------------------------------------------


def in_packets(s: int, norm: Any = "l2", **keys: Any) -> Qsgd:
    return Qsgd(s, norm, scale_per="packet", code="elias", **keys)


def test_packet_by_the_definition_of_the_code() -> None:
    """All values 2, s = 3, u = .99, the maximum as norm: every level is 3. Of d = 20 values a packet of 115 bits holds
    32 + 5 + 5 of its head, a count of ceil(log2(n + 1)), and 1 + 1 + 3 bits a value: 13 and 7, 4 + 65 and 3 + 35 bits."""
    encoding = PacketEncoding(3, "max", False, 115)
    z, r, sizes = encoding.compress(torch.full((20,), 2.0), torch.full((20,), 0.99))
    assert z.tolist() == 20 * [3]
    assert r.tolist() == [2.0, 2.0]
    assert sizes.tolist() == [13, 7]
    data = encoding.encode((z, r, sizes), (20,))
    bits = "".join(f"{byte:08b}"[::-1] for byte in data)
    assert len(data) == -(-(115 + 42 + 3 + 35) // 8)
    assert bits[32:37] + bits[37:42] + bits[42:46] == "00000" + "10110" + "1011", "from 0, 13 values, 13 levels"
    assert bits[46:51] == "0" + "0" + "110", "the next place, positive, 3"
    assert bits[115 + 32 : 115 + 45] == "10110" + "11100" + "111", "from 13, 7 values, 7 levels"
    assert bits[111:115] == "0000"


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("kind", ["normal", "heavy", "sparse", "growing", "zeros", "steps"])
def test_a_packet_has_as_many_values_as_fit(kind: str, norm: Any) -> None:
    """Beside the length of every packet with one value more, and its own, by definition: levels under the norm of exactly these."""
    rng = np.random.default_rng(7)
    values = {
        "normal": rng.standard_normal(1500),
        "heavy": rng.standard_cauchy(1500),
        "sparse": rng.standard_normal(1500) * (rng.random(1500) < 0.02),
        "growing": 1.01 ** np.arange(1500),
        "zeros": np.zeros(1500),
        "steps": np.where(np.arange(1500) % 400 == 399, 1e6, 1.0),
    }
    v, u = torch.from_numpy(values[kind]).float(), noise(1500)
    encoding = PacketEncoding(16, norm, False, PACKET_BITS)
    z, r, sizes = encoding.compress(v, u)

    def length(first: int, n: int) -> int:
        levels_of, _ = levels(v[first : first + n], u[first : first + n], 16, norm, n)
        return 32 + 11 + 11 + elias.stream_length(levels_of.numpy().astype(np.int64))

    first = 0
    for n, own in zip(sizes.tolist(), r.split(1), strict=True):
        same, norm_of = levels(v[first : first + n], u[first : first + n], 16, norm, n)
        assert torch.equal(same.to(torch.int32), z[first : first + n])
        assert torch.equal(norm_of, own)
        assert length(first, n) <= PACKET_BITS
        assert first + n == 1500 or length(first, n + 1) > PACKET_BITS
        first += n
    assert first == 1500
    assert (len(sizes) == 1) == (kind == "zeros")


@pytest.mark.parametrize("s", [1, 4, 127])
def test_what_arrives_of_a_stream_in_each_packet(s: int) -> None:
    """Encode, drop packets, decode each of the others alone: the values that the mask says, and those of the message."""
    codec, n = in_packets(s, "max"), 900
    v = torch.from_numpy(np.random.default_rng(s).standard_normal(n)).float()
    payload, encoding = codec.payload(v, node()), codec.encoding(n, node())
    data = encoding.encode(encoding.compress(v, noise(n)), (n,))
    assert payload.num_bits == 8 * len(data)
    packets = [data[at : at + PACKET_BITS // 8] for at in range(0, len(data), PACKET_BITS // 8)]
    assert len(packets) > 3
    arrived = np.random.default_rng(s + 1).random(len(packets)) < 0.6
    values, found = torch.zeros(n), np.zeros(n, dtype=bool)
    for packet in np.array(packets, dtype=object)[arrived]:
        first, r, z = encoding.packet(np.unpackbits(np.frombuffer(packet, np.uint8), bitorder="little"), n)
        found[first : first + len(z)] = True
        values[first : first + len(z)] = torch.from_numpy(z).float() / s * torch.from_numpy(r)
    mask = payload.codec.received_mask(arrived, PACKET_BITS, n)
    assert np.array_equal(mask, found)
    assert not mask.all()
    assert torch.equal(values, torch.where(torch.from_numpy(mask), payload.data, 0))


def test_a_stream_that_does_not_follow_the_last_is_refused() -> None:
    encoding = PacketEncoding(3, "max", False, 120)
    data = encoding.encode(encoding.compress(torch.full((30,), 2.0), noise(30)), (30,))
    with pytest.raises(ValueError, match="a packet of 14 values from 0, behind 14: no stream of levels"):
        encoding.decode(data[:15] + data, (30,))


def test_packets_without_room_for_a_stream_are_refused() -> None:
    """32 bits of norm, 64 at most for the place and the number, 1 of the count, 1 for the gap, a sign, and 13 for 127."""
    says = "scale_per = 'packet': a packet has room for 104 bits, a stream of one value needs 112"
    with pytest.raises(ValueError, match=says):
        in_packets(127).check_packets(104)
    in_packets(127).check_packets(112)


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
        ["codec.name=qsgd", "codec.levels=1", "codec.norm=max", "codec.code=elias", "codec.scale_per=packet"],
        ["codec.name=topk", "codec.ratio=0.1", "codec.index=rice", "codec.error_feedback=false"],
    ],
    ids=["elias", "elias in packets", "rice"],
)
def test_lengths_follow_the_values_in_a_run(keys: list[str], tmp_path: Path) -> None:
    """The executor's window changes no bit; messages differ in length, each has that of a real encoding; an estimate says that it
    is not exact."""
    mtu_bytes = 72 if "codec.index=rice" in keys else 64
    rest = [
        "algorithm.update=difference",
        "stop.rounds=3",
        f"transport.mtu_bytes={mtu_bytes}",
        "transport.reliability=none",
    ]
    loaded = harsh("fedavg", *keys, *rest)  # two packets a message
    digests = []
    for window in (1, 4096):
        run, recording = record(loaded, window=window)
        path = tmp_path / f"{window}.h5"
        write(run, path)
        digests.append(content_digest(path))
    assert digests[0] == digests[1]
    sent = [
        payload
        for payload in recording.sent
        if payload.codec is None or isinstance(payload.codec, (SparseFragments, PacketFragments))
    ]
    assert len(sent) >= 6
    assert len({payload.num_bits for payload in sent}) > 1
    for payload in sent:
        encoding = recording.learner.codec.encoding(payload.num_values, recording.nodes[0])
        values = value_of(payload.data).float()
        if isinstance(payload.codec, PacketFragments):
            sizes = payload.codec.sizes
            tensors = *as_sent(values, tuple(sizes)), torch.tensor(sizes)
        else:
            compressed = "codec.index=rice" in keys
            tensors = encoding.compress(values) if compressed else as_sent(values, encoding.layout.groups)
        assert payload.num_bits == 8 * len(encoding.encode(tensors, values.shape))
    in_part = any(message.mask is not None and message.kind == "update" for message in recording.received)
    assert in_part == (sent[0].codec is not None), "each packet can be read without the others, or none"
    assert run.exact
    assert not simulate(loaded, "null").exact


def as_sent(values: torch.Tensor, groups: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels -1, 0, 1 and norms of decoded values; a norm of a group of zeros is not seen in them, and as long as any."""
    norms = torch.stack([part.abs().max() for part in values.split(groups)])
    return values.sign().to(torch.int32), norms

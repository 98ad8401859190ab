"""[codec] and what it asks of the rest of a scenario: one line that names the key, before anything is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsim.errors import ScenarioError
from wsim.scenario import load

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.toml"
RING = QUICKSTART.with_name("dpsgd_ring.toml")


@pytest.mark.parametrize(
    ("path", "overrides", "says"),
    [
        (QUICKSTART, ["codec.name=topk"], "[codec] ratio: this key is missing; topk needs a number"),
        (QUICKSTART, ["codec.name=topk", "codec.ratio=0"], "[codec] ratio = 0: this is a part of the whole, above 0"),
        (QUICKSTART, ["codec.name=topk", "codec.ratio=1.5"], "[codec] ratio = 1.5: "),
        (
            QUICKSTART,
            ["codec.name=topk", "codec.ratio=0.1", "codec.value_bits=8"],
            "[codec] value_bits = 8: has to be 32 or 16",
        ),
        (QUICKSTART, ["codec.name=uniform", "codec.bits=1"], "[codec] bits = 1: leaves no level beside zero; 2, or"),
        (
            QUICKSTART,
            ["codec.name=uniform", "codec.bits=32"],
            "[codec] bits = 32: bits of a value are whole numbers, 1 to 16",
        ),
        (QUICKSTART, ["codec.name=uniform", "codec.rounding=nearst"], '"stochastic" or "nearest" (nearest?)'),
        (
            QUICKSTART,
            ["codec.name=uniform", "codec.scale_per=packet", "transport.mtu_bytes=48"],
            '[codec] scale_per = "packet": a packet has room for 32 bits, a scale and a value need 40',
        ),
        (
            QUICKSTART,
            ["codec.name=int8_affine", "codec.scale_per=packet", "transport.mtu_bytes=48"],
            '[codec] scale_per = "packet": a packet has room for 32 bits, a scale and a value need 72',
        ),
        (
            QUICKSTART,
            ["codec.name=topk", "codec.ratio=0.1", "algorithm.deadline_s=5", "transport.reliability=none"],
            '[transport] reliability = "none": codec topk has to learn what became of its messages',
        ),
        (
            QUICKSTART,
            ["codec.name=topk", "codec.ratio=0.1", "algorithm.update=model"],
            '[algorithm] update = "model": the codec is for differences here; "auto" or "difference"',
        ),
        (
            QUICKSTART,
            ["codec.name=sign", "codec.scale_per=packet", "transport.mtu_bytes=48"],
            '[codec] scale_per = "packet": a packet has room for 32 bits, a scale and a value need 33',
        ),
        (
            QUICKSTART,
            ["codec.name=sign", "algorithm.update=model"],
            '[algorithm] update = "model": the codec is for diff',
        ),
        (
            QUICKSTART,
            ["codec.name=qsgd", "codec.levels=0"],
            "[codec] levels = 0: levels of a magnitude are whole numbers",
        ),
        (
            QUICKSTART,
            ["codec.name=qsgd", "codec.error_feedback=true"],
            "[codec] error_feedback = true: the error of an unbiased code may grow without end; contractive = true",
        ),
        (
            QUICKSTART,
            ["codec.name=randk", "codec.ratio=0.1", "codec.unbiased=true"],
            "[codec] unbiased = true: its error may grow without end under error feedback; error_feedback = false",
        ),
        (
            QUICKSTART,
            ["codec.name=qsgd", "codec.code=elias", "codec.scale_per=packet", "transport.mtu_bytes=56"],
            '[codec] scale_per = "packet": a packet has room for 96 bits, a stream of one value needs 112',
        ),
        (
            QUICKSTART,
            ["codec.name=topk", "codec.ratio=0.1", "codec.index=rice", "transport.mtu_bytes=48"],
            '[codec] index = "rice": a packet has room for 32 bits, a place and a value need 64',
        ),
        (
            RING,
            ["codec.name=qsgd"],
            '[algorithm] name = "dpsgd": sends whole models, and this codec is for changes of a model only; codec = "qsgd"',
        ),
        (
            RING,
            ["codec.name=topk", "codec.ratio=0.1"],
            '[algorithm] name = "dpsgd": sends whole models, and this codec is for changes of a model only; codec = "topk"',
        ),
        (
            RING,
            ["codec.name=uniform", "codec.error_feedback=true"],
            '[algorithm] name = "dpsgd": sends whole models, and only changes of a model have error_feedback; codec = "uniform"',
        ),
    ],
)
def test_what_does_not_go_together_is_refused(path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        load(path, overrides)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["codec.name=uniform", "codec.bits=4", "codec.scale_per=packet"],
        ["codec.name=int8_affine", "codec.scale_per=packet"],
        ["codec.name=topk", "codec.ratio=0.01", "codec.index=bitmap"],
        ["codec.name=qsgd", "codec.levels=7", "codec.scale_per=bucket", "codec.bucket_values=512"],
        ["codec.name=ternary", "codec.packing=base3", "codec.clip_deviations=2.5"],
        ["codec.name=topk", "codec.ratio=0.1", "algorithm.deadline_s=5", "transport.reliability=fountain"],
        [
            "codec.name=topk",
            "codec.ratio=0.1",
            "codec.error_feedback=false",
            "algorithm.deadline_s=5",
            "transport.reliability=none",
        ],
    ],
)
def test_what_does_is_accepted(overrides: list[str]) -> None:
    codec = load(QUICKSTART, overrides).scenario.codec
    assert f"codec.name={codec.name}" in overrides

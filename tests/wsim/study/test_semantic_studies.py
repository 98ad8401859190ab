"""scenarios/studies/semantic_shares.toml, papers/semantic_packet_loss.toml and papers/compositional_multiview.toml: the sizes that their
comments give."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest

from learners.models.encoder import Headless
from learners.models.resnet_encoder import ResNet18
from wsim.engine import simulate
from wsim.errors import ScenarioError
from wsim.record import RunRecord
from wsim.scenario import load

SCENARIOS = Path(__file__).parents[3] / "scenarios"


def estimated(study: str, arm: str, *keys: str) -> RunRecord:
    return simulate(load(SCENARIOS / f"{study}.toml", ["stop.rounds=1", *keys], arm=arm), "null")


@pytest.mark.parametrize(
    ("arm", "feature_dim", "num_bytes"),
    [
        ("MLP, triangles", 32, 21_120),
        ("MLP, full", 32, 40_960),
        ("MLP, weights", 32, 4 * 12_448),
        ("MLP, triangles", 128, 330_240),
        ("MLP, full", 128, 655_360),
    ],
)
def test_bytes_of_a_share(arm: str, feature_dim: int, num_bytes: int) -> None:
    """One broadcast of each of ten devices: 4 K d (d + 1) / 2 or 4 K d^2 bytes of moments, or the encoder."""
    run = estimated("studies/semantic_shares", arm, f"model.feature_dim={feature_dim}")
    assert run.payload_bits == 10 * 8 * num_bytes


def test_weights_of_resnet_18_are_70_times_a_full_share() -> None:
    model = Headless(ResNet18((3, 32, 32), 10, 128))
    weights = sum(prod(shape) for shape in model.shapes[model.num_buffers :])
    assert weights == 11_497_664
    assert 4 * weights / 655_360 == pytest.approx(70.2, abs=0.05)


@pytest.mark.parametrize(("arm", "num_packets"), [("fp32", 15), ("fp16", 8), ("int8", 4), ("int4", 2)])
def test_packets_of_a_share(arm: str, num_packets: int) -> None:
    run = estimated("papers/semantic_packet_loss", arm, "channel.forced_loss.rate=0", "transport.mtu_bytes=1500")
    assert run.packets_sent == num_packets * run.messages_sent


@pytest.mark.parametrize(
    ("arm", "num_bytes", "num_packets"), [("MCR2, subspaces", 3840, 3), ("MCR2, subspaces, int8", 1040, 1)]
)
def test_bytes_of_bases(arm: str, num_bytes: int, num_packets: int) -> None:
    """Of ten classes three directions of 32 dimensions; of 8 bits a number, two numbers of float32 a class beside them."""
    run = estimated("papers/compositional_multiview", arm)
    assert run.payload_bits == 4 * 8 * num_bytes
    assert run.packets_sent == num_packets * run.messages_sent


def test_codecs_with_error_feedback_carry_no_moments() -> None:
    topk = "codec={name='topk', ratio=0.1}"
    with pytest.raises(
        ScenarioError, match="has error_feedback, and class moments are sent anew in every round.*codec = .topk"
    ):
        load(SCENARIOS / "papers/semantic_packet_loss.toml", [topk], arm="fp32")

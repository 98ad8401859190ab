"""scenarios/studies/hierfavg.toml and split_learning.toml: the arithmetic of messages that their comments give."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsim.engine import simulate
from wsim.record import RunRecord
from wsim.scenario import load

STUDIES = Path(__file__).parents[3] / "scenarios/studies"


def one_round(study: str, arm: str, *keys: str) -> RunRecord:
    return simulate(load(STUDIES / f"{study}.toml", ["stop.rounds=1", *keys], arm=arm), "null")


@pytest.mark.parametrize(
    ("arm", "batches", "bits"),
    [
        ("FedAvg", 10, 838_272),
        ("SplitFed", 10, 461_440),
        ("SplitFed", 60, 2_103_040),
        ("vanilla", 10, 461_440),
    ],
)
def test_bits_of_a_sensor_in_a_round_of_split_learning(arm: str, batches: int, bits: int) -> None:
    run = one_round("split_learning", arm, f"algorithm.local_steps={batches}", "stop.simulated_s=100")
    assert run.payload_bits == 12 * bits


def test_work_of_a_sensor_is_a_ninth_below_the_cut() -> None:
    """Six operations a parameter and sample, four in the first layer, which needs no gradient of its inputs: of 11,018 and 2,080
    parameters; within 2 % for biases, activations and the loss."""
    whole, lower = (one_round("split_learning", arm).energy_by_use()["compute"] for arm in ("FedAvg", "SplitFed"))
    assert lower / whole == pytest.approx(4 * 2080 / (6 * 11_018 + 4 * 2080), rel=0.02)


@pytest.mark.parametrize(("arm", "edge_rounds"), [("2 edge rounds", 2), ("5 edge rounds", 5)])
def test_models_on_the_wires_and_on_the_air_in_a_round_of_the_cloud(arm: str, edge_rounds: int) -> None:
    """Four models of 14 packets with 44 bytes of header each down, four up with a number; 24 each way on the air in an edge round."""
    run = one_round("hierfavg", arm, "cells.update_every_s=100")  # nobody changes over
    wires = 8 * 158_848 + 4 * 32
    assert run.backhaul_bits == wires
    assert run.payload_bits == edge_rounds * 2 * 24 * 153_920


def test_with_fedavg_all_but_the_phones_of_the_first_station_use_a_wire() -> None:
    run = one_round("hierfavg", "FedAvg", "cells.update_every_s=100")
    crossings, rest = divmod(run.backhaul_bits or 0, 158_848)
    assert rest == 0
    assert crossings % 2 == 0
    assert 24 < crossings < 48

"""What networks of two sub-matrices learn, and how it carries over to other numbers of objects: the specification's acceptance numbers.

Trained in one place on samples of several scales, and by clients of different scales that average. All take minutes of simulation in
float32: `python -m pytest -m slow tests/learners/control`.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.contract.worlds import calm
from wsim.engine import simulate
from wsim.record import RunRecord
from wsim.scenario import load


def shares(record: RunRecord) -> dict[str, float]:
    """By test data, at the end: the mean over whom it is of."""
    return {data: float(values[-1]) for data, values in zip(record.series_data, record.series_accuracy, strict=True)}


def in_one_place(*overrides: str) -> dict[str, float]:
    """After 100 steps a round on the samples of four devices, each with its scale, pooled at device 0."""
    keys = ["dtype=float32", "devices.0.count=4", "algorithm.local_steps=100", "algorithm.local_optimizer=adam"]
    keys += ["algorithm.batch_size=64", 'evaluation.subjects=["device"]', "evaluation.every_rounds=1000"]
    found = shares(simulate(calm("centralized", *keys, *overrides)))
    print({data: round(100 * share, 2) for data, share in found.items()})  # noqa: T201  # with pytest -s
    return found


@pytest.mark.slow
def test_water_filling_at_any_number_of_channels() -> None:
    """Item 7: at least 99.5 % of the optimum from 4 to 32 channels, from training with 4, 6, 8 and 12. The specification saw 99.96 and more;
    the mean of 1,000 draws has a standard error of less than .02 % (draws of the reference are the same)."""
    data = 'data={name="parallel_channels", scales=[4, 6, 8, 12], test_scales=[2, 3, 16, 24, 32], train_samples=128000}'
    scales = [f"scale_{scale}" for scale in (2, 3, 4, 8, 12, 16, 24, 32)]
    found = in_one_place(
        data,
        'model={name="equivariant"}',
        "algorithm.learning_rate=3e-3",
        "stop.rounds=20",
        f"evaluation.data={scales}".replace("'", '"'),
    )
    assert min(found[f"scale_{scale}"] for scale in (4, 8, 12, 16, 24, 32)) >= 0.995, found


@pytest.mark.slow
def test_power_control_at_other_numbers_of_links() -> None:
    """Item 8: trained with 4, 6, 8 and 10 links, at least 94 % of WMMSE from 4 to 10 and 85 % at 16. The specification saw 102.7, 99.9, 97.6,
    95.7 and 90.6; a share of 500 channels has a standard error of some 0.5 %, since both rates are of the same channels."""
    data = (
        'data={name="interference_channel", scales=[4, 6, 8, 10], test_scales=[2, 12, 16, 20, 30], train_samples=40000}'
    )
    found = in_one_place(
        data,
        'model={name="edge_equivariant"}',
        "algorithm.batch_size=128",
        "algorithm.learning_rate=2e-3",
        "algorithm.learning_rate_schedule=step",
        "algorithm.decay_rounds=16",
        "algorithm.decay_factor=0.25",
        "stop.rounds=24",
        f"evaluation.data={[f'scale_{scale}' for scale in (2, 4, 6, 8, 10, 12, 16, 20, 30)]}".replace("'", '"'),
    )
    assert min(found[f"scale_{scale}"] for scale in (4, 6, 8, 10)) >= 0.94, found
    assert found["scale_16"] >= 0.85


@pytest.mark.slow
def test_averaging_beats_learning_alone_where_channels_are_few() -> None:
    """Item 9: six clients of 4 to 12 links with 20 channels each, by at least 1.5 points at their own scales in the mean of 3 seeds."""
    gains = []
    for seed in (1, 2, 3):
        averaged, alone = (
            shares(simulate(load("scenarios/papers/scalable_power_control.toml", arm=arm, seed=seed)))["own_scale"]
            for arm in ("averaged, 20", "alone, 20")
        )
        gains.append(averaged - alone)
    assert np.mean(gains) >= 0.015, gains

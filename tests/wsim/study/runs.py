"""Made-up finished runs, with results to match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.wsim.records import make_record
from wsim.record import RunRecord
from wsim.results import write
from wsim.scenario.arms import Selection
from wsim.study.comparison import Comparison, Row, compared
from wsim.study.finished import finished

STUDY_TEXT = """
[study]
arms = [{ name = "slow" }, { name = "fast", codec.name = "float16" }, { name = "odd" }]
axes = { "channel.bandwidth_hz" = [2e6, 1e6] }
"""


def arm_record(arm: str | None, seed: int, point: dict[str, Any] | None = None, **changes: Any) -> RunRecord:
    """A run of an arm whose accuracy rises from 0.1 towards a value of its own, faster for "fast"; worlds differ by seed."""
    resolved = {
        "scenario": {"name": "made_up", "seed": seed},
        "stop": {"simulated_s": 100.0},
        "devices": [{"count": 4, "radio": {"tx_power_dbm": 10.0}}],
        "channel": {"bandwidth_hz": (point or {}).get("channel.bandwidth_hz", 1e6)},
        "codec": {"name": "float16" if arm == "fast" else "float32"},
        "evaluation": {"every_s": 5.0, "targets": {"accuracy": [0.8, 0.99]}},
    } | changes.pop("resolved", {})
    time_s = np.linspace(5, 100, 20)
    world = np.random.default_rng(seed).normal(0, 0.03)
    own = np.random.default_rng([seed, 7, *(arm or "base").encode()]).normal(0, 0.003)
    rise = 1 - np.exp(-time_s / (12 if arm == "fast" else 30))
    accuracy = 0.1 + (0.78 + world + own) * rise
    hits = [np.flatnonzero(accuracy >= target) for target in (0.8, 0.99)]

    def at(values: np.ndarray) -> np.ndarray:
        return np.array([values[hit[0]] if len(hit) else np.nan for hit in hits])

    bits = np.linspace(1e6, 2e7, 20) * (0.02 if arm == "fast" else 1.0)
    energy = np.outer(np.linspace(0.05, 1, 20), [1, 2, 3, 4, 5, 0]) * (1 + world)
    fields = dict(
        name="made_up",
        num_evals=20,
        num_devices=4,
        scenario_text=STUDY_TEXT,
        overrides=[*Selection(arm, point or {}).overrides(), f"scenario.seed={seed}"],
        resolved=resolved,
        simulated_s=100.0,
        eval_time_s=time_s,
        eval_on_air_bits=bits.astype(np.int64),
        on_air_bits=int(bits[-1]),
        eval_energy_j=energy,
        accuracy=accuracy,
        accuracy_worst=accuracy - 0.05,
        targets=np.array([0.8, 0.99]),
        target_time_s=at(time_s),
        target_on_air_bits=at(bits),
        target_energy_j=at(energy.sum(axis=1)),
    )
    return make_record(seed=seed, **(fields | changes))


def write_arms(
    folder: Path, arms: tuple[str | None, ...] = ("slow", "fast"), seeds: tuple[int, ...] = (1, 2, 3)
) -> Path:
    """A folder of results."""
    folder.mkdir(exist_ok=True)
    for arm in arms:
        for seed in seeds:
            write(arm_record(arm, seed), folder / f"{arm}-s{seed}.h5")
    return folder


def make_comparison(
    arms: tuple[str, ...] = ("slow", "fast"),
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    points: tuple[dict[str, Any], ...] = ({},),
    **changes: Any,
) -> Comparison:
    rows = [
        Row(
            arm,
            point,
            tuple(finished(arm_record(arm, seed, point, **changes), Path(f"{arm}-s{seed}.h5")) for seed in seeds),
        )
        for arm in arms
        for point in points
    ]
    return compared("made_up", rows, arms[0], len(seeds))

"""Nobody waits for ever for a turn, whoever comes and goes, without a deadline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.contract.worlds import calm
from wsim.engine import Run


@pytest.mark.parametrize("seed", [1, 2, 7, 8, 14, 15])
def test_devices_find_together_after_the_last_arrival(seed: int, tmp_path: Path) -> None:
    """Comings and goings that end early, so that no later one could untie a knot. Cluster mates have no class in common here: they hear each
    other's statistics only. Without those that go to whom has been away, or where a device that is
    left behind may go on after the last round, most of these runs stand still."""
    rng = np.random.default_rng(seed)
    num_devices = 4 + seed % 7
    lines = []
    for device in range(num_devices):
        times = np.sort(rng.uniform(0, 0.25, 2 * int(rng.integers(1, 6))))
        lines += [f"{device} {time:.6f} {'leave' if i % 2 == 0 else 'join'}" for i, time in enumerate(times.tolist())]
    file = tmp_path / "churn.csv"
    file.write_text("\n".join(lines))
    loaded = calm(
        "semantic_mcr2_clusters",
        f'devices.0.churn={{kind="schedule", file="{file}"}}',
        f"devices.0.count={num_devices}",
        f"algorithm.local_steps={1 + seed % 2}",
        f"mac.kind={'shared' if seed % 2 else 'ideal'}",
        f"scenario.seed={seed}",
        "stop.rounds=25",
    )
    run = Run(loaded, "null", None, None, None, None)
    run.go()
    record = run.record()
    assert record.stop_reason == "rounds"
    assert record.simulated_s > 0.25


def test_a_note_where_no_message_meets_its_deadline() -> None:
    run = Run(calm("semantic_mcr2_clusters", "algorithm.deadline_s=1e-6"), "null", None, None, None, None)
    with pytest.warns(UserWarning, match="no statistics of a cluster mate ever came to some device"):
        run.go()

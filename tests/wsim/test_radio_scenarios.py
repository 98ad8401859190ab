"""The scenarios of the radio: each can be loaded and drawn, and its devices reach somebody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsim import scene as scenes
from wsim.scenario import load
from wsim.scene import scene

FILES = sorted((Path(__file__).parents[2] / "scenarios" / "radio").glob("*.toml"))


@pytest.mark.filterwarnings("ignore:.*outside the model")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_most_devices_have_a_link_somewhen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "GRID", 12)
    loaded = load(path)
    linked: set[int] = set()
    for time_s in (0.0, 5.0):
        found = scene(loaded, time_s)
        linked |= set(found.edges[found.edges < found.num_devices].tolist())
        assert np.isfinite(found.snr_db).all()
    assert len(linked) > 0.8 * found.num_devices

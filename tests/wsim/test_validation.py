"""`wsim validate` passes as it is, and fails where a model is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from channels import local_mean
from channels.doppler_fading import DopplerFading
from channels.path_loss import UmiStreetCanyon
from channels.random_waypoint import RandomWaypoint
from wsim import cli
from wsim.errors import ResultError
from wsim.mac.interference import InterferenceAhead
from wsim.scenario.compute import Compute
from wsim.validation import comparison, fading, interference, over_the_air, registry, runner
from wsim.validation.comparison import Comparison, of_samples


def failed(subject: str) -> set[str]:
    """Quantities that do not pass."""
    return {row.comparison.quantity for row in runner.compare([subject]) if not row.comparison.passed}


@pytest.mark.parametrize("subject", registry.SUBJECTS)
def test_every_subject_passes_and_is_sharp(subject: str) -> None:
    rows = runner.compare([subject])
    assert rows
    assert [row.cells for row in rows if not row.comparison.passed] == []
    assert all(row.comparison.is_sharp for row in rows)


def test_a_wrong_k_factor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The direct path 1 dB too strong."""
    monkeypatch.setattr(fading.Rician, "k", property(lambda self: float(10 ** ((self.k_db + 1.0) / 10))))
    found = [row.comparison for row in runner.compare(["fading"]) if not row.comparison.passed]
    assert found
    assert all("Rician" in each.model for each in found)


def test_a_doppler_shift_that_is_4_percent_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    cosine = DopplerFading._cosine
    monkeypatch.setattr(DopplerFading, "_cosine", lambda self, cycles: 1.04 * cosine(self, cycles))
    found = failed("doppler")
    assert "autocorrelation, 0.383 wavelengths" in found
    assert any("crossings" in quantity for quantity in found)


def test_another_pair_scale_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the exponential: right far apart, wrong near each other."""

    def wrong(distance_m: np.ndarray, correlation_m: float) -> np.ndarray:
        return np.full(np.shape(distance_m), np.sqrt(0.5))

    monkeypatch.setattr(local_mean, "pair_scale", wrong)
    assert {"variance/sigma^2, d/d_corr = 0.1", "variance/sigma^2, d/d_corr = 1"} <= failed("shadowing")


def test_a_wrong_line_of_sight_constant_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """63 m, that of another scenario, for 36 m."""

    def macro(self: UmiStreetCanyon, device_m: np.ndarray, other_m: np.ndarray) -> np.ndarray:
        d = np.maximum(np.linalg.norm((device_m - other_m)[..., :2], axis=-1), 18.0)
        return 18 / d + np.exp(-d / 63) * (1 - 18 / d)

    monkeypatch.setattr(UmiStreetCanyon, "los_probability", macro)
    assert len(failed("line_of_sight")) == 3


def test_a_walk_that_starts_uniformly_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from channels.mobility import Static

    monkeypatch.setattr(RandomWaypoint, "path", lambda self, rng: Static((*self.area.draw(rng), 1.5)))
    assert any("R at 0 s" in quantity for quantity in failed("mobility"))


def test_verdicts() -> None:
    assert Comparison("m", "q", 1.0, 1.09, 0.03, 0.1).verdict == "pass"
    assert Comparison("m", "q", 1.0, 1.11, 0.0, 0.1).verdict == "fail"
    assert Comparison("m", "q", 1.0, 1.0, 0.04, 0.1).verdict == "noisy"
    assert Comparison("m", "q", float("nan"), 1.0, 0.0, 0.1).verdict == "fail"
    assert Comparison("m", "q", 1e-3, 0.0, 0.0, 0.0).verdict == "fail"
    found = of_samples("m", "q", np.array([1.0, 2.0, 3.0]), 2.0, 1.0)
    assert (found.measured, found.standard_error) == (2.0, pytest.approx(1 / np.sqrt(3)))


def rows_of(*measured: float) -> registry.Subject:
    return lambda effort: iter(
        [comparison.of_value("model", f"quantity {i}", m, 1.0, 0.5) for i, m in enumerate(measured)]
    )


def test_command_writes_table_and_picture_and_its_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "SUBJECTS", {})
    registry.SUBJECTS.update(good=rows_of(1.0, 1.4), bad=rows_of(1.2, 9.0))
    monkeypatch.setattr(runner, "SUBJECTS", registry.SUBJECTS)
    assert cli.execute(["validate", "--only", "good", "--out", str(tmp_path / "a")]) == 0
    printed = capsys.readouterr()
    assert "quantity 1" in printed.out
    assert "2 of 2 comparisons pass" in printed.err
    assert cli.execute(["validate", "--json", "--out", str(tmp_path / "b")]) == 1
    printed = capsys.readouterr()
    assert "error: 3 of 4 comparisons pass, 1 do not." in printed.err
    assert [row["verdict"] for row in json.loads(printed.out)] == ["pass", "pass", "pass", "fail"]
    table = list(csv.DictReader((tmp_path / "b" / runner.TABLE_CSV).open()))
    assert [row["measured"] for row in table] == ["1.0", "1.4", "1.2", "9.0"]
    assert "| bad | model | quantity 1 | 9 | 1 | 0 | 0.5 | fail |" in (tmp_path / "b" / runner.TABLE_MD).read_text()
    assert (tmp_path / "b" / runner.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_unknown_subject_is_one_clear_line() -> None:
    with pytest.raises(ResultError, match=r"unknown subject \(doppler\?\), known: fading"):
        runner.compare(["dopler"])
    assert cli.execute(["validate", "--only", "dopler"]) == 2


def test_interference_that_is_left_out_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InterferenceAhead, "_over_interference", lambda self, own, others: own)
    monkeypatch.setattr(interference, "NUM_FIELDS", 300)
    assert len(failed("interference")) == 2  # the same levels for given places and for the field


def test_a_truncation_at_another_gain_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices that go on 1 dB below what their power reaches."""
    truncated = over_the_air.truncated_inversion
    louder = 10**0.1
    monkeypatch.setattr(over_the_air, "truncated_inversion", lambda gains, p, eta: truncated(gains, p * louder, eta))
    assert {"kept fraction", "mean power over the budget"} <= failed("over_the_air")


def test_a_capacitance_that_is_1_percent_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    watts = Compute.watts
    monkeypatch.setattr(Compute, "watts", lambda self, speed: 1.01 * watts(self, speed))
    assert failed("computing") == {"joules of a job"}

"""`wsim validate` passes as it is, and fails where a model is wrong."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from channels import delay_profile, local_mean, manhattan
from channels import gauss_markov as math_of_gauss_markov
from channels.delay_profile import ExponentialProfile
from channels.doppler_fading import DopplerFading
from channels.gauss_markov import GaussMarkov
from channels.manhattan import Manhattan
from channels.path_loss import UmiStreetCanyon, tr38901_uma
from channels.path_loss.tr38901_uma import UrbanMacro
from channels.random_waypoint import RandomWaypoint
from channels.registry import PATH_LOSSES
from wsim import cli
from wsim.catalog import find
from wsim.cells import Cells
from wsim.errors import ResultError
from wsim.mac.interference import InterferenceAhead
from wsim.scenario.compute import Compute
from wsim.validation import (
    comparison,
    computing,
    fading,
    interference,
    over_the_air,
    path_loss,
    registry,
    runner,
    shadowing,
    transfers,
)
from wsim.validation import gauss_markov as walks
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


def test_a_wrong_constant_of_a_standard_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """UMa's 39.08 as 39.8, which is 1.4 dB at 100 m."""

    def wrong(*arguments: Any) -> Any:
        d3 = np.hypot(arguments[0], arguments[1] - arguments[2])
        return 13.54 + 39.8 * np.log10(d3) + 20 * np.log10(arguments[3] / 1e9)

    monkeypatch.setattr(tr38901_uma, "uma_nlos_loss_db", wrong)
    found = [row.comparison for row in runner.compare(["path_loss"]) if not row.comparison.passed]
    assert {each.model for each in found} == {"path loss tr38901_uma"}
    assert {each.quantity for each in found} == {f"not in sight, {d} m, 3.5 GHz: dB" for d in (100, 1000)}


def test_a_path_loss_that_is_not_a_literal_is_missed_by_nobody() -> None:
    """Every registered model has a loss by hand, and each with a line of sight a probability."""
    assert {point.model.name for point in path_loss.POINTS} == set(PATH_LOSSES)
    with_sight = {name for name in PATH_LOSSES if find("path_loss", name).has_los}
    assert {sight.model.name for sight in path_loss.SIGHTS} == with_sight


def test_a_sigma_of_another_scenario_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """UMi's 7.82 dB for UMa's 6."""
    monkeypatch.setattr(UrbanMacro, "standard_shadowing", UmiStreetCanyon.standard_shadowing)
    monkeypatch.setattr(shadowing, "NUM_FIELDS", 2)  # the other comparisons of the subject are noisy then
    found = [row.comparison for row in runner.compare(["shadowing"]) if row.comparison.verdict == "fail"]
    assert [each.quantity for each in found if "tr38901" in each.model] == ["variance over 6^2, not in sight"]


def test_a_walk_that_forgets_too_fast_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth less memory, and with it more speed than the start has."""
    own = GaussMarkov._legs

    def forgetful(self: GaussMarkov, rng: np.random.Generator, start_m: Any) -> Any:
        if self.memory < 0.8:
            return own(self, rng, start_m)
        return own(replace(self, memory=0.72), rng, start_m)

    monkeypatch.setattr(GaussMarkov, "_legs", forgetful)
    monkeypatch.setattr(walks, "NUM_INSIDE", 10)
    assert {f"autocorrelation of a component, {lag} steps" for lag in (1, 3)} <= failed("gauss_markov")


def test_innovations_of_another_size_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """s sqrt(1 - a) instead of s sqrt(1 - a^2): the speed decays."""
    monkeypatch.setattr(math_of_gauss_markov, "math", _Math())
    monkeypatch.setattr(walks, "NUM_INSIDE", 10)
    assert "mean squared speed in the last step, m^2/s^2" in failed("gauss_markov")


class _Math:
    """`math` with a square root that takes 1 - a^2 for 1 - a."""

    def __getattr__(self, name: str) -> Any:
        return getattr(math, name)

    def sqrt(self, x: float) -> float:
        return math.sqrt(1 - math.sqrt(1 - x)) if 0 < x < 1 else math.sqrt(x)


def test_turns_that_forget_the_rim_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Always straight on where one may: the rim is left in corners only."""
    monkeypatch.setattr(Manhattan, "_next", _straight_on)
    found = failed("manhattan")
    assert {"straight on at junctions inside", "straight on along the rim"} <= found


def _straight_on(self: Manhattan, i: int, j: int, heading: int, draw: float) -> int:
    for turn in (0, 1, 3):
        dx, dy = manhattan.DIRECTIONS[(heading + turn) % 4]
        if 0 <= i + dx <= self.num_blocks and 0 <= j + dy <= self.num_blocks:
            return (heading + turn) % 4
    raise AssertionError


def test_a_start_at_junctions_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody on the way between two junctions at the start."""
    from channels.mobility import Static

    def at_a_junction(self: Manhattan, rng: np.random.Generator) -> Static:
        return Static((*self._place(*rng.integers(self.num_blocks + 1, size=2).tolist()), self.height_m))

    monkeypatch.setattr(Manhattan, "path", at_a_junction)
    monkeypatch.setattr("wsim.validation.manhattan._turns", lambda walk, num: (np.zeros(3), np.zeros(3)))
    assert "share within 0.1 blocks of a junction at 0 s" in failed("manhattan")


def test_a_hysteresis_that_is_half_a_decibel_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Cells.__init__

    def later(self: Cells, *arguments: Any) -> None:
        begun(self, *arguments)
        self._hysteresis_db += 0.5

    monkeypatch.setattr(Cells, "__init__", later)
    assert {"place on the way there, m", "place on the way back, m"} == failed("handover")


def test_a_wrong_delay_profile_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the delay spread on the air."""
    delays_s = ExponentialProfile.delays_s
    monkeypatch.setattr(ExponentialProfile, "delays_s", lambda self, key: 0.5 * delays_s(self, key))
    found = [row.comparison for row in runner.compare(["selectivity"]) if not row.comparison.passed]
    assert found
    assert all(each.model.startswith("exponential profile") for each in found)


def test_a_slow_down_of_another_mean_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slowest of eight jobs sees the mean of the exponential part."""
    monkeypatch.setattr(computing, "MEAN_FRACTION", 0.45)
    own = computing._run
    monkeypatch.setattr(
        computing, "_run", lambda compute, *rest: own(compute.replace("fraction = 0.45", "fraction = 0.5"), *rest)
    )
    assert failed("computing") == {"slowest of 8 jobs, over the fastest"}


def test_a_gap_to_capacity_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap of 0.2 dB to capacity that the theory does not have."""
    monkeypatch.setattr(transfers, "_SCENARIO", transfers._SCENARIO.replace("snr_gap_db = 0.0", "snr_gap_db = 0.2"))
    found = failed("transfers")
    assert {"one device: seconds", "4 devices: seconds"} <= found


def test_the_page_names_every_subject() -> None:
    page = (Path(__file__).parents[2] / "docs/pages/validation.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(registry.SUBJECTS)


def test_a_tap_of_a_table_that_is_wrong_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last tap of TDL-B, which has 7 % of the power, half as late."""
    delays, powers = delay_profile._TABLES["tdl_b"]
    monkeypatch.setitem(delay_profile._TABLES, "tdl_b", ((*delays[:-1], delays[-1] / 2), powers))
    assert failed("selectivity") == {"r.m.s. delay spread of the table"}


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
    with pytest.raises(ResultError, match=r"unknown subject \(doppler\?\), known: path_loss, fading"):
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

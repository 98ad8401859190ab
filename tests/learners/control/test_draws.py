"""Draws of channels: their distributions, their axes, what is refused; recorded gains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learners.control import device_links
from learners.control.device_links import draw_device_links, path_loss_db
from learners.control.gains import check_scale
from learners.control.interference_channel import draw_interference
from learners.control.parallel_channels import draw_parallel
from learners.control.rates import sum_rates
from learners.control.recorded_channels import read_channels


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_amplitudes_are_rayleigh_with_mean_square_one() -> None:
    """|h|^2 ~ Exp(1): mean 1 and median ln 2, standard errors 1 / 100 each for 10,000 draws."""
    gains = draw_interference(rng(), 400, 5) ** 2
    assert gains.shape == (400, 5, 5)
    assert gains.mean() == pytest.approx(1, abs=0.04)
    assert np.median(gains) == pytest.approx(np.log(2), abs=0.04)
    assert np.unique(gains).size == gains.size


def test_parallel_gains_have_their_mean() -> None:
    """5 Exp(1): standard error 5 / 100 for 10,000 draws; its median 5 ln 2 likewise."""
    gains = draw_parallel(rng(), 1000, 10)
    assert gains.shape == (1000, 10)
    assert gains.mean() == pytest.approx(5, abs=0.2)
    assert np.median(gains) == pytest.approx(5 * np.log(2), abs=0.2)
    assert np.array_equal(draw_parallel(rng(), 3, 4, mean_gain=10), 2 * draw_parallel(rng(), 3, 4))


def test_path_loss_between_devices() -> None:
    """By hand at 2.4 GHz and 1.5 m: lambda 0.124914 m, R_bp 72.05 m, L_bp 71.18 dB; 6 dB more at R_bp; 20 dB a decade below, 40
    beyond."""
    breakpoint = device_links.BREAKPOINT_M
    assert breakpoint == pytest.approx(72.05, abs=0.01)
    assert path_loss_db(np.array(breakpoint)) == pytest.approx(77.18, abs=0.01)
    near, far = (path_loss_db(np.array(ratio * breakpoint)) for ratio in (0.1, 10))
    assert path_loss_db(np.array(breakpoint)) - near == pytest.approx(20)
    assert far - path_loss_db(np.array(breakpoint)) == pytest.approx(40)
    assert path_loss_db(np.array(0.0)) == path_loss_db(np.array(1.0))


def test_device_links_are_dense_alike_at_any_scale() -> None:
    """Own gains: between the SNR at 65 m and at 2 m, less the gap. The cross gain of the nearest interferer, in dB, has the same mean at K = 40 and
    at 80 but for the rim; its standard error over 40 layouts is below 0.5 dB. A tenth of the density takes 10 to 20 dB off it."""
    nearest = {}
    for num_links, density in ((40, 50.0), (80, 50.0), (80, 5.0)):
        snrs = draw_device_links(rng(2), 40, num_links, density)
        direct_db = 10 * np.log10(snrs.diagonal(axis1=1, axis2=2))
        shortest, longest = device_links.SNR_WITHOUT_LOSS_DB - path_loss_db(np.array([2.0, 65.0])) - 6
        assert ((longest <= direct_db) & (direct_db <= shortest)).all()
        cross = snrs * ~np.eye(num_links, dtype=bool)
        nearest[num_links, density] = (10 * np.log10(cross.max(2))).mean()
    assert nearest[40, 50.0] == pytest.approx(nearest[80, 50.0], abs=2)
    assert 10 < nearest[80, 50.0] - nearest[80, 5.0] < 20


def test_the_first_links_of_many_lie_as_dense_as_few() -> None:
    """A device of 10 links sees the first 10 of samples of 20: the mean rate at full power and the strongest interferer in dB are those of
    layouts of 10 within 5 % and 1 dB (some 10 / 11 * 21 / 20 as dense, 0.2 dB; standard errors over 1,000 layouts are 1 % and 0.2 dB). Any 10 of the 20
    have half the density, 50 % more rate and 4 dB less."""
    rates, nearest_db = [], []
    for snrs in (draw_device_links(rng(6), 1000, 20)[:, :10, :10], draw_device_links(rng(7), 1000, 10)):
        rates.append(sum_rates(torch.from_numpy(snrs), torch.ones(1000, 10, dtype=torch.float64)).mean().item())
        nearest_db.append((10 * np.log10((snrs * ~np.eye(10, dtype=bool)).max(2))).mean())
    assert rates[0] == pytest.approx(rates[1], rel=0.05)
    assert nearest_db[0] == pytest.approx(nearest_db[1], abs=1)


def test_rows_of_device_links_are_receivers() -> None:
    """Path by path from the same draws: places of transmitters, lengths and directions of links."""
    found, draws = draw_device_links(rng(3), 2, 3, links_per_km2=3.0), rng(3)
    drawn, lengths_m, angles = draws.random((2, 3, 2)) * 1000 - 500, draws.uniform(2, 65, (2, 3)), draws.random((2, 3))
    transmitters_m = np.array([sorted(layout, key=lambda place: np.abs(place).max()) for layout in drawn])
    for i, k, j in np.ndindex(2, 3, 3):
        way_m = lengths_m[i, k] * np.array([np.cos(2 * np.pi * angles[i, k]), np.sin(2 * np.pi * angles[i, k])])
        distance_m = np.hypot(*(transmitters_m[i, k] + way_m - transmitters_m[i, j]))
        snr_db = 40 + 2.5 + 169 - 10 * np.log10(5e6) - path_loss_db(distance_m) - (6 if j == k else 0)
        assert 10 * np.log10(found[i, k, j]) == pytest.approx(snr_db, abs=1e-9)


@pytest.mark.parametrize("num_objects", [0, -1, 1.5, True, "3"])
def test_a_scale_is_a_count(num_objects: Any) -> None:
    with pytest.raises(ValueError, match="num_links = .*: a scale is a whole number of objects, at least 1"):
        check_scale("num_links", num_objects)


def test_draws_refuse_what_they_cannot_draw() -> None:
    for draw in (draw_interference, draw_device_links, draw_parallel):
        with pytest.raises(ValueError, match="= 0: a scale is a whole number of objects, at least 1"):
            draw(rng(), 3, 0)
    with pytest.raises(ValueError, match="mean_gain = 0: a positive finite number"):
        draw_parallel(rng(), 3, 4, mean_gain=0)
    with pytest.raises(ValueError, match="links_per_km2 = -1: a positive"):
        draw_device_links(rng(), 3, 4, links_per_km2=-1)


# -- recorded ---------------------------------------------------------------------------------------------------------


def save(path: Path, **contents: Any) -> Path:
    np.savez(path, **contents)
    return path


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16"])
def test_recorded_gains_are_taken_as_they_are(dtype: str, tmp_path: Path) -> None:
    gains = np.arange(18).reshape(2, 3, 3).astype(dtype)
    found = read_channels(save(tmp_path / "my.npz", gains=gains, types=np.full(3, 7), notes=np.array(["x"])))
    assert np.array_equal(found, gains)
    assert found.dtype == np.float64
    assert np.array_equal(read_channels(save(tmp_path / "no_types.npz", gains=gains)), gains)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"gains": np.full((2, 3, 3), -0.5)}, r"array gains\[0, 0, 0\] = -0.5: gains are linear, finite and not negative"),
        ({"gains": np.full((2, 3, 3), np.nan)}, r"array gains\[0, 0, 0\] = nan: gains are linear"),
        ({"gains": np.ones((2, 0, 0))}, r"array gains has the shape \(2, 0, 0\): \[num, K, K\] with K = 0 objects"),
        ({"gains": np.ones((2, 3))}, r"array gains has the shape \(2, 3\): \[num, K, K\]"),
        ({"gains": np.ones((2, 3, 4))}, r"array gains has the shape \(2, 3, 4\): \[num, K, K\]"),
        ({"gains": np.ones((0, 3, 3))}, r"array gains has the shape \(0, 3, 3\): at least one channel"),
        ({"gains": np.ones((2, 3, 3)), "types": np.array([0, 1, 0])}, "array types holds 0, 1: links of one problem are exchangeable"),
        ({"gains": np.ones((2, 3, 3)), "types": np.zeros(2)}, r"array types has the shape \(2,\), for gains of 3 links it is \(3,\)"),
        ({"gains": np.full((2, 3, 3), "x")}, "array gains holds <U1, not numbers"),
        ({"gains": np.full((2, 3, 3), None)}, "array gains holds objects, not numbers"),
        ({"inputs": np.ones(3)}, "has no array gains: needs gains; it has inputs"),
    ],
)  # fmt: skip
def test_recorded_gains_that_cannot_be_used_are_refused(contents: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_channels(save(tmp_path / "my.npz", **contents))
    assert str(caught.value).startswith(str(tmp_path / "my.npz"))
    assert "\n" not in str(caught.value)

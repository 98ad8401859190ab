"""The shadowing field: correlation, law, symmetry. Averages over independent fields; tolerances in standard errors."""

import numpy as np
import pytest

from channels.mobility import Static
from channels.path_loss import FreeSpace
from channels.shadowing import PlaneWaveField, Shadowing, pair_scale

NUM_FIELDS = 1500


def _standard_errors(per_field, expected):
    """How many standard errors the mean over independent fields is away from what theory says."""
    per_field = np.asarray(per_field)
    return abs(per_field.mean() - expected) / (per_field.std(ddof=1) / np.sqrt(per_field.size))


@pytest.fixture(scope="module")
def samples():
    """Values of independent fields of d_corr = 20 m at 100 places and displaced by 2, 10, 20, 60 m: [fields, 5, 100]."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-500, 500, (2, 100))
    angle = rng.uniform(0, 2 * np.pi, 100)
    steps = np.array([0.0, 2.0, 10.0, 20.0, 60.0])[:, None]
    at_x, at_y = x + steps * np.cos(angle), y + steps * np.sin(angle)
    return np.array([PlaneWaveField(key, 20.0).at(at_x, at_y) for key in range(NUM_FIELDS)])


@pytest.mark.parametrize(("index", "distance_m"), [(1, 2.0), (2, 10.0), (3, 20.0), (4, 60.0)])
def test_autocorrelation_is_exponential(samples, index, distance_m):
    products = (samples[:, 0] * samples[:, index]).mean(axis=1)
    assert _standard_errors(products, np.exp(-distance_m / 20.0)) < 4.5


def test_field_has_zero_mean_and_unit_variance(samples):
    assert _standard_errors(samples.mean(axis=(1, 2)), 0) < 4.5
    assert _standard_errors((samples**2).mean(axis=(1, 2)), 1) < 4.5


def test_field_is_gaussian(samples):
    """P(S < q) at three normal quantiles; with 128 waves the bias is below 1/128 of the density, far under the error."""
    for probability, quantile in ((0.02275, -2.0), (0.5, 0.0), (0.84134, 1.0)):
        assert _standard_errors((samples < quantile).mean(axis=(1, 2)), probability) < 4.5


def test_field_is_a_function_of_place_alone():
    field = PlaneWaveField(3, 13.0)
    x, y = np.random.default_rng(2).uniform(-300, 300, (2, 1500))
    together = field.at(x, y)
    order = np.random.default_rng(3).permutation(x.size)
    np.testing.assert_array_equal(field.at(x[order], y[order]), together[order])
    np.testing.assert_array_equal([field.at(x[i : i + 1], y[i : i + 1])[0] for i in range(40)], together[:40])
    assert not np.array_equal(PlaneWaveField(4, 13.0).at(x, y), together)


@pytest.mark.parametrize("separation_m", [0.5, 20.0, 300.0])
def test_pair_shadowing_has_variance_sigma_squared(mesh, separation_m):
    """Free space between two devices, sigma 6 dB: the mean gain's deviation from the loss, over 1500 keys."""
    paths = [Static((0.0, 0.0, 1.5)), Static((separation_m, 0.0, 1.5))]
    deviations = []
    for key in range(1500):
        channel = mesh(paths=paths, key=key, path_loss=FreeSpace(0.1), shadowing=Shadowing(6.0, 20.0))
        there, back = channel.mean_gain_db([0, 1], [1, 0], 0.0)
        assert there == back
        deviations.append(there)
    loss_db = FreeSpace(0.1).least_loss_db(np.array(separation_m), 3.5e9)
    deviations = np.array(deviations) + loss_db
    assert _standard_errors(deviations, 0) < 4.5
    assert _standard_errors(deviations**2, 36.0) < 4.5


def test_pair_scale_at_both_limits():
    """Together: (F + F)/2 = F. Far apart: (F + G)/sqrt(2)."""
    np.testing.assert_allclose(pair_scale(np.array([0.0, 1e9]), 20.0), [0.5, 1 / np.sqrt(2)])


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="sigma_db"):
        Shadowing(-1.0, 10.0)
    with pytest.raises(ValueError, match="correlation_m"):
        Shadowing(4.0, 0.0)

"""Gains over frequency: correlation of the profiles, the law at every block, the flat limit, and the standard's tables."""

import numpy as np
import pytest

from channels.delay_profile import DIRECT_DB, TABLE_K_DB, ExponentialProfile, TappedDelayLine
from channels.fading import Rayleigh, Rician
from channels.nakagami import Nakagami

SPREAD_S = 1e-6
TABLES = {name: TappedDelayLine(name, SPREAD_S) for name in ("tdl_a", "tdl_b", "tdl_c", "tdl_d", "tdl_e")}
KEY = np.zeros((1, 1), np.uint64)
LAWS = {
    "rayleigh block": Rayleigh(),
    "rayleigh doppler": Rayleigh("doppler"),
    "rician block": Rician(k_db=3.0),
    "rician doppler": Rician("doppler", k_db=3.0),
}


def rms_delay(profile, direct_db=None):
    powers, delays = profile.powers, profile.delays_s(KEY)[0]
    if direct_db is not None:
        k = 10 ** (TABLE_K_DB[profile.model] / 10)
        powers, delays = np.append(powers / (1 + k), k / (1 + k)), np.append(delays, 0.0)
    return np.sqrt(powers @ delays**2 - (powers @ delays) ** 2)


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_a_delay_spread_of_one(name):
    """TR 38.901 7.7.2: normalized delays, so that the r.m.s. delay, direct path included, is 1; its rounding leaves 0.2 %, and
    0.6 % in TDL-D, whose spread is that of a few weak taps far away."""
    assert rms_delay(TABLES[name], DIRECT_DB.get(name)) == pytest.approx(
        SPREAD_S, rel=1e-2 if name == "tdl_d" else 2e-3
    )


@pytest.mark.parametrize(
    ("name", "num_taps", "last_delay", "last_db"),
    [
        ("tdl_a", 23, 9.6586, -29.7),
        ("tdl_b", 23, 4.7834, -11.3),
        ("tdl_c", 24, 8.6523, -22.8),
        ("tdl_d", 13, 12.525, -27.7),
        ("tdl_e", 14, 20.6519, -29.2),
    ],
)
def test_tables_have_the_taps_of_the_standard(name, num_taps, last_delay, last_db):
    """TR 38.901 tables 7.7.2-1 to 7.7.2-5: so many taps (the first of D and E has a direct path beside the Rayleigh part), from
    delay 0 to the last one, the strongest path of the whole table at 0 dB (D, E: the direct one, within its rounding)."""
    profile = TABLES[name]
    powers, delays = profile.powers, profile.delays_s(KEY)[0] / SPREAD_S
    assert len(powers) == len(delays) == num_taps
    assert powers.sum() == pytest.approx(1.0, abs=1e-12)
    assert (delays[0], delays[-1], delays.max()) == pytest.approx((0.0, last_delay, last_delay), rel=1e-12)
    assert profile.needs_direct == (name in DIRECT_DB)
    if name in DIRECT_DB:
        k = 10 ** (TABLE_K_DB[name] / 10)
        over_direct_db = 10 * np.log10(powers / k)
        assert over_direct_db[-1] + DIRECT_DB[name] == pytest.approx(last_db, abs=1e-9)
        first_db = 10 * np.log10(10 ** (DIRECT_DB[name] / 10) + 10 ** ((over_direct_db[0] + DIRECT_DB[name]) / 10))
        assert first_db == pytest.approx(0.0, abs=5e-3)  # both parts of the first tap together are 0 dB
    else:
        assert 10 * np.log10(powers[-1] / powers.max()) == pytest.approx(last_db, abs=1e-9)


def test_first_tap_k_of_the_tables_with_a_direct_path():
    """13.3 dB and 22 dB, notes of tables 7.7.2-4 and 7.7.2-5: direct path over the first Rayleigh tap."""
    for name, k_db in (("tdl_d", 13.3), ("tdl_e", 22.0)):
        first_db = 10 * np.log10(TABLES[name].powers[0]) + DIRECT_DB[name] - TABLE_K_DB[name]
        assert DIRECT_DB[name] - first_db == pytest.approx(k_db, abs=1e-6)


@pytest.fixture
def gains(mesh):
    """Gains over blocks without the local mean, [pairs, cells, blocks]; one antenna, 1,225 pairs of static nodes."""

    def draw(law, profile, cells=80, blocks=9, block_hz=50e3, first_cell=0, **kwargs):
        channel = mesh(50, fading=law, delay_profile=profile, shadowing=None, rx_antennas=[1] * 50, **kwargs)
        tx, rx = np.triu_indices(50, 1)
        mean = 10 ** (channel.mean_gain_db(tx, rx, 0.0) / 10)
        return channel.gain_per_block(tx, rx, first_cell, cells, blocks, block_hz) / mean[:, None, None]

    return draw


@pytest.mark.parametrize("name", ["exponential", "tdl_a", "tdl_c"])
@pytest.mark.parametrize("correlation", ["block", "doppler"])
def test_power_correlation_over_frequency_is_that_of_the_profile(gains, name, correlation):
    """cov(|h(f)|^2, |h(f + df)|^2) = |r(df)|^2, in standard errors over 1,225 links of 80 cells. Cells of Doppler fading 4
    periods apart are all but independent; its finite sum lowers the covariance by 1/N at most, with N = 64."""
    profile = ExponentialProfile(SPREAD_S) if name == "exponential" else TABLES[name]
    law = Rayleigh(correlation, num_sinusoids=64)
    if correlation == "block":
        power = gains(law, profile)
    else:
        power = np.concatenate([gains(law, profile, cells=1, first_cell=200 * k) for k in range(5)], axis=1)
    for step in (1, 3, 6):
        products = ((power[:, :, step:] - 1) * (power[:, :, :-step] - 1)).mean(axis=(1, 2))
        expected = abs(profile.correlation(np.array(step * 50e3))) ** 2
        error = products.std(ddof=1) / np.sqrt(products.size)
        assert error < 0.04
        assert abs(products.mean() - expected) < 4.5 * error + (expected / 64 if correlation == "doppler" else 0.0)


def test_exponential_profile_has_the_closed_form_whatever_the_number_of_taps():
    """The mean of sum_l P_l exp(-j 2 pi df tau_l) over 40,000 keys is 1/(1 + j 2 pi df s), real and imaginary part."""
    keys = np.random.default_rng(5).integers(1 << 63, size=(40_000, 1)).astype(np.uint64)
    df_hz = np.array([0.1, 0.5, 3.0]) / SPREAD_S
    for num_taps in (2, 16):
        profile = ExponentialProfile(SPREAD_S, num_taps)
        turns = np.exp(-2j * np.pi * profile.delays_s(keys)[:, :, None] * df_hz) * profile.powers[:, None]
        found = turns.sum(axis=1)
        for part in (np.real, np.imag):
            error = part(found).std(axis=0) / np.sqrt(len(keys))
            assert (np.abs(part(found.mean(axis=0) - profile.correlation(df_hz))) < 4.5 * error).all()


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("profile", [ExponentialProfile(SPREAD_S), TABLES["tdl_b"]], ids=["exponential", "tdl_b"])
def test_every_block_has_the_law_of_the_flat_link(gains, law, profile):
    """Mean 1 and outage at three levels, per block over 1,225 links and 5 cells far apart; 1/(2N) allowed for finite sums."""
    if law.correlation == "block":
        power = gains(law, profile, cells=5)
    else:
        power = np.concatenate([gains(law, profile, cells=1, first_cell=200 * k) for k in range(5)], axis=1)
    edge = power[:, :, [0, 4, 8]]
    n = edge[:, :, 0].size
    for b in range(3):
        assert abs(edge[:, :, b].mean() - 1) < 4.5 * edge[:, :, b].std() / np.sqrt(n)
        for level in (0.1, 0.5, 1.5):
            p = 1 - law.exceeds(level)
            assert abs((edge[:, :, b] < level).mean() - p) < 4.5 * np.sqrt(p * (1 - p) / n) + p / 32


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_one_tap_without_delay_is_the_flat_link(mesh, law):
    class OneTap:
        needs_direct = False
        powers = np.ones(1)

        def delays_s(self, key):
            return np.zeros((1, 1))

    channel = mesh(6, moving=True, fading=law, delay_profile=OneTap())
    tx, rx = np.array([0, 1, 5]), np.array([3, 2, 0])  # several antennas at 0 and 3
    flat = channel.gain(tx, rx, 7, 4)
    selective = channel.gain_per_block(tx, rx, 7, 4, 3, 180e3)
    np.testing.assert_allclose(selective, np.repeat(flat[:, :, None], 3, axis=2), rtol=1e-4)


def test_gains_per_block_are_reciprocal_and_the_same_whoever_asks(mesh):
    channel = mesh(6, fading=Rayleigh("doppler"), delay_profile=TABLES["tdl_a"], rx_antennas=[1] * 6)
    tx, rx = np.array([0, 1, 2]), np.array([3, 4, 5])
    one = channel.gain_per_block(tx, rx, 100, 5, 6, 180e3)
    np.testing.assert_array_equal(channel.gain_per_block(rx, tx, 100, 5, 6, 180e3), one)
    np.testing.assert_array_equal(channel.gain_per_block(tx[1:2], rx[1:2], 102, 1, 6, 180e3), one[1:2, 2:3])
    assert "tdl_a" in channel.provenance()["delay_profile"]


@pytest.mark.parametrize(
    ("law", "profile", "words"),
    [
        (Nakagami(m=2.0), TABLES["tdl_a"], "nakagami has powers only"),
        (Rayleigh("ergodic"), TABLES["tdl_a"], "mean gains only"),
        (Rayleigh(), TABLES["tdl_d"], "rician"),
        (None, TABLES["tdl_a"], "there is none"),
    ],
)
def test_what_a_profile_cannot_shape_is_refused(mesh, law, profile, words):
    with pytest.raises(ValueError, match=words):
        mesh(fading=law, delay_profile=profile)


def test_bad_profiles_are_refused(mesh):
    for wrong in (
        lambda: TappedDelayLine("tdl_f", 1e-6),
        lambda: TappedDelayLine("tdl_a", -1.0),
        lambda: ExponentialProfile(1e-6, 1),
    ):
        with pytest.raises(ValueError, match="="):
            wrong()
    with pytest.raises(ValueError, match="delay_profile"):
        mesh(fading=Rayleigh()).gain_per_block(np.array([0]), np.array([1]), 0, 1, 4, 180e3)

"""Path losses, standard shadowing and indoor devices through scenarios: all run, and what is wrong is one clear line."""

import dataclasses
import re
import sys
from pathlib import Path

import pytest

import wsim.cli as cli
from channels.registry import PATH_LOSSES
from wsim.catalog import find
from wsim.engine import simulate
from wsim.errors import ScenarioError
from wsim.scenario import load

QUICK = Path(__file__).parents[2] / "scenarios" / "quickstart.toml"
RING = Path(__file__).parents[2] / "scenarios" / "dpsgd_ring.toml"
NO_SHADOWING = "channel.shadowing=none"
NEAR = ("area.radius_m=40", "area.min_distance_m=0")  # in reach of the indoor models, too
OWN = {
    "log_distance": "{kind='log_distance', exponent=3.0}",
    "multi_slope": "{kind='multi_slope', exponents=[2, 3.5], breaks_m=[30]}",
}


def _run(path, *overrides):
    return simulate(load(path, ["stop={rounds=1}", *overrides]), executor="null")


def _has_no_shadowing(name):
    return getattr(find("path_loss", name), "standard_shadowing", None) is None


@pytest.mark.parametrize("name", PATH_LOSSES)
def test_every_path_loss_carries_a_round(name):
    record = _run(QUICK, f"channel.path_loss={OWN.get(name, name)}", NO_SHADOWING, "channel.carrier_hz=2.0e9", *NEAR)
    assert record.radio_provenance["path_loss"].startswith(find("path_loss", name).__name__)
    assert record.simulated_s > 0


@pytest.mark.parametrize("name", [n for n in PATH_LOSSES if not find("path_loss", n).needs_station])
def test_every_model_for_pairs_carries_a_round_between_devices(name):
    shadowing = NO_SHADOWING if _has_no_shadowing(name) else "channel.shadowing=standard"
    record = _run(RING, f"channel.path_loss={OWN.get(name, name)}", shadowing, "channel.carrier_hz=2.4e9")
    assert record.simulated_s > 0


@pytest.mark.parametrize(
    ("path", "overrides", "says"),
    [
        (RING, ["channel.path_loss=tr38901_uma"], r"base-station-to-user model"),
        (
            QUICK,
            ["channel.path_loss=free_space", "channel.shadowing=standard"],
            r"shadowing = \"standard\": path loss free_space",
        ),
        (
            QUICK,
            ["channel.path_loss=tr38901_rma", NO_SHADOWING, "channel.carrier_hz=60e9"],
            r"carrier_hz = 6e10: tr38901_rma holds",
        ),
        (RING, ["devices.0.indoor=car"], r"\[devices.0\] indoor = \"car\": .*needs a \[server\]"),
        (QUICK, ["devices.0.indoor=cave"], r"indoor = \"cave\""),
        (
            QUICK,
            ["devices.0.indoor=car", "channel.path_loss=tr38901_inh", NO_SHADOWING],
            r"path loss tr38901_inh has both ends in one building",
        ),
        (
            QUICK,
            ["channel.path_loss={kind='tr37885_v2v', environment='highway', blocked_by='building'}", NO_SHADOWING],
            r"blocked_by = \"building\": no buildings",
        ),
        (
            QUICK,
            ["channel.path_loss={kind='tr38901_umi', strict=true}", "server.position_m=[0,0,25]"],
            "height 25 m is outside",
        ),
        (QUICK, ["server.position_m=[0,0,0.5]"], r"\[channel.path_loss\] tr38901_umi: antenna height 0.5 m"),
        (
            QUICK,
            ["channel.path_loss={kind='tr38901_inf', hall='SH', clutter_height_m=1.0}", NO_SHADOWING],
            r"not below clutter_height_m = 1",
        ),
    ],
)
def test_what_is_wrong_is_one_clear_line(path, overrides, says):
    with pytest.raises(ScenarioError, match=says) as caught:
        _run(path, *overrides)
    assert "\n" not in str(caught.value)


WITHOUT_RANGE = ("free_space", "log_distance", "multi_slope", "two_ray")  # formulas of any distance and carrier
FAR = ("area.radius_m=30e3", "area.min_distance_m=25e3", "channel.carrier_hz=2.4e9")  # farther than any model reaches


@pytest.mark.parametrize("name", PATH_LOSSES)
def test_every_path_loss_says_where_it_comes_from_and_holds(name):
    """In its docstrings; and a key `strict` for those that have a range."""
    model = find("path_loss", name)
    said = f"{sys.modules[model.__module__].__doc__} {model.__doc__}"
    said += "".join(
        f.__doc__ or "" for key, f in vars(sys.modules[model.__module__]).items() if key.endswith("_loss_db")
    )
    assert re.search(r"TR \d\d\.\d\d\d|802\.11|Friis|Rappaport|Goldsmith", said)
    fields = {field.name for field in dataclasses.fields(model)}
    if name in WITHOUT_RANGE:
        assert "strict" not in fields
        assert re.search(r"[Nn]o range of validity", model.__doc__)
    else:
        assert "strict" in fields
        assert re.search(r"strict: raise outside", model.__doc__)
        assert re.search(r"GHz", model.__doc__)


@pytest.mark.parametrize("name", [name for name in PATH_LOSSES if name not in WITHOUT_RANGE])
def test_outside_of_every_model_is_one_note_or_an_error_if_strict(name, capsys):
    """Devices 25 to 30 km away: said once in a scenario of twenty links and two directions."""
    record = _run(QUICK, f"channel.path_loss={name}", NO_SHADOWING, *FAR, "stop={simulated_s=0.1}")
    assert len([note for note in record.notes if re.search("outside the model's range", note)]) == 1
    strict = f"channel.path_loss={{kind='{name}', strict=true}}"
    assert cli.execute(["estimate", str(QUICK), *(w for s in (strict, NO_SHADOWING, *FAR) for w in ("--set", s))]) == 2
    error = capsys.readouterr().err
    assert re.search(rf"quickstart.toml \[channel.path_loss\] {name}: .* is outside the model's range", error)
    assert len([line for line in error.splitlines() if line.startswith("error: ")]) == 1


def test_a_link_outside_its_model_is_bad_input(capsys):
    strict = "channel.path_loss={kind='tr38901_umi', strict=true}"
    assert cli.execute(["estimate", str(QUICK), "--set", strict, "--set", "server.position_m=[0,0,25]"]) == 2
    assert "quickstart.toml [channel.path_loss] tr38901_umi: base station height 25 m" in capsys.readouterr().err


def test_walls_make_a_round_longer_and_are_drawn_per_device():
    outdoors, indoors = _run(QUICK), _run(QUICK, "devices.0.indoor=high_loss")
    assert indoors.simulated_s > outdoors.simulated_s
    assert indoors.radio_provenance["indoor_nodes"] == str(load(QUICK).scenario.devices[0].count)
    assert "indoor_nodes" not in outdoors.radio_provenance


def test_standard_shadowing_of_umi_is_that_of_its_name_outdoors():
    """The laws are the same; only the words of the provenance differ."""
    assert _run(QUICK, "channel.shadowing=standard").simulated_s == _run(QUICK).simulated_s
    assert re.search("o2i", _run(QUICK, "channel.shadowing=standard").radio_provenance["shadowing"])

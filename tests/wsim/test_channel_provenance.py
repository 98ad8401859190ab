"""Every result file names path-loss model and standard, fading generator, shadowing field, seed and run number, each on its own."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
from rich.console import Console

from channels.registry import FADINGS, PATH_LOSSES, SHADOWINGS
from channels.sources import sources
from wsim import results
from wsim.catalog import find
from wsim.engine import simulate
from wsim.record import CHANNEL_FACTS, RunRecord
from wsim.report import summary_dict, summary_table
from wsim.scenario import load, load_text
from wsim.study import worker
from wsim.study.plan import plan

QUICK = Path(__file__).parents[2] / "scenarios" / "quickstart.toml"
OWN = {
    "log_distance": "{kind='log_distance', exponent=3.0}",
    "multi_slope": "{kind='multi_slope', exponents=[2, 3.5], breaks_m=[30]}",
    "rician": "{kind='rician', k_db=9.0}",
    "nakagami": "{kind='nakagami', m=2.0}",
    "lognormal": "{sigma_db=8.0, correlation_m=50.0}",
}


def run(*overrides: str, seed: int = 7) -> RunRecord:
    loaded = load(QUICK, ["stop={rounds=1}", "area.radius_m=40", "area.min_distance_m=1", *overrides], seed)
    return simulate(loaded, executor="null")


def attributes(record: RunRecord, path: Path) -> dict[str, object]:
    """Of the file, as h5py sees them."""
    results.write(record, path, force=True)
    with h5py.File(path) as file:
        return dict(file["/provenance/channel"].attrs)


def printed(record: RunRecord) -> str:
    file = io.StringIO()
    Console(width=200, file=file).print(summary_table(record))
    return file.getvalue()


@pytest.mark.parametrize("name", PATH_LOSSES)
def test_every_path_loss_is_named_with_its_standard(name: str, tmp_path: Path) -> None:
    kind = OWN.get(name, name)
    record = run(f"channel.path_loss={kind}", "channel.shadowing=none", "channel.carrier_hz=2.4e9")
    found = attributes(record, tmp_path / "run.h5")
    assert set(found) == set(CHANNEL_FACTS)
    assert found["path_loss"] == name
    assert found["path_loss_standard"] == find("path_loss", name).standard
    assert (found["shadowing"], found["shadowing_field"]) == ("none", "none")
    assert f"{name} · {find('path_loss', name).standard}" in printed(record)
    assert results.read(tmp_path / "run.h5").channel_provenance == record.channel_provenance


def test_standards_are_distinct_and_name_a_document() -> None:
    standards = [find("path_loss", name).standard for name in PATH_LOSSES]
    assert len(set(standards)) == len(standards)
    for name, standard in zip(PATH_LOSSES, standards, strict=True):
        document = f"TR {name[2:4]}.{name[4:7]}" if name.startswith("tr3") else ":" if "tgax" not in name else "802.11"
        assert document in standard or name == "lte_macro", name
    assert [find("path_loss", name).name for name in PATH_LOSSES] == list(PATH_LOSSES)


@pytest.mark.parametrize("correlation", ["block", "doppler", "ergodic"])
@pytest.mark.parametrize("name", [name for name in FADINGS if name != "none"])
def test_every_fading_is_named_with_its_generator(name: str, correlation: str, tmp_path: Path) -> None:
    generators = {
        "block": "independent blocks",
        "doppler": "sum of 16 sinusoids",
        "ergodic": "none: rates are the mean",
    }
    table = OWN.get(name, f"{{kind='{name}'}}")[:-1] + f", correlation='{correlation}'}}"
    record = run(f"channel.fading={table}")
    found = attributes(record, tmp_path / "run.h5")
    assert found["fading"] == f"{name}, {correlation}"
    assert found["fading_standard"] == find("fading", name).standard
    assert str(found["fading_generator"]).startswith(generators[correlation])
    assert f"{name}, {correlation} · {found['fading_generator']}" in printed(record)


def test_no_fading_says_so(tmp_path: Path) -> None:
    record = run("channel.fading=none")
    found = attributes(record, tmp_path / "run.h5")
    assert (found["fading"], found["fading_generator"]) == ("none", "none")
    assert find("fading", "none").standard == found["fading_standard"] == "none: gains are the local mean"
    assert "fading     none" in [line.strip() for line in printed(record).splitlines()]


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("lognormal", "log-normal, 8 dB over 50 m"),
        ("tr38901_umi", "log-normal, 4 dB over 10 m with line of sight, 7.82 dB over 13 m without"),
        (
            "standard",
            "log-normal, 4 dB over 10 m with line of sight, 7.82 dB over 13 m without, 7 dB over 7 m into buildings "
            "(the path loss's own)",
        ),
    ],
)
def test_every_shadowing_is_named_with_its_field(name: str, law: str, tmp_path: Path) -> None:
    record = run(f"channel.shadowing={OWN.get(name, name)}")
    found = attributes(record, tmp_path / "run.h5")
    assert found["shadowing"] == law
    assert found["shadowing_field"] == "sum of 128 plane waves"
    assert str(found["shadowing_standard"]).startswith(find("shadowing", name).standard)
    assert f"{law} · sum of 128 plane waves" in printed(record)
    assert set(SHADOWINGS) == {"lognormal", "standard", "tr38901_umi"}


def test_a_plug_in_without_a_source_is_not_given_one() -> None:
    found = sources(SimpleNamespace(), None, None, None)  # type: ignore[arg-type]
    assert (found["path_loss"], found["path_loss_standard"]) == ("SimpleNamespace", "not stated by the model")


def test_seed_and_run_number(tmp_path: Path) -> None:
    """Outside of a study the run number is 1; the seed of the radio is apart where [seeds] names one."""
    record = run("seeds.radio=99")
    found = attributes(record, tmp_path / "run.h5")
    assert (found["seed"], found["radio_seed"], found["run_number"]) == (7, 99, 1)
    assert "seed 7 (of the radio 99) · run number 1" in printed(record)
    assert summary_dict(record)["channel"] == record.channel_provenance
    largest = dataclasses.replace(record, channel_provenance=record.channel_provenance | {"seed": 2**64 - 1})
    assert attributes(largest, tmp_path / "run.h5")["seed"] == 2**64 - 1


def test_the_run_number_is_the_place_among_the_seeds_of_the_study() -> None:
    text = QUICK.read_text() + "\n[study]\nseeds = [12, 5, 7]\n"
    assert [load_text(text, seed=seed).run_number for seed in (12, 5, 7, 8)] == [1, 2, 3, 1]
    assert load_text(text, ["study.seeds=3..9"], seed=7).run_number == 5


def test_a_sweep_numbers_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds of the command line, too, which the scenario of a single run does not hold: the sweep says the number."""
    monkeypatch.setattr(worker, "_tell", lambda **message: None)
    found = plan(QUICK, ["study.seeds=[4, 9]", "stop={rounds=1}"])
    assert [run.number for run in found.runs] == [1, 2]
    task = {"run": 0, "out": str(tmp_path / "run.h5"), "overrides": found.runs[1].overrides, "run_number": 2}
    worker._run({**task, "text": found.base.text, "name": QUICK.name, "path": str(QUICK), "files": {}})
    record = results.read(tmp_path / "run.h5")
    assert (record.seed, record.channel_provenance["run_number"]) == (9, 2)


def test_an_older_file_has_none_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    record = run()
    results.write(dataclasses.replace(record, channel_provenance={}), tmp_path / "old.h5")
    old = results.read(tmp_path / "old.h5")
    assert old.channel_provenance == {}
    assert "path loss" not in printed(old)
    results.write(dataclasses.replace(record, channel_provenance={"seed": 1}), tmp_path / "damaged.h5")
    with pytest.raises(results.ResultError, match="channel_provenance lacks"):
        results.read(tmp_path / "damaged.h5")

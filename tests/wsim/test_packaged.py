"""Scenarios that come with wsim: found by name, behind files of the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.wsim.test_scenario import RING
from wsim import packaged
from wsim.errors import ScenarioError
from wsim.scenario import load

ROOT = Path(__file__).parents[2]


def test_every_scenario_has_a_name_of_its_own() -> None:
    files = sorted((ROOT / "scenarios").rglob("*.toml"))
    assert sorted(packaged.scenarios().values()) == files
    assert all(packaged.summary(path) for path in files)


def test_a_bare_name_is_a_scenario_that_comes_with_wsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load("quickstart")
    assert found.scenario.scenario.name == "quickstart"
    assert found.path == ROOT / "scenarios" / "quickstart.toml"


def test_a_file_that_exists_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text(RING.replace('"peers"', '"dpsgd", exchange = "unicast"'))
    assert load("quickstart").scenario.algorithm.name == "dpsgd"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "quikstart",
            r"^quikstart: no such file, and no scenario of this name comes with wsim \(quickstart\?\), known: .*",
        ),
        ("quickstart.toml", r"quickstart\.toml: no such file"),
        ("./quickstart", "quickstart: no such file"),
        ("elsewhere/quickstart", "quickstart: no such file"),
    ],
)
def test_what_is_no_bare_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScenarioError, match=words):
        load(name)


def test_the_first_line_of_the_comment_is_the_summary(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("#:schema ./wsim.schema.json\n# What it shows.\n#\n# More.\n[stop]\n")
    assert packaged.summary(path) == "What it shows."
    path.write_text("[stop]\n# not at the top\n")
    assert packaged.summary(path) == ""


def test_a_wheel_holds_the_scenarios_and_runs_them_by_name(tmp_path: Path) -> None:
    """Built from a copy, without a network, and used from the unpacked wheel alone."""
    source = tmp_path / "source"
    for name in ("wsim", "channels", "learners", "scenarios"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", tmp_path / "wheel", source], check=True)
    (wheel,) = (tmp_path / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    inside = tmp_path / "site" / "wsim" / "packaged_scenarios"
    files = sorted(path.relative_to(ROOT / "scenarios") for path in (ROOT / "scenarios").rglob("*.toml"))
    assert sorted(path.relative_to(inside) for path in inside.rglob("*.toml")) == files
    shutil.rmtree(source)
    command = [sys.executable, "-m", "wsim", "run", "quickstart", "--set", "stop.rounds=1"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ended by stop.rounds" in done.stdout
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["quickstart-s1.h5", "quickstart-s1.png"]

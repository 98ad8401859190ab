"""Other distributions that use the names of our packages: one line, whichever way they are in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = "from wsim.packages import check_packages; check_packages()"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Our three packages as pip installs them: copies in one folder."""
    folder = tmp_path / "site"
    for name in ("wsim", "channels", "learners"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(code: str, *path: Path) -> str:
    """The last line that a fresh interpreter writes to stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=path[0].parent
    )
    return done.stderr.splitlines()[-1] if done.stderr else ""


def pretend_installed(site: Path, name: str, version: str, *files: str) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_our_own_packages_pass(site: Path) -> None:
    assert run(CHECK, site) == ""


def test_a_package_that_comes_first_is_named(site: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "channels").mkdir(parents=True)
    (tmp_path / "other" / "channels" / "__init__.py").touch()
    message = run(CHECK, tmp_path / "other", site)
    assert f"package channels at {tmp_path / 'other' / 'channels'} is not wsim's own" in message
    assert "environment of its own" in message


def test_a_distribution_in_the_same_folder_is_named_even_if_ours_came_last(site: Path) -> None:
    pretend_installed(site, "channels", "4.2.0", "channels/__init__.py", "channels/layers.py")
    message = run(CHECK, site)
    assert "the distribution channels 4.2.0 has files in the same folder as wsim; give wsim an environment" in message


def test_a_package_whose_init_was_replaced_is_refused(site: Path) -> None:
    (site / "learners" / "__init__.py").write_text('"""Another project."""\n')
    assert "package learners in" in run(CHECK, site)
    assert "another distribution has, or had, files in the same folder" in run(CHECK, site)


def test_a_distribution_of_the_name_with_other_folders_is_none_of_our_business(site: Path) -> None:
    pretend_installed(site, "learners", "1.0", "something_else/__init__.py")
    assert run(CHECK, site) == ""


@pytest.mark.parametrize(
    "command", ["run quickstart", "estimate quickstart", "sweep first_study", "compare outputs", "list", "schema"]
)
def test_commands_end_with_that_one_line(site: Path, command: str) -> None:
    pretend_installed(site, "channels", "4.2.0", "channels/__init__.py")
    code = f"import sys; from wsim.cli import execute; sys.exit(execute({command.split()!r}))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=site.parent
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: package channels in ")
    assert done.stderr.count("\n") == 1

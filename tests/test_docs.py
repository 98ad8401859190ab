"""The documentation builds, and every link and anchor in it leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(config)]
    return subprocess.run([*command, "--site-dir", str(site)], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "docs" / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_reference_holds_the_keys_of_every_table(site: Path) -> None:
    page = (site / "reference.html").read_text("utf-8")
    for key in ("carrier_hz", "effective_flops", "local_epochs", "alpha", "pa_efficiency", "sustained_evaluations"):
        assert f"<code>{key}</code>" in page


def test_page_for_every_name_in_the_navigation(site: Path) -> None:
    for name in ("index", "concepts", "study", "reference", "results", "validation", "extending"):
        assert (site / f"{name}.html").stat().st_size > 5_000

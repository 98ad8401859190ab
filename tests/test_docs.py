"""The documentation builds, and every link and anchor in it leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from wsim.scenario import load

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
    for name in (
        "index",
        "concepts",
        "radio",
        "federated",
        "decentralized",
        "semantic",
        "study",
        "reference",
        "results",
        "validation",
        "extending",
    ):
        assert (site / f"{name}.html").stat().st_size > 5_000


def overrides(document: dict[str, Any]) -> list[str]:
    """The keys of every table as `--set` options; of [[devices]] those of the first group."""
    found = []
    for table, keys in document.items():
        where, values = (f"{table}.0", keys[0]) if isinstance(keys, list) else (table, keys)
        found += [f"{where}.{key}={inline(value)}" for key, value in values.items()]
    return found


def inline(value: Any) -> str:
    """A parsed value as TOML again, in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(part)}" for key, part in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else repr(value)


BLOCKS = [
    block
    for page in ("radio", "decentralized", "federated", "semantic")
    for block in re.findall(
        r"```toml\n(.*?)```", (ROOT / "docs" / "pages" / f"{page}.md").read_text("utf-8"), re.DOTALL
    )
]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_keys_that_a_page_shows_are_accepted(number: int) -> None:
    block = tomllib.loads(BLOCKS[number])
    peers = block.get("mac", {}).get("kind") == "shared" or "topology" in block
    scenario = ROOT / "scenarios" / ("dpsgd_ring.toml" if peers else "quickstart.toml")
    changes = overrides(block)
    if "manhattan" in BLOCKS[number]:
        changes += ["area={shape='square', side_m=400.0}"]
    load(scenario, changes)


def test_the_pages_show_keys() -> None:
    assert len(BLOCKS) >= 8

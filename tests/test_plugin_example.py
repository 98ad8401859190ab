"""docs/plugin-example: installed by pip as a user would, then run by the commands of its README."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "plugin-example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plug-in is installed, without a network; built from a copy, since builds leave files beside the source."""
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin-example")
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", target, source], check=True)
    return target


def wsim(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-m", "wsim", *arguments]
    return subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True)


def readme_commands() -> list[list[str]]:
    return [
        shlex.split(line) for line in re.findall(r"^    wsim (.*)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    ]


def test_the_readme_has_commands() -> None:
    assert [command[0] for command in readme_commands()] == ["list", "run", "estimate"]


@pytest.mark.parametrize("arguments", readme_commands(), ids=lambda arguments: arguments[0])
def test_the_commands_of_the_readme_work(site: Path, arguments: list[str]) -> None:
    short = [] if arguments[0] == "list" else ["--set", "stop.rounds=2"]
    done = wsim(site, *arguments, *short)
    assert done.returncode == 0, done.stderr
    assert "pairwise" in done.stdout


def test_the_plug_in_is_listed_checked_and_in_the_schema(site: Path) -> None:
    listed = json.loads(wsim(site, "list", "codecs", "--json").stdout)
    assert listed[-1]["name"] == "truncated"
    assert listed[-1]["summary"].startswith("Truncated floats")
    refused = wsim(site, "estimate", "dpsgd_ring", "--set", "codec={name='truncated', mantissa_bits=30}")
    assert refused.returncode == 2
    assert "[codec] mantissa_bits = 30: mantissas have whole numbers of bits, 0 to 23" in refused.stderr
    schema = json.loads(wsim(site, "schema").stdout)
    patience = schema["$defs"]["Algorithm"]["anyOf"][0]["properties"]["patience_s"]
    assert patience["description"].startswith(
        "for how long a device waits for models in each round; waiting times are in s"
    )


def test_the_codec_says_the_truth_about_its_bytes(site: Path) -> None:
    code = """
import numpy as np, torch
from learners.loopback import LoopbackNode
from wsim_example.truncated import Truncated
values = torch.tensor(np.random.default_rng(1).standard_normal(241), dtype=torch.float32)
node = LoopbackNode(0, (), None, np.random.default_rng(1))
for mantissa_bits in (0, 7, 23):
    codec = Truncated(mantissa_bits)
    sent = codec.compress(values)
    payload, data = codec.payload(values, node), codec.encode(sent, values.shape)
    assert payload.num_bits == codec.num_bits(values.shape) == 8 * len(data)
    assert torch.equal(codec.decompress(codec.decode(data, values.shape), values.shape), payload.data)
    assert ((payload.data - values).abs() < 2.0**-mantissa_bits * values.abs()).all() or mantissa_bits == 23
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

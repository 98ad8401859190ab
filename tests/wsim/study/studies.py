"""A small study for tests: Gaussian data, so that no run imports more than it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]

WORLD = """
[scenario]
name = "tiny"
[stop]
simulated_s = 0.5
[area]
shape = "disc"
radius_m = 100.0
[data]
name = "gaussian_mixture"
num_classes = 3
num_features = 4
num_samples = 300
separation = 3.0
[model]
hidden = [8]
[topology]
kind = "star"
[server]
radio = { tx_power_dbm = 30.0 }
energy = "not counted"
[[devices]]
name = "phones"
count = 4
compute = { effective_flops = 1e6, spread = "lognormal" }
radio = { tx_power_dbm = 10.0 }
[channel]
carrier_hz = 2.4e9
bandwidth_hz = 1e6
fading = "rayleigh"
[phy]
duplex = "tdd"
[mac]
kind = "tdma"
[algorithm]
name = "fedavg"
learning_rate = 0.05
batch_size = 8
local_steps = 2
deadline_s = 1.0
[evaluation]
targets = { accuracy = [0.6, 0.999] }
"""
GOSSIP = (
    'algorithm.name = "gossip", server = "none", topology = "complete", mac.kind = "shared", transport.expires_s = 1.0'
)
ARMS = (
    '{ name = "FedAvg" }',
    '{ name = "half rate", algorithm.learning_rate = 0.02 }',
    f'{{ name = "gossip", {GOSSIP} }}',
)


def study(*arms: str, seeds: str = '"1..3"') -> str:
    """The table [study]."""
    return f"[study]\nseeds = {seeds}\narms = [{', '.join(arms or ARMS)}]\n"


STUDY = study()


def write_study(folder: Path, text: str = WORLD + STUDY) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def start(folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """`wsim` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "wsim", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes, **options)


def wsim(folder: Path, *arguments: str, **options: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    process = start(folder, *arguments, **options)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def results(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.h5")}

"""What can be named: plug-ins by entry points, their clashes and failures, and `wsim list`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.wsim.test_scenario import RING, STAR
from wsim import catalog, cli
from wsim.catalog import LISTED
from wsim.engine import simulate
from wsim.errors import ScenarioError
from wsim.scenario import load_text

ROOT = Path(__file__).parents[2]

CODEC = '''"""Values rounded to a number of bits."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Rounded:
    bits: int = 8

    def __post_init__(self):
        if self.bits > 32:
            raise ValueError(f"bits = {self.bits}: at most 32")
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a distribution with entry points, as pip would leave it on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, entry_points: str, **modules: str) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source)
        catalog.entries.cache_clear()

    yield make
    catalog.entries.cache_clear()


def refusal(*overrides: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_text(RING.replace('"peers"', '"dpsgd", exchange = "unicast"'), overrides, name="ring.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, found in catalog.KINDS.items() for name in found.built_in]
)
def test_every_built_in_item_is_found_and_has_a_line(kind: str, name: str) -> None:
    assert callable(catalog.find(kind, name))
    line = catalog.summaries(kind)[name]
    assert 10 < len(line) < 200
    assert "\n" not in line


def test_a_plug_in_is_found_by_its_entry_point_and_checked_like_our_own(install: Install) -> None:
    install("rounding", "[wsim.codecs]\nrounded = rounding_codec:Rounded\n", rounding_codec=CODEC)
    assert catalog.names_of("codec")[-1] == "rounded"
    assert catalog.summaries("codec")["rounded"] == "Values rounded to a number of bits."
    assert "rounding_codec" not in sys.modules
    text = RING.replace('"peers"', '"dpsgd", exchange = "unicast"')
    assert load_text(text, ["codec.name=rounded"]).scenario.codec.own == {"bits": 8}
    assert load_text(text, ["codec={name='rounded', bits=4}"]).scenario.codec.own == {"bits": 4}
    message = refusal("codec={name='rounded', bits=64}")
    assert message.endswith("ring.toml [codec] bits = 64: at most 32")
    assert 'name = "rouned": unknown codec (rounded?), known: bfloat16, float16' in refusal("codec.name=rouned")
    assert load_text(text, ["codec={name='rounded', bits=4}", "codec.name=float32"]).scenario.codec.own == {}
    assert ', rounded, and name = "float32"; leave it out' in refusal("codec.bits=4")


def test_a_plug_in_is_imported_only_when_it_is_named(install: Install) -> None:
    install(
        "broken", "[wsim.learners]\nbroken = broken_learner:Broken\n", broken_learner="import nothing_of_that_name\n"
    )
    load_text(RING.replace('"peers"', '"dpsgd", exchange = "unicast"'))
    message = refusal("algorithm.name=broken")
    assert '[algorithm] name = "broken": broken_learner:Broken of plug-in broken cannot be imported' in message
    assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in message


def test_a_name_that_is_taken_names_both(install: Install) -> None:
    install("rival", "[wsim.learners]\ndpsgd = rival_learner:Mine\n", rival_learner="class Mine: ...\n")
    message = refusal()
    expected = "learners.decentralized.dpsgd:Dpsgd of wsim and rival_learner:Mine of rival"
    assert (
        f'[algorithm] name = "dpsgd": algorithm dpsgd is registered twice, as {expected}; one of them has to go'
        in message
    )


def test_an_entry_point_has_to_name_something_that_can_be_called(install: Install) -> None:
    install("odd", "[wsim.codecs]\nodd = odd_codec:VALUE\n", odd_codec="VALUE = 3\n")
    assert "odd_codec:VALUE of plug-in odd is neither a class nor a function" in refusal("codec.name=odd")


# -- wsim list --------------------------------------------------------------------------------------------------------

KINDS = [*LISTED, "scenarios"]


@pytest.mark.parametrize("kind", KINDS)
def test_list_is_an_array_of_names_and_summaries(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    assert cli.execute(["list", kind, "--json"]) == 0
    items = json.loads(capsys.readouterr().out)
    assert items
    assert all(set(item) == {"name", "summary"} and all(item.values()) for item in items)
    assert len({item["name"] for item in items}) == len(items)
    assert cli.execute(["list", kind]) == 0
    shown = capsys.readouterr().out
    assert all(item["name"] in shown for item in items)


def test_list_without_a_kind_has_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["list", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)
    assert list(dict.fromkeys(item["kind"] for item in items)) == KINDS
    assert {"fedavg", "free_space", "rayleigh", "tdma", "float16", "digits", "mlp", "dirichlet", "quickstart"} <= {
        item["name"] for item in items
    }


def test_list_has_plug_ins_and_says_nothing_of_modules_without_a_docstring(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(
        "plain", "[wsim.models]\nplain = plain_model:Plain\ngone = gone_model:Gone\n", plain_model="class Plain: ...\n"
    )
    assert cli.execute(["list", "models", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)
    assert items[-2:] == [{"name": "gone", "summary": ""}, {"name": "plain", "summary": ""}]


def test_list_imports_nothing_heavy() -> None:
    code = "import sys; from wsim.cli import execute; execute(['list']); sys.exit(len({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["list", "learnres"]) == 2
    assert "'learners'" in capsys.readouterr().err


# -- parts of the air -------------------------------------------------------------------------------------------------

PATH_LOSS = '''"""Two slopes: free space up to a breakpoint, beyond it the fourth power of the distance."""
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from channels.bounds import Bounds
from channels.path_loss import free_space_loss_db


@dataclass(frozen=True)
class TwoSlopes:
    """breakpoint_m: where the slope changes."""

    breakpoint_m: Annotated[float, Bounds(1.0, 1e5, "breakpoints are in m")] = 100.0

    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False

    def least_loss_db(self, distance_m, carrier_hz):
        beyond = np.maximum(distance_m / self.breakpoint_m, 1.0)
        return free_space_loss_db(distance_m, carrier_hz) + 20 * np.log10(beyond)

    def loss_db(self, device_m, other_m, carrier_hz, los=None):
        return self.least_loss_db(np.linalg.norm(device_m - other_m, axis=-1), carrier_hz)

    def los_probability(self, device_m, other_m):
        return np.ones(device_m.shape[:-1])
'''

MAC = '''"""Frequency division that wastes a share of the band on guard bands."""
from dataclasses import dataclass, replace
from typing import ClassVar

from wsim.mac.medium_access import Fdma


@dataclass(frozen=True)
class GuardedFdma(Fdma):
    """guard_share: of the band."""

    guard_share: float = 0.5

    def media(self, air):
        return super().media(replace(air, bandwidth_hz=air.bandwidth_hz * (1 - self.guard_share)))
'''


def simulated_s(*overrides: str, text: str = STAR) -> float:
    loaded = load_text(text.replace('{ name = "peers" }', '{ name = "fedavg", local_steps = 1 }'), overrides)
    return simulate(loaded, executor="null").simulated_s


def test_a_path_loss_of_a_plug_in_makes_links_slower_beyond_its_breakpoint(install: Install) -> None:
    install("slopes", "[wsim.path_losses]\ntwo_slopes = slopes_model:TwoSlopes\n", slopes_model=PATH_LOSS)
    # devices stand 60 to 100 m from the server; power so low that the rate follows the SNR
    weak = ("devices.0.radio.tx_power_dbm=-10", "area.min_distance_m=60")
    free = simulated_s(*weak, "channel.path_loss=free_space")
    assert simulated_s(*weak, "channel.path_loss={kind='two_slopes', breakpoint_m=1000}") == free
    assert simulated_s(*weak, "channel.path_loss={kind='two_slopes', breakpoint_m=30}") > 1.2 * free
    assert "breakpoint_m = 0.5: breakpoints are in m, 1 to 100000" in refusal(
        "channel.path_loss={kind='two_slopes', breakpoint_m=0.5}"
    )


def test_a_medium_access_of_a_plug_in_carries_messages(install: Install) -> None:
    install("guarded", "[wsim.macs]\nguarded = guarded_mac:GuardedFdma\n", guarded_mac=MAC)
    radio_only = ("devices.0.compute.effective_flops=1e15", "server.radio.tx_power_dbm=40")
    whole = simulated_s(*radio_only, "mac={kind='guarded', guard_share=0.0}")
    assert whole == simulated_s(*radio_only, "mac=fdma")
    assert simulated_s(*radio_only, "mac={kind='guarded', guard_share=0.5}") > 1.5 * whole
    assert "[mac] guard_shar = 1: unknown key of guarded (guard_share?)" in refusal(
        "mac={kind='guarded', guard_shar=1}"
    )
    assert "needs a [server]" in refusal("mac=guarded")

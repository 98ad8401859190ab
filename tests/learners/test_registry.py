"""The registries: every entry exists, unknown names are refused, nothing heavy is imported."""

import subprocess
import sys

import pytest

from learners.registry import REGISTRIES, load


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in REGISTRIES.items() for name in names])
def test_every_entry_loads(kind: str, name: str) -> None:
    assert callable(load(kind, name))


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"learner 'fedvg' is not known: one of fedavg, .* \('fedavg'\?\)"):
        load("learner", "fedvg")
    with pytest.raises(ValueError, match="registry kind = 'channel'"):
        load("channel", "rayleigh")


def test_names_and_protocol_come_without_torch() -> None:
    code = "import sys, learners.registry, learners.protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

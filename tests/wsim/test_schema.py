"""The JSON schema of scenario files: what wsim accepts is valid, and what an editor could know to be wrong is not."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from tests.wsim.test_scenario import RING, STAR, damaged
from wsim import catalog
from wsim.errors import ScenarioError
from wsim.scenario import load_text
from wsim.scenario.schema import comments, of_hint, schema, tables

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted([*(ROOT / "scenarios").rglob("*.toml"), *(ROOT / "benchmarks").glob("*.toml")])
PEERS = RING.replace('"peers"', '"dpsgd", exchange = "unicast"')
CELL = STAR.replace('{ name = "peers" }', '{ name = "fedavg", local_steps = 1 }')


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def wrong(validator: jsonschema.Draft202012Validator, text: str) -> list[str]:
    return [error.message for error in validator.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_is_valid(validator: jsonschema.Draft202012Validator, path: Path) -> None:
    assert wrong(validator, path.read_text()) == []


@pytest.mark.parametrize("text", [PEERS, CELL])
def test_groups_like_others_and_shorthands_are_valid(validator: jsonschema.Draft202012Validator, text: str) -> None:
    load_text(text)
    assert wrong(validator, text) == []
    short = text.replace("bandwidth_hz = 1e6", 'bandwidth_hz = 1e6, fading = "rayleigh", path_loss = "free_space"')
    assert short != text
    assert wrong(validator, 'data = "digits"\nmodel = "lenet"\n' + short) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("carrier_hz", "carier_hz"),
        ("2.4e9", "2.4"),
        ("2.4e9", '"2.4 GHz"'),
        ("count = 4", "count = 0"),
        ("count = 4", "count = 4.5"),
        ("count = 4", ""),
        ('kind = "ring"', 'kind = "rings"'),
        ("stop = { rounds = 5 }", ""),
        ('name = "dpsgd",', 'name = "dpsdg",'),
        ('name = "dpsgd",', 'name = "dpsgd", lerning_rate = 0.1,'),
        ('name = "dpsgd",', 'name = "dpsgd", clients_per_round = 3,'),  # FedAvg's
        ('name = "dpsgd",', 'name = "dpsgd", learning_rate = "high",'),
        ("tx_power_dbm = 10.0", ""),
        ("stop =", 'data = { partition = "dirichlet" }\nstop ='),  # needs alpha
        ("stop =", "data = { alpha = -1 }\nstop ="),
        ("stop =", "model = { hidden = [0] }\nstop ="),
        ("stop =", 'codec = "float17"\nstop ='),
        ("stop =", "codec = { bitz = 3 }\nstop ="),
        ("stop =", "topolgy = 3\nstop ="),
    ],
)
def test_what_is_wrong_is_not_valid(validator: jsonschema.Draft202012Validator, old: str, new: str) -> None:
    assert old in PEERS
    text = PEERS.replace(old, new, 1)
    with pytest.raises(ScenarioError):
        load_text(text)
    assert wrong(validator, text)


def test_what_is_accepted_is_valid(validator: jsonschema.Draft202012Validator) -> None:
    accepted = 0

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(text=damaged((PEERS, CELL)))
    def check(text: str) -> None:
        nonlocal accepted
        try:
            load_text(text, name="damaged.toml")
        except ScenarioError:
            return
        accepted += 1
        assert wrong(validator, text) == [], text

    check()
    assert accepted >= 10


def test_keys_are_described_with_unit_and_range() -> None:
    found = schema()["$defs"]
    assert found["Channel"]["properties"]["carrier_hz"]["description"] == "carrier frequencies are in Hz, 1e6 to 3e11"
    assert "FDD: in each direction" in found["Channel"]["properties"]["bandwidth_hz"]["description"]
    data = found["Data"]["anyOf"][0]
    assert "Dirichlet concentration" in data["properties"]["alpha"]["description"]
    assert {"required": ["alpha"]}.items() <= next(
        rule["then"]
        for rule in data["allOf"]
        if rule["if"]["properties"].get("partition", {}).get("const") == "dirichlet"
    ).items()
    assert set(found["Algorithm"]["anyOf"][0]["properties"]["name"]["enum"]) == set(catalog.names_of("learner"))


def test_comments_behind_keys_are_read_from_the_source() -> None:
    assert len(list(tables())) > 20
    transport = next(table for table in tables() if table.__name__ == "Transport")
    assert comments(transport)["mtu_bytes"] == "with header_bytes"


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (list[float], {"type": "array", "items": {"type": "number"}}),
        (dict[str, int], {"type": "object"}),
        (Any, {}),
    ],
)
def test_declared_types_become_schemas(hint: Any, expected: dict[str, Any]) -> None:
    assert of_hint(hint) == expected


def test_the_command_prints_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsim", "schema"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"

"""Damaged scenario files: whatever is in the file, the commands that read it end in exit code 0 or 2 and one line, in time.

All scenarios that come with wsim are damaged, and one with a [study] of axes: keys, types, values, structure, and the text.
"""

from __future__ import annotations

import copy
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wsim.command_worker import CommandWorker, check_one_line
from tests.wsim.test_scenario import ODD, SCENARIOS, paths, toml

AXES = """
[study]
axes = { "mac.kind" = ["fdma", "tdma"], "algorithm.learning_rate" = [0.1, 0.3], "devices.0.count" = [4, 5] }
"""
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(SCENARIOS.rglob("*.toml"))}
TEXTS["axes"] = TEXTS["quickstart"] + AXES
DOCUMENTS = {name: tomllib.loads(text) for name, text in TEXTS.items()}
PLACES = {name: paths(document) for name, document in DOCUMENTS.items()}
KEYS = sorted({key for places in PLACES.values() for place in places for key in place if isinstance(key, str)})


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


VALUES = [at(DOCUMENTS[name], path) for name, places in PLACES.items() for path in places]
FACTORS = (0, -1, 1e-12, 1e-3, 0.5, 2, 1e3, 1e9, 1e30, float("nan"), float("inf"))


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandWorker]:
    worker = CommandWorker(tmp_path_factory.mktemp("data"))
    yield worker
    worker.close()


@st.composite
def damaged_texts(draw: st.DrawFn) -> bytes:
    """Lines lost, doubled, exchanged or cut, bytes put in."""
    lines = draw(st.sampled_from(list(TEXTS.values()))).encode().splitlines(keepends=True)
    kinds = st.sampled_from(["drop", "double", "exchange", "cut", "insert", "end"])
    for kind in draw(st.lists(kinds, min_size=1, max_size=3)):
        place, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        column = draw(st.integers(0, len(lines[place])))
        if kind == "drop":
            lines[place] = b""
        elif kind == "double":
            lines.insert(other, lines[place])
        elif kind == "exchange":
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == "cut":
            lines[place] = lines[place][:column] + lines[place][column + draw(st.integers(1, 8)) :]
        elif kind == "insert":
            new = draw(st.one_of(st.binary(max_size=4), st.text(max_size=4).map(str.encode)))
            lines[place] = lines[place][:column] + new + lines[place][column:]
        else:
            lines = [*lines[:place], lines[place][:column]]
    return b"".join(lines)


@st.composite
def damaged_documents(draw: st.DrawFn) -> bytes:
    """Keys renamed, lost, moved or added; values of another type, size or place; tables for values and values for tables."""
    document = copy.deepcopy(DOCUMENTS[draw(st.sampled_from(list(DOCUMENTS)))])
    for _ in range(draw(st.integers(1, 3))):
        places = paths(document)
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        holder = at(document, tuple(above))
        value = holder[last]
        kind = draw(st.sampled_from(["odd", "other", "scale", "scale", "remove", "rename", "move", "add", "wrap"]))
        if kind == "odd":
            holder[last] = draw(ODD.filter(lambda item: item is not None))
        elif kind == "other":
            holder[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif kind == "scale":
            factor = draw(st.sampled_from(FACTORS))
            if isinstance(value, (int, float)) and abs(value) < 1e300:  # a larger integer is no float
                scaled = value * factor
                holder[last] = int(scaled) if isinstance(value, int) and abs(scaled) < 1e18 else scaled
        elif kind == "remove":
            del holder[last]
        elif kind == "rename" and isinstance(holder, dict):
            holder[draw(st.one_of(st.sampled_from(KEYS), st.text(min_size=1, max_size=8)))] = holder.pop(last)
        elif kind in ("move", "add"):
            target = at(document, tuple(draw(st.sampled_from(places)))[:-1])
            if isinstance(target, dict):
                key = last if kind == "move" and isinstance(last, str) else draw(st.sampled_from(KEYS))
                target[key] = copy.deepcopy(value if kind == "move" else draw(st.sampled_from(VALUES)))
        elif kind == "wrap":
            holder[last] = draw(st.sampled_from([[value], {"kind": value}, {"name": value}, [value, value]]))
    return "\n".join(f"{toml(key)} = {toml(item)}" for key, item in document.items()).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("num_files", [70, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_scenarios_are_run_or_refused_in_one_line(
    num_files: int, worker: CommandWorker, tmp_path: Path
) -> None:
    codes: Counter[int] = Counter()

    @settings(
        max_examples=num_files, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        content=st.one_of(damaged_documents(), damaged_documents(), damaged_texts()),
        command=st.sampled_from([("estimate", "--json"), ("estimate", "--json"), ("run", "--force", "--quiet")]),
    )
    def check(content: bytes, command: tuple[str, ...]) -> None:
        if command[0] == "estimate" and b"study" in content:
            command = ("estimate", "--all-arms", "--json")
        path = tmp_path / "damaged.toml"
        path.write_bytes(content)
        out = ("--out", tmp_path / "run.h5") if command[0] == "run" else ()
        ending = worker.run(command[0], path, *command[1:], *out)
        check_one_line(ending)
        codes[ending.code] += 1

    check()
    assert codes.total() >= num_files
    assert min(codes[0], codes[2]) > num_files // 10

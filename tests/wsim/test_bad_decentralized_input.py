"""What learners between neighbors cannot work with, through the command line: exit code 2 and one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.worlds import CALM, LEARNERS, says
from wsim import cli
from wsim.errors import ScenarioError
from wsim.scenario import load_text

DECENTRALIZED = [name for name in LEARNERS if says(name, "sends", True) and not says(name, "uses_server", False)]
UNDIRECTED = [name for name in DECENTRALIZED if not says(name, "directed", False)]
VARIANTS = 'model.variants=[{name="mlp", hidden=[8]}, {name="mlp", hidden=[16]}]'
PIECES = "0 1\n1 2\n2 0\n3 4\n4 5\n5 3\n"


def refusal(capsys: pytest.CaptureFixture[str], folder: Path, learner: str, topology: str, *changes: str) -> str:
    """The line on stderr of a run that does not begin."""
    scenario = folder / "bad.toml"
    scenario.write_text(f'topology = {topology}\n{CALM}\n[algorithm]\nname = "{learner}"\nlocal_steps = 1\n')
    arguments = ["run", str(scenario), "--quiet", "--out", str(folder / "none.h5")]
    assert cli.execute(arguments + [part for change in changes for part in ("--set", change)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert not (folder / "none.h5").exists()
    return lines[0]


def test_the_methods_of_the_issue_are_among_those_that_are_tried() -> None:
    assert {"dpsgd", "drt_diffusion", "qg_dsgdm", "ccl", "gossip", "all_reduce"} <= set(DECENTRALIZED)
    assert set(DECENTRALIZED) - set(UNDIRECTED) == {"sgp", "all_reduce"}


@pytest.mark.parametrize("name", DECENTRALIZED)
def test_every_method_says_what_it_cannot_work_with(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not says(name, "heterogeneous", False):
        line = refusal(capsys, tmp_path, name, '"ring"', VARIANTS)
        assert f"bad.toml [model] variants: {name} needs one architecture at all nodes" in line

    (tmp_path / "pieces").write_text(PIECES)
    line = refusal(capsys, tmp_path, name, '{ kind = "file", file = "pieces" }')
    assert 'bad.toml [topology] file = "pieces": device 3 has no path to device 0: the graph is in pieces' in line

    (tmp_path / "w.csv").write_text("0.5,0.5,0,0,0,0.1\n" * 6)
    line = refusal(capsys, tmp_path, name, '{ kind = "ring", mixing_matrix = "w.csv", mixing_weights = "file" }')
    stochastic = '[topology] mixing_matrix = "w.csv": line 1, row of device 0: the weights sum to 1.1; every row'
    assert stochastic in line or 'mixing_weights = "file": ' in line
    assert ("sum to 1.1" in line) == bool(says(name, "takes_matrix", False))

    if name in UNDIRECTED:
        line = refusal(capsys, tmp_path, name, '{ kind = "ring", directed = true }')
        assert f"bad.toml [topology] directed = true: is directed here, and {name} is for links that work both" in line


@pytest.mark.parametrize(
    ("name", "topology", "changes", "words"),
    [
        (
            "sgp",
            '{ kind = "torus", directed = true }',
            ["devices.0.count=9"],
            "torus is always undirected; leave this out",
        ),
        ("sgp", '{ kind = "one_peer_exponential", directed = false }', [], "one_peer_exponential is always directed"),
        ("dpsgd", '{ kind = "torus", rows = 4 }', ["devices.0.count=9"], "rows = 4: 9 devices make grids of 3 rows"),
        ("dpsgd", '{ kind = "torus", cols = 3 }', ["devices.0.count=9"], "cols = 3: unknown key of torus"),
        ("dpsgd", '"hypercube"', ["devices.0.count=12"], "a power of two devices, such as 8 or 16, there are 12"),
        ("dpsgd", '{ kind = "circulant", offsets = [2] }', [], "offsets = [2]: the graph is in pieces"),
        ("dpsgd", '{ kind = "small_world", degree = 3 }', [], "degree = 3: an even number"),
        ("drt_diffusion", '"ring"', ["algorithm.kernel=prodsq"], "(prod_sq?)"),
    ],
)
def test_graphs_and_keys_that_do_not_fit(name: str, topology: str, changes: list[str], words: str) -> None:
    text = f'topology = {topology}\n{CALM}\n[algorithm]\nname = "{name}"\nlocal_steps = 1\n'
    with pytest.raises(ScenarioError) as refused:
        load_text(text, changes, name="bad.toml")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "words"), [("relay_sgd", '"chain" or "binary_tree"'), ("dpsgd", "is no neighbor of")])
def test_what_only_the_built_graph_shows(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["1,0,0,0,0,0", *(",".join("0.5" if j in (i, i % 5 + 1) else "0" for j in range(6)) for i in range(1, 6))]
    rows[0], rows[3] = "0.5,0,0,0.5,0,0", "0.5,0,0,0,0.5,0"
    (tmp_path / "w.csv").write_text("\n".join(rows))
    own = ', mixing_matrix = "w.csv", mixing_weights = "file"' if name == "dpsgd" else ""
    line = refusal(capsys, tmp_path, name, f'{{ kind = "ring"{own} }}')
    assert line.startswith("error: bad.toml: [")
    assert words in line

"""Mixing weights from a file: what is refused, what devices do with them, and that the result holds the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from learners import registry
from learners.mixing import mixing_matrix, spectral_gap
from tests.contract.worlds import CALM, KEYS, LEARNERS, says
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError
from wsim.results import read, write
from wsim.scenario import load_text

STEPS = ["algorithm.local_steps=1", 'algorithm.mixing_weights="file"']
RING = '{ kind = "ring", mixing_matrix = "w.csv" }'
TAKERS = [name for name in LEARNERS if getattr(registry.load("learner", name), "takes_matrix", None)]
OWN_WEIGHTS = [name for name in LEARNERS if name not in TAKERS and not says(name, "uses_server", False)]


def circulant(own: float, *sides: float) -> np.ndarray:
    """[6, 6] of a ring: `own`, then one weight for both neighbors, or those before and after."""
    before, after = sides if len(sides) == 2 else sides * 2
    eye = np.eye(6)
    return own * eye + before * np.roll(eye, -1, axis=1) + after * np.roll(eye, 1, axis=1)


def text_of(matrix: Any) -> str:
    return "# weights\n" + "\n".join(",".join(repr(float(w)) for w in row) for row in matrix) + "\n"


def loaded(text: str, *changes: str, learner: str = "dpsgd", topology: str = RING) -> Any:
    base = f'topology = {topology}\n{CALM}\n[algorithm]\nname = "{learner}"\n'
    return load_text(base, [*STEPS, *changes], name="ring.toml", referenced={"w.csv": text})


def refusal(text: str, *changes: str, learner: str = "dpsgd", topology: str = RING) -> str:
    with pytest.raises(ScenarioError) as caught:
        Run(loaded(text, *changes, learner=learner, topology=topology), "null", None, None, None, None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


GOOD = circulant(0.5, 0.25)
SHIFT = circulant(0.5, 0.3, 0.2)  # columns sum to 1, and it is not symmetric
NO_COLUMNS = np.where(np.arange(6)[:, None] == 2, np.roll(np.eye(6)[2], 0), GOOD)  # device 2 keeps to itself
ROWS_111 = GOOD * np.where(np.arange(6) == 4, 1.1, 1.0)[:, None]
OFF = GOOD + 0.1 * (np.eye(6)[[3, 1, 2, 0, 4, 5]] - np.eye(6))  # devices 0 and 3 hear each other
NEGATIVE = circulant(1.1, -0.05)
IN_PIECES = np.kron(np.eye(3), np.full((2, 2), 0.5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (text_of(GOOD[:5]), ["has 5 rows", "one for each of the 6 devices"]),
        (text_of([*GOOD, GOOD[0]]), ["line 8: row 7, there are 6 devices"]),
        (text_of(GOOD[:, :5]), ["line 2: has 5 entries; one for each of the 6 devices"]),
        ("", ["has 0 rows"]),
        (text_of(GOOD).replace("0.25", "a quarter", 1), ["line 2: has 7 entries"]),
        (text_of(GOOD).replace("0.25", "quarter", 1), ['line 2, entry 2: "quarter" is no weight', "finite numbers"]),
        (text_of(GOOD).replace("0.25", "nan", 1), ['line 2, entry 2: "nan" is no weight']),
        (text_of(GOOD).replace("0.25", "-inf", 1), ['line 2, entry 2: "-inf" is no weight']),
        (text_of(NEGATIVE), ["line 2, row of device 0: weight -0.05 of device 1", "dpsgd needs weights of 0 or more"]),
        (text_of(ROWS_111), ["line 6, row of device 4: the weights sum to 1.1;", "within 1e-06"]),
        (text_of(NO_COLUMNS), ["column 2, the weights that device 1 is given, sums to 0.75; dpsgd needs columns, too"]),
        (text_of(OFF), ["line 2, row of device 0: weight 0.1 of device 3, which is no neighbor of device 0"]),
        (text_of(IN_PIECES), ["nothing of device", "in pieces"]),
    ],
)
def test_matrices_that_are_refused(text: str, words: list[str]) -> None:
    refused = refusal(text)
    assert refused.startswith(("ring.toml [", "calm: ["))  # the graph is looked at when the world is built
    for word in ['[topology] mixing_matrix = "w.csv": ', *words]:
        assert word in refused


def test_what_the_learners_ask_of_a_matrix() -> None:
    unlike = refusal(text_of(SHIFT), learner="choco")
    assert (
        "line 2, row of device 0: weight 0.2 of device 1, which gives device 0 0.3 (line 3); choco needs the same"
        in unlike
    )
    assert "d2 needs the same at both ends" in refusal(text_of(SHIFT), learner="d2")
    loaded(text_of(SHIFT))
    loaded(text_of(0.1 * np.eye(6) + 0.9 * ROW_STOCHASTIC), learner="drt_diffusion")
    assert "sum to 1.1" in refusal(text_of(ROWS_111), learner="drt_diffusion")
    refused = refusal(text_of(0.1 * np.eye(6) + 0.9 * ROW_STOCHASTIC), learner="qg_dsgdm")
    assert "qg_dsgdm needs columns, too" in refused


ROW_STOCHASTIC = mixing_matrix(nx.cycle_graph(6)) @ np.eye(6)
ROW_STOCHASTIC[0] = [0.5, 0.3, 0, 0, 0, 0.2]


@pytest.mark.parametrize(
    ("form", "own", "words"),
    [
        ("d2", 1 / 3, "above -1/3, here it is -0.3333"),  # 1/3 + 2/3 cos(pi)
        ("d2", 0.34, None),
        ("exact_diffusion", 0.0, None),  # eigenvalue -1
        ("exact_diffusion", -0.4, "above -5/3, here it is -1.8000"),
        ("exact_diffusion", 1.1, "have to be below 1, one is 1.2000"),
    ],
)
def test_d2_looks_at_the_eigenvalues_of_the_matrix(form: str, own: float, words: str | None) -> None:
    """A ring of 6 with own weight a has the eigenvalues a + (1 - a) cos(pi k / 3)."""
    text, change = text_of(circulant(own, (1 - own) / 2)), f"algorithm.form={form}"
    if words is None:
        Run(loaded(text, change, learner="d2"), "null", None, None, None, None)
    else:
        refused = refusal(text, change, learner="d2")
        assert f'[algorithm] form = "{form}"' in refused
        assert words in refused


@pytest.mark.parametrize("name", OWN_WEIGHTS)
def test_methods_with_weights_of_their_own_say_so(name: str) -> None:
    topology = '{ kind = "ring", mixing_matrix = "w.csv", mixing_weights = "file" }'
    text = f'topology = {topology}\n{CALM}\n[algorithm]\nname = "{name}"\nlocal_steps = 1\n'
    with pytest.raises(
        ScenarioError, match=r'\[topology\] mixing_weights = "file": .* own.*; leave this and mixing_matrix out'
    ):
        load_text(text, referenced={"w.csv": text_of(GOOD)})


@pytest.mark.parametrize("rule", ['mixing_weights = "metropolis", ', ""])
@pytest.mark.parametrize("name", OWN_WEIGHTS)
def test_a_matrix_that_nobody_would_read_is_refused(name: str, rule: str) -> None:
    """By a message that asks for nothing that would be refused as well."""
    topology = f'{{ kind = "ring", {rule}mixing_matrix = "none.csv" }}'
    text = f'topology = {topology}\n{CALM}\n[algorithm]\nname = "{name}"\nlocal_steps = 1\n'
    says = rf'\[topology\] mixing_matrix = "none.csv": {name} takes no weights from a file, .*; leave this out'
    with pytest.raises(ScenarioError, match=says):
        load_text(text)


@pytest.mark.parametrize("name", TAKERS)
def test_all_others_take_a_matrix(name: str) -> None:
    """Metropolis weights from a file train what Metropolis weights from the headers do."""
    text = text_of(mixing_matrix(nx.cycle_graph(6)))
    own = [*KEYS.get(name, []), "stop.rounds=3"]
    by_file = simulate(loaded(text, *own, learner=name))
    by_degree = simulate(loaded(text, *own, 'algorithm.mixing_weights="metropolis"', learner=name))
    assert by_file.event_digest == by_degree.event_digest
    assert by_file.test_loss == pytest.approx(by_degree.test_loss, rel=1e-12)
    assert np.ptp(by_file.test_loss) > 0


def test_keys_that_do_not_go_together() -> None:
    text = text_of(GOOD)
    assert "mixing_matrix: this key is missing" in refusal(text, topology='"ring"')
    with pytest.raises(ScenarioError, match='is read where mixing_weights = "file"'):
        load_text(f'topology = {RING}\n{CALM}\n[algorithm]\nname = "dpsgd"\n', referenced={"w.csv": text})
    refused = refusal(text, topology=RING.replace("ring", "radio"))
    assert (
        '[topology] kind = "radio": changes during a run, and mixing_weights = "file" needs one that stays' in refused
    )
    loaded("not read", 'algorithm.mixing_weights="uniform"')  # an arm that switches


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text(text_of(GOOD))
    text = f'topology = {RING.replace("w.csv", "weight.csv")}\n{CALM}\n[algorithm]\nname = "dpsgd"\n'
    with pytest.raises(ScenarioError, match=r'mixing_matrix = "weight.csv": no such file \(weights.csv\?\)'):
        load_text(text, STEPS, directory=tmp_path)


def test_a_device_knows_its_own_row() -> None:
    run = Run(loaded(text_of(SHIFT)), "null", None, None, None, None)
    assert run.driver.nodes[2].mixing_row == {1: 0.3, 3: 0.2}
    plain = Run(loaded(text_of(SHIFT), 'algorithm.mixing_weights="metropolis"'), "null", None, None, None, None)
    assert plain.driver.nodes[2].mixing_row == {}


def test_models_are_mixed_by_the_matrix() -> None:
    """Without learning x(k) = W^k x(0): the disagreement shrinks as that of the matrix does, and its gap is in the result."""
    changes = ["algorithm.learning_rate=1e-300", "model.same_initial_weights=false", "stop.rounds=3"]
    run = Run(loaded(text_of(SHIFT), *changes), "eager", None, None, None, None)
    models: dict[int, list[Any]] = {}
    report = run.driver._on_report

    def keep(node: Any, request: Any) -> None:
        if request.name == "model":
            models.setdefault(node.index, []).append(request.value.numpy().copy())
        report(node, request)

    run.driver._on_report = keep
    start = np.stack([run.learning.initial_parameters(i)().numpy() for i in range(6)])
    run.go()
    record = run.record()
    found = np.stack([models[i][2] for i in range(6)])
    assert found == pytest.approx(np.linalg.matrix_power(SHIFT, 3) @ start, abs=1e-12)
    assert record.spectral_gap == pytest.approx(1 - np.sort(np.abs(np.linalg.eigvals(SHIFT)))[-2])
    symmetric = simulate(loaded(text_of(GOOD), *changes), "null")
    assert symmetric.spectral_gap == pytest.approx(spectral_gap(GOOD))


def test_the_result_holds_the_matrix_and_can_be_run_again(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text(text_of(GOOD))
    text = f'topology = {RING}\n{CALM}\n[algorithm]\nname = "dpsgd"\n'
    first = simulate(load_text(text, [*STEPS, "stop.rounds=2"], directory=tmp_path))
    write(first, tmp_path / "first.h5")
    (tmp_path / "w.csv").unlink()
    kept = read(tmp_path / "first.h5")
    again = simulate(load_text(kept.scenario_text, kept.overrides, referenced=kept.referenced_files))
    assert kept.referenced_files == {"w.csv": text_of(GOOD)}
    assert again.event_digest == first.event_digest
    assert np.array_equal(again.accuracy, first.accuracy)


def test_old_scenarios_resolve_as_before() -> None:
    plain = load_text(f'{CALM}\n[algorithm]\nname = "dpsgd"\n[topology]\nkind = "ring"\n')
    assert "mixing_matrix" not in plain.scenario.resolved()["topology"]

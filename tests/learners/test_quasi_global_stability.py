"""On which graphs quasi-global momentum is stable: the linear recursions against runs of the learners, and against closed forms."""

import math
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.decentralized.ccl import Ccl
from learners.decentralized.ngc import Ngc
from learners.decentralized.qg_dsgdm import QgDsgdm
from learners.decentralized.quasi_global import check_stable, growth, recursion
from learners.mixing import mixing_matrix
from tests.learners.oracle_runs import Quadratics, run

CUBE = nx.convert_node_labels_to_integers(nx.hypercube_graph(3), ordering="sorted")
ALTERNATING = np.array([1.0 if bin(i).count("1") % 2 else -1.0 for i in range(8)])  # eigenvalue -1/2: (1 - 3) / 4
FORMS: list[tuple[Any, dict[str, Any], str]] = [
    (QgDsgdm, {"form": "qgm"}, "qgm"),
    (QgDsgdm, {"form": "qgm", "mu": 0.5}, "qgm"),
    (QgDsgdm, {"form": "ngc-code"}, "ngc-code"),
    (QgDsgdm, {"form": "ccl-code"}, "ccl-code"),
    (Ngc, {"alpha": 0.0, "quasi_global": True, "averaging_rate": 0.7}, "ngc-code"),
]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("cls", "options", "form"), FORMS)
def test_without_gradients_a_disagreement_grows_as_the_recursion_says(
    executor: Any, cls: Any, options: dict[str, Any], form: str, nesterov: bool
) -> None:
    """f = 0 everywhere, a start along one eigenvector: x follows the powers of the recursion's matrix from the second round on."""
    task = Quadratics([0.0] * 8, [0.0] * 8)
    learner = cls(task, Float32(), 8, 0.1, 1, momentum=0.9, nesterov=nesterov, **options)
    start = [torch.tensor([x], dtype=torch.float64) for x in ALTERNATING]
    models = run(learner, executor, [[i] for i in range(8)], start, CUBE)
    found = ALTERNATING @ np.array([models[i][:, 0] for i in range(8)]) / 8
    l = 1 - options.get("averaging_rate", 1.0) * 1.5
    matrix = recursion(form, l, 0.9, nesterov, options.get("mu", 0.9))
    # the forms that mix first displace nothing in their first round: x = l, v = 0, X = l
    state = np.array([1.0, 0.0]) if form == "qgm" else np.array([l, 0.0, l])[: len(matrix)]
    expected = []
    for _ in range(8):
        if form == "qgm" or expected:
            state = matrix @ state
        expected.append(state[0])
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("nesterov", "limit"), [(False, -1 / 2.8), (True, -1.09 / 2.71)])
def test_the_limit_of_the_ccl_code_is_its_closed_form(nesterov: bool, limit: float) -> None:
    """The characteristic polynomial at -1: without Nesterov's momentum 1 + l (1 + 2 beta), with it (1 + l) (1 + beta) - beta^2 (1 - l)."""
    assert growth("ccl-code", limit - 1e-3, 0.9, nesterov, 0.0) > 1
    assert growth("ccl-code", limit, 0.9, nesterov, 0.0) == pytest.approx(1, abs=1e-9)
    for l in np.linspace(limit + 1e-3, 0.999, 200):
        assert growth("ccl-code", l, 0.9, nesterov, 0.0) < 1


def test_the_form_of_the_paper_is_stable_down_to_its_closed_form() -> None:
    """Without Nesterov's momentum: (1 + mu) + l (1 + mu + 2 beta (1 - mu)) > 0."""
    limit = -1.9 / (1.9 + 2 * 0.9 * 0.1)
    assert growth("qgm", limit - 1e-3, 0.9, False, 0.9) > 1
    for l in np.linspace(limit + 1e-3, 0.999, 200):
        assert growth("qgm", l, 0.9, False, 0.9) < 1


@pytest.mark.parametrize("graph", ["dyck", "torus"])
def test_averaging_rates_of_the_public_code_are_those_it_needs(graph: str) -> None:
    """1 on the ring, 0.9 on its Dyck graph (bipartite, three neighbors) and its torus (offsets 1 and 4), both with 32 devices."""
    torus = nx.circulant_graph(32, [1, 4])
    matrix = mixing_matrix(torus if graph == "torus" else nx.LCF_graph(32, [5, -5, 13, -13], 8))
    check_stable("ccl-code", mixing_matrix(nx.cycle_graph(16)), 0.9, True)
    check_stable("ccl-code", matrix, 0.9, True, averaging_rate=0.9)
    limit = 1 + 1.09 / 2.71  # 1 - G
    largest = math.floor(1000 * limit / (1 - min(np.linalg.eigvalsh(matrix)))) / 1000
    with pytest.raises(ValueError, match=rf"^momentum = 0.9: .* averaging_rate at most {largest}, or less momentum$"):
        check_stable("ccl-code", matrix, 0.9, True, averaging_rate=1.0)
    check_stable("ccl-code", matrix, 0.9, True, averaging_rate=largest)


def test_learners_refuse_a_graph_on_which_their_momentum_is_not_stable() -> None:
    task: Any = SimpleNamespace()
    with pytest.raises(ValueError, match="momentum = 0.9: "):
        QgDsgdm(task, Float32(), 5, 0.1, 1, form="ccl-code").check_graph(CUBE)
    QgDsgdm(task, Float32(), 5, 0.1, 1).check_graph(CUBE)
    QgDsgdm(task, Float32(), 5, 0.1, 1, form="ccl-code").check_graph(None)
    options: dict[str, Any] = {"momentum": 0.9, "nesterov": True}
    with pytest.raises(ValueError, match="momentum = 0.9: "):
        Ccl(task, Float32(), 5, 0.1, 1, quasi_global=True, **options).check_graph(CUBE)
    Ccl(task, Float32(), 5, 0.1, 1, quasi_global=True, averaging_rate=0.85, **options).check_graph(CUBE)
    Ccl(task, Float32(), 5, 0.1, 1, **options).check_graph(CUBE)
    Ngc(task, Float32(), 5, 0.1, 1, quasi_global=True, **options).check_graph(nx.cycle_graph(16))

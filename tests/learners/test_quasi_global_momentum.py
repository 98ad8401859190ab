"""QG-DSGDm in its three forms: tabulated values, its matrix form, bits, and what is refused."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.decentralized.qg_dsgdm import QgDsgdm
from learners.mixing import mixing_matrix
from tests.learners.oracle_runs import Minibatches, Overheard, Quadratics, digits_task, golden_run

# f_i = (x - b_i)^2 / 2, b = (1, 2, 3, 6), ring, rate 0.1, beta = mu = 0.9: x after 3 rounds and its limit, worked out
# outside this code
GOLDEN = {
    "qgm": (
        {},
        [0.866530, 0.766540, 0.962257, 0.957993],
        [2.978022, 2.879121, 3.073260, 3.069597],  # that of adapting before combining without momentum
    ),
    "qgm, Nesterov": (
        {"nesterov": True},
        [1.488487, 1.300366, 1.663605, 1.650602],
        [2.963111, 2.776615, 3.136627, 3.123647],
    ),
    "ngc-code": (
        {"form": "ngc-code", "nesterov": True},
        [1.112246, 1.151254, 1.637599, 2.201961],
        [2.590120, 2.629058, 3.110668, 3.670154],
    ),
    "ccl-code": (
        {"form": "ccl-code", "nesterov": True},
        [1.686151, 1.788590, 2.060373, 2.537034],
        [2.759004, 2.772246, 3.071504, 3.397246],
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_quasi_global_momentum_has_the_tabulated_values(executor: Any, case: str) -> None:
    options, third, limit = GOLDEN[case]
    models = golden_run(QgDsgdm, executor, **options)
    assert models[2] == pytest.approx(third, abs=5e-7)
    assert models[-1] == pytest.approx(limit, abs=5e-7)


@pytest.mark.parametrize("nesterov", [False, True])
def test_quasi_global_momentum_is_its_matrix_form(executor: Any, nesterov: bool) -> None:
    """All devices as rows: M <- beta H + G, U <- M or G + beta M, X+ <- W (X - lr U), H <- mu H + (1 - mu) (X - X+) / lr, with
    the rate of each round (it falls by half every two)."""
    graph, world = nx.gnp_random_graph(10, 0.35, seed=4), Minibatches()
    schedule = {"learning_rate_schedule": "step", "decay_rounds": 2, "decay_factor": 0.5}
    learner = QgDsgdm(digits_task(), Float32(), 5, 0.1, 16, momentum=0.8, mu=0.7, nesterov=nesterov, **schedule)
    models = world.models(learner, executor, graph)

    gradients, matrix, x = world.gradients(), torch.tensor(mixing_matrix(graph)), torch.stack(world.initial)
    h = torch.zeros_like(x)
    for k in range(5):
        rate = 0.1 * 0.5 ** (k // 2)
        g = gradients(x)
        m = 0.8 * h + g
        mixed = matrix @ (x - rate * (g + 0.8 * m if nesterov else m))
        x, h = mixed, 0.7 * h + 0.3 * (x - mixed) / rate
        assert np.abs(models[k] - x.numpy()).max() < 1e-9


def test_heavy_ball_of_the_ccl_code_is_the_displacement_between_mixed_models(executor: Any) -> None:
    """m = (X_(t-1) - X_t) / lr exactly, where X_t is the mixed model of round t and m the buffer before g is added: so
    x_t = X_t - lr (beta m + g) is known from the models alone."""
    models = golden_run(QgDsgdm, executor, 6, form="ccl-code", initial=(4, -1, 0, 2))
    mixed = models @ mixing_matrix(nx.cycle_graph(4)).T  # X of the round after each
    for k in range(1, 5):
        m = (mixed[k - 1] - mixed[k]) / 0.1
        expected = mixed[k] - 0.1 * (0.9 * m + mixed[k] - [1, 2, 3, 6])
        assert models[k + 1] == pytest.approx(expected, abs=1e-12)


def test_several_local_steps_count_as_the_sum_of_their_gradients(executor: Any) -> None:
    """3 plain steps of rate 0.1 on (x - b)^2 / 2 leave (1 - 0.1)^3 of the distance: the pseudo-gradient is
    (1 - 0.729) / 0.1 (x - b) = 2.71 (x - b), so the run is that of curvature 2.71 with one step."""
    models = golden_run(QgDsgdm, executor, 5, local_steps=3, nesterov=True)
    task: Any = Quadratics([2.71] * 4, [1, 2, 3, 6])
    one_step = golden_run(lambda _, *args, **options: QgDsgdm(task, *args, **options), executor, 5, nesterov=True)
    assert models == pytest.approx(one_step, abs=1e-12)


@pytest.mark.parametrize("form", ["qgm", "ngc-code", "ccl-code"])
def test_a_rate_of_zero_is_survived(executor: Any, form: str) -> None:
    """The cosine schedule ends at 0: displacements by mixing alone are divided by 1e-8 then, never by 0."""
    schedule = {"learning_rate_schedule": "cosine", "decay_rounds": 3}
    models = golden_run(QgDsgdm, executor, 6, form=form, **schedule)
    assert np.isfinite(models).all()
    assert models[-1].min() > 0
    assert models[-1].max() < 6


def test_each_round_sends_one_model(executor: Any) -> None:
    """M values of 32 bits, one broadcast a device and round."""
    for form in ("qgm", "ngc-code", "ccl-code"):
        overheard = Overheard()
        learner = QgDsgdm(digits_task(), overheard, 2, 0.1, 16, form=form)
        Minibatches(4).models(learner, executor, nx.cycle_graph(4))
        num_params = 64 * 16 + 16 + 16 * 10 + 10
        assert overheard.rounds(executor).shape == (2, 4, num_params)
        assert overheard.bits == [32 * num_params] * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.0}, "momentum = 0: needs momentum above 0"),
        ({"mu": 1.0}, "mu = 1.0: less than 1"),
        ({"form": "ccl-code", "mu": 0.5}, "has no moving average"),
        ({"form": "ccl"}, "form"),
    ],
)
def test_bad_keys_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QgDsgdm(digits_task(), Float32(), 5, 0.1, 16, **options)

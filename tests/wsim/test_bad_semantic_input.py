"""What scenarios of semantic distributed learning get wrong: one line each, before anything runs."""

from __future__ import annotations

import pytest

from tests.contract.worlds import calm
from wsim.engine import Run
from wsim.errors import WsimError

ENCODER = 'model={name="bias_mlp", feature_dim=12}'
LACKING = 'data={name="digits", partition="class_lists", classes_of_device=[[0],[1],[2],[3],[4],[5,6,7,8]]}'

CASES = {
    "unnormalized encoder": (
        "semantic_mcr2",
        ['model={name="mlp"}'],
        "[model]: Mlp gives representations of any length",
    ),
    "too few dimensions": ("semantic_mcr2", ['model={name="bias_mlp", feature_dim=3}'], "feature_dim = 3: at least 4"),
    "too few samples of a class": (
        "semantic_mcr2",
        ["algorithm.least_class_samples=40"],
        "least_class_samples = 40: device 0 holds",
    ),
    "a batch without room for all classes": (
        "semantic_mcr2",
        ["algorithm.batch_size=3"],
        "batch_size = 3: device 0 holds 4 classes",
    ),
    "a batch of views without room for all classes": (
        "compositional_mcr2",
        ["algorithm.batch_size=3"],
        "batch_size = 3: device 0 holds 4 classes",
    ),
    "representations of two lengths": (
        "semantic_mcr2",
        [
            'model={name="bias_mlp", hidden=[8], feature_dim=12, variants=[{name="bias_mlp", hidden=[8], feature_dim=12}, {name="bias_mlp", hidden=[8], feature_dim=10}]}',
        ],
        "feature_dim 10, 12: class statistics of one size travel",
    ),
    "a class that nobody holds": (
        "semantic_mcr2_clusters",
        [LACKING, ENCODER, "topology.kind=complete"],
        "no device holds class 9, so no cluster covers all 10 classes",
    ),
    "another objective": (
        "semantic_mcr2",
        ["task.objective=cross_entropy"],
        'semantic_mcr2 minimizes "coding_rate_reduction"',
    ),
    "an objective without a use for it": (
        "qg_dsgdm",
        ["task.objective=coding_rate_reduction"],
        'qg_dsgdm minimizes "cross_entropy"',
    ),
    "a distortion without coding rates": ("dpsgd", ["task.distortion=0.5"], "is of objective = "),
    "running statistics where gradients are mixed": (
        "qg_dsgdm",
        ['model={name="resnet18", maps=4}', 'data={name="digits"}'],
        "[model] resnet18 normalizes over batches",
    ),
    "a head without a last round": (
        "semantic_mcr2",
        ["algorithm.head=linear", "stop={simulated_s=5.0}"],
        "is trained in the last round; stop by rounds",
    ),
}


def test_the_cross_entropy_takes_batches_of_any_size() -> None:
    Run(
        calm("compositional_mcr2", "algorithm.batch_size=3", "task.objective=cross_entropy"),
        "null",
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("case", CASES)
def test_one_line(case: str) -> None:
    learner, overrides, says = CASES[case]
    with pytest.raises(WsimError) as error:
        Run(calm(learner, *overrides), "null", None, None, None, None)
    message = str(error.value)
    assert says in message
    assert "\n" not in message

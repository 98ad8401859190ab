"""Bad input about learning with a server: one line that names file, table and key, before anything is run."""

from __future__ import annotations

import pytest

from tests.contract.worlds import calm
from wsim.engine import simulate
from wsim.errors import ScenarioError

VARIANTS = 'model={name="mlp", hidden=[8], variants=[{name="mlp", hidden=[%d]}, {name="mlp", hidden=[9]}]}'
PLACE = r"scenario\.toml \[algorithm\] "


@pytest.mark.parametrize(
    ("learner", "keys", "says"),
    [
        ("fedavg", [VARIANTS % 8], r"\[model\] variants: fedavg needs one architecture at all nodes"),
        ("fedmrl", ["codec={name='topk', ratio=0.1}"], PLACE + r'name = "fedmrl": sends whole models, and this codec is for changes'),
        ("fedkd", ["codec.name=sign"], PLACE + r'name = "fedkd": sends whole models, and this codec is for changes of a model only'),
        ("scaffold", ["codec.name=sign"], PLACE + r".*error_feedback = false; codec = \"sign\""),
        ("fedavg", ["algorithm.selection=dedline"], PLACE + r'selection = "dedline": has to be .*"loss" \(deadline\?\)'),
        ("fedavg", ["algorithm.selection=deadline"], PLACE + 'selection = "deadline": only with deadline_s'),
        ("fedproto", ["algorithm.selection=loss", "algorithm.clients_per_round=2"], PLACE + 'selection = "loss": only where the server'),
        ("fedavg", ["algorithm.late=abort"], PLACE + 'late = "abort": only with deadline_s'),
        ("fedavg", ["algorithm.late=aborted"], PLACE + r'late = "aborted": has to be .* \(abort\?\)'),
        ("fedavg", ["algorithm.candidates_per_round=3"], PLACE + "candidates_per_round = 3: only with selection"),
        (
            "fedavg",
            ["algorithm.selection=loss", "algorithm.clients_per_round=2", "algorithm.candidates_per_round=7"],
            PLACE + "candidates_per_round = 7: there are only 6 devices",
        ),
        (
            "fedavg",
            ["algorithm.selection=deadline", "algorithm.deadline_s=1", "algorithm.report_deadline_s=-1"],
            PLACE + "report_deadline_s = -1",
        ),
        (
            "fedavg",
            ["algorithm.late=abort", "algorithm.deadline_s=1", "algorithm.uplink=aircomp"],
            PLACE + 'late = "abort": who is late is silent',
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(learner: str, keys: list[str], says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as error:
        calm(learner, *keys)
    assert "\n" not in str(error.value)


def test_a_shared_representation_longer_than_the_shortest_private_one_is_one_line() -> None:
    says = r"\[model\]: representation of 8 numbers .* at most as long as the shortest of the variants, 6"
    with pytest.raises(ScenarioError, match=says) as error:
        simulate(calm("fedmrl", VARIANTS % 6), "null")
    assert "\n" not in str(error.value)
    simulate(calm("fedmrl", VARIANTS % 8, "stop.rounds=1"), "null")

"""Every learner with rounds of a server, whom it selects and whatever becomes of late uploads: it ends, and its books close."""

from __future__ import annotations

import pytest

from tests.contract.learning import assert_books_close
from tests.contract.recording import record
from tests.contract.worlds import LEARNERS, VARIANTS, harsh, has_key, says

WITH_ROUNDS = [name for name in (*LEARNERS, *VARIANTS) if has_key(name, "late")]
WORLDS = {
    "asks under a deadline, aborts": ["algorithm.selection=deadline", "algorithm.late=abort"],
    "asks for losses": ["algorithm.selection=loss", "algorithm.late=abort", "algorithm.clients_per_round=2"],
    "by age, uses late ones": ["algorithm.selection=age", "algorithm.late=use", "algorithm.clients_per_round=4"],
}
DEADLINE_S = {"fedmrl": 0.14, "fedkd": 0.14, "fedkd svd": 0.14}
"""Of those that train two models; else 0.06: some make it, some do not."""
NEVER_LATE = ("fedmd", "scaffold", "split_learning")
"""Late scores are of samples of another round, control variates cannot tell of which round a late update is, and of a late lower half of
a model the upper one is gone."""
NEVER_ASK = ("split_learning",)
"""A server that has a half of each model."""
LIMITS = ["stop.rounds=6", "stop.simulated_s=100", "transport.reliability=none"]


def fits(learner: str, world: str) -> bool:
    """Whether the learner takes part."""
    if world == "asks for losses" and not says(learner, "sends_what_is_trained", False):
        return False
    if world == "by age, uses late ones":
        return learner not in NEVER_LATE
    return learner not in NEVER_ASK


@pytest.mark.parametrize(
    ("learner", "world"),
    [(learner, world) for learner in WITH_ROUNDS for world in WORLDS if fits(learner, world)],
)
def test_rounds_go_on_whomever_the_server_takes(learner: str, world: str) -> None:
    """Messages arrive in part, or are lost, among them invitations with their instant, and reports."""
    deadline = f"algorithm.deadline_s={DEADLINE_S.get(learner, 0.06)}"
    run, recording = record(harsh(learner, deadline, *LIMITS, *WORLDS[world]), "null")
    assert run.stop_reason == "rounds"
    assert_books_close(run)
    kinds = {message.kind for message in recording.received}
    assert "update" in kinds
    assert ("report" in kinds) == world.startswith("asks")
    assert run.packets_lost > 0
    assert (run.messages_lost["deadline"] > 0) == ("algorithm.late=abort" in WORLDS[world])

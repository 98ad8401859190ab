"""Which objective a scenario's training minimizes: what [task] says, else the learner's first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsim.scenario.root import Scenario

CROSS_ENTROPY, CODING_RATE = "cross_entropy", "coding_rate_reduction"


def objectives_of(learner: Any) -> Sequence[str]:
    """Of a learner or its class."""
    found: Sequence[str] = getattr(learner, "objectives", (CROSS_ENTROPY,))
    return found


def objective_of(scenario: Scenario, learner: Any) -> str:
    return scenario.task.objective or objectives_of(learner)[0]

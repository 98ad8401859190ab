"""When devices are there: keys of `[[devices]] churn`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wsim.scenario import quantities as q
from wsim.scenario.table import Table

Times = Annotated[tuple[q.SecondsOrZero, ...], Field(max_length=10_000)]


class Churn(Table):
    """How the devices of a group come and go. schedule: at given times, all of them together or each by its lines of a file;
    random: present and away for exponential times, in stationary law from the start; failure: each for good, after an
    exponential life. Whoever leaves by a schedule and never joins again has failed."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["none", "schedule", "random", "failure"] = "none"
    join_s: Times = ()  # schedule; a device whose first event this is is away until then
    leave_s: Times = ()  # schedule
    file: str | None = None  # schedule: lines of "node, t_s, join or leave", nodes count from 0 within the group
    mean_up_s: q.Seconds | None = None  # random
    mean_down_s: q.Seconds | None = None  # random
    mean_life_s: q.Seconds | None = None  # failure

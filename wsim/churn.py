"""When each device joins and leaves: a function of (seed, device), whatever the protocol does.

    schedule   given times, in turns; whoever leaves last does so for good
    random     up ~ Exp(mean_up_s), down ~ Exp(mean_down_s), alternating: present at the start with probability
               up / (up + down), so that the process is stationary (an exponential rest is exponential again)
    failure    life ~ Exp(mean_life_s), then gone for good

Device churn as an alternating renewal process: Yao, Leonard, Wang and Loguinov, "Modeling heterogeneous user churn and local
resilience of unstructured P2P networks", ICNP 2006, with exponential times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from wsim.scenario import Scenario, files
from wsim.scenario.churn import Churn
from wsim.streams import Streams

JOIN, LEAVE, FAIL = "join", "leave", "fail"

Events = Iterator[tuple[float, str]]


def churn_of(scenario: Scenario, texts: Mapping[str, str], streams: Streams) -> dict[int, tuple[bool, Events]]:
    """By device that comes or goes at all: whether it is there at the start, and its (seconds, what) in order.

    texts: of the churn files that the scenario names."""
    found: dict[int, tuple[bool, Events]] = {}
    device = 0
    for group in scenario.devices:
        churn = group.churn
        lines = {}
        if churn.kind == "schedule" and churn.file is not None:
            lines = files.churn(texts[churn.file], churn.file, group.count)
        for i in range(group.count):
            if churn.kind == "schedule":
                events = lines.get(i, []) if churn.file is not None else _given(churn)
                if events:
                    found[device] = events[0][1] == LEAVE, _final(events)
            elif churn.kind == "random":
                found[device] = _renewal(churn, streams("churn", device))
            elif churn.kind == "failure":
                life_s = float(streams("churn", device).exponential(churn.mean_life_s or 1.0))
                found[device] = True, iter([(life_s, FAIL)])
            device += 1
    return found


def _given(churn: Churn) -> list[tuple[float, str]]:
    return sorted([(time_s, JOIN) for time_s in churn.join_s] + [(time_s, LEAVE) for time_s in churn.leave_s])


def _final(events: list[tuple[float, str]]) -> Events:
    """Who leaves and has no time to join again has failed."""
    *others, (time_s, what) = events
    return iter([*others, (time_s, FAIL if what == LEAVE else what)])


def _renewal(churn: Churn, rng: np.random.Generator) -> tuple[bool, Events]:
    up_s, down_s = churn.mean_up_s or 1.0, churn.mean_down_s or 1.0
    begins_up = bool(rng.random() < up_s / (up_s + down_s))

    def events() -> Events:
        time_s, up = 0.0, begins_up
        while True:
            time_s += float(rng.exponential(up_s if up else down_s))
            up = not up
            yield time_s, JOIN if up else LEAVE

    return begins_up, events()

"""Checks of `[[devices]] churn`: times that are there, in order, and in turns."""

from __future__ import annotations

from collections.abc import Mapping

from wsim.scenario import files
from wsim.scenario.churn import Churn
from wsim.scenario.messages import Path, problem


def check(churn: Churn, path: Path, source: str, texts: Mapping[str, str], count: int) -> None:
    """Raise ScenarioError where the keys of the kind are missing or contradict each other. texts: of files, by name."""
    needed = {"random": ("mean_up_s", "mean_down_s"), "failure": ("mean_life_s",)}.get(churn.kind, ())
    for key in needed:
        if getattr(churn, key) is None:
            raise problem(source, (*path, key), f'this key is missing; kind = "{churn.kind}" needs it, in s')
    if churn.kind != "schedule":
        return
    if churn.file is not None:
        if churn.join_s or churn.leave_s:
            raise problem(source, (*path, "file"), "holds the times: leave out join_s and leave_s", value=churn.file)
        files.churn(texts[churn.file], churn.file, count)
        return
    if not churn.join_s and not churn.leave_s:
        says = 'this key is missing; kind = "schedule" needs times in join_s, leave_s, or a file'
        raise problem(source, (*path, "leave_s"), says)
    for key in ("join_s", "leave_s"):
        times = getattr(churn, key)
        if any(later <= earlier for earlier, later in zip(times, times[1:], strict=False)):
            raise problem(source, (*path, key), "times have to increase", value=times)
    events = sorted([(time, "join") for time in churn.join_s] + [(time, "leave") for time in churn.leave_s])
    for (earlier, what), (later, next_what) in zip(events, events[1:], strict=False):
        if what == next_what or earlier == later:
            key, other = ("join_s", "leave_s") if next_what == "join" else ("leave_s", "join_s")
            says = f"a device that has {'joined' if what == 'join' else 'left'} cannot {next_what} at {later} s; "
            raise problem(
                source, (*path, key), says + f"times of {key} and {other} take turns", value=getattr(churn, key)
            )

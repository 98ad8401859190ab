"""How far a sweep is: one bar over all runs with the time left, and a line for each run that ends.

Without a terminal there are the lines alone, and one every half minute for what is under way.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wsim.study.finished import Finished
from wsim.study.plan import PlannedRun
from wsim.study.runner import Event

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
_EVERY_S = 30.0


class Forecast:
    """The time left, from how long the runs of each arm took: their mean, else that of all, else what the runs under way tell.

    clock: seconds, for tests
    """

    def __init__(self, jobs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._clock = clock
        self._took: dict[str, list[float]] = defaultdict(list)  # by arm
        self._waiting: list[PlannedRun] = []
        self._under_way: dict[PlannedRun, tuple[float, float]] = {}  # since when, fraction

    def start(self, runs: Sequence[PlannedRun], finished: Sequence[Finished]) -> None:
        """runs: to be done; finished: of earlier sweeps, whose wall times count."""
        self._waiting = list(runs)
        for result in finished:
            if result.wall_s == result.wall_s:  # a number
                self._took[result.arm or ""].append(result.wall_s)

    def note(self, event: Event) -> None:
        run, now = event.run, self._clock()
        if run is None:
            return
        if event.kind == "started":
            self._waiting.remove(run)
            self._under_way[run] = now, 0.0
        elif event.kind == "running":
            self._under_way[run] = self._under_way[run][0], event.fraction
        else:
            since, _ = self._under_way.pop(run, (now, 0.0))
            if event.kind == "finished":
                self._took[run.arm].append(now - since)

    @property
    def under_way(self) -> dict[PlannedRun, float]:
        """Run -> fraction."""
        return {run: fraction for run, (_, fraction) in self._under_way.items()}

    def left_s(self) -> float | None:
        """Seconds until all is done, None while nothing is known."""
        now = self._clock()
        whole = {}
        for run, (since, fraction) in self._under_way.items():
            if fraction > 0.02:
                whole[run] = (now - since) / fraction
        known = [took for all_of_arm in self._took.values() for took in all_of_arm] or list(whole.values())
        if not known:
            return None
        mean_s = sum(known) / len(known)
        expected = {arm: sum(took) / len(took) for arm, took in self._took.items()}
        left = [expected.get(run.arm, mean_s) for run in self._waiting]
        longest = 0.0
        for run, (since, fraction) in self._under_way.items():
            total = whole.get(run, expected.get(run.arm, mean_s))
            left.append(max(total * (1 - fraction) if run in whole else total - (now - since), 0.0))
            longest = max(longest, left[-1])
        return max(sum(left) / self._jobs, longest)


class Display(AbstractContextManager["Display"]):
    """Give `start` and `note` to `sweep` as on_start and on_event."""

    def __init__(self, console: Console, jobs: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = console
        self._forecast = Forecast(jobs)
        self._jobs = jobs
        self._ended = self._num = 0
        columns = (BarColumn(bar_width=20), TextColumn("{task.description}"))
        live = console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=not live, refresh_per_second=5)
        self._task = self._bar.add_task("starting", total=1.0)
        self._said = time.monotonic()
        self._live = live

    def start(self, wanted: Sequence[PlannedRun], kept: dict[str, Finished]) -> None:
        missing = [run for run in wanted if run.file not in kept]
        self._num = len(wanted)
        self._ended = self._num - len(missing)
        self._forecast.start(missing, list(kept.values()))
        already = f", {self._ended} finished already" if self._ended else ""
        self._say(f"{self._num} runs{already}, {min(self._jobs, max(len(missing), 1))} at a time")

    def note(self, event: Event) -> None:
        self._forecast.note(event)
        if event.kind in ("finished", "failed") and event.run is not None:
            self._ended += 1
            failed = "" if event.kind == "finished" else " failed"
            self._say(f"[{self._ended}/{self._num}] {event.run.title}{failed}{self._left()}")
        elif not self._live and time.monotonic() - self._said >= _EVERY_S and self._forecast.under_way:
            running = ", ".join(f"{run.title} {share:.0%}" for run, share in self._forecast.under_way.items())
            self._say(f"[{self._ended}/{self._num}] under way: {running}{self._left()}")
        share = self._ended + sum(self._forecast.under_way.values())
        text = f"{self._ended} of {self._num} runs{self._left()}"
        self._bar.update(self._task, total=max(self._num, 1), completed=share, description=text)

    def _left(self) -> str:
        left_s = self._forecast.left_s()
        if left_s is None or self._ended == self._num:
            return ""
        return f", {left(left_s)} left"

    def _say(self, line: str) -> None:
        self._console.print(line, **_PLAIN)
        self._said = time.monotonic()

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()


def left(seconds: float) -> str:
    """ "40 s", "12 min", "3 h 5 min": as precise as a forecast is."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

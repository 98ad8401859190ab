"""How far a sweep is and how long it will take."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.wsim.study.runs import arm_record
from wsim.study.display import Display, Forecast, left
from wsim.study.finished import finished
from wsim.study.plan import PlannedRun
from wsim.study.runner import Event


def planned(arm: str, seed: int) -> PlannedRun:
    return PlannedRun(f"{arm}, seed {seed}", arm, seed, (), f"{arm}{seed}", f"{arm}-s{seed}.h5")


RUNS = [planned(arm, seed) for seed in (1, 2) for arm in ("quick", "long")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_said_before_anything_is_known() -> None:
    forecast = Forecast(2, Clock())
    forecast.start(RUNS, [])
    assert forecast.left_s() is None
    forecast.note(Event("started", RUNS[0]))
    assert forecast.left_s() is None


def test_runs_under_way_tell_how_long_the_others_take() -> None:
    clock = Clock()
    forecast = Forecast(2, clock)
    forecast.start(RUNS, [])
    forecast.note(Event("started", RUNS[0]))
    clock.now = 5.0
    forecast.note(Event("running", RUNS[0], 0.25))
    # 20 s each: 15 s left of the first, 60 s of the others, two at a time
    assert forecast.left_s() == pytest.approx((15 + 60) / 2)


def test_arms_that_have_finished_tell_how_long_their_own_runs_take() -> None:
    clock = Clock()
    forecast = Forecast(1, clock)
    forecast.start(RUNS, [])
    for run, end in ((RUNS[0], 10.0), (RUNS[1], 110.0)):
        forecast.note(Event("started", run))
        clock.now = end
        forecast.note(Event("finished", run, 1.0))
    assert forecast.left_s() == pytest.approx(10 + 100)
    forecast.note(Event("started", RUNS[3]))
    clock.now += 30
    assert forecast.left_s() == pytest.approx(10 + 70)  # it has said nothing of itself yet
    forecast.note(Event("running", RUNS[3], 0.1))
    assert forecast.left_s() == pytest.approx(10 + 300 * 0.9)  # slower than the last one


def test_earlier_sweeps_count_and_the_longest_run_is_a_bound() -> None:
    earlier = [finished(arm_record(arm, 1), Path("x")) for arm in ("quick", "long")]
    earlier = [replace(earlier[0], wall_s=4.0), replace(earlier[1], wall_s=40.0)]
    forecast = Forecast(2, Clock())
    forecast.start(RUNS[2:], earlier)
    forecast.note(Event("started", RUNS[2]))
    forecast.note(Event("started", RUNS[3]))
    assert forecast.left_s() == pytest.approx(40.0)


def test_a_failed_run_is_no_measure() -> None:
    clock = Clock()
    forecast = Forecast(1, clock)
    forecast.start(RUNS, [])
    forecast.note(Event("started", RUNS[0]))
    clock.now = 1.0
    forecast.note(Event("failed", RUNS[0]))
    assert forecast.left_s() is None
    forecast.note(Event("waiting"))


def test_without_a_terminal_every_run_is_a_line() -> None:
    console = Console(file=io.StringIO(), width=80)
    earlier = {RUNS[0].file: finished(arm_record("quick", 1), Path(RUNS[0].file))}
    with Display(console, 2) as display:
        display.start(RUNS, earlier)
        for run in RUNS[1:]:
            display.note(Event("started", run))
            display.note(Event("running", run, 0.5))
            display.note(Event("failed" if run.seed == 2 else "finished", run, 1.0))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "4 runs, 1 finished already, 2 at a time"
    assert [line.split(",")[0] for line in lines[1:]] == ["[2/4] long", "[3/4] quick", "[4/4] long"]
    assert lines[-1] == "[4/4] long, seed 2 failed"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (41.0, "41 s"), (95.0, "2 min"), (3600.0, "60 min"), (11100.0, "3 h 5 min")]
)
def test_times_left(seconds: float, words: str) -> None:
    assert left(seconds) == words

"""Finished runs side by side: one row for each arm at each point of the axes, its seeds within it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from wsim.headline import share_of
from wsim.scenario.study import Definition
from wsim.study.finished import Finished
from wsim.study.names import short_keys, words
from wsim.study.statistics import Difference, Estimate, difference, estimate


@dataclass(frozen=True)
class Row:
    """An arm at a point. runs: by increasing seed. equal_time_s: at which the arms of the point are compared."""

    arm: str
    point: Mapping[str, Any]
    runs: tuple[Finished, ...]
    equal_time_s: float = math.nan

    @property
    def measured(self) -> str:
        """What the accuracies are of; of control problems, also what they are."""
        return " or ".join(
            dict.fromkeys(", ".join(filter(None, (run.measured, share_of(run.resolved)))) for run in self.runs)
        )

    def estimate(self, measure: Measure) -> Estimate:
        return estimate([measure.of(run, self.equal_time_s) for run in self.runs])


@dataclass(frozen=True)
class Measure:
    """A number of a run. key: its name in table.csv and JSON; of(run, equal_time_s)."""

    key: str
    label: str
    unit: str
    of: Callable[[Finished, float], float]


ROUNDS = Measure("rounds", "rounds", "", lambda run, time_s: float(run.rounds))
END = Measure("simulated_s", "ended after", "s", lambda run, time_s: run.simulated_s)
ACCURACY_END = Measure("accuracy_end", "accuracy at the end", "accuracy", lambda run, time_s: _last(run.accuracy))
ACCURACY = Measure(
    "accuracy_equal_time", "accuracy at equal time", "accuracy", lambda run, time_s: run.at(run.accuracy, time_s)
)
WORST = Measure(
    "accuracy_worst_equal_time", "worst device then", "accuracy", lambda run, time_s: run.at(run.accuracy_worst, time_s)
)
ON_AIR = Measure("on_air_bits", "on the air", "bit", lambda run, time_s: float(run.totals["on_air_bits"]))
ENERGY = Measure("energy_j", "energy of all devices", "J", lambda run, time_s: float(run.totals["energy_j"]))
MEASURES = (ROUNDS, END, ACCURACY_END, ACCURACY, WORST, ON_AIR, ENERGY)


def of_series(name: str) -> Measure:
    """The accuracy of one of the things that were evaluated side by side, at equal time."""

    def value(run: Finished, time_s: float) -> float:
        return run.at(run.series[name], time_s) if name in run.series else math.nan

    return Measure(f"accuracy_{_key(name)}", name, "accuracy", value)


DISAGREEMENT = Measure("disagreement", "disagreement", "", lambda run, time_s: run.at(run.disagreement, time_s))


def of_gap(name: str) -> Measure:
    """The generalization gap of somebody's models, at equal time."""

    def value(run: Finished, time_s: float) -> float:
        found = run.generalization_gap.get(name)
        return math.nan if found is None else run.at(found, time_s)

    return Measure(f"generalization_gap_{_key(name)}", f"generalization gap, {name}", "accuracy", value)


def _key(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")


def to_target(target: float) -> tuple[Measure, Measure, Measure]:
    """Seconds, bits on the air and joules to an accuracy; NaN where it was not reached."""
    at, name = partial(_at_target, target), f"{target:g}"
    return (
        Measure(f"time_to_{name}_s", f"time to {name}", "s", at("target_time_s")),
        Measure(f"on_air_bits_to_{name}", f"on the air to {name}", "bit", at("target_on_air_bits")),
        Measure(f"energy_to_{name}_j", f"energy to {name}", "J", at("target_energy_j")),
    )


def rounds_to_target(target: float) -> Measure:
    """Rounds to an accuracy; NaN where it was not reached."""
    name = f"{target:g}"
    return Measure(f"rounds_to_{name}", f"rounds to {name}", "", _at_target(target, "target_round"))


def _at_target(target: float, field: str) -> Callable[[Finished, float], float]:
    def value(run: Finished, time_s: float) -> float:
        found = [i for i, other in enumerate(run.targets.tolist()) if other == target]
        return float(getattr(run, field)[found[0]]) if found else math.nan

    return value


@dataclass(frozen=True)
class Comparison:
    """rows: in the order of the study. num_seeds: that were planned; a row with fewer runs is not finished. study: None for results
    of no study."""

    name: str
    rows: tuple[Row, ...]
    baseline: str
    num_seeds: int
    study: Definition | None = None

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(row.arm for row in self.rows))

    @property
    def axes(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row.point))

    @property
    def targets(self) -> list[float]:
        return sorted({target for row in self.rows for run in row.runs for target in run.targets.tolist()})

    @property
    def measures(self) -> list[Measure]:
        """Of every run; of what else was evaluated than a headline that all arms have in common, each by itself too; how far
        devices disagree, and the generalization gaps, where any run has them."""
        runs = [run for row in self.rows for run in row.runs]
        series = list(dict.fromkeys(name for run in runs for name in run.series))
        headlines = {run.measured for run in runs}
        gaps = list(dict.fromkeys(name for run in runs for name in run.generalization_gap))
        disagree = any(np.isfinite(run.disagreement).any() for run in runs)
        return [
            *MEASURES,
            *(of_series(name) for name in series if headlines != {name}),
            *([DISAGREEMENT] if disagree else []),
            *map(of_gap, gaps),
        ]

    @property
    def diverged(self) -> str | None:
        """ "D2 (lr = 1): 2 of 3 seeds; CHOCO: ...", the rows in some of whose runs models diverged; None where there is none."""
        counts = ((row, sum(run.diverged for run in row.runs)) for row in self.rows)
        found = [f"{self._named(row)}: {count} of {len(row.runs)} seeds" for row, count in counts if count]
        return "; ".join(found) or None

    @property
    def outdated(self) -> str | None:
        """ "DRT (kind = "ring"): 685 s; ...", the rows whose latest evaluation by the equal time is older than a twentieth of it,
        and by how much in the worst of their runs; None where there is none."""
        ages = ((row, max(run.age_s(row.equal_time_s) for run in row.runs)) for row in self.rows)
        found = [f"{self._named(row)}: {age_s:.3g} s" for row, age_s in ages if age_s > row.equal_time_s / 20]
        return "; ".join(found) or None

    def _named(self, row: Row) -> str:
        """ "D2 (lr = 1)"."""
        point = words(row.point, short_keys(self.axes))
        return f"{row.arm} ({point})" if point else row.arm

    @property
    def ends_at_once(self) -> bool:
        """Whether all runs end at one time, so that the end is the equal time."""
        return len({run.simulated_s for row in self.rows for run in row.runs}) <= 1

    def points(self) -> list[tuple[Mapping[str, Any], list[Row]]]:
        """The rows of each point of the axes."""
        points: dict[str, tuple[Mapping[str, Any], list[Row]]] = {}
        for row in self.rows:
            points.setdefault(repr(sorted(row.point.items())), (row.point, []))[1].append(row)
        return list(points.values())

    def difference(self, row: Row, measure: Measure) -> Difference | None:
        """A row against the baseline's at the same point, over the seeds that both have; None where there are none."""
        for other in self.rows:
            if other.arm == self.baseline and dict(other.point) == dict(row.point) and row.arm != self.baseline:
                base = {run.seed: measure.of(run, row.equal_time_s) for run in other.runs}
                mine = {run.seed: measure.of(run, row.equal_time_s) for run in row.runs}
                both = [seed for seed in mine if seed in base]
                found = difference([mine[seed] for seed in both], [base[seed] for seed in both])
                return found if found.num else None
        return None


def compared(
    name: str, rows: Sequence[Row], baseline: str, num_seeds: int, study: Definition | None = None
) -> Comparison:
    """With the equal time of every point: the earliest end of any of its runs. Rows without runs are left out."""
    comparison = Comparison(name, tuple(row for row in rows if row.runs), baseline, num_seeds, study)
    earliest: dict[int, float] = {}
    for _, of_point in comparison.points():
        end_s = min(run.simulated_s for row in of_point for run in row.runs)
        earliest |= {id(row): end_s for row in of_point}
    return replace(comparison, rows=tuple(replace(row, equal_time_s=earliest[id(row)]) for row in comparison.rows))


def _last(values: Any) -> float:
    return float(values[-1]) if len(values) else math.nan

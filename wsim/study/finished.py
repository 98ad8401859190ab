"""What a study keeps of a finished run: its curves, its totals and what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsim import results
from wsim.generalization import generalization_gaps
from wsim.record import RunRecord
from wsim.report import num_rounds
from wsim.scenario.arms import split
from wsim.scenario.evaluation import OWN_DATA
from wsim.study.plan import run_digest
from wsim.study.statistics import step_hold


@dataclass(frozen=True)
class Finished:
    """Arrays over the evaluations, [E]; over the targets, [G], NaN where not reached. Bits and joules grow from evaluation to
    evaluation; those of the whole run are in `totals`."""

    file: Path
    arm: str | None  # of its study, None for a run of a scenario as it stands
    point: Mapping[str, Any]
    seed: int
    learner: str
    measured: (
        str  # what its accuracies are of: "server, global_test" | "device (mean), own_test", and the report's name
    )
    digest: str
    resolved: Mapping[str, Any]
    scenario_text: str
    files: Mapping[str, str]  # that the scenario refers to: name -> text
    version: str  # of wsim
    stop_reason: str
    rounds: int
    simulated_s: float
    time_s: np.ndarray  # [E]
    accuracy: np.ndarray  # [E]
    accuracy_worst: np.ndarray  # [E]
    series: Mapping[str, np.ndarray]  # [E] accuracies by what they are of, the headline's among them
    disagreement: np.ndarray  # [E] of the headline's report, NaN where it was not measured
    generalization_gap: Mapping[
        str, np.ndarray
    ]  # [E] by whose models: "device (mean)"; empty where it was not measured
    on_air_bits: np.ndarray  # [E]
    energy_j: np.ndarray  # [E] all devices
    totals: Mapping[str, float]  # by name of the column in table.csv
    targets: np.ndarray  # [G]
    target_round: np.ndarray  # [G]
    target_time_s: np.ndarray  # [G]
    target_on_air_bits: np.ndarray  # [G]
    target_energy_j: np.ndarray  # [G]
    diverged: bool  # accuracies are of models whose numbers are not finite, from some evaluation on
    own: Mapping[str, str]  # a learner or task from Python: the scenario does not say all of the run
    wall_s: float  # how long the simulation took

    def at(self, values: np.ndarray, time_s: float) -> float:
        """Of values [E], that of the latest evaluation by then, NaN before the first."""
        return float(step_hold(self.time_s, values, np.array([time_s]))[0])

    def age_s(self, time_s: float) -> float:
        """How old the latest evaluation by then is; 0 where there is none."""
        past = self.time_s[self.time_s <= time_s]
        return float(time_s - past[-1]) if len(past) else 0.0


def read(file: Path) -> Finished:
    """The finished run of a result file. Raises ResultError."""
    return finished(results.read(file), file)


def finished(record: RunRecord, file: Path) -> Finished:
    selection = split([override for override in record.overrides if override.startswith("study.")])[0]
    series = [
        _named(*names, record.levels[0])
        for names in zip(record.series_report, record.series_subject, record.series_data, strict=True)
    ]
    return Finished(
        file=file,
        arm=selection.arm,
        point=dict(selection.point),
        seed=record.seed,
        learner=record.learner,
        measured=series[0],
        digest=run_digest(record.resolved, record.referenced_files, record.versions.get("wsim", "")),
        resolved=record.resolved,
        scenario_text=record.scenario_text,
        files=record.referenced_files,
        version=record.versions.get("wsim", ""),
        stop_reason=record.stop_reason,
        rounds=num_rounds(record),
        simulated_s=record.simulated_s,
        time_s=record.eval_time_s,
        accuracy=record.accuracy,
        accuracy_worst=record.accuracy_worst,
        series=dict(zip(series, record.series_accuracy, strict=True)),
        disagreement=_disagreement(record),
        generalization_gap={
            _named(found.report, found.subject, "", record.levels[0]): found.gap
            for found in generalization_gaps(record)
        },
        on_air_bits=record.eval_on_air_bits.astype(np.float64),
        energy_j=record.eval_energy_j.sum(axis=1),
        totals=record.totals(),
        targets=record.targets,
        target_round=_at_targets(record, record.eval_round),
        target_time_s=record.target_time_s,
        target_on_air_bits=record.target_on_air_bits,
        target_energy_j=record.target_energy_j,
        diverged=record.diverged is not None,
        own=record.own,
        wall_s=float(record.provenance.get("wall_s", np.nan)),
    )


def _at_targets(record: RunRecord, values: np.ndarray) -> np.ndarray:
    """[G] of values [E], those of the evaluations that met the targets."""
    met = np.isfinite(record.target_time_s)
    found = np.full(len(met), np.nan)
    found[met] = values[np.searchsorted(record.eval_time_s, record.target_time_s[met])]
    return found


def _disagreement(record: RunRecord) -> np.ndarray:
    """[E] of the devices' models; it is the same on whichever data they are tested."""
    measured = record.series_disagreement[np.isfinite(record.series_disagreement).any(axis=1)]
    return measured[0] if len(measured) else np.full(len(record.eval_time_s), np.nan)


def _named(report: str, subject: str, data: str, level: str) -> str:
    """ "server, global_test", "device (mean), own_test, head"; data may be "": of whose models alone."""
    level = f" ({level})" if subject == "device" or data in OWN_DATA else ""
    return ", ".join([f"{subject}{level}", *([data] if data else []), *([] if report == "model" else [report])])

"""Results as pandas tables and xarray arrays, for notebooks and scripts. Needs the extra "views": `pip install '.[views]'`.

    results = wsim.open_results("outputs/first_study")     a file, a folder, a pattern such as "outputs/*-s1.h5", or several
    results.runs                                           one row a run: arm, seed, accuracy, seconds, bits, joules, targets
    results.evaluations                                    one row an evaluation of a run
    results.series, results.groups, results.devices        the same for all that was evaluated side by side, by group, by device
    results.measures                                       what devices measured of the algorithm, such as weights
    results.generalization_gaps                            train minus test accuracy, where both are measured
    results.dataset()                                      the curves of all runs as arrays [run, evaluation]
    results.tree()                                         everything in the files, with a run dimension

A picture of the mean over seeds, one curve an arm:

    for arm, runs in results.evaluations.groupby("arm"):
        runs.groupby("round")[["time_s", "accuracy"]].mean().plot(x="time_s", y="accuracy", label=arm, ax=axis)

Without these packages a file opens as well: `wsim.read` gives a `RunRecord` of plain arrays, and every HDF5 reader knows the
format (`wsim.result_columns` lists the datasets).
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim import results
from wsim.errors import ResultError, WsimError
from wsim.generalization import generalization_gaps
from wsim.headline import share_of
from wsim.record import RunRecord
from wsim.report import num_rounds
from wsim.scenario.arms import split
from wsim.series_report import headline_name

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

ENDING = ".h5"


def open_results(paths: str | Path | Iterable[str | Path]) -> Results:
    """Open one result or many.

    paths: a result file; a folder, of which all .h5 files are taken, those in folders below it too; a pattern with *, ? or
        [...]; or any number of these. Results come in the order of their names within each, none twice.
    Raises ResultError, one line, for a file that is no result, and where there is none. The files are read once; what is
    kept of each is small, so that hundreds of runs fit.
    """
    return Results(_files([paths] if isinstance(paths, str | Path) else list(paths)))


class Results:
    """Several runs. Tables have a column `run`, the index of the run, and those that tell runs apart: `scenario`, `learner`,
    `arm` ("" for a run of a scenario as it stands), one for each axis of a study (NaN where a run has none), and `seed`.

    files: [num_runs] paths; axes: the axes' keys. len(results) is the number of runs; iterating gives a `RunRecord` after the other.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        selections = []
        self._identities: list[dict[str, Any]] = []
        self._totals: list[dict[str, Any]] = []
        self._targets: list[dict[float, tuple[float, ...]]] = []
        self._curves: list[dict[str, np.ndarray]] = []
        for number, record in enumerate(self):
            selection = split([override for override in record.overrides if override.startswith("study.")])[0]
            selections.append(selection)
            self._identities.append(
                {"run": number, "scenario": record.name, "learner": record.learner, "arm": selection.arm or ""}
            )
            self._totals.append({"seed": record.seed} | _totals(record))
            costs = (record.target_time_s, record.target_on_air_bits, record.target_energy_j)
            reached = zip(*(cost.tolist() for cost in costs), strict=True)
            self._targets.append(dict(zip(record.targets.tolist(), reached, strict=True)))
            self._curves.append(_curves(record))
        self.axes = tuple(dict.fromkeys(key for selection in selections for key in selection.point))
        for identity, totals, selection in zip(self._identities, self._totals, selections, strict=True):
            identity |= {axis: _plain(selection.point.get(axis, np.nan)) for axis in self.axes}
            identity["seed"] = totals.pop("seed")

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[RunRecord]:
        return map(results.read, self.files)

    def record(self, run: int) -> RunRecord:
        """Everything about one run, as plain arrays."""
        return results.read(self.files[run])

    def __repr__(self) -> str:
        keys = ("scenario", "arm", *self.axes, "seed")
        counts = {key: len({str(identity[key]) for identity in self._identities}) for key in keys}
        several = ", ".join(f"{key}: {count}" for key, count in counts.items() if count > 1)
        return f"Results({len(self)} {'run' if len(self) == 1 else 'runs'}{f'; {several}' if several else ''})"

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a run: who it was, how it ended, and what it came to.

        accuracy, accuracy_worst, test_loss: at the last evaluation; `measured` says of whose model and on which data.
        *_bits, energy_j (all devices) and energy_USE_j, messages_*, packets_*: of the whole run.
        time_s_to_0.8, on_air_bits_to_0.8, energy_j_to_0.8: for each target of any run; NaN where it was not reached.
        """
        targets = sorted({target for reached in self._targets for target in reached})
        names = [f"{what}_to_{target:g}" for target in targets for what in ("time_s", "on_air_bits", "energy_j")]
        never = (np.nan,) * 3
        rows = [
            identity
            | totals
            | dict(zip(names, [cost for target in targets for cost in reached.get(target, never)], strict=True))
            for identity, totals, reached in zip(self._identities, self._totals, self._targets, strict=True)
        ]
        return _pandas().DataFrame(rows)

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """One row an evaluation: time_s, round, the headline's accuracy and loss, the spread of its devices, and what had been
        spent by then (energy_j of all devices)."""
        frames = [identity | curves for identity, curves in zip(self._identities, self._curves, strict=True)]
        return self._joined(frames)

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row a series (report, subject, data) and evaluation: accuracy and loss, accuracies over devices (`mean`,
        `worst`, ..., as the scenario asks), disagreement."""
        frames = []
        for identity, record in zip(self._identities, self, strict=True):
            for i in range(len(record.series_report)):
                levels = record.series_accuracy_by_level[i].T
                frames.append(
                    identity
                    | _series_identity(record, i)
                    | {"time_s": record.eval_time_s, "round": record.eval_round}
                    | {"accuracy": record.series_accuracy[i], "loss": record.series_loss[i]}
                    | dict(zip(record.levels, levels, strict=True))
                    | {"disagreement": record.series_disagreement[i]}
                )
        return self._joined(frames)

    @cached_property
    def generalization_gaps(self) -> pd.DataFrame:
        """One row a report, subject and evaluation that was measured on global_test and on train: `gap`, train minus test
        accuracy, and the same by level over devices. Without rows where no run has it."""
        frames: list[dict[str, Any]] = []
        for identity, record in zip(self._identities, self, strict=True):
            for found in generalization_gaps(record):
                frames.append(
                    identity
                    | {"report": found.report, "subject": found.subject}
                    | {"time_s": record.eval_time_s, "round": record.eval_round, "gap": found.gap}
                    | found.by_level
                )
        return self._joined(frames)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """One row a series, group of devices and evaluation: accuracies over the devices of the group."""
        frames = []
        for identity, record in zip(self._identities, self, strict=True):
            for i in range(len(record.series_report)):
                for g, group in enumerate(record.group_names):
                    levels = record.series_accuracy_by_group[i, :, g].T
                    frames.append(
                        identity
                        | _series_identity(record, i)
                        | {"group": group, "time_s": record.eval_time_s, "round": record.eval_round}
                        | dict(zip(record.levels, levels, strict=True))
                    )
        return self._joined(frames)

    @cached_property
    def devices(self) -> pd.DataFrame:
        """One row a series, device and evaluation: accuracy and loss of the device's model, or of the one model on its own
        test samples."""
        frames = []
        for identity, record in zip(self._identities, self, strict=True):
            for i in range(len(record.series_report)):
                frames.append(
                    identity
                    | _series_identity(record, i)
                    | _of_devices(record)
                    | {
                        "accuracy": record.series_accuracy_by_device[i].ravel(),
                        "loss": record.series_loss_by_device[i].ravel(),
                    }
                )
        return self._joined(frames)

    @cached_property
    def measures(self) -> pd.DataFrame:
        """One row a component of what the devices measured of the learning algorithm, device and evaluation: `value`, NaN where a
        device had measured nothing. Without rows where no learner measures anything."""
        frames: list[dict[str, Any]] = []
        for identity, record in zip(self._identities, self, strict=True):
            for i, (name, component) in enumerate(zip(record.measure_name, record.measure_component, strict=True)):
                columns = _of_devices(record) | {"value": record.measure_value[i].ravel()}
                frames.append(identity | {"measure": name, "component": component} | columns)
        return self._joined(frames)

    def dataset(self) -> xr.Dataset:
        """The columns of `evaluations` as arrays [run, evaluation] with units; runs with fewer evaluations end in NaN. What
        tells runs apart are coordinates of the dimension `run`: `dataset.accuracy.where(dataset.arm == "FedAvg", drop=True)`.
        """
        xarray = _xarray()
        longest = max((len(curves["time_s"]) for curves in self._curves), default=0)
        variables = {
            name: (("run", "evaluation"), padded([curves[name] for curves in self._curves], (longest,)), attributes)
            for name, attributes in CURVES.items()
        }
        names = self._identities[0]
        coordinates: dict[str, Any] = {
            name: ("run", np.array([identity[name] for identity in self._identities])) for name in names
        }
        return xarray.Dataset(variables, coordinates | {"evaluation": np.arange(longest)})

    def tree(self) -> xr.DataTree:
        """Everything that the files hold, under the same names (`tree["/metrics/series/accuracy"]`), with the leading dimension
        `run`; where runs differ in size, the smaller ones are filled up with NaN, and texts with "". Categories are words:
        `tree["/energy/energy_j"].sel(energy_use="transmit")`."""
        from wsim.views_tree import tree

        return tree(_xarray(), list(self))

    def _joined(self, frames: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Frames below each other: arrays of one length, and what is the same in all rows of a frame. NaN in a column that a
        frame lacks."""
        names = list(dict.fromkeys(name for frame in frames for name in frame))
        lengths = [len(frame["time_s"]) for frame in frames]
        columns = {
            name: np.concatenate(
                [_as_column(frame.get(name, np.nan), length) for frame, length in zip(frames, lengths, strict=True)]
            )
            for name in names
        }
        return _pandas().DataFrame(columns)


CURVES: dict[str, dict[str, str]] = {
    "time_s": {"units": "s", "long_name": "simulated time of the evaluation"},
    "round": {"units": "1", "long_name": "rounds completed"},
    "accuracy": {"units": "1", "long_name": "accuracy: the headline"},
    "accuracy_worst": {"units": "1", "long_name": "accuracy of the worst device"},
    "accuracy_p10": {"units": "1", "long_name": "accuracy, 10th percentile over devices"},
    "accuracy_std": {"units": "1", "long_name": "accuracy, standard deviation over devices"},
    "test_loss": {
        "units": "1",
        "long_name": "mean loss of the headline: cross-entropy in nats, of control problems minus the sum of rates in bit/s/Hz",
    },
    "payload_bits": {"units": "bit", "long_name": "payload bits so far"},
    "coded_bits": {"units": "bit", "long_name": "coded bits so far"},
    "on_air_bits": {"units": "bit", "long_name": "bits on the air so far"},
    "energy_j": {"units": "J", "long_name": "energy of all devices so far"},
    "devices_present": {"units": "1", "long_name": "devices that were there"},
    "devices_failed": {"units": "1", "long_name": "devices that had failed"},
}
"""Columns of `Results.evaluations` and `Results.dataset`, with unit and meaning."""


def _curves(record: RunRecord) -> dict[str, np.ndarray]:
    return {
        "time_s": record.eval_time_s,
        "round": record.eval_round,
        "accuracy": record.accuracy,
        "accuracy_worst": record.accuracy_worst,
        "accuracy_p10": record.accuracy_p10,
        "accuracy_std": record.accuracy_std,
        "test_loss": record.test_loss,
        "payload_bits": record.eval_payload_bits,
        "coded_bits": record.eval_coded_bits,
        "on_air_bits": record.eval_on_air_bits,
        "energy_j": record.eval_energy_j.sum(axis=1),
        "devices_present": record.eval_devices_present,
        "devices_failed": record.eval_devices_failed,
    }


def _totals(record: RunRecord) -> dict[str, Any]:
    def last(values: np.ndarray) -> float:
        return float(values[-1]) if len(values) else np.nan

    return {
        "num_devices": record.num_devices,
        "estimated": record.estimated,
        "stop_reason": record.stop_reason,
        "simulated_s": record.simulated_s,
        "rounds": num_rounds(record),
        "measured": ", ".join(filter(None, (headline_name(record), share_of(record.resolved)))),
        "accuracy": last(record.accuracy),
        "accuracy_worst": last(record.accuracy_worst),
        "test_loss": last(record.test_loss),
        **record.totals(),
    }


def _series_identity(record: RunRecord, i: int) -> dict[str, str]:
    return {"report": record.series_report[i], "subject": record.series_subject[i], "data": record.series_data[i]}


def _of_devices(record: RunRecord) -> dict[str, np.ndarray]:
    """Columns of rows of one device after the other, evaluation after evaluation."""
    num_evaluations, num_devices = len(record.eval_time_s), record.num_devices
    return {
        "device": np.tile(np.arange(num_devices), num_evaluations),
        "group": np.tile(np.array(record.group_names, dtype=object)[record.group], num_evaluations),
        "time_s": np.repeat(record.eval_time_s, num_devices),
        "round": np.repeat(record.eval_round, num_devices),
    }


def _plain(value: Any) -> Any:
    """A value of an axis; arrays and tables as text."""
    return value if isinstance(value, str | float | int) else str(value)


def _as_column(value: Any, length: int) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    return np.full(length, value, dtype=object if isinstance(value, str) else None)


def padded(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """[len(arrays), *shape]: integers stay such where all have this shape, else the rest is NaN."""
    if all(array.shape == shape for array in arrays):
        return np.stack(arrays)
    result = np.full((len(arrays), *shape), np.nan)
    for row, array in zip(result, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return result


def _files(paths: Sequence[str | Path]) -> list[Path]:
    """The result files that are meant, each once."""
    files: list[Path] = []
    for path in paths:
        found = _matching(Path(path))
        if not found:
            raise ResultError(f"{path}: holds no result files (*{ENDING}); run a scenario first, or name another place")
        files += found
    if not files:
        raise ResultError("no result files are named; give files, folders or patterns")
    once: dict[Path, Path] = {}
    for file in files:
        once.setdefault(file.resolve(), file)
    return list(once.values())


def _matching(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob(f"*{ENDING}"))
    if not path.exists() and glob.has_magic(str(path)):
        return sorted(Path(match) for match in glob.glob(str(path), recursive=True) if match.endswith(ENDING))
    return [path]


def _pandas() -> Any:
    """The package, loaded when it is needed first."""
    try:
        import pandas
    except ImportError:
        raise _missing("pandas") from None
    return pandas


def _xarray() -> Any:
    try:
        import xarray
    except ImportError:
        raise _missing("xarray") from None
    return xarray


def _missing(package: str) -> WsimError:
    return WsimError(
        f"{package} is not installed; pip install '.[views]' in the folder of wsim's source brings it (wsim.read does without)"
    )

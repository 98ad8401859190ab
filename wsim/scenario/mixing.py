"""Mixing matrices from files: [topology] mixing_matrix where mixing_weights = "file".

A line a device, from device 0 on, and in it the weight of every device for what it hears: entry j of line i is W_ij, with the
device's own weight at j = i. Commas or blanks between; # starts a comment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from learners.mixing import FILE
from wsim.scenario import files
from wsim.scenario.messages import problem
from wsim.scenario.root import Scenario

TOLERANCE = 1e-6
"""Of the sum of a row or column, and between the two ends of a link."""

MixingNeeds = Literal["row stochastic", "doubly stochastic", "symmetric"]


@dataclass(frozen=True)
class MixingMatrix:
    """W [num_devices, num_devices] of a file. lines: that of each row."""

    name: str
    weights: np.ndarray
    lines: tuple[int, ...]

    def check(self, learner: str, needs: MixingNeeds, negative: bool) -> None:
        """ValueError for entries and sums that a learner cannot work with. negative: it can with entries below 0."""
        w = self.weights
        if not negative and (w < 0).any():
            i, j = _first(w < 0)
            raise self._wrong(i, f"weight {w[i, j]:g} of device {j}: {learner} needs weights of 0 or more")
        rows, columns = w.sum(axis=1), w.sum(axis=0)
        off = np.abs(rows - 1) > TOLERANCE
        if off.any():
            i = int(off.argmax())
            raise self._wrong(i, f"the weights sum to {rows[i]:.9g}; every row has to sum to 1 within {TOLERANCE:g}")
        if needs == "row stochastic":
            return
        if needs == "symmetric":
            off = np.abs(w - w.T) > TOLERANCE
            if off.any():
                i, j = _first(off)
                says = f"weight {w[i, j]:g} of device {j}, which gives device {i} {w[j, i]:g} (line {self.lines[j]}); "
                raise self._wrong(i, says + f"{learner} needs the same at both ends of a link")
        off = np.abs(columns - 1) > TOLERANCE
        if off.any():
            j = int(off.argmax())
            raise ValueError(
                f"column {j + 1}, the weights that device {j} is given, sums to {columns[j]:.9g}; {learner} needs columns, too, "
                f"that sum to 1 within {TOLERANCE:g}"
            )

    def check_connected(self) -> None:
        """ValueError where what one device knows never gets to another."""
        heard, sender = np.nonzero(self.weights)
        apart = files.unreached(list(zip(sender.tolist(), heard.tolist(), strict=True)), len(self.weights), True)
        if apart is not None:
            raise ValueError(
                f"nothing of device {apart[0]} ever gets to device {apart[1]} by weights other than 0: the graph is in pieces"
            )

    def check_edges(self, edges: np.ndarray, directed: bool = False) -> None:
        """ValueError for a weight between devices without a link. edges: [num_edges, 2], of a directed graph from sender to
        receiver."""
        off = (self.weights != 0) & ~_links(len(self.weights), edges, directed)
        if off.any():
            i, j = _first(off)
            says = f"weight {self.weights[i, j]:g} of device {j}, which is no neighbor of device {i}; 0 off the graph's edges"
            raise ValueError(f'mixing_matrix = "{self.name}": {self._wrong(i, says)}')

    def over(self, edges: np.ndarray, directed: bool = False) -> np.ndarray:
        """W where only these links work: the weight of the others returns to the device."""
        w = np.where(_links(len(self.weights), edges, directed), self.weights, 0.0)
        np.fill_diagonal(w, 0.0)
        np.fill_diagonal(w, 1 - w.sum(axis=1))
        return w

    def row(self, device: int, heard: Sequence[int]) -> dict[int, float]:
        """The weights of those whom a device hears."""
        return {j: float(self.weights[device, j]) for j in heard}

    def _wrong(self, device: int, says: str) -> ValueError:
        return ValueError(f"line {self.lines[device]}, row of device {device}: {says}")


def check(scenario: Scenario, learner: Any, source: str, texts: Mapping[str, str]) -> None:
    """Raise a ScenarioError for a mixing matrix that cannot be used, all but its place on the graph."""
    topology, name = scenario.topology, scenario.algorithm.name
    needs: MixingNeeds | None = getattr(learner, "takes_matrix", None)
    if scenario.algorithm.hyperparameters.get("mixing_weights") != FILE:
        return
    if needs is None:
        says = f"{name} takes no weights from a file; metropolis or uniform"
        raise problem(source, ("algorithm", "mixing_weights"), says, value=FILE)
    where = ("topology", "mixing_matrix")
    if topology.mixing_matrix is None:
        raise problem(
            source, where, 'this key is missing; mixing_weights = "file" needs the name of a file, a row a device'
        )
    try:
        matrix = read(topology.mixing_matrix, texts[topology.mixing_matrix], scenario.num_devices)
        matrix.check(name, needs, getattr(learner, "negative_weights", False))
        matrix.check_connected()
    except ValueError as error:
        raise problem(source, where, str(error), value=topology.mixing_matrix) from None


def check_read(scenario: Scenario, learner: Any, source: str) -> None:
    """Raise a ScenarioError for a mixing matrix in [topology] beside a learner that takes none."""
    if getattr(learner, "takes_matrix", None) is not None:
        return
    topology = scenario.topology
    found = ["mixing_weights"] if topology.mixing_weights == FILE else []
    found += ["mixing_matrix"] if topology.mixing_matrix is not None else []
    if found:
        says = f"{scenario.algorithm.name} takes no weights from a file, how it mixes is its own and part of the method"
        says += f"; leave {' and '.join(['this', *found[1:]])} out"
        raise problem(source, ("topology", found[0]), says, value=getattr(topology, found[0]))


def mixing_matrix(scenario: Scenario, texts: Mapping[str, str]) -> MixingMatrix | None:
    """That of a checked scenario, where it names one that is used."""
    name = scenario.topology.mixing_matrix
    if name is None or scenario.algorithm.hyperparameters.get("mixing_weights") != FILE:
        return None
    return read(name, texts[name], scenario.num_devices)


def read(name: str, text: str, num_devices: int) -> MixingMatrix:
    """The matrix of a text. Raises ValueError, saying where, for what is no square of finite numbers."""
    rows, numbers = [], []
    for number, fields in files.lines(text):
        if len(fields) != num_devices:
            says = f"has {len(fields)} entries; one for each of the {num_devices} devices"
            raise ValueError(f"line {number}: {says}")
        rows.append([_weight(field, number, column) for column, field in enumerate(fields, start=1)])
        numbers.append(number)
        if len(rows) > num_devices:
            raise ValueError(f"line {number}: row {len(rows)}, there are {num_devices} devices; one row each")
    if len(rows) < num_devices:
        raise ValueError(f"has {len(rows)} rows; one for each of the {num_devices} devices")
    return MixingMatrix(name, np.array(rows, dtype=np.float64), tuple(numbers))


def _weight(field: str, line: int, column: int) -> float:
    try:
        weight = float(field)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        shown = field if len(field) <= 20 else field[:17] + "..."
        raise ValueError(f'line {line}, entry {column}: "{shown}" is no weight; finite numbers, such as 0.25')
    return weight


def _links(num_devices: int, edges: np.ndarray, directed: bool) -> np.ndarray:
    """[num_devices, num_devices] who (rows) hears whom, everybody himself."""
    joined = np.eye(num_devices, dtype=bool)
    joined[edges[:, 1], edges[:, 0]] = True
    return joined if directed else joined | joined.T


def _first(where: np.ndarray) -> tuple[int, int]:
    """Row and column of the first True."""
    i, j = divmod(int(where.argmax()), where.shape[1])
    return i, j

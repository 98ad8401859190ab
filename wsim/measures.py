"""What devices measure of the algorithm itself: a node holds, by name, the vector that it gave last, and what is there at an
evaluation is recorded. Costs no simulated time and is no event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from learners.protocol import Measure
from wsim.errors import ScenarioError, SimulationError
from wsim.node import SimNode

Components = tuple[str, ...] | str


class Numbers(Protocol):
    """What is needed of the learning side."""

    estimates: bool

    def numbers(self, values: Sequence[Any]) -> np.ndarray:
        """[len(values), n] of vectors of one length."""


class Measures:
    """listed: of the learner's class, by name the components' names, or the one word that they are numbered with. added: the same of
    numbers that others have found, and that stand beside them in the record."""

    def __init__(
        self,
        listed: Mapping[str, Components],
        num_devices: int,
        learning: Numbers,
        added: Mapping[str, Components] = MappingProxyType({}),
    ) -> None:
        if both := sorted(listed.keys() & added.keys()):
            raise ScenarioError(f'[evaluation] metrics = "{both[0]}": the learner measures one of this name')
        self._listed = listed
        self._added = added
        self._num_devices = num_devices
        self._learning = learning
        self._held: dict[str, dict[int, Any]] = {name: {} for name in listed}  # by device
        self._sizes: dict[str, int] = {
            name: len(components) for name, components in listed.items() if not isinstance(components, str)
        }

    def keep(self, node: SimNode, request: Measure) -> None:
        """Answers a `Measure`."""
        name, value, of = request
        held = self._held.get(name)
        if held is None:
            raise SimulationError(
                f'node {node.id} measures "{name}", which the class of its learner does not list in `measures`'
            )
        is_server = not 0 <= node.id < self._num_devices  # an edge server is one, too
        if is_server and of is None:
            raise SimulationError(f'the server measures "{name}" of no device; it can measure of devices only')
        if not is_server and of is not None:
            raise SimulationError(f'node {node.id} measures "{name}" of node {of}; only the server measures of others')
        device = node.id if of is None else of
        if value is None:
            held.pop(device, None)
            return
        shape = tuple(value.shape)
        size = self._sizes.setdefault(name, shape[0] if len(shape) == 1 else -1)
        if shape != (size,):
            raise SimulationError(
                f'node {node.id} measures "{name}" as an array of shape {list(shape)}; it is a vector of its components'
                + (f", of which there are {size}" if size >= 0 else "")
            )
        held[device] = value

    def evaluate(self, counts: Callable[[int], bool]) -> dict[str, np.ndarray]:
        """By name, [num_components, num_devices] of what the devices that count hold, NaN where one holds nothing; without names of
        which nobody does. Nothing in an estimate."""
        found: dict[str, np.ndarray] = {}
        for name, held in self._held.items():
            devices = [device for device in held if counts(device)]
            if devices and not self._learning.estimates:
                values = found[name] = np.full((self._sizes[name], self._num_devices), np.nan)
                values[:, devices] = self._learning.numbers([held[device] for device in devices]).T
        return found

    def columns(self, evaluations: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        """The fields of a `RunRecord`; evaluations: what `evaluate` and others have found, one after the other."""
        names: list[str] = []
        components: list[str] = []
        rows: list[np.ndarray] = []
        for name, listed in {**self._listed, **self._added}.items():
            size = max((len(found[name]) for found in evaluations if name in found), default=0)
            if not size:
                continue
            words = [f"{listed} {i}" for i in range(size)] if isinstance(listed, str) else list(listed)
            nothing = np.full((size, self._num_devices), np.nan)
            names += [name] * size
            components += words
            rows.extend(np.stack([found.get(name, nothing) for found in evaluations], axis=1))
        shape = len(rows), len(evaluations), self._num_devices
        return {
            "measure_name": names,
            "measure_component": components,
            "measure_value": np.stack(rows) if rows else np.empty(shape),
        }

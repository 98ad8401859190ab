"""Processors: joules and seconds of a job by clock and capacitance, and the slowest of several jobs.

C cycles at f Hz take C / f seconds and kappa C f^2 joules. Of K jobs of T (1 + Exp(mean m)) the slowest takes T (1 + m H_K) on
average, H_K = 1 + 1/2 + ... + 1/K.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from learners.protocol import Compute, Observe
from wsim.engine import simulate
from wsim.record import RunRecord
from wsim.scenario import load_text
from wsim.validation.comparison import Comparison, of_samples, of_value

CYCLES_PER_FLOP, KAPPA_W_PER_HZ3, FREQUENCIES_HZ = 4.0, 1e-20, (1e6, 2e6)
NUM_DEVICES, MEAN_FRACTION, NUM_JOBS = 8, 0.5, 4000

_SCENARIO = """
scenario = {{ name = "validate", seed = {seed} }}
stop = {{ simulated_s = 1e6, rounds = 1 }}
area = {{ shape = "square", side_m = 1000.0 }}
data = {{ name = "gaussian_mixture", num_classes = 2, num_features = 2, num_samples = 400 }}
model = {{ name = "mlp", hidden = [2] }}
channel = {{ carrier_hz = 1e9, bandwidth_hz = 1e6, path_loss = "free_space" }}
evaluation = {{ every_rounds = 1000000 }}
algorithm = "jobs"
topology = "complete"
mac = "ideal"
[[devices]]
name = "d"
count = {count}
compute = {compute}
radio = {{ tx_power_dbm = 20.0 }}
"""


@dataclass(frozen=True)
class Jobs:
    """Every device takes num_jobs gradient steps of `flops` each; ends_s holds when they were done, by device."""

    task: Any
    codec: Any
    num_rounds: int | None

    num_jobs: int
    flops: list[float]
    ends_s: dict[int, list[float]]

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False

    def program(self, node: Any) -> Any:
        step = (node.initial_parameters, *(column[0] for column in node.batches(8, steps=1).steps), 0.1)
        self.flops[:] = [self.task.sgd_step.flops(*step)]
        for _ in range(self.num_jobs):
            yield Compute(self.task.sgd_step, step)
            self.ends_s.setdefault(node.id, []).append((yield Observe("time")))


@dataclass(frozen=True)
class _Plain:
    """What [algorithm] is checked against: no keys of its own."""

    task: Any
    codec: Any
    num_rounds: int | None

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = False


def comparisons(effort: int) -> Iterator[Comparison]:
    for frequency_hz in FREQUENCIES_HZ:
        keys = f"cycles_per_flop = {CYCLES_PER_FLOP}, kappa_w_per_hz3 = {KAPPA_W_PER_HZ3}"
        record, jobs = _run(f"{{ frequency_hz = {frequency_hz}, {keys} }}", 2, 1)
        cycles = CYCLES_PER_FLOP * jobs.flops[0]
        seconds, joules = cycles / frequency_hz, KAPPA_W_PER_HZ3 * cycles * frequency_hz**2
        name = f"processor, {frequency_hz / 1e6:g} MHz"
        yield of_value(name, "seconds of a job", record.simulated_s, seconds, 2e-9)
        yield of_value(name, "joules of a job", record.energy_j[0, 0], joules, 1e-6 * joules)
    keys = f'jitter = "shifted_exponential", jitter_mean_fraction = {MEAN_FRACTION}'
    compute = f"{{ effective_flops = 1e6, {keys} }}"
    _, jobs = _run(compute, NUM_DEVICES, NUM_JOBS * effort)
    ends_s = np.array([jobs.ends_s[node] for node in range(NUM_DEVICES)])
    times = np.diff(ends_s, axis=1, prepend=0.0) * 1e6 / jobs.flops[0]
    expected = 1 + MEAN_FRACTION * sum(1 / i for i in range(1, NUM_DEVICES + 1))
    quantity = f"slowest of {NUM_DEVICES} jobs, over the fastest"
    yield of_samples("shifted exponential jobs", quantity, times.max(axis=0), expected, 0.02 * expected)


def _run(compute: str, count: int, num_jobs: int) -> tuple[RunRecord, Jobs]:
    """What happened, and what the devices noted."""
    noted = Jobs(None, None, None, num_jobs, [], {})

    def learner(task: Any, codec: Any, num_rounds: int | None) -> Jobs:
        return replace(noted, task=task, codec=codec, num_rounds=num_rounds)

    loaded = load_text(_SCENARIO.format(seed=1, count=count, compute=compute), learner=_Plain)
    return simulate(loaded, executor="null", learner=learner), noted

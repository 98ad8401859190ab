"""Processors: keys of `[[devices]] compute` and `[server] compute`, and what must agree among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from wsim.errors import ScenarioError
from wsim.scenario import quantities as q
from wsim.scenario.messages import Path, problem, shown
from wsim.scenario.table import Table, left_out


class Compute(Table):
    """A processor: what it sustains on this workload, the group's median where it is spread, given as `effective_flops` or as
    frequency_hz / cycles_per_flop. It draws `active_w` while it computes, or kappa_w_per_hz3 * frequency_hz^3 (so that a cycle
    costs kappa f^2)."""

    effective_flops: q.Flops | None = None
    frequency_hz: Annotated[q.ClockHz | None, Field(exclude_if=left_out)] = (
        None  # with cycles_per_flop, instead of effective_flops
    )
    cycles_per_flop: Annotated[q.CyclesPerFlop | None, Field(exclude_if=left_out)] = None
    spread: Literal["none", "lognormal"] = "none"  # of the speed between the devices of the group, fixed for the run
    spread_sigma_ln: q.SigmaLn = 0.5
    jitter: Literal["none", "lognormal", "shifted_exponential", "trace"] = "none"  # from job to job
    jitter_sigma_ln: q.SigmaLn = 0.2  # lognormal, median 1
    # shifted_exponential: the mean of what is added, in job lengths
    jitter_mean_fraction: Annotated[q.PositiveOrZero | None, Field(exclude_if=left_out)] = None
    jitter_file: Annotated[str | None, Field(exclude_if=left_out)] = (
        None  # trace: slow-down factors, one a line, taken in turns from a random one on
    )
    active_w: q.Watts = 1.0  # drawn while computing
    kappa_w_per_hz3: Annotated[q.Kappa | None, Field(exclude_if=left_out)] = (
        None  # the effective switched capacitance, instead of active_w
    )

    @property
    def flops_per_s(self) -> float:
        """FLOP/s before spread and jitter."""
        if self.effective_flops is not None:
            return self.effective_flops
        return (self.frequency_hz or 0.0) / (self.cycles_per_flop or 1.0)

    def watts(self, speed: float) -> float:
        """Drawn while computing by a device `speed` times as fast as its group's median: by its clock, where there is one."""
        if self.kappa_w_per_hz3 is None:
            return self.active_w
        return self.kappa_w_per_hz3 * (speed * (self.frequency_hz or 0.0)) ** 3


class ServerCompute(Table):
    effective_flops: q.Flops = 1e11
    spread: Literal["none"] = "none"
    jitter: Literal["none", "lognormal"] = "none"
    jitter_sigma_ln: q.SigmaLn = 0.2
    active_w: q.Watts = 0.0

    @property
    def flops_per_s(self) -> float:
        """FLOP/s before jitter."""
        return self.effective_flops

    def watts(self, speed: float) -> float:
        """Drawn while computing."""
        return self.active_w


def check(compute: Compute, path: Path, source: str, texts: Mapping[str, str]) -> None:
    """Raise ScenarioError unless there is one speed, one power and what the jitter needs. texts: of files, by name."""
    if compute.effective_flops is None and compute.frequency_hz is None:
        says = f"this key is missing; {q.meaning(q.Flops)}; or frequency_hz with cycles_per_flop, or a preset"
        raise problem(source, (*path, "effective_flops"), says)
    if compute.effective_flops is not None and compute.cycles_per_flop is not None:
        says = "is a second speed beside effective_flops; give one of them"
        raise problem(source, (*path, "cycles_per_flop"), says, value=compute.cycles_per_flop)
    if compute.effective_flops is None and compute.cycles_per_flop is None:
        says = "this key is missing; with frequency_hz it gives the speed (1 is one FLOP a cycle)"
        raise problem(source, (*path, "cycles_per_flop"), says)
    if compute.kappa_w_per_hz3 is not None:
        if compute.frequency_hz is None:
            raise problem(source, (*path, "frequency_hz"), "this key is missing; kappa_w_per_hz3 needs it, in Hz")
        if "active_w" in compute.model_fields_set:
            says = "is a second power beside kappa_w_per_hz3; give one of them"
            raise problem(source, (*path, "active_w"), says, value=compute.active_w)
    if compute.jitter == "shifted_exponential" and compute.jitter_mean_fraction is None:
        says = 'this key is missing; jitter = "shifted_exponential" needs it, such as 0.5 of the job'
        raise problem(source, (*path, "jitter_mean_fraction"), says)
    if compute.jitter == "trace":
        if compute.jitter_file is None:
            says = 'this key is missing; jitter = "trace" needs the name of a file of slow-down factors'
            raise problem(source, (*path, "jitter_file"), says)
        slow_downs(texts[compute.jitter_file], compute.jitter_file)


def slow_downs(text: str, name: str) -> list[float]:
    """Factors of a slow-down trace, one a line, 1 is the device's own speed; # starts a comment. Raises ScenarioError naming
    file and line."""
    factors = []
    for line, content in enumerate(text.splitlines(), start=1):
        item = content.partition("#")[0].strip()
        if not item:
            continue
        try:
            factor = float(item)
        except ValueError:
            factor = -1.0
        if not 1e-6 <= factor <= 1e6:
            raise ScenarioError(
                f"{name} line {line}: {shown(item)}: slow-down factors are one number a line, 1e-6 to 1e6"
            )
        factors.append(factor)
    if not factors:
        raise ScenarioError(f"{name}: holds no slow-down factor")
    return factors

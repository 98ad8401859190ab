"""`make bench`: wsim beside a plain and a hand-stacked torch loop, and messages a second without arithmetic.

CPU seconds on one thread, each measurement in a process of its own, the variants of a workload in turn, medians. Imports,
the loading of the scenario and the first use of torch are not timed; the radio, the training and the evaluations are.
Ratios carry over to other machines, seconds do not.

    python -m benchmarks.run [--repeats 5] [--only fedavg] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).parent
WSIM = Path(sys.executable).with_name("wsim")
WARM_UP = ["stop.rounds=1", "devices.0.count=20"]


@dataclass(frozen=True)
class Training:
    """A scenario that trains, and the name of the same training in benchmarks/floor.py ("" where there is none).

    loops: the same training without a network, by variant, in `module`. needs_data: in the folder of WSIM_DATA.
    """

    scenario: str
    floor: str = ""
    overrides: tuple[str, ...] = ()
    module: str = "floor"
    loops: tuple[str, ...] = ("plain", "stacked")
    needs_data: bool = False

    @property
    def variants(self) -> tuple[str, ...]:
        return (*self.loops, "wsim") if self.floor else ("wsim",)


NEIGHBORS = {"qg_dsgdm": (1.4, 3.0), "drt_diffusion": (2.5, 3.0), "ccl": (4.0, 2.5)}
"""Of one step a round, at most so many rounds of D-PSGD in one of theirs; of five, at least so many times less than the plain loop;
in CPU seconds."""

_WIDTHS = ("[32]", "[48]", "[64]", "[48, 48]", "[64, 64]")
SERVERS: dict[str, tuple[str, ...]] = {
    "fedprox": (),
    "scaffold": (),
    "fedmrl": (
        "model.hidden=[16]",
        "evaluation.other_reports=false",
        "model.variants=[" + ", ".join(f"{{name='mlp', hidden={widths}}}" for widths in _WIDTHS) + "]",
    ),
}
"""Methods beside FedAvg, five steps a round, and what else they change; at least four times less than the plain loop, in CPU seconds."""

CONTROL: dict[str, tuple[str, ...]] = {
    "power_control": (),
    "water_filling": (
        "data={name='parallel_channels', train_samples=4000, test_samples=250}",
        "model={name='equivariant'}",
    ),
}
"""Control problems whose devices have different numbers of objects, and how they change control_100.toml. 100 devices with 8 samples a step
take at least 2.5 times less than the plain loop, 8 devices with 64 at most 1.5 times as much; in CPU seconds."""

_FEW = ("devices.0.count=8", "algorithm.batch_size=64", "stop.rounds=20", "evaluation.every_rounds=20")

TRAINING = {
    "fedavg": Training("fedavg_100.toml", "fedavg"),
    "dpsgd": Training("dpsgd_100.toml", "dpsgd"),
    "dpsgd_one_step": Training("dpsgd_100.toml", "dpsgd_one_step", ("stop.rounds=100", "algorithm.local_steps=1")),
    "gossip": Training("gossip_100.toml"),
    "dpsgd_shared": Training("dpsgd_100.toml", "", ('mac.kind="shared"',)),
    **{
        f"{name}{suffix}": Training(
            "dpsgd_100.toml",
            f"{name}{suffix}",
            (
                f"algorithm={{name='{name}', local_steps={steps}, learning_rate=0.1, batch_size=16}}",
                f"stop.rounds={rounds}",
            ),
            module="neighbors",
            loops=("plain",),
        )
        for name in NEIGHBORS
        for suffix, steps, rounds in (("", 5, 20), ("_one_step", 1, 50))
    },
    **{
        name: Training(
            "fedavg_100.toml",
            name,
            (f"algorithm={{name='{name}', local_steps=5, learning_rate=0.1, batch_size=16}}", *overrides),
            module="servers",
            loops=("plain",),
        )
        for name, overrides in SERVERS.items()
    },
    "semantic": Training("semantic_10.toml", "semantic", module="semantic", loops=("plain",)),
    **{
        f"{name}{suffix}": Training(
            "control_100.toml", f"{name}{suffix}", (*overrides, *fleet), module="control", loops=("plain",)
        )
        for name, overrides in CONTROL.items()
        for suffix, fleet in (("", ()), ("_few", _FEW))
    },
    "dpsgd_50": Training("dpsgd_100.toml", "", ("stop.rounds=50", "algorithm.local_steps=1")),
    "gossip_shared": Training("gossip_100.toml", "", ('mac.kind="shared"',)),
    "mnist_fedavg": Training(
        "../scenarios/mnist_fedavg.toml", "mnist_fedavg", module="mnist", loops=("plain",), needs_data=True
    ),
}
ESTIMATES = (
    "estimate_ideal_100",
    "estimate_ideal_5000",
    "estimate_fluid_100",
    "estimate_fluid_5000",
    "estimate_multicell_500",
    "estimate_multicell_500_doppler",
)
VARIED = {  # an estimate by the scenario of another one
    "estimate_multicell_500_doppler": (
        "estimate_multicell_500",
        ("channel.fading={kind='rayleigh', correlation='doppler'}",),
    )
}
UPDATES = ("neighbors_10000", "cells_10000")
OTHERS = ("gains", "wmmse", *UPDATES, "codecs", "help")
CODECS = ("int8_affine", "sign", "qsgd")
"""Which compress and decompress at least 200 MB of float32 a CPU second."""

Medians = dict[str, dict[str, float]]  # "workload variant" -> quantity -> median


@dataclass(frozen=True)
class Goal:
    """`value` of the medians has to be at least, or at most, `bound`."""

    name: str
    needs: tuple[str, ...]
    value: Callable[[Medians], float]
    bound: float
    at_least: bool

    def met(self, medians: Medians) -> bool:
        value = self.value(medians)
        return value >= self.bound if self.at_least else value <= self.bound


def cpu_ratio(over: str, under: str) -> Callable[[Medians], float]:
    return lambda medians: medians[over]["cpu_s"] / medians[under]["cpu_s"]


def cpu_s(workload: str) -> Callable[[Medians], float]:
    return lambda medians: medians[f"{workload} wsim"]["cpu_s"]


def accuracy_gap(one: str, other: str) -> Callable[[Medians], float]:
    return lambda medians: abs(medians[one]["accuracy"] - medians[other]["accuracy"])


def rate(workload: str) -> Callable[[Medians], float]:
    return lambda medians: medians[f"{workload} wsim"]["messages_per_s"]


def codec_rate(name: str) -> Callable[[Medians], float]:
    """The slower of a run's path and the tensors of a message."""
    return lambda medians: min(medians["codecs wsim"][name], medians["codecs wsim"][f"{name}_tensors"])


def cpu_goal(name: str, over: str, under: str, bound: float, at_least: bool = False) -> Goal:
    """Of CPU seconds."""
    return Goal(f"{name}, CPU", (over, under), cpu_ratio(over, under), bound, at_least)


def beside_plain(name: str, times: float) -> tuple[Goal, Goal]:
    """So many times faster than the plain loop, and as accurate."""
    plain, ours = f"{name} plain", f"{name} wsim"
    return cpu_goal(f"{name}: plain / wsim", plain, ours, times, True), as_accurate(name)


def as_accurate(name: str) -> Goal:
    plain, ours = f"{name} plain", f"{name} wsim"
    return Goal(f"{name}: accuracy, wsim against plain", (plain, ours), accuracy_gap(plain, ours), 0.01, False)


GOALS = [
    *beside_plain("fedavg", 6.0),
    *beside_plain("dpsgd", 4.0),
    cpu_goal("fedavg: wsim / stacked", "fedavg wsim", "fedavg stacked", 2.5),
    *(
        cpu_goal(f"{a} / {b}", f"{a} wsim", f"{b} wsim", 2.0)
        for a, b in (("gossip", "dpsgd"), ("gossip_shared", "dpsgd_shared"))
    ),
    *(
        goal
        for name, (rounds, times) in NEIGHBORS.items()
        for goal in (
            cpu_goal(f"{name}_one_step / dpsgd_50", f"{name}_one_step wsim", "dpsgd_50 wsim", rounds),
            *beside_plain(name, times),
            *beside_plain(f"{name}_one_step", times),
        )
    ),
    *(goal for name in SERVERS for goal in beside_plain(name, 4.0)),
    cpu_goal("semantic: wsim / plain", "semantic wsim", "semantic plain", 1.3),
    as_accurate("semantic"),
    *(
        goal
        for name in CONTROL
        for goal in (
            *beside_plain(name, 2.5),
            cpu_goal(f"{name}_few: wsim / plain", f"{name}_few wsim", f"{name}_few plain", 1.5),
            as_accurate(f"{name}_few"),
        )
    ),
    cpu_goal("mnist_fedavg: wsim / plain", "mnist_fedavg wsim", "mnist_fedavg plain", 1.1),
    as_accurate("mnist_fedavg"),
    *(
        Goal(f"{name}: messages a CPU second", (f"{name} wsim",), rate(name), bound, True)
        for name, bound in zip(ESTIMATES, (20_000, 10_000, 5_000, 1_000, 2_000, 2_000), strict=True)
    ),
    Goal("a million Doppler gains, CPU s", ("gains wsim",), cpu_s("gains"), 1.0, False),
    Goal("WMMSE, 1,000 channels of 30 links, CPU s", ("wmmse wsim",), cpu_s("wmmse"), 3.0, False),
    *(Goal(f"{name}: an update, CPU s", (f"{name} wsim",), cpu_s(name), 1.0, False) for name in UPDATES),
    *(Goal(f"{name}: float32, MB/s", ("codecs wsim",), codec_rate(name), 200.0, True) for name in CODECS),
    Goal("wsim --help, wall s", ("help wsim",), lambda medians: medians["help wsim"]["wall_s"], 0.5, False),
]


# -- one measurement, in a process of its own -------------------------------------------------------------------------


def measure_wsim(scenario: str, overrides: tuple[str, ...], executor: str) -> dict[str, float]:
    import torch.func
    import torch.utils.flop_counter  # noqa: F401

    from wsim.engine import simulate
    from wsim.scenario import load

    path = FOLDER / scenario
    simulate(load(path, [*overrides, *WARM_UP]), executor=executor, window=None, progress=None)
    loaded = load(path, overrides)
    start = time.process_time()
    record = simulate(loaded, executor=executor, window=None, progress=None)
    cpu_s = time.process_time() - start
    result = {"cpu_s": cpu_s, "messages": record.messages_sent, "messages_per_s": record.messages_sent / cpu_s}
    result |= {"lost": sum(record.messages_lost.values()), "simulated_s": record.simulated_s}
    return result | ({} if record.estimated else {"accuracy": float(record.accuracy[-1])})


def measure(workload: str, variant: str) -> dict[str, float]:
    if workload == "gains":
        return import_module("benchmarks.gains").measure()
    if workload == "wmmse":
        return import_module("benchmarks.control").measure_wmmse()
    if workload == "codecs":
        return import_module("benchmarks.codecs").measure()
    if workload in UPDATES:
        return import_module("benchmarks.updates").measure(workload)
    if workload in ESTIMATES:
        scenario, overrides = VARIED.get(workload, (workload, ()))
        return measure_wsim(f"{scenario}.toml", overrides, "null")
    training = TRAINING[workload]
    if variant == "wsim":
        return measure_wsim(training.scenario, training.overrides, "batched")
    cpu_s, accuracy = import_module(f"benchmarks.{training.module}").measure(training.floor, variant)
    return {"cpu_s": cpu_s, "accuracy": accuracy}


def measure_apart(workload: str, variant: str) -> dict[str, float]:
    """The measurement in a fresh process. Raises RuntimeError with its output where it fails."""
    if workload == "help":
        start = time.perf_counter()
        subprocess.run([WSIM, "--help"], check=True, stdout=subprocess.DEVNULL)
        return {"wall_s": time.perf_counter() - start}
    command = [sys.executable, "-m", "benchmarks.run", "--one", workload, variant]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{workload} {variant} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


# -- the table --------------------------------------------------------------------------------------------------------


def medians_of(workload: str, variants: tuple[str, ...], repeats: int) -> Medians:
    """Medians of `repeats` measurements of each variant, the variants in turn."""
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(repeats):
        for variant in variants:
            runs[variant].append(measure_apart(workload, variant))
    return {
        f"{workload} {variant}": {key: median(run[key] for run in each) for key in each[0]}
        for variant, each in runs.items()
    }


def print_row(name: str, values: dict[str, float]) -> None:
    if name == "codecs wsim":
        for codec, rate in values.items():
            print(f"{codec:36} {rate:8,.0f} MB/s", flush=True)
        return
    shown = [f"{values['cpu_s']:8.2f} CPU s"] if "cpu_s" in values else [f"{values['wall_s']:8.2f} s"]
    if "accuracy" in values:
        shown.append(f"accuracy {values['accuracy']:.4f}")
    if "messages" in values:
        shown.append(f"{values['messages']:9,.0f} messages, {values['messages_per_s']:9,.0f} a CPU second")
    if "gains" in values:
        shown.append(f"{values['gains']:9,.0f} gains")
    if "links" in values:
        shown.append(f"{values['links']:9,.0f} links")
    print(f"{name:36}", "   ".join(shown), flush=True)


def print_goals(medians: Medians) -> bool:
    """The goals that the measured workloads decide; whether all of them are met."""
    decided = [goal for goal in GOALS if all(need in medians for need in goal.needs)]
    print()
    for goal in decided:
        sign, verdict = (">=" if goal.at_least else "<="), ("met" if goal.met(medians) else "MISSED")
        print(f"{goal.name:44} {goal.value(medians):12,.3f}   goal {sign} {goal.bound:<9,g} {verdict}")
    return all(goal.met(medians) for goal in decided)


def main() -> None:
    parser = argparse.ArgumentParser(description="wsim beside a plain and a hand-stacked loop")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", action="append", choices=[*TRAINING, *ESTIMATES, *OTHERS], help="repeatable")
    parser.add_argument("--json", type=Path, help="write the medians to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--one", nargs=2, metavar=("WORKLOAD", "VARIANT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    medians: Medians = {}
    for workload in arguments.only or [*TRAINING, *ESTIMATES, *OTHERS]:
        if workload in TRAINING and TRAINING[workload].needs_data and not os.environ.get("WSIM_DATA"):
            print(f"{workload:36} left out: WSIM_DATA names no folder with the data", flush=True)
            continue
        variants = TRAINING[workload].variants if workload in TRAINING else ("wsim",)
        found = medians_of(workload, variants, arguments.repeats)
        for name, values in found.items():
            print_row(name, values)
        medians |= found
    all_met = print_goals(medians)
    if arguments.json:
        arguments.json.write_text(json.dumps(medians, indent=2) + "\n", encoding="utf-8")
    if arguments.check and not all_met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

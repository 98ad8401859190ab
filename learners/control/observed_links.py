"""Power control with the gains of a simulated network: samples are the links that a device has to reckon with, as time passes.

Every snapshot_every_s each device that has objects (`wsim.flows`: its own pair first, then those within reach, strongest first) gets a
sample: entry kj is the SNR at receiver k of transmitter j at full power over the band, with path loss, shadowing, fading and antennas
at that time. The two ends of a pair share one. A draw takes what has been recorded so far, so K and the gains follow movement.

What is recorded is a genie's: no device could know the gains between others, and nothing of it costs time or energy. Powers and noise
of devices may differ: SNRs say it all, so that objects are exchangeable.

Tests are of other times: the horizon is cut into test_blocks equal periods, the last fifth of each is for tests, and training leaves
out gap_s on both sides besides. They have one reference, the mean rate of WMMSE on them, so that "accuracy" is the rate of all over that of
WMMSE for all; a scale has one of its own where it is tested apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from learners.control.data_sets import controls, tested
from learners.control.problem import Problem, ScaleTest, check_scales, sample_width
from learners.control.rules import PowerControl, log_feature
from learners.control.wmmse import wmmse
from learners.data.shape import described_by
from learners.quantities import Count, Decibel, Samples, Seconds, SecondsOrZero

TEST_SHARE = 0.2
FEWEST_TESTS = 20
"""Samples of a scale that are tested apart: fewer would make a reference by chance."""
MOST_SNAPSHOTS = 10**5


class Owner(Protocol):
    """Devices that share a sample, and their objects int [K, 2] of (sender, receiver)."""

    @property
    def devices(self) -> tuple[int, ...]: ...

    @property
    def objects(self) -> np.ndarray: ...


class Air(Protocol):
    """What is looked at: the simulator's `wsim.flows.RecordedAir`. run_s: how long the run lasts at most, None where nobody knows.
    decorrelation_s: after which the channels are other ones. with_gains: False in an estimate, where only who is where is wanted."""

    @property
    def num_devices(self) -> int: ...

    @property
    def run_s(self) -> float | None: ...

    @property
    def decorrelation_s(self) -> float: ...

    @property
    def with_gains(self) -> bool: ...

    def owners(self, time_s: float, max_scale: int) -> Sequence[Owner]: ...

    def snr(self, tx: np.ndarray, rx: np.ndarray, time_s: float) -> np.ndarray: ...


Snapshots = list[tuple[float, Sequence[Owner]]]


class Recording(NamedTuple):
    """Training rows in order of time: times_s, scales [num_rows] and by device its rows, ascending. memory: the latest rows of a device
    that draws take from."""

    times_s: np.ndarray
    scales: np.ndarray
    parts: tuple[np.ndarray, ...]
    memory: int


@dataclass(frozen=True)
class ObservedProblem(Problem):
    """scales: the largest alone. tests: those that may be tested apart. every_test: all of them, any K, padded."""

    recording: Recording | None = None
    every_test: ScaleTest | None = None

    def __post_init__(self) -> None:
        check_scales(self.scales)
        assert self.every_test is not None
        inputs, reference = self.every_test
        found = {
            "train_labels": np.zeros(len(self.train_inputs), dtype=np.int64),
            "test_inputs": inputs,
            "test_labels": np.full(len(inputs), reference),
            "test_scales": inputs[..., -1].sum(-1).astype(np.int64),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)


def _shape(
    max_scale: int,
    neighbor_mean_snr_db: float,
    update_every_s: float,
    snapshot_every_s: float,
    horizon_s: float | None,
    memory: int,
    test_samples: int,
    test_blocks: int,
    gap_s: float | None,
) -> None:
    """What is known once the network is there; bad keys before."""
    check_scales((max_scale,))
    if horizon_s is not None and horizon_s < test_blocks * snapshot_every_s / TEST_SHARE:
        raise ValueError(
            f"horizon_s = {horizon_s}: {test_blocks} blocks for tests, of a fifth each, with snapshots every {snapshot_every_s} s need "
            f"{test_blocks * snapshot_every_s / TEST_SHARE:g} s or more"
        )
    if horizon_s is not None and horizon_s > MOST_SNAPSHOTS * snapshot_every_s:
        raise ValueError(
            f"snapshot_every_s = {snapshot_every_s}: makes more than {MOST_SNAPSHOTS} snapshots of {horizon_s:g} s; "
            f"{horizon_s / MOST_SNAPSHOTS:g} or more"
        )


@controls("matrix")
@described_by(_shape)
def observed_links(
    rng: np.random.Generator,
    air: Air,
    *,
    max_scale: Count = 8,
    neighbor_mean_snr_db: Decibel = 8.0,
    update_every_s: Seconds = 1.0,
    snapshot_every_s: Seconds = 1.0,
    horizon_s: Seconds | None = None,
    memory: Count = 50,
    test_samples: Samples = 500,
    test_blocks: Count = 4,
    gap_s: SecondsOrZero | None = None,
) -> ObservedProblem:
    """Powers of pairs of devices of the network itself, by its own channels, for the largest sum of rates.

    max_scale: the most links of a sample. neighbor_mean_snr_db: two devices are within reach where their local mean SNR at full power is at
    least this. update_every_s: after which pairs are made anew. snapshot_every_s: between samples of a device. horizon_s: until when
    there are any; stop.simulated_s where it is not given. memory: a draw takes from so many of the latest samples of the device.
    test_samples: at most so many. test_blocks: of time that training leaves out, a fifth of the horizon together. gap_s: of time
    around a block that is used for neither; not given: as long as the channels need to become other ones.
    Raises ValueError where nobody finds anybody, and where blocks and gaps leave no time to train.
    """
    horizon = horizon_s if horizon_s is not None else air.run_s
    if horizon is None:
        raise ValueError("horizon_s = None: has to be given where stop.simulated_s does not say how long the run lasts")
    _shape(
        max_scale,
        neighbor_mean_snr_db,
        update_every_s,
        snapshot_every_s,
        horizon,
        memory,
        test_samples,
        test_blocks,
        gap_s,
    )
    gap = gap_s if gap_s is not None else air.decorrelation_s
    period_s = horizon / test_blocks
    if gap >= period_s * (1 - TEST_SHARE) / 2:
        says = "gap_s" if gap_s is not None else "gap_s (the time in which channels become other ones)"
        raise ValueError(
            f"{says} = {gap:g}: leaves no time to train between {test_blocks} blocks in {horizon:g} s; below "
            f"{period_s * (1 - TEST_SHARE) / 2:g}, fewer blocks, or a longer horizon_s"
        )
    taken: Snapshots = []
    kept: Snapshots = []
    for time_s, is_test in times_of(horizon, snapshot_every_s, test_blocks, gap):
        found = air.owners(time_s, max_scale)
        (kept if is_test else taken).append((time_s, found))
    if not any(found for _, found in taken) or not any(found for _, found in kept):
        raise ValueError(
            f"neighbor_mean_snr_db = {neighbor_mean_snr_db}: nobody is within reach of anybody; lower it, raise powers, or place devices closer"
        )
    train_inputs, recording = _recorded(air, taken, max_scale, memory)
    chosen, candidates = _chosen(kept, test_samples, rng)
    tests = _features(air, chosen, max_scale)
    rule = PowerControl(feature="log")
    every, apart, notes = _tested(tests, rule, rng, air.with_gains)
    where = f"{len(tests)} test samples of {candidates}, of {horizon:g} s, {gap:g} s or more from any training sample"
    genie = "samples are recorded from the simulated channels by a genie: they cost no time or energy, and no device could know all of them"
    return ObservedProblem(
        "observed_links",
        rule,
        (max_scale,),
        None,
        train_inputs,
        apart,
        "WMMSE",
        (genie, where, *notes),
        recording=recording,
        every_test=every,
    )


def times_of(horizon_s: float, every_s: float, num_blocks: int, gap_s: float) -> Iterator[tuple[float, bool]]:
    """The times of snapshots from 0 to the horizon, and whether they are for tests; those in gaps are left out."""
    period_s = horizon_s / num_blocks
    for number in range(int(horizon_s / every_s) + 1):
        time_s = number * every_s
        block = min(int(time_s / period_s), num_blocks - 1)
        begin_s, end_s = period_s * (block + 1 - TEST_SHARE), period_s * (block + 1)
        since_last_s = time_s - period_s * block if block else math.inf
        if begin_s <= time_s <= end_s:
            yield time_s, True
        elif time_s < begin_s - gap_s and since_last_s > gap_s:
            yield time_s, False


def _recorded(air: Air, snapshots: Snapshots, max_scale: int, memory: int) -> tuple[np.ndarray, Recording]:
    """Training samples [num_rows, max_scale, width], and what draws need of them."""
    rows = [(time_s, [owner]) for time_s, owners in snapshots for owner in owners]
    parts: list[list[int]] = [[] for _ in range(air.num_devices)]
    for row, (_, (owner,)) in enumerate(rows):
        for device in owner.devices:
            parts[device].append(row)
    scales = np.array([len(owner.objects) for _, (owner,) in rows])
    times_s = np.array([time_s for time_s, _ in rows])
    by_device = tuple(np.array(part, dtype=np.int64) for part in parts)
    return _features(air, snapshots, max_scale), Recording(times_s, scales, by_device, memory)


def _features(air: Air, snapshots: Snapshots, max_scale: int) -> np.ndarray:
    """Samples [num_rows, max_scale, width] of all owners of all snapshots, in order; without gains only who is there."""
    num_rows = sum(len(owners) for _, owners in snapshots)
    samples = np.zeros((num_rows, max_scale, sample_width("matrix", max_scale)))
    row = 0
    for time_s, owners in snapshots:
        if not owners:
            continue
        found = _pairwise(air, owners, time_s) if air.with_gains else [None] * len(owners)
        for owner, snr in zip(owners, found, strict=True):
            k = len(owner.objects)
            samples[row, :k, -1] = 1
            if snr is not None:
                samples[row, :k, :k] = log_feature(snr)
            row += 1
    return samples


def _pairwise(air: Air, owners: Sequence[Owner], time_s: float) -> list[np.ndarray]:
    """By owner, SNRs [K, K] of its objects; every link is looked at once."""
    codes = [
        owner.objects[None, :, 0] * air.num_devices + owner.objects[:, None, 1] for owner in owners
    ]  # [receiver, transmitter]
    links, where = np.unique(np.concatenate([code.ravel() for code in codes]), return_inverse=True)
    tx, rx = np.divmod(links, air.num_devices)
    snr = air.snr(tx, rx, time_s)[where.ravel()]
    ends = np.cumsum([code.size for code in codes])[:-1]
    return [part.reshape(code.shape) for part, code in zip(np.split(snr, ends), codes, strict=True)]


def _chosen(kept: Snapshots, num: int, rng: np.random.Generator) -> tuple[Snapshots, int]:
    """Test snapshots of owners drawn uniformly over all devices that have objects, at most num, none twice; and of how many."""
    places = [(time, which) for time, (_, owners) in enumerate(kept) for which in range(len(owners))]
    devices = np.array([len(kept[time][1][which].devices) for time, which in places], dtype=np.float64)
    size = min(num, len(places))
    picked = sorted(rng.choice(len(places), size, replace=False, p=devices / devices.sum()).tolist())
    by_time: dict[int, list[Owner]] = {}
    for time, which in (places[i] for i in picked):
        by_time.setdefault(time, []).append(kept[time][1][which])
    return [(kept[time][0], owners) for time, owners in by_time.items()], len(places)


def _tested(
    inputs: np.ndarray, rule: PowerControl, rng: np.random.Generator, with_gains: bool
) -> tuple[ScaleTest, dict[int, ScaleTest], list[str]]:
    """The test of all samples, those of single scales, and what is known of them in words."""
    scales = inputs[..., -1].sum(-1).astype(np.int64)
    by_scale = {k: inputs[scales == k][:, :k] for k in np.unique(scales).tolist()}
    by_scale = {
        k: np.delete(of, range(k, of.shape[2] - 1), axis=2) for k, of in by_scale.items() if len(of) >= FEWEST_TESTS
    }
    if not with_gains:
        return ScaleTest(inputs, 1.0), {k: ScaleTest(of, 1.0) for k, of in by_scale.items()}, []
    every, note = tested(inputs, rule, _reference, rng)
    says = "mean sum rate of WMMSE on the tests, and the shares of it that full and random powers have: "
    apart = {k: tested(of, rule, _reference, rng)[0] for k, of in by_scale.items()}
    return every, apart, [says + note]


def _reference(gains: np.ndarray) -> np.ndarray:
    """WMMSE's powers; links without any gain of their own are padding."""
    return wmmse(gains, np.diagonal(gains, axis1=1, axis2=2) > 0)

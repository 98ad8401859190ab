"""The control problems that a scenario's [data] may name, of independently drawn channels.

    interference_channel   powers of K links that disturb each other; reference: WMMSE
    link_activation        which of K device-to-device links are on; reference: the better of greedy and rounded WMMSE
    recorded_channels      as the first, of gains from a file
    parallel_channels      a budget of power split over K channels; reference: water-filling, the optimum

The channels' laws and their sources are in the modules that draw them. They are the lineage's or ours: the equations, task and numbers of
the paper whose method these problems are for (arXiv 2108.00231) were not available.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from learners.control.activation import better_activation
from learners.control.device_links import draw_device_links
from learners.control.interference_channel import draw_interference
from learners.control.parallel_channels import draw_parallel
from learners.control.problem import Problem, ScaleTest, check_scales, packed, sample_width
from learners.control.recorded_channels import read_channels
from learners.control.rules import Kind, PowerControl, PowerSplit, Rule, log_feature
from learners.control.water_filling import water_filling
from learners.control.wmmse import wmmse
from learners.data.shape import DataShape, described_by
from learners.quantities import Count, FilePath, Fraction, Positive, Samples, Seconds

Loader = TypeVar("Loader", bound=Callable[..., Any])
Draw = Callable[[np.random.Generator, int, int], np.ndarray]
"""(rng, num_samples, K) -> features [num_samples, K, K] or [num_samples, K]."""
Reference = Callable[[np.ndarray], np.ndarray]
"""Gains [n, K, K] or [n, K] -> powers [n, K]."""


def controls(kind: Kind) -> Callable[[Loader], Loader]:
    """Says of a loader that it makes control problems, whose samples are of this kind."""

    def attach(load: Loader) -> Loader:
        load.controls = kind  # type: ignore[attr-defined]
        return load

    return attach


def _check(
    scales: tuple[int, ...],
    scale_every_s: float | None,
    test_scales: tuple[int, ...],
    train_samples: int,
    test_samples: int,
) -> None:
    check_scales(scales, scale_every_s)
    if min(test_scales, default=1) < 1:
        raise ValueError(
            f"test_scales = {list(test_scales)}: {min(test_scales)} objects are none to decide about; 1 at least"
        )
    for key, value in (("train_samples", train_samples), ("test_samples", test_samples)):
        if value < 1:
            raise ValueError(f"{key} = {value}: at least 1")


def _pairs_shape(
    scales: tuple[int, ...],
    scale_every_s: float | None,
    test_scales: tuple[int, ...],
    train_samples: int,
    test_samples: int,
    noise: float,
) -> DataShape:
    _check(scales, scale_every_s, test_scales, train_samples, test_samples)
    if not noise > 0:
        raise ValueError(f"noise = {noise}: above 0")
    return DataShape(train_samples, test_samples, 1, (max(scales), sample_width("matrix", max(scales))))


def _activation_shape(
    scales: tuple[int, ...],
    scale_every_s: float | None,
    test_scales: tuple[int, ...],
    train_samples: int,
    test_samples: int,
    links_per_km2: float,
) -> DataShape:
    return _pairs_shape(scales, scale_every_s, test_scales, train_samples, test_samples, 1.0)


def _split_shape(
    scales: tuple[int, ...],
    scale_every_s: float | None,
    test_scales: tuple[int, ...],
    train_samples: int,
    test_samples: int,
    mean_gain: float,
    budget: float,
) -> DataShape:
    _check(scales, scale_every_s, test_scales, train_samples, test_samples)
    for key, value in (("mean_gain", mean_gain), ("budget", budget)):
        if not value > 0:
            raise ValueError(f"{key} = {value}: above 0")
    return DataShape(train_samples, test_samples, 1, (max(scales), 2))


@controls("matrix")
@described_by(_pairs_shape)
def interference_channel(
    rng: np.random.Generator,
    *,
    scales: tuple[Count, ...] = (4, 6, 8, 10),
    scale_every_s: Seconds | None = None,
    test_scales: tuple[Count, ...] = (),
    train_samples: Samples = 2000,
    test_samples: Samples = 500,
    noise: Positive = 0.1,
) -> Problem:
    """Powers of K links that disturb each other, for the largest sum of rates.

    scales: numbers of links K, dealt to the devices in turn. scale_every_s: after which a link joins or leaves a device, within the range of
    scales; none: never. test_scales: further K to test on. train_samples: channels, dealt to the devices as
    [data] partition says. test_samples: of each K. noise: over the power of a link whose gain is 1.
    Raises ValueError for no links, and noise that is not above 0.
    """
    _pairs_shape(scales, scale_every_s, test_scales, train_samples, test_samples, noise)
    rule = PowerControl(noise)
    return _problem(
        "interference_channel",
        rule,
        draw_interference,
        wmmse,
        "WMMSE",
        rng,
        scales,
        scale_every_s,
        test_scales,
        train_samples,
        test_samples,
    )


@controls("matrix")
@described_by(_activation_shape)
def link_activation(
    rng: np.random.Generator,
    *,
    scales: tuple[Count, ...] = (10, 15, 20),
    scale_every_s: Seconds | None = None,
    test_scales: tuple[Count, ...] = (),
    train_samples: Samples = 2000,
    test_samples: Samples = 500,
    links_per_km2: Positive = 50.0,
) -> Problem:
    """Which of K device-to-device links are on, for the largest sum of rates: trained with powers from 0 to 1, tested with 0 or 1.

    scales, scale_every_s, test_scales, train_samples, test_samples: as for interference_channel. links_per_km2: how dense they lie, at any K.
    Raises ValueError for no links.
    """
    _activation_shape(scales, scale_every_s, test_scales, train_samples, test_samples, links_per_km2)
    rule = PowerControl(feature="log", rounded=True)

    def drawn(rng: np.random.Generator, num: int, scale: int) -> np.ndarray:
        return log_feature(draw_device_links(rng, num, scale, links_per_km2))

    return _problem(
        "link_activation",
        rule,
        drawn,
        better_activation,
        "greedy/WMMSE activation",
        rng,
        scales,
        scale_every_s,
        test_scales,
        train_samples,
        test_samples,
    )


@controls("matrix")
def recorded_channels(
    rng: np.random.Generator,
    *,
    file: FilePath,
    scales: tuple[Count, ...],
    scale_every_s: Seconds | None = None,
    test_scales: tuple[Count, ...] = (),
    test_fraction: Fraction = 0.2,
) -> Problem:
    """Powers of links whose gains you recorded: an .npz file with `gains`, SNRs at full power [num, K, K], see
    `learners.control.recorded_channels`.

    scales, scale_every_s, test_scales: as for interference_channel, of the first links of each sample, at most the file's K. test_fraction: of
    the samples, drawn at random. The rest is dealt to the devices.
    Raises ValueError, one line, for what the file may not hold, scales above its K, and fewer than two samples.
    """
    check_scales(scales, scale_every_s)
    gains = read_channels(Path(file))
    largest = max((*scales, *test_scales))
    if largest > gains.shape[1]:
        key = "scales" if max(scales) == largest else "test_scales"
        raise ValueError(f"{key}: up to {largest} links, and {file} has samples of {gains.shape[1]}")
    num_test = max(1, round(test_fraction * len(gains)))
    if num_test >= len(gains):
        raise ValueError(f"{file}: {len(gains)} sample(s), at least two, one to train on and one to test")
    order = rng.permutation(len(gains))
    test, train = gains[order[:num_test]], gains[order[num_test:]]
    rule = PowerControl(feature="log")

    def cut(gains: np.ndarray, scale: int) -> np.ndarray:
        return packed(log_feature(gains[:, :scale, :scale]))

    tests, notes = {}, []
    for scale in sorted({*scales, *test_scales}):
        tests[scale], note = tested(cut(test, scale), rule, wmmse, rng)
        notes.append(f"{scale}: {note}")
    pool = cut(train, max(scales))
    return Problem("recorded_channels", rule, scales, scale_every_s, pool, tests, "WMMSE", (in_words("WMMSE", notes),))


@controls("vector")
@described_by(_split_shape)
def parallel_channels(
    rng: np.random.Generator,
    *,
    scales: tuple[Count, ...] = (4, 6, 8, 12),
    scale_every_s: Seconds | None = None,
    test_scales: tuple[Count, ...] = (),
    train_samples: Samples = 2000,
    test_samples: Samples = 1000,
    mean_gain: Positive = 5.0,
    budget: Positive = 0.3,
) -> Problem:
    """A budget of power split over K parallel channels, for the largest sum of rates.

    scales, scale_every_s, test_scales, train_samples, test_samples: as for interference_channel, of channels. mean_gain: of the exponential
    gains over noise. budget: of power, per channel.
    Raises ValueError for no channels, and a budget or mean gain that is not above 0.
    """
    _split_shape(scales, scale_every_s, test_scales, train_samples, test_samples, mean_gain, budget)
    rule = PowerSplit(mean_gain, budget)

    def drawn(rng: np.random.Generator, num: int, scale: int) -> np.ndarray:
        return draw_parallel(rng, num, scale, 1.0)

    def filled(gains: np.ndarray) -> np.ndarray:
        return water_filling(gains, budget * gains.shape[-1])

    return _problem(
        "parallel_channels",
        rule,
        drawn,
        filled,
        "water-filling",
        rng,
        scales,
        scale_every_s,
        test_scales,
        train_samples,
        test_samples,
    )


def _problem(
    name: str,
    rule: Rule,
    draw: Draw,
    reference: Reference,
    reference_name: str,
    rng: np.random.Generator,
    scales: tuple[int, ...],
    scale_every_s: float | None,
    test_scales: tuple[int, ...],
    train_samples: int,
    test_samples: int,
) -> Problem:
    pool = packed(draw(rng, train_samples, max(scales)))
    tests, notes = {}, []
    for scale in sorted({*scales, *test_scales}):
        tests[scale], note = tested(packed(draw(rng, test_samples, scale)), rule, reference, rng)
        notes.append(f"{scale}: {note}")
    return Problem(name, rule, scales, scale_every_s, pool, tests, reference_name, (in_words(reference_name, notes),))


def in_words(reference_name: str, notes: list[str]) -> str:
    return (
        f"mean sum rate of {reference_name} on the tests by number of objects, and what share of it full (or equal) and random powers have: "
        + "; ".join(notes)
    )


def tested(inputs: np.ndarray, rule: Rule, reference: Reference, rng: np.random.Generator) -> tuple[ScaleTest, str]:
    """A test of samples [n, K, width], and in words how good the reference, full and random power are on it. ValueError where the
    reference's mean rate is 0 or infinite, as it is where all gains are 0."""
    samples = torch.from_numpy(inputs)

    def mean_rate(powers: torch.Tensor) -> float:
        return float(rule.rates(rule.applied(powers), samples).sum(-1).mean())

    best = mean_rate(torch.from_numpy(reference(rule.gains(samples).numpy())))
    if not 0 < best < np.inf:
        raise ValueError(
            f"tests with {inputs.shape[1]} objects: the reference's mean rate is {best:g} bit/s/Hz, and there is no share of it"
        )
    full = mean_rate(rule.full(samples))
    drawn = mean_rate(rule.drawn(torch.from_numpy(rng.random(inputs.shape[:2])), samples))
    return ScaleTest(inputs, best), f"{best:.3f} bit/s/Hz, {full / best:.3f}, {drawn / best:.3f}"

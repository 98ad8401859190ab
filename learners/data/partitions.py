"""How a training set is divided between devices.

Every function takes the labels (int [num_samples]), the number of devices and a generator, and returns one ascending
index array (int64) a device. Without `samples_per_device` the arrays are an exact partition: every sample belongs to
one device, and every device has at least one. With it, devices draw independently of each other: two devices may hold
the same sample, so that any number of devices can be served from a small set; within a device samples repeat only
where a class has fewer than are asked for.
"""

from __future__ import annotations

import numpy as np

from learners.data.shape import checked_by
from learners.quantities import Classes, Count, Fraction, Positive, PositiveOrZero

Parts = list[np.ndarray]


def check_shares(num_train: int, num_classes: int, num_devices: int, *, samples_per_device: int | None = None) -> None:
    """ValueError where there are not enough samples for the devices."""
    if num_devices < 1:
        raise ValueError(f"num_devices = {num_devices}: at least 1")
    if num_train < 1:
        raise ValueError("the training set is empty")
    if samples_per_device is None and num_train < num_devices:
        raise ValueError(
            f"{num_devices} devices cannot share {num_train} training samples: fewer devices, or samples_per_device "
            "(devices may then hold the same sample)"
        )
    if samples_per_device is not None and samples_per_device < 1:
        raise ValueError(f"samples_per_device = {samples_per_device}: at least 1")


def _check_iid(
    num_train: int, num_classes: int, num_devices: int, *, samples_per_device: int | None, stratified: bool
) -> None:
    check_shares(num_train, num_classes, num_devices, samples_per_device=samples_per_device)
    if stratified and samples_per_device is not None:
        raise ValueError("stratified = True: deals every sample to one device; only without samples_per_device")


@checked_by(_check_iid)
def iid(
    labels: np.ndarray,
    num_devices: int,
    rng: np.random.Generator,
    *,
    samples_per_device: Count | None = None,
    stratified: bool = False,
) -> Parts:
    """Equal shares of a shuffled set, sizes equal up to one sample.

    samples_per_device: drawn, possibly shared between devices; without it every sample is dealt to one device.
    stratified: every class by itself is dealt in equal shares, up to one sample, too.
    """
    _check_iid(*samples_and_classes(labels), num_devices, samples_per_device=samples_per_device, stratified=stratified)
    if stratified:
        shuffled = np.concatenate([rng.permutation(members) for members in _by_class(labels)])
        return ascending([shuffled[device::num_devices] for device in range(num_devices)])
    if samples_per_device is None:
        return ascending(np.array_split(rng.permutation(len(labels)), num_devices))
    return ascending([_draw(rng, np.arange(len(labels)), samples_per_device) for _ in range(num_devices)])


def _check_dirichlet(
    num_train: int,
    num_classes: int,
    num_devices: int,
    *,
    alpha: float,
    min_samples: int,
    samples_per_device: int | None,
) -> None:
    check_shares(num_train, num_classes, num_devices, samples_per_device=samples_per_device)
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha = {alpha}: a positive finite number")
    if samples_per_device is None and not 1 <= min_samples <= num_train // num_devices:
        raise ValueError(
            f"min_samples = {min_samples}: at least 1, and at most {num_train // num_devices}, an equal share of "
            f"{num_train} training samples between {num_devices} devices"
        )


@checked_by(_check_dirichlet)
def dirichlet(
    labels: np.ndarray,
    num_devices: int,
    rng: np.random.Generator,
    *,
    alpha: Positive,
    min_samples: Count = 1,
    samples_per_device: Count | None = None,
) -> Parts:
    """Label skew: small alpha gives each device few classes (and unequal sizes), large alpha the mix of the whole set.

    Partition: the samples of each class are divided in proportions ~ Dirichlet(alpha) over the devices (Yurochkin et
    al., "Bayesian nonparametric federated learning of neural networks", ICML 2019). Their code redraws until every
    device has enough; here a device short of `min_samples` takes random samples of the then largest device, which
    always ends.
    With samples_per_device: each device has its own class mix ~ Dirichlet(alpha * num_classes * share of the class)
    and draws that many samples (Hsu, Qi and Brown, arXiv 1909.06335, whose concentration is alpha * num_classes).

    alpha: Dirichlet concentration; small is uneven. min_samples: of every device.
    samples_per_device: drawn, possibly shared between devices; without it every sample is dealt to one device.
    """
    keys = {"alpha": alpha, "min_samples": min_samples, "samples_per_device": samples_per_device}
    _check_dirichlet(*samples_and_classes(labels), num_devices, **keys)  # type: ignore[arg-type]
    members = _by_class(labels)
    if samples_per_device is not None:
        shares = np.array([len(indices) for indices in members]) / len(labels)
        mixes = dirichlet_rows(rng, alpha * len(members) * shares, num_devices)
        counts = rng.multinomial(samples_per_device, mixes)
        return ascending(
            [
                np.concatenate([_draw(rng, indices, n) for indices, n in zip(members, row, strict=True)])
                for row in counts
            ]
        )
    parts: list[list[int]] = [[] for _ in range(num_devices)]
    for indices in members:
        shares = dirichlet_rows(rng, np.full(num_devices, alpha), 1)[0]
        cuts = np.round(np.cumsum(shares)[:-1] * len(indices)).astype(int)
        for part, piece in zip(parts, np.split(rng.permutation(indices), cuts), strict=True):
            part.extend(piece.tolist())
    for part in parts:
        while len(part) < min_samples:
            largest = max(parts, key=len)
            part.append(largest.pop(int(rng.integers(len(largest)))))
    return ascending([np.array(part) for part in parts])


def _check_classes(
    num_train: int,
    num_classes: int,
    num_devices: int,
    *,
    classes: int,
    samples_per_device: int | None,
    share_spread: float | None = None,
) -> None:
    check_shares(num_train, num_classes, num_devices, samples_per_device=samples_per_device)
    if share_spread is not None and not 0 < share_spread < 1:
        raise ValueError(f"share_spread = {share_spread}: between 0 and 1, without its ends")
    if share_spread is not None and samples_per_device is not None:
        raise ValueError(f"share_spread = {share_spread}: only without samples_per_device, which makes shares equal")
    if not 1 <= classes <= num_classes:
        raise ValueError(f"classes = {classes}: between 1 and {num_classes}, the number of classes in the data")
    if samples_per_device is not None and samples_per_device < classes:
        raise ValueError(
            f"samples_per_device = {samples_per_device}: at least one for each of classes = {classes} classes"
        )
    if samples_per_device is None and classes * num_devices < num_classes:
        raise ValueError(
            f"classes = {classes}: {num_devices} devices cannot hold all {num_classes} classes; at least "
            f"{-(-num_classes // num_devices)} classes a device, or samples_per_device"
        )


@checked_by(_check_classes)
def classes_per_device(
    labels: np.ndarray,
    num_devices: int,
    rng: np.random.Generator,
    *,
    classes: Classes,
    samples_per_device: Count | None = None,
    share_spread: Fraction | None = None,
) -> Parts:
    """Each device holds exactly `classes` classes; the holders of a class divide its samples evenly, or nearly.

    Classes are dealt one device after another, the least dealt first and ties at random, so that the numbers of holders
    of two classes differ by one at most. The pathological split of McMahan et al. (AISTATS 2017) deals shards of the
    label-sorted set instead, where a shard may straddle two classes.

    classes: held by each device.
    samples_per_device: drawn, possibly shared between devices; without it every sample is dealt to one device.
    share_spread: s, the holders' shares of a class are in proportion to numbers drawn from 1 - s to 1 + s; 0.2 is what the code of
        FedMRL and its family has, which drops what rounding down leaves over, where here all is dealt.
    """
    _check_classes(
        *samples_and_classes(labels),
        num_devices,
        classes=classes,
        samples_per_device=samples_per_device,
        share_spread=share_spread,
    )
    members = _by_class(labels)
    held = np.empty((num_devices, classes), dtype=int)
    dealt = np.zeros(len(members), dtype=int)
    for device in range(num_devices):
        order = np.lexsort((rng.random(len(members)), dealt))
        held[device] = order[:classes]
        dealt[held[device]] += 1
    if samples_per_device is not None:
        sizes = [len(piece) for piece in np.array_split(np.arange(samples_per_device), classes)]
        return ascending(
            [np.concatenate([_draw(rng, members[c], n) for c, n in zip(row, sizes, strict=True)]) for row in held]
        )
    pieces: list[list[np.ndarray]] = [[] for _ in range(num_devices)]
    for c, indices in enumerate(members):
        holders = np.flatnonzero((held == c).any(axis=1)).tolist()
        if len(indices) < len(holders):
            raise ValueError(
                f"classes = {classes}: class {c} has {len(indices)} samples for {len(holders)} devices; "
                "fewer devices, fewer classes a device, or samples_per_device"
            )
        for device, piece in zip(holders, _cut(rng.permutation(indices), len(holders), rng, share_spread), strict=True):
            pieces[device].append(piece)
    return ascending([np.concatenate(piece) for piece in pieces])


def _cut(indices: np.ndarray, num: int, rng: np.random.Generator, share_spread: float | None) -> list[np.ndarray]:
    """`num` pieces of one class; each has one sample at least."""
    if share_spread is None:
        return np.array_split(indices, num)
    shares = rng.uniform(1 - share_spread, 1 + share_spread, num)
    ends = np.round(np.cumsum(shares) / shares.sum() * (len(indices) - num)).astype(int) + np.arange(1, num + 1)
    return np.split(indices, ends[:-1])


def _check_skew(
    num_train: int, num_classes: int, num_devices: int, *, exponent: float, samples_per_device: int | None
) -> None:
    check_shares(num_train, num_classes, num_devices, samples_per_device=samples_per_device)
    if not (np.isfinite(exponent) and exponent >= 0):
        raise ValueError(f"exponent = {exponent}: a finite number, at least 0")


@checked_by(_check_skew)
def quantity_skew(
    labels: np.ndarray,
    num_devices: int,
    rng: np.random.Generator,
    *,
    exponent: PositiveOrZero,
    samples_per_device: Count | None = None,
) -> Parts:
    """Unequal amounts of identically distributed data: sizes follow a power law.

        n_i ~ r_i^-exponent,   r_i: the device's rank, a random permutation of 1 .. num_devices

    exponent: 0 gives equal sizes, 1 Zipf's law. Sizes are rounded to a sum of exactly all samples, at least one each.
    samples_per_device: the mean size instead, drawn as the module says.
    """
    _check_skew(*samples_and_classes(labels), num_devices, exponent=exponent, samples_per_device=samples_per_device)
    total = len(labels) if samples_per_device is None else samples_per_device * num_devices
    shares = (1.0 + rng.permutation(num_devices)) ** -exponent
    exact = (total - num_devices) * shares / shares.sum()  # beyond the one sample that everybody gets
    sizes = 1 + np.floor(exact).astype(int)
    remainder = total - int(sizes.sum())
    sizes[np.argsort(np.floor(exact) - exact, kind="stable")[:remainder]] += 1
    if samples_per_device is not None:
        return ascending([_draw(rng, np.arange(len(labels)), int(size)) for size in sizes])
    return ascending(np.split(rng.permutation(len(labels)), np.cumsum(sizes)[:-1]))


def samples_and_classes(labels: np.ndarray) -> tuple[int, int]:
    """Numbers of samples and of classes that occur."""
    return len(labels), len(np.unique(labels))


def _by_class(labels: np.ndarray) -> Parts:
    """Indices of the samples of each class that occurs."""
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def dirichlet_rows(rng: np.random.Generator, alphas: np.ndarray, num_rows: int) -> np.ndarray:
    """Rows ~ Dirichlet(alphas), [num_rows, len(alphas)]; also for alphas so small that every gamma variate
    underflows, where the limit is one winner with probability in proportion to alphas."""
    log_gamma = np.log(rng.standard_gamma(alphas + 1, size=(num_rows, len(alphas))))
    log_gamma += np.log(rng.random((num_rows, len(alphas)))) / alphas  # gamma(a) = gamma(a + 1) * u^(1 / a)
    shares = np.exp(log_gamma - log_gamma.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _draw(rng: np.random.Generator, indices: np.ndarray, num_samples: int) -> np.ndarray:
    return rng.choice(indices, num_samples, replace=num_samples > len(indices))


def ascending(parts: Parts) -> Parts:
    """Each share in the order of the set."""
    return [np.sort(part).astype(np.int64) for part in parts]

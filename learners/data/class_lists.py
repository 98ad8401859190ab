"""A partition by hand: which device holds which classes."""

from __future__ import annotations

import numpy as np

from learners.data.partitions import Parts, ascending
from learners.data.shape import checked_by
from learners.quantities import Count, CountOrZero


def _check(
    num_train: int,
    num_classes: int,
    num_devices: int,
    *,
    classes_of_device: tuple[tuple[int, ...], ...],
    samples_per_class: int | None,
) -> None:
    given = f"classes_of_device = {[list(classes) for classes in classes_of_device]}"
    if len(classes_of_device) != num_devices:
        raise ValueError(
            f"{given}: one list for each of the {num_devices} devices, and there are {len(classes_of_device)}"
        )
    for device, classes in enumerate(classes_of_device):
        if not classes:
            raise ValueError(f"{given}: device {device} has no class; one at least")
        if len(set(classes)) < len(classes):
            raise ValueError(f"{given}: device {device} has a class twice")
        unknown = [k for k in classes if not 0 <= k < num_classes]
        if unknown:
            raise ValueError(f"{given}: device {device} has class {unknown[0]}; 0 to {num_classes - 1}")
    if samples_per_class is not None and samples_per_class < 1:
        raise ValueError(f"samples_per_class = {samples_per_class}: at least 1")


@checked_by(_check)
def class_lists(
    labels: np.ndarray,
    num_devices: int,
    rng: np.random.Generator,
    *,
    classes_of_device: tuple[tuple[CountOrZero, ...], ...],
    samples_per_class: Count | None = None,
) -> Parts:
    """Each device holds the classes of its list; the samples of a class are dealt equally to its holders, up to one, each to one
    device. A class in no list is left out.

    classes_of_device: a list of class numbers for each device, in the order of the devices.
    samples_per_class: that a device gets of each of its classes; the rest of the class is left out.
    """
    num_classes = int(labels.max()) + 1
    keys = {"classes_of_device": classes_of_device, "samples_per_class": samples_per_class}
    _check(len(labels), num_classes, num_devices, **keys)  # type: ignore[arg-type]
    pieces: list[list[np.ndarray]] = [[] for _ in range(num_devices)]
    for k in range(num_classes):
        holders = [device for device, classes in enumerate(classes_of_device) if k in classes]
        if not holders:
            continue
        indices = rng.permutation(np.flatnonzero(labels == k))
        needed = len(holders) * (samples_per_class or 1)
        if len(indices) < needed:
            raise ValueError(
                f"samples_per_class = {samples_per_class}: class {k} has {len(indices)} training samples, and its {len(holders)} holders need {needed}"
            )
        if samples_per_class is not None:
            indices = indices[:needed]
        for device, piece in zip(holders, np.array_split(indices, len(holders)), strict=True):
            pieces[device].append(piece)
    return ascending([np.concatenate(piece) for piece in pieces])

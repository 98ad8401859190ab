"""What is known of a data set before it is loaded, and how loaders and partitions say it.

    @described_by(_shape)                                 # _shape(**own keys) -> DataShape, or None: known once loaded
    def gaussian_mixture(rng, num_classes=10, ...): ...

    @checked_by(_deals_all_classes)                       # (num_train, num_classes, num_devices, **own keys) -> None
    def classes_per_device(labels, num_devices, rng, *, classes, ...): ...

Both are optional. With them a scenario that cannot work is refused when it is read, before anything is loaded. Either raises
ValueError("key = value: what is accepted").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class DataShape:
    """input_shape: shape of one sample."""

    num_train: int
    num_test: int
    num_classes: int
    input_shape: tuple[int, ...]


def described_by(describe: Callable[..., DataShape | None]) -> Callable[[Function], Function]:
    """Makes `describe` an attribute of a data loader: it takes the loader's own keys."""

    def attach(load: Function) -> Function:
        load.describe = describe  # type: ignore[attr-defined]
        return load

    return attach


def checked_by(check: Callable[..., None]) -> Callable[[Function], Function]:
    """Makes `check` an attribute of a partition: it takes num_train, num_classes, num_devices and the partition's own keys."""

    def attach(partition: Function) -> Function:
        partition.check = check  # type: ignore[attr-defined]
        return partition

    return attach

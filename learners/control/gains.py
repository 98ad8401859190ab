"""What gains, scales, budgets and numbers a link of a control problem have to be; else ValueError, one line."""

from __future__ import annotations

import numpy as np

from learners.fields import check_number


def check_scale(name: str, num_objects: int) -> None:
    """A scale K, the number of objects that a controller decides for: a whole number, at least 1."""
    if isinstance(num_objects, bool) or not isinstance(num_objects, (int, np.integer)) or num_objects < 1:
        raise ValueError(f"{name} = {num_objects!r}: a scale is a whole number of objects, at least 1")


def check_budget(name: str, power: float) -> None:
    """A largest power or a power budget: finite, above 0. Without power, every decision is as good as any other."""
    check_number(name, power)


def check_gains(name: str, gains: np.ndarray, num_dims: int) -> None:
    """Linear gains of `num_dims` axes, [num, K] (2) or [num, K, K] (3): none negative, none infinite, K at least 1."""
    form = "[num, K, K]" if num_dims == 3 else "[num, K]"
    if gains.ndim != num_dims or (num_dims == 3 and gains.shape[1] != gains.shape[2]):
        raise ValueError(f"{name} has the shape {gains.shape}: {form}")
    if gains.shape[-1] == 0:
        raise ValueError(f"{name} has the shape {gains.shape}: {form} with K = 0 objects, at least 1")
    wrong = ~((gains >= 0) & (gains < np.inf))
    if wrong.any():
        place = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), gains.shape))
        raise ValueError(f"{name}{list(place)} = {gains[place]}: gains are linear, finite and not negative")


def per_link(name: str, values: np.ndarray | None, shape: tuple[int, ...], largest: float = np.inf) -> np.ndarray:
    """float64 [n, K] of a number a link, 1 where there is none."""
    if values is None:
        return np.ones(shape)
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in (shape, shape[1:]):
        raise ValueError(
            f"{name} has the shape {array.shape}: for gains of {shape[0]} channels of {shape[1]} links, {shape}"
        )
    if not ((array >= 0) & (array <= largest) & (array < np.inf)).all():
        raise ValueError(f"{name}: finite and not negative{f', at most {largest:g}' if largest < np.inf else ''}")
    return np.broadcast_to(array, shape).copy()

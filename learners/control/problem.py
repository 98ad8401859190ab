"""A control problem as a data set: its samples are sets of objects (links, channels), of any number.

What is learned is a controller: a model that gives each object a score, which `learners.control.rules` turns into powers and rates.
Nothing is labelled; training maximizes the sum of the rates. For tests every scale K (number of objects) has samples of its own, and
with them the mean rate of a reference (WMMSE, water-filling), so that

    "accuracy" = rate / mean rate of the reference at this K       a share, above 1 where the reference is beaten
    "loss"     = - sum of the rates [bit/s/Hz]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from learners.control.rules import Kind


class ScaleTest(NamedTuple):
    """inputs: [n, K, width] samples of K objects each; reference: their mean rate under the reference, bit/s/Hz."""

    inputs: np.ndarray
    reference: float


@dataclass(frozen=True)
class Problem:
    """scales: numbers of objects, dealt to the devices in turn: device i begins with scales[i modulo their number].
    scale_every_s: after which an object joins or leaves a device, within the range of the scales; None: never.
    train_inputs: [num_train, max_scale, width], all objects present; a device of fewer objects sees the first ones.
    tests: by scale; all of `scales` are among them. reference_name: "WMMSE". notes: what else is known of the tests."""

    name: str
    rule: Any
    scales: tuple[int, ...]
    scale_every_s: float | None
    train_inputs: np.ndarray
    tests: Mapping[int, ScaleTest]
    reference_name: str
    notes: tuple[str, ...] = ()
    num_classes: int = 1  # decisions an object
    mean: None = None
    std: None = None
    train_labels: np.ndarray = field(init=False, repr=False)
    test_inputs: np.ndarray = field(init=False, repr=False)
    test_labels: np.ndarray = field(init=False, repr=False)
    test_scales: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_scales(self.scales, self.scale_every_s)
        found: dict[str, np.ndarray] = {
            "train_labels": np.zeros(len(self.train_inputs), dtype=np.int64),
            **_joined({scale: self.tests[scale] for scale in sorted(set(self.scales))}, self.rule.kind),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @property
    def kind(self) -> Kind:
        kind: Kind = self.rule.kind
        return kind

    @property
    def max_scale(self) -> int:
        return max(self.scales)

    @property
    def input_shape(self) -> tuple[int, int]:
        return self.max_scale, sample_width(self.kind, self.max_scale)

    def first_scale(self, device: int) -> int:
        return self.scales[device % len(self.scales)]


def check_scales(scales: Sequence[int], scale_every_s: float | None = None) -> None:
    """ValueError, one line, for what cannot be."""
    if not scales:
        raise ValueError("scales = []: one number of objects at least")
    if min(scales) < 1:
        raise ValueError(f"scales = {list(scales)}: {min(scales)} objects are none to decide about; 1 at least")
    if scale_every_s and min(scales) == max(scales):
        raise ValueError(
            f"scale_every_s = {scale_every_s}: scales = {list(scales)} leave no room to change; name two, or leave this out"
        )


def sample_width(kind: Kind, scale: int) -> int:
    """Numbers that a sample holds of each of its objects, presence included."""
    return scale + 1 if kind == "matrix" else 2


def packed(features: np.ndarray) -> np.ndarray:
    """Samples [n, K, width] of features [n, K, K] or [n, K], every object present."""
    if features.ndim == 2:
        features = features[..., None]
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)


def padded(inputs: np.ndarray, kind: Kind, scale: int) -> np.ndarray:
    """Samples [n, scale, width] of samples [n, K, width] with K <= scale: zeros behind the K objects."""
    n, k, width = inputs.shape
    grown = np.zeros((n, scale, sample_width(kind, scale)), dtype=inputs.dtype)
    grown[:, :k, : width - 1] = inputs[..., :-1]
    grown[:, :k, -1] = inputs[..., -1]
    return grown


def _joined(tests: Mapping[int, ScaleTest], kind: Kind) -> dict[str, np.ndarray]:
    """The tests of several scales as one, padded to the largest."""
    largest = max(tests)
    return {
        "test_inputs": np.concatenate([padded(test.inputs, kind, largest) for test in tests.values()]),
        "test_labels": np.concatenate([np.full(len(test.inputs), test.reference) for test in tests.values()]),
        "test_scales": np.concatenate([np.full(len(test.inputs), scale) for scale, test in tests.items()]),
    }

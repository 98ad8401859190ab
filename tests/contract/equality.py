"""Records of runs that have to be equal, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from wsim.record import RunRecord

OF_THE_PROCESS = ("provenance",)
"""What differs between two runs that are the same: seconds, host, window. A result's digest leaves it out, too."""


def assert_equal_records(run: RunRecord, other: RunRecord, but_for: Collection[str] = OF_THE_PROCESS) -> None:
    """Every field, arrays with type, shape and every bit; so equal records are equal results (test_results), without the tenth
    of a second that writing and reading two of them takes."""
    for field in dataclasses.fields(RunRecord):
        if field.name in but_for:
            continue
        ours, theirs = getattr(run, field.name), getattr(other, field.name)
        if isinstance(ours, np.ndarray):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), field.name
            assert ours.tobytes() == theirs.tobytes(), field.name
        else:
            assert repr(ours) == repr(theirs), field.name  # a NaN is like another

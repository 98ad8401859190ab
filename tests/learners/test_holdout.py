"""Each device's own test samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.data.holdout import hold_out

LABELS = np.random.default_rng(2).integers(0, 5, 400)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    part=st.lists(st.integers(0, 399), min_size=1, max_size=80),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 100),
)
def test_every_sample_goes_to_one_side_in_the_devices_own_mix(part: list[int], fraction: float, seed: int) -> None:
    """The classes' shares are right to within one sample, the number of test samples is the nearest there is."""
    train, test = hold_out(np.array(part), LABELS, fraction, np.random.default_rng(seed))
    assert sorted(set(train) | set(test)) == sorted(set(part))
    assert not set(train) & set(test)
    assert list(train) == sorted(x for x in part if x not in set(test))  # copies stay together
    assert list(test) == sorted(set(test))
    distinct = np.unique(part)
    if len(distinct) == 1:
        assert not len(test)
        return
    assert len(test) == min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    for label in np.unique(LABELS[distinct]):
        share = len(test) * np.mean(LABELS[distinct] == label)
        assert abs(np.sum(LABELS[test] == label) - share) < 1


def test_ties_between_classes_are_broken_at_random() -> None:
    """Two samples of two classes: either may be the test. 200 fair coins: 4 standard errors are 0.14."""
    labels = np.array([0, 1])
    tests = [int(hold_out(np.array([0, 1]), labels, 0.5, np.random.default_rng(seed))[1][0]) for seed in range(200)]
    assert abs(np.mean(tests) - 0.5) < 0.14


def test_impossible_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match="local_test_fraction = 1.0: between 0 and 1"):
        hold_out(np.arange(4), LABELS, 1.0, np.random.default_rng(1))

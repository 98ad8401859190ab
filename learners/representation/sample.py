"""Which test samples' features are kept at the end of a run, to look at how alike those of different devices are."""

from __future__ import annotations

import numpy as np

MOST_FEATURES = 4000
"""Of all devices together; at least one a class and device is kept all the same."""

MOST_PER_CLASS = 20


def shown_samples(labels: np.ndarray, num_classes: int, num_devices: int) -> np.ndarray:
    """Indices of the first test samples of each class, class after class; as many of each as labels [n] have, at most 20."""
    most = min(max(1, MOST_FEATURES // (num_classes * num_devices)), MOST_PER_CLASS)
    return np.concatenate([np.flatnonzero(labels == k)[:most] for k in range(num_classes)])

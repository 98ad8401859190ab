"""Minibatches of what a device has observed so far: the latest samples, drawn at random with replacement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from learners.batching import BatchStream
from learners.control.observed_links import Recording
from learners.protocol import Batches


class ObservedStream:
    """Draws `Batches` of codes (`learners.control.scale_stream.decoded`), as `learners.batching.BatchStream` draws rows.

    sample_indices: rows of the device until the end, in order of time; a draw knows those until now. rng: None draws no samples (an
    estimate), with the same shapes and work. flops_of: of a training step on a sample of so many objects. now_s: the present time.
    Where nothing has been observed yet, batches are padding of weight 0, and cost as much as one object does.
    """

    def __init__(
        self,
        sample_indices: np.ndarray,
        recording: Recording,
        rng: np.random.Generator | None,
        dtype: torch.dtype,
        largest: int,
        flops_of: Callable[[int], int],
        now_s: Callable[[], float],
    ) -> None:
        self.sample_indices = sample_indices
        self._recording = recording
        self._rng = rng
        self._dtype = dtype
        self._shapes = BatchStream(sample_indices, None, dtype)
        self._largest = largest
        self._flops_of = flops_of
        self._costs: dict[int, int] = {}
        self._now_s = now_s

    def draw(
        self, batch_size: int, *, steps: int | None = None, epochs: int | None = None, crop_padding: int | None = None
    ) -> Batches:
        """ValueError for passes (epochs): samples come in while time passes."""
        if steps is None or epochs is not None or crop_padding is not None:
            raise ValueError("of what is observed there are steps, and no passes or crops")
        known = self._known()
        if self._rng is None:
            return self._shapes.draw(batch_size, steps=steps)._replace(work=self._real(known))
        if not len(known):
            return self._nothing(steps, batch_size)
        rows = known[self._rng.integers(0, len(known), (steps, batch_size))]
        weights = torch.ones(steps, batch_size, dtype=self._dtype)
        return Batches(self._codes(rows), weights, steps, self._real(known))

    def all_samples(self, batch_size: int) -> Batches:
        """What a draw takes from, once, in order of time; draws nothing."""
        known = self._known()
        if not len(known):
            return self._nothing(1, batch_size)
        steps = -(-len(known) // batch_size)
        rows = np.full(steps * batch_size, known[0])
        rows[: len(known)] = known
        weights = torch.zeros(steps * batch_size, dtype=self._dtype)
        weights[: len(known)] = 1
        work = self._real(known) * len(known) / len(rows)
        codes = self._codes(rows.reshape(steps, batch_size))
        return Batches(codes, weights.reshape(steps, batch_size), steps, work)

    def _known(self) -> np.ndarray:
        """The rows that are recorded by now and not forgotten."""
        rows, recording = self.sample_indices, self._recording
        end = int(np.searchsorted(recording.times_s[rows], self._now_s(), side="right"))
        return rows[max(0, end - recording.memory) : end]

    def _real(self, rows: np.ndarray) -> float:
        """The share of a padded step's operations that is real work, in the mean over these rows."""
        scales, times = np.unique(self._recording.scales[rows], return_counts=True)
        if not len(scales):
            scales, times = np.ones((2, 1), dtype=np.int64)
        cost = sum(self._cost(scale) * n for scale, n in zip(scales.tolist(), times.tolist(), strict=True))
        return cost / int(times.sum()) / self._cost(self._largest)

    def _cost(self, scale: int) -> int:
        found = self._costs.get(scale)
        if found is None:
            found = self._costs[scale] = self._flops_of(scale)
        return found

    def _codes(self, rows: np.ndarray) -> torch.Tensor:
        scales = self._recording.scales
        return torch.from_numpy(rows + len(scales) * scales[rows])

    def _nothing(self, steps: int, batch_size: int) -> Batches:
        indices = torch.zeros(steps, batch_size, dtype=torch.int64)
        drawn = self._rng is not None
        return Batches(
            indices,
            torch.zeros(steps, batch_size, dtype=self._dtype),
            steps,
            self._real(np.empty(0, np.int64)),
            (),
            drawn,
        )

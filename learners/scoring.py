"""Test accuracy and loss of many models, on common samples or on each device's own; their mean and how far they disagree.

A metric gives one number a sample, so that a test set may be cut into pieces that fit into memory, and padded to one of few
lengths, whatever the metric is; here the samples are counted:

    accuracy = #correct / n,    loss = sum of the losses / n

The executor batches the calls as it does any others: models of equal shapes and samples of equal (padded) length go
together, within its own limit of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from learners.deferred import Op
from learners.protocol import Value
from learners.values import Deferred

if TYPE_CHECKING:
    from learners.executors import Executor

PIECE_BYTES = 16 << 20
"""Memory that one model's call may take; a test set that needs more is cut. Pieces depend on shapes alone, so that a score
does not depend on what else is scored."""

CHUNK_BYTES = 64 << 20
"""Memory for the models that `consensus` looks at together."""


class Examples:
    """What a model is tested on: rows (indices [n]; None: all) of inputs [N, ...] and labels [N]."""

    def __init__(self, inputs: Tensor, labels: Tensor, rows: np.ndarray | None = None) -> None:
        self.inputs = inputs
        self.labels = labels
        self.rows = rows
        self._pieces: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def __len__(self) -> int:
        return self.inputs.shape[0] if self.rows is None else len(self.rows)

    def pieces(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """At most `size` samples each: (inputs, labels), or (indices, mask) of a padded length where there are rows."""
        found = self._pieces.get(size)
        if found is None:
            count = -(-len(self) // size)
            if self.rows is not None:
                found = [padded(part) for part in np.array_split(self.rows, count)]
            elif count == 1:
                found = [(self.inputs, self.labels)]
            else:
                cut = self.inputs.tensor_split(count), self.labels.tensor_split(count)
                found = list(zip(*cut, strict=True))
            self._pieces[size] = found
        return found


def padded_length(n: int) -> int:
    """The next of 4, 6, 8, 12, 16, 24, ...: few lengths, at most half as many again."""
    power = max(4, 1 << (n - 1).bit_length())
    return 3 * power // 4 if n <= 3 * power // 4 and power > 4 else power


def padded(rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """(indices, mask) of the padded length; the first row is repeated where the mask is False."""
    length = padded_length(len(rows))
    indices = np.full(length, rows[0], dtype=np.int64)
    indices[: len(rows)] = rows
    return torch.from_numpy(indices), torch.arange(length) < len(rows)


class Scorer:
    """dtype: of the run; accuracies are rounded to it, as the mean of its numbers would be."""

    def __init__(self, executor: Executor, dtype: torch.dtype) -> None:
        self._executor = executor
        self._round = np.float32 if dtype == torch.float32 else np.float64
        self._ops: dict[Any, Op] = {}

    def score(self, questions: Sequence[tuple[Value, Op, Examples]]) -> np.ndarray:
        """[len(questions), 3] accuracy and mean loss of a value by a metric on samples, and 1 where one of these that the metric gives is
        not finite (the model has diverged), else 0; NaN where there is none.

        metric: (value, inputs [n, ...], labels [n]) -> correct [n], or (correct [n], losses [n]); or their mean, a scalar
            accuracy, which can be neither cut nor padded and has no loss.
        """
        scores = np.full((len(questions), 3), np.nan)
        places: dict[torch.dtype, list[tuple[int, int]]] = {}
        results: dict[torch.dtype, list[Any]] = {}
        means = np.zeros(len(questions), dtype=bool)
        calls: dict[Any, tuple[Op, list[tuple[Tensor, Tensor]], bool]] = {}  # equal for models of one shape
        for i, (value, metric, samples) in enumerate(questions):
            if not len(samples):
                continue
            key = metric, samples, value.key if type(value) is Deferred else id(value)
            if key not in calls:
                calls[key] = self._calls(value, metric, samples)
            op, pieces, means[i] = calls[key]
            for piece in pieces:
                found = op(value, *piece)
                for k, result in enumerate(found if isinstance(found, tuple) else (found,)):
                    scores[i, k] = scores[i, 2] = 0.0
                    places.setdefault(result.dtype, []).append((i, k))
                    results.setdefault(result.dtype, []).append(result)
        for dtype, wanted in results.items():
            numbers = self._executor.stack(wanted).to(torch.float64).numpy()
            rows, columns = np.array(places[dtype]).T
            np.add.at(scores, (rows, columns), numbers)
            scores[rows[~np.isfinite(scores[rows, columns])], 2] = 1.0
        counts = np.array([1 if mean else len(samples) for mean, (_, _, samples) in zip(means, questions, strict=True)])
        scores[:, :2] /= np.maximum(counts, 1)[:, None]
        scores[:, 0] = scores[:, 0].astype(self._round)
        return scores

    def consensus(self, values: Sequence[Value]) -> tuple[Value, float]:
        """The mean of flat models [num_params], and their root mean square distance to it, sqrt(sum_i |x_i - mean|^2 / n)."""
        distinct = {id(value): value for value in values}
        if len(distinct) == 1:
            return values[0], 0.0
        models = list(distinct.values())
        ids = list(distinct)
        counts = np.unique([ids.index(id(value)) for value in values], return_counts=True)[1]
        weights = torch.from_numpy(counts / len(values))
        dtype = models[0].dtype
        size = max(1, CHUNK_BYTES // (8 * models[0].shape[0]))
        starts = range(0, len(models), size)
        mean = torch.zeros(models[0].shape, dtype=torch.float64)
        for start in starts:
            part = self._executor.stack(models[start : start + size]).to(torch.float64)
            mean += weights[start : start + size] @ part
        variance = 0.0
        for start in starts:
            part = self._executor.stack(models[start : start + size]).to(torch.float64)
            variance += float(weights[start : start + size] @ (part - mean).square().sum(1))
        return self._executor.lift(mean.to(dtype)), variance**0.5

    def _calls(self, value: Value, metric: Op, samples: Examples) -> tuple[Op, list[tuple[Tensor, Tensor]], bool]:
        """The op for a value of this shape, the pieces of the samples, and whether the metric gives a mean."""
        size, mean = self._size(value, metric, samples)
        return self._op(metric, samples, mean), [_exact(samples)] if mean else samples.pieces(size), mean

    def _size(self, value: Value, metric: Op, samples: Examples) -> tuple[int, bool]:
        """(samples in a piece, whether the metric gives a mean)."""
        n = len(samples) if samples.rows is None else min(padded_length(len(samples)), len(samples.inputs))
        signature, _ = metric.signature((value, samples.inputs[:n], samples.labels[:n]))
        pieces = -(-signature.peak_bytes // PIECE_BYTES)
        return -(-n // pieces), signature.outputs[0][0] == torch.Size(())

    def _op(self, metric: Op, samples: Examples, mean: bool) -> Op:
        """The metric with its numbers added up; where samples are rows, with the gathering of them."""
        key = (metric, mean, None if samples.rows is None else id(samples.inputs))
        found = self._ops.get(key)
        if found is None:
            found = self._ops[key] = metric if mean and samples.rows is None else _adding(metric, samples, mean)
        return found


def _exact(samples: Examples) -> tuple[Tensor, Tensor]:
    """All samples as one piece, not padded."""
    if samples.rows is None:
        return samples.inputs, samples.labels
    return torch.from_numpy(samples.rows), torch.ones(len(samples.rows), dtype=torch.bool)


def _adding(metric: Op, samples: Examples, mean: bool) -> Op:
    inputs, labels = samples.inputs, samples.labels

    def whole(value: Value, inputs: Tensor, labels: Tensor) -> Any:
        found = metric.fn(value, inputs, labels)
        return tuple(part.sum() for part in found) if isinstance(found, tuple) else found.sum()

    def gathered(value: Value, rows: Tensor, mask: Tensor) -> Any:
        found = metric.fn(value, inputs[rows], labels[rows])
        if mean:
            return found
        if not isinstance(found, tuple):
            return (found * mask).sum()
        return (found[0] * mask).sum(), torch.where(mask, found[1], 0.0).sum()

    fn = whole if samples.rows is None else gathered
    return Op(fn, name=metric.name, loop=metric.loop, ragged=("value",) if 0 in metric.ragged else ())

"""Representations of samples by flat models, as unit vectors.

A model whose representations have no unit norm (no attribute `unit_norm`) has them divided by their length here: all that is measured
is of directions. Features of length 0, as ReLUs may leave them, stay 0.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.deferred import Op
from learners.models.flat import unflatten

PIECE_BYTES = 64 << 20
"""Memory that one pass through a model may take; more samples are cut into pieces."""


def features(task: Any, x: Tensor, inputs: Tensor) -> Tensor:
    """[n, d] of the flat model x [num_params] and inputs [n, ...] as the data set stores them. task: a `learners.task.Task`."""
    op = task.op("unit_representation", lambda: _op(task))
    signature, _ = op.signature((x, inputs))
    pieces = min(-(-signature.peak_bytes // PIECE_BYTES), max(1, len(inputs)))
    return torch.cat([op.fn(x, piece) for piece in inputs.tensor_split(pieces)])


def _op(task: Any) -> Op:
    model, prepared = task.model, task.samples.prepared
    is_unit = getattr(model, "unit_norm", False)

    def unit_representation(x: Tensor, inputs: Tensor) -> Tensor:
        z: Tensor = model.representation(unflatten(x, model.shapes), prepared(inputs).reshape(-1, *model.input_shape))
        return z if is_unit else F.normalize(z, dim=-1)

    return Op(unit_representation, loop=model.has_convolution)

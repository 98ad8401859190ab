"""Torch's own Python functions for kernels: the same kernel, called in about half the time.

A kernel taken from `torch.ops` matches its arguments against its schema at every call; the functions that torch generates for
Python do not. Each takes the arguments of its kernel in the same order and under the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

NATIVE: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.add.out: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.sub.out: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.mul.out: torch.mul,
    aten.mul.Scalar: torch.mul,
    aten.div.Tensor: torch.div,
    aten.div.out: torch.div,
    aten.neg.default: torch.neg,
    aten.exp.default: torch.exp,
    aten.exp.out: torch.exp,
    aten.relu.default: torch.relu,
    aten.relu_.default: torch.relu_,
    aten.gt.Scalar: torch.gt,
    aten.eq.Tensor: torch.eq,
    aten.where.self: torch.where,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.sum.dim_IntList: torch.sum,
    aten.mean.dim: torch.mean,
    aten.argmax.default: torch.argmax,
    aten.logsumexp.default: torch.logsumexp,
    aten.gather.default: torch.gather,
    aten.scatter_add.default: torch.scatter_add,
    aten.view.default: Tensor.view,
    aten._unsafe_view.default: Tensor.view,
    aten.expand.default: Tensor.expand,
    aten.transpose.int: torch.transpose,
    aten.unsqueeze.default: torch.unsqueeze,
    aten.squeeze.dims: torch.squeeze,
    aten.split_with_sizes.default: torch.split_with_sizes,
}

"""What arrived, weighed, and what a device makes of it, as one op.

    c = sum_j w_ij (z_j - z)                    over what arrived, coordinate by coordinate
    results = then(z, c, complete, ...)         the algorithm's own update

with z [num_values] the device's own message and z_j those of its neighbors: the weight of what is missing returns to the device.
`Heard.combine` calls it. Charged are a product and a sum a received value and one operation a value of z.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op

Complete = bool | Tensor
"""Whether all neighbors' messages arrived; where some lost a part, coordinate by coordinate, bool [num_values]."""


class Combination:
    """then: (z [num_values], c [num_values], complete, *args) -> a tensor or a tuple of tensors; a function of a module, it names the ops.

    whole: (z, received, weights, complete, *args), of messages that arrived whole, or none at all
    masked: (z, received, weights, masks, num_neighbors, *args), where some lost a part
    """

    def __init__(self, then: Callable[..., Any]) -> None:
        def whole(z: Tensor, received: Tensor, weights: Tensor, complete: bool, *args: Any) -> Any:
            return then(z, weights @ received - weights.sum() * z, complete, *args)

        def masked(
            z: Tensor, received: Tensor, weights: Tensor, masks: Tensor, num_neighbors: Tensor, *args: Any
        ) -> Any:
            c = torch.where(masks, weights.unsqueeze(-1) * (received - z), 0).sum(0)
            return then(z, c, masks.sum(0) == num_neighbors, *args)

        self.whole = Op(whole, name=then.__name__, ragged=("received", "weights"), flops=lambda z, *_: z.numel())
        self.masked = Op(
            masked,
            name=f"{then.__name__}_masked",
            ragged=("received", "weights", "masks"),
            flops=lambda z, received, *_: z.numel() + 2 * received.numel(),
        )


def where_complete(complete: Complete, state: Tensor) -> Tensor:
    """`state` [num_values], and 0 where something of a neighbor is missing."""
    if isinstance(complete, bool):
        return state if complete else torch.zeros_like(state)
    return torch.where(complete, state, 0)

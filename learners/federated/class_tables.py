"""Tables with a row a class that clients and a server exchange (`prototype_message`): what becomes of them at both ends.

A server averages what arrived, class by class; a class that nobody brought keeps its row, at the server as at the clients. Where the
transport delivers parts of a message, missing numbers of a known row stay as they were, and a new row counts when all of it has
arrived; a message that lost its beginning, which says what it holds, is treated as lost.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.averaging import fill, full_masks
from learners.federated import prototype_message
from learners.federated.prototypes import average_prototypes, average_prototypes_masked
from learners.protocol import Batches, Compute, Message, Received, Value


def readable(received: Received) -> Generator[Any, Any, list[Message]]:
    """Those of the messages that bring anything, with masks that can be looked at. `yield from` it."""
    found = []
    for message in received.messages:
        message = yield from prototype_message.with_known_mask(message)
        found += [message] if prototype_message.brings_any(message) else []
    return found


def averaged(table: Value, known: Tensor, messages: Sequence[Message]) -> Generator[Any, Any, tuple[Value, Tensor]]:
    """The server's new table [num_classes, n] and its known classes [num_classes] after these messages, of which there is one at
    least. `yield from` it."""
    tables = [message.data[0] for message in messages]
    shares = [usable_counts(message, known) for message in messages]
    if table.shape != tables[0].shape:  # the first rows ever
        table = torch.zeros(tables[0].shape, dtype=known.dtype)
    masks = full_masks(Received(tuple(messages)))
    if masks is None:
        table = yield Compute(average_prototypes, (table, tables, shares))
    else:
        masks = [mask.reshape(tables[0].shape) for mask in masks]
        table = yield Compute(average_prototypes_masked, (table, tables, shares, masks))
    return table, torch.stack([known, *shares]).amax(0).clamp(max=1)


def updated(table: Value, known: Tensor, message: Message) -> Generator[Any, Any, tuple[Value, Tensor]]:
    """A client's copy of the server's table, and its known classes, after a message. `yield from` it."""
    values, sent = message.data
    if not sent.any() or not prototype_message.brings_any(message):  # the server has none yet, or they were lost
        return table, known
    if message.mask is None:
        return values, sent
    arrived = usable_counts(message, known)
    mask = message.mask.reshape(table.shape) & (arrived > 0).unsqueeze(-1)
    table = yield Compute(fill, (values, mask, table))
    return table, torch.maximum(known, arrived)


def usable_counts(message: Message, known: Tensor) -> Tensor:
    """[num_classes] the counts of a message, 0 for classes that cannot be used: where only a part of a row arrived, the rest of it
    has to be known. known: [num_classes] above 0 where the receiver has a row."""
    values, counts = message.data
    if message.mask is None:
        return counts
    mask = message.mask.reshape(values.shape)
    usable = mask.all(-1) | (mask.any(-1) & (known > 0))
    return counts * usable


def counts(labels: np.ndarray, samples: Batches, num_classes: int) -> np.ndarray:
    """[num_classes] samples of each class among a device's own."""
    real = samples.indices[samples.weights > 0].numpy()
    return np.bincount(labels[real], minlength=num_classes)

"""Class sums of representations as a message: a table [num_classes, feature_dim] and how many samples are behind each row.

    dense     the codec's encoding of the whole table, then 32 bits a class for its count (unsigned)
    sparse    what `prototype_message` sends: a bit a class, counts and rows of the classes with samples

With float32, C classes of which k have samples, and F numbers a row: 32 (C F + C), or 8 ceil(C / 8) + 32 k (F + 1) bits. All or
nothing: a message that lost a packet is lost.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from learners.compression.codec import Codec
from learners.federated import prototype_message
from learners.protocol import Batches, Node, Payload, Value

COUNT_BITS = 32


def dense(sums: Value, counts: Value, codec: Codec, node: Node) -> Payload:
    """sums: [num_classes, feature_dim]; counts: [num_classes]; the data of the message is both, as the receiver will hold them."""
    payload = codec.payload(sums, node)
    num_bits = payload.num_bits + COUNT_BITS * counts.shape[0]
    return Payload((payload.data, counts), num_bits, None, payload.num_values, payload.flops)


def sparse(sums: Value, counts: Tensor, codec: Codec, node: Node) -> Payload:
    """As `dense`; counts decide about the length of the message."""
    return prototype_message.payload(sums, counts, codec, node, with_counts=True)._replace(codec=None)


def framed(values: bytes, counts: np.ndarray) -> bytes:
    """The bytes on the air of a dense message, from the codec's encoding of its values."""
    return values + counts.astype("<u4").tobytes()


def unframed(data: bytes, num_classes: int) -> tuple[bytes, np.ndarray]:
    """The codec's part and the counts of `framed`."""
    end = len(data) - COUNT_BITS // 8 * num_classes
    return data[:end], np.frombuffer(data[end:], dtype="<u4").astype(np.int64)


def class_counts(node: Node, batches: Batches, own_samples: Batches) -> Tensor:
    """[num_classes] samples of each class in the minibatches of a round. In an estimate, which draws none: 1 for as many classes of
    the device's own samples as could be among them."""
    num_classes, labels = node.task.num_classes, node.task.train_labels
    if batches.drawn:
        return node.tensor(
            np.bincount(labels[batches.indices.numpy()].ravel(), batches.weights.numpy().ravel(), num_classes)
        )
    held = np.unique(labels[own_samples.indices.numpy()[own_samples.weights.numpy() > 0]])
    counts = np.zeros(num_classes)
    counts[held[: batches.indices.numel()]] = 1
    return node.tensor(counts)

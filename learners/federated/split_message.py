"""A batch's activations at the cut, with its labels, as one message.

    the codec's encoding of the activations, sample after sample, B * a values
    ceil(log2 C) bits a sample: its label, filled up to whole bytes at the end

So 32 B a + 8 ceil(B ceil(log2 C) / 8) bits with float32 for B samples of a activations and C classes. Where packets are lost, a sample
counts if its label and all of its activations have arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import Codec, Fragments, spans_received, whole_bytes
from learners.deferred import op
from learners.protocol import Node, Payload, Value


def label_bits(num_classes: int) -> int:
    """Of one label."""
    return max(1, (num_classes - 1).bit_length())


@dataclass(frozen=True)
class SampleFragments:
    """Packet losses of such a message. activation_bits: of the codec's part; values: losses of the activations, None where any loses
    them all."""

    num_samples: int
    num_classes: int
    activation_bits: int
    num_activations: int
    values: Fragments | None

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which samples survive: bool [num_samples]."""
        width = label_bits(self.num_classes)
        first_bits = first_bit + self.activation_bits + width * np.arange(self.num_samples, dtype=np.int64)
        labels = spans_received(arrived, packet_payload_bits, first_bits, width)
        if self.values is None:
            return np.zeros_like(labels)
        inner = self.values.received_mask(arrived, packet_payload_bits, self.num_activations, first_bit)
        if not isinstance(inner, np.ndarray):  # of values, which may come later
            return whole_samples(inner, torch.from_numpy(labels))
        return labels & inner.reshape(self.num_samples, -1).all(axis=1)


@op(flops=lambda received, labels: received.numel())
def whole_samples(received: Tensor, labels: Tensor) -> Tensor:
    """bool [B]: all of a sample's activations arrived, received: bool [B * a], and its label, labels: bool [B]."""
    return labels & received.reshape(len(labels), -1).all(1)


def payload(activations: Value, labels: Tensor, num_classes: int, codec: Codec, node: Node) -> Payload:
    """activations: [B * a]; labels: int64 [B]. Its data is (activations, labels) as the receiver will hold them."""
    encoded = codec.payload(activations, node)
    num_samples = len(labels)
    fragments = SampleFragments(num_samples, num_classes, encoded.num_bits, encoded.num_values, encoded.codec)
    num_bits = encoded.num_bits + whole_bytes(num_samples * label_bits(num_classes))
    return Payload((encoded.data, labels), num_bits, fragments, num_samples, encoded.flops)


def framed(activations: bytes, labels: np.ndarray, num_classes: int) -> bytes:
    """The bytes on the air. activations: the codec's encoding; labels: [B]."""
    width = label_bits(num_classes)
    bits = (labels[:, None] >> np.arange(width)) & 1
    return activations + np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()

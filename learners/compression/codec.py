"""The interface of a codec, and what lost packets do to an encoded vector.

A codec has two faces. The fast one is used in runs: `payload` gives what the receiver will hold, decoded, with the
exact length of its encoding. The true one is its `Encoding`, real bytes; a test requires that the two agree. Codecs whose
format does not depend on the sender are their own encoding.

Sizes are of whole messages: bits are packed without gaps, least significant first, and filled up to whole bytes at the end.
The format, shapes included, is known to both ends; headers are the transport's.

Encoding is charged to the sender's processor, decoding (at most two operations a value, beside the two of averaging) is not.
"""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from learners.protocol import Node, NotFiniteError, Payload, Value
from learners.values import Deferred

Tensors = tuple[Tensor, ...]

BITS_PER_BYTE = 8


class Codec(Protocol):
    """What a learner sends its vectors with: a frozen dataclass whose fields are the codec's keys in a scenario. It may have
    the attributes

    differences_only: what it leaves out counts as zero, so that it may be applied to changes of a model only
    error_feedback: what a message leaves out is to be added to the next one (`error_feedback.ErrorFeedback`)

    lossless: what is decoded is what was sent, to float32's precision
    value_dependent: the length of its messages depends on values (an entropy code), which are computed there and then; an estimate
        assumes a length

    all False where it has none.
    """

    def payload(self, x: Value, node: Node) -> Payload:
        """x [num_values], a tensor or a `Deferred`, as a message of this node, which gives the noise that a codec rounds
        with. `Payload.flops` is the work of encoding, by the formula of the codec's op; `Send` charges it.

        Values are finite. A codec refuses others where x is a tensor (NotFiniteError); of a `Deferred` nothing is known yet, and
        what is not finite makes what is decoded from it, its group at least, not finite either. float32, which encodes nothing,
        passes on what it gets."""

    def encoding(self, num_values: int, node: Node) -> Encoding:
        """The format of such a message, for tests: real bytes."""


class VectorCodec:
    """What codecs of finite numbers have in common: what is not finite is refused, and of an empty vector nothing is sent."""

    def payload(self, x: Value, node: Node) -> Payload:
        """As `Codec.payload`."""
        refuse_non_finite(x)
        num_values = num_values_of(x)
        return self.encoded(x, num_values, node) if num_values else Payload(x, 0)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        """The message of x [num_values], which is not empty."""
        raise NotImplementedError


class Encoding(Protocol):
    """The format of messages of one length. `compress` and `decompress` work on values, `encode` and `decode` on bytes;
    decoding gives back what was encoded. shape: of the values, known to both ends.

    A run in float64 (for comparisons of executors) counts the bits of the codec all the same.
    """

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """What is sent of v. noise: uniform numbers shaped like v, for codecs that round at random."""

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        """The values that the receiver holds."""

    def num_bits(self, shape: tuple[int, ...]) -> int:
        """Exact length of the encoding of values of this shape."""

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        """Compressed values of this shape as the bytes on the air."""

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        """The inverse of `encode`, for values of this shape."""


class Fragments(Protocol):
    """What can still be read of a message that lost packets: an encoding, or something about one message."""

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which values survive: bool [num_values] from bool [num_packets]; an array, or a bool tensor or `Deferred`
        where that depends on values. first_bit: where in the message the codec's bits begin."""


def spans_received(arrived: np.ndarray, packet_payload_bits: int, first_bits: np.ndarray, width: int) -> np.ndarray:
    """Which pieces of `width` bits that begin at first_bits [...] are whole: bool [...].

    Packet p holds the bits [p n, (p + 1) n) of the message; a piece is whole iff every packet that holds one of its bits
    arrived. arrived: bool [num_packets]; packet_payload_bits: n.
    Raises ValueError if the packets do not reach the end of the last piece.
    """
    arrived = np.asarray(arrived, dtype=bool)
    first, last = first_bits // packet_payload_bits, (first_bits + width - 1) // packet_payload_bits
    if last.size and last.max() >= len(arrived):
        raise ValueError(f"{len(arrived)} packets given where {last.size} values need {last.max() + 1}")
    num_lost_before = np.concatenate([[0], np.cumsum(~arrived)])
    return num_lost_before[last + 1] == num_lost_before[first]


def values_received(
    arrived: np.ndarray, packet_payload_bits: int, num_values: int, bits_per_value: int, first_bit: int = 0
) -> np.ndarray:
    """Survivors of a vector encoded value after value with a fixed width: value i takes the bits
    [first_bit + i b, first_bit + (i + 1) b). bits_per_value: b; otherwise as `spans_received`. Returns bool [num_values].
    """
    first_bits = first_bit + bits_per_value * np.arange(num_values, dtype=np.int64)
    return spans_received(arrived, packet_payload_bits, first_bits, bits_per_value)


def whole_bytes(num_bits: int) -> int:
    """The bits of a message, filled up to whole bytes."""
    return -(-num_bits // BITS_PER_BYTE) * BITS_PER_BYTE


def refuse_non_finite(x: Value) -> None:
    """NotFiniteError if x is a tensor with a value that is not finite; nothing is known of a `Deferred`."""
    if isinstance(x, Tensor) and float((0 * x).sum()) != 0:  # NaN where one is not finite; an eighth of isfinite's time
        bad = torch.nonzero(~torch.isfinite(x.reshape(-1)))
        first = int(bad[0])
        raise NotFiniteError(
            f"value {first} of {x.numel()} is {float(x.reshape(-1)[first])} ({len(bad)} are not finite): only finite values "
            "can be encoded (a learning rate too large?)"
        )


def differences_only(codec: Codec | None) -> bool:
    return bool(getattr(codec, "differences_only", False))


def error_feedback(codec: Codec | None) -> bool:
    return bool(getattr(codec, "error_feedback", False))


def check_for_models(codec: Codec | None, sent: str = "whole models") -> None:
    """ValueError where a learner that sends whole models, or `sent`, is given a codec for changes of models. None: not known
    yet."""
    name = type(codec).__name__
    if differences_only(codec):
        raise ValueError(f"codec = {name}: sends {sent}, and this codec is for changes of a model only")
    if error_feedback(codec):
        raise ValueError(f"codec = {name}: sends {sent}, and only changes of a model have error_feedback")


def numbers_of(value: Value) -> Tensor | None:
    """The numbers of a value, for what depends on them at once, which executes what they depend on; None in an estimate."""
    if isinstance(value, Deferred):
        return None if value.shape_only else value.tensor()
    tensor: Tensor = value
    return tensor


def num_values_of(x: Any) -> int:
    """Number of values of a tensor or a `Deferred`."""
    return prod(x.shape)

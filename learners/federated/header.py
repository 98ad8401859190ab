"""A few exact bits before the content of a message, in the same packets: what a server tells its clients beside what it sends.

The codec does not touch them. Who loses the packet with the beginning cannot read the rest.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from learners.compression.codec import Fragments, values_received
from learners.federated.prototype_message import brings_any, with_known_mask
from learners.protocol import Message, Payload, Value


@dataclass(frozen=True)
class Headed:
    """Packet losses of such a message. content: of what follows the header."""

    content: Fragments
    header_bits: int

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which of the values behind the header survive: none where it does not."""
        if not values_received(arrived, packet_payload_bits, 1, self.header_bits, first_bit).all():
            return np.zeros(num_values, dtype=bool)
        return self.content.received_mask(arrived, packet_payload_bits, num_values, first_bit + self.header_bits)


def headed(payload: Payload, header: Any, header_bits: int) -> Payload:
    """The payload behind a header of so many bits; its data is (the payload's data, header)."""
    codec = None if payload.codec is None else Headed(payload.codec, header_bits)
    return payload._replace(data=(payload.data, header), num_bits=header_bits + payload.num_bits, codec=codec)


def read(message: Message) -> Generator[Any, Any, tuple[Message, Any] | None]:
    """A message without its header, and the header; None where nothing of the message can be read. `yield from` it."""
    message = yield from with_known_mask(message)
    if not brings_any(message):
        return None
    data, header = message.data
    return message._replace(data=data), header

"""When a round ends, told to those who take part: the instant on the server's clock, which all clocks agree with, 64 bits before
whatever the server sends.

A device that knows it takes off the air by itself what is under way then (`Send.expires_at_s`); nobody tells it. Who loses the packet
with the beginning cannot read the rest.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from learners.compression.codec import Fragments, values_received
from learners.federated.prototype_message import brings_any, with_known_mask
from learners.protocol import Message, Payload, Value

INSTANT_BITS = 64


@dataclass(frozen=True)
class Stamped:
    """Packet losses of such a message. content: of what follows the instant."""

    content: Fragments

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which of the values behind the instant survive: none where it does not."""
        if not values_received(arrived, packet_payload_bits, 1, INSTANT_BITS, first_bit).all():
            return np.zeros(num_values, dtype=bool)
        return self.content.received_mask(arrived, packet_payload_bits, num_values, first_bit + INSTANT_BITS)


def stamped(payload: Payload, ends_s: float) -> Payload:
    """The payload behind the instant at which its round ends."""
    codec = None if payload.codec is None else Stamped(payload.codec)
    return payload._replace(data=(payload.data, ends_s), num_bits=INSTANT_BITS + payload.num_bits, codec=codec)


def read(message: Message) -> Generator[Any, Any, tuple[Message, float] | None]:
    """A message without the instant, and the instant; None where nothing of it can be read. `yield from` it."""
    message = yield from with_known_mask(message)
    if not brings_any(message):
        return None
    data, ends_s = message.data
    return message._replace(data=data), ends_s

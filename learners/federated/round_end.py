"""When a round ends, told to those who take part: the instant on the server's clock, which all clocks agree with, 64 bits before
whatever the server sends.

A device that knows it takes off the air by itself what is under way then (`Send.expires_at_s`); nobody tells it. Who loses the packet
with the beginning cannot read the rest, see `header`.
"""

from __future__ import annotations

from learners.federated.header import headed
from learners.protocol import Payload

INSTANT_BITS = 64

GRACE_S = 1e-9
"""How long after the instant the server takes updates: one of which only the acknowledgment is under way then comes at the instant
itself, delivered, and would be gone from the sum for a client with error feedback."""


def left_s(ends_s: float, now_s: float) -> float:
    """How long the server still takes updates of a round, or of an exchange, that ends at ends_s."""
    return max(0.0, ends_s - now_s) + GRACE_S


def stamped(payload: Payload, ends_s: float) -> Payload:
    """The payload behind the instant at which its round ends."""
    return headed(payload, ends_s, INSTANT_BITS)

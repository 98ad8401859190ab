"""When a round ends, told to those who take part: the instant on the server's clock, which all clocks agree with, 64 bits before
whatever the server sends.

A device that knows it takes off the air by itself what is under way then (`Send.expires_at_s`); nobody tells it. Who loses the packet
with the beginning cannot read the rest, see `header`.
"""

from __future__ import annotations

from learners.federated.header import headed
from learners.protocol import Payload

INSTANT_BITS = 64


def stamped(payload: Payload, ends_s: float) -> Payload:
    """The payload behind the instant at which its round ends."""
    return headed(payload, ends_s, INSTANT_BITS)

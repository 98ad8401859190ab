"""From a message to its fate: packets, attempts, feedback, expiry."""

from wsim.transport.config import TransportConfig
from wsim.transport.flight import Flight
from wsim.transport.transport import Transport

__all__ = ["Flight", "Transport", "TransportConfig"]

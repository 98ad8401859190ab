"""Messages become packets: how many, how long, and which of them a controlled loss takes.

A payload of b bits becomes ceil(ceil(b/8) / (mtu - header)) packets; each carries `header_bytes` and its part of the payload,
the last one what is left. Headers stand for IP/UDP (28) and the simulator's own 16 (kind, round, sender, degree, offset).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Segmentation:
    """num_packets; coded_bits: all packets with headers; packet_payload_bits: payload bits of a full packet;
    packet_bits: [num_packets] coded bits of each."""

    num_packets: int
    coded_bits: int
    packet_payload_bits: int
    last_packet_bits: int
    full_packet_bits: int

    def packet_bits(self) -> np.ndarray:
        bits = np.full(self.num_packets, self.full_packet_bits, dtype=np.int64)
        bits[-1] = self.last_packet_bits
        return bits


def room_bits(mtu_bytes: int, header_bytes: int) -> int:
    """Payload bits of a full packet."""
    return (mtu_bytes - header_bytes) * 8


@lru_cache(maxsize=1024)
def segment(num_bits: int, mtu_bytes: int, header_bytes: int) -> Segmentation:
    """Segment a payload of num_bits; an empty payload still takes one packet."""
    room = mtu_bytes - header_bytes
    payload_bytes = -(-num_bits // 8)
    num_packets = max(1, -(-payload_bytes // room))
    last = payload_bytes - (num_packets - 1) * room
    coded_bits = (payload_bytes + num_packets * header_bytes) * 8
    return Segmentation(
        num_packets, coded_bits, room_bits(mtu_bytes, header_bytes), (last + header_bytes) * 8, mtu_bytes * 8
    )


@dataclass(frozen=True)
class ForcedLoss:
    """A controlled loss on top of the radio: `rate` per packet or per message; bursts of `mean_burst_packets` by a two-state
    chain (Gilbert), stationary at the start of every message. A mean burst of 1 means independent losses."""

    unit: str
    rate: float
    mean_burst_packets: float

    def draw(self, rng: np.random.Generator, num_packets: int) -> np.ndarray:
        """[num_packets] bool, True where lost."""
        if self.unit == "message":
            return np.full(num_packets, rng.random() < self.rate)
        if self.mean_burst_packets <= 1.0 or not 0.0 < self.rate < 1.0:
            return rng.random(num_packets) < self.rate
        mean_good = self.mean_burst_packets * (1.0 - self.rate) / self.rate
        lost = np.zeros(num_packets, dtype=bool)
        state = rng.random() < self.rate
        at = 0
        while at < num_packets:
            length = int(rng.geometric(1.0 / max(self.mean_burst_packets if state else mean_good, 1.0)))
            lost[at : at + length] = state
            at += length
            state = not state
        return lost

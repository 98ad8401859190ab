"""What devices tell their neighbors of the links that they measure.

    role   the pair that a device is in: sender and receiver, ids of 16 bits each            32 bits
    row    of a receiver, the SNR of each sender that it has measured, its own one first     48 bits a sender (id 16, SNR float32)

A receiver alone knows what it hears: entry kj of a matrix of gains is in the row of receiver k, and in nobody else's.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

ID_BITS = 16
SNR_BITS = 32
NOBODY = (1 << ID_BITS) - 1
"""In the place of the ids of who is in no pair."""
MAX_DEVICES = NOBODY


class Role(NamedTuple):
    """sender, receiver: ids of the pair; None for both where the device is in none."""

    sender: int | None = None
    receiver: int | None = None

    @property
    def num_bits(self) -> int:
        return 2 * ID_BITS

    def encode(self) -> bytes:
        return struct.pack("<2H", *(NOBODY if id is None else id for id in self))

    @classmethod
    def decode(cls, data: bytes) -> Role:
        return cls(*(None if id == NOBODY else id for id in struct.unpack("<2H", data)))


class Row(NamedTuple):
    """senders: ids, the own one first; snrs: over the band at their full power, not in dB."""

    senders: tuple[int, ...]
    snrs: tuple[float, ...]

    @classmethod
    def of(cls, measured: Mapping[int, float]) -> Row:
        """SNRs by sender, as they travel: float32."""
        return cls(tuple(measured), tuple(np.array(list(measured.values()), dtype=np.float32).tolist()))

    @property
    def num_bits(self) -> int:
        return (ID_BITS + SNR_BITS) * len(self.senders)

    def snr_of(self, sender: int) -> float:
        """0 where it has not been measured."""
        return self.snrs[self.senders.index(sender)] if sender in self.senders else 0.0

    def encode(self) -> bytes:
        return struct.pack(
            "<" + len(self.senders) * "Hf", *(part for entry in zip(*self, strict=True) for part in entry)
        )

    @classmethod
    def decode(cls, data: bytes) -> Row:
        entries = list(struct.iter_unpack("<Hf", data))
        return cls(tuple(id for id, _ in entries), tuple(snr for _, snr in entries))

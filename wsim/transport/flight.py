"""A message on its way to its intended receivers: one for a unicast, the frozen audience of a broadcast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from learners.protocol import Message, Payload
from wsim.clock import Call
from wsim.mac.transfer import Transfer
from wsim.packets import Segmentation


class Flight:
    """Sender and receivers are array indices; `pending[i]`: receiver i's fate is not decided yet."""

    __slots__ = (
        "arrived", "attempts", "broadcast", "cause", "certain", "coefficients", "crossed_ns", "degree", "efficiency",
        "expiry", "gone", "heard", "kind", "lowers_power", "message", "number", "payload", "pending", "radiates",
        "receivers", "reliability", "round", "segmentation", "sender", "sending", "station", "transfer",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        sender: int,
        receivers: tuple[int, ...],
        kind: str,
        round: int,
        payload: Payload,
        broadcast: bool,
    ) -> None:
        self.number = number
        self.sender = sender
        self.receivers = receivers
        self.kind = kind
        self.round = round
        self.payload = payload
        self.broadcast = broadcast
        self.degree = 0
        self.reliability = "none"
        self.certain = False  # no packet can be lost
        self.segmentation: Segmentation = None  # type: ignore[assignment]  # set by Transport.send
        self.pending = [True] * len(receivers)
        self.arrived: np.ndarray | None = None  # [num_receivers, num_packets], made when a packet can be lost
        self.cause = ["outage"] * len(receivers)  # of the last packet that a receiver missed
        self.sending: np.ndarray | None = None  # indices of the packets in the present attempt (None: all)
        self.attempts = 0
        self.transfer: Transfer | None = None
        self.expiry: Call | None = None
        self.message: Message | None = None  # what a receiver gets who gets all of it, kept by the driver
        # of an analog send
        self.coefficients: np.ndarray | None = None  # [num_receivers] amplitude gains
        self.radiates = False  # while it is on the air; never, where its sender is silent
        self.lowers_power = False  # its sender draws less than at full power meanwhile
        # of a beacon
        self.efficiency: float | None = None  # it is sent at a rate of its own
        self.heard: Callable[[int], None] | None = None  # told which receiver (index) has it
        # of a broadcast of the server, where there are several base stations
        self.station = -1  # the one that it goes by
        self.gone: dict[int, int] = {}  # receivers that were handed over: packets that were through by then
        self.crossed_ns = -1  # when it has gone down over the backhaul, which it does once

    @property
    def packets(self) -> np.ndarray:
        """Indices of the packets in the present attempt."""
        return np.arange(self.segmentation.num_packets) if self.sending is None else self.sending

    def num_through(self, drained_bits: float) -> int:
        """Packets of the present attempt that are in the first bits of it."""
        return int((np.cumsum(self.segmentation.packet_bits()[self.packets]) <= drained_bits).sum())

    def coefficient(self, i: int) -> float | None:
        return None if self.coefficients is None else float(self.coefficients[i])

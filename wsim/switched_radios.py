"""Radios that can be switched off: for devices that leave, fail or run out of energy."""

from __future__ import annotations

import numpy as np

from wsim.accounts import Radios
from wsim.record import RADIO_STATES

OFF = RADIO_STATES.index("off")


class SwitchedRadios(Radios):
    """While a radio is off its time is `off` and it draws nothing, whatever a medium thinks that it receives (a broadcast
    that was on the air when it left goes on for the others)."""

    def __init__(self, full_duplex: np.ndarray, tx_w: np.ndarray) -> None:
        super().__init__(full_duplex, tx_w)
        self._off: set[int] = set()

    def switch(self, node: int, now_ns: int, on: bool) -> None:
        """On or off from now on."""
        self.settle_one(node, now_ns)
        (self._off.discard if on else self._off.add)(node)

    def off(self) -> np.ndarray:
        return np.fromiter(self._off, dtype=np.int64, count=len(self._off))

    def settle(self, nodes: np.ndarray | slice, now_ns: int) -> None:
        for node in self._off:
            self.settle_one(node, now_ns)
        super().settle(nodes, now_ns)

    def settle_one(self, node: int, now_ns: int) -> None:
        if node not in self._off:
            super().settle_one(node, now_ns)
            return
        self._one_state_ns[OFF][node] += now_ns - self._one_since_ns[node]
        self._one_since_ns[node] = now_ns

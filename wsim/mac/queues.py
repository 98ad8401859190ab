"""Transfers that go one after the other: the first of each queue is on the air, the others wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from wsim.mac.transfer import Transfer


class Queues:
    """A queue exists as long as its first transfer, which is not in it, is on the air or about to be."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Transfer] | None] = {}  # None: nobody has ever waited

    def join(self, key: Hashable, transfer: Transfer, front: bool) -> bool:
        """Whether the transfer is the first one. front: else it goes before the others."""
        if key not in self._waiting:
            self._waiting[key] = None
            return True
        queue = self._waiting[key]
        if queue is None:
            queue = self._waiting[key] = deque()
        if front:
            queue.appendleft(transfer)
        else:
            queue.append(transfer)
        return False

    def leave(self, key: Hashable, transfer: Transfer) -> None:
        """It waits no more."""
        queue = self._waiting[key]
        assert queue is not None
        queue.remove(transfer)

    def next(self, key: Hashable) -> Transfer | None:
        """The first one is through: the one that takes its place."""
        queue = self._waiting[key]
        if queue:
            return queue.popleft()
        del self._waiting[key]
        return None

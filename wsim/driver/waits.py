"""For whom a program has waited.

A wait begins when a `Receive` (or an `AwaitJoin`) blocks the program and ends when it goes on; time in which its node is away is
no part of it. Its whole length goes to the one that ended it: the sender whose message completed it, or who was left out last
because it will not send (several share it equally: those who fail at one instant, or whom a look on coming back shows gone). A
wait that a deadline ended, or that was cut off by the end of the run or of the device, is shared equally by those who were still
missing. Waits that name no senders are for anyone.
"""

from __future__ import annotations

from collections.abc import Sequence

ANYONE: tuple[None] = (None,)


class Waits:
    """by_awaited: id of a node, or None for anyone -> [ns, waits longer than 0 ns, of which ended by a deadline]. A wait that is shared
    counts for each of those who share it."""

    __slots__ = ("began_ns", "by_awaited")

    def __init__(self) -> None:
        self.began_ns = 0  # receiving time of the program when the present wait began
        self.by_awaited: dict[int | None, list[int]] = {}

    def end(self, receiving_ns: int, awaited: Sequence[int | None], by_deadline: bool) -> None:
        """receiving_ns: time that the program has been receiving until now."""
        length_ns = receiving_ns - self.began_ns
        if not length_ns:
            return
        self.began_ns = receiving_ns
        share_ns, rest_ns = divmod(length_ns, len(awaited))
        for id in awaited:
            sums = self.by_awaited.get(id)
            if sums is None:
                sums = self.by_awaited[id] = [0, 0, 0]
            sums[0] += share_ns
            sums[1] += 1
            sums[2] += by_deadline
            if rest_ns:
                sums[0] += 1
                rest_ns -= 1

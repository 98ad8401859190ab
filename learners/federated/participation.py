"""Which clients take part in a round."""

from __future__ import annotations

from collections.abc import Generator

from learners.protocol import AwaitJoin, Node


def sample_clients(node: Node, clients_per_round: int | None) -> Generator[AwaitJoin, object, list[int]]:
    """K clients of those present without replacement, ascending; all of them where K is None or more than there are. Where
    nobody is, it waits for somebody. Drawn from the server's own stream. `yield from` it."""
    while not node.devices:
        yield AwaitJoin()
    devices = node.devices
    if clients_per_round is None or clients_per_round >= len(devices):
        return sorted(devices)
    return sorted(node.rng.choice(devices, clients_per_round, replace=False).tolist())

"""Which clients take part in a round, and what a client hears of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from learners.protocol import SERVER, AwaitJoin, Message, Node, Receive


def sample_clients(node: Node, clients_per_round: int | None) -> Generator[AwaitJoin, object, list[int]]:
    """K clients of those present without replacement, ascending; all of them where K is None or more than there are. Where
    nobody is, it waits for somebody. Drawn from the server's own stream. `yield from` it."""
    while not node.devices:
        yield AwaitJoin()
    devices = node.devices
    if clients_per_round is None or clients_per_round >= len(devices):
        return sorted(devices)
    return sorted(node.rng.choice(devices, clients_per_round, replace=False).tolist())


def newest_download(kind: str, *, waits: bool, anyone: bool = False) -> Generator[Any, Any, Message]:
    """The server's next message. waits: the server waits for all clients; where it does not, several rounds may have come
    meanwhile, and the newest counts. anyone: that of any edge server instead."""
    messages = (yield Receive(None if anyone else [SERVER], kind, count=1)).messages
    if waits:
        return messages[0]
    messages += (yield Receive(None, kind, timeout_s=0)).messages
    return max(reversed(messages), key=lambda message: message.round)


def next_of_each(kind: str, waiting: list[Message]) -> Generator[Any, Any, Message]:
    """The next message of any server, where every one of several has to be answered. waiting: those that came with earlier ones, the newest of
    each server; it is kept up to date. `yield from` it."""
    if not waiting:
        waiting += (yield Receive(None, kind, count=1)).messages
    waiting += (yield Receive(None, kind, timeout_s=0)).messages
    newest = {message.sender: message for message in sorted(waiting, key=lambda message: message.round)}
    waiting[:] = newest.values()
    return waiting.pop(0)

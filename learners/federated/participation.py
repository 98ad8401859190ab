"""Which clients take part in a round, and what a client hears of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from learners.protocol import SERVER, Message, Node, Receive


def sample_clients(node: Node, clients_per_round: int | None) -> list[int]:
    """K clients without replacement, ascending; all of them where K is None. Drawn from the server's own stream."""
    devices = node.devices
    if clients_per_round is None:
        return sorted(devices)
    if clients_per_round > len(devices):
        raise ValueError(f"clients_per_round = {clients_per_round}: there are {len(devices)} devices")
    return sorted(node.rng.choice(devices, clients_per_round, replace=False).tolist())


def newest_download(kind: str, *, waits: bool) -> Generator[Any, Any, Message]:
    """The server's next message. waits: the server waits for all clients; where it does not, several rounds may have come
    meanwhile, and the newest counts."""
    messages = (yield Receive([SERVER], kind, count=1)).messages
    if not waits:
        messages += (yield Receive(None, kind, timeout_s=0)).messages
    return max(messages, key=lambda message: message.round)

"""Which clients take part in a round."""

from __future__ import annotations

from learners.protocol import Node


def sample_clients(node: Node, clients_per_round: int | None) -> list[int]:
    """K clients without replacement, ascending; all of them where K is None. Drawn from the server's own stream."""
    devices = node.devices
    if clients_per_round is None:
        return sorted(devices)
    if clients_per_round > len(devices):
        raise ValueError(f"clients_per_round = {clients_per_round}: there are {len(devices)} devices")
    return sorted(node.rng.choice(devices, clients_per_round, replace=False).tolist())

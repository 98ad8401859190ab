"""What a scenario says about the transport, in the units of the simulator."""

from __future__ import annotations

from dataclasses import dataclass

from wsim.packets import ForcedLoss


@dataclass(frozen=True)
class TransportConfig:
    """reliability: "none", "arq", "nack" or "fountain" (`wsim.transport.attempts`). partial_use: a message of which packets are
    missing in the end is delivered with a mask, else it is lost. fixed_rate: unicasts go at links.fixed_efficiency_bps_hz."""

    mtu_bytes: int
    header_bytes: int
    unicast_reliability: str
    broadcast_reliability: str
    partial_use: bool
    expires_s: float | None
    feedback_bits: int
    max_attempts: int
    latency_ns: int
    forced_loss: ForcedLoss | None
    fixed_rate: bool
    broadcast_rate_bps: float | None
    broadcast_reach: float
    bandwidth_hz: float

"""Can a message be lost for good? A learner that waits for every message then needs a deadline."""

from __future__ import annotations

from wsim.scenario.messages import shown
from wsim.scenario.root import Scenario

ENOUGH_ATTEMPTS = 20
"""Attempts after which a packet is taken to have arrived: at a loss of one half, one in a million has not."""


def loses_for_good(scenario: Scenario, *, broadcast: bool) -> str | None:
    """Why a message may never arrive, however long its receiver waits; None where every message arrives in the end.

    broadcast: whether the learner sends to several receivers at once.

    Always lossy: messages that expire, whole messages that are lost by force, and neighbors that move out of range
    (topology "radio" with moving devices). Otherwise arq and fountain, with `ENOUGH_ATTEMPTS` at least, lose nothing.
    Without repetition (reliability "none", the default of a broadcast; or "nack", where a receiver that got nothing asks for
    nothing) a message is lost for good by a forced packet loss, by a rate that is not adapted to its receiver (a broadcast's,
    or a fixed one) under fading or movement, and by a broadcast rate that some receivers cannot decode by design (a given
    rate, or a reach below 1).
    """
    transport, channel, mac = scenario.transport, scenario.channel, scenario.mac
    moving = any(group.mobility.kind != "static" for group in scenario.devices)
    if transport.expires_s is not None:
        return f"transport.expires_s = {shown(transport.expires_s)} drops late messages"
    if channel.forced_loss.rate > 0 and channel.forced_loss.unit == "message":
        return f"channel.forced_loss.rate = {shown(channel.forced_loss.rate)} loses whole messages"
    if scenario.topology.kind == "radio" and moving:
        return "neighbors move out of range"
    repeats = transport.reliability in ("arq", "fountain") or (transport.reliability == "default" and not broadcast)
    if repeats and transport.max_attempts >= ENOUGH_ATTEMPTS:
        return None
    again = f"transport.max_attempts = {transport.max_attempts} gives up" if repeats else "nothing repeats it"
    if channel.forced_loss.rate > 0:
        return f"channel.forced_loss.rate = {shown(channel.forced_loss.rate)} loses a packet and {again}"
    if broadcast or scenario.phy.rate == "fixed":
        what = "a broadcast" if broadcast else "a fixed rate"
        if channel.fading.own.get("correlation", "ergodic") != "ergodic":
            return f"{what} does not adapt to its receiver's fading and {again}"
        if moving:
            return f"{what} does not adapt to a moving receiver and {again}"
    if scenario.cells is not None and scenario.cells.handover == "lose" and moving:
        return f'cells.handover = "lose" loses what is under way and {again}'
    if scenario.cells is not None and scenario.cells.interference == "sinr" and scenario.phy.rate == "fixed":
        return f"a fixed rate does not adapt to the interference of other cells and {again}"
    if broadcast and mac.broadcast_rate_bps is not None:
        return f"a broadcast at mac.broadcast_rate_bps may exceed what a receiver decodes and {again}"
    if broadcast and mac.broadcast_reach < 1:
        return f"mac.broadcast_reach = {shown(mac.broadcast_reach)} leaves receivers out and {again}"
    return None


def broadcasts(scenario: Scenario) -> bool:
    """Whether the learner's hyper-parameters ask for broadcast exchange."""
    chosen = scenario.algorithm.hyperparameters
    return "broadcast" in (chosen.get("exchange"), chosen.get("downlink"))

"""Can a message be lost for good? A learner that waits for every message then needs a deadline."""

from __future__ import annotations

from wsim.scenario.messages import shown
from wsim.scenario.root import Scenario

NEVER = 1e-6
"""A packet that all attempts lose with this probability, or a smaller one, is taken to arrive."""


def loses_for_good(scenario: Scenario, *, broadcast: bool) -> str | None:
    """Why a message may never arrive, however long its receiver waits; None where every message arrives in the end.

    broadcast: whether the learner sends to several receivers at once.

    Always lossy: messages that expire, whole messages that are lost by force, neighbors that move out of range (topology
    "radio" with moving devices), neighbors that are found by beacons, one of two perhaps before the other, preambles that a receiver may miss
    again and again, and a rate that is not adapted to its receiver (a broadcast's, or a fixed one) where it may
    exceed what the link carries: under fading, movement or interference, or by design (a given rate, or a reach below 1).
    Repeating does not help there: attempts follow each other at once, and a fade, or a bad place, may outlast all of them. What repeating (arq, fountain) makes up for are losses that are drawn anew in every
    attempt: forced losses of packets, where all of max_attempts are lost with a probability of at most `NEVER`, and hand-overs that
    lose what is under way.

    None promises nothing about devices that leave, fail or run out of energy, of which programs are told; nor that a message
    arrives soon: an adaptive rate waits in a fade.
    """
    transport, channel = scenario.transport, scenario.channel
    moving = any(group.mobility.kind != "static" for group in scenario.devices)
    if transport.expires_s is not None:
        return f"transport.expires_s = {shown(transport.expires_s)} drops late messages"
    if channel.forced_loss.rate > 0 and channel.forced_loss.unit == "message":
        return f"channel.forced_loss.rate = {shown(channel.forced_loss.rate)} loses whole messages"
    if scenario.topology.kind == "radio" and moving:
        return "neighbors move out of range"
    if _misses_preambles(scenario, broadcast, moving):
        level = shown(scenario.phy.preamble_snr_db)
        return f"phy.preamble_snr_db = {level} may be missed at the beginning of every attempt"
    if scenario.topology.kind == "radio" and scenario.topology.discovery == "beacon":
        return 'topology.discovery = "beacon" lets one device know another that does not know it, and sends it nothing'
    exceeds = _exceeds_the_link(scenario, broadcast, moving)
    if exceeds is not None:
        return exceeds
    repeats = transport.reliability in ("arq", "fountain") or (transport.reliability == "default" and not broadcast)
    attempts = transport.max_attempts if repeats else 1
    again = f"transport.max_attempts = {attempts} gives up" if repeats else "nothing repeats it"
    if channel.forced_loss.rate**attempts > NEVER:
        return f"channel.forced_loss.rate = {shown(channel.forced_loss.rate)} loses a packet and {again}"
    if scenario.cells is not None and scenario.cells.handover == "lose" and moving and not repeats:
        return f'cells.handover = "lose" loses what is under way and {again}'
    return None


def _exceeds_the_link(scenario: Scenario, broadcast: bool, moving: bool) -> str | None:
    """Why a rate may be more than its receiver decodes, for as long as all attempts take."""
    mac, fixed = scenario.mac, scenario.phy.rate == "fixed"
    if not broadcast and not fixed:
        return None
    what = "a broadcast" if broadcast else "a fixed rate"
    outlasts = "which may outlast all attempts"
    if scenario.channel.fading.own.get("correlation", "ergodic") != "ergodic":
        return f"{what} does not adapt to its receiver's fading, {outlasts}"
    if moving:
        return f"{what} does not adapt to a moving receiver, {outlasts}"
    if broadcast and mac.broadcast_rate_bps is not None:
        return "a broadcast at mac.broadcast_rate_bps may exceed what a receiver decodes"
    if broadcast and mac.broadcast_reach < 1:
        return f"mac.broadcast_reach = {shown(mac.broadcast_reach)} leaves receivers out"
    return "phy.fixed_efficiency_bps_hz may exceed what a link carries" if fixed else None


def _misses_preambles(scenario: Scenario, broadcast: bool, moving: bool) -> bool:
    """An attempt may begin below the preamble's level: links change, or hear each other. A sender that follows the one gain of a
    flat band begins at `min_snr_db` at least; several resource blocks, or the moments of an ergodic law, let bits flow at a
    lower mean. Fixed graphs of links that never change are looked at when the world is built."""
    phy, cells, fading = scenario.phy, scenario.cells, scenario.channel.fading
    one_gain = fading.delay_profile is None and fading.own.get("correlation") != "ergodic"
    follows = not broadcast and phy.rate == "adaptive" and one_gain
    if phy.preamble_snr_db is None or (follows and phy.preamble_snr_db <= phy.min_snr_db):
        return False
    fades = fading.own.get("correlation", "ergodic") != "ergodic"
    interferes = "sinr" in (scenario.mac.own.get("interference"), None if cells is None else cells.interference)
    return moving or fades or interferes


def broadcasts(scenario: Scenario) -> bool:
    """Whether the learner's hyper-parameters ask for broadcast exchange."""
    chosen = scenario.algorithm.hyperparameters
    return "broadcast" in (chosen.get("exchange"), chosen.get("downlink"))

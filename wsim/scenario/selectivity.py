"""`[channel.fading] delay_profile`: what goes with it, and the model that it names."""

from __future__ import annotations

import math
from typing import Any

from channels.delay_profile import DelayProfile, ExponentialProfile, TappedDelayLine
from channels.nakagami import Nakagami
from wsim.catalog import find
from wsim.scenario.messages import problem, shown
from wsim.scenario.radio import Channel
from wsim.scenario.root import Scenario

PATH = ("channel", "fading")
TAPS_PER_SPREAD, MAX_TAPS = 16, 1024  # of an exponential profile, for each unit of bandwidth x delay spread


def check(scenario: Scenario, source: str) -> None:
    """Raise ScenarioError where the keys do not make a frequency-selective band together, or something needs a flat one."""
    fading = scenario.channel.fading
    name = fading.delay_profile
    if name is None:
        for key in ("delay_spread_s", "num_blocks"):
            if getattr(fading, key) is not None and "delay_profile" not in fading.model_fields_set:
                says = 'is of a delay_profile, which is missing; "exponential", "tdl_a" to "tdl_e", or leave this out'
                raise problem(source, (*PATH, key), says, value=getattr(fading, key))
        return
    profile = profile_of(scenario.channel) if fading.delay_spread_s is not None else None
    if profile is None:
        says = "this key is missing; a delay_profile needs it, in s: 30e-9 indoors, 100e-9 to 1e-6 outdoors"
        raise problem(source, (*PATH, "delay_spread_s"), says)
    law = find("fading", fading.kind)
    flat = f'delay_profile = {shown(name)} needs complex gains; "rayleigh" or "rician", or delay_profile = "none"'
    if fading.kind == "none" or issubclass(law, Nakagami):
        what = "is no fading" if fading.kind == "none" else "has powers only"
        raise problem(source, (*PATH, "kind"), f"{what}, {flat}", value=fading.kind)
    if fading.own["correlation"] == "ergodic":
        says = f'has mean gains only, {flat.partition(";")[0]}; "block" or "doppler", or delay_profile = "none"'
        raise problem(source, (*PATH, "correlation"), says, value="ergodic")
    if profile.needs_direct and "k_db" not in fading.own:
        says = (
            f'has a direct path, fading {fading.kind} has none; "exponential", "tdl_a" to "tdl_c", or kind = "rician"'
        )
        raise problem(source, (*PATH, "delay_profile"), says, value=name)
    if scenario.algorithm.hyperparameters.get("uplink") == "aircomp":
        says = f"over-the-air sums need a flat band, channel.fading.delay_profile = {shown(name)} makes it selective; digital"
        raise problem(source, ("algorithm", "uplink"), says, value="aircomp")


def profile_of(channel: Channel) -> DelayProfile | None:
    """The model of a checked [channel]; None where the band is flat.

    An exponential profile is as many taps as the band can tell apart, and at least 16: the mean power over a band B of delay
    spread s varies from link to link by about 1/(2 B s), to which n taps add 1/n."""
    fading = channel.fading
    if fading.delay_profile is None:
        return None
    spread_s: Any = fading.delay_spread_s
    if fading.delay_profile == "exponential":
        taps = math.ceil(TAPS_PER_SPREAD * channel.bandwidth_hz * spread_s - 1e-9)
        return ExponentialProfile(spread_s, min(max(taps, TAPS_PER_SPREAD), MAX_TAPS))
    return TappedDelayLine(fading.delay_profile, spread_s)

"""What a channel is made of, in words: names as scenarios have them, where the formulas come from, and what draws the numbers."""

from __future__ import annotations

from .delay_profile import DelayProfile
from .fading import Fading, NoFading
from .path_loss.model import PathLoss, optional
from .shadowing import NUM_WAVES, LosShadowing, Shadowing, StandardShadowing

NONE = "none"


def sources(
    path_loss: PathLoss, shadowing: Shadowing | LosShadowing | None, fading: Fading | None, profile: DelayProfile | None
) -> dict[str, str]:
    """One line each, for the result file: path_loss, path_loss_standard, fading, fading_standard, fading_generator, shadowing,
    shadowing_standard, shadowing_field (its generator), delay_profile. What is not there says so."""
    law = NoFading() if fading is None else fading
    return {
        "path_loss": optional(path_loss, "name"),
        "path_loss_standard": optional(path_loss, "standard"),
        "fading": law.name if fading is None else f"{law.name}, {fading.correlation}",
        "fading_standard": law.standard,
        "fading_generator": fading_generator(fading),
        "shadowing": shadowing_law(shadowing),
        "shadowing_standard": NONE if shadowing is None else shadowing.standard,
        "shadowing_field": shadowing_generator(shadowing),
        "delay_profile": "none: the band is taken as flat" if profile is None else repr(profile),
    }


def fading_generator(fading: Fading | None) -> str:
    """What draws the small-scale gains."""
    if fading is None:
        return NONE
    if fading.correlation == "block":
        return "independent blocks, counter-based"
    if fading.correlation == "doppler":
        return f"sum of {fading.num_sinusoids} sinusoids over travelled distance (Xiao-Zheng-Beaulieu)"
    return "none: rates are the mean over the law"


def shadowing_generator(shadowing: Shadowing | LosShadowing | None) -> str:
    """What draws the field over space."""
    return NONE if shadowing is None else f"sum of {NUM_WAVES} plane waves"


def shadowing_law(shadowing: Shadowing | LosShadowing | None) -> str:
    """Standard deviation and correlation distance, by line of sight where they depend on it."""
    if shadowing is None:
        return NONE
    if isinstance(shadowing, Shadowing):
        return f"log-normal, {_numbers(shadowing)}"
    los, nlos = _numbers(shadowing.los), _numbers(shadowing.nlos)
    law = f"log-normal, {los}" if los == nlos else f"log-normal, {los} with line of sight, {nlos} without"
    if isinstance(shadowing, StandardShadowing):
        if shadowing.far_los_sigma_db is not None:
            law += f", {shadowing.far_los_sigma_db:g} dB with it beyond the breakpoint"
        if shadowing.o2i is not None:
            law += f", {_numbers(shadowing.o2i)} into buildings"
        law += " (the path loss's own)"
    return law


def _numbers(law: Shadowing) -> str:
    return f"{law.sigma_db:g} dB over {law.correlation_m:g} m"

"""Geometry, radio and time: functions of (link, time). NumPy and SciPy only; knows neither the simulator nor the learners.

    channel          Channel: power gain of links over time, composed of the models below
    path_loss        a package, one model a file; names in registry.PATH_LOSSES
    penetration      draw_penetration: walls and cars around a device
    shadowing        Shadowing, LosShadowing, StandardShadowing, PlaneWaveField; UMI_SHADOWING
    fading           Rayleigh, Rician (block, Doppler or ergodic)
    nakagami         Nakagami
    ergodic          ErgodicRate: the mean rate over a fading law
    delay_profile    ExponentialProfile, TappedDelayLine: gains per resource block
    mobility         Static, RandomWaypoint, GaussMarkov, Manhattan, TraceFile, Positions
    sites            Sites: hexagonal layouts of base stations, sectors, wrap-around
    noise            noise_w_per_hz
    link_adaptation  RateMap
    counter          hash draws: uniform, exponential, normal, complex_normal
    registry         names of what a scenario may name of these
    units            conversions; the only place that makes them

Names are found in their modules, which are imported when they are needed.
"""

__part_of__ = "wsim"  # read by wsim.packages: others use the name, too

__all__ = [
    "channel",
    "counter",
    "delay_profile",
    "ergodic",
    "fading",
    "link_adaptation",
    "mobility",
    "nakagami",
    "noise",
    "path_loss",
    "penetration",
    "registry",
    "shadowing",
    "sites",
    "units",
]

"""The kinds of medium access that a scenario's [mac] may name: a visible list, "module:attribute"."""

MACS = {
    "ideal": "wsim.mac.medium_access:Ideal",
    "fdma": "wsim.mac.medium_access:Fdma",
    "tdma": "wsim.mac.medium_access:Tdma",
    "shared": "wsim.mac.medium_access:Shared",
}

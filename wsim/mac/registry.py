"""The kinds of medium access that a scenario's [mac] may name: a visible list, "module:attribute"."""

MACS = {
    "ideal": "wsim.mac.ideal:IdealMedium",
    "fdma": "wsim.mac.sharing:Fdma",
    "tdma": "wsim.mac.sharing:Tdma",
    "shared": "wsim.mac.shared:SharedCarrier",
}

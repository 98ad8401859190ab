"""What a scenario's [channel] may name: visible lists, "module:attribute", so that listing imports nothing."""

PATH_LOSSES = {
    "free_space": "channels.path_loss:FreeSpace",
    "log_distance": "channels.path_loss:LogDistance",
    "tr38901_umi": "channels.tr38901_umi:UmiStreetCanyon",
}

SHADOWINGS = {
    "lognormal": "channels.shadowing:Shadowing",
    "tr38901_umi": "channels.shadowing:LosShadowing",
}

FADINGS = {
    "rayleigh": "channels.fading:Rayleigh",
    "rician": "channels.fading:Rician",
}

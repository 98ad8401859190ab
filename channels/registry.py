"""What a scenario may name of the air and of movement: visible lists, "module:attribute", so that listing imports nothing."""

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
    "none": "channels.fading:NoFading",
    "rayleigh": "channels.fading:Rayleigh",
    "rician": "channels.fading:Rician",
    "nakagami": "channels.nakagami:Nakagami",
}

MOBILITIES = {
    "static": "channels.static:Static",
    "random_waypoint": "channels.random_waypoint:RandomWaypoint",
    "gauss_markov": "channels.gauss_markov:GaussMarkov",
    "manhattan": "channels.manhattan:Manhattan",
    "trace": "channels.trace_file:TraceFile",
}

"""What a scenario may name of the air and of movement: visible lists, "module:attribute", so that listing imports nothing."""

PATH_LOSSES = {
    "free_space": "channels.path_loss.free_space:FreeSpace",
    "log_distance": "channels.path_loss.log_distance:LogDistance",
    "multi_slope": "channels.path_loss.multi_slope:MultiSlope",
    "two_ray": "channels.path_loss.two_ray:TwoRay",
    "lte_macro": "channels.path_loss.lte_macro:LteMacro",
    "tr38901_uma": "channels.path_loss.tr38901_uma:UrbanMacro",
    "tr38901_umi": "channels.path_loss.tr38901_umi:UmiStreetCanyon",
    "tr38901_rma": "channels.path_loss.tr38901_rma:RuralMacro",
    "tr38901_inh": "channels.path_loss.tr38901_inh:IndoorOffice",
    "tr38901_inf": "channels.path_loss.tr38901_inf:IndoorFactory",
    "tr36843_d2d": "channels.path_loss.tr36843_d2d:DeviceToDevice",
    "tr37885_v2v": "channels.path_loss.tr37885_v2v:VehicleToVehicle",
    "tgax_indoor": "channels.path_loss.tgax_indoor:TgaxIndoor",
}

SHADOWINGS = {
    "lognormal": "channels.shadowing:Shadowing",
    "standard": "channels.shadowing:StandardShadowing",
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

"""Fixed graphs between devices, by name.

A kind is a frozen dataclass of its own keys with

    check(num_devices)    ValueError("key = value: what is accepted") where there is no such graph
    graph(given)          networkx Graph, or DiGraph with an edge (i, j) where j hears i, over devices 0 .. num_devices - 1

and may say `changes` (False): neighborhoods change during a run, even where nobody leaves.

`radio` (who is in range now) and `star` (every device at the server) have no graph and are built by `wsim.topology`.
"""

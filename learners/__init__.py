"""Learning algorithms, models, data and codecs of the simulator.

Everything is found by module: `learners.protocol` is the seam with the simulator, `learners.registry` lists by name
what a scenario may ask for. Neither of the two imports torch.
"""

"""Learning algorithms, models, data and codecs of the simulator.

Everything is found by module: `learners.protocol` is the seam with the simulator, `learners.registry` lists by name
what a scenario may ask for. Neither of the two imports torch.
"""

import os

__part_of__ = "wsim"  # read by wsim.packages: others use the name, too

# Without it the bits of a matrix product depend on where a row lies in memory, and so on the others in its batch. MKL reads
# this at its first call; it costs a few percent.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

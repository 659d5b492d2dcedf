"""What a run is made of: `State` evolves, `System` is fixed, `ForceField` can be differentiated.

All are frozen dataclasses registered as pytrees. A field marked static is part of the compiled
program; every other field is data, and may change without a new compilation.
"""

from __future__ import annotations

from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import ReactionParameters
from dropsim_kernels.electrostatics.ewald import EwaldParameters
from dropsim_kernels.neighbors import NeighborList

# Species are numbered once for the whole program; the tables of `ForceField` follow this order.
SPECIES = ("Li", "S6", "TFSI", "Li2S", "Mo", "N")
LI, S6, TFSI, LI2S, MO, N_RING = range(len(SPECIES))


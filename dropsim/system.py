"""What a run is made of: `State` evolves, `System` is fixed, `ForceField` can be differentiated.

All are frozen dataclasses registered as pytrees. A field marked static is part of the compiled
program; every other field is data, and may change without a new compilation.
"""

from __future__ import annotations

import dataclasses

import jax
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import ReactionParameters, ReactionState
from dropsim_kernels.electrostatics.coulomb import CoulombParameters, SiteCharges
from dropsim_kernels.neighbors import NeighborList, NeighborSettings
from jax import Array

# Species are numbered once for the whole program; the tables of `ForceField` follow this order. A vacant slot of the
# Li+ reservoir is no particle: it has no charge and no interaction.
SPECIES = ("Li", "S6", "TFSI", "Li2S", "Li2S2", "Vacant", "Mo", "N")
LI, S6, TFSI, LI2S, LI2S2, VACANT, MO, N_RING = range(len(SPECIES))

# Error bits of `State.error`, read once per chunk.
NEIGHBOR_OVERFLOW = 1  # a neighbour row or a cell was full: the chunk is repeated with more room
NOT_FINITE = 2  # a force was not a number: the time step is too large, or two beads overlap
ELECTRON_IMBALANCE = 4  # the ledger does not close: a defect of the program, never of the input
CONTACT_OVERFLOW = 8  # the reaction's tables of contacts were full: the chunk is repeated with more room
TOO_MANY_EVENTS = 16  # more electrons moved between two looks at the reaction than it counts one by one
NO_LITHIUM = 32  # the Li+ reservoir had no slot left for an electron's Li+


STATIC = {"static": True}  # a field whose value is compiled in


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ForceField:
    """The interactions, as arrays over the species: what a fit may change.

    charge: (K,) e; sigma: (K,) nm; epsilon: (K,) kJ/mol, Lorentz-Berthelot mixing; lennard_jones_cutoff: ()
    nm; coulomb: () kJ nm / (mol e^2), already divided by eps_r; wall_sigma: (K,) nm and wall_depth: (K,)
    kJ/mol of the 9-3 wall at z = 0; top_sigma: (K,) nm of the repulsive wall at z = height;
    sheet_density: () e/nm^2, uniform charge of the plane z = 0; background_density: () e/nm^3, uniform charge of the
    volume of a slab (a bulk box has its own by construction).
    """

    charge: Array
    sigma: Array
    epsilon: Array
    lennard_jones_cutoff: Array
    coulomb: Array
    wall_sigma: Array
    wall_depth: Array
    top_sigma: Array
    sheet_density: Array
    background_density: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Electrode:
    """The potential of a stage, in volt: constant, or a staircase of one tread per look at the reaction.

        E(step) = potential + potential_per_step (step - first_check)

    first_check: () int32, step of the stage's first look; potential, potential_per_step: () V; connected: () bool,
    false at open circuit. At a look, E is that of the middle of the interval that ends there.
    """

    first_check: Array
    potential: Array
    potential_per_step: Array
    connected: Array

    def at(self, step: Array) -> Array:
        """Potential of the interval that ends at a step, () V."""
        return self.potential + self.potential_per_step * (step - self.first_check).astype(self.potential.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class System:
    """Everything that stays fixed in a stage.

    box; force_field; site_position: (C, 3) nm and site_species: (C,) int32, fixed charges (Mo, then N);
    mo_wired: (n_mo,) bool; splitting: how the Coulomb sum is split, exactly or on a mesh; fixed_charges: what the sites
    add to it; diffusivity: (K,) nm^2/ps; mass: (K,) amu; friction: (K,) 1/ps; hydrodynamic_radius: (K,) nm;
    thermal_energy: () kJ/mol; timestep: () ps; reaction: rates and distances; electrode: its potential. Static:
    neighbors (capacities; capacity 0: all pairs, without a list), integrator (a name), wall_mobility (whether the walls
    slow the beads), n_sulfur, n_li, n_mo (mobile beads are ordered sulfur, Li and vacant slots of the reservoir, TFSI;
    sites Mo, N), bare (an added electron charges its bead, and an explicit Li+ enters for it).
    """

    box: Box
    force_field: ForceField
    site_position: Array
    site_species: Array
    mo_wired: Array
    splitting: CoulombParameters
    fixed_charges: SiteCharges
    diffusivity: Array
    mass: Array
    friction: Array
    hydrodynamic_radius: Array
    thermal_energy: Array
    timestep: Array
    reaction: ReactionParameters
    electrode: Electrode
    neighbors: NeighborSettings = dataclasses.field(metadata=STATIC)
    integrator: str = dataclasses.field(metadata=STATIC)
    wall_mobility: bool = dataclasses.field(metadata=STATIC)
    n_sulfur: int = dataclasses.field(metadata=STATIC)
    n_li: int = dataclasses.field(metadata=STATIC)
    n_mo: int = dataclasses.field(metadata=STATIC)
    bare: bool = dataclasses.field(default=False, metadata=STATIC)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything that evolves.

    position: (N, 3) nm, wrapped in x and y; image: (N, 3) int32; velocity: (N, 3) nm/ps; force: (N, 3)
    kJ/(mol nm) at `position`; energy: () kJ/mol; species: (N,) int32; reaction: electrons and flags of the
    sulfur beads; neighbors; key: (2,) uint32; step: () int32; error: () int32 bits.
    """

    position: Array
    image: Array
    velocity: Array
    force: Array
    energy: Array
    species: Array
    reaction: ReactionState
    neighbors: NeighborList
    key: Array
    step: Array
    error: Array

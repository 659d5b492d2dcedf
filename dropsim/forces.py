"""The total force on the mobile beads: pairs, Ewald sum, walls and the charged sheet, added up once."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from dropsim_kernels.electrostatics.ewald import long_range
from dropsim_kernels.neighbors import NeighborList
from dropsim_kernels.pairs import pair_forces
from dropsim_kernels.potentials import ewald_real, lennard_jones, wall_93, wall_93_repulsive
from jax import Array

from dropsim.system import System


class PairParameters(NamedTuple):
    """Per bead: half of sigma (nm), square root of epsilon, charge (e). Lorentz-Berthelot mixing is then a
    sum and a product of what the two beads of a pair carry."""

    half_sigma: Array
    root_epsilon: Array
    charge: Array


def pair_parameters(species: Array, system: System) -> PairParameters:
    """What each bead brings to a pair; species: (N,) int32."""
    field = system.force_field
    return PairParameters(0.5 * field.sigma[species], jnp.sqrt(field.epsilon[species]), field.charge[species])


def pair_energy(system: System):
    """The pair potential u(r, row, column), kJ/mol: truncated and shifted Lennard-Jones plus the real-space
    part of the Coulomb sum."""
    field, alpha = system.force_field, system.ewald.alpha

    def u(r: Array, row: PairParameters, column: PairParameters) -> Array:
        sigma = row.half_sigma + column.half_sigma
        epsilon = row.root_epsilon * column.root_epsilon
        at_cutoff = lennard_jones(field.lennard_jones_cutoff, sigma, epsilon)
        short = jnp.where(
            r < field.lennard_jones_cutoff, lennard_jones(r, sigma, epsilon) - at_cutoff, jnp.zeros_like(r)
        )
        return short + field.coulomb * row.charge * column.charge * ewald_real(r, alpha)

    return u


def wall_energy(z: Array, species: Array, system: System) -> Array:
    """Energy of each bead in the walls and in the field of the uniform sheet at z = 0, kJ/mol, (N,).

        u = wall_93(z), or a repulsive wall where its depth is 0, + repulsive wall(height - z) - 2 pi k_C q s z

    s: sheet density, e/nm^2. The sheet's linear potential is exact in the slab geometry.
    """
    field = system.force_field
    # Where there is no well, and at the top, a wall only keeps the electrolyte in: kT-sized and purely repulsive.
    kT = jnp.broadcast_to(system.thermal_energy, z.shape)
    sigma, depth = field.wall_sigma[species], field.wall_depth[species]
    bottom = jnp.where(depth > 0, wall_93(z, sigma, depth), wall_93_repulsive(z, sigma, kT))
    top = wall_93_repulsive(system.box.lengths[2] - z, field.top_sigma[species], kT)
    sheet = -2.0 * math.pi * field.coulomb * field.sheet_density * field.charge[species] * z
    return bottom + top + sheet


def total_forces(position: Array, species: Array, neighbors: NeighborList, system: System) -> tuple[Array, Array]:
    """Potential energy and forces of the mobile beads.

    position: (N, 3) nm; species: (N,) int32. Returns (energy () kJ/mol, force (N, 3) kJ/(mol nm)). The energy
    leaves out what no motion changes: self energies and the sites among themselves.
    """
    field, box = system.force_field, system.box
    mobile = pair_parameters(species, system)
    sites = pair_parameters(system.site_species, system)
    everything = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), mobile, sites)
    energy, force, _ = pair_forces(
        pair_energy(system),
        position,
        system.site_position,
        mobile,
        everything,
        neighbors if system.neighbors.capacity else None,
        box,
        system.neighbors.cutoff,
    )
    coulomb_energy, coulomb_force = long_range(position, mobile.charge, box, system.ewald, system.fixed_charges)
    walls = wall_energy(position[:, 2], species, system)
    wall_slope = jax.grad(lambda z: jnp.sum(wall_energy(z, species, system)))(position[:, 2])
    energy = energy + field.coulomb * coulomb_energy + jnp.sum(walls)
    force = force + field.coulomb * coulomb_force
    return energy, force.at[:, 2].add(-wall_slope)

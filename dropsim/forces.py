"""The total force on the mobile beads: pairs, long-range Coulomb sum, walls, uniform charges, added up once."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from dropsim_kernels.electrostatics.coulomb import long_range
from dropsim_kernels.neighbors import NeighborList
from dropsim_kernels.pairs import pair_forces, pair_laplacian
from dropsim_kernels.potentials import ewald_real, lennard_jones, wall_93, wall_93_repulsive
from jax import Array

from dropsim.system import VACANT, System

# Share of a cutoff over which a force goes to zero.
SMOOTH_SHARE = 0.1
# Nearer than any two beads that repel each other, by 1e20 kT.
CLOSEST_NM = 0.01


class PairParameters(NamedTuple):
    """Per bead: half of sigma (nm), square root of epsilon, charge (e). Lorentz-Berthelot mixing is then a
    sum and a product of what the two beads of a pair carry."""

    half_sigma: Array
    root_epsilon: Array
    charge: Array


def bead_charges(species: Array, electrons: Array, system: System) -> Array:
    """Charge of each mobile bead, e.

        q_i = q(species), and q_i = q(species) - n_i of a sulfur bead where electrons are transferred bare

    species: (N,) int32, sulfur beads first; n -> `electrons`: (n_sulfur,) int32, added to each of them. Returns (N,).
    Where each electron comes with its lithium (`system.bare` is false) the electrons are not read.
    """
    charge = system.force_field.charge[species]
    if not system.bare:
        return charge
    return charge.at[: system.n_sulfur].add(-electrons.astype(charge.dtype))


def site_charges(system: System) -> Array:
    """Charge of each fixed site, e, (C,)."""
    return system.force_field.charge[system.site_species]


def pair_parameters(species: Array, charge: Array, system: System) -> PairParameters:
    """What each bead brings to a pair; species: (N,) int32; charge: (N,) e."""
    field = system.force_field
    return PairParameters(0.5 * field.sigma[species], jnp.sqrt(field.epsilon[species]), charge)


def clear_of_vacant(r: Array, system: System) -> Array:
    """Distances at which every term of a pair is finite in single precision, nm.

    A vacant slot of the lithium reservoir has no charge and no well, and beads pass through it: there 0 times
    (sigma/r)^12 must be 0. Beads that are present never come so near.
    """
    return jnp.maximum(r, CLOSEST_NM) if system.bare else r


def lennard_jones_energy(system: System):
    """u(r, row, column), kJ/mol: Lennard-Jones, cut, shifted and made smooth by `smooth_cut`."""
    field = system.force_field
    cutoff = field.lennard_jones_cutoff

    def u(r: Array, row: PairParameters, column: PairParameters) -> Array:
        r = clear_of_vacant(r, system)
        sigma = row.half_sigma + column.half_sigma
        epsilon = row.root_epsilon * column.root_epsilon
        # Value and slope at the cutoff in closed form: they differ from pair to pair, and are met as often as r.
        sixth = (sigma * (1 / cutoff)) ** 6
        value = 4 * epsilon * (sixth * sixth - sixth)
        slope = epsilon * (sixth - 2 * sixth * sixth) * (24 / cutoff)
        uncut = lennard_jones(r, sigma, epsilon)
        return jnp.where(r < cutoff, uncut - smooth_cut(r, cutoff, value, slope), jnp.zeros_like(r))

    return u


def smooth_cut(r: Array, cutoff: Array, value: Array, slope: Array) -> Array:
    """What is taken from a pair potential u so that energy and force are continuous where it is cut, kJ/mol.

        w(r) = u(c) + u'(c) [x^3/(3 d^2) - d/3],   x = max(r - c + d, 0),   d = c/10

    c -> `cutoff`: nm; u(c) -> `value`; u'(c) -> `slope`, per nm; r, `value` and `slope` broadcast. Below c - d this is
    a constant, and no force changes; in the last tenth a force changes by at most u'(c). A force that jumps at c makes
    the total energy wander, by about 1e-4 kT per degree of freedom in a nanosecond of the default electrolyte.
    """
    d = SMOOTH_SHARE * cutoff
    x = r - (cutoff - d)
    # Not the cube of a maximum: its derivative would cost a division for every pair.
    return (value - slope * d / 3) + (slope / (3 * d * d)) * jnp.where(x > 0, x**3, jnp.zeros_like(x))


def coulomb_pair_energy(system: System):
    """u(r, row, column), kJ/mol: real-space part of the Coulomb sum, made smooth at its cutoff by `smooth_cut`.

    The force changes by at most its value at the cutoff, which the force tolerance allows for.
    """
    field, alpha = system.force_field, system.splitting.alpha
    cutoff = jnp.asarray(system.splitting.cutoff, alpha.dtype)
    value, slope = jax.jvp(lambda r: ewald_real(r, alpha), (cutoff,), (jnp.ones_like(cutoff),))

    def u(r: Array, row: PairParameters, column: PairParameters) -> Array:
        r = clear_of_vacant(r, system)
        smooth = ewald_real(r, alpha) - smooth_cut(r, cutoff, value, slope)
        return field.coulomb * row.charge * column.charge * smooth

    return u


def pair_energy(system: System):
    """The pair potential u(r, row, column), kJ/mol: Lennard-Jones plus the real-space part of the Coulomb sum, both
    smooth where they are cut."""
    short, coulomb = lennard_jones_energy(system), coulomb_pair_energy(system)

    def u(r: Array, row: PairParameters, column: PairParameters) -> Array:
        return short(r, row, column) + coulomb(r, row, column)

    return u


def wall_energy(z: Array, species: Array, charge: Array, system: System) -> Array:
    """Energy of each bead in the walls and in the field of uniform charges, kJ/mol, (N,); zero in a bulk box, and for
    vacant slots of the lithium reservoir.

        u = wall_93(z), or a repulsive wall where its depth is 0, + repulsive wall(height - z)
            - 2 pi k_C q s z - pi k_C q b [z^2 + (height - z)^2]

    q -> `charge`: (N,) e; s: sheet density at z = 0, e/nm^2; b: background density between the walls, e/nm^3. Both
    potentials are exact in the slab geometry.
    """
    if system.box.periodic[2]:
        return jnp.zeros_like(z)
    field, height = system.force_field, system.box.lengths[2]
    # Where there is no well, and at the top, a wall only keeps the electrolyte in: kT-sized and purely repulsive.
    kT = jnp.broadcast_to(system.thermal_energy, z.shape)
    sigma, depth = field.wall_sigma[species], field.wall_depth[species]
    bottom = jnp.where(depth > 0, wall_93(z, sigma, depth), wall_93_repulsive(z, sigma, kT))
    top = wall_93_repulsive(height - z, field.top_sigma[species], kT)
    uniform = 2.0 * field.sheet_density * z + field.background_density * (z * z + (height - z) ** 2)
    walls = bottom + top
    if system.bare:
        walls = jnp.where(species == VACANT, jnp.zeros_like(walls), walls)
    return walls - math.pi * field.coulomb * charge * uniform


def wall_derivatives(z: Array, species: Array, charge: Array, system: System) -> tuple[Array, Array, Array]:
    """Energy, slope and curvature of `wall_energy` along z, each (N,)."""

    def energy(height: Array) -> Array:
        return wall_energy(height, species, charge, system)

    def slope(height: Array) -> tuple[Array, Array]:
        value, derivative = jax.jvp(energy, (height,), (jnp.ones_like(height),))
        return derivative, value

    derivative, curvature, value = jax.jvp(slope, (z,), (jnp.ones_like(z),), has_aux=True)
    return value, derivative, curvature


def total_forces(
    position: Array, species: Array, electrons: Array, neighbors: NeighborList, system: System
) -> tuple[Array, Array]:
    """Potential energy and forces of the mobile beads.

    position: (N, 3) nm; species: (N,) int32; electrons: (n_sulfur,) int32, see `bead_charges`. Returns (energy ()
    kJ/mol, force (N, 3) kJ/(mol nm)). The energy leaves out what no motion changes: the sites among themselves.
    """
    field, box = system.force_field, system.box
    mobile, everything = _row_and_column_parameters(species, electrons, system)
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
    coulomb_energy, coulomb_force = long_range(position, mobile.charge, box, system.splitting, system.fixed_charges)
    energy = energy + field.coulomb * coulomb_energy
    force = force + field.coulomb * coulomb_force
    if box.periodic[2]:
        return energy, force
    walls, slope, _ = wall_derivatives(position[:, 2], species, mobile.charge, system)
    return energy + jnp.sum(walls), force.at[:, 2].add(-slope)


def coulomb_forces(position: Array, species: Array, electrons: Array, neighbors: NeighborList, system: System) -> Array:
    """The Coulomb part of `total_forces`, without uniform charges: (N, 3) kJ/(mol nm), for the measure of its error."""
    mobile, everything = _row_and_column_parameters(species, electrons, system)
    _, near, _ = pair_forces(
        coulomb_pair_energy(system),
        position,
        system.site_position,
        mobile,
        everything,
        neighbors if system.neighbors.capacity else None,
        system.box,
        system.neighbors.cutoff,
    )
    _, far = long_range(position, mobile.charge, system.box, system.splitting, system.fixed_charges)
    return near + system.force_field.coulomb * far


def total_laplacian(
    position: Array, species: Array, electrons: Array, neighbors: NeighborList, system: System
) -> Array:
    """Sum over the mobile beads of the Laplacian of the potential energy, kJ/(mol nm^2), for the configurational
    temperature <|grad U|^2> / (k_B <laplacian U>).

    The Coulomb part is known without a sum: the potential of point charges is harmonic between them, so that only
    uniform charges contribute, -4 pi k_C b Q in a slab and 4 pi k_C (Q^2 - sum q^2)/V in a bulk box (whose uniform
    background belongs to each image sum). Q: charge of the beads.

    Source: doi 10.1103/PhysRevLett.78.772 for the temperature.
    """
    field, box = system.force_field, system.box
    mobile, everything = _row_and_column_parameters(species, electrons, system)
    short = pair_laplacian(
        lennard_jones_energy(system),
        position,
        system.site_position,
        mobile,
        everything,
        neighbors if system.neighbors.capacity else None,
        box,
        system.neighbors.cutoff,
    )
    total = jnp.sum(mobile.charge)
    if box.periodic[2]:
        volume = jnp.prod(box.lengths.astype(total.dtype))
        return short + 4.0 * math.pi * field.coulomb * (total * total - jnp.sum(mobile.charge**2)) / volume
    # The curvature of the uniform background's energy is in that of the walls.
    _, _, curvature = wall_derivatives(position[:, 2], species, mobile.charge, system)
    return short + jnp.sum(curvature)


def _row_and_column_parameters(
    species: Array, electrons: Array, system: System
) -> tuple[PairParameters, PairParameters]:
    mobile = pair_parameters(species, bead_charges(species, electrons, system), system)
    sites = pair_parameters(system.site_species, site_charges(system), system)
    return mobile, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), mobile, sites)

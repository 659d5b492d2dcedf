"""The Coulomb sum by whichever method its parameters are made for: exact Ewald, or particle mesh."""

from __future__ import annotations

import jax

from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import ewald, mesh
from dropsim_kernels.electrostatics.ewald import EwaldParameters, FixedCharges
from dropsim_kernels.electrostatics.mesh import MeshCharges, MeshParameters
from dropsim_kernels.neighbors import NeighborList

CoulombParameters = EwaldParameters | MeshParameters
"""How a Coulomb sum is split; both carry alpha and cutoff, for the pair sum."""

SiteCharges = FixedCharges | MeshCharges
"""What fixed sites add to each step, of the kind that belongs to the parameters."""


def fixed_charges(
    site_position: jax.Array, site_charge: jax.Array, box: Box, parameters: CoulombParameters
) -> SiteCharges:
    """All that `long_range` needs to know of the fixed sites, computed once.

    `site_position`: (S, 3) and `site_charge`: (S,), S may be 0. Returns the kind for these parameters.
    """
    if isinstance(parameters, MeshParameters):
        return mesh.fixed_charges(site_position, site_charge, box, parameters)
    return ewald.fixed_charges(site_position, site_charge, box, parameters)


def long_range(
    position: jax.Array,
    charge: jax.Array,
    box: Box,
    parameters: CoulombParameters,
    fixed: SiteCharges | None = None,
) -> tuple[jax.Array, jax.Array]:
    """All of the Coulomb sum that is not a pair sum of q_i q_j erfc(alpha r)/r.

    `position`: (N, 3) and `charge`: (N,) of the mobile charges; `fixed`: the sites, or None.
    Returns (energy, forces (N, 3)), in charge^2/length and charge^2/length^2; the energy leaves out the sites
    among themselves. Raises TypeError where `fixed` was made for parameters of the other method.
    """
    if isinstance(parameters, MeshParameters):
        if fixed is not None and not isinstance(fixed, MeshCharges):
            raise TypeError("fixed charges of an Ewald sum given to a particle mesh: make them with fixed_charges")
        return mesh.long_range(position, charge, box, parameters, fixed)
    if fixed is not None and not isinstance(fixed, FixedCharges):
        raise TypeError("fixed charges of a particle mesh given to an Ewald sum: make them with fixed_charges")
    return ewald.long_range(position, charge, box, parameters, fixed)


def coulomb_energy_forces(
    position: jax.Array,
    charge: jax.Array,
    site_position: jax.Array,
    site_charge: jax.Array,
    box: Box,
    parameters: CoulombParameters,
    neighbors: NeighborList | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Coulomb energy and forces of mobile charges among themselves and with fixed sites.

    U = sum_{pairs, r < cutoff} q_i q_j erfc(alpha r)/r + `long_range`.

    `position`: (N, 3), `charge`: (N,) mobile; `site_position`: (S, 3), `site_charge`: (S,);
    `neighbors`: list of mobile rows over [mobile; sites], or None for all pairs.
    Returns (energy, forces (N, 3)). Validity: cutoff of at most half the shortest periodic length.
    """
    real_energy, real_forces = ewald.real_space_energy_forces(
        position, charge, site_position, site_charge, box, parameters, neighbors
    )
    fixed = fixed_charges(site_position, site_charge.astype(charge.dtype), box, parameters)
    energy, forces = long_range(position, charge, box, parameters, fixed)
    return energy + real_energy, forces + real_forces

"""Particle-mesh sums for periodic boxes and for slabs, with net charge and fixed sites.

Charges are spread on a mesh by B-splines, the mesh is convolved with an influence function by fast Fourier
transforms, and the potential is read back with the same splines; forces come from their derivatives, so they
are the exact gradient of the mesh energy and dynamics conserves it. A slab is periodic in x and y only: its
Green's function is sampled along z over twice the extent of the charges, so no vacuum is paid for.
Energies are in charge^2/length and forces in charge^2/length^2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import ewald
from dropsim_kernels.electrostatics.influence import influence_function, padded_height_of
from dropsim_kernels.electrostatics.spreading import SPREADING, interpolate, mesh_cells, spread

ORDERS = range(3, 9)
"""Spline orders that are offered."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MeshParameters:
    """How a Coulomb sum is split between pairs and a mesh; made by `mesh_parameters`.

    alpha: scalar, inverse length, of erfc(alpha r)/r; cutoff: scalar, length, of the real-space sum;
    padded_height: scalar, length of the z period of a slab's mesh, None in bulk; influence: (n_x, n_y,
    n_z//2 + 1), 1/length^3, mesh charge to mesh potential in Fourier space; own: (7,), 1/length, energy of a
    unit charge in its own mesh less that in the exact sum: twice its mean, then the first two harmonics in
    the place within a cell, for x, y, z. Static: mesh: points along x, y, z; order: of the splines;
    slab: whether z does not repeat; spreading: one of `spreading.SPREADING`.
    """

    alpha: jax.Array
    cutoff: jax.Array
    padded_height: jax.Array | None
    influence: jax.Array
    own: jax.Array
    mesh: tuple[int, int, int] = field(metadata={"static": True})
    order: int = field(metadata={"static": True})
    slab: bool = field(metadata={"static": True})
    spreading: str = field(default="auto", metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MeshCharges:
    """What fixed sites contribute to every step, computed once by `fixed_charges`.

    density: (n_x, n_y, n_z), their charge on the mesh; potential: (n_x, n_y, n_z), of that charge;
    moments: (3,), sum q, sum q z, sum q z^2.
    """

    density: jax.Array
    potential: jax.Array
    moments: jax.Array


def mesh_parameters(
    lengths: Sequence[float],
    alpha: float,
    cutoff: float,
    mesh: Sequence[int],
    order: int,
    slab: bool = False,
    padded_height: float | None = None,
    extent: float | None = None,
    spreading: str = "auto",
    dtype: Any = float,
) -> MeshParameters:
    """Parameters of a particle-mesh sum with its influence function, computed once, on the host.

    `lengths`: three box lengths, the height between the walls for a slab; `alpha`: inverse length; `cutoff`:
    length; `mesh`: points along x, y, z, along z for the padded height; `order`: of the splines, 3 to 8;
    `slab`: x and y repeat only; `padded_height`: length, or None for `padded_height_of`; `extent`: largest
    height difference between any two charges, fixed sites included, None for lengths[2]; `spreading`: see
    `spreading.spread`; `dtype`: of the arrays. Returns `MeshParameters`.

    Raises ValueError for lengths, alpha or cutoff that are not positive, a cutoff beyond half of the shortest
    periodic length, an order outside 3 to 8, a mesh with fewer points than the order along an axis, a padded
    height below twice the extent and two mesh points, padded_height or extent without slab.
    Validity: for these box lengths only. In a slab, two charges further apart in height than `extent` attract
    wrongly, without notice. Cost: some 0.1 s for 10^5 mesh points, a few times that for a slab.
    """
    edges = np.asarray(lengths, float)
    if edges.shape != (3,) or not np.all(edges > 0):
        raise ValueError(f"lengths must be three positive numbers, got {lengths}")
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"alpha must be positive, got {alpha}")
    largest = float(edges[:2].min() if slab else edges.min()) / 2
    if not 0 < cutoff <= largest * (1 + 1e-6):
        raise ValueError(
            f"cutoff must lie between 0 and half the shortest periodic length, {largest:.6g}; got {cutoff}"
        )
    if order not in ORDERS:
        raise ValueError(f"order must be one of {list(ORDERS)}, got {order}")
    if spreading not in SPREADING:
        raise ValueError(f"spreading must be one of {', '.join(SPREADING)}, got {spreading!r}")
    points = tuple(int(n) for n in mesh)
    if len(points) != 3 or min(points) < order:
        raise ValueError(f"mesh must be three numbers of at least the order, {order}; got {mesh}")
    if not slab and (padded_height is not None or extent is not None):
        raise ValueError("padded_height and extent belong to a slab: leave them out, or set slab=True")
    reach = None
    periods = edges.copy()
    if slab:
        reach = float(edges[2]) if extent is None else float(extent)
        periods[2] = padded_height_of(reach, points[2]) if padded_height is None else float(padded_height)
        if not reach > 0 or periods[2] * (1 - 2 / points[2]) < 2 * reach:
            raise ValueError(
                f"padded_height must be at least 2 extent/(1 - 2/n_z) with extent {reach:g} and n_z {points[2]}; "
                f"got {periods[2]:g}"
            )
    x, y, z = (float(p) for p in periods)
    influence = influence_function((x, y, z), points, order, float(alpha), reach)

    def array(value: Any) -> jax.Array:
        return jnp.asarray(np.asarray(value, float), dtype=dtype)

    return MeshParameters(
        alpha=array(alpha),
        cutoff=array(cutoff),
        padded_height=array(z) if slab else None,
        influence=array(influence.values),
        own=array(influence.own),
        mesh=points,
        order=int(order),
        slab=bool(slab),
        spreading=spreading,
    )


def _scale(box: Box, parameters: MeshParameters, dtype: Any) -> jax.Array:
    """Mesh points per length along x, y, z."""
    return jnp.asarray(parameters.mesh, dtype) / ewald.period(box, parameters).astype(dtype)


def _convolve(density: jax.Array, influence: jax.Array) -> jax.Array:
    waves = jnp.fft.rfftn(density)
    return jnp.fft.irfftn(waves * influence.astype(waves.dtype), s=density.shape)


def mesh_density(position: jax.Array, charge: jax.Array, box: Box, parameters: MeshParameters) -> jax.Array:
    """Charge of every mesh point.

    rho(m) = sum_j q_j w(u_x - m_x) w(u_y - m_y) w(u_z - m_z),  u = position times mesh points per length.

    `position`: (N, 3); q_j -> `charge`: (N,). Returns (n_x, n_y, n_z), whose sum is the total charge.
    """
    cell, fraction = mesh_cells(position, _scale(box, parameters, position.dtype), parameters.mesh)
    return spread(cell, fraction, charge, parameters.mesh, parameters.order, parameters.spreading)


def fixed_charges(
    site_position: jax.Array, site_charge: jax.Array, box: Box, parameters: MeshParameters
) -> MeshCharges:
    """All that `long_range` needs to know of the fixed sites: (S, 3) positions and (S,) charges."""
    density = mesh_density(site_position, site_charge, box, parameters)
    return MeshCharges(
        density=density,
        potential=_convolve(density, parameters.influence),
        moments=ewald.slab_moments(site_position, site_charge),
    )


# --- the mesh sum and its derivatives ------------------------------------------------------------------------


def _own_energy(fraction: jax.Array, own: jax.Array, order: int) -> tuple[jax.Array, jax.Array]:
    """Spurious energy of unit charges in their own mesh (N,), and its derivative per mesh spacing (3, N)."""
    cosine, sine = ewald.cosine_sine(fraction)
    # The splines are centred half an order from the cell's corner: half a turn of the odd harmonic for odd p.
    sign = 1 - 2 * (order % 2)
    first, second = sign * own[1::2], own[2::2]
    first, second = (jnp.broadcast_to(c[:, None], fraction.shape) for c in (first, second))
    energy = own[0] / 2 + (first * cosine + second * (2 * cosine * cosine - 1)).sum(0)
    return energy, -2 * math.pi * sine * (first + 4 * second * cosine)


def _mesh_sum(
    static: tuple[tuple[int, int, int], int, str],
    fused: bool,
    position: jax.Array,
    charge: jax.Array,
    scale: jax.Array,
    influence: jax.Array,
    own: jax.Array,
    density: jax.Array,
    potential: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Energy (), forces (N, 3) and potential at the charges (N,), which is dU/dq."""
    mesh, order, spreading = static
    cell, fraction = mesh_cells(position, scale, mesh)
    mobile = spread(cell, fraction, charge, mesh, order, spreading)
    total = _convolve(mobile + density, influence)
    value, gradient = interpolate(cell, fraction, total, order, fused)
    # sum_m rho phi is sum_j q_j phi(r_j), which has fewer terms.
    energy = ((charge * value).sum() + jnp.vdot(mobile, potential, precision=jax.lax.Precision.HIGHEST)) / 2
    own_energy, own_gradient = _own_energy(fraction, own, order)
    square = charge * charge
    energy = energy - (square * own_energy).sum()
    value = value - 2 * charge * own_energy
    forces = (square[None, :] * own_gradient - charge[None, :] * gradient) * jnp.broadcast_to(
        scale[:, None], gradient.shape
    )
    return energy, forces.T, value


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _energy_forces(static: Any, *arguments: jax.Array) -> tuple[jax.Array, jax.Array]:
    energy, forces, _ = _mesh_sum(static, True, *arguments)
    return energy, forces


@functools.partial(_energy_forces.defjvp, symbolic_zeros=True)
def _energy_forces_jvp(static: Any, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The energy's derivatives are known: the transposed scatters of automatic ones cost ten times the sum."""
    energy, forces, value = _mesh_sum(static, True, *primals)
    change = jnp.zeros_like(energy)
    if not isinstance(tangents[0], SymbolicZero):
        change = change - (forces * tangents[0]).sum()
    if not isinstance(tangents[1], SymbolicZero):
        change = change + (value * tangents[1]).sum()
    # What else may vary (mesh of the sites, influence) goes by the rules of its operations.
    moving = [i for i in range(len(primals)) if not isinstance(tangents[i], SymbolicZero)]
    others = [i for i in moving if i > 1]

    def of(indices: list[int], component: int):
        def function(*values: jax.Array) -> jax.Array:
            arguments = list(primals)
            for i, v in zip(indices, values, strict=True):
                arguments[i] = v
            return _mesh_sum(static, False, *arguments)[component]

        return function

    if others:
        change = change + jax.jvp(of(others, 0), [primals[i] for i in others], [tangents[i] for i in others])[1]
    forces_change = jnp.zeros_like(forces)
    if moving:
        # Unused, and then not compiled, where only the energy is differentiated.
        forces_change = jax.jvp(of(moving, 1), [primals[i] for i in moving], [tangents[i] for i in moving])[1]
    return (energy, forces), (change, forces_change)


def reciprocal(
    position: jax.Array,
    charge: jax.Array,
    box: Box,
    parameters: MeshParameters,
    fixed: MeshCharges | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Energy and forces of the smooth part of the Coulomb interaction, by way of the mesh.

    U = (1/2) sum_m rho(m) [phi(m) + phi_f(m)] - sum_j q_j^2 e(r_j),  phi = FFT^-1[G FFT[rho + rho_f]],
    f_j = -grad_j U; e: the energy of a charge in its own mesh, less that in the exact sum.

    r_j -> `position`: (N, 3), in a slab not wrapped in z; q_j -> `charge`: (N,); G -> `parameters.influence`;
    rho_f, phi_f -> `fixed`: of `fixed_charges`, or None. Returns (energy, forces (N, 3)).

    Validity: approximates `ewald.reciprocal`, in a slab together with `ewald.slab_correction`, to the error
    of the mesh; contains the self-interaction that `ewald.self_energy` removes; of the sites among themselves
    nothing. The forces are minus the gradient of the energy to rounding; first derivatives of the energy in
    positions and charges cost no more than the forces. e(r) is kept to its second harmonic along each axis.
    Source: doi 10.1063/1.470117 (splines and their derivatives), doi 10.1021/ct2001792 (influence function),
    doi 10.1016/j.cpc.2011.01.026 (self-interaction).
    """
    if fixed is None:
        density = potential = jnp.zeros(parameters.mesh, position.dtype)
    else:
        density, potential = fixed.density.astype(position.dtype), fixed.potential.astype(position.dtype)
    return _energy_forces(
        (parameters.mesh, parameters.order, parameters.spreading),
        position,
        charge,
        _scale(box, parameters, position.dtype),
        parameters.influence.astype(position.dtype),
        parameters.own.astype(position.dtype),
        density,
        potential,
    )


def long_range(
    position: jax.Array,
    charge: jax.Array,
    box: Box,
    parameters: MeshParameters,
    fixed: MeshCharges | None = None,
) -> tuple[jax.Array, jax.Array]:
    """All of the Coulomb sum that is not a pair sum: mesh, self energy and, in bulk, the background.

    `position`: (N, 3) and `charge`: (N,) of the mobile charges; `fixed`: the sites, or None.
    Returns (energy, forces (N, 3)). To be added to a pair sum of q_i q_j `potentials.ewald_real`(r, alpha).
    """
    energy, forces = reciprocal(position, charge, box, parameters, fixed)
    energy = energy + ewald.self_energy(charge, parameters)
    if not parameters.slab:
        # A slab's kernel holds the plane average itself, a bulk box balances its net charge uniformly.
        energy = energy + ewald.background_energy(charge, box, parameters, None if fixed is None else fixed.moments[0])
    return energy, forces

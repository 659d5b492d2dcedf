"""The one evaluator of pair interactions: any u(r) over all pairs or over a neighbour list.

Rows are mobile particles; columns are the mobile particles followed by fixed sites. Every mobile-mobile pair
is met twice and counts half in the energy, a mobile-site pair is met once and counts fully, and pairs of two
fixed sites are left out. No derivative is asked of the potential: du/dr comes from forward differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dropsim_kernels.box import Box
from dropsim_kernels.neighbors import NeighborList

PairPotential = Callable[[jax.Array, Any, Any], jax.Array]


def pair_forces(
    u: PairPotential,
    position: jax.Array,
    site_position: jax.Array,
    row_parameters: Any,
    column_parameters: Any,
    neighbors: NeighborList | None,
    box: Box,
    cutoff: jax.Array | float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Energy, forces and virial of a pair potential.

    U = sum_{i<j} u(r_ij) + sum_{i,s} u(r_is),  f_i = -sum_j u'(r_ij) d_ij / r_ij,
    W = -sum_{pairs} r u'(r),  r = |d|, d the nearest image, pairs with r < cutoff.

    u -> `u(r, row, column)`: elementwise, gets (N, M) or (N, K) distances and the parameters of the two
    particles, shaped to broadcast with them; `position`: (N, 3) mobile; `site_position`: (S, 3), S may be 0;
    `row_parameters`, `column_parameters`: pytrees with leaves (N,) and, for [mobile; sites], (N + S,);
    `neighbors`: a list over columns [mobile; sites], or None for all N (N + S) pairs; `cutoff`: scalar.
    Returns (energy, forces (N, 3), virial), in the dtype of `position`.

    Errors: an overflowed list is not noticed here (look at `neighbors.overflow`); two particles at one place
    give a value that is not finite, on purpose. Validity: cutoff of at most half the shortest periodic
    length. The virial holds the pairs as counted in the energy, sites included. The energy may itself be
    differentiated. Cost on one AVX2 core in float32, Lennard-Jones and Ewald: 3 to 5 ns for each of
    N (N + S) pairs without a list, 4 to 5.5 ns for each of N K slots with one.
    """
    if neighbors is None:
        return _all_pairs(u, position, site_position, row_parameters, column_parameters, box, cutoff)
    return _listed_pairs(u, position, site_position, row_parameters, column_parameters, neighbors, box, cutoff)


def _evaluate(
    u: PairPotential,
    row: Any,
    column: Any,
    components: list[jax.Array],
    allowed: jax.Array,
    box: Box,
    cutoff: jax.Array | float,
) -> tuple[jax.Array, jax.Array, list[jax.Array]]:
    """u and -u'/r where pairs interact, zero elsewhere, and the nearest-image components."""
    dtype = components[0].dtype
    nearest = []
    for axis, component in enumerate(components):
        if box.periodic[axis]:
            length = jnp.asarray(box.lengths)[axis].astype(dtype)
            # A product with the reciprocal, formed once: a division for every pair costs a twentieth of the step.
            component = component - length * jnp.round(component * (1 / length))
        nearest.append(component)
    squared = nearest[0] * nearest[0] + nearest[1] * nearest[1] + nearest[2] * nearest[2]
    limit = jnp.asarray(cutoff).astype(dtype)
    interacts = allowed & (squared < limit * limit)
    # The argument is made safe before the root and the division: their derivatives at 0 are not finite.
    r = jnp.sqrt(jnp.where(interacts, squared, limit * limit))
    energy, slope = jax.jvp(lambda distance: u(distance, row, column), (r,), (jnp.ones_like(r),))
    return jnp.where(interacts, energy, 0), jnp.where(interacts, -slope / r, 0), nearest


def _row_sum(values: jax.Array, weights: jax.Array) -> jax.Array:
    # As a matrix-vector product: XLA does not vectorise a floating-point sum along the last axis on the CPU.
    return jnp.matmul(values, weights, precision=jax.lax.Precision.HIGHEST)


def _all_pairs(
    u: PairPotential,
    position: jax.Array,
    site_position: jax.Array,
    row_parameters: Any,
    column_parameters: Any,
    box: Box,
    cutoff: jax.Array | float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    n_mobile = position.shape[0]
    column_position = jnp.concatenate([position, site_position.astype(position.dtype)])
    n_columns = column_position.shape[0]
    components = [position[:, None, axis] - column_position[None, :, axis] for axis in range(3)]
    allowed = jnp.arange(n_mobile)[:, None] != jnp.arange(n_columns)[None, :]
    row = jax.tree.map(lambda leaf: leaf[:, None], row_parameters)
    column = jax.tree.map(lambda leaf: leaf[None, :], column_parameters)
    energy, strength, nearest = _evaluate(u, row, column, components, allowed, box, cutoff)

    ones = jnp.ones(n_columns, position.dtype)
    share = jnp.where(jnp.arange(n_columns) < n_mobile, 0.5, 1.0).astype(position.dtype)
    squared = nearest[0] * nearest[0] + nearest[1] * nearest[1] + nearest[2] * nearest[2]
    forces = jnp.stack([_row_sum(strength * component, ones) for component in nearest], axis=1)
    return _row_sum(energy, share).sum(), forces, _row_sum(strength * squared, share).sum()


def _listed_pairs(
    u: PairPotential,
    position: jax.Array,
    site_position: jax.Array,
    row_parameters: Any,
    column_parameters: Any,
    neighbors: NeighborList,
    box: Box,
    cutoff: jax.Array | float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    n_mobile = position.shape[0]
    index = neighbors.index
    column_position = jnp.concatenate([position, site_position.astype(position.dtype)])
    n_columns = column_position.shape[0]
    # Padded slots name one past the end; the last column stands in for it, and the mask drops what comes of it.
    present = jnp.minimum(index, n_columns - 1)

    def gather(values: jax.Array) -> jax.Array:
        # One array at a time: gathered rows have to be taken apart again, which costs more on the CPU.
        return values.at[present].get(mode="promise_in_bounds")

    gathered = [gather(column_position[:, axis]) for axis in range(3)]
    column = jax.tree.map(gather, column_parameters)
    components = [position[:, None, axis] - gathered[axis] for axis in range(3)]
    row = jax.tree.map(lambda leaf: leaf[:, None], row_parameters)
    energy, strength, nearest = _evaluate(u, row, column, components, index < n_columns, box, cutoff)

    ones = jnp.ones(index.shape[1], position.dtype)
    share = jnp.where(index < n_mobile, 0.5, 1.0).astype(position.dtype)
    squared = nearest[0] * nearest[0] + nearest[1] * nearest[1] + nearest[2] * nearest[2]
    forces = jnp.stack([_row_sum(strength * component, ones) for component in nearest], axis=1)
    energy_rows = _row_sum(energy * share, ones)
    return energy_rows.sum(), forces, _row_sum(strength * squared * share, ones).sum()

"""The one evaluator of pair interactions: any u(r) over all pairs or over a neighbour list.

Rows are mobile particles; columns are the mobile particles followed by fixed sites. Every mobile-mobile pair
is met twice and counts half in the energy, a mobile-site pair is met once and counts fully, and pairs of two
fixed sites are left out. No derivative is asked of the potential: du/dr comes from forward differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dropsim_kernels.box import Box
from dropsim_kernels.neighbors import ROWS_AT_ONCE, NeighborList

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
    N (N + S) pairs without a list, about as much for each of N K slots with one.
    """
    if neighbors is None:
        return _all_pairs(u, position, site_position, row_parameters, column_parameters, box, cutoff)
    return _listed_pairs(u, position, site_position, row_parameters, column_parameters, neighbors, box, cutoff)


def pair_laplacian(
    u: PairPotential,
    position: jax.Array,
    site_position: jax.Array,
    row_parameters: Any,
    column_parameters: Any,
    neighbors: NeighborList | None,
    box: Box,
    cutoff: jax.Array | float,
) -> jax.Array:
    """Laplacian of the pair energy in the coordinates of the mobile particles.

    sum_i nabla_i^2 U = sum_i sum_{j != i} [u''(r_ij) + 2 u'(r_ij)/r_ij], j over mobile particles and sites.

    Arguments as in `pair_forces`. Returns a scalar in the dtype of `position`; with <sum_i |f_i|^2> it gives the
    configurational temperature, k T = <sum_i |f_i|^2>/<sum_i nabla_i^2 U>.
    Validity: a potential or a slope that jumps at the cutoff adds a term there that is not counted; in float32 as
    precise as the second derivative of u, which comes from forward differentiation twice over.
    Source: Rugh, doi 10.1103/PhysRevLett.78.772; Butler et al., doi 10.1063/1.477301.
    """

    n_mobile, n_sites = position.shape[0], site_position.shape[0]
    # The energy counts a mobile pair once; here each of its two particles brings a term.
    terms = jnp.where(jnp.arange(n_mobile + n_sites) < n_mobile, 2.0, 1.0).astype(position.dtype)

    def curvature(r: jax.Array, row: Any, weighted: tuple[jax.Array, Any]) -> jax.Array:
        times, column = weighted

        def slope(distance: jax.Array) -> jax.Array:
            return jax.jvp(lambda d: u(d, row, column), (distance,), (jnp.ones_like(distance),))[1]

        first, second = jax.jvp(slope, (r,), (jnp.ones_like(r),))
        return times * (second + 2 * first / r)

    columns = (terms, column_parameters)
    return pair_forces(curvature, position, site_position, row_parameters, columns, neighbors, box, cutoff)[0]


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
    rows, order, place = neighbors.rows, neighbors.order, neighbors.place
    assert rows is not None
    assert order is not None
    assert place is not None
    n_mobile = position.shape[0]
    n_columns = order.shape[0]
    n_rows, capacity = neighbors.index.shape
    dtype = position.dtype

    def sorted_columns(values: jax.Array) -> jax.Array:
        return values.at[order].get(mode="promise_in_bounds")

    # In the order of the cells, what a row gathers lies close together.
    everything = jnp.concatenate([position, site_position.astype(dtype)])
    column_position = [sorted_columns(everything[:, axis]) for axis in range(3)]
    columns = jax.tree.map(sorted_columns, column_parameters)
    share = jnp.where(order < n_mobile, 0.5, 1.0).astype(dtype)

    def of_rows(
        index: jax.Array, which: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
        # Padded slots name one past the end; the last column stands in for it, and the mask drops what comes of it.
        present = jnp.minimum(index, n_columns - 1)

        def gather(values: jax.Array) -> jax.Array:
            # One array at a time: gathered rows have to be taken apart again, which costs more on the CPU.
            return values.at[present].get(mode="promise_in_bounds")

        components = [position[:, axis][which][:, None] - gather(column_position[axis]) for axis in range(3)]
        row = jax.tree.map(lambda leaf: leaf[which][:, None], row_parameters)
        column = jax.tree.map(gather, columns)
        energy, strength, nearest = _evaluate(u, row, column, components, index < n_columns, box, cutoff)
        counted = gather(share)
        squared = nearest[0] * nearest[0] + nearest[1] * nearest[1] + nearest[2] * nearest[2]
        ones = jnp.ones(capacity, dtype)
        x, y, z = (_row_sum(strength * component, ones) for component in nearest)
        return _row_sum(energy * counted, ones), (x, y, z), _row_sum(strength * squared * counted, ones)

    n_blocks = _blocks(n_rows)
    index = neighbors.index.reshape(n_blocks, -1, capacity)
    blocks = (index, rows.reshape(n_blocks, -1))
    if n_blocks == 1:
        energy, forces, virial = of_rows(blocks[0][0], blocks[1][0])
    else:
        energy, forces, virial = jax.tree.map(
            lambda leaf: leaf.reshape(n_rows), jax.lax.map(lambda given: of_rows(*given), blocks)
        )
    return energy.sum(), jnp.stack([component[place] for component in forces], axis=1), virial.sum()


def _blocks(n_rows: int) -> int:
    """Blocks in which rows are met, so that what is gathered for them stays in a cache, and in the memory."""
    n_blocks = max(1, math.ceil(n_rows / ROWS_AT_ONCE))
    return n_blocks if n_rows % n_blocks == 0 else 1

"""Charges to a mesh, and a mesh back to charges: the two costly moves of a particle-mesh sum.

Both treat the mesh as periodic. A charge in cell c touches the points c ... c + p - 1 along each axis, so the
whole mesh is displaced by p - 1 points against the charges; the displacement is the same both ways.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dropsim_kernels.electrostatics.splines import spline_weights

# Slots of a group, lateral edge of a brick in cells, and row length of a group's block along z. Rows of 16
# numbers are one AVX-512 register or two of AVX2; other sizes were slower (float32, Zen 4).
_SLOTS = 16
_EDGE = 4
_ROW = 16

SPREADING = ("auto", "bricks", "scatter")
"""Ways to spread charges: the two agree to rounding; `auto` takes the cheaper by the number of charges."""


def mesh_cells(position: jax.Array, scale: jax.Array, mesh: tuple[int, int, int]) -> tuple[jax.Array, jax.Array]:
    """Cell of each charge and its place in the cell.

    u = x scale, cell = floor(u) mod n, fraction = u - floor(u).

    x -> `position`: (N, 3), any image; `scale`: (3,), points per length; n -> `mesh`.
    Returns (cell (3, N) int32, fraction (3, N)).
    """
    points = (position * jnp.broadcast_to(scale, position.shape)).T
    floor = jnp.floor(points)
    size = jnp.broadcast_to(jnp.asarray(mesh, jnp.int32)[:, None], points.shape)
    # A tiny negative coordinate may round to a fraction of exactly 1: the weights are continuous there.
    return jnp.mod(floor.astype(jnp.int32), size), points - floor


def group_count(n_charges: int, mesh: tuple[int, int, int], order: int) -> int:
    """Groups that any distribution of the charges fits in: full ones, and at most one part-full per brick."""
    n_bricks = math.prod(_bricks(mesh, order))
    return n_charges // _SLOTS + min(n_bricks, n_charges)


def spread(
    cell: jax.Array, fraction: jax.Array, charge: jax.Array, mesh: tuple[int, int, int], order: int, spreading: str
) -> jax.Array:
    """Charge of every mesh point.

    rho(m) = sum_j q_j w(m_x) w(m_y) w(m_z).

    `cell`: (3, N) int32, `fraction`: (3, N), of `mesh_cells`; q_j -> `charge`: (N,); `mesh`, `order`: static;
    `spreading`: static, one of SPREADING. Returns (n_x, n_y, n_z), whose sum is the total charge.

    Validity: any distribution of the charges, also all in one cell. `scatter` adds one window of p^3 points
    after the other: 0.45 us each for p = 6 (float32, one core). `bricks` sorts the charges by bricks of cells,
    adds up 16 at a time densely and so writes 16 times fewer windows: 2.4 (p = 6) and 1.6 (p = 5) times
    faster for 30,000 charges on 48^3 and 54^3 points, slower where most bricks are empty.
    """
    n = charge.shape[0]
    if spreading == "auto":
        spreading = "bricks" if 3 * group_count(n, mesh, order) < n else "scatter"
    if spreading == "bricks" and n > 0:
        corner, block = _brick_blocks(cell, fraction, charge, mesh, order)
    else:
        weights = jnp.swapaxes(lax.optimization_barrier(spline_weights(fraction, order)[0]), 0, 2)
        x, y, z = weights[:, 0], weights[:, 1], weights[:, 2]
        block = (charge[:, None] * x)[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]
        corner = cell.T
    return _add_windows(corner, block, mesh, order)


def _edges(order: int) -> tuple[int, int, int]:
    return _EDGE, _EDGE, _ROW + 1 - order


def _bricks(mesh: tuple[int, int, int], order: int) -> tuple[int, int, int]:
    x, y, z = (-(-n // edge) for n, edge in zip(mesh, _edges(order), strict=True))
    return x, y, z


def _add_windows(corner: jax.Array, block: jax.Array, mesh: tuple[int, int, int], order: int) -> jax.Array:
    """Blocks (B, X, Y, Z) added up with their first points at `corner` (B, 3), and folded onto the mesh."""
    reach = [size - (order - 1) for size in block.shape[1:]]
    extended = [-(-n // edge) * edge + order - 1 for n, edge in zip(mesh, reach, strict=True)]
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2, 3), inserted_window_dims=(), scatter_dims_to_operand_dims=(0, 1, 2)
    )
    total = lax.scatter_add(
        jnp.zeros(extended, block.dtype), corner, block, numbers, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS
    )
    for axis, n in enumerate(mesh):
        inside = lax.slice_in_dim(total, 0, n, axis=axis)
        # Past n + p - 1 the last bricks are empty.
        beyond = lax.slice_in_dim(total, n, n + order - 1, axis=axis)
        padding = [(0, n - order + 1) if a == axis else (0, 0) for a in range(3)]
        total = inside + jnp.pad(beyond, padding)
    return total


def _sorted_groups(brick: jax.Array, n_bricks: int, n_groups: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Members (n_groups, slots) of each group, which slots are taken, and the brick of each group."""
    n = brick.shape[0]
    number = jnp.arange(n, dtype=jnp.int32)
    bits = max(1, (n - 1).bit_length())
    if n_bricks << bits < 2**31:
        # One integer that holds both sorts five times faster than a key with its value.
        packed = lax.sort((brick << bits) | number)
        order, in_order = packed & ((1 << bits) - 1), packed >> bits
    else:
        in_order, order = lax.sort((brick, number), num_keys=1, is_stable=False)
    start = jnp.searchsorted(in_order, jnp.arange(n_bricks + 1, dtype=jnp.int32)).astype(jnp.int32)
    groups = (start[1:] - start[:-1] + (_SLOTS - 1)) // _SLOTS
    first = (jnp.cumsum(groups) - groups).astype(jnp.int32)
    # Each brick with members writes its number where its groups begin; a running maximum fills the rest.
    marks = jnp.where(groups > 0, first, n_groups)
    owner = jnp.zeros(n_groups, jnp.int32).at[marks].max(jnp.arange(n_bricks, dtype=jnp.int32), mode="drop")
    owner = lax.cummax(owner)
    begin = start[owner] + (jnp.arange(n_groups, dtype=jnp.int32) - first[owner]) * _SLOTS
    place = begin[:, None] + jnp.arange(_SLOTS, dtype=jnp.int32)[None, :]
    taken = place < start[owner + 1][:, None]
    return order[jnp.minimum(place, n - 1)], taken, owner


def _brick_blocks(
    cell: jax.Array, fraction: jax.Array, charge: jax.Array, mesh: tuple[int, int, int], order: int
) -> tuple[jax.Array, jax.Array]:
    """First points (n_groups, 3) and charge blocks (n_groups, X, Y, Z) of groups of charges in one brick."""
    edges, bricks = _edges(order), _bricks(mesh, order)
    n_groups = group_count(charge.shape[0], mesh, order)
    at = [cell[axis] // edges[axis] for axis in range(3)]
    brick = (at[0] * bricks[1] + at[1]) * bricks[2] + at[2]
    member, taken, owner = lax.optimization_barrier(_sorted_groups(brick, math.prod(bricks), n_groups))
    member, taken = member.reshape(-1), taken.reshape(-1)
    weights, _ = spline_weights(fraction[:, member], order)
    shared = jnp.where(taken, charge[member], 0)
    one = jnp.ones_like(shared)
    weights = lax.optimization_barrier(weights * jnp.stack([one, one, shared])[None])
    rows = []
    for axis in range(3):
        # p weights set into a row as long as the block: comparisons, which vectorise, in place of a scatter.
        offset = (cell[axis] - at[axis] * edges[axis])[member]
        place = jnp.arange(edges[axis] + order - 1, dtype=jnp.int32)[None, :] - offset[:, None]
        row = jnp.zeros(place.shape, charge.dtype)
        for j in range(order):
            row = jnp.where(place == j, weights[j, axis][:, None], row)
        rows.append(row.reshape(n_groups, _SLOTS, -1))
    x, y, z = lax.optimization_barrier(tuple(rows))
    # Unrolled, so that it becomes one loop over the block with 16 multiply-adds of whole rows inside.
    block = jnp.zeros((), charge.dtype)
    for slot in range(_SLOTS):
        lateral = x[:, slot, :, None, None] * y[:, slot, None, :, None]
        block = block + lateral * z[:, slot, None, None, :]
    corner = [owner // (bricks[1] * bricks[2]), owner // bricks[2] % bricks[1], owner % bricks[2]]
    return jnp.stack([c * edge for c, edge in zip(corner, edges, strict=True)], axis=1), block


def interpolate(
    cell: jax.Array, fraction: jax.Array, values: jax.Array, order: int, fused: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Value and gradient of a mesh function at each charge.

    v_j = sum_m w(m_x) w(m_y) w(m_z) v(m), and the same with each weight in turn replaced by its derivative.

    `cell`: (3, N) int32, `fraction`: (3, N), of `mesh_cells`; v -> `values`: (n_x, n_y, n_z); `order`, `fused`:
    static. Returns (value (N,), gradient (3, N) per mesh spacing).

    Validity: exactly the transpose of `spread`. `fused` sums value and z derivative in one pass over the mesh
    points, two to five times faster, but has no transposable derivative: False where one is needed.
    """
    n = fraction.shape[1]
    padded = values
    for axis in range(3):
        padded = jnp.concatenate([padded, lax.slice_in_dim(padded, 0, order - 1, axis=axis)], axis=axis)
    numbers = lax.GatherDimensionNumbers(offset_dims=(1, 2, 3), collapsed_slice_dims=(), start_index_map=(0, 1, 2))
    window = lax.gather(padded, cell.T, numbers, (order,) * 3, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)
    # Without the barrier the recursion would be repeated for each of the p^3 points.
    weights, slopes = lax.optimization_barrier(spline_weights(fraction, order))
    w_x, w_y, w_z = (weights[:, axis].T for axis in range(3))
    d_x, d_y, d_z = (slopes[:, axis].T for axis in range(3))
    with_value, with_slope = window * w_z[:, None, None, :], window * d_z[:, None, None, :]
    if fused:
        zero = np.zeros((), values.dtype)
        along_z, along_dz = lax.reduce(
            (with_value, with_slope), (zero, zero), lambda a, b: (a[0] + b[0], a[1] + b[1]), (3,)
        )
    else:
        along_z, along_dz = with_value.sum(3), with_slope.sum(3)
    assert along_z.shape == (n, order, order)
    along_y = (along_z * w_y[:, None, :]).sum(2)
    gradient = [
        (d_x * along_y).sum(1),
        (w_x * (along_z * d_y[:, None, :]).sum(2)).sum(1),
        (w_x * (along_dz * w_y[:, None, :]).sum(2)).sum(1),
    ]
    return (w_x * along_y).sum(1), jnp.stack(gradient)

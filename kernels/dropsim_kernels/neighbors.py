"""Fixed-capacity neighbour lists of mobile particles among mobile particles and fixed sites."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from dropsim_kernels.box import Box, minimum_image


@dataclass(frozen=True)
class NeighborSettings:
    """Capacities and grid of a neighbour list: hashable, a static argument of compiled functions.

    cutoff: interaction range; skin: extra range, so that a list lasts until a particle has moved skin/2;
    capacity: neighbours that a row can hold; cells: grid of the cell list, or None to test all pairs;
    cell_capacity: particles that a cell can hold (unused without a grid).
    """

    cutoff: float
    skin: float
    capacity: int
    cells: tuple[int, int, int] | None
    cell_capacity: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NeighborList:
    """A full list: every mobile particle names all its neighbours.

    index: (N_mobile, K) int32, columns of the concatenation [mobile; sites], ascending, padded with
    N_mobile + N_sites; reference_position: (N_mobile, 3), where it was built; overflow: bool scalar, some
    capacity was too small, and the list must not be used.
    """

    index: jax.Array
    reference_position: jax.Array
    overflow: jax.Array


def _round_up(value: float, multiple: int) -> int:
    return max(multiple, math.ceil(value / multiple) * multiple)


def allocate(
    position: jax.Array | np.ndarray,
    site_position: jax.Array | np.ndarray,
    box: Box,
    cutoff: float,
    skin: float,
    headroom: float = 1.25,
) -> NeighborSettings:
    """Capacities for a neighbour list, from a configuration like those to come; on the host.

    K = headroom x the largest number of neighbours within cutoff + skin, rounded up to a multiple of 8.

    `position`: (N, 3), `site_position`: (S, 3), lengths; `cutoff`: > 0 and `skin`: >= 0, lengths;
    `headroom`: >= 1. Returns `NeighborSettings`. The cell grid is left out, and all pairs tested, where a
    periodic axis holds fewer than three cells or 27 cells cover more than 60 % of the box.

    Raises ValueError for a cutoff that is not positive, a negative skin, headroom below 1, or a cutoff beyond
    half of the shortest periodic length, where nearest images no longer suffice.
    """
    if not cutoff > 0 or skin < 0 or headroom < 1:
        raise ValueError(f"need cutoff > 0, skin >= 0 and headroom >= 1; got {cutoff=}, {skin=}, {headroom=}")
    lengths = np.asarray(box.lengths, float)
    reach = cutoff + skin
    shortest = min((length for length, p in zip(lengths, box.periodic, strict=True) if p), default=math.inf)
    # float32 lengths may round below: the tolerance is theirs.
    if cutoff > shortest / 2 * (1 + 1e-6):
        raise ValueError(f"cutoff {cutoff} exceeds half the shortest periodic length, {shortest / 2:.6g}")
    mobile = np.asarray(position, float)
    everything = np.concatenate([mobile, np.asarray(site_position, float).reshape(-1, 3)])
    largest = _largest_row(mobile, everything, lengths, box.periodic, reach)
    capacity = min(_round_up(headroom * largest, 8), _round_up(len(everything), 8))
    cells = _cell_grid(lengths, box.periodic, reach)
    if cells is None:
        return NeighborSettings(float(cutoff), float(skin), capacity, None, 0)
    cell = np.floor(everything / lengths * cells).astype(int)
    for axis in range(3):
        cell[:, axis] = (
            cell[:, axis] % cells[axis] if box.periodic[axis] else np.clip(cell[:, axis], 0, cells[axis] - 1)
        )
    occupation = np.bincount(np.ravel_multi_index(tuple(cell.T), cells))
    return NeighborSettings(float(cutoff), float(skin), capacity, cells, _round_up(headroom * occupation.max(), 4))


def regrow(settings: NeighborSettings) -> NeighborSettings:
    """The same settings with capacities half as large again, for a list that overflowed."""
    return replace(
        settings,
        capacity=_round_up(1.5 * settings.capacity, 8),
        cell_capacity=_round_up(1.5 * settings.cell_capacity, 4) if settings.cells is not None else 0,
    )


def list_pays(n_mobile: int, n_sites: int, box: Box, reach: float) -> bool:
    """Whether a list is likely to beat the evaluation of all pairs on a CPU.

    f = min(1, (4/3) pi reach^3 / V) is the fraction of pairs within reach; a list pays for f < 0.4 and more than
    200 particles. Measured per pair (float32, one core): 3 to 5 ns for all pairs, 4 to 5.5 ns for a slot of
    a list, to which come a quarter of padding and the rebuilding. `reach`: cutoff + skin, length.
    Validity: particles spread over the box; those of a condensed droplet have more neighbours than that.
    """
    volume = float(np.prod(np.asarray(box.lengths, float)))
    fraction = min(1.0, (4 / 3) * math.pi * reach**3 / volume)
    return n_mobile + n_sites > 200 and fraction < 0.4


def _largest_row(
    mobile: np.ndarray,
    everything: np.ndarray,
    lengths: np.ndarray,
    periodic: tuple[bool, bool, bool],
    reach: float,
) -> int:
    largest = 0
    periods = np.where(periodic, lengths, np.inf)
    finite = np.where(periodic, lengths, 0.0)
    for start in range(0, len(mobile), 256):  # in blocks: the memory of all pairs may not be there
        block = mobile[start : start + 256, None, :] - everything[None, :, :]
        block -= finite * np.round(block / periods)
        counts = ((block**2).sum(-1) < reach**2).sum(1) - 1  # each particle finds itself
        largest = max(largest, int(counts.max(initial=0)))
    return largest


def _cell_grid(lengths: np.ndarray, periodic: tuple[bool, bool, bool], reach: float) -> tuple[int, int, int] | None:
    # Cells a little wider than the reach, so that rounding at a cell face cannot lose a pair.
    n_x, n_y, n_z = (max(1, math.floor(length / (reach * 1.001))) for length in lengths)
    cells = (n_x, n_y, n_z)
    if any(p and n < 3 for p, n in zip(periodic, cells, strict=True)):
        return None
    searched = math.prod(min(3, n) / n for n in cells)
    return None if searched > 0.6 else cells


def build(position: jax.Array, site_position: jax.Array, box: Box, settings: NeighborSettings) -> NeighborList:
    """Neighbour list of the mobile particles at their present positions; traced.

    Row i holds, in ascending order, every column j != i of [mobile; sites] with |d_ij| < cutoff + skin.

    `position`: (N, 3), `site_position`: (S, 3), same dtype; `settings`: static, from `allocate`.
    Returns a `NeighborList` with index (N, K).

    Errors: `overflow` is set where a row has more than K neighbours, a cell more particles than its
    capacity (remedy for both: `regrow`), or the cells have become narrower than the range because the box is
    not the allocated one (remedy: `allocate`). Validity: mobile positions may lie outside the box.
    Cost: N (N + S) without cells, 27 N cell_capacity with them, and a sort of the rows.
    """
    n_mobile = position.shape[0]
    everything = jnp.concatenate([position, site_position.astype(position.dtype)])
    n_columns = everything.shape[0]
    if settings.cells is None:
        candidates = jnp.broadcast_to(jnp.arange(n_columns, dtype=jnp.int32), (n_mobile, n_columns))
        overflow = jnp.zeros((), bool)
    else:
        candidates, overflow = _cell_candidates(everything, n_mobile, box, settings)
    near = _within_reach(position, everything, candidates, box, settings.cutoff + settings.skin)
    near = near & (candidates < n_columns) & (candidates != jnp.arange(n_mobile, dtype=jnp.int32)[:, None])
    index, row_overflow = _compact(candidates, near, settings.capacity, n_columns)
    return NeighborList(
        index=index if settings.cells is None else jnp.sort(index, axis=1),
        reference_position=position,
        overflow=overflow | row_overflow,
    )


def needs_rebuild(neighbors: NeighborList, position: jax.Array, box: Box, settings: NeighborSettings) -> jax.Array:
    """Whether some particle has moved by more than skin/2 since the list was built; bool scalar.

    Two particles may approach by twice the largest move, so until then no pair within the cutoff is missing.
    `position`: (N, 3), wrapped or not.
    """
    moved = minimum_image(position - neighbors.reference_position, box)
    return ((moved * moved).sum(-1) > (settings.skin / 2) ** 2).any()


def _within_reach(
    position: jax.Array, everything: jax.Array, candidates: jax.Array, box: Box, reach: float
) -> jax.Array:
    other = everything.at[candidates].get(mode="clip")
    displacement = minimum_image(position[:, None, :] - other, box)
    return (displacement * displacement).sum(-1) < reach * reach


def _compact(candidates: jax.Array, near: jax.Array, capacity: int, pad: int) -> tuple[jax.Array, jax.Array]:
    """The first `capacity` candidates of each row that are near, in their order, padded."""
    running = jnp.cumsum(near, axis=1, dtype=jnp.int32)
    wanted = jnp.arange(1, capacity + 1, dtype=jnp.int32)
    # The k-th near candidate stands where the running count first reaches k: a search instead of a scatter.
    place = jax.vmap(lambda row: jnp.searchsorted(row, wanted, side="left"))(running)
    found = jnp.take_along_axis(candidates, place, axis=1, mode="clip")
    counts = running[:, -1]
    index = jnp.where(wanted[None, :] <= counts[:, None], found, pad)
    return index.astype(jnp.int32), (counts > capacity).any()


def _cell_candidates(
    everything: jax.Array, n_mobile: int, box: Box, settings: NeighborSettings
) -> tuple[jax.Array, jax.Array]:
    """Columns in the 27 cells around each mobile particle, padded with the number of columns."""
    assert settings.cells is not None
    cells = settings.cells
    n_columns = everything.shape[0]
    n_cells = math.prod(cells)
    lengths = jnp.asarray(box.lengths).astype(everything.dtype)
    cell = []
    for axis, n in enumerate(cells):
        place = jnp.floor(everything[:, axis] / lengths[axis] * n).astype(jnp.int32)
        # Beyond a wall the last cell takes all: clipping never moves two particles further apart.
        cell.append(place % n if box.periodic[axis] else jnp.clip(place, 0, n - 1))
    number = (cell[0] * cells[1] + cell[1]) * cells[2] + cell[2]

    order = jnp.argsort(number).astype(jnp.int32)
    bounds = jnp.searchsorted(number[order], jnp.arange(n_cells + 1, dtype=jnp.int32), side="left")
    bounds = bounds.astype(jnp.int32)
    start, count = bounds[:-1], bounds[1:] - bounds[:-1]
    slot = jnp.arange(settings.cell_capacity, dtype=jnp.int32)
    members = order.at[start[:, None] + slot[None, :]].get(mode="clip")
    members = jnp.where(slot[None, :] < count[:, None], members, n_columns)
    # One more cell, empty, stands for what lies beyond a wall.
    members = jnp.concatenate([members, jnp.full((1, settings.cell_capacity), n_columns, jnp.int32)])

    around = []
    for offset in itertools.product((-1, 0, 1), repeat=3):
        places, inside = [], jnp.ones(n_mobile, bool)
        for axis, n in enumerate(cells):
            place = cell[axis][:n_mobile] + offset[axis]
            if box.periodic[axis]:
                place = place % n
            else:
                inside = inside & (place >= 0) & (place < n)
            places.append(place)
        neighbor = (places[0] * cells[1] + places[1]) * cells[2] + places[2]
        around.append(jnp.where(inside, neighbor, n_cells))
    candidates = members[jnp.stack(around, axis=1)].reshape(n_mobile, 27 * settings.cell_capacity)
    # A single cell between walls needs no width: it holds every particle.
    single = jnp.asarray([n == 1 and not p for n, p in zip(cells, box.periodic, strict=True)])
    narrow_axes = lengths / jnp.asarray(cells, lengths.dtype) < settings.cutoff + settings.skin
    too_narrow = (narrow_axes & ~single).any()
    return candidates, (count.max() > settings.cell_capacity) | too_narrow

"""Fixed-capacity neighbour lists of mobile particles among mobile particles and fixed sites.

Columns are sorted into runs: cells along z that follow each other in memory. A row tests the few runs around it,
keeps one bit for each column it tested, and reads its neighbours off those bits. Nothing is scattered, so the
work is that of the distances, and rows and columns of the list are near each other in memory as they are in space.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dropsim_kernels.box import Box, minimum_image

# Cells to each side that cover the range: fine along z, where a run can start at any cell, coarse along x, where
# every cell is another run.
_SPAN = (1, 2, 4)
_WORD = 32
ROWS_AT_ONCE = 4096
_ROWS_COUNTED = 16384


@dataclass(frozen=True)
class NeighborSettings:
    """Capacities and grid of a neighbour list: hashable, a static argument of compiled functions.

    cutoff: interaction range; skin: extra range, so that a list lasts until a particle has moved skin/2;
    capacity: neighbours that a row can hold; cells: grid of the cell list, or None to test all pairs;
    cell_capacity: columns that a run of cells along z can hold (unused without a grid).
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

    index: (R, K) int32, R >= N_mobile rows in the order of the cells, R - N_mobile of them empty at the end: places
    of the neighbours in `order`, padded with N_mobile + N_sites; reference_position: (N_mobile, 3), where it was
    built, in the particles' own order; overflow: bool scalar, some capacity was too small, and the list must not be
    used; order: (N_mobile + N_sites,) int32, columns of [mobile; sites] in the order of the cells; rows: (R,) int32,
    the mobile particle of each row; place: (N_mobile,) int32, the row of each mobile particle.
    The last three are None in a list that is never read.
    """

    index: jax.Array
    reference_position: jax.Array
    overflow: jax.Array
    order: jax.Array | None = None
    rows: jax.Array | None = None
    place: jax.Array | None = None


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
    `headroom`: >= 1. Returns `NeighborSettings`. The cell grid is left out, and all pairs tested, where the range
    covers the box.

    Raises ValueError for a cutoff that is not positive, a negative skin, headroom below 1, or a cutoff beyond
    half of the shortest periodic length, where nearest images no longer suffice.
    Validity: beyond 16384 particles only those with the most columns around them are counted, so the largest
    number is an estimate. Cost: N log N, two seconds for 10^6 particles.
    """
    if not cutoff > 0 or skin < 0 or headroom < 1:
        raise ValueError(f"need cutoff > 0, skin >= 0 and headroom >= 1; got {cutoff=}, {skin=}, {headroom=}")
    lengths = np.asarray(box.lengths, float)
    reach = float(cutoff + skin)
    shortest = min((length for length, p in zip(lengths, box.periodic, strict=True) if p), default=math.inf)
    # float32 lengths may round below: the tolerance is theirs.
    if cutoff > shortest / 2 * (1 + 1e-6):
        raise ValueError(f"cutoff {cutoff} exceeds half the shortest periodic length, {shortest / 2:.6g}")
    mobile = np.asarray(position, float)
    everything = np.concatenate([mobile, np.asarray(site_position, float).reshape(-1, 3)])
    n_columns = len(everything)
    cells = _cell_grid(lengths, box.periodic, reach, n_columns)
    largest, longest = _largest_counts(everything, len(mobile), lengths, box.periodic, cells or (1, 1, 1), reach)
    capacity = min(_round_up(headroom * largest, 8), _round_up(n_columns, 8))
    run_capacity = 0 if cells is None else min(_round_up(headroom * longest, 8), _round_up(n_columns, 8))
    return NeighborSettings(float(cutoff), float(skin), capacity, cells, run_capacity)


def regrow(settings: NeighborSettings) -> NeighborSettings:
    """The same settings with capacities half as large again, for a list that overflowed."""
    return replace(
        settings,
        capacity=_round_up(1.5 * settings.capacity, 8),
        cell_capacity=_round_up(1.5 * settings.cell_capacity, 8) if settings.cells is not None else 0,
    )


def grown(neighbors: NeighborList, settings: NeighborSettings) -> NeighborList:
    """The same list in rows of the capacity that `settings` gives, which must be no smaller: the same pairs.

    Errors: ValueError where the new rows are narrower than the old ones.
    """
    more = settings.capacity - neighbors.index.shape[1]
    if more < 0 or neighbors.order is None:
        raise ValueError(f"rows of {neighbors.index.shape[1]} cannot be brought to {settings.capacity}")
    index = jnp.pad(neighbors.index, ((0, 0), (0, more)), constant_values=neighbors.order.shape[0])
    return replace(neighbors, index=index)


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


def _cell_grid(
    lengths: np.ndarray, periodic: tuple[bool, bool, bool], reach: float, n_columns: int
) -> tuple[int, int, int] | None:
    coarser = 1.0
    while True:
        grid = []
        for length, wraps, span in zip(lengths, periodic, _SPAN, strict=True):
            # A little wider than the range asks for, so that rounding at a cell face cannot lose a pair.
            n = max(1, math.floor(span * length / (coarser * reach * 1.001)))
            # A periodic axis that the cells around a particle cover is one cell, which holds each column once.
            grid.append(1 if wraps and n < 2 * span + 1 else n)
        if math.prod(grid) <= 8 * n_columns + 1024:
            break
        coarser *= 1.2
    n_x, n_y, n_z = grid
    return None if math.prod(grid) == 1 else (n_x, n_y, n_z)


def _offsets(cells: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Steps in x and y from a cell to the runs around it."""
    to_x, to_y = (min(span, n - 1) for n, span in zip(cells[:2], _SPAN[:2], strict=True))
    return list(itertools.product(range(-to_x, to_x + 1), range(-to_y, to_y + 1)))


def _ghosts(cells: tuple[int, int, int], periodic: tuple[bool, bool, bool]) -> int:
    """Cells repeated beyond each end of a periodic z axis, so that a run never has to turn around."""
    return _SPAN[2] if periodic[2] and cells[2] > 1 else 0


def _largest_counts(
    everything: np.ndarray,
    n_mobile: int,
    lengths: np.ndarray,
    periodic: tuple[bool, bool, bool],
    cells: tuple[int, int, int],
    reach: float,
) -> tuple[int, int]:
    """The largest number of neighbours of a mobile particle, and of columns in a run."""
    n_x, n_y, n_z = cells
    ghosts = _ghosts(cells, periodic)
    cell = np.floor(everything / lengths * cells).astype(np.int64)
    for axis in range(3):
        cell[:, axis] = cell[:, axis] % cells[axis] if periodic[axis] else np.clip(cell[:, axis], 0, cells[axis] - 1)
    deep = n_z + 2 * ghosts
    base = (cell[:, 0] * n_y + cell[:, 1]) * deep
    key, column = base + cell[:, 2] + ghosts, np.arange(len(everything))
    if ghosts:
        low, high = np.nonzero(cell[:, 2] < ghosts)[0], np.nonzero(cell[:, 2] >= n_z - ghosts)[0]
        key = np.concatenate([key, key[low] + n_z, key[high] - n_z])
        column = np.concatenate([column, low, high])
    order = np.argsort(key, kind="stable")
    column = column[order]
    start = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=n_x * n_y * deep))])

    depth = np.arange(n_z) + ghosts
    low, high = np.maximum(depth - _SPAN[2], 0), np.minimum(depth + _SPAN[2], deep - 1)
    pillar = np.arange(n_x * n_y)[:, None] * deep
    first = start[pillar + low].reshape(n_x, n_y, n_z)
    length = start[pillar + high + 1].reshape(n_x, n_y, n_z) - first
    longest = int(length.max(initial=0))

    row = cell[:n_mobile]
    runs, lengths_of_runs = [], []
    for step_x, step_y in _offsets(cells):
        x, y = row[:, 0] + step_x, row[:, 1] + step_y
        inside = np.ones(n_mobile, bool)
        if not periodic[0]:
            inside &= (x >= 0) & (x < n_x)
        if not periodic[1]:
            inside &= (y >= 0) & (y < n_y)
        at = (x % n_x, y % n_y, row[:, 2])
        runs.append(first[at])
        lengths_of_runs.append(np.where(inside, length[at], 0))
    around = np.sum(lengths_of_runs, axis=0)
    # Where there are too many particles to count for, those with the fullest surroundings stand for all.
    chosen = np.arange(n_mobile)
    if n_mobile > _ROWS_COUNTED:
        chosen = np.argpartition(around, n_mobile - _ROWS_COUNTED)[n_mobile - _ROWS_COUNTED :]
    first_of = np.stack(runs, axis=1)[chosen]
    length_of = np.stack(lengths_of_runs, axis=1)[chosen]
    finite = np.where(periodic, lengths, 0.0)
    periods = np.where(periodic, lengths, np.inf)
    columns = everything[column]
    largest = 0
    step = max(1, 2_000_000 // (first_of.shape[1] * max(1, longest)))
    slot = np.arange(longest)
    for begin in range(0, len(chosen), step):  # in blocks: the memory of all candidates may not be there
        place = first_of[begin : begin + step, :, None] + slot
        present = slot < length_of[begin : begin + step, :, None]
        apart = columns[np.minimum(place, len(columns) - 1)] - everything[chosen[begin : begin + step], None, None]
        apart -= finite * np.round(apart / periods)
        near = present & (np.einsum("...i,...i->...", apart, apart) < reach**2)
        largest = max(largest, int(near.sum(axis=(1, 2)).max(initial=1)) - 1)  # each particle finds itself
    return largest, longest


class _Runs(NamedTuple):
    """Columns in the order of the cells, ghosts included, and where the cells begin among them.

    coordinates: three of (E,); column: (E,) int32, place in the order without
    ghosts; itself: (N,) int32, where each row finds its own particle; start: (cells + 1,) int32; cell: the three
    cell numbers of each row.
    """

    coordinates: tuple[jax.Array, jax.Array, jax.Array]
    column: jax.Array | None
    itself: jax.Array
    start: jax.Array
    cell: tuple[jax.Array, jax.Array, jax.Array]


def build(position: jax.Array, site_position: jax.Array, box: Box, settings: NeighborSettings) -> NeighborList:
    """Neighbour list of the mobile particles at their present positions; traced.

    The row of particle i holds every column j != i of [mobile; sites] with |d_ij| < cutoff + skin, in an order that
    the grid alone fixes: capacities do not change it.

    `position`: (N, 3), `site_position`: (S, 3), same dtype; `settings`: static, from `allocate`.
    Returns a `NeighborList` with index (R, K), R >= N.

    Errors: `overflow` is set where a row has more than K neighbours, a run more columns than its
    capacity (remedy for both: `regrow`), or the cells have become narrower than the range because the box is
    not the allocated one (remedy: `allocate`). Validity: mobile positions may lie outside the box.
    Cost: 15 N cell_capacity distances with cells, N (N + S) without; memory 4 K + 75 bytes for each particle, list
    included, and 10 MB.
    """
    n_mobile = position.shape[0]
    everything = jnp.concatenate([position, site_position.astype(position.dtype)])
    n_columns = everything.shape[0]
    cells = settings.cells or (1, 1, 1)
    run_capacity = n_columns if settings.cells is None else settings.cell_capacity
    cell, number = _cells_of(everything, box, cells)
    order = _sorting(number)
    rows = order if n_columns == n_mobile else _sorting(number[:n_mobile])
    place = jnp.zeros_like(rows).at[rows].set(jnp.arange(n_mobile, dtype=jnp.int32), unique_indices=True)
    runs = _make_runs(everything, cell, number, order, rows, box, cells)

    n_blocks = max(1, math.ceil(n_mobile / ROWS_AT_ONCE))
    size = math.ceil(n_mobile / n_blocks)
    padding = n_blocks * size - n_mobile
    padded_rows = jnp.pad(rows, (0, padding), constant_values=max(n_mobile - 1, 0))
    real = jnp.arange(n_blocks * size) < n_mobile

    def block(given: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        which, slot, present = given
        return _block_rows(position[which], slot, present, runs, n_columns, box, settings, cells, run_capacity)

    row_number = jnp.minimum(jnp.arange(n_blocks * size, dtype=jnp.int32), max(n_mobile - 1, 0))
    given = jax.tree.map(lambda leaf: leaf.reshape(n_blocks, size), (padded_rows, row_number, real))
    if n_mobile == 0:
        index, too_many = jnp.zeros((0, settings.capacity), jnp.int32), jnp.zeros((), bool)
    elif n_blocks == 1:
        index, too_many = block(jax.tree.map(lambda leaf: leaf[0], given))
    else:
        index, too_many = jax.lax.map(block, given)
        index = index.reshape(n_blocks * size, settings.capacity)
    lengths = jnp.asarray(box.lengths).astype(position.dtype)
    narrow = [
        span * lengths[axis] / n < settings.cutoff + settings.skin
        for axis, (n, span) in enumerate(zip(cells, _SPAN, strict=True))
        if n > 1
    ]
    overflow = too_many.any() | (jnp.stack(narrow).any() if narrow else False)
    return NeighborList(index, position, overflow, order, padded_rows, place)


def needs_rebuild(neighbors: NeighborList, position: jax.Array, box: Box, settings: NeighborSettings) -> jax.Array:
    """Whether some particle has moved by more than skin/2 since the list was built; bool scalar.

    Two particles may approach by twice the largest move, so until then no pair within the cutoff is missing.
    `position`: (N, 3), wrapped or not.
    """
    moved = minimum_image(position - neighbors.reference_position, box)
    return ((moved * moved).sum(-1) > (settings.skin / 2) ** 2).any()


def _cells_of(
    everything: jax.Array, box: Box, cells: tuple[int, int, int]
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Cell along each axis, and the number of the cell."""
    lengths = jnp.asarray(box.lengths).astype(everything.dtype)
    cell = []
    for axis, n in enumerate(cells):
        place = jnp.floor(everything[:, axis] / lengths[axis] * n).astype(jnp.int32)
        # Beyond a wall the last cell takes all: clipping never moves two particles further apart.
        cell.append(place % n if box.periodic[axis] else jnp.clip(place, 0, n - 1))
    x, y, z = cell
    return (x, y, z), (x * cells[1] + y) * cells[2] + z


def _sorting(number: jax.Array) -> jax.Array:
    here = jnp.arange(number.shape[0], dtype=jnp.int32)
    return jax.lax.sort((number, here), num_keys=1, is_stable=True)[1]


def _make_runs(
    everything: jax.Array,
    cell: tuple[jax.Array, jax.Array, jax.Array],
    number: jax.Array,
    order: jax.Array,
    rows: jax.Array,
    box: Box,
    cells: tuple[int, int, int],
) -> _Runs:
    n_columns, n_rows = everything.shape[0], rows.shape[0]
    n_cells = math.prod(cells)
    x, y, z = cell
    row_cell = (x[rows], y[rows], z[rows])
    here = jnp.arange(n_columns, dtype=jnp.int32)
    inverse = jnp.zeros_like(order).at[order].set(here, unique_indices=True)
    itself = inverse[rows] if n_rows != n_columns else here
    edges = jnp.arange(n_cells + 1, dtype=jnp.int32)
    start = jnp.searchsorted(number[order], edges, side="left").astype(jnp.int32)
    ghosts = _ghosts(cells, box.periodic)
    column = None
    source = order
    if ghosts:
        n_z = cells[2]
        pillars = cells[0] * cells[1]
        deep = n_z + 2 * ghosts
        count = (start[1:] - start[:-1]).reshape(pillars, n_z)
        count = jnp.concatenate([count[:, -ghosts:], count, count[:, :ghosts]], axis=1).reshape(-1)
        start_deep = jnp.concatenate([jnp.zeros((1,), jnp.int32), jnp.cumsum(count, dtype=jnp.int32)])
        sorted_number, sorted_z = number[order], z[order]
        within = here - start[sorted_number]
        deep_number = sorted_number // n_z * deep + sorted_z + ghosts
        shift = jnp.where(sorted_z < ghosts, n_z, jnp.where(sorted_z >= n_z - ghosts, -n_z, 0))
        main = start_deep[deep_number] + within
        # A column far from both ends has no ghost: its place is beyond the end, and dropped.
        ghost = jnp.where(shift != 0, start_deep[deep_number + shift] + within, 2 * n_columns + here)
        column = jnp.zeros((2 * n_columns,), jnp.int32)
        column = column.at[main].set(here, unique_indices=True)
        column = column.at[ghost].set(here, mode="drop", unique_indices=True)
        source, start, itself = order[column], start_deep, main[itself]
    sorted_x, sorted_y, sorted_z = (everything[:, axis][source] for axis in range(3))
    return _Runs((sorted_x, sorted_y, sorted_z), column, itself, start, row_cell)


def _block_rows(
    position: jax.Array,
    slot: jax.Array,
    present: jax.Array,
    runs: _Runs,
    n_columns: int,
    box: Box,
    settings: NeighborSettings,
    cells: tuple[int, int, int],
    run_capacity: int,
) -> tuple[jax.Array, jax.Array]:
    """Rows of the list for some of the mobile particles: (B, K) int32, and whether something did not fit."""
    n_x, n_y, n_z = cells
    ghosts = _ghosts(cells, box.periodic)
    deep = n_z + 2 * ghosts
    x, y, z = (runs.cell[axis][slot] for axis in range(3))
    first, count = [], []
    for step_x, step_y in _offsets(cells):
        to_x, to_y = x + step_x, y + step_y
        inside = present
        if not box.periodic[0]:
            inside = inside & (to_x >= 0) & (to_x < n_x)
        if not box.periodic[1]:
            inside = inside & (to_y >= 0) & (to_y < n_y)
        pillar = (to_x % n_x * n_y + to_y % n_y) * deep + z + ghosts
        low = pillar - (_SPAN[2] if ghosts else jnp.minimum(z, _SPAN[2]))
        high = pillar + (_SPAN[2] if ghosts else jnp.minimum(n_z - 1 - z, _SPAN[2]))
        begin = runs.start[low]
        first.append(begin)
        count.append(jnp.where(inside, runs.start[high + 1] - begin, 0))
    begin, length = jnp.stack(first), jnp.stack(count)
    n_runs = begin.shape[0]
    # Bit `run * parts + part` of word w stands for column w of that part of that run: what is tested together lies
    # side by side in memory, in whole vectors.
    parts = _WORD // n_runs
    n_words = _round_up(run_capacity / parts, 8)
    word = _near_words(position, begin, length, runs.itself[slot], runs.coordinates, box, settings, parts, n_words)

    held = jax.lax.population_count(word).astype(jnp.int32)
    # A product with a triangle of ones: the quickest running sum of short rows, exact for such small integers.
    triangle = jnp.triu(jnp.ones((n_words, n_words), jnp.float32))
    running = jnp.matmul(held.astype(jnp.float32), triangle, precision=jax.lax.Precision.HIGHEST).astype(jnp.int32)
    total = running[:, -1]
    wanted = jnp.arange(settings.capacity, dtype=jnp.int32)
    method = "compare_all" if n_words <= 64 else "scan"
    at = jax.vmap(lambda row: jnp.searchsorted(row, wanted, side="right", method=method))(running)
    at = jnp.minimum(at.astype(jnp.int32), n_words - 1)

    def take(values: jax.Array, which: jax.Array) -> jax.Array:
        return jnp.take_along_axis(values, which, axis=1, mode="promise_in_bounds")

    bit = _set_bit(take(word, at), wanted[None, :] - take(running - held, at))
    run = jnp.minimum(bit // parts, n_runs - 1)
    found = take(begin.T, run) + (bit - run * parts) * n_words + at
    if runs.column is not None:
        found = runs.column.at[found].get(mode="clip")
    index = jnp.where(wanted[None, :] < total[:, None], found, n_columns)
    too_many = (total > settings.capacity).any() | (length > run_capacity).any()
    return index, too_many


def _near_words(
    position: jax.Array,
    begin: jax.Array,
    length: jax.Array,
    itself: jax.Array,
    coordinates: tuple[jax.Array, jax.Array, jax.Array],
    box: Box,
    settings: NeighborSettings,
    parts: int,
    n_words: int,
) -> jax.Array:
    """Which columns of the runs that begin at `begin` (runs, B) are neighbours: (B, n_words) uint32."""
    along = jnp.arange(n_words, dtype=jnp.int32)[None, :]
    lengths = jnp.asarray(box.lengths).astype(position.dtype)
    reach = settings.cutoff + settings.skin
    # Past the end, so that the last run can be read to its full length.
    padded = [jnp.pad(values, (0, parts * n_words)) for values in coordinates]

    def window(values: jax.Array, place: jax.Array) -> jax.Array:
        # One start for each row, then element after element: loads of whole vectors, a tenth of the time of a gather.
        return jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(values, start, n_words))(place)

    def tested(bit: jax.Array, word: jax.Array) -> jax.Array:
        run, part = bit // parts, bit % parts
        place = begin[run] + part * n_words
        left = length[run] - part * n_words
        squared = jnp.zeros((), position.dtype)
        for axis in range(3):
            apart = position[:, axis, None] - window(padded[axis], place)
            if box.periodic[axis]:
                apart = apart - lengths[axis] * jnp.round(apart * (1 / lengths[axis]))
            squared = squared + apart * apart
        near = (squared < reach * reach) & (along < left[:, None]) & (along != (itself - place)[:, None])
        return word | (near.astype(jnp.uint32) << bit.astype(jnp.uint32))

    # A loop, not 32 terms in one expression: those take seconds to compile.
    word = jnp.zeros((position.shape[0], n_words), jnp.uint32)
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(begin.shape[0] * parts), tested, word)


def _set_bit(word: jax.Array, rank: jax.Array) -> jax.Array:
    """Where the set bit of this rank (0: the lowest) stands in a word of 32: halves, quarters, ... by their counts."""

    def half(step: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        word, rank, place = carry
        width = jnp.int32(_WORD // 2) >> step
        low = word & ((jnp.uint32(1) << width.astype(jnp.uint32)) - jnp.uint32(1))
        below = jax.lax.population_count(low).astype(jnp.int32)
        upper = rank >= below
        word = jnp.where(upper, word >> width.astype(jnp.uint32), low)
        return word, jnp.where(upper, rank - below, rank), jnp.where(upper, place + width, place)

    # A loop keeps the gathers that made `word` out of its expression, which the compiler then vectorises.
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(5), half, (word, rank, jnp.zeros_like(rank)))[2]

"""Which beads touch which: fixed-capacity tables of contacts, found in cells.

Columns are sorted into cells, and cells that follow each other along z are a run in memory. A row tests the runs
around it, keeps one bit for each column it tested, and reads its contacts off those bits. Tables are (K, R), one
column of the array for each row bead, because they are read one slot after the other.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dropsim_kernels.box import Box, minimum_image

_WORD = 32
_CELLS_PER_BEAD = 8


@dataclass(frozen=True)
class ContactSettings:
    """Grid and capacities of the contact tables: hashable, a static argument of compiled programs.

    sulfur_cells, li_cells: cells along x, y, z; sulfur_run, li_run: beads that a run of three cells can hold;
    sulfur_capacity: sulfur beads in contact with one; li_capacity: sulfur beads that one Li+ can bind;
    centre_capacity: sulfur beads that one centre can touch. Only for a table of the graph's edges (0: none is
    made): edge_capacity, edges of one bead; bound_capacity, Li+ that one sulfur bead can bind.
    """

    sulfur_cells: tuple[int, int, int]
    sulfur_run: int
    sulfur_capacity: int
    li_capacity: int
    centre_capacity: int
    li_cells: tuple[int, int, int] = (1, 1, 1)
    li_run: int = 0
    edge_capacity: int = 0
    bound_capacity: int = 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Contacts:
    """The tables of one configuration; an empty place holds the number of columns.

    direct: (K, S) int32, sulfur beads nearer than the contact distance, itself left out; bridges: (K, L) int32,
    sulfur beads that each Li+ binds; touching: (K, C) int32, sulfur beads at each centre; edges: (E, S) int32,
    each sulfur bead that touches a bead directly or through a Li+, once (None where no capacity was given);
    overflow: () bool, some capacity was too small and the tables must not be used.
    """

    direct: Array
    bridges: Array
    touching: Array
    edges: Array | None
    overflow: Array


def allocate_contacts(
    sulfur_position: Array | np.ndarray,
    li_position: Array | np.ndarray,
    mo_position: Array | np.ndarray,
    box: Box,
    sulfur_contact: float,
    li_bridge: float,
    mo_contact: float,
    with_edges: bool = False,
    headroom: float = 1.5,
) -> ContactSettings:
    """Capacities of the contact tables, from a configuration like those to come; on the host.

    sulfur_position: (S, 3), li_position: (L, 3), mo_position: (C, 3), distances: nm; with_edges: whether the edges
    of the graph are asked for one by one (hopping, energies of neighbours); headroom: >= 1, over the largest numbers
    found. Raises ValueError for distances that are not positive or beyond half the shortest periodic length.
    """
    distances = (sulfur_contact, li_bridge, mo_contact)
    lengths = np.asarray(box.lengths, float)
    shortest = min((length for length, p in zip(lengths, box.periodic, strict=True) if p), default=math.inf)
    # A Li+ binds beads up to twice its own distance apart. float32 lengths may round below: the tolerance is theirs.
    if min(distances) <= 0 or max(*distances, 2 * li_bridge) > shortest / 2 * (1 + 1e-6):
        raise ValueError(f"contact distances {distances} nm must be > 0, and within half of {shortest:.6g} nm")
    if headroom < 1:
        raise ValueError(f"headroom must be at least 1, not {headroom}")
    sulfur, li, mo = (np.asarray(p, np.float32).reshape(-1, 3) for p in (sulfur_position, li_position, mo_position))
    box = Box(jnp.asarray(lengths, jnp.float32), box.periodic)

    def room(count: float, beads: np.ndarray) -> int:
        return _round_up(min(headroom * count, max(len(beads), 1)), 8)

    def most(rows: np.ndarray, columns: np.ndarray, reach: float, cells: tuple[int, int, int], run: int) -> int:
        if not len(rows) or not len(columns):
            return 0
        return int(_most_contacts(jnp.asarray(rows), jnp.asarray(columns), box, cells, reach, run, rows is columns))

    reach = max(sulfur_contact, li_bridge, mo_contact, 2 * li_bridge if with_edges else 0.0)
    cells = _cell_grid(lengths, box.periodic, reach, len(sulfur))
    run = _run_capacity(headroom * _longest_run(sulfur, lengths, box.periodic, cells), len(sulfur))
    settings = ContactSettings(
        cells,
        run,
        room(most(sulfur, sulfur, sulfur_contact, cells, run), sulfur),
        room(most(li, sulfur, li_bridge, cells, run), sulfur),
        room(most(mo, sulfur, mo_contact, cells, run), sulfur),
    )
    if not with_edges:
        return settings
    li_cells = _cell_grid(lengths, box.periodic, li_bridge, len(li))
    li_run = _run_capacity(headroom * _longest_run(li, lengths, box.periodic, li_cells), len(li))
    wide = max(sulfur_contact, 2 * li_bridge)
    return replace(
        settings,
        li_cells=li_cells,
        li_run=li_run,
        edge_capacity=room(most(sulfur, sulfur, wide, cells, run), sulfur),
        bound_capacity=room(most(sulfur, li, li_bridge, li_cells, li_run), li),
    )


def regrow_contacts(settings: ContactSettings) -> ContactSettings:
    """The same grid with capacities twice as large, for tables that overflowed."""

    def doubled(run: int) -> int:
        return 2 * run if run <= 16 or run % _WORD == 0 else 2 * _WORD

    return replace(
        settings,
        sulfur_run=doubled(settings.sulfur_run),
        sulfur_capacity=2 * settings.sulfur_capacity,
        li_capacity=2 * settings.li_capacity,
        centre_capacity=2 * settings.centre_capacity,
        li_run=doubled(settings.li_run),
        edge_capacity=2 * settings.edge_capacity,
        bound_capacity=2 * settings.bound_capacity,
    )


def find_contacts(
    sulfur_position: Array,
    li_position: Array,
    li_present: Array,
    mo_position: Array,
    box: Box,
    sulfur_contact: Array,
    li_bridge: Array,
    mo_contact: Array,
    settings: ContactSettings,
) -> Contacts:
    """All contacts of a configuration; traced.

    sulfur_position: (S, 3), li_position: (L, 3), mo_position: (C, 3), nm, any image; li_present: (L,) bool, whether
    a Li+ is there at all; distances: () nm. A contact is nearer than its distance. Returns `Contacts`, with
    `overflow` set where a capacity is too small (remedy: `regrow_contacts`) or the cells have become narrower than
    a contact because the box is not the allocated one (remedy: `allocate_contacts`).
    """
    n_sulfur = sulfur_position.shape[0]
    grid = _sort_into_cells(sulfur_position, box, settings.sulfur_cells)

    def table(rows: Array, reach: Array, capacity: int, same: bool = False) -> tuple[Array, Array]:
        return _table(rows, grid, box, settings.sulfur_cells, reach, settings.sulfur_run, capacity, same)

    direct, many_direct = table(sulfur_position, sulfur_contact, settings.sulfur_capacity, same=True)
    bridges, many_bridges = table(li_position, li_bridge, settings.li_capacity)
    bridges = jnp.where(li_present[None, :], bridges, n_sulfur)
    touching, many_touching = table(mo_position, mo_contact, settings.centre_capacity)
    overflow = many_direct | many_bridges | many_touching
    if not settings.edge_capacity:
        return Contacts(direct, bridges, touching, None, overflow)

    wide = jnp.maximum(sulfur_contact, 2 * li_bridge)
    near, many_near = table(sulfur_position, wide, settings.edge_capacity, same=True)
    li_grid = _sort_into_cells(li_position, box, settings.li_cells)
    bound, many_bound = _table(
        sulfur_position, li_grid, box, settings.li_cells, li_bridge, settings.li_run, settings.bound_capacity, False
    )
    edges = _edges(sulfur_position, near, bound, li_present, box, sulfur_contact)
    return Contacts(direct, bridges, touching, edges, overflow | many_near | many_bound)


def _edges(
    sulfur_position: Array, near: Array, bound: Array, li_present: Array, box: Box, sulfur_contact: Array
) -> Array:
    """Of the near beads (E, S) those that touch, or that bind a Li+ in common with the bead; the others emptied."""
    n_sulfur, n_li = sulfur_position.shape[0], li_present.shape[0]
    there = jnp.concatenate([li_present, jnp.zeros((1,), bool)])
    # Beside an empty place of the other bead, minus one and minus two are never equal.
    mine = jnp.where(there[bound], bound, -1) if n_li else jnp.full_like(bound, -1)
    theirs = jnp.pad(jnp.where(mine < 0, -2, mine), ((0, 0), (0, 1)), constant_values=-2)
    padded = jnp.pad(sulfur_position, ((0, 1), (0, 0)))

    def one(_: None, other: Array) -> tuple[None, Array]:
        apart = minimum_image(padded[other] - sulfur_position, box)
        touches = jnp.sum(apart * apart, axis=1) < sulfur_contact * sulfur_contact
        shared = jnp.any(mine[:, None, :] == theirs[:, other][None, :, :], axis=(0, 1))
        return None, jnp.where((touches | shared) & (other < n_sulfur), other, n_sulfur)

    return jax.lax.scan(one, None, near)[1]


@partial(jax.jit, static_argnames=("cells", "run_capacity", "same"))
def _most_contacts(
    rows: Array, columns: Array, box: Box, cells: tuple[int, int, int], reach: float, run_capacity: int, same: bool
) -> Array:
    grid = _sort_into_cells(columns, box, cells)
    word, _, _ = _near_words(rows, grid, box, cells, jnp.asarray(reach, rows.dtype), run_capacity, same)
    return jnp.max(jnp.sum(jax.lax.population_count(word), axis=0, dtype=jnp.uint32))


class _Grid(NamedTuple):
    """Columns in the order of the cells: coordinates, three of (N,); column: (N,) int32; start: (cells + 1,)."""

    coordinates: tuple[Array, Array, Array]
    column: Array
    start: Array


def _round_up(value: float, multiple: int) -> int:
    return max(multiple, math.ceil(value / multiple) * multiple)


def _run_capacity(value: float, n_columns: int) -> int:
    value = min(value, max(n_columns, 1))
    return _round_up(value, 8 if value <= _WORD else _WORD)


def _cell_grid(
    lengths: np.ndarray, periodic: tuple[bool, bool, bool], reach: float, n_columns: int
) -> tuple[int, int, int]:
    wider = 1.0
    while True:
        grid = []
        for length, wraps in zip(lengths, periodic, strict=True):
            # A little wider than the reach, so that rounding at a cell face cannot lose a contact.
            n = max(1, math.floor(length / (wider * reach * 1.001)))
            # A periodic axis that the cells around a row cover is one cell, which holds each column once.
            grid.append(1 if wraps and n < 3 else n)
        n_x, n_y, n_z = grid
        if n_x * n_y * n_z <= _CELLS_PER_BEAD * n_columns + 64:
            return n_x, n_y, n_z
        wider *= 1.1


def _cells_of(position: Array, box: Box, cells: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    lengths = jnp.asarray(box.lengths).astype(position.dtype)
    x, y, z = (
        # Beyond a wall the last cell takes all: clipping never moves two beads further apart.
        place % n if wraps else jnp.clip(place, 0, n - 1)
        for n, wraps, place in zip(
            cells,
            box.periodic,
            (jnp.floor(position[:, a] / lengths[a] * cells[a]).astype(jnp.int32) for a in range(3)),
            strict=True,
        )
    )
    return x, y, z


def _longest_run(
    position: np.ndarray, lengths: np.ndarray, periodic: tuple[bool, bool, bool], cells: tuple[int, int, int]
) -> int:
    cell = np.floor(position / lengths * cells).astype(np.int64)
    for axis, (n, wraps) in enumerate(zip(cells, periodic, strict=True)):
        cell[:, axis] = cell[:, axis] % n if wraps else np.clip(cell[:, axis], 0, n - 1)
    count = np.bincount(np.ravel_multi_index(tuple(cell.T), cells), minlength=math.prod(cells)).reshape(cells)
    padded = np.pad(count, ((0, 0), (0, 0), (1, 1)))
    return int((padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]).max(initial=0))


def _sort_into_cells(position: Array, box: Box, cells: tuple[int, int, int]) -> _Grid:
    n_columns, n_cells = position.shape[0], math.prod(cells)
    x, y, z = _cells_of(position, box, cells)
    number = (x * cells[1] + y) * cells[2] + z
    here = jnp.arange(n_columns, dtype=jnp.int32)
    if n_cells * max(n_columns, 1) < 2**32:
        # Cell and column in one word: a sort of one array takes a sixth of the time of a sort of pairs.
        width = jnp.uint32(max(n_columns, 1))
        word = jax.lax.sort(number.astype(jnp.uint32) * width + here.astype(jnp.uint32), is_stable=False)
        column = (word % width).astype(jnp.int32)
    else:
        column = jax.lax.sort((number, here), num_keys=1, is_stable=True)[1]
    count = jnp.zeros((n_cells + 1,), jnp.int32).at[number + 1].add(1)
    sorted_x, sorted_y, sorted_z = (position[:, axis][column] for axis in range(3))
    return _Grid((sorted_x, sorted_y, sorted_z), column, jnp.cumsum(count, dtype=jnp.int32))


def _runs_around(rows: Array, grid: _Grid, box: Box, cells: tuple[int, int, int]) -> tuple[Array, Array]:
    """Where the runs around each row begin, and how many columns they hold: two of (runs, R) int32."""
    n_x, n_y, n_z = cells
    x, y, z = _cells_of(rows, box, cells)
    steps = np.array(list(itertools.product(*(range(-1, 2) if n > 1 else (0,) for n in (n_x, n_y)))), np.int32)
    to_x, to_y = (x[None, :] + steps[:, :1], y[None, :] + steps[:, 1:])
    inside = jnp.ones(to_x.shape, bool)
    if not box.periodic[0]:
        inside = inside & (to_x >= 0) & (to_x < n_x)
    if not box.periodic[1]:
        inside = inside & (to_y >= 0) & (to_y < n_y)
    pillar = (to_x % n_x * n_y + to_y % n_y) * n_z
    low, high = jnp.maximum(z - 1, 0)[None, :], jnp.minimum(z + 1, n_z - 1)[None, :]
    begin = grid.start[pillar + low]
    count = jnp.where(inside, grid.start[pillar + high + 1] - begin, 0)
    if box.periodic[2] and n_z > 1:
        # At either end of a periodic axis the cell of the other end is a run of its own.
        end = ((z == 0) | (z == n_z - 1))[None, :]
        other = pillar + jnp.where(z == 0, n_z - 1, 0)[None, :]
        begin = jnp.concatenate([begin, grid.start[other]])
        count = jnp.concatenate([count, jnp.where(inside & end, grid.start[other + 1] - grid.start[other], 0)])
    return begin, count


def _near_words(
    rows: Array, grid: _Grid, box: Box, cells: tuple[int, int, int], reach: Array, run_capacity: int, same: bool
) -> tuple[Array, Array, Array]:
    """Bits of the columns nearer than `reach`, (words, R) uint32, the place of each word's lowest bit, and whether
    some run was longer than its capacity.

    same: rows and columns are the same beads, and none is its own contact.
    """
    parts = math.ceil(run_capacity / _WORD)
    width = min(run_capacity, _WORD)
    begin, count = _runs_around(rows, grid, box, cells)
    n_rows = rows.shape[0]
    place = (begin[:, None, :] + _WORD * jnp.arange(parts, dtype=jnp.int32)[None, :, None]).reshape(-1, n_rows)
    left = (count[:, None, :] - _WORD * jnp.arange(parts, dtype=jnp.int32)[None, :, None]).reshape(-1, n_rows)
    itself = jnp.full((n_rows,), -1, jnp.int32)
    if same:
        here = jnp.arange(n_rows, dtype=jnp.int32)
        itself = itself.at[grid.column].set(here, unique_indices=True)
    lengths = jnp.asarray(box.lengths).astype(rows.dtype)
    along = jnp.arange(width, dtype=jnp.int32)
    # Past the end, so that the last run can be read to its full length.
    padded = [jnp.pad(values, (0, parts * _WORD)) for values in grid.coordinates]

    def window(values: Array, first: Array) -> Array:
        # One start for each row, then element after element: loads of whole vectors instead of a gather.
        return jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(values, start, width))(first)

    def tested(number: Array, word: Array) -> Array:
        squared = jnp.zeros((), rows.dtype)
        for axis in range(3):
            apart = rows[:, axis, None] - window(padded[axis], place[number])
            if box.periodic[axis]:
                apart = apart - lengths[axis] * jnp.round(apart * (1 / lengths[axis]))
            squared = squared + apart * apart
        near = (squared < reach * reach) & (along[None, :] < left[number][:, None])
        near = near & (along[None, :] != (itself - place[number])[:, None])
        bits = near.astype(jnp.uint32) << along.astype(jnp.uint32)[None, :]
        return word.at[number].set(jnp.sum(bits, axis=1, dtype=jnp.uint32))

    word = jnp.zeros(place.shape, jnp.uint32)
    return (
        jax.lax.fori_loop(jnp.int32(0), jnp.int32(place.shape[0]), tested, word),
        place,
        jnp.any(count > run_capacity),
    )


def _table(
    rows: Array,
    grid: _Grid,
    box: Box,
    cells: tuple[int, int, int],
    reach: Array,
    run_capacity: int,
    capacity: int,
    same: bool,
) -> tuple[Array, Array]:
    """Contacts of the rows among the columns, (capacity, R) int32, and whether something did not fit."""
    n_rows, n_columns = rows.shape[0], grid.column.shape[0]
    if not n_rows or not n_columns:
        return jnp.full((capacity, n_rows), n_columns, jnp.int32), jnp.zeros((), bool)
    word, place, long = _near_words(rows, grid, box, cells, reach, run_capacity, same)
    n_words = word.shape[0]
    held = jnp.sum(jax.lax.population_count(word), axis=0, dtype=jnp.uint32)
    lengths = jnp.asarray(box.lengths).astype(rows.dtype)
    narrow = [
        # Where wrapped neighbours or walls leave out cells, each cell must cover the reach.
        lengths[axis] / n < reach
        for axis, n in enumerate(cells)
        if n > 1
    ]
    overflow = jnp.any(held > capacity) | long
    if narrow:
        overflow = overflow | jnp.any(jnp.stack(narrow))

    # A chain through the words that are not empty, then one lowest bit after the other.
    number = jnp.arange(n_words, dtype=jnp.int32)[:, None]
    following = jax.lax.cummin(jnp.where(word != 0, number, n_words), axis=0, reverse=True)
    chain = jnp.pad(following, ((0, 1), (0, 0)), constant_values=n_words).reshape(-1)
    words = jnp.pad(word, ((0, 1), (0, 0))).reshape(-1)
    places = jnp.pad(place, ((0, 1), (0, 0))).reshape(-1)
    columns = jnp.pad(grid.column, (0, n_words + _WORD), constant_values=n_columns)
    row = jnp.arange(n_rows, dtype=jnp.int32)

    def take(values: Array, number: Array) -> Array:
        return values.at[number * n_rows + row].get(mode="promise_in_bounds")

    def lowest(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        current, number = carry
        low = current & (~current + jnp.uint32(1))
        bit = jax.lax.population_count(low - jnp.uint32(1)).astype(jnp.int32)
        found = columns.at[jnp.where(current != 0, take(places, number) + bit, n_columns)].get(mode="clip")
        current = current ^ low
        empty = current == 0
        number = jnp.where(empty, take(chain, jnp.minimum(number + 1, n_words)), number)
        return (jnp.where(empty, take(words, number), current), number), found

    first = chain[:n_rows]
    return jax.lax.scan(lowest, (take(words, first), first), None, length=capacity)[1], overflow

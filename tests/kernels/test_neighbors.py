"""Neighbour lists against a naive double loop, in narrow boxes, at walls, and when capacities run out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.neighbors import NeighborSettings, allocate, list_pays, needs_rebuild, regrow
from dropsim_kernels.neighbors import build as build_traced

build = jax.jit(build_traced, static_argnums=3)


def scene(lengths, periodic, n, n_sites, seed=0, dtype=jnp.float64, margin=0.2):
    """Random mobile particles, some of them outside the box on every side, and sites near z = 0."""
    rng = np.random.default_rng(seed)
    position = (rng.random((n, 3)) * (1 + 2 * margin) - margin) * np.asarray(lengths)
    sites = rng.random((n_sites, 3)) * np.asarray(lengths) * np.array([1, 1, 0.05])
    box = Box(jnp.asarray(lengths, dtype), periodic)
    return jnp.asarray(position, dtype), jnp.asarray(sites, dtype), box


def naive_rows(position, sites, box, reach):
    lengths = np.asarray(box.lengths, float)
    everything = np.concatenate([np.asarray(position, float), np.asarray(sites, float)])
    rows = []
    for i, x in enumerate(np.asarray(position, float)):
        d = everything - x
        for axis in range(3):
            if box.periodic[axis]:
                d[:, axis] -= lengths[axis] * np.round(d[:, axis] / lengths[axis])
        rows.append([j for j in np.nonzero((d**2).sum(1) < reach**2)[0] if j != i])
    return rows


def rows_of(neighbors):
    """Neighbours of each mobile particle in ascending order of their columns, the padding checked and left out."""
    order, index = np.asarray(neighbors.order), np.asarray(neighbors.index)
    n = len(neighbors.place)
    assert sorted(order.tolist()) == list(range(len(order)))
    assert np.asarray(neighbors.rows)[np.asarray(neighbors.place)].tolist() == list(range(n))
    found = []
    for row in index[np.asarray(neighbors.place)]:
        filled = int((row < len(order)).sum())
        assert (row[filled:] == len(order)).all()
        found.append(sorted(order[row[:filled]].tolist()))
    assert (index[n:] == len(order)).all()
    return found


SCENES = {
    "all pairs": ((4.0, 4.0, 3.0), (True, True, False), 60, 20, 1.5, 0.2),
    "three cells wide": ((3.6, 3.7, 9.0), (True, True, False), 150, 40, 1.0, 0.15),
    "periodic in z": ((7.0, 6.0, 8.0), (True, True, True), 200, 0, 0.9, 0.2),
    "one cell in z": ((9.0, 8.0, 0.9), (True, True, False), 120, 10, 1.0, 0.2),
    "two cells across x": ((2.4, 6.0, 5.0), (True, True, False), 90, 10, 1.0, 0.1),
    "range covers a periodic z": ((5.0, 6.0, 2.2), (True, True, True), 90, 0, 0.9, 0.2),
    "no period": ((5.0, 6.0, 7.0), (False, False, False), 150, 10, 0.8, 0.1),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", SCENES)
def test_rows_are_the_naive_ones(name, dtype):
    lengths, periodic, n, n_sites, cutoff, skin = SCENES[name]
    position, sites, box = scene(lengths, periodic, n, n_sites, dtype=dtype)
    settings = allocate(position, sites, box, cutoff, skin)
    neighbors = build(position, sites, box, settings)
    assert not bool(neighbors.overflow)
    assert neighbors.index.shape == (n, settings.capacity)
    assert neighbors.index.dtype == jnp.int32
    assert rows_of(neighbors) == naive_rows(position, sites, box, cutoff + skin)


def test_a_dense_droplet_in_a_dilute_box():
    rng = np.random.default_rng(2)
    position = np.concatenate([rng.normal(6.0, 0.5, (150, 3)), rng.random((100, 3)) * 12.0])
    box = Box(jnp.full(3, 12.0), (True, True, True))
    position, nothing = jnp.asarray(position), jnp.zeros((0, 3))
    settings = allocate(position, nothing, box, 0.8, 0.2)
    neighbors = build(position, nothing, box, settings)
    assert not bool(neighbors.overflow)
    assert rows_of(neighbors) == naive_rows(position, nothing, box, 1.0)


def test_rows_in_several_blocks():
    """More rows than are built at once, and not a multiple of the blocks."""
    position, sites, box = scene((16.0, 15.0, 9.0), (True, True, True), 4097, 50, margin=0.0, dtype=jnp.float32)
    settings = allocate(position, sites, box, 0.8, 0.2)
    neighbors = build(position, sites, box, settings)
    assert not bool(neighbors.overflow)
    assert neighbors.index.shape[0] > 4097
    inside = naive_rows(position, sites, box, 1.0 - 1e-6)
    nearly = naive_rows(position, sites, box, 1.0 + 1e-6)
    for row, least, most in zip(rows_of(neighbors), inside, nearly, strict=True):
        assert set(least) <= set(row) <= set(most)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_particles_on_the_faces_of_cells_and_of_the_box(dtype):
    """A lattice with the spacing of the cells, a rounding beside their faces: no pair below the range is lost."""
    n_x, n_y, n_z = 6, 12, 24
    lengths = np.array([6.0, 6.0, 6.0]) * 1.1012
    rng = np.random.default_rng(3)
    place = np.stack([rng.integers(0, n, 300) / n for n in (n_x, n_y, n_z)], axis=1) * lengths
    place = place * (1 + rng.choice([-3e-7, 0.0, 3e-7], place.shape)) + rng.choice([0.0, -1e-9], place.shape)
    box = Box(jnp.asarray(lengths, dtype), (True, True, True))
    position, nothing = jnp.asarray(place, dtype), jnp.zeros((0, 3), dtype)
    settings = allocate(position, nothing, box, 1.0, 0.1)
    assert settings.cells == (n_x, n_y, n_z)
    neighbors = build(position, nothing, box, settings)
    assert not bool(neighbors.overflow)
    inside = naive_rows(position, nothing, box, 1.1 * (1 - 2e-6))
    nearly = naive_rows(position, nothing, box, 1.1 * (1 + 2e-6))
    for row, least, most in zip(rows_of(neighbors), inside, nearly, strict=True):
        assert set(least) <= set(row) <= set(most)


def test_cells_and_all_pairs_give_the_same_list():
    position, sites, box = scene((7.0, 6.0, 8.0), (True, True, False), 200, 30)
    settings = allocate(position, sites, box, 0.9, 0.2)
    assert settings.cells is not None
    plain = dataclasses.replace(settings, cells=None, cell_capacity=0)
    assert rows_of(build(position, sites, box, settings)) == rows_of(build(position, sites, box, plain))


@pytest.mark.parametrize("field", ["capacity", "cell_capacity"])
def test_overflow_is_flagged_and_regrowing_mends_it(field):
    position, sites, box = scene((7.0, 6.0, 8.0), (True, True, False), 300, 30, margin=0.0)
    enough = allocate(position, sites, box, 0.9, 0.2, headroom=1.0)
    settings = dataclasses.replace(enough, **{field: getattr(enough, field) // 2})
    neighbors = build(position, sites, box, settings)
    assert bool(neighbors.overflow)
    for _ in range(3):
        if bool(neighbors.overflow):
            settings = regrow(settings)
            neighbors = build(position, sites, box, settings)
    assert not bool(neighbors.overflow)
    assert rows_of(neighbors) == naive_rows(position, sites, box, 1.1)


def test_a_smaller_box_than_the_allocated_one_is_flagged():
    position, sites, box = scene((7.0, 6.0, 8.0), (True, True, False), 100, 0, margin=0.0)
    settings = allocate(position, sites, box, 0.9, 0.2)
    shrunk = Box(box.lengths * 0.7, box.periodic)
    generous = dataclasses.replace(settings, capacity=104, cell_capacity=104)
    assert bool(build(position * 0.7, sites, shrunk, generous).overflow)
    assert not bool(build(position, sites, box, generous).overflow)


def test_rebuild_is_asked_for_past_half_the_skin_and_not_by_a_wrap():
    position, sites, box = scene((4.0, 4.0, 3.0), (True, True, False), 20, 0, margin=0.0)
    settings = allocate(position, sites, box, 1.0, 0.4)
    neighbors = build(position, sites, box, settings)
    step = jnp.zeros_like(position).at[3].set(jnp.asarray([0.0, 0.0, 1.0]))
    assert not bool(needs_rebuild(neighbors, position + 0.199 * step, box, settings))
    assert bool(needs_rebuild(neighbors, position + 0.201 * step, box, settings))
    turned = position + jnp.zeros_like(position).at[:, 0].set(4.0)
    assert not bool(needs_rebuild(neighbors, turned, box, settings))


def test_list_stays_complete_until_it_asks_for_a_rebuild():
    position, sites, box = scene((5.0, 5.0, 6.0), (True, True, False), 150, 30, margin=0.0)
    settings = allocate(position, sites, box, 1.0, 0.4)
    neighbors = build(position, sites, box, settings)
    rng = np.random.default_rng(5)
    direction = rng.normal(size=position.shape)
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    moved = position + 0.1999 * jnp.asarray(direction)
    assert not bool(needs_rebuild(neighbors, moved, box, settings))
    for row, needed in zip(rows_of(neighbors), naive_rows(moved, sites, box, 1.0), strict=True):
        assert set(needed) <= set(row)


def test_replicas_under_vmap_get_their_own_lists():
    scenes = [scene((7.0, 6.0, 8.0), (True, True, False), 120, 0, seed=s, margin=0.0) for s in range(3)]
    box, sites = scenes[0][2], scenes[0][1]
    largest = [allocate(p, sites, box, 0.9, 0.2) for p, _, _ in scenes]
    settings = dataclasses.replace(
        largest[0],
        capacity=max(s.capacity for s in largest),
        cell_capacity=max(s.cell_capacity for s in largest),
    )
    together = jax.vmap(lambda p: build(p, sites, box, settings))(jnp.stack([p for p, _, _ in scenes]))
    for replica, (position, _, _) in enumerate(scenes):
        np.testing.assert_array_equal(together.index[replica], build(position, sites, box, settings).index)


def test_settings_are_hashable_and_rounded():
    position, sites, box = scene((7.0, 6.0, 8.0), (True, True, False), 120, 0)
    settings = allocate(position, sites, box, 0.9, 0.2)
    assert isinstance(hash(settings), int)
    assert settings.capacity % 8 == 0
    assert regrow(settings).capacity > settings.capacity
    assert regrow(NeighborSettings(1.0, 0.1, 8, None, 0)).cell_capacity == 0


@pytest.mark.parametrize(
    ("cutoff", "skin", "headroom"), [(0.0, 0.1, 1.2), (1.0, -0.1, 1.2), (1.0, 0.1, 0.9), (2.1, 0.1, 1.2)]
)
def test_impossible_requests_are_refused(cutoff, skin, headroom):
    position, sites, box = scene((4.0, 4.0, 3.0), (True, True, False), 10, 0)
    with pytest.raises(ValueError, match="cutoff"):
        allocate(position, sites, box, cutoff, skin, headroom)


def test_lists_pay_for_short_ranges_in_large_boxes_only():
    box = Box(jnp.asarray([11.0, 11.0, 10.0]), (True, True, False))
    assert not list_pays(220, 80, box, 5.5)
    assert not list_pays(50, 20, box, 1.0)
    assert list_pays(2000, 100, box, 1.5)

"""Contact tables and the droplets they make, against a search of all pairs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.contacts import allocate_contacts, find_contacts, regrow_contacts

SULFUR_CONTACT, LI_BRIDGE, MO_CONTACT = 1.05, 0.63, 0.8


def near(first, second, box, reach):
    """Which of the first lie nearer than `reach` to which of the second, as a matrix."""
    apart = np.asarray(first, float)[:, None] - np.asarray(second, float)[None]
    lengths = np.asarray(box.lengths, float)
    apart -= np.where(box.periodic, lengths * np.round(apart / lengths), 0.0)
    return (apart**2).sum(-1) < reach**2


def as_matrix(table, n_columns):
    """Rows against columns, with the number of times that each pair stands in the table."""
    found = np.zeros((table.shape[1], n_columns + 1), int)
    for slot in np.asarray(table):
        np.add.at(found, (np.arange(len(slot)), slot), 1)
    return found[:, :n_columns]


def tables(sulfur, li, present, mo, box, settings):
    distances = [jnp.asarray(d, sulfur.dtype) for d in (SULFUR_CONTACT, LI_BRIDGE, MO_CONTACT)]
    return jax.jit(find_contacts, static_argnums=8)(sulfur, li, present, mo, box, *distances, settings)


@pytest.mark.parametrize(
    ("lengths", "periodic", "dtype"),
    [
        ((6.0, 5.0, 4.0), (True, True, False), jnp.float64),
        ((9.0, 3.0, 8.0), (True, True, True), jnp.float32),
        ((2.6, 2.6, 9.0), (True, True, False), jnp.float32),
    ],
)
def test_tables_hold_every_contact_once(lengths, periodic, dtype):
    """Also in boxes so narrow that a grid has one cell across, over the faces, and beyond a wall."""
    rng = np.random.default_rng(4)
    box = Box(jnp.asarray(lengths, dtype), periodic)
    sulfur, li, mo = (jnp.asarray(rng.random((n, 3)) * np.array(lengths) * 1.02 - 0.01, dtype) for n in (120, 220, 9))
    present = jnp.asarray(rng.random(220) < 0.8)
    settings = allocate_contacts(sulfur, li, mo, box, SULFUR_CONTACT, LI_BRIDGE, MO_CONTACT, with_edges=True)
    contacts = tables(sulfur, li, present, mo, box, settings)
    assert not bool(contacts.overflow)
    direct = near(sulfur, sulfur, box, SULFUR_CONTACT) & ~np.eye(120, dtype=bool)
    bound = near(sulfur, li, box, LI_BRIDGE) & np.asarray(present)
    bridged = (bound.astype(int) @ bound.T.astype(int) > 0) & ~np.eye(120, dtype=bool)
    assert (bridged & ~direct).any()
    np.testing.assert_array_equal(as_matrix(contacts.direct, 120), direct)
    np.testing.assert_array_equal(as_matrix(contacts.bridges, 120), bound.T)
    np.testing.assert_array_equal(as_matrix(contacts.touching, 120), near(mo, sulfur, box, MO_CONTACT))
    np.testing.assert_array_equal(as_matrix(contacts.edges, 120), direct | bridged)


def test_what_does_not_fit_is_reported_and_grows():
    rng = np.random.default_rng(5)
    box = Box(jnp.asarray([6.0, 6.0, 6.0]), (True, True, False))
    sulfur, li = jnp.asarray(rng.random((60, 3)) * 6.0), jnp.asarray(rng.random((90, 3)) * 6.0)
    mo, present = jnp.asarray([[3.0, 3.0, 3.0]]), jnp.ones((90,), bool)
    settings = allocate_contacts(sulfur, li, mo, box, SULFUR_CONTACT, LI_BRIDGE, MO_CONTACT)
    assert not bool(tables(sulfur, li, present, mo, box, settings).overflow)
    # All beads of a corner: more in one run, and more around each bead, than there is room for.
    crowded = sulfur * 0.2
    contacts = tables(crowded, li, present, mo, box, settings)
    assert bool(contacts.overflow)
    for _ in range(4):
        settings = regrow_contacts(settings)
    contacts = tables(crowded, li, present, mo, box, settings)
    assert not bool(contacts.overflow)
    direct = near(crowded, crowded, box, SULFUR_CONTACT) & ~np.eye(60, dtype=bool)
    np.testing.assert_array_equal(as_matrix(contacts.direct, 60), direct)
    # Each capacity on its own.
    for name in ("sulfur_capacity", "li_capacity", "centre_capacity"):
        small = dataclasses.replace(settings, **{name: 1})
        assert bool(tables(crowded, crowded, present[:60], crowded[:1] + 0.01, box, small).overflow), name


def test_a_box_that_shrank_is_reported():
    box = Box(jnp.asarray([6.0, 6.0, 6.0]), (True, True, False))
    sulfur, none = jnp.asarray(np.random.default_rng(6).random((40, 3)) * 6.0), jnp.zeros((0, 3))
    settings = allocate_contacts(sulfur, none, none, box, SULFUR_CONTACT, LI_BRIDGE, MO_CONTACT)
    smaller = Box(jnp.asarray([5.0, 6.0, 6.0]), (True, True, False))
    for given, trouble in ((box, False), (smaller, True)):
        assert bool(tables(sulfur, none, jnp.zeros((0,), bool), none, given, settings).overflow) is trouble


def test_bad_distances():
    box = Box(jnp.asarray([2.0, 6.0, 6.0]), (True, True, False))
    none = jnp.zeros((0, 3))
    with pytest.raises(ValueError, match="contact distances"):
        allocate_contacts(none, none, none, box, SULFUR_CONTACT, LI_BRIDGE, MO_CONTACT)
    with pytest.raises(ValueError, match="contact distances"):
        allocate_contacts(none, none, none, box, 0.9, 0.0, 0.8)
    with pytest.raises(ValueError, match="headroom"):
        allocate_contacts(none, none, none, box, 0.9, 0.4, 0.8, headroom=0.5)

"""The lithium reservoir of a box whose electrons come without their ions: Li+ enter and leave far from the electrode.

Li+ have a fixed number of slots, present or vacant. A vacant slot is no particle; how it is kept out of the dynamics
is the caller's to arrange.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from dropsim_kernels.box import Box, minimum_image
from dropsim_kernels.noise import gaussian_vectors, step_key, uniform

INSERTION_STREAM, REMOVAL_STREAM, VELOCITY_STREAM = 31, 32, 33

# Places, or ions, among which the one with most room is taken.
TRIALS = 64
# Share of the height, at the top of a box with walls, that is the reservoir's.
UPPER_SHARE = 1.0 / 3.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReservoirInfo:
    """What an exchange did. inserted, removed: (L,) bool, by slot; room: () float, least room of an inserted ion, see
    `exchange_lithium`, infinite without any; short: () bool, fewer moved than were asked for."""

    inserted: Array
    removed: Array
    room: Array
    short: Array


def reservoir_region(box: Box) -> Array:
    """Lowest and highest z of the reservoir, (2,): the upper third between walls, all of a box without."""
    height = jnp.asarray(box.lengths)[2]
    low = jnp.zeros_like(height) if box.periodic[2] else (1.0 - UPPER_SHARE) * height
    return jnp.stack([low, height])


def _room(
    place: Array,
    slots: Array,
    present: Array,
    li_contact: Array,
    occupied: Array,
    contact: Array,
    box: Box,
) -> Array:
    """Distance from each place (T, 3) to the nearest thing, in units of their contact distance, (T,).

    present: (T, L) bool, the slots that count for each place.
    """
    dtype = place.dtype

    def squared(other: Array) -> Array:
        apart = minimum_image(place[:, None, :] - other[None, :, :], box)
        return jnp.sum(apart * apart, axis=-1)

    far = jnp.full((place.shape[0], 1), jnp.inf, dtype)
    to_slots = jnp.where(present, squared(slots) / (li_contact * li_contact), jnp.asarray(jnp.inf, dtype))
    to_others = squared(occupied.astype(dtype)) / (contact * contact)[None, :]
    room = jnp.sqrt(jnp.min(jnp.concatenate([far, to_slots, to_others], axis=1), axis=1))
    if box.periodic[2]:
        return room
    height = jnp.asarray(box.lengths)[2].astype(dtype)
    return jnp.minimum(room, jnp.minimum(place[:, 2], height - place[:, 2]) / li_contact)


def exchange_lithium(
    key: Array,
    step: Array,
    change: Array,
    position: Array,
    present: Array,
    li_contact: Array,
    occupied: Array,
    contact: Array,
    region: Array,
    box: Box,
) -> tuple[Array, Array, ReservoirInfo]:
    """Let Li+ into the box, or out of it, by the number of electrons that have crossed the electrode.

    change > 0: one by one, each Li+ takes the place with most room of TRIALS drawn evenly in the region;
    change < 0: one by one, the Li+ with most room of TRIALS drawn from those in the region, or of the highest ones
    where the region holds none. Room is the distance to the nearest ion, site or wall, each in units of its contact
    distance: a bead that comes into contact out of nowhere, or an ion that is taken out of a contact, would change
    the energy by tens of kT in one step.

    key: (2,) uint32; step: () integer; change: () int32, electrons in minus electrons out; position: (L, 3) nm and
    present: (L,) bool of the slots; li_contact: () nm, contact distance of two Li+, and of a Li+ with a wall;
    occupied: (K, 3) nm, all other beads and sites, with their contact distances contact: (K,) nm; region: (2,) nm,
    lowest and highest z, see `reservoir_region`. Returns (position, present, info); a Li+ that enters takes the
    lowest vacant slot, one that leaves stays where it was as a vacant slot.

    Trouble: where vacant slots (or Li+) run out, all of them are used and `info.short` is set.
    Validity: a source and sink far from the electrode, which stands for the counter electrode's side of the cell. It is
    not a grand-canonical rule: it has no chemical potential, the number is that of the electrons, and the place is not
    drawn from Boltzmann's law. What follows is the ions' own motion, which takes (height)^2/D to carry a Li+ down.
    Cost: nothing where nothing changes; TRIALS (L + K) distances for each ion.
    """
    n_slots, dtype = position.shape[0], position.dtype
    change = jnp.asarray(change, jnp.int32)
    never = jnp.zeros((n_slots,), bool)
    unlimited = jnp.asarray(jnp.inf, dtype)
    if n_slots == 0:
        return position, present, ReservoirInfo(never, never, unlimited, change != 0)
    lengths = jnp.asarray(box.lengths).astype(dtype)
    region, contact, li_contact = region.astype(dtype), contact.astype(dtype), li_contact.astype(dtype)
    n_present = jnp.sum(present, dtype=jnp.int32)
    n_in = jnp.clip(change, 0, n_slots - n_present)
    n_out = jnp.clip(-change, 0, n_present)
    low = jnp.stack([jnp.zeros_like(region[0]), jnp.zeros_like(region[0]), region[0]])
    width = jnp.stack([lengths[0], lengths[1], region[1] - region[0]])

    def insert(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        done, position, present, least = carry
        draw = uniform(jax.random.fold_in(step_key(key, INSERTION_STREAM, step), done), (TRIALS, 3), dtype)
        place = low[None, :] + width[None, :] * draw
        counted = jnp.broadcast_to(present[None, :], (TRIALS, n_slots))
        room = _room(place, position, counted, li_contact, occupied, contact, box)
        best, slot = jnp.argmax(room), jnp.argmin(present)
        least = jnp.minimum(least, room[best])
        return done + 1, position.at[slot].set(place[best]), present.at[slot].set(True), least

    _, position, filled, least = jax.lax.while_loop(
        lambda carry: carry[0] < n_in, insert, (jnp.zeros((), jnp.int32), position, present, unlimited)
    )

    index = jnp.arange(n_slots, dtype=jnp.int32)
    n_trials = min(TRIALS, n_slots)
    inside = (position[:, 2] >= region[0]) & (position[:, 2] <= region[1])

    def remove(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, present = carry
        draw = uniform(jax.random.fold_in(step_key(key, REMOVAL_STREAM, step), done), (n_slots,), dtype)
        # Those of the region come first, in random order; the others follow from the top down; vacant slots last.
        order = jnp.where(inside, 1 + draw, position[:, 2] / lengths[2] - 1)
        _, chosen = jax.lax.top_k(jnp.where(present, order, -unlimited), n_trials)
        counted = present[None, :] & (index[None, :] != chosen[:, None])
        room = _room(position[chosen], position, counted, li_contact, occupied, contact, box)
        allowed = present[chosen] & (inside[chosen] | ~jnp.any(present & inside))
        leaving = chosen[jnp.argmax(jnp.where(allowed, room, -unlimited))]
        return done + 1, present.at[leaving].set(False)

    _, kept = jax.lax.while_loop(lambda carry: carry[0] < n_out, remove, (jnp.zeros((), jnp.int32), filled))
    info = ReservoirInfo(filled & ~present, filled & ~kept, least, change != n_in - n_out)
    return position, kept, info


def exchanged_velocities(
    key: Array, step: Array, velocity: Array, info: ReservoirInfo, thermal_energy: Array, mass: Array
) -> Array:
    """Velocities after an exchange: Maxwell's, sqrt(kT/m) times Gaussians, where an ion entered, 0 where one left.

    velocity: (L, 3) nm/ps; info: of `exchange_lithium`; thermal_energy: () kJ/mol; mass: () amu, of Li+. Returns
    the like of velocity.
    """
    noise = gaussian_vectors(step_key(key, VELOCITY_STREAM, step), velocity.shape[0], velocity.dtype)
    drawn = jnp.sqrt(thermal_energy / mass) * noise
    kept = jnp.where(info.removed[:, None], jnp.zeros_like(velocity), velocity)
    return jnp.where(info.inserted[:, None], drawn, kept)

"""Charge transfer over one interval: electrons enter, leave and are shared; Li2S nucleates, grows and dissolves.

Each sulfur bead has M = 10 electron slots. Electrons cross at wired Mo centres and, where it reacts, at the bare
electrode; beads of a droplet share them. Everything happens in continuous time at frozen positions.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from dropsim_kernels.box import Box
from dropsim_kernels.clusters import connected_components
from dropsim_kernels.contacts import ContactSettings, allocate_contacts, find_contacts, regrow_contacts
from dropsim_kernels.noise import step_key
from dropsim_kernels.rates import Drive, RateLaw, butler_volmer, drive_at, marcus
from dropsim_kernels.reaction import (
    CONTACT_OVERFLOW,
    INTERMEDIATE,
    INTERMEDIATE_ELECTRONS,
    LIQUID,
    SLOTS,
    SOLID,
    TOO_MANY_EVENTS,
    ReactionInfo,
    ReactionParameters,
    ReactionState,
    electron_imbalance,
    initial_reaction_state,
    nucleation_hazard,
)
from dropsim_kernels.reaction_events import COUNTED, Surroundings, Walk, run_events, total_of

__all__ = [
    "CONTACT_OVERFLOW", "INTERMEDIATE", "INTERMEDIATE_ELECTRONS", "LIQUID", "SLOTS", "SOLID", "TOO_MANY_EVENTS",
    "ContactSettings", "Drive", "RateLaw", "ReactionInfo", "ReactionParameters", "ReactionState",
    "allocate_contacts", "butler_volmer", "charge_transfer_step", "drive_at", "electron_imbalance",
    "initial_reaction_state", "marcus", "nucleation_hazard", "regrow_contacts",
]  # fmt: skip

EVENT_STREAM, SHARING_STREAM = 11, 13
SHARING = ("mixed", "finite", "none")


def charge_transfer_step(
    key: Array,
    step: Array,
    state: ReactionState,
    drive: Drive,
    sulfur_position: Array,
    li_position: Array,
    li_present: Array,
    mo_position: Array,
    mo_wired: Array,
    box: Box,
    parameters: ReactionParameters,
) -> tuple[ReactionState, ReactionInfo]:
    """Carry the reaction over one interval, the positions being held.

    For a liquid unit i with n_i electrons and c_i wired centres in contact, M = 10:

        inject  c_i k_in (M - n_i),   eject  c_i k_out n_i,   hop i -> j  k_hop n_i (M - n_j) exp(-dH / 2kT)
        H = sum_i U n_i^2 / 2 + sum_edges J n_i n_j   (its factor also on injection and ejection)

    k_in, k_out -> drive; k_hop, U, J -> parameters.hop_rate, site_energy, neighbor_energy (with sharing "finite" or
    "none"); edges join units in direct contact or with a Li+ in common. "mixed" is the limit k_hop -> infinity: the
    electrons of a droplet are a pool, dealt to its slots uniformly at the end of the interval (hypergeometric law);
    "none" is k_hop = 0. In a droplet Li2S nucleates with the hazard of `nucleation_hazard`; from then on its liquid
    unit nearest to a wired centre takes every electron that reaches it and keeps it; with ten it is solid, and the
    next is taken. k_in of such a droplet is multiplied by chi. A droplet that holds Li2S needs no nucleus. Contacts
    that its Li2S covers go on serving it: they count for the liquid units that touch Li2S within tunnelling_range of a
    wired centre, in proportion to how many such units each touches.

    Where the electrode plane z = 0 reacts, units within surface_contact of it exchange electrons with it, each for
    itself unless surface_sharing; there a unit with four electrons goes on to ten where it is with the probability
    b(E) or dissolves as Li2S2, which takes its other electrons at Li2S within reach of the electrode. A unit that
    shares with no other is solid as soon as it has ten electrons. While the electrode oxidises nothing nucleates or
    turns solid, droplets stop converting, and Li2S in range opens at the rate opening_rate, times exp(-W / kT) where
    no liquid touches it.

    key: (2,) uint32; step: () integer, the counter of the noise; sulfur_position (S, 3), li_position (L, 3),
    mo_position (C, 3): nm, any image; li_present: (L,) bool; mo_wired: (C,) bool, electronic contact. Returns the new
    state and what happened. Trouble is reported in `ReactionInfo.trouble`: after CONTACT_OVERFLOW the result must
    not be used (remedy: `regrow_contacts`), after TOO_MANY_EVENTS the interval ended early (remedy: a shorter one).
    Raises ValueError for an unknown sharing, and where edges are needed but were not allocated.
    Exact in time at frozen positions, whatever the interval. No step makes or loses an electron. Droplets are
    components of the graph of all units, solid ones included. Cost: the contacts, and a pass over S for each event.

    Source: the rule is dropsim's own reading of the paper, doi 10.1038/s41586-023-06326-8; the hopping process:
    Giardina et al., J. Stat. Phys. 135, 25 (2009), doi 10.1007/s10955-009-9716-2.
    """
    n_units = state.electrons.shape[0]
    dtype = sulfur_position.dtype
    sharing, settings = parameters.sharing, parameters.contacts
    if sharing not in SHARING:
        raise ValueError(f"sharing must be one of {SHARING}, not {sharing!r}")
    if not settings.edge_capacity and (sharing == "finite" or (sharing == "none" and parameters.interactions)):
        raise ValueError(f"sharing {sharing!r} with interactions={parameters.interactions} needs edges allocated")
    if n_units == 0:  # an electrolyte of salt alone
        none, never = jnp.zeros((0,), jnp.int32), jnp.zeros((0,), bool)
        counts = [none] * len(COUNTED)
        return state, ReactionInfo(none, none, never, *counts, trouble=jnp.zeros((), jnp.int32))

    around, contacts, overflow = _surroundings(
        sulfur_position, li_position, li_present, mo_position, mo_wired, box, parameters
    )
    droplet, alone = around.droplet, around.alone
    liquid, solid = state.phase == LIQUID, state.phase == SOLID
    n_none, zero = jnp.zeros((n_units,), jnp.int32), jnp.zeros((n_units,), dtype)
    pool = n_liquid = n_none
    converting = jnp.zeros((n_units,), bool)
    if sharing != "none":
        inside = ~alone
        whole = jnp.stack([
            jnp.where(liquid & inside, state.electrons, 0),
            (liquid & inside).astype(jnp.int32),
            inside.astype(jnp.int32),
            (solid & inside).astype(jnp.int32),
            (state.converting & inside).astype(jnp.int32),
        ], axis=1)  # fmt: skip
        pool, n_liquid, n_members, n_solid, n_flagged = total_of(whole, droplet).T
        # A droplet goes on converting while it holds solid, or enough flagged liquid to be a droplet at all.
        enough = n_members.astype(dtype) >= parameters.minimum_size
        converting = inside & ((n_solid > 0) | ((n_flagged > 0) & enough)) & ~drive.oxidising
    # What solids and converting droplets need is worked out only where there are any.
    stale = jnp.any(solid) | jnp.any(converting) | jnp.any(alone & liquid & (state.electrons == SLOTS))
    walk = Walk(
        electrons=state.electrons,
        phase=state.phase,
        converting=converting,
        direct=state.direct,
        cycles=state.cycles,
        pool=pool,
        n_liquid=n_liquid,
        place=n_none,
        nearest=jnp.full_like(zero, jnp.inf),
        placed=jnp.zeros((), bool),
        known=jnp.zeros((), bool),
        rods=zero,
        wet=zero,
        through=zero,
        around=zero,
        count=jnp.zeros((len(COUNTED), n_units), jnp.int32),
        left=jnp.asarray(parameters.interval, dtype),
        n_events=jnp.zeros((), jnp.int32),
        stale=stale | (parameters.interactions and sharing != "mixed"),
        done=jnp.zeros((), bool),
        capped=jnp.zeros((), bool),
    )
    walk = run_events(step_key(key, EVENT_STREAM, step), walk, around, drive, parameters)

    electrons = walk.electrons
    if sharing == "mixed":
        pooled = (walk.phase == LIQUID) & ~alone
        first = pooled & (walk.place == 0)
        dealt = deal(
            step_key(key, SHARING_STREAM, step),
            jnp.where(walk.converting, 0, walk.pool),
            walk.n_liquid,
            droplet,
            pooled,
        )
        # The unit that is turning keeps what it has taken.
        dealt = jnp.where(walk.converting, jnp.where(first, walk.pool, 0), dealt)
        electrons = jnp.where(pooled, dealt, electrons)

    through = jnp.sum(walk.count[:4], axis=1, dtype=jnp.int32)
    trouble = jnp.where(overflow, CONTACT_OVERFLOW, 0) | jnp.where(walk.capped, TOO_MANY_EVENTS, 0)
    return (
        ReactionState(
            electrons=electrons,
            phase=walk.phase,
            converting=walk.converting,
            direct=walk.direct & (electrons > 0),
            cycles=walk.cycles,
            injected=state.injected + through[0] - through[1],
            injected_surface=state.injected_surface + through[2] - through[3],
        ),
        ReactionInfo(droplet, contacts, around.at_surface, *walk.count, trouble=trouble.astype(jnp.int32)),
    )


def _surroundings(
    sulfur_position: Array,
    li_position: Array,
    li_present: Array,
    mo_position: Array,
    mo_wired: Array,
    box: Box,
    parameters: ReactionParameters,
) -> tuple[Surroundings, Array, Array]:
    """What stands still during the interval, the number of wired contacts (S,) int32, and whether tables overflowed."""
    n_units = sulfur_position.shape[0]
    dtype = sulfur_position.dtype
    settings = parameters.contacts
    if parameters.sharing == "mixed":
        settings = dataclasses.replace(settings, edge_capacity=0)
    tables = find_contacts(
        sulfur_position,
        li_position,
        li_present,
        mo_position,
        box,
        parameters.sulfur_contact,
        parameters.li_bridge,
        parameters.mo_contact,
        settings,
    )
    wired = jnp.broadcast_to(mo_wired[None, :].astype(jnp.int32), tables.touching.shape)
    contacts = jnp.zeros((n_units,), jnp.int32).at[tables.touching].add(wired, mode="drop")
    # In a box that repeats along z there is no plane.
    plane = (parameters.law.surface_rate_constant > 0) & (not box.periodic[2])
    at_surface = plane & (sulfur_position[:, 2] < parameters.surface_contact)
    if parameters.sharing == "none":
        alone = jnp.ones((n_units,), bool)
        droplet = jnp.arange(n_units, dtype=jnp.int32)
    else:
        alone = jnp.zeros((n_units,), bool) if parameters.surface_sharing else at_surface
        droplet = connected_components(tables.direct, tables.bridges, ~alone)
    edges = jnp.zeros((0, n_units), jnp.int32)
    if tables.edges is not None and (parameters.sharing != "mixed"):
        # Energies of neighbours hold between all beads that do not lie on the electrode.
        apart = at_surface if not parameters.surface_sharing else jnp.zeros((n_units,), bool)
        joined = ~jnp.append(apart, True)
        edges = jnp.where(joined[tables.edges] & joined[:-1][None, :], tables.edges, n_units)
    around = Surroundings(
        droplet,
        alone,
        at_surface,
        contacts.astype(dtype),
        tables.direct,
        edges,
        plane,
        sulfur_position,
        mo_position,
        mo_wired,
        box,
    )
    return around, contacts, tables.overflow


def deal(key: Array, pool: Array, n_liquid: Array, droplet: Array, pooled: Array) -> Array:
    """Deal the electrons of each droplet to the slots of its liquid units, every set of slots equally likely.

    key: typed key; pool: (S,) int32, electrons of the droplet of each bead; n_liquid: (S,) int32, its liquid units;
    droplet: (S,) int32 labels; pooled: (S,) bool, the units that take part. Returns (S,) int32 electrons, zero on
    beads that do not take part; sums over droplets are kept exactly.

    Each slot draws a word; the droplet's `pool` smallest are filled, found by halving the range of words. Where two
    equal words stand on either side of the bound all words are drawn anew, which leaves the law uniform.
    """
    n_units = pool.shape[0]
    easy = ~pooled | (pool <= 0) | (n_liquid <= 1) | (pool >= SLOTS * n_liquid)
    shared = jnp.where(pooled, jnp.minimum(pool, SLOTS), 0)

    def attempt(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, found, shared = carry
        word = jax.random.bits(jax.random.fold_in(key, number), (SLOTS, n_units), jnp.uint32)

        def halve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            turn, low, high, found, shared = carry
            middle = low + (high - low) // jnp.uint32(2)
            filled = jnp.sum(word <= middle[None, :], axis=0, dtype=jnp.int32)
            count = total_of(jnp.where(pooled, filled, 0), droplet)
            shared = jnp.where(~found & (count == pool), filled, shared)
            low = jnp.where(count < pool, middle + jnp.uint32(1), low)
            high = jnp.where(count > pool, middle, high)
            return turn + 1, low, high, found | (count == pool), shared

        low = jnp.zeros((n_units,), jnp.uint32)
        high = jnp.full((n_units,), 2**32 - 1, jnp.uint32)
        _, _, _, found, shared = jax.lax.while_loop(
            lambda carry: (carry[0] < 33) & ~jnp.all(carry[3]), halve, (jnp.int32(0), low, high, found, shared)
        )
        return number + 1, found, shared

    return jax.lax.while_loop(lambda carry: ~jnp.all(carry[1]), attempt, (jnp.int32(0), easy, shared))[2]

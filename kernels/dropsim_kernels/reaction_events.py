"""One event after the other: the reaction at frozen positions as a jump process, simulated exactly.

All rates follow from the state; the waiting time to the next event is exponential with their sum; which event it is
is drawn in proportion to them (Gillespie, J. Phys. Chem. 81, 2340 (1977), doi 10.1021/j100540a008). Hops are
proposed at an upper bound of their rates and accepted with the ratio of the two, which leaves the law unchanged.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dropsim_kernels.box import Box
from dropsim_kernels.clusters import squared_distances
from dropsim_kernels.rates import Drive
from dropsim_kernels.reaction import (
    INTERMEDIATE,
    INTERMEDIATE_ELECTRONS,
    LIQUID,
    SLOTS,
    SOLID,
    ReactionParameters,
    nucleation_hazard,
)

# Kinds of events, the seldom ones first: the draw resolves small probabilities best near zero.
_KINDS = (OPENING, NUCLEATION, SURFACE_OUT, SURFACE_IN, ROD_OUT, ROD_IN, CENTRE_OUT, CENTRE_IN, HOP) = range(9)
# What is counted for each bead.
COUNTED = (ENTERED, LEFT, SURFACE_ENTERED, SURFACE_LEFT, NUCLEATED, RELEASED, TURNED, OPENED, OXIDISED) = range(9)
_BLOCK = 64


class Surroundings(NamedTuple):
    """What stands still during an interval.

    droplet: (S,) int32 labels; alone: (S,) bool, shares with no other bead; at_surface: (S,) bool; contacts: (S,)
    wired centres, float; direct: (K, S) int32, beads in contact; edges: (E, S) int32, edges between beads that share
    ((0, S) where nothing needs them); plane: () bool, the electrode plane reacts; the positions.
    """

    droplet: Array
    alone: Array
    at_surface: Array
    contacts: Array
    direct: Array
    edges: Array
    plane: Array
    sulfur_position: Array
    mo_position: Array
    mo_wired: Array
    box: Box


class Walk(NamedTuple):
    """What the events change.

    electrons, phase, converting, direct, cycles: as in `ReactionState`, but the electrons that a mixed droplet
    shares are not on its beads: pool: (S,) int32, electrons on all liquid units of the droplet that each bead belongs
    to; n_liquid: (S,) int32, those units. place: (S,) int32, rank of the next units to turn, 0 the first; nearest:
    (S,) squared distance to the nearest wired centre; placed, known: () bool, whether these two were worked out;
    rods: (S,) Li2S in contact that the electrode reaches; wet: (S,) liquid units in contact; through: (S,) contacts
    that the Li2S of the droplet covers, as far as they serve this bead; around: (S,) electrons on the beads at the
    other ends of the edges, floats. count: (9, S) int32. left: () time to the end of the interval;
    n_events: () int32; stale: () bool, some phase has changed; done, capped: () bool.
    """

    electrons: Array
    phase: Array
    converting: Array
    direct: Array
    cycles: Array
    pool: Array
    n_liquid: Array
    place: Array
    nearest: Array
    placed: Array
    known: Array
    rods: Array
    wet: Array
    through: Array
    around: Array
    count: Array
    left: Array
    n_events: Array
    stale: Array
    done: Array
    capped: Array


def total_of(per_bead: Array, droplet: Array) -> Array:
    """Sum over the droplet of each bead, seen from the bead: (S,) and (S,) labels to (S,)."""
    return jax.ops.segment_sum(per_bead, droplet, num_segments=droplet.shape[0])[droplet]


def rank_within(label: Array, value: Array) -> Array:
    """Position of each entry among those of its label, in ascending order of value, ties in their own order.

    label, value: (K,). Returns (K,) int32.
    """
    n_entries = label.shape[0]
    order = jnp.lexsort((value, label))
    sorted_label = label[order]
    index = jnp.arange(n_entries, dtype=jnp.int32)
    is_first = jnp.concatenate([jnp.ones((1,), bool), sorted_label[1:] != sorted_label[:-1]])
    first = jax.lax.cummax(jnp.where(is_first, index, jnp.int32(0)))
    return jnp.zeros((n_entries,), jnp.int32).at[order].set(index - first)


def once_if(condition: Array, function, value):
    """function(value) where the condition holds, else value; unlike a conditional it costs a batch that needs it in
    no member nothing at all."""
    return jax.lax.while_loop(
        lambda carry: carry[0], lambda carry: (jnp.zeros((), bool), function(carry[1])), (condition, value)
    )[1]


def fine_uniform(high: Array, low: Array, dtype: jnp.dtype) -> Array:
    """A uniform number in (0, 1) whose relative precision holds near zero, from two words of 32 bits."""
    scale = jnp.asarray(2.0**-32, dtype)
    value = (high.astype(dtype) + (low.astype(dtype) + jnp.asarray(0.5, dtype)) * scale) * scale
    return jnp.minimum(value, 1 - jnp.finfo(dtype).epsneg)


def _pick(weight: Array, draw: Array) -> Array:
    """Index drawn in proportion to the weights (K,), never one of weight zero (0 if there is no other)."""
    running = jnp.cumsum(weight)
    hit = (running > draw * running[-1]) & (weight > 0)
    # Rounding may leave the draw above the last sum.
    last = jnp.max(jnp.where(weight > 0, jnp.arange(weight.shape[0], dtype=jnp.int32), 0))
    return jnp.where(jnp.any(hit), jnp.argmax(hit).astype(jnp.int32), last)


def choose(weight: Array, block_draw: Array, draw: Array) -> Array:
    """Index drawn in proportion to many weights (K,): first a block of them, then one of its members."""
    n_entries = weight.shape[0]
    if n_entries <= 2 * _BLOCK:
        return _pick(weight, draw)
    blocks = jnp.pad(weight, (0, -n_entries % _BLOCK)).reshape(-1, _BLOCK)
    block = _pick(jnp.sum(blocks, axis=1), block_draw)
    return jnp.minimum(block * _BLOCK + _pick(blocks[block], draw), n_entries - 1)


def _sinks(walk: Walk, around: Surroundings) -> Array:
    """The one unit of each converting droplet that is turning to Li2S: the liquid one nearest to a centre."""
    return walk.converting & ~around.alone & (walk.phase == LIQUID) & (walk.place == 0)


def _occupancy(walk: Walk, around: Surroundings, parameters: ReactionParameters) -> tuple[Array, Array]:
    """Electrons that can leave each liquid unit and slots that are free on it, both (S,) floats.

    Electrons that have reached the growing Li2S stay there: what a converting droplet's sink has taken can neither
    leave nor fill the slots of the liquid.
    """
    dtype = around.contacts.dtype
    slots = jnp.asarray(SLOTS, dtype)
    liquid = walk.phase == LIQUID
    held, free = walk.electrons.astype(dtype), (SLOTS - walk.electrons).astype(dtype)
    if parameters.sharing == "mixed":
        n_liquid = jnp.maximum(walk.n_liquid, 1)
        shared = liquid & ~around.alone
        held = jnp.where(shared, walk.pool.astype(dtype) / n_liquid.astype(dtype), held)
        free = jnp.where(shared, (SLOTS * n_liquid - walk.pool).astype(dtype) / n_liquid.astype(dtype), free)
        captured = shared & walk.converting
    elif parameters.sharing == "finite":
        captured = _sinks(walk, around)
    else:
        captured = jnp.zeros_like(liquid)
    held = jnp.where(liquid & ~captured, held, 0)
    free = jnp.where(captured, slots, jnp.where(liquid, free, 0))
    return held, free


def _field(walk: Walk, around: Surroundings, parameters: ReactionParameters) -> Array:
    """Electrons on the beads at the other ends of each bead's edges, (S,) floats."""
    held, _ = _occupancy(walk, around, parameters)
    return jnp.sum(jnp.append(held, jnp.zeros((), held.dtype))[around.edges], axis=0)


def _settled(walk: Walk, around: Surroundings, drive: Drive, parameters: ReactionParameters) -> Walk:
    """The walk after what follows at once from its state: units that are full turn solid, the next sink is named,
    and everything that depends on phases is worked out anew."""
    dtype = around.contacts.dtype
    liquid = walk.phase == LIQUID
    solid = walk.phase == SOLID
    # Alone, a unit with its last electron is Li2S at once; in a droplet that needs a nucleus.
    turned = around.alone & liquid & (walk.electrons == SLOTS) & ~drive.oxidising
    reached = jnp.any(solid | turned) & (drive.oxidising | around.plane)
    wanted = ~walk.known & (reached | jnp.any(walk.converting))

    def to_centres(_: Array) -> Array:
        squared = squared_distances(around.sulfur_position, around.mo_position, around.box)
        wired = jnp.where(around.mo_wired[None, :], squared, jnp.inf)
        return jnp.min(wired, axis=1, initial=jnp.inf).astype(dtype)

    nearest = once_if(wanted, to_centres, walk.nearest)
    walk = walk._replace(nearest=nearest, known=walk.known | wanted)

    if parameters.sharing != "none":
        unplaced = ~walk.placed & jnp.any(walk.converting)

        def ranks(_: Array) -> Array:
            height = around.sulfur_position[:, 2]
            distance = jnp.where(jnp.any(around.mo_wired), nearest, height * height)
            return rank_within(around.droplet, jnp.where(liquid, distance, jnp.inf))

        place = once_if(unplaced, ranks, walk.place)
        walk = walk._replace(place=place, placed=walk.placed | unplaced)
        waiting = walk.converting & ~around.alone & liquid
        if parameters.sharing == "mixed":
            turning = waiting & (place < walk.pool // SLOTS)
        else:
            turning = waiting & (place == 0) & (walk.electrons == SLOTS)
        n_turning = total_of(turning.astype(jnp.int32), around.droplet)
        walk = walk._replace(
            pool=walk.pool - SLOTS * n_turning, n_liquid=walk.n_liquid - n_turning, place=place - n_turning
        )
        turned = turned | turning
    phase = jnp.where(turned, jnp.int32(SOLID), walk.phase)
    # A sink that follows may be full already; electrons that are shared settle in one pass.
    walk = walk._replace(
        electrons=jnp.where(turned, jnp.int32(SLOTS), walk.electrons),
        phase=phase,
        count=walk.count.at[TURNED].add(turned.astype(jnp.int32)),
        stale=jnp.any(turned) & (parameters.sharing == "finite"),
    )

    height = around.sulfur_position[:, 2]
    in_range = nearest < parameters.tunnelling_range**2
    in_range = in_range | (around.plane & (height < parameters.tunnelling_range))
    near = around.direct

    def beside(chosen: Array) -> Array:
        return jnp.sum(jnp.append(chosen, False)[near], axis=0, dtype=jnp.int32).astype(dtype)

    # Opening asks for the range too: a solid unit out of it has no liquid neighbour that matters.
    walk = walk._replace(rods=beside((phase == SOLID) & in_range), wet=beside(phase == LIQUID))
    if parameters.sharing != "none":
        # Electrons tunnel through Li2S: a centre that it covers still serves the liquid at its surface.
        inside = ~around.alone
        at_solid = jnp.where(inside & (phase == LIQUID), beside((phase == SOLID) & in_range & inside), 0)
        covered = jnp.where(inside & (phase == SOLID), around.contacts, 0)
        both = total_of(jnp.stack([covered, at_solid], axis=1), around.droplet)
        walk = walk._replace(through=at_solid * both[:, 0] / jnp.maximum(both[:, 1], 1))
    if parameters.interactions and parameters.sharing != "mixed":
        walk = walk._replace(around=_field(walk, around, parameters))
    return walk


def _rates(walk: Walk, around: Surroundings, drive: Drive, parameters: ReactionParameters) -> list[Array | None]:
    """Rate of each kind of event at each bead, (S,) in 1/ps; None for kinds that this rule does not have."""
    dtype = around.contacts.dtype
    nothing = jnp.zeros_like(around.contacts)
    liquid, solid = walk.phase == LIQUID, walk.phase == SOLID
    dissolved = walk.phase == INTERMEDIATE
    held, free = _occupancy(walk, around, parameters)
    shared = liquid & ~around.alone
    inward, outward = free, held
    if parameters.interactions and parameters.sharing != "mixed":
        site, pair = parameters.site_energy, parameters.neighbor_energy
        inward = free * jnp.exp(-0.5 * (site * (held + 0.5) + pair * walk.around))
        outward = held * jnp.exp(0.5 * (site * (held - 0.5) + pair * walk.around))
    inward = jnp.where(shared & walk.converting, parameters.front_acceleration * inward, inward)
    electrons = walk.electrons.astype(dtype)
    kinds: list[Array | None] = [None] * len(_KINDS)
    contacts = around.contacts + walk.through
    kinds[CENTRE_IN] = drive.rate_in * contacts * inward
    kinds[CENTRE_OUT] = drive.rate_out * contacts * outward
    kinds[SURFACE_IN] = jnp.where(around.at_surface, drive.surface_in * inward, nothing)
    leaving = jnp.where(dissolved & drive.oxidising, electrons, outward)
    kinds[SURFACE_OUT] = jnp.where(around.at_surface, drive.surface_out * leaving, nothing)
    at_rods = jnp.where(dissolved, walk.rods, nothing)
    kinds[ROD_IN] = drive.rod_in * at_rods * (SLOTS - electrons)
    kinds[ROD_OUT] = drive.rod_out * at_rods * (electrons - INTERMEDIATE_ELECTRONS)
    barrier = jnp.where(walk.cycles == 0, parameters.opening_barrier, parameters.opening_barrier_later)
    first = parameters.opening_rate * jnp.exp(-barrier)
    in_range = walk.nearest < parameters.tunnelling_range**2
    in_range = in_range | (around.plane & (around.sulfur_position[:, 2] < parameters.tunnelling_range))
    opens = solid & in_range & drive.oxidising
    kinds[OPENING] = jnp.where(opens, jnp.where(walk.wet > 0, parameters.opening_rate, first), nothing)
    if parameters.sharing != "none":
        n_liquid = jnp.maximum(walk.n_liquid, 1).astype(dtype)
        hazard = nucleation_hazard(walk.pool.astype(dtype) / (SLOTS * n_liquid), n_liquid, parameters) / n_liquid
        kinds[NUCLEATION] = jnp.where(shared & ~walk.converting & ~drive.oxidising, hazard, nothing)
    if parameters.sharing == "finite":
        degree = jnp.sum(around.edges < walk.phase.shape[0], axis=0, dtype=jnp.int32).astype(dtype)
        kinds[HOP] = parameters.hop_rate * SLOTS * held * degree * _hop_bound(walk, held, free, parameters)
    return kinds


def _hop_bound(walk: Walk, held: Array, free: Array, parameters: ReactionParameters) -> Array:
    """A bound on exp(-dH / 2kT) of a hop from each bead to any other."""
    if not parameters.interactions:
        return jnp.ones_like(held)
    site, pair = parameters.site_energy, parameters.neighbor_energy
    open_to = free > 0
    lowest = jnp.min(jnp.where(open_to, walk.around, jnp.inf), initial=jnp.inf)
    highest = jnp.max(jnp.where(open_to, walk.around, -jnp.inf), initial=-jnp.inf)
    some = jnp.any(open_to)
    least = jnp.minimum(0.0, site * (SLOTS - 1)) + jnp.where(some, jnp.minimum(pair * lowest, pair * highest), 0.0)
    return jnp.exp(-0.5 * (least + site * (1.0 - held) - pair * (walk.around + 1.0)))


def _next_event(key: Array, walk: Walk, around: Surroundings, drive: Drive, parameters: ReactionParameters) -> Walk:
    """The walk after its next event, or done where that falls beyond the interval."""
    dtype = around.contacts.dtype
    n_beads = walk.phase.shape[0]
    kinds = _rates(walk, around, drive, parameters)
    rates = jnp.stack([rate for rate in kinds if rate is not None])
    sums = jnp.sum(rates, axis=1)
    total = jnp.sum(sums)
    word = jax.random.bits(jax.random.fold_in(key, walk.n_events), (12,), jnp.uint32)
    draw = [fine_uniform(word[2 * n], word[2 * n + 1], dtype) for n in range(6)]
    wait = -jnp.log1p(-draw[0]) / jnp.where(total > 0, total, jnp.ones_like(total))
    inside = (total > 0) & (wait < walk.left)
    # Rates beyond the largest number of the type are too many events as well.
    boundless = ~jnp.isfinite(total)
    capped = boundless | (inside & (walk.n_events >= parameters.max_events))
    fires = inside & ~capped

    row = _pick(sums, draw[1])
    kind = jnp.asarray([kind for kind in _KINDS if kinds[kind] is not None], jnp.int32)[row]
    bead = choose(rates[row], draw[2], draw[3])

    def happens(*wanted: int) -> Array:
        chosen = jnp.zeros((), bool)
        for one in wanted:
            chosen = chosen | (kind == one)
        return fires & chosen

    came = happens(CENTRE_IN, SURFACE_IN, ROD_IN)
    went = happens(CENTRE_OUT, SURFACE_OUT, ROD_OUT)
    opened, nucleates = happens(OPENING), happens(NUCLEATION)
    change = came.astype(jnp.int32) - went.astype(jnp.int32)
    phase, electrons, direct = walk.phase[bead], walk.electrons[bead], walk.direct[bead]
    alone = around.alone[bead]
    shared = (phase == LIQUID) & ~alone
    in_pool = shared if parameters.sharing == "mixed" else jnp.zeros((), bool)
    after = electrons + jnp.where(in_pool, 0, change)

    # The branch of the bare electrode: with four electrons a bead stays where it is or dissolves as Li2S2.
    branches = happens(CENTRE_IN, SURFACE_IN) & around.at_surface[bead] & alone & ~direct
    branches = branches & (after == INTERMEDIATE_ELECTRONS)
    stays = draw[4] < drive.direct_probability
    released = branches & ~stays
    oxidised = went & (phase == INTERMEDIATE) & (after < INTERMEDIATE_ELECTRONS)
    full = came & (after == SLOTS)
    turned = full & ((phase == INTERMEDIATE) | (alone & (phase == LIQUID) & ~drive.oxidising))
    new_phase = jnp.where(released, INTERMEDIATE, phase)
    new_phase = jnp.where(opened | oxidised, LIQUID, new_phase)
    new_phase = jnp.where(turned, SOLID, new_phase).astype(jnp.int32)
    new_direct = (direct | (branches & stays) | opened) & ((after > 0) | in_pool)
    stale = opened | released | oxidised | turned | nucleates

    moves = jnp.zeros((), bool)
    target = bead
    if parameters.sharing == "finite":
        moves, target = _hop(walk, around, parameters, bead, draw[4], draw[5])
        moves = moves & happens(HOP)
        taken = moves.astype(jnp.int32)
        after = after - taken
        sinks = _sinks(walk, around)
        stale = stale | (full & sinks[bead])
        stale = stale | (moves & sinks[target] & (walk.electrons[target] + 1 == SLOTS))
        if parameters.interactions:
            # A sink's electrons are in the Li2S, and nobody feels them.
            gain = jnp.where(sinks[bead] | ~shared, 0, change - taken).astype(dtype)
            field = walk.around.at[around.edges[:, bead]].add(gain, mode="drop")
            gain = jnp.where(sinks[target], 0, taken).astype(dtype)
            walk = walk._replace(around=field.at[around.edges[:, target]].add(gain, mode="drop"))
    elif parameters.sharing == "none" and parameters.interactions:
        gain = jnp.where(phase == LIQUID, change, 0).astype(dtype)
        walk = walk._replace(around=walk.around.at[around.edges[:, bead]].add(gain, mode="drop"))

    if parameters.sharing != "none":
        of_droplet = (around.droplet == around.droplet[bead]) & ~around.alone
        joins = opened & ~alone
        gain = jnp.where(shared, change, 0) + jnp.where(joins, SLOTS, 0)
        pool = walk.pool + jnp.where(of_droplet, gain, 0)
        stale = stale | (came & in_pool & walk.converting[bead] & (pool[bead] >= SLOTS))
        walk = walk._replace(
            pool=pool,
            n_liquid=walk.n_liquid + jnp.where(of_droplet, joins.astype(jnp.int32), 0),
            converting=walk.converting | (of_droplet & nucleates),
        )

    counted = [jnp.zeros((), bool)] * len(COUNTED)
    counted[ENTERED], counted[LEFT] = happens(CENTRE_IN), happens(CENTRE_OUT)
    counted[SURFACE_ENTERED], counted[SURFACE_LEFT] = happens(SURFACE_IN, ROD_IN), happens(SURFACE_OUT, ROD_OUT)
    counted[NUCLEATED], counted[RELEASED], counted[TURNED] = nucleates, released, turned
    counted[OPENED], counted[OXIDISED] = opened, oxidised
    index = jnp.minimum(bead, n_beads - 1)
    return walk._replace(
        electrons=walk.electrons.at[index].set(after).at[target].add(moves.astype(jnp.int32)),
        phase=walk.phase.at[index].set(new_phase),
        direct=walk.direct.at[index].set(new_direct),
        cycles=walk.cycles.at[index].add(opened.astype(jnp.int32)),
        count=walk.count.at[:, index].add(jnp.stack(counted).astype(jnp.int32)),
        left=walk.left - wait,
        n_events=walk.n_events + fires.astype(jnp.int32),
        stale=stale,
        done=~fires,
        capped=walk.capped | capped,
    )


def _hop(
    walk: Walk, around: Surroundings, parameters: ReactionParameters, bead: Array, end_draw: Array, draw: Array
) -> tuple[Array, Array]:
    """Where a proposed hop from the bead goes, and whether it takes place."""
    n_beads = walk.phase.shape[0]
    held, free = _occupancy(walk, around, parameters)
    ends = around.edges[:, bead]
    there = ends < n_beads
    target = jnp.minimum(ends[_pick(there.astype(held.dtype), end_draw)], n_beads - 1)
    chance = free[target] / SLOTS
    if parameters.interactions:
        site, pair = parameters.site_energy, parameters.neighbor_energy
        energy = site * (held[target] - held[bead] + 1.0) + pair * (walk.around[target] - walk.around[bead] - 1.0)
        chance = chance * jnp.exp(-0.5 * energy) / _hop_bound(walk, held, free, parameters)[bead]
    moves = jnp.any(there) & (held[bead] > 0) & (draw < chance)
    return moves, jnp.where(moves, target, bead)


def run_events(key: Array, walk: Walk, around: Surroundings, drive: Drive, parameters: ReactionParameters) -> Walk:
    """The walk at the end of its interval.

    key: typed key of the interval, folded with the number of each event. Cost of an event: a few passes over the S
    beads, and over their contacts where a unit changes its phase.
    """

    def settle(walk: Walk) -> Walk:
        return jax.lax.while_loop(lambda walk: walk.stale, lambda walk: _settled(walk, around, drive, parameters), walk)

    def advance(walk: Walk) -> Walk:
        return _next_event(key, settle(walk), around, drive, parameters)

    return jax.lax.while_loop(lambda walk: ~walk.done, advance, walk)

"""The collective charge-transfer rule in its well-mixed limit: inject, eject, share, nucleate, convert.

Each sulfur bead has M electron slots. Electrons enter and leave through beads that touch a wired Mo centre,
and are shared over the whole droplet between two checks (hopping much faster than injection). Each electron
brings one Li+ from the reservoir, so the charges of the beads do not change.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from dropsim_kernels.box import Box
from dropsim_kernels.clusters import connected_components, contact_graph, squared_distances
from dropsim_kernels.noise import bernoulli, step_key, uniform

SLOTS = 10  # electrons that turn one S6^2- into 6 Li2S
FLIP_STREAM, NUCLEATION_STREAM, SHARING_STREAM = 11, 12, 13


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReactionParameters:
    """The rule's numbers, all () arrays; times in ps, lengths in nm.

    rate_in, rate_out: k_in, k_out per contact and slot, 1/ps; interval: time between two checks;
    mo_contact, li_bridge, sulfur_contact: contact distances; threshold: x_s; nucleation_rate: k_nuc, 1/ps
    per unit; nucleation_barrier: B; minimum_size: units below which nothing nucleates;
    front_acceleration: chi, multiplies k_in of a converting droplet.
    """

    rate_in: Array
    rate_out: Array
    interval: Array
    mo_contact: Array
    li_bridge: Array
    sulfur_contact: Array
    threshold: Array
    nucleation_rate: Array
    nucleation_barrier: Array
    minimum_size: Array
    front_acceleration: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReactionState:
    """Per sulfur bead: electrons (S,) int32 (SLOTS on a converted bead), converted (S,) bool (is Li2S),
    converting (S,) bool (in a droplet where Li2S has nucleated); injected: () int32, net electrons that
    have crossed the centres since the start."""

    electrons: Array
    converted: Array
    converting: Array
    injected: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReactionInfo:
    """What one check did, per sulfur bead, for the event log.

    droplet: (S,) int32, smallest bead index of its droplet; contacts: (S,) int32; entered, left: (S,) int32,
    electrons through each bead's slots before sharing; nucleated, turned: (S,) bool, newly so.
    """

    droplet: Array
    contacts: Array
    entered: Array
    left: Array
    nucleated: Array
    turned: Array


def butler_volmer(rate_constant: float, transfer_coefficient: float, reduced_overpotential: float, exp) -> tuple:
    """Injection and ejection rates that obey detailed balance, k_in / k_out = exp(-f eta).

        k_in = k0 exp(-alpha f eta),   k_out = k0 exp((1 - alpha) f eta)

    rate_constant: k0; transfer_coefficient: alpha; reduced_overpotential: f eta = e (E - E0) / kT;
    exp: the exponential of the caller's array library. Returns (k_in, k_out) in the unit of k0.
    """
    return (
        rate_constant * exp(-transfer_coefficient * reduced_overpotential),
        rate_constant * exp((1.0 - transfer_coefficient) * reduced_overpotential),
    )


def flip_probabilities(rate_on: Array, rate_off: Array, interval: Array) -> tuple[Array, Array]:
    """Exact probabilities that a two-state slot has changed after an interval.

        p_on = a / (a + b) (1 - exp(-(a + b) t)),   p_off = b / (a + b) (1 - exp(-(a + b) t))

    rate_on, rate_off: a, b; any common shape. Returns (p_on, p_off), zero where both rates are.
    """
    total = rate_on + rate_off
    safe = jnp.where(total > 0, total, jnp.ones_like(total))
    changed = -jnp.expm1(-total * interval) / safe
    return rate_on * changed, rate_off * changed


def nucleation_hazard(fraction: Array, size: Array, parameters: ReactionParameters) -> Array:
    """Rate at which Li2S nucleates in a droplet, 1/ps.

        h = k_nuc N exp[-B / (x / x_s - 1)^2]  for x > x_s and N >= N_min, else 0

    fraction: x, reduced fraction N_e / (M N); size: N units; same shape.
    """
    excess = fraction / parameters.threshold - 1.0
    above = (excess > 0) & (size >= parameters.minimum_size)
    safe = jnp.where(above, excess, jnp.ones_like(excess))
    hazard = parameters.nucleation_rate * size * jnp.exp(-parameters.nucleation_barrier / safe**2)
    return jnp.where(above, hazard, jnp.zeros_like(hazard))


def rank_within(label: Array, value: Array) -> Array:
    """Position of each entry among those of its label, in ascending order of value; (K,) -> (K,) int32."""
    n_entries = label.shape[0]
    order = jnp.lexsort((value, label))
    sorted_label = label[order]
    index = jnp.arange(n_entries, dtype=jnp.int32)
    is_first = jnp.concatenate([jnp.ones((1,), bool), sorted_label[1:] != sorted_label[:-1]])
    first = jax.lax.cummax(jnp.where(is_first, index, jnp.int32(0)))
    return jnp.zeros((n_entries,), jnp.int32).at[order].set(index - first)


def charge_transfer_step(
    key: Array,
    step: Array,
    state: ReactionState,
    sulfur_position: Array,
    li_position: Array,
    mo_position: Array,
    mo_wired: Array,
    box: Box,
    parameters: ReactionParameters,
) -> tuple[ReactionState, ReactionInfo]:
    """Carry the reaction over one interval, the positions being held.

    In a droplet of N unconverted units with N_c contacts the electron count is a birth-death process with
    rates N_c k_in (M - N_e / N) and N_c k_out N_e / N: each of its M N slots fills at rate N_c k_in / N and
    empties at N_c k_out / N, independently. The slots are flipped with the exact two-state probabilities;
    then Li2S may nucleate (hazard at the new filling); a converting droplet turns floor(N_e / M) units,
    nearest to a centre first, each taking M electrons; the rest are dealt to the remaining slots uniformly
    (hypergeometric sharing). No step makes or loses an electron.

    key: (2,) uint32; step: () integer; sulfur_position (S, 3), li_position (L, 3), mo_position (C, 3) nm;
    mo_wired: (C,) bool, electronic contact. Returns the new state and what happened.
    Exact in time while the contact graph stands still and nothing nucleates; nucleation is decided at the
    end of the interval (first order in it).

    Source: the rule is dropsim's own reading of the paper; the hopping process whose fast limit it is:
    Giardina et al., J. Stat. Phys. 135, 25 (2009), doi 10.1007/s10955-009-9716-2.
    """
    n_units = state.electrons.shape[0]
    dtype = sulfur_position.dtype
    if n_units == 0:  # an electrolyte of salt alone
        none, never = jnp.zeros((0,), jnp.int32), jnp.zeros((0,), bool)
        return state, ReactionInfo(none, none, none, none, never, never)
    graph = contact_graph(sulfur_position, li_position, box, parameters.li_bridge, parameters.sulfur_contact)
    droplet = connected_components(graph)

    def total(per_unit: Array) -> Array:
        """Sum over the droplet of each unit, seen from the unit."""
        return jax.ops.segment_sum(per_unit, droplet, num_segments=n_units)[droplet]

    to_mo = squared_distances(sulfur_position, mo_position, box)
    touching = (to_mo < parameters.mo_contact**2) & mo_wired[None, :]
    contacts = jnp.sum(touching, axis=1, dtype=jnp.int32)
    liquid = ~state.converted
    n_liquid = total(liquid.astype(jnp.int32))
    n_members = total(jnp.ones_like(state.electrons)).astype(dtype)
    n_contacts = total(contacts).astype(dtype)
    # A converting droplet stays so while it holds solid, or enough flagged liquid to be a droplet at all.
    has_solid = total(state.converted.astype(jnp.int32)) > 0
    flagged = total(state.converting.astype(jnp.int32)) > 0
    converting = has_solid | (flagged & (n_members >= parameters.minimum_size))

    per_slot = n_contacts / jnp.maximum(n_liquid, 1).astype(dtype)
    speed = jnp.where(converting, parameters.front_acceleration, jnp.ones_like(per_slot))
    p_on, p_off = flip_probabilities(
        per_slot * speed * parameters.rate_in, per_slot * parameters.rate_out, parameters.interval
    )
    slot = jnp.arange(SLOTS, dtype=jnp.int32)
    occupied = (slot[None, :] < state.electrons[:, None]) & liquid[:, None]
    p_flip = jnp.where(occupied, p_off[:, None], p_on[:, None])
    flips = bernoulli(step_key(key, FLIP_STREAM, step), p_flip, (n_units, SLOTS)) & liquid[:, None]
    entered = jnp.sum(flips & ~occupied, axis=1, dtype=jnp.int32)
    left = jnp.sum(flips & occupied, axis=1, dtype=jnp.int32)
    pool = total(jnp.where(liquid, state.electrons + entered - left, 0))

    fraction = pool.astype(dtype) / jnp.maximum(SLOTS * n_liquid, 1).astype(dtype)
    hazard = nucleation_hazard(fraction, n_liquid.astype(dtype), parameters)
    # One draw per droplet: every member reads the outcome of its first unit, whose hazard is the same.
    event = bernoulli(step_key(key, NUCLEATION_STREAM, step), -jnp.expm1(-hazard * parameters.interval), (n_units,))
    nucleated = ~converting & event[droplet]
    converting = converting | nucleated

    nearest = jnp.min(to_mo, axis=1) if mo_position.shape[0] else sulfur_position[:, 2] ** 2
    place = rank_within(droplet, jnp.where(liquid, nearest, jnp.full_like(nearest, jnp.inf)))
    turned = converting & liquid & (place < pool // SLOTS)
    pool = pool - SLOTS * total(turned.astype(jnp.int32))
    converted = state.converted | turned
    liquid = ~converted

    # Deal the pool: the slots of a droplet's liquid units in random order, the first `pool` of them filled.
    deal = uniform(step_key(key, SHARING_STREAM, step), (n_units, SLOTS), dtype)
    deal = jnp.where(liquid[:, None], deal, jnp.full_like(deal, jnp.inf))
    rank = rank_within(jnp.repeat(droplet, SLOTS), deal.reshape(-1)).reshape(n_units, SLOTS)
    shared = jnp.sum((rank < pool[:, None]) & liquid[:, None], axis=1, dtype=jnp.int32)
    electrons = jnp.where(converted, jnp.int32(SLOTS), shared)

    injected = state.injected + jnp.sum(entered, dtype=jnp.int32) - jnp.sum(left, dtype=jnp.int32)
    return (
        ReactionState(electrons, converted, converting, injected),
        ReactionInfo(droplet, contacts, entered, left, nucleated, turned),
    )


def electron_imbalance(state: ReactionState) -> Array:
    """Electrons found on the beads minus electrons that crossed the centres: () int32, always zero."""
    return jnp.sum(state.electrons, dtype=jnp.int32) - state.injected

"""The reaction of sulfur beads with electrons: its numbers, its state and what is reported of an interval.

One sulfur bead is one S6^2-. Li2S6 + 10 Li+ + 10 e- -> 6 Li2S, through 3 Li2S2 after four electrons.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from dropsim_kernels.contacts import ContactSettings
from dropsim_kernels.rates import RateLaw

SLOTS = 10  # electrons that turn one S6^2- into 6 Li2S
INTERMEDIATE_ELECTRONS = 4  # and into 3 Li2S2
LIQUID, INTERMEDIATE, SOLID = 0, 1, 2

# Bits of `ReactionInfo.trouble`.
CONTACT_OVERFLOW, TOO_MANY_EVENTS = 1, 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReactionParameters:
    """The rule's numbers, all () arrays; times in ps, lengths in nm, energies in kT.

    interval: time between two checks; mo_contact, li_bridge, sulfur_contact, surface_contact: contact distances
    (centre, Li+, sulfur, electrode plane z = 0); tunnelling_range: how far from a wired centre or the reactive plane
    Li2S still exchanges electrons; hop_rate: k_hop; site_energy: U; neighbor_energy: J; threshold: x_s;
    nucleation_rate: k_nuc per unit; nucleation_barrier: B; minimum_size: units below which nothing nucleates;
    front_acceleration: chi, multiplies k_in of a converting droplet; opening_rate, opening_barrier,
    opening_barrier_later: dissolution of Li2S, the barrier at the first time and at later ones; law: electrode rates.

    Static: sharing, "mixed" (k_hop to infinity), "finite" or "none" (k_hop = 0); surface_sharing, whether beads at the
    electrode plane share electrons with their droplet; contacts: capacities; interactions, whether U or J may differ
    from zero (without them the program has no energies); max_events: events of one interval.
    """

    interval: Array
    mo_contact: Array
    li_bridge: Array
    sulfur_contact: Array
    surface_contact: Array
    tunnelling_range: Array
    hop_rate: Array
    site_energy: Array
    neighbor_energy: Array
    threshold: Array
    nucleation_rate: Array
    nucleation_barrier: Array
    minimum_size: Array
    front_acceleration: Array
    opening_rate: Array
    opening_barrier: Array
    opening_barrier_later: Array
    law: RateLaw
    contacts: ContactSettings = dataclasses.field(metadata={"static": True})
    sharing: str = dataclasses.field(default="mixed", metadata={"static": True})
    surface_sharing: bool = dataclasses.field(default=False, metadata={"static": True})
    interactions: bool = dataclasses.field(default=True, metadata={"static": True})
    max_events: int = dataclasses.field(default=100_000, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReactionState:
    """What the reaction has done to each sulfur bead.

    electrons: (S,) int32, 0 to 10; phase: (S,) int32, LIQUID (S6^2-, any number of electrons), INTERMEDIATE (3 Li2S2
    in solution, 4 to 9) or SOLID (6 Li2S, 10); converting: (S,) bool, in a droplet where Li2S has nucleated; direct:
    (S,) bool, takes or gives its electrons where it is, without passing through dissolved Li2S2; cycles: (S,) int32,
    times it was solid and dissolved again; injected, injected_surface: () int32, net electrons since the start
    through the centres and through the bare electrode (Li2S that it reaches included).
    """

    electrons: Array
    phase: Array
    converting: Array
    direct: Array
    cycles: Array
    injected: Array
    injected_surface: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReactionInfo:
    """What one interval did, per sulfur bead, for the event log; all (S,), counts int32.

    droplet: smallest index among the beads that share electrons with it; contacts: wired centres that it touches;
    at_surface: bool, adsorbed at the reactive electrode plane; entered, left: electrons through its contacts with
    centres; surface_entered, surface_left: through the bare electrode; nucleated: Li2S nucleated at it (one bead
    per nucleation); released: liquid to Li2S2 in solution; turned: to solid; opened: solid to liquid; oxidised:
    Li2S2 in solution to liquid. trouble: () int32, bits CONTACT_OVERFLOW, TOO_MANY_EVENTS.
    """

    droplet: Array
    contacts: Array
    at_surface: Array
    entered: Array
    left: Array
    surface_entered: Array
    surface_left: Array
    nucleated: Array
    released: Array
    turned: Array
    opened: Array
    oxidised: Array
    trouble: Array


def initial_reaction_state(n_sulfur: int) -> ReactionState:
    """The state before any electron has come: n_sulfur liquid beads."""
    zero, never = jnp.zeros((n_sulfur,), jnp.int32), jnp.zeros((n_sulfur,), bool)
    none = jnp.zeros((), jnp.int32)
    return ReactionState(zero, zero, never, never, zero, none, none)


def electron_imbalance(state: ReactionState) -> Array:
    """Electrons found on the beads minus electrons that came in: () int32, always zero."""
    return jnp.sum(state.electrons, dtype=jnp.int32) - state.injected - state.injected_surface


def nucleation_hazard(fraction: Array, size: Array, parameters: ReactionParameters) -> Array:
    """Rate at which Li2S nucleates in a droplet, 1/ps.

        h = k_nuc N exp[-B / (x / x_s - 1)^2]  for x > x_s and N >= N_min, else 0

    fraction: x, reduced fraction N_e / (M N); size: N liquid units; same shape.
    """
    excess = fraction / parameters.threshold - 1.0
    above = (excess > 0) & (size >= parameters.minimum_size)
    safe = jnp.where(above, excess, jnp.ones_like(excess))
    hazard = parameters.nucleation_rate * size * jnp.exp(-parameters.nucleation_barrier / safe**2)
    return jnp.where(above, hazard, jnp.zeros_like(hazard))

"""Looks at the reaction and their parts, each as a loop on the device that nothing can be taken out of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.charge_transfer import (
    SLOTS,
    Drive,
    ReactionParameters,
    ReactionState,
    charge_transfer_step,
    drive_at,
    initial_reaction_state,
)
from dropsim_kernels.clusters import connected_components
from dropsim_kernels.contacts import allocate_contacts, find_contacts
from jax import Array

from dropsim.system import VACANT, State, System


@dataclasses.dataclass(frozen=True)
class Look:
    """loop(n): n calls on the device; events: expected electrons in motion per call, None for a part."""

    what: Literal["look", "part"]
    sharing: str
    loop: Callable[[int], None]
    events: float | None = None


@dataclasses.dataclass(frozen=True)
class Places:
    """Positions of one configuration, as the reaction is handed them."""

    sulfur: Array
    li: Array
    present: Array
    mo: Array
    wired: Array
    system: System

    @classmethod
    def of(cls, state: State, system: System) -> Places:
        """The places of the beads of a state."""
        n_sulfur, n_li = system.n_sulfur, system.n_li
        li = slice(n_sulfur, n_sulfur + n_li)
        return cls(
            state.position[:n_sulfur],
            state.position[li],
            state.species[li] != VACANT,
            system.site_position[: system.n_mo],
            system.mo_wired,
            system,
        )


def looped(call: Callable[[Array, Array], Array], sulfur: Array) -> Callable[[int], None]:
    """n calls one after the other: each is handed positions that come out of the one before, and are the same."""

    @jax.jit
    def repeated(n_calls: Array, nothing: Array, sulfur: Array) -> Array:
        def body(counter: Array, position: Array) -> Array:
            # `nothing` is 0 when it runs, and the compiler does not know.
            return position + nothing * call(counter, position).astype(position.dtype)

        return jax.lax.fori_loop(0, n_calls, body, sulfur)

    nothing = jnp.zeros((), sulfur.dtype)

    def loop(n_calls: int) -> None:
        repeated(jnp.int32(n_calls), nothing, sulfur).block_until_ready()

    return loop


def looks_of(
    state: State, system: System, sharings: Sequence[str], filling: float, hops: float
) -> tuple[dict[str, Look], dict[str, Any]]:
    """Looks without electrons and with a share `filling` of the slots full, in each way of sharing; and their parts.

    hops: expected hops between two looks, which set the hop rate. Returns the looks and facts of the configuration.
    """
    places = Places.of(state, system)
    rule = system.reaction
    distances = tuple(float(x) for x in (rule.sulfur_contact, rule.li_bridge, rule.mo_contact))
    room = {
        edges: allocate_contacts(places.sulfur, places.li, places.mo, system.box, *distances, with_edges=edges)
        for edges in (False, True)
    }

    def contacts(sulfur: Array, edges: bool):
        return find_contacts(
            sulfur, places.li, places.present, places.mo, system.box, rule.sulfur_contact, rule.li_bridge,
            rule.mo_contact, room[edges],
        )  # fmt: skip

    found = jax.jit(contacts, static_argnums=1)(places.sulfur, True)
    if bool(found.overflow) or found.edges is None:
        raise RuntimeError("the tables of contacts overflow at the configuration they were made for")
    n_sulfur = places.sulfur.shape[0]
    everyone = jnp.ones((n_sulfur,), bool)
    label = np.asarray(jax.jit(connected_components)(found.direct, found.bridges, everyone))
    sizes = np.bincount(label, minlength=n_sulfur)
    electrons = np.random.default_rng(2).binomial(SLOTS, filling, n_sulfur)
    edges = np.asarray(found.edges)
    held = np.append(electrons, SLOTS)  # an empty place takes nothing
    per_rate = float(np.sum(electrons[None, :] * (SLOTS - held[edges])))
    hop_rate = hops / (per_rate * float(rule.interval)) if per_rate else 0.0
    facts = {
        "n_contacts": int(np.sum(np.asarray(found.touching) < n_sulfur)),
        "edges_per_bead": round(float(np.mean(np.sum(edges < n_sulfur, axis=0))), 2),
        "n_droplets": int(np.sum(sizes > 0)),
        "largest_droplet": int(sizes.max()),
    }

    drive = drive_at(jnp.asarray(-0.1, places.sulfur.dtype), jnp.asarray(True), rule.law)
    rest = drive_at(jnp.asarray(-0.1, places.sulfur.dtype), jnp.asarray(False), rule.law)
    empty = initial_reaction_state(n_sulfur)
    charged = dataclasses.replace(
        empty, electrons=jnp.asarray(electrons, jnp.int32), injected=jnp.asarray(electrons.sum(), jnp.int32)
    )
    out: dict[str, Look] = {}
    for sharing in sharings:
        finite = sharing == "finite"
        parameters = dataclasses.replace(
            rule,
            sharing=sharing,
            contacts=room[finite],
            hop_rate=jnp.asarray(hop_rate, places.sulfur.dtype),
            nucleation_rate=jnp.zeros((), places.sulfur.dtype),
        )
        crossing = events_per_look(places, charged, drive, parameters, state.key)
        out[f"{sharing}, idle"] = Look("look", sharing, whole(places, empty, rest, parameters, state.key), 0.0)
        events = crossing + (hops if finite and per_rate else 0.0)
        out[f"{sharing}, busy"] = Look(
            "look", sharing, whole(places, charged, drive, parameters, state.key), float(f"{events:.3g}")
        )

    def table(_: Array, sulfur: Array) -> Array:
        found = contacts(sulfur, False)
        return jnp.sum(found.direct) + jnp.sum(found.bridges) + jnp.sum(found.touching)

    def table_of_edges(_: Array, sulfur: Array) -> Array:
        found = contacts(sulfur, True)
        assert found.edges is not None
        return jnp.sum(found.direct) + jnp.sum(found.bridges) + jnp.sum(found.touching) + jnp.sum(found.edges)

    def droplets(_: Array, sulfur: Array) -> Array:
        # The tables are those of one configuration, but the compiler is not to know that they stay.
        there = sulfur[:, 0] > -jnp.inf
        return jnp.sum(connected_components(found.direct, found.bridges, there))

    for name, call in (("contacts", table), ("contacts and edges", table_of_edges), ("droplets", droplets)):
        out[name] = Look("part", "", looped(call, places.sulfur))
    return out, facts


def one_look(
    places: Places, state: ReactionState, drive: Drive, parameters: ReactionParameters, key: Array, step: Array,
    sulfur: Array,
):  # fmt: skip
    """The kernel at these places."""
    return charge_transfer_step(
        key,
        step,
        state,
        drive,
        sulfur,
        places.li,
        places.present,
        places.mo,
        places.wired,
        places.system.box,
        parameters,
    )


def whole(
    places: Places, state: ReactionState, drive: Drive, parameters: ReactionParameters, key: Array
) -> Callable[[int], None]:
    """Looks at the same state, each with a noise of its own."""

    def call(step: Array, sulfur: Array) -> Array:
        after, info = one_look(places, state, drive, parameters, key, step, sulfur)
        used = (after.electrons, after.phase, info.droplet, info.entered, info.left, info.turned, info.trouble)
        return sum((jnp.sum(x) for x in used), jnp.zeros((), jnp.int32))

    return looped(call, places.sulfur)


def events_per_look(
    places: Places, state: ReactionState, drive: Drive, parameters: ReactionParameters, key: Array, n_looks: int = 20
) -> float:
    """Mean electrons through the interface in one look. Raises RuntimeError where the kernel reports trouble."""

    @jax.jit
    def crossing(step: Array) -> tuple[Array, Array]:
        _, info = one_look(places, state, drive, parameters, key, step, places.sulfur)
        through = info.entered + info.left + info.surface_entered + info.surface_left
        return jnp.sum(through), info.trouble

    counts = [crossing(jnp.int32(number)) for number in range(n_looks)]
    if any(int(trouble) for _, trouble in counts):
        raise RuntimeError("the reaction reports trouble: nothing can be timed")
    return float(np.mean([int(count) for count, _ in counts]))

"""Li+ that follow electrons into the box and out of it, where electrons are transferred bare."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from dropsim_kernels.reservoir import ReservoirInfo, exchange_lithium, exchanged_velocities, reservoir_region
from jax import Array

from dropsim.system import LI, VACANT, State, System


def with_lithium(state: State, system: System, change: Array) -> tuple[State, ReservoirInfo]:
    """The state after as many Li+ have entered as electrons, change: () int32, or left where it is negative.

    Contact distances are those of the mixed sigma. The state's forces, energy and neighbour list are those of before:
    renew the list (`with_neighbors`), then the forces. Images of an ion that enters count from there. Where
    `info.short` is set, slots ran out and the box is no longer neutral.
    """
    first, last = system.n_sulfur, system.n_sulfur + system.n_li
    sigma = system.force_field.sigma
    others = jnp.concatenate([state.position[:first], state.position[last:], system.site_position])
    kinds = jnp.concatenate([state.species[:first], state.species[last:], system.site_species])
    position, present, info = exchange_lithium(
        state.key,
        state.step,
        change,
        state.position[first:last],
        state.species[first:last] == LI,
        sigma[LI],
        others,
        0.5 * (sigma[LI] + sigma[kinds]),
        reservoir_region(system.box),
        system.box,
    )
    velocity = exchanged_velocities(
        state.key, state.step, state.velocity[first:last], info, system.thermal_energy, system.mass[LI]
    )
    image = jnp.where(info.inserted[:, None], 0, state.image[first:last])
    species = jnp.where(present, jnp.int32(LI), jnp.int32(VACANT))
    state = dataclasses.replace(
        state,
        position=state.position.at[first:last].set(position),
        image=state.image.at[first:last].set(image),
        velocity=state.velocity.at[first:last].set(velocity),
        species=state.species.at[first:last].set(species),
    )
    return state, info

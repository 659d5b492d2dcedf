"""The parts of one step of the main run, each as a loop on the device that nothing can be taken out of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from dropsim_kernels.charge_transfer import charge_transfer_step, drive_at
from dropsim_kernels.electrostatics.ewald import reciprocal, slab_correction
from dropsim_kernels.noise import gaussian_vectors, step_key
from dropsim_kernels.pairs import pair_forces
from jax import Array
from workload import Stretch, built_with, main_config, size_record

from dropsim.forces import bead_charges, pair_energy, pair_parameters, site_charges, total_forces, wall_energy
from dropsim.simulate import step
from dropsim.system import LI, State, System

Part = Callable[[Array, Array, State, System], Array]


def charges_of(state: State, system: System) -> Array:
    """Charge of each mobile bead, e."""
    return bead_charges(state.species, state.reaction.electrons, system)


def whole_step(position: Array, counter: Array, state: State, system: System) -> Array:
    """Everything that a Langevin step does; the new force is used, or it would not be evaluated."""
    state = dataclasses.replace(state, position=position, step=counter)
    after = step(state, system)
    return after.position + after.velocity + after.force + after.energy


def all_forces(position: Array, counter: Array, state: State, system: System) -> Array:
    """The force evaluation of a step."""
    del counter
    energy, force = total_forces(position, state.species, state.reaction.electrons, state.neighbors, system)
    return force + energy


def pairs(position: Array, counter: Array, state: State, system: System) -> Array:
    """Lennard-Jones and the real-space Coulomb sum, over the pairs as the run meets them."""
    del counter
    mobile = pair_parameters(state.species, charges_of(state, system), system)
    sites = pair_parameters(system.site_species, site_charges(system), system)
    everything = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), mobile, sites)
    neighbors = state.neighbors if system.neighbors.capacity else None
    energy, force, _ = pair_forces(
        pair_energy(system),
        position,
        system.site_position,
        mobile,
        everything,
        neighbors,
        system.box,
        system.neighbors.cutoff,
    )
    return force + energy


def reciprocal_sum(position: Array, counter: Array, state: State, system: System) -> Array:
    """The sum over wave vectors."""
    del counter
    charge = charges_of(state, system)
    energy, force = reciprocal(position, charge, system.box, system.splitting, system.fixed_charges.structure)
    return force + energy


def slab(position: Array, counter: Array, state: State, system: System) -> Array:
    """The correction for two periodic directions."""
    del counter
    charge = charges_of(state, system)
    energy, force = slab_correction(position, charge, system.box, system.splitting, system.fixed_charges.moments)
    return force + energy


def walls(position: Array, counter: Array, state: State, system: System) -> Array:
    """Both walls and the charged sheet, energy and force."""
    del counter
    charge = charges_of(state, system)
    energy, slope = jax.value_and_grad(lambda z: jnp.sum(wall_energy(z, state.species, charge, system)))(position[:, 2])
    return position.at[:, 2].set(energy - slope)


def noise(position: Array, counter: Array, state: State, system: System) -> Array:
    """The Gaussian vectors of a Langevin step."""
    del system
    return gaussian_vectors(step_key(state.key, 1, counter), position.shape[0], position.dtype)


def charge_transfer(position: Array, counter: Array, state: State, system: System) -> Array:
    """One look at the reaction: contact graph, droplets, electrons."""
    n_sulfur, n_li = system.n_sulfur, system.n_li
    reaction, info = charge_transfer_step(
        state.key,
        counter,
        state.reaction,
        drive_at(system.electrode.potential, system.electrode.connected, system.reaction.law),
        position[:n_sulfur],
        position[n_sulfur : n_sulfur + n_li],
        state.species[n_sulfur : n_sulfur + n_li] == LI,
        system.site_position[: system.n_mo],
        system.mo_wired,
        system.box,
        system.reaction,
    )
    used = jnp.sum(reaction.electrons) + jnp.sum(info.droplet) + jnp.sum(info.entered)
    return jnp.broadcast_to(used.astype(position.dtype), position.shape)


PARTS: dict[str, Part] = {
    "whole step": whole_step,
    "all forces": all_forces,
    "pairs": pairs,
    "reciprocal sum": reciprocal_sum,
    "slab correction": slab,
    "walls": walls,
    "noise": noise,
    "charge transfer": charge_transfer,
}


def part_loops(precision: str) -> Iterator[tuple[str, float, dict[str, Any], Callable[[int], None]]]:
    """(name, calls per step, size, loop(n)) of each part, at beads that have gathered for one chunk."""
    built = built_with(main_config(precision), "chosen")
    gather, react = built.plan[0], built.plan[-1]
    made = Stretch(built.state, built.system, gather, gather.chunk_frames, gather.record_steps, 0)
    state, system = made.state, made.system
    for name, part in PARTS.items():
        per_step = 1.0 / react.check_steps if part is charge_transfer else 1.0
        yield name, per_step, size_record(built, system), _loop(part, state, system)


def _loop(part: Part, state: State, system: System) -> Callable[[int], None]:
    @jax.jit
    def repeated(n_calls: Array, nothing: Array, state: State, system: System) -> Array:
        def body(counter: Array, position: Array) -> Array:
            # Each call needs the outcome of the one before, and none moves a bead: `nothing` is 0 when it runs.
            return position + nothing * part(position, counter, state, system)

        return jax.lax.fori_loop(0, n_calls, body, state.position)

    nothing = jnp.zeros((), state.position.dtype)

    def loop(n_calls: int) -> None:
        repeated(jnp.int32(n_calls), nothing, state, system).block_until_ready()

    return loop

"""The loop: a plan of stages, advanced chunk by chunk on the device.

A chunk is one compiled program of many steps. The host looks at it once: at its frames, its reaction log and
its error bits. What a chunk did does not depend on where a run was cut and resumed; nor on its length, as long
as no neighbour list has to be given more room.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box, wrap
from dropsim_kernels.charge_transfer import CONTACT_OVERFLOW as TABLE_FULL
from dropsim_kernels.charge_transfer import TOO_MANY_EVENTS as UNFINISHED
from dropsim_kernels.charge_transfer import (
    ReactionInfo,
    charge_transfer_step,
    drive_at,
    electron_imbalance,
)
from dropsim_kernels.contacts import regrow_contacts
from dropsim_kernels.hydrodynamics import WallMobility
from dropsim_kernels.integrators import INTEGRATORS, Dynamics, descent_step, thermal_velocities
from dropsim_kernels.neighbors import NeighborList, NeighborSettings, build, grown, needs_rebuild, regrow
from dropsim_kernels.reservoir import exchange_lithium, exchanged_velocities, reservoir_region
from jax import Array

from dropsim.errors import SimulationError
from dropsim.forces import total_forces, total_laplacian
from dropsim.system import (
    CONTACT_OVERFLOW,
    ELECTRON_IMBALANCE,
    LI,
    LI2S,
    LI2S2,
    NEIGHBOR_OVERFLOW,
    NO_LITHIUM,
    NOT_FINITE,
    S6,
    TOO_MANY_EVENTS,
    VACANT,
    Electrode,
    State,
    System,
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stretch of a run at one integrator and time step; all durations in steps.

    check_steps: steps between two looks at the reaction, 0 where electrons may not be transferred;
    chunk_frames: frames per compiled call; friction_per_ps: of each species (Langevin). `accelerated`: the clock is
    not the physical one (Langevin with a friction far below that of the solvent). potential_V: of the electrode, at the
    start where potential_end_V is given: it then moves linearly, in treads of one check, each at the potential of its
    middle; connected: false at open circuit.
    """

    name: str
    integrator: str
    n_steps: int
    timestep_ps: float
    friction_per_ps: tuple[float, ...]
    wall_mobility: bool
    record_steps: int
    check_steps: int
    chunk_frames: int
    accelerated: bool
    potential_V: float = 0.0
    potential_end_V: float | None = None
    connected: bool = True

    def of(self, system: System, first_step: int = 0) -> System:
        """The system under this stage's integrator and potential; first_step: the step that it begins at."""
        dtype = system.thermal_energy.dtype
        end = self.potential_V if self.potential_end_V is None else self.potential_end_V
        per_step = (end - self.potential_V) / self.n_steps
        electrode = Electrode(
            jnp.asarray(first_step + self.check_steps, jnp.int32),
            jnp.asarray(self.potential_V + 0.5 * self.check_steps * per_step, dtype),
            jnp.asarray(per_step, dtype),
            jnp.asarray(self.connected),
        )
        return dataclasses.replace(
            system,
            integrator=self.integrator,
            wall_mobility=self.wall_mobility,
            timestep=jnp.asarray(self.timestep_ps, dtype),
            electrode=electrode,
            friction=jnp.asarray(self.friction_per_ps, dtype),
        )


# Species of a sulfur bead by its phase (LIQUID, INTERMEDIATE, SOLID of the reaction).
SPECIES_OF_PHASE = (S6, LI2S2, LI2S)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One frame: what is written of the state; position (N, 3) nm, electrons (S,), energies () kJ/mol,
    force_squared () kJ^2/(mol nm)^2 and laplacian () kJ/(mol nm^2): sums over the beads, of which the configurational
    temperature is made."""

    step: Array
    position: Array
    image: Array
    species: Array
    electrons: Array
    energy: Array
    kinetic_energy: Array
    force_squared: Array
    laplacian: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CheckRecord:
    """One look at the reaction: what it did, and the ledger's terms after it, all counted from the arrays.

    electrons: (S,) int32 of the sulfur beads; beads: (K,) int32, mobile beads of each species; injected,
    injected_surface: () int32, net electrons that have crossed the centres, and the bare electrode; potential: () V,
    nan at open circuit.
    """

    step: Array
    info: ReactionInfo
    electrons: Array
    beads: Array
    injected: Array
    injected_surface: Array
    potential: Array


@dataclasses.dataclass(frozen=True)
class Chunk:
    """What one compiled call brought back: frames with a leading (F,) axis, checks with (C,)."""

    stage_index: int
    state: State
    system: System
    frames: Snapshot
    checks: CheckRecord | None
    wall_s: float


def dynamics_of(species: Array, system: System) -> Dynamics:
    """Per-bead mobilities, masses and frictions for the integrators."""
    walls = None
    if system.wall_mobility:
        walls = WallMobility(system.hydrodynamic_radius[species][:, None], system.box.lengths[2])
    return Dynamics(
        system.timestep,
        system.thermal_energy,
        system.diffusivity[species][:, None],
        system.mass[species][:, None],
        system.friction[species][:, None],
        walls,
    )


def with_forces(state: State, system: System) -> State:
    """The state with energy and forces of its own positions and species; sets NOT_FINITE where they are none."""
    energy, force = total_forces(state.position, state.species, state.reaction.electrons, state.neighbors, system)
    good = jnp.all(jnp.isfinite(force))
    if not system.box.periodic[2]:
        # Beyond a wall its potential is finite and pulls outwards: a bead there is as lost as one at nan.
        z = state.position[:, 2]
        good = good & jnp.all((z > 0) & (z < system.box.lengths[2]))
    bad = jnp.where(good, 0, NOT_FINITE).astype(jnp.int32)
    return dataclasses.replace(state, energy=energy, force=force, error=state.error | bad)


def new_list(position: Array, site_position: Array, box: Box, settings: NeighborSettings) -> NeighborList:
    """A neighbour list at these positions; an empty one where all pairs are evaluated (capacity 0)."""
    if settings.capacity:
        return build(position, site_position, box, settings)
    empty = jnp.zeros((position.shape[0], 0), jnp.int32)
    return NeighborList(empty, position, jnp.zeros((), bool), None, None, None)


def with_neighbors(state: State, system: System) -> State:
    """The state with a neighbour list that is good at its positions, rebuilt only where it must be."""
    if not system.neighbors.capacity:
        return state

    def rebuilt(position: Array) -> NeighborList:
        return build(position, system.site_position, system.box, system.neighbors)

    neighbors = jax.lax.cond(
        needs_rebuild(state.neighbors, state.position, system.box, system.neighbors),
        rebuilt,
        lambda _: state.neighbors,
        state.position,
    )
    bad = jnp.where(neighbors.overflow, NEIGHBOR_OVERFLOW, 0).astype(jnp.int32)
    return dataclasses.replace(state, neighbors=neighbors, error=state.error | bad)


def without_vacant(state: State, position: Array, velocity: Array) -> tuple[Array, Array]:
    """Positions and velocities after a step in which vacant slots of the lithium reservoir have not moved."""
    present = (state.species != VACANT)[:, None]
    return jnp.where(present, position, state.position), jnp.where(present, velocity, jnp.zeros_like(velocity))


def step(state: State, system: System) -> State:
    """One time step of the system's integrator. The energy is left as it was: nobody reads it between frames, and
    unread it costs nothing (a tenth of the step)."""
    energy = state.energy
    integrator = INTEGRATORS[system.integrator]
    dynamics = dynamics_of(state.species, system)
    position, velocity = integrator.advance(
        state.key, state.step, state.position, state.velocity, state.force, dynamics
    )
    if system.bare:
        position, velocity = without_vacant(state, position, velocity)
    # In a box without walls beads that have become too fast stay inside, and their forces finite.
    lengths = jnp.broadcast_to(system.box.lengths.astype(position.dtype), position.shape)
    good = jnp.all(jnp.abs(position - state.position) < 0.5 * lengths)
    bad = jnp.where(good, 0, NOT_FINITE).astype(jnp.int32)
    position, image = wrap(position, state.image, system.box)
    state = dataclasses.replace(
        state, position=position, image=image, velocity=velocity, step=state.step + 1, error=state.error | bad
    )
    state = with_forces(with_neighbors(state, system), system)
    return dataclasses.replace(state, velocity=integrator.finish(velocity, state.force, dynamics), energy=energy)


def bit(bad: Array, number: int) -> Array:
    """An error bit where something is bad, else 0, () int32."""
    return jnp.where(bad, number, 0).astype(jnp.int32)


def react(state: State, system: System) -> tuple[State, CheckRecord]:
    """One look at the reaction: electrons, nucleation, dissolution; forces anew where they have changed."""
    n_sulfur, n_li = system.n_sulfur, system.n_li
    lithium = slice(n_sulfur, n_sulfur + n_li)
    before, electrode = state.reaction, system.electrode
    potential = electrode.at(state.step)
    reaction, info = charge_transfer_step(
        state.key,
        state.step,
        before,
        drive_at(potential, electrode.connected, system.reaction.law),
        state.position[:n_sulfur],
        state.position[lithium],
        state.species[lithium] == LI,
        system.site_position[: system.n_mo],
        system.mo_wired,
        system.box,
        system.reaction,
    )
    sulfur = jnp.asarray(SPECIES_OF_PHASE, jnp.int32)[reaction.phase]
    changed = jnp.any(sulfur != state.species[:n_sulfur])
    error = (
        state.error
        | bit(info.trouble & TABLE_FULL != 0, CONTACT_OVERFLOW)
        | bit(info.trouble & UNFINISHED != 0, TOO_MANY_EVENTS)
        | bit(electron_imbalance(reaction) != 0, ELECTRON_IMBALANCE)
    )
    state = dataclasses.replace(state, reaction=reaction, species=state.species.at[:n_sulfur].set(sulfur), error=error)
    if system.bare:
        through = reaction.injected + reaction.injected_surface - before.injected - before.injected_surface
        changed = changed | jnp.any(reaction.electrons != before.electrons)
        state = with_lithium(state, through, system)
        state = jax.lax.cond(changed, lambda s: with_forces(with_neighbors(s, system), system), lambda s: s, state)
    else:
        state = jax.lax.cond(changed, lambda s: with_forces(s, system), lambda s: s, state)
    kinds = jnp.arange(system.mass.shape[0], dtype=jnp.int32)
    beads = jnp.sum(state.species[None, :] == kinds[:, None], axis=1, dtype=jnp.int32)
    seen = jnp.where(electrode.connected, potential, jnp.full_like(potential, jnp.nan))
    record = CheckRecord(
        state.step, info, reaction.electrons, beads, reaction.injected, reaction.injected_surface, seen
    )
    return state, record


def with_lithium(state: State, change: Array, system: System) -> State:
    """The state after as many Li+ have come from the reservoir, far from the electrode, as electrons through it.

    change: () int32, below 0 where Li+ go back. Forces and neighbour list are those from before. Sets NO_LITHIUM where
    no slot is left.
    """
    first, last = system.n_sulfur, system.n_sulfur + system.n_li
    field, species = system.force_field, state.species
    others = jnp.concatenate([state.position[:first], state.position[last:], system.site_position])
    kinds = jnp.concatenate([species[:first], species[last:], system.site_species])
    sigma = field.sigma
    slots = species[first:last]
    position, present, info = exchange_lithium(
        state.key,
        state.step,
        change,
        state.position[first:last],
        slots == LI,
        sigma[LI],
        others,
        0.5 * (sigma[LI] + sigma[kinds]),
        reservoir_region(system.box),
        system.box,
    )
    after = jnp.where(present, LI, VACANT).astype(jnp.int32)
    velocity = exchanged_velocities(
        state.key, state.step, state.velocity[first:last], info, system.thermal_energy, system.mass[LI]
    )
    # Where an ion enters, its path begins.
    image = jnp.where(info.inserted[:, None], 0, state.image[first:last])
    return dataclasses.replace(
        state,
        position=state.position.at[first:last].set(position),
        image=state.image.at[first:last].set(image),
        velocity=state.velocity.at[first:last].set(velocity),
        species=species.at[first:last].set(after),
        error=state.error | bit(info.short, NO_LITHIUM),
    )


def snapshot(state: State, system: System) -> Snapshot:
    """What a frame keeps of the state."""
    mass = system.mass[state.species][:, None]
    kinetic = 0.5 * jnp.sum(mass * state.velocity**2)
    laplacian = total_laplacian(state.position, state.species, state.reaction.electrons, state.neighbors, system)
    return Snapshot(
        state.step,
        state.position,
        state.image,
        state.species,
        state.reaction.electrons,
        state.energy,
        kinetic,
        jnp.sum(state.force**2),
        laplacian,
    )


@partial(jax.jit, static_argnames=("n_frames", "record_steps", "check_steps"))
def advance(
    state: State, system: System, n_frames: int, record_steps: int, check_steps: int
) -> tuple[State, Snapshot, CheckRecord | None]:
    """n_frames frames of record_steps steps each, with a look at the reaction every check_steps (0: never)."""

    def moves(state: State, n_steps: int) -> State:
        return jax.lax.fori_loop(0, n_steps, lambda _, s: step(s, system), state)

    def interval(state: State, _) -> tuple[State, CheckRecord]:
        return react(moves(state, check_steps), system)

    def frame(state: State, _):
        if check_steps:
            state, checks = jax.lax.scan(interval, state, length=record_steps // check_steps)
        else:
            state, checks = moves(state, record_steps), None
        energy, _ = total_forces(state.position, state.species, state.reaction.electrons, state.neighbors, system)
        state = dataclasses.replace(state, energy=energy)
        return state, (snapshot(state, system), checks)

    state, (frames, checks) = jax.lax.scan(frame, state, length=n_frames)
    if checks is not None:
        checks = jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), checks)
    return state, frames, checks


@partial(jax.jit, static_argnames=("n_steps",))
def minimise(state: State, system: System, n_steps: int) -> State:
    """Steepest descent that only takes steps downhill: the limit on a step halves on a rise, grows on a fall.

    state: its energy and forces are computed here first, its neighbour list must be good; n_steps: trials.
    """
    state = with_forces(state, system)

    def descend(_, carry: tuple[State, Array]) -> tuple[State, Array]:
        state, limit = carry
        position, image = wrap(descent_step(state.position, state.force, limit), state.image, system.box)
        trial = dataclasses.replace(state, position=position, image=image)
        trial = with_forces(with_neighbors(trial, system), system)
        better = trial.energy < state.energy
        state = jax.tree.map(lambda a, b: jnp.where(better, a, b), trial, state)
        return state, jnp.where(better, limit * 1.2, limit * 0.5)

    limit = jnp.asarray(0.01, state.position.dtype)
    return jax.lax.fori_loop(0, n_steps, descend, (state, limit))[0]


@jax.jit
def thermalise(state: State, system: System) -> State:
    """The state with Maxwell-Boltzmann velocities (nm/ps), a function of the seed and the step."""
    mass = system.mass[state.species][:, None]
    velocity = thermal_velocities(state.key, state.step, system.thermal_energy, mass)
    if system.bare:
        _, velocity = without_vacant(state, state.position, velocity)
    return dataclasses.replace(state, velocity=velocity)


def renewed_neighbors(state: State, system: System) -> tuple[State, System]:
    """A fresh list, with more room until everything fits; on the host."""
    for _ in range(20):
        neighbors = new_list(state.position, system.site_position, system.box, system.neighbors)
        if not bool(neighbors.overflow):
            return dataclasses.replace(state, neighbors=neighbors), system
        system = dataclasses.replace(system, neighbors=regrow(system.neighbors))
    raise SimulationError(
        f"the neighbour list still overflows at a capacity of {system.neighbors.capacity}: "
        "the beads are denser than any liquid; check sigma_nm and the box"
    )


def with_more_room(state: State, system: System) -> tuple[State, System]:
    """Larger capacities, the list itself unchanged: the same pairs in the same order.

    Sums over wider rows may round otherwise, so from here on the path depends on where the chunk began.
    """
    settings = regrow(system.neighbors)
    neighbors = grown(state.neighbors, settings)
    return dataclasses.replace(state, neighbors=neighbors), dataclasses.replace(system, neighbors=settings)


def with_more_contacts(system: System) -> System:
    """Larger tables of contacts for the reaction, in which nothing rounds: the path stays as it was."""
    rule = system.reaction
    return dataclasses.replace(system, reaction=dataclasses.replace(rule, contacts=regrow_contacts(rule.contacts)))


def explain(error: int, stage: Stage, first_step: int, last_step: int) -> str:
    """The text for error bits other than overflows, which are repaired."""
    where = f"stage '{stage.name}', between steps {first_step} and {last_step}"
    if error & NOT_FINITE:
        return (
            f"{where}: a force is not finite, or a bead is beyond a wall or crossed half the box in a step; reduce "
            f"timestep_fs of this stage (it is {1000 * stage.timestep_ps:g} fs) and start the run again; the "
            "trajectory is whole up to its last frame"
        )
    if error & TOO_MANY_EVENTS:
        return (
            f"{where}: more electrons moved between two looks at the reaction than can be followed one by one; lower "
            "reaction.check_every_ps, or the rates (rate_constant_per_ps, front_acceleration, "
            "surface_rate_constant_per_ps, hop_rate_per_ps; a potential nearer to standard_potential_V and smaller "
            "energies lower them too), and start the run again"
        )
    if error & NO_LITHIUM:
        return (
            f"{where}: the Li+ reservoir is empty (or cannot take Li+ back, as none is left in the box); raise "
            "reaction.lithium_slots and start the run again"
        )
    return f"{where}: the electron ledger does not close; this is a defect of dropsim, please report it with the seed"


def simulate(
    system: System, state: State, plan: tuple[Stage, ...], *, start: tuple[int, int] = (0, 0)
) -> Iterator[Chunk]:
    """Carry out the plan and yield it chunk by chunk.

    system, state: as `build` made them, or as a checkpoint holds them; plan: the stages; start: (stage, step
    within it) where to begin. An overflow of neighbours or contacts repeats the chunk with more room; anything
    else that goes wrong raises SimulationError, after the last good chunk has been yielded.
    """
    first_stage, done = start
    for index in range(first_stage, len(plan)):
        stage = plan[index]
        if done == 0 and not INTEGRATORS[stage.integrator].overdamped:
            state = thermalise(state, system)
        while done < stage.n_steps:
            n_frames = min(stage.chunk_frames, (stage.n_steps - done) // stage.record_steps)
            staged = stage.of(system, int(state.step) - done)
            began = time.perf_counter()
            after, frames, checks = advance(state, staged, n_frames, stage.record_steps, stage.check_steps)
            error = int(after.error)
            if error & (NEIGHBOR_OVERFLOW | CONTACT_OVERFLOW):
                if error & NEIGHBOR_OVERFLOW:
                    state, system = with_more_room(state, system)
                if error & CONTACT_OVERFLOW:
                    system = with_more_contacts(system)
                continue
            if error:
                at = int(state.step)
                raise SimulationError(explain(error, stage, at, at + n_frames * stage.record_steps))
            state = after
            done += n_frames * stage.record_steps
            yield Chunk(index, state, system, frames, checks, time.perf_counter() - began)
        done = 0


def to_numpy(tree):
    """Device arrays brought to the host."""
    return jax.tree.map(np.asarray, tree)

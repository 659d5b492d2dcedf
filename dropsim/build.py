"""From a configuration to arrays: here units are converted, beads are placed, and `Config` ends."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import RateLaw, ReactionParameters, initial_reaction_state
from dropsim_kernels.contacts import ContactSettings, allocate_contacts
from dropsim_kernels.electrostatics.coulomb import fixed_charges
from dropsim_kernels.neighbors import NeighborSettings, allocate, list_pays
from dropsim_kernels.noise import replica_key

from dropsim import units
from dropsim.composition import (
    LANGEVIN,
    REFERENCE_TEMPERATURE_K,
    Composition,
    centre_positions_nm,
    composition,
    langevin_frictions_per_ps,
    lennard_jones_range_nm,
    relative_permittivity,
)
from dropsim.config import Config, StageConfig
from dropsim.coulomb_error import exact_coulomb_forces, relative_error, target_beads
from dropsim.errors import BuildError
from dropsim.forces import site_charges
from dropsim.simulate import Stage, minimise, new_list, renewed_neighbors, with_forces, with_more_room
from dropsim.splitting import ALL_PAIRS_BELOW, Splitting, choose_splitting
from dropsim.start import start_positions
from dropsim.system import (
    LI,
    LI2S,
    LI2S2,
    MO,
    N_RING,
    NEIGHBOR_OVERFLOW,
    S6,
    SPECIES,
    TFSI,
    VACANT,
    Electrode,
    ForceField,
    State,
    System,
)

SKIN_NM = 0.3
MINIMISER_STEPS = 200
# Of a run in which nothing reacts.
NO_CONTACTS = ContactSettings((1, 1, 1), 0, 0, 0, 0)


def build_sites(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Fixed charges of the electrode: (C, 3) positions in nm and (C,) species, Mo first, then N.

    A ring is four N at the corners of a square around its Mo, in the wall plane z = 0.
    """
    centres = config.centres
    planar = np.array(centre_positions_nm(config), dtype=np.float64).reshape(-1, 2)
    mo = np.column_stack([planar, np.full(len(planar), centres.height_nm)])
    if centres.compensation != "ring" or not len(mo):
        return mo, np.full(len(mo), MO, np.int32)
    angles = np.arange(4) * (math.pi / 2) + math.pi / 4
    corners = centres.ring_radius_nm * np.column_stack([np.cos(angles), np.sin(angles)])
    lateral = np.array(config.box.lateral_nm)
    ring = (planar[:, None, :] + corners[None, :, :]).reshape(-1, 2) % lateral
    ring = np.column_stack([ring, np.zeros(len(ring))])
    kinds = np.concatenate([np.full(len(mo), MO), np.full(len(ring), N_RING)]).astype(np.int32)
    return np.concatenate([mo, ring]), kinds


def uniform_densities(config: Config, whole: Composition) -> tuple[float, float]:
    """Uniform charge of the electrode plane, e/nm^2, and of the volume of a slab, e/nm^3.

    The plane holds the compensation of the centres, the electrode's own charge, and what neutralises the cell where
    the file asks for that there. A bulk box has its background in the Coulomb sum."""
    centres = config.centres
    charge = centres.slab_net_charge_e
    if centres.compensation == "sheet":
        charge -= whole.n_centres * centres.charge_e
    if config.electrostatics.net_charge == "electrode":
        charge -= whole.net_charge_e
    area = config.box.lateral_nm[0] * config.box.lateral_nm[1]
    spread = 0.0
    if config.electrostatics.net_charge == "background" and config.box.geometry == "slab":
        spread = -whole.net_charge_e / (area * config.box.height_nm)
    return charge / area, spread


def by_species(values: dict[str, float], default: float = 0.0) -> np.ndarray:
    """Numbers of the beads in the order of SPECIES, (K,); `default` for what the file does not describe."""
    return np.array([values.get(name, default) for name in SPECIES], np.float64)


def build_force_field(config: Config, whole: Composition, dtype: np.dtype, cutoff_nm: float) -> ForceField:
    """Tables over the species in the order of SPECIES, in kJ/mol, nm and e."""
    table, wall, centres = config.species, config.wall, config.centres
    beads = {name: getattr(table, name) for name in type(table).model_fields}
    kT300 = units.thermal_energy(REFERENCE_TEMPERATURE_K)
    charge = by_species({name: bead.charge_e for name, bead in beads.items()})
    charge[[MO, N_RING]] = centres.charge_e, -0.25 * centres.charge_e
    sigma = by_species({name: bead.sigma_nm for name, bead in beads.items()})
    sigma[[MO, N_RING]] = centres.sigma_nm
    # The ring's atoms are part of the wall plane: their cores are in the wall's potential already.
    epsilon = by_species({name: bead.epsilon_kJ_per_mol for name, bead in beads.items()})
    epsilon[MO] = centres.epsilon_kJ_per_mol
    kinds = np.arange(len(SPECIES))
    depth = np.where(np.isin(kinds, (S6, LI2S, LI2S2)), wall.well_depth_S6_kT, wall.well_depth_other_kT) * kT300
    # No wall is there for a slot that holds no bead.
    present = kinds != VACANT

    sheet, background = uniform_densities(config, whole)

    def array(values) -> jax.Array:
        return jnp.asarray(np.asarray(values, dtype=dtype))

    return ForceField(
        charge=array(charge),
        sigma=array(sigma),
        epsilon=array(epsilon),
        lennard_jones_cutoff=array(min(cutoff_nm, lennard_jones_range_nm(config, whole))),
        coulomb=array(units.COULOMB_KJ_NM_PER_MOL_E2 / relative_permittivity(config)),
        wall_sigma=array(0.5 * (sigma + wall.sigma_nm) * present),
        wall_depth=array(depth * present),
        top_sigma=array(0.5 * (sigma + 0.34) * present),
        sheet_density=array(sheet),
        background_density=array(background),
    )


def build_rate_law(config: Config, dtype: np.dtype) -> RateLaw:
    """How rates depend on the potential, at centres, at the bare electrode and at Li2S beside it."""
    rule = config.reaction
    rod = rule.rod_rate_constant_per_ps

    def array(value: float) -> jax.Array:
        return jnp.asarray(np.asarray(value, dtype))

    return RateLaw(
        rate_constant=array(rule.rate_constant_per_ps),
        transfer_coefficient=array(rule.transfer_coefficient),
        surface_rate_constant=array(rule.surface_rate_constant_per_ps),
        surface_transfer_coefficient=array(rule.surface_transfer_coefficient),
        rod_rate_constant=array(rule.surface_rate_constant_per_ps if rod is None else rod),
        standard_potential=array(rule.standard_potential_V),
        thermal_voltage=array(units.thermal_voltage_V(config.electrolyte.temperature_K)),
        reorganisation=array(rule.reorganisation_energy_eV),
        branch_potential=array(rule.branch_potential_V),
        branch_width=array(rule.branch_width_V),
        kinetics=rule.kinetics,
    )


def build_reaction(config: Config, dtype: np.dtype, contacts: ContactSettings) -> ReactionParameters:
    """Rates, contact distances and energies of the reaction; contacts: room for its tables."""
    rule = config.reaction
    interactions = rule.site_energy_kT != 0 or rule.neighbor_energy_kT != 0

    def array(value: float) -> jax.Array:
        return jnp.asarray(np.asarray(value, dtype))

    return ReactionParameters(
        interval=array(rule.check_every_ps),
        mo_contact=array(rule.mo_contact_nm),
        li_bridge=array(rule.li_bridge_nm),
        sulfur_contact=array(rule.s6_contact_nm),
        surface_contact=array(rule.surface_contact_nm),
        tunnelling_range=array(rule.tunnelling_range_nm),
        hop_rate=array(rule.hop_rate_per_ps),
        site_energy=array(rule.site_energy_kT),
        neighbor_energy=array(rule.neighbor_energy_kT),
        threshold=array(rule.threshold),
        nucleation_rate=array(rule.nucleation_rate_per_ps),
        nucleation_barrier=array(rule.nucleation_barrier),
        minimum_size=array(rule.minimum_size),
        front_acceleration=array(rule.front_acceleration),
        opening_rate=array(rule.opening_rate_per_ps),
        opening_barrier=array(rule.opening_barrier_kT),
        opening_barrier_later=array(rule.opening_barrier_later_kT),
        law=build_rate_law(config, dtype),
        sharing=rule.sharing,
        surface_sharing=rule.surface_sharing,
        interactions=interactions,
        contacts=contacts,
    )


def with_contacts(config: Config, state: State, system: System) -> System:
    """The system with room in the reaction's tables for the contacts of this state and half as many more."""
    rule = config.reaction
    hopping = rule.sharing == "finite" or (rule.sharing == "none" and system.reaction.interactions)
    first, last = system.n_sulfur, system.n_sulfur + system.n_li
    contacts = allocate_contacts(
        state.position[:first],
        state.position[first:last],
        system.site_position[: system.n_mo],
        system.box,
        rule.s6_contact_nm,
        rule.li_bridge_nm,
        rule.mo_contact_nm,
        with_edges=hopping,
    )
    return dataclasses.replace(system, reaction=dataclasses.replace(system.reaction, contacts=contacts))


def whole_steps(duration_ps: float, timestep_ps: float) -> int:
    """Steps in a duration, at least one."""
    return max(1, round(duration_ps / timestep_ps))


def keeps_physical_clock(stage: StageConfig, config: Config) -> bool:
    """Whether free beads of a Langevin stage diffuse with the D of their species: gjf with the friction kT/(m D) of
    each (baoab diffuses too fast at so high a friction)."""
    table = config.species
    own = all(getattr(table, name).friction_per_ps is None for name in type(table).model_fields)
    return stage.integrator == "gjf" and stage.friction == "species" and own


def build_stage(stage: StageConfig, config: Config) -> Stage:
    """A stage in whole steps: frames hold whole checks, chunks whole frames."""
    dt = stage.timestep_fs * 1e-3
    check = whole_steps(config.reaction.check_every_ps, dt) if stage.reaction else 0
    record = whole_steps(stage.record_every_ps, dt)
    if check and record % check:
        raise BuildError(
            f"stages.{stage.name}.record_every_ps = {stage.record_every_ps:g} is no multiple of "
            f"reaction.check_every_ps = {config.reaction.check_every_ps:g}: make it one"
        )
    frames = max(1, round(stage.duration_ps / stage.record_every_ps))
    frictions = langevin_frictions_per_ps(config, stage)
    return Stage(
        name=stage.name,
        integrator=stage.integrator,
        n_steps=frames * record,
        timestep_ps=dt,
        friction_per_ps=tuple(frictions.get(name, 0.0) for name in SPECIES),
        wall_mobility=stage.wall_mobility,
        record_steps=record,
        check_steps=check,
        chunk_frames=max(1, round(config.run.chunk_ps / stage.record_every_ps)),
        accelerated=stage.integrator in LANGEVIN and not keeps_physical_clock(stage, config),
        potential_V=config.reaction.potential_V if stage.potential_V is None else stage.potential_V,
        potential_end_V=stage.potential_end_V,
        connected=not stage.open_circuit,
    )


def check_sites(site_position: np.ndarray, box: np.ndarray) -> None:
    """Raise BuildError where two fixed charges sit on top of each other (rings of neighbours that meet)."""
    apart = site_position[:, None, :] - site_position[None, :, :]
    apart[..., :2] -= box[:2] * np.round(apart[..., :2] / box[:2])
    distance = np.sqrt(np.sum(apart**2, axis=-1)) + np.eye(len(site_position)) * 1e9
    if len(site_position) and distance.min() < 0.05:
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        raise BuildError(
            f"fixed sites {i} and {j} overlap ({distance.min():.3f} nm apart): raise centres.spacing_nm or lower "
            "centres.ring_radius_nm"
        )


@dataclasses.dataclass(frozen=True)
class Built:
    """What `build` makes: the system and first state of a run, its plan, and the counts behind them.

    splitting: of the Coulomb sum, in plain numbers; coulomb_error: relative rms error of the Coulomb forces at the
    start, where it was measured (particle mesh), else None.
    """

    system: System
    state: State
    plan: tuple[Stage, ...]
    composition: Composition
    splitting: Splitting
    coulomb_error: float | None


def neighbor_settings(position: jax.Array, site_position: jax.Array, box: Box, cutoff: float) -> NeighborSettings:
    """Capacities of a neighbour list for these positions, or capacity 0 where all pairs cost less."""
    n_mobile, n_sites = position.shape[0], site_position.shape[0]
    if n_mobile + n_sites > ALL_PAIRS_BELOW and list_pays(n_mobile, n_sites, box, cutoff + SKIN_NM):
        return allocate(position, site_position, box, cutoff, SKIN_NM)
    return NeighborSettings(cutoff, 0.0, capacity=0, cells=None, cell_capacity=0)


def with_splitting(state: State, system: System, splitting: Splitting) -> tuple[State, System]:
    """State and system with the Coulomb sum split in this way: parameters, what the sites add, neighbour list."""
    parameters = splitting.parameters(state.position.dtype)
    settings = neighbor_settings(state.position, system.site_position, system.box, splitting.cutoff_nm)
    system = dataclasses.replace(
        system,
        splitting=parameters,
        fixed_charges=fixed_charges(system.site_position, site_charges(system), system.box, parameters),
        neighbors=settings,
    )
    neighbors = new_list(state.position, system.site_position, system.box, settings)
    return dataclasses.replace(state, neighbors=neighbors), system


def build(
    config: Config, replica: int = 0, *, position: np.ndarray | None = None, splitting: Splitting | None = None
) -> Built:
    """System, first state and plan of one replica of a configuration.

    The beads are ordered sulfur, Li, TFSI; placed as `start` says (random numbers from the seed and the replica alone)
    and relaxed by steepest descent. A particle mesh is then measured against an exact sum, and made finer where it
    misses the tolerance. position: (N, 3) nm, to take as they are, and splitting: to use as it is, instead. Raises
    BuildError where there is no room, or the cell is charged and `electrostatics.net_charge` does not say what to do
    about it.
    """
    if config.run.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    dtype = np.dtype(config.run.precision)
    whole = composition(config)
    if whole.n_mobile == 0:
        raise BuildError("electrolyte.li2s6_mM = 0 and litfsi_mM = 0: there is nothing to simulate")
    if whole.net_charge_e and config.electrostatics.net_charge == "error":
        raise BuildError(
            f"the cell carries {whole.net_charge_e:+g} e: set electrostatics.net_charge = 'electrode' to "
            "balance it on the electrode plane ('background': by a uniform charge of the volume), or change "
            "centres.slab_net_charge_e"
        )
    chosen = choose_splitting(config, whole) if splitting is None else splitting
    state, system = first_state(config, replica, whole, chosen, position, dtype)
    error = None
    if position is None:
        state, system = relaxed(state, system)
        if chosen.method == "mesh":
            state, system, chosen, error = measured_splitting(config, whole, state, system, chosen)
    if any(stage.reaction for stage in config.stages):
        system = with_contacts(config, state, system)
    return Built(system, state, tuple(build_stage(s, config) for s in config.stages), whole, chosen, error)


def measured_splitting(
    config: Config, whole: Composition, state: State, system: System, splitting: Splitting
) -> tuple[State, System, Splitting, float]:
    """The first splitting whose error, measured on this state, is below the tolerance, and that error.

    A splitting that the file gives is measured and kept. Raises BuildError where three tries do not reach it.
    """
    asked = config.electrostatics.force_tolerance
    targets = target_beads(state.position.shape[0])
    exact = exact_coulomb_forces(state, system, targets)
    tolerance = asked
    for _ in range(3):
        error = relative_error(state, system, targets, exact)
        if error <= asked or config.electrostatics.mesh is not None:
            return state, system, splitting, error
        tolerance *= 0.8 * asked / error
        splitting = choose_splitting(config, whole, tolerance)
        state, system = with_splitting(state, system, splitting)
        state, system = renewed_neighbors(state, system)
        state = jax.jit(with_forces)(state, system)
    raise BuildError(
        f"electrostatics.force_tolerance = {asked:g} is not reached ({error:.2g} in {config.run.precision}): "
        "raise it, or set run.precision = 'float64'"
    )


def vacant_positions(n_slots: int, lengths: np.ndarray, seed: int, replica: int) -> np.ndarray:
    """Where vacant slots of the lithium reservoir rest, (n_slots, 3) nm: evenly in the box, which keeps the rows of a
    neighbour list short. Nothing depends on it."""
    return np.random.default_rng([seed, replica, VACANT]).uniform(0.05, 0.95, (n_slots, 3)) * lengths


def first_state(
    config: Config,
    replica: int,
    whole: Composition,
    splitting: Splitting,
    position: np.ndarray | None,
    dtype: np.dtype,
) -> tuple[State, System]:
    """System and state as placed, before any relaxation; position: (N, 3) nm, instead of what `start` says."""
    lengths = np.array([*config.box.lateral_nm, config.box.height_nm])
    site_position, site_species = build_sites(config)
    check_sites(site_position, lengths)
    kinds, numbers = [S6, LI, VACANT, TFSI], [whole.n_S6, whole.n_Li, whole.n_vacant, whole.n_TFSI]
    species = np.repeat(kinds, numbers).astype(np.int32)
    bulk = config.box.geometry == "bulk"
    box = Box(jnp.asarray(lengths.astype(dtype)), (True, True, bulk))
    field = build_force_field(config, whole, dtype, splitting.cutoff_nm)
    if position is None:
        sigma = np.asarray(field.sigma, np.float64)
        gap = 0.0 * sigma if bulk else 0.9 * np.asarray(field.wall_sigma, np.float64)
        position = np.empty((len(species), 3))
        position[species == VACANT] = vacant_positions(whole.n_vacant, lengths, config.run.seed, replica)
        position[species != VACANT] = start_positions(
            config,
            species[species != VACANT],
            np.where(np.arange(len(SPECIES)) == N_RING, 0.0, sigma),
            lengths,
            np.stack([gap, lengths[2] - gap], axis=1),
            site_position,
            site_species,
            replica,
        )
    sites = jnp.asarray(site_position.astype(dtype))
    site_kinds = jnp.asarray(site_species)
    start = jnp.asarray(position.astype(dtype))
    settings = neighbor_settings(start, sites, box, splitting.cutoff_nm)
    parameters = splitting.parameters(dtype)
    beads = {name: getattr(config.species, name) for name in type(config.species).model_fields}

    def table(values: dict[str, float], default: float = 0.0) -> jax.Array:
        return jnp.asarray(by_species(values, default).astype(dtype))

    still = Electrode(*(jnp.asarray(np.asarray(0, kind)) for kind in (np.int32, dtype, dtype, bool)))
    system = System(
        box=box,
        force_field=field,
        site_position=sites,
        site_species=site_kinds,
        mo_wired=jnp.full((whole.n_centres,), config.centres.wired),
        splitting=parameters,
        fixed_charges=fixed_charges(sites, field.charge[site_kinds], box, parameters),
        diffusivity=table({name: bead.diffusivity_nm2_per_ps for name, bead in beads.items()}),
        mass=table({name: bead.mass_amu for name, bead in beads.items()}, default=1.0),
        friction=jnp.zeros((len(SPECIES),), dtype),
        hydrodynamic_radius=table(
            {name: bead.hydrodynamic_radius_nm or 0.5 * bead.sigma_nm for name, bead in beads.items()}
        ),
        thermal_energy=jnp.asarray(np.asarray(units.thermal_energy(config.electrolyte.temperature_K), dtype)),
        timestep=jnp.asarray(np.asarray(0.0, dtype)),
        reaction=build_reaction(config, dtype, NO_CONTACTS),
        electrode=still,
        neighbors=settings,
        integrator=config.stages[0].integrator,
        wall_mobility=False,
        n_sulfur=whole.n_S6,
        n_li=whole.n_Li + whole.n_vacant,
        n_mo=whole.n_centres,
        bare=whole.n_vacant > 0,
    )
    n_mobile, n_sulfur = len(species), whole.n_S6
    zeros = jnp.zeros((n_mobile, 3), dtype)
    state = State(
        position=start,
        image=jnp.zeros((n_mobile, 3), jnp.int32),
        velocity=zeros,
        force=zeros,
        energy=jnp.zeros((), dtype),
        species=jnp.asarray(species),
        reaction=initial_reaction_state(n_sulfur),
        neighbors=new_list(start, sites, box, settings),
        key=replica_key(config.run.seed, replica),
        step=jnp.zeros((), jnp.int32),
        error=jnp.zeros((), jnp.int32),
    )
    return state, system


def relaxed(state: State, system: System) -> tuple[State, System]:
    """The start after steepest descent; images count from here. Raises BuildError if it stays singular."""
    while True:
        state, system = renewed_neighbors(state, system)
        after = minimise(state, system, MINIMISER_STEPS)
        # The bit stays where a list overflowed on the way and was good again later: energies in between lacked pairs.
        if not int(after.error) & NEIGHBOR_OVERFLOW:
            break
        state, system = with_more_room(state, system)
    if int(after.error) or not math.isfinite(float(after.energy)):
        raise BuildError("the start has no finite energy: beads overlap; lower the concentration or change the seed")
    after = dataclasses.replace(after, image=jnp.zeros_like(after.image))
    if system.neighbors.capacity:
        # Relaxed, the beads stand more evenly than at random: narrower rows do.
        system = dataclasses.replace(
            system,
            neighbors=neighbor_settings(after.position, system.site_position, system.box, system.neighbors.cutoff),
        )
        after, system = renewed_neighbors(after, system)
    return after, system

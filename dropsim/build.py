"""From a configuration to arrays: here units are converted, beads are placed, and `Config` ends."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import ReactionParameters, ReactionState, butler_volmer
from dropsim_kernels.electrostatics.ewald import EwaldParameters, fixed_charges
from dropsim_kernels.electrostatics.parameters import choose_parameters
from dropsim_kernels.neighbors import NeighborSettings, allocate, list_pays
from dropsim_kernels.noise import replica_key

from dropsim import units
from dropsim.composition import (
    REFERENCE_TEMPERATURE_K,
    Composition,
    centre_positions_nm,
    composition,
    relative_permittivity,
)
from dropsim.config import Config, StageConfig
from dropsim.errors import BuildError
from dropsim.simulate import Stage, minimise, new_list, renewed_neighbors, with_more_room
from dropsim.system import (
    LI,
    LI2S,
    MO,
    N_RING,
    NEIGHBOR_OVERFLOW,
    S6,
    SPECIES,
    TFSI,
    ForceField,
    State,
    System,
)

SKIN_NM = 0.3
# Two beads closer than this fraction of sigma are never placed; the minimiser does the rest.
INSERTION_FRACTION = 0.85
INSERTION_TRIES = 20_000
MINIMISER_STEPS = 200
# Up to this many charges all pairs are met in order, which costs less than a list whose rows a fast clock makes old
# in a few steps; the cutoff is then free, and the largest one leaves the fewest wave vectors. Measured on one core:
# 335 steps/s against 286 at 1053 charges (benchmarks/results/engine.md); about 30 against 26 at 2930, seen once.
ALL_PAIRS_BELOW = 3000


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


def sheet_density(config: Config, whole: Composition) -> float:
    """Uniform charge of the electrode plane, e/nm^2: compensation of the centres, the electrode's own charge,
    and what neutralises a net charge where the file asks for that."""
    centres = config.centres
    charge = centres.slab_net_charge_e
    if centres.compensation == "sheet":
        charge -= whole.n_centres * centres.charge_e
    if config.electrostatics.net_charge == "background":
        charge -= whole.net_charge_e
    return charge / (config.box.lateral_nm[0] * config.box.lateral_nm[1])


def build_force_field(config: Config, whole: Composition, dtype: np.dtype, cutoff_nm: float) -> ForceField:
    """Tables over the species in the order of SPECIES, in kJ/mol, nm and e."""
    table, wall, centres = config.species, config.wall, config.centres
    mobile = [table.Li, table.S6, table.TFSI, table.Li2S]
    kT300 = units.thermal_energy(REFERENCE_TEMPERATURE_K)
    charge = [s.charge_e for s in mobile] + [centres.charge_e, -0.25 * centres.charge_e]
    sigma = np.array([s.sigma_nm for s in mobile] + [centres.sigma_nm, centres.sigma_nm])
    # The ring's atoms are part of the wall plane: their cores are in the wall's potential already.
    epsilon = [s.epsilon_kJ_per_mol for s in mobile] + [centres.epsilon_kJ_per_mol, 0.0]
    sulfur = np.isin(np.arange(len(SPECIES)), (S6, LI2S))
    depth = np.where(sulfur, wall.well_depth_S6_kT, wall.well_depth_other_kT) * kT300

    def array(values) -> jax.Array:
        return jnp.asarray(np.asarray(values, dtype=dtype))

    return ForceField(
        charge=array(charge),
        sigma=array(sigma),
        epsilon=array(epsilon),
        lennard_jones_cutoff=array(min(cutoff_nm, 2.5 * float(max(s.sigma_nm for s in mobile)))),
        coulomb=array(units.COULOMB_KJ_NM_PER_MOL_E2 / relative_permittivity(config)),
        wall_sigma=array(0.5 * (sigma + wall.sigma_nm)),
        wall_depth=array(depth),
        top_sigma=array(0.5 * (sigma + 0.34)),
        sheet_density=array(sheet_density(config, whole)),
    )


def ewald_parameters(config: Config, whole: Composition, lengths: np.ndarray, dtype: np.dtype) -> EwaldParameters:
    """Splitting of the Coulomb sum for the force error asked for, relative to the force of an ion pair in contact:
    that pair, not the mean spacing of a dilute electrolyte, sets the rms force."""
    table, centres = config.species, config.centres
    mobile = (
        whole.n_Li * table.Li.charge_e**2 + whole.n_S6 * table.S6.charge_e**2 + whole.n_TFSI * table.TFSI.charge_e**2
    )
    ring = whole.n_ring_sites * (0.25 * centres.charge_e) ** 2
    sites = whole.n_centres * centres.charge_e**2 + ring
    cutoff = config.electrostatics.cutoff_nm
    if cutoff is None and whole.n_mobile + whole.n_sites <= ALL_PAIRS_BELOW:
        cutoff = 0.5 * float(lengths[:2].min())
    parameters = choose_parameters(
        lengths.tolist(),
        max(1.0, (mobile + sites) / max(mobile, 1e-9) * whole.n_mobile),
        config.electrostatics.force_tolerance,
        cutoff=cutoff,
        slab=True,
        vacuum_factor=config.electrostatics.vacuum_factor,
        neighbor_distance=0.5 * (table.Li.sigma_nm + table.S6.sigma_nm),
    )
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x, dtype)), parameters)


def build_reaction(config: Config, dtype: np.dtype) -> ReactionParameters:
    """Rates at the stage's potential, and the contact distances."""
    rule = config.reaction
    reduced = rule.potential_V / units.thermal_voltage_V(config.electrolyte.temperature_K)
    rate_in, rate_out = butler_volmer(rule.rate_constant_per_ps, rule.transfer_coefficient, reduced, math.exp)

    def array(value: float) -> jax.Array:
        return jnp.asarray(np.asarray(value, dtype))

    return ReactionParameters(
        rate_in=array(rate_in),
        rate_out=array(rate_out),
        interval=array(rule.check_every_ps),
        mo_contact=array(rule.mo_contact_nm),
        li_bridge=array(rule.li_bridge_nm),
        sulfur_contact=array(rule.s6_contact_nm),
        threshold=array(rule.threshold),
        nucleation_rate=array(rule.nucleation_rate_per_ps),
        nucleation_barrier=array(rule.nucleation_barrier),
        minimum_size=array(rule.minimum_size),
        front_acceleration=array(rule.front_acceleration),
    )


def whole_steps(duration_ps: float, timestep_ps: float) -> int:
    """Steps in a duration, at least one."""
    return max(1, round(duration_ps / timestep_ps))


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
    return Stage(
        name=stage.name,
        integrator=stage.integrator,
        n_steps=frames * record,
        timestep_ps=dt,
        friction_per_ps=stage.friction_per_ps,
        record_steps=record,
        check_steps=check,
        chunk_frames=max(1, round(config.run.chunk_ps / stage.record_every_ps)),
        accelerated=stage.integrator == "baoab",
    )


def insert_beads(
    species: np.ndarray,
    sigma: np.ndarray,
    box: np.ndarray,
    wall_gap: np.ndarray,
    site_position: np.ndarray,
    site_species: np.ndarray,
    seed: int,
    replica: int,
) -> np.ndarray:
    """Random positions without overlaps, one bead after the other: (N, 3) nm.

    species: (N,), ascending difficulty is not needed; sigma: (K,) nm; wall_gap: (K,) nm, closest approach to
    either wall. Two beads stay 0.85 of their mixed sigma apart. Raises BuildError where a bead finds no room.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, replica]))
    # Sites without a core (the ring, sigma 0 here) hold no place.
    placed = np.concatenate([site_position, np.empty((len(species), 3))])
    placed_sigma = np.concatenate([sigma[site_species], np.empty(len(species))])
    n_placed = len(site_position)
    for bead, kind in enumerate(species):
        low, high = wall_gap[kind], box[2] - wall_gap[kind]
        if high <= low:
            raise BuildError(f"box.height_nm = {box[2]:g} leaves no room for {SPECIES[kind]}: raise it")
        for _ in range(INSERTION_TRIES):
            trial = generator.random(3) * np.array([box[0], box[1], high - low])
            trial[2] += low
            apart = placed[:n_placed] - trial
            apart[:, :2] -= box[:2] * np.round(apart[:, :2] / box[:2])
            near = INSERTION_FRACTION * 0.5 * (placed_sigma[:n_placed] + sigma[kind])
            if np.all(np.einsum("ij,ij->i", apart, apart) > near**2):
                break
        else:
            raise BuildError(
                f"no room for {SPECIES[kind]} number {bead + 1} of {len(species)} after {INSERTION_TRIES} tries: "
                "the box is too full; lower electrolyte.li2s6_mM or litfsi_mM, or raise box.height_nm"
            )
        placed[n_placed], placed_sigma[n_placed] = trial, sigma[kind]
        n_placed += 1
    return placed[len(site_position) :]


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
    """What `build` makes: the system and first state of a run, its plan, and the counts behind them."""

    system: System
    state: State
    plan: tuple[Stage, ...]
    composition: Composition


def build(config: Config, replica: int = 0) -> Built:
    """System, first state and plan of one replica of a configuration.

    The beads are ordered sulfur, Li, TFSI; inserted at random without overlaps (numbers from the seed and the
    replica alone) and relaxed by steepest descent. Raises BuildError where there is no room or the cell is
    charged and `electrostatics.net_charge` does not say what to do about it.
    """
    if config.run.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    dtype = np.dtype(config.run.precision)
    whole = composition(config)
    if whole.n_mobile == 0:
        raise BuildError("electrolyte.li2s6_mM = 0 and litfsi_mM = 0: there is nothing to simulate")
    if whole.net_charge_e and config.electrostatics.net_charge == "error":
        raise BuildError(
            f"the cell carries {whole.net_charge_e:+g} e: set electrostatics.net_charge = 'background' to "
            "balance it on the electrode plane, or change centres.slab_net_charge_e"
        )
    lengths = np.array([*config.box.lateral_nm, config.box.height_nm])
    site_position, site_species = build_sites(config)
    check_sites(site_position, lengths)
    species = np.repeat([S6, LI, TFSI], [whole.n_S6, whole.n_Li, whole.n_TFSI]).astype(np.int32)

    parameters = ewald_parameters(config, whole, lengths, dtype)
    cutoff = float(parameters.cutoff)
    field = build_force_field(config, whole, dtype, cutoff)
    sigma = np.asarray(field.sigma, np.float64)
    core = np.where(np.arange(len(SPECIES)) == N_RING, 0.0, sigma)
    position = insert_beads(
        species,
        core,
        lengths,
        0.9 * np.asarray(field.wall_sigma, np.float64),
        site_position,
        site_species,
        config.run.seed,
        replica,
    )

    box = Box(jnp.asarray(lengths.astype(dtype)), (True, True, False))
    sites = jnp.asarray(site_position.astype(dtype))
    site_kinds = jnp.asarray(site_species)
    start = jnp.asarray(position.astype(dtype))
    if whole.n_mobile + whole.n_sites > ALL_PAIRS_BELOW and list_pays(
        len(species), len(site_species), box, cutoff + SKIN_NM
    ):
        settings = allocate(start, sites, box, cutoff, SKIN_NM)
    else:
        settings = NeighborSettings(cutoff, 0.0, capacity=0, cells=None, cell_capacity=0)
    mobile = [config.species.Li, config.species.S6, config.species.TFSI, config.species.Li2S]
    system = System(
        box=box,
        force_field=field,
        site_position=sites,
        site_species=site_kinds,
        mo_wired=jnp.full((whole.n_centres,), config.centres.wired),
        ewald=parameters,
        fixed_charges=fixed_charges(sites, field.charge[site_kinds], box, parameters),
        diffusivity=jnp.asarray(np.array([s.diffusivity_nm2_per_ps for s in mobile] + [0.0, 0.0], dtype)),
        mass=jnp.asarray(np.array([s.mass_amu for s in mobile] + [1.0, 1.0], dtype)),
        thermal_energy=jnp.asarray(np.asarray(units.thermal_energy(config.electrolyte.temperature_K), dtype)),
        timestep=jnp.asarray(np.asarray(0.0, dtype)),
        friction=jnp.asarray(np.asarray(0.0, dtype)),
        reaction=build_reaction(config, dtype),
        neighbors=settings,
        integrator=config.stages[0].integrator,
        n_sulfur=whole.n_S6,
        n_li=whole.n_Li,
        n_mo=whole.n_centres,
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
        reaction=ReactionState(
            electrons=jnp.zeros((n_sulfur,), jnp.int32),
            converted=jnp.zeros((n_sulfur,), bool),
            converting=jnp.zeros((n_sulfur,), bool),
            injected=jnp.zeros((), jnp.int32),
        ),
        neighbors=new_list(start, sites, box, settings),
        key=replica_key(config.run.seed, replica),
        step=jnp.zeros((), jnp.int32),
        error=jnp.zeros((), jnp.int32),
    )
    state, system = relaxed(state, system)
    return Built(system, state, tuple(build_stage(s, config) for s in config.stages), whole)


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
    return dataclasses.replace(after, image=jnp.zeros_like(after.image)), system

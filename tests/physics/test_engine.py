"""The whole engine as it is built: forces, accuracy of the Coulomb sum, temperatures, walls, ledger."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import wrap
from dropsim_kernels.electrostatics.coulomb import coulomb_energy_forces, fixed_charges
from dropsim_kernels.electrostatics.ewald import choose_parameters
from dropsim_kernels.neighbors import allocate
from dropsim_kernels.neighbors import build as build_list
from dropsim_kernels.potentials import ewald_real, lennard_jones

import dropsim.build
from dropsim.build import build
from dropsim.config_load import load_config, load_config_text
from dropsim.forces import (
    lennard_jones_energy,
    pair_energy,
    pair_parameters,
    total_forces,
    total_laplacian,
    wall_energy,
)
from dropsim.observables.temperature import configurational_temperature
from dropsim.run import run_replica
from dropsim.run_folder import TRAJECTORY
from dropsim.simulate import Stage, advance, simulate
from dropsim.system import LI, LI2S, S6, SPECIES
from dropsim.trajectory import open_trajectory
from dropsim.units import thermal_energy

KT = thermal_energy(300.0)
forces = jax.jit(total_forces)
coulomb = jax.jit(coulomb_energy_forces)
COMPENSATIONS = {
    "ring": [],
    "sheet": ["centres.compensation=sheet"],
    "counterion": ["centres.compensation=counterion", "electrostatics.net_charge=electrode"],
    "charged": ["centres.compensation=counterion", "electrostatics.net_charge=keep"],
    "background": ["centres.compensation=counterion", "electrostatics.net_charge=background"],
    "bulk": ["box.geometry=bulk", "centres.arrangement=none"],
    "no centres": ["centres.arrangement=none"],
}


@pytest.fixture
def unrelaxed(monkeypatch):
    """Systems as inserted: the minimiser need not be compiled where any positions will do."""
    monkeypatch.setattr(dropsim.build, "relaxed", lambda state, system: (state, system))


def small(text: str, *overrides: str):
    """The small experiment in double precision."""
    return load_config_text(text, overrides=["run.precision=float64", *overrides])


# --- forces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compensation", COMPENSATIONS)
def test_forces_are_minus_the_gradient(unrelaxed, experiment_text, compensation):
    built = build(small(experiment_text, *COMPENSATIONS[compensation]))
    state, system = built.state, built.system

    @jax.jit
    def energy(position):
        return forces(position, state.species, state.reaction.electrons, state.neighbors, system)[0]

    force = np.asarray(forces(state.position, state.species, state.reaction.electrons, state.neighbors, system)[1])
    np.testing.assert_allclose(force, -jax.grad(energy)(state.position), rtol=1e-9, atol=1e-9 * np.abs(force).max())
    # Against differences too, which know nothing of how the energy is differentiated.
    h = 1e-5
    for bead in (0, built.system.n_sulfur, force.shape[0] - 1):
        for axis in range(3):
            ahead = energy(state.position.at[bead, axis].add(h))
            behind = energy(state.position.at[bead, axis].add(-h))
            # The difference of two sums of 1e4 kJ/mol in double precision, over 2 h, is good to about 1e-5.
            np.testing.assert_allclose(force[bead, axis], -(ahead - behind) / (2 * h), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("kind", "depth_kT"), [("graphene", 0.5), ("titanium", 7.0), ("plain", 0.0)])
def test_three_walls(unrelaxed, experiment_text, kind, depth_kT):
    """The well of each kind of electrode for sulfur; a plain one only repels, and none lets a bead through."""
    config = load_config_text(experiment_text, "x.toml", [f"wall.kind={kind}", "centres.arrangement=none"])
    assert config.wall.well_depth_S6_kT == depth_kT
    system = build(config).system
    z = jnp.linspace(0.25, 2.5, 2000, dtype=system.thermal_energy.dtype)
    energy = np.asarray(wall_energy(z, jnp.full(z.shape, S6), jnp.full(z.shape, -2.0), system)) / float(
        system.thermal_energy
    )
    assert energy.min() == pytest.approx(-depth_kT, abs=2e-3)
    assert energy[0] > 20.0
    assert abs(energy[-1]) < 0.02 * max(depth_kT, 1.0)


@pytest.mark.parametrize("compensation", ["ring", "counterion"])
def test_moving_everything_sideways_changes_no_force(unrelaxed, experiment_text, compensation):
    built = build(small(experiment_text, *COMPENSATIONS[compensation]))
    state, system = built.state, built.system
    shift = jnp.asarray([1.234, -4.321, 0.0])

    def moved(position):
        position = position + jnp.broadcast_to(shift, position.shape)
        return wrap(position, jnp.zeros(position.shape, jnp.int32), system.box)[0]

    sites = moved(system.site_position)
    charges = fixed_charges(sites, system.force_field.charge[system.site_species], system.box, system.splitting)
    there = dataclasses.replace(system, site_position=sites, fixed_charges=charges)
    energy, force = forces(state.position, state.species, state.reaction.electrons, state.neighbors, system)
    energy_there, force_there = forces(
        moved(state.position), state.species, state.reaction.electrons, state.neighbors, there
    )
    np.testing.assert_allclose(energy_there, energy, rtol=1e-10)
    np.testing.assert_allclose(force_there, force, atol=1e-9 * float(jnp.abs(force).max()), rtol=0)


def test_all_pairs_and_lists_give_the_same_forces(unrelaxed, experiment_text):
    built = build(small(experiment_text, "electrostatics.cutoff_nm=1.2"))
    state, system = built.state, built.system
    assert not system.neighbors.capacity
    settings = allocate(state.position, system.site_position, system.box, system.neighbors.cutoff, 0.3)
    neighbors = build_list(state.position, system.site_position, system.box, settings)
    listed = dataclasses.replace(system, neighbors=settings)
    energy, force = forces(state.position, state.species, state.reaction.electrons, state.neighbors, system)
    energy_listed, force_listed = forces(state.position, state.species, state.reaction.electrons, neighbors, listed)
    np.testing.assert_allclose(energy_listed, energy, rtol=1e-12)
    np.testing.assert_allclose(force_listed, force, atol=1e-12 * float(jnp.abs(force).max()), rtol=1e-11)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-4])
def test_coulomb_forces_are_as_accurate_as_asked(unrelaxed, precision, tolerance):
    """The main experiment as built, its pairs cut smoothly, against a sum converged to 1e-9: rms error over q^2/d^2,
    d an ion pair."""
    file = "experiments/droplet/centres.toml"
    config = load_config(file, [f"electrostatics.force_tolerance={tolerance}", f"run.precision={precision}"])
    built = build(config)
    system, state = built.system, built.state
    charge, site_charge = (system.force_field.charge[kinds] for kinds in (state.species, system.site_species))

    def of_field(**changes):
        field = dataclasses.replace(system.force_field, epsilon=jnp.zeros_like(system.force_field.epsilon), **changes)
        there = dataclasses.replace(system, force_field=field)
        return np.asarray(
            forces(state.position, state.species, state.reaction.electrons, state.neighbors, there)[1], np.float64
        )

    # Walls act in both.
    strength = system.force_field.coulomb
    force = (of_field() - of_field(coulomb=jnp.zeros_like(strength))) / float(strength)

    def double(array):
        return jnp.asarray(np.asarray(array, np.float64))

    lengths = np.asarray(system.box.lengths, np.float64)
    tight = choose_parameters(lengths.tolist(), 2e3, 1e-9, cutoff=0.5 * lengths[0], slab=True, vacuum_factor=4.0)
    box = dataclasses.replace(system.box, lengths=double(system.box.lengths))
    _, exact = coulomb(
        double(state.position), double(charge), double(system.site_position), double(site_charge), box, tight
    )
    error = force - np.asarray(exact)
    distance = 0.5 * (config.species.Li.sigma_nm + config.species.S6.sigma_nm)
    scale = float(np.mean(np.asarray(charge, np.float64) ** 2)) / distance**2
    measured = float(np.sqrt((error**2).sum(axis=1).mean())) / scale
    print("relative rms force error", measured)
    assert 0 < measured <= tolerance


@pytest.mark.parametrize("kinds", [(S6, S6), (S6, LI), (LI, LI)])
def test_pairs_end_smoothly(unrelaxed, experiment_text, kinds):
    """Energy and force go to zero at both cutoffs, and nothing but a constant is changed before the last tenth."""
    system = build(small(experiment_text, "electrostatics.cutoff_nm=2.0")).system
    field = system.force_field
    row, column = (pair_parameters(jnp.asarray(kind), field.charge[kind], system) for kind in kinds)
    sigma, root = 0.5 * (field.sigma[kinds[0]] + field.sigma[kinds[1]]), jnp.sqrt(field.epsilon)
    charges = field.coulomb * field.charge[kinds[0]] * field.charge[kinds[1]]
    parts = {
        "short": (
            lennard_jones_energy(system),
            lambda r: lennard_jones(r, sigma, root[kinds[0]] * root[kinds[1]]),
            float(field.lennard_jones_cutoff),
        ),
        "all": (
            pair_energy(system),
            lambda r: lennard_jones_energy(system)(r, row, column) + charges * ewald_real(r, system.splitting.alpha),
            2.0,
        ),
    }
    for cut, uncut, cutoff in parts.values():
        assert cutoff in (1.5, 2.0)
        slope, slope_uncut = jax.grad(lambda r, u=cut: u(r, row, column)), jax.grad(uncut)
        for inside in (0.5, 0.8, 0.899):
            np.testing.assert_allclose(slope(inside * cutoff), slope_uncut(inside * cutoff), rtol=1e-12)
        end, jump = cutoff * (1 - 1e-7), abs(float(slope_uncut(cutoff)))
        assert jump > 1e-3
        assert abs(float(slope(end))) < 1e-4 * jump
        assert abs(float(cut(end, row, column))) < 1e-6 * jump
        middle = 0.95 * cutoff
        assert 0 < abs(float(slope(middle) - slope_uncut(middle))) < jump


def test_single_precision_follows_double(experiment_text):
    """From one start, twenty Langevin steps in both: apart by a few roundings of a coordinate per step."""
    built = build(load_config_text(experiment_text))

    def double(tree):
        return jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree)

    stage = dataclasses.replace(built.plan[0], chunk_frames=2, n_steps=40)
    ends = []
    for state, system in ((built.state, built.system), (double(built.state), double(built.system))):
        chunk = next(iter(simulate(system, state, (stage,))))
        ends.append(np.asarray(chunk.frames.position[0], np.float64) + 5.5 * np.asarray(chunk.frames.image[0]))
    steps = int(chunk.frames.step[0])
    assert steps == 20
    apart = np.abs(ends[0] - ends[1])
    moved = np.abs(ends[1] - np.asarray(built.state.position, np.float64))
    # float32 resolves 2.4e-7 nm at 5.5 nm; two moves and a wrap each step.
    assert apart.max() < 3 * 2.4e-7 * steps
    assert np.median(moved) > 1e-2


# --- temperatures -----------------------------------------------------------------------------------------


def sampled(built, state, integrator: str, timestep_ps: float, duration_ps: float, every_ps: float, friction=5.0):
    """Frames and the last state of one stage."""
    record = round(every_ps / timestep_ps)
    frames = round(duration_ps / every_ps)
    stage = Stage(
        "s", integrator, frames * record, timestep_ps, (friction,) * len(SPECIES), False, record, 0, frames, False
    )
    chunks = list(simulate(built.system, state, (stage,)))
    return chunks[-1].frames, chunks[-1].state


@pytest.fixture(scope="module")
def warm(experiment_text):
    """A small system brought to 300 K by Langevin dynamics: (built, state)."""
    built = build(small(experiment_text))
    return built, sampled(built, built.state, "baoab", 0.01, 120.0, 0.4)[1]


def block_error(values: np.ndarray, n_blocks: int = 10) -> float:
    """Standard error of a mean from blocks of consecutive values."""
    blocks = np.array([block.mean() for block in np.array_split(values, n_blocks)])
    return float(blocks.std(ddof=1) / np.sqrt(n_blocks))


def exact_sums(built, positions) -> tuple[np.ndarray, np.ndarray]:
    """|grad U|^2 and laplacian of U at each frame, the second as the trace of the Hessian by automatic derivatives."""
    system, state = built.system, built.state

    def gradient(flat):
        return -forces(flat.reshape(-1, 3), state.species, state.reaction.electrons, state.neighbors, system)[
            1
        ].reshape(-1)

    def both(position):
        flat = position.reshape(-1)
        directions = jnp.eye(flat.shape[0])

        def diagonal(direction):
            return jnp.vdot(direction, jax.jvp(gradient, (flat,), (direction,))[1])

        return jnp.sum(gradient(flat) ** 2), jnp.sum(jax.lax.map(diagonal, directions, batch_size=48))

    square, laplacian = (np.asarray(a) for a in jax.jit(lambda p: jax.lax.map(both, p))(positions))
    return square, laplacian


def configurational(frames) -> tuple[float, float]:
    """Configurational temperature over the bath's, with its standard error, as a run reports it."""
    found = configurational_temperature(frames.force_squared, frames.laplacian, discard_fraction=0.0)
    return found.value / 300.0, found.standard_error / 300.0


@pytest.mark.parametrize("geometry", ["slab", "background", "bulk"])
def test_laplacian_is_the_trace_of_the_hessian(unrelaxed, experiment_text, geometry):
    """The Coulomb part, known in closed form, against a Hessian of the whole sum, converged to 1e-7."""
    overrides = {
        "slab": [],
        "background": ["centres.compensation=counterion", "electrostatics.net_charge=background"],
        "bulk": ["box.geometry=bulk", "centres.arrangement=none", "species.Li.charge_e=1.5",
                 "electrostatics.net_charge=background"],
    }[geometry]  # fmt: skip
    built = build(small(experiment_text, "electrostatics.force_tolerance=1e-7", *overrides))
    state, system = built.state, built.system
    _, exact = exact_sums(built, state.position[None])
    found = jax.jit(total_laplacian)(state.position, state.species, state.reaction.electrons, state.neighbors, system)
    # The Lennard-Jones part alone, for the scale of what is compared.
    assert abs(float(found) - exact[0]) < 1e-4 * abs(exact[0])


def test_langevin_has_the_temperature_of_the_bath(warm):
    """Kinetic and configurational, at a step (10 fs) whose bias, omega^2 dt^2 / 4 = 0.1 %, is below the error."""
    built, state = warm
    frames, _ = sampled(built, state, "baoab", 0.01, 160.0, 0.4)
    kinetic = np.asarray(frames.kinetic_energy) / (1.5 * state.position.shape[0] * KT)
    error = block_error(kinetic)
    ratio, ratio_error = configurational(frames)
    print("kinetic", (kinetic.mean(), error))
    print("configurational", (ratio, ratio_error))
    assert error < 0.015
    assert abs(kinetic.mean() - 1.0) < 4 * error
    assert ratio_error < 0.05
    assert abs(ratio - 1.0) < 4 * ratio_error


def test_brownian_step_of_the_experiments_has_the_temperature_of_the_bath(warm):
    """Leimkuhler-Matthews at 40 fs: the configurational temperature, velocities having no meaning."""
    built, state = warm
    _, settled = sampled(built, state, "leimkuhler-matthews", 0.04, 40.0, 8.0)
    frames, _ = sampled(built, settled, "leimkuhler-matthews", 0.04, 800.0, 8.0)
    ratio, error = configurational(frames)
    print("configurational", (ratio, error))
    assert error < 0.06
    assert abs(ratio - 1.0) < 4 * error


# --- walls ------------------------------------------------------------------------------------------------


def test_ideal_gas_between_the_walls(experiment_text):
    """Beads that ignore each other stand along z as exp(-u_wall / kT), which is flat away from the walls."""
    free = [f"species.{name}.{key}" for name in ("Li", "TFSI") for key in
            ("charge_e=0.0", "epsilon_kJ_per_mol=0.0", "mass_amu=10.0", "sigma_nm=0.4")]  # fmt: skip
    config = small(
        experiment_text, "centres.arrangement=none", "electrolyte.li2s6_count=0", "electrolyte.litfsi_mM=450", *free
    )
    built = build(config)
    frames, _ = sampled(built, built.state, "baoab", 0.02, 400.0, 2.0, friction=1.0)
    z = np.asarray(frames.position)[..., 2]
    edges = np.linspace(0.0, 6.0, 13)
    # Beads are independent; a bead's own frames are not: its share of time in a bin is one sample.
    share = np.stack([np.histogram(track, edges)[0] / len(track) for track in z.T])
    mean, error = share.mean(axis=0), share.std(axis=0, ddof=1) / np.sqrt(share.shape[0])
    fine = np.linspace(0.0, 6.0, 6001)[1:-1]
    species = jnp.full(fine.shape, LI)
    weight = np.exp(-np.asarray(wall_energy(jnp.asarray(fine), species, jnp.zeros(fine.shape), built.system)) / KT)
    expected = np.histogram(fine, edges, weights=weight)[0] / weight.sum()
    assert np.all(error[1:-1] < 0.015)
    deviation = (mean - expected)[error > 0] / error[error > 0]
    assert np.abs(deviation).max() < 4.0
    middle = expected[3:-2]
    assert np.ptp(middle) < 0.01 * middle.mean()
    # The gas is free in the plane: nothing is where it started.
    assert np.abs(np.asarray(frames.image)).max() > 1


# --- ledger -----------------------------------------------------------------------------------------------


def test_ledger_of_a_run(experiment_text, tmp_path):
    """Sulfur, lithium, charge and electrons at every check, and the events add up to them."""
    config = load_config_text(experiment_text)
    with open_trajectory(run_replica(config, 0, tmp_path) / TRAJECTORY) as trajectory:
        ledger, events = trajectory.ledger(), trajectory.events()
        species, electrons = trajectory.species(), trajectory.electrons()
        step, charge, unit = trajectory.series("step"), trajectory.charge, trajectory.unit
        assert unit("ledger", "current") == "e/ps"
    n_checks = len(ledger["step"])
    assert n_checks == 16
    assert np.all(ledger["sulfur_atoms"] == 6 * 16)
    assert np.all(ledger["lithium_atoms"] == 32)
    assert np.all(ledger["charge"] == 0.0)
    through = ledger["electrons_through_centres"]
    np.testing.assert_array_equal(ledger["electrons_on_beads"], through)
    np.testing.assert_array_equal(ledger["lithium_from_reservoir"], through)
    np.testing.assert_allclose(np.cumsum(ledger["current"]) * 0.2, through, rtol=1e-12)
    assert through[-1] > 10

    injection, ejection, nucleation, conversion = range(4)
    signed = events["count"] * np.select([events["kind"] == injection, events["kind"] == ejection], [1, -1], 0)
    turned = events["count"] * (events["kind"] == conversion)
    for column, counted in ((through, signed), (ledger["units_converted"], turned)):
        until = [counted[events["step"] <= s].sum() for s in ledger["step"]]
        np.testing.assert_array_equal(column, until)
    assert (events["kind"] == nucleation).sum() > 0
    # One droplet at one step: its electrons change by what entered less what left.
    for s, droplet in {(s, d) for s, d in zip(events["step"], events["droplet"], strict=True)}:
        rows = (events["step"] == s) & (events["droplet"] == droplet)
        change = (events["electrons_after"] - events["electrons_before"])[rows]
        assert np.all(change == signed[rows].sum())

    # The frames, which nobody told of the ledger, hold the same electrons and units.
    for frame in np.flatnonzero(np.isin(step, ledger["step"])):
        row = np.flatnonzero(ledger["step"] == step[frame])[0]
        assert electrons[frame].sum() == ledger["electrons_on_beads"][row]
        assert (species[frame] == LI2S).sum() == ledger["units_converted"][row]
        assert np.isin(species[frame], (S6, LI2S)).sum() == 16
        assert charge[species[frame]].sum() == 0.0
    assert np.all(electrons[:, 16:] == 0)
    assert electrons.min() == 0
    assert electrons.max() == 10
    assert np.all(electrons[species == LI2S] == 10)


def test_one_program_per_stage(experiment_text):
    """Another seed, potential, time step or friction is data: nothing is compiled anew."""
    config = load_config_text(experiment_text)
    other = load_config_text(
        experiment_text, overrides=["run.seed=9", "reaction.potential_V=-0.2", "stages.2.timestep_fs=10.0"]
    )
    first, second = build(config), build(other)

    def compiled(built, record):
        stage = dataclasses.replace(built.plan[2], record_steps=record, check_steps=record // 2)
        before = advance._cache_size()
        for _ in simulate(built.system, built.state, (stage,)):
            pass
        return advance._cache_size() - before

    compiled(first, 20)
    assert compiled(second, 20) == 0

"""Bare electrons in a run: charge and lithium are counted exactly, and forces know the charge of every bead."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.neighbors import allocate
from dropsim_kernels.neighbors import build as build_list

from dropsim.build import build, with_splitting
from dropsim.composition import composition
from dropsim.config_load import load_config_text
from dropsim.coulomb_error import exact_coulomb_forces, relative_error, target_beads
from dropsim.errors import SimulationError
from dropsim.forces import bead_charges, total_forces
from dropsim.simulate import (
    advance,
    minimise,
    new_list,
    renewed_neighbors,
    simulate,
    snapshot,
    step,
    thermalise,
    with_forces,
    with_lithium,
)
from dropsim.splitting import exact_splitting
from dropsim.system import LI, LI2S, VACANT

# Overdamped: the energy of Li+ that fall onto a charged bead from far away is gone at once.
STAGE = """
[[stages]]
name = "{name}"
integrator = "leimkuhler-matthews"
timestep_fs = 5.0
duration_ps = {duration}
record_every_ps = 0.4
reaction = true
potential_V = {potential}
"""
METHODS = {
    "ewald": ["electrostatics.method=ewald", "electrostatics.cutoff_nm=1.6"],
    "mesh": ["electrostatics.method=mesh", "electrostatics.cutoff_nm=1.6"],
}


def loaded(text, *stages, treatment="bare", more=()):
    """The small experiment with these (potential, duration) stages alone."""
    text = text[: text.index("[[stages]]")] + "[kinetics]\nenabled = false\n"
    for number, (potential, duration) in enumerate(stages):
        text += STAGE.format(name=f"stage{number}", duration=duration, potential=potential)
    overrides = [f"reaction.charge_treatment={treatment}", "run.precision=float64", "run.chunk_ps=4.0", *more]
    return load_config_text(text, "x.toml", overrides)


@pytest.fixture
def unrelaxed(monkeypatch):
    """Systems as placed: where only sums are compared, minima do not matter."""
    monkeypatch.setattr("dropsim.build.relaxed", renewed_neighbors)


def charged(state, system, electrons):
    """The state with these electrons on its sulfur beads, and as many Li+ more."""
    electrons = jnp.asarray(electrons, jnp.int32)
    state = jax.jit(with_lithium)(state, jnp.sum(electrons, dtype=jnp.int32), system)
    assert int(state.error) == 0
    reaction = dataclasses.replace(state.reaction, electrons=electrons)
    return renewed_neighbors(dataclasses.replace(state, reaction=reaction), system)


def mobile_charge(state, system):
    return float(np.sum(np.asarray(bead_charges(state.species, state.reaction.electrons, system))))


def test_electrons_charge_their_beads_only_where_they_are_bare(unrelaxed, experiment_text):
    built = build(loaded(experiment_text, (-0.1, 0.4)))
    state, system = built.state, built.system
    n_sulfur = system.n_sulfur
    assert (system.bare, n_sulfur) == (True, 16)
    electrons = jnp.arange(n_sulfur, dtype=jnp.int32) % 11
    before = np.asarray(bead_charges(state.species, jnp.zeros_like(electrons), system))
    after = np.asarray(bead_charges(state.species, electrons, system))
    np.testing.assert_array_equal(before[:n_sulfur], -2.0)
    np.testing.assert_array_equal(after[:n_sulfur], -2.0 - np.asarray(electrons))
    np.testing.assert_array_equal(after[n_sulfur:], before[n_sulfur:])
    coupled = dataclasses.replace(system, bare=False)
    np.testing.assert_array_equal(bead_charges(state.species, electrons, coupled), before)


@pytest.mark.parametrize("method", METHODS)
def test_energy_and_forces_know_every_charge(unrelaxed, experiment_text, method):
    """Against a tight Ewald sum of another splitting: its self energy, which is of the squares of the charges, is twice
    as large, so that a charge forgotten anywhere would show as thousands of kJ/mol."""
    config = loaded(experiment_text, (-0.1, 0.4), more=[*METHODS[method], "electrostatics.force_tolerance=1e-6"])
    built = build(config)
    state, system = charged(built.state, built.system, np.arange(16) % 11)
    assert mobile_charge(state, system) == mobile_charge(built.state, built.system)
    targets = target_beads(state.position.shape[0])
    exact = exact_coulomb_forces(state, system, targets)
    deviation = relative_error(state, system, targets, exact) * float(np.sqrt((exact**2).sum(axis=1).mean()))
    # What the tolerance is relative to: the force of two charges of the mean square at the contact of Li and S6.
    charge = np.asarray(bead_charges(state.species, state.reaction.electrons, system))
    contact = float(np.mean(charge[charge != 0] ** 2)) / 0.5**2
    print("relative error of the forces", deviation / contact)
    assert 0 < deviation < 1e-6 * contact
    tight = loaded(experiment_text, (-0.1, 0.4), more=["electrostatics.cutoff_nm=2.7"])
    state_there, there = with_splitting(state, system, exact_splitting(tight, composition(tight), 1e-9))
    alphas = float(system.splitting.alpha), float(there.splitting.alpha)
    assert abs(alphas[0] - alphas[1]) > 0.2 * alphas[1]
    forces = jax.jit(total_forces)
    electrons = state.reaction.electrons
    energy, _ = forces(state.position, state.species, electrons, state.neighbors, system)
    same, _ = forces(state.position, state.species, electrons, state_there.neighbors, there)
    uncharged, _ = forces(state.position, state.species, jnp.zeros_like(electrons), state.neighbors, system)
    print("energy", float(energy), float(same), float(uncharged))
    assert abs(float(energy) - float(same)) < 1e-5 * abs(float(energy) - float(uncharged))


def test_without_transfer_both_treatments_are_the_same(unrelaxed, experiment_text):
    """Beads that have taken no electron: the same forces, and beside vacant slots the same path, to rounding."""
    free = ["reaction.rate_constant_per_ps=0.0"]
    coupled = build(loaded(experiment_text, (-0.1, 0.4), treatment="coupled", more=free))
    state, system = coupled.state, coupled.system
    with_charges = dataclasses.replace(system, bare=True)
    forces = jax.jit(total_forces)
    given = state.position, state.species, state.reaction.electrons, state.neighbors
    for found, expected in zip(forces(*given, with_charges), forces(*given, system), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * float(jnp.max(jnp.abs(expected))))

    bare = build(loaded(experiment_text, (-0.1, 0.4), more=free))
    assert np.count_nonzero(np.asarray(bare.state.species) == VACANT) == 160
    n_ions = state.position.shape[0]
    position = bare.state.position.at[:n_ions].set(state.position)
    start = dataclasses.replace(bare.state, position=position)

    @jax.jit
    def path(state, system):
        state = jax.lax.fori_loop(0, 40, lambda _, now: step(now, system), with_forces(state, system))
        state = with_forces(state, system)
        return state, snapshot(state, system)

    found = []
    for built, first in ((coupled, state), (bare, start)):
        stage = built.plan[0].of(built.system)
        found.append(path(first, stage))
        assert int(found[-1][0].error) == 0
    (alone, frame), (with_slots, frame_with_slots) = found
    np.testing.assert_allclose(with_slots.position[:n_ions], alone.position, rtol=0, atol=1e-9)
    for name in ("energy", "kinetic_energy", "force_squared", "laplacian"):
        np.testing.assert_allclose(getattr(frame_with_slots, name), getattr(frame, name), rtol=1e-7, err_msg=name)
    # Slots that hold nothing rest where they are, feel nothing, and have no velocity.
    np.testing.assert_array_equal(with_slots.position[n_ions:], start.position[n_ions:])
    assert not np.any(np.asarray(with_slots.force)[n_ions:])
    assert not np.any(np.asarray(with_slots.velocity)[n_ions:])


def test_ledger_of_thousands_of_electrons_is_exact(experiment_text):
    """Between two potentials, and in a list of neighbours that has to follow Li+ that come from nowhere: after every
    look charge and lithium are what the electrons say, as integers."""
    stages = [(sign * 0.03, 0.8) for sign in (-1, 1, -1, 1)]
    more = ["reaction.rate_constant_per_ps=60.0", "reaction.transfer_coefficient=0.5", "electrostatics.cutoff_nm=1.6",
            "reaction.nucleation_rate_per_ps=0.0", "reaction.check_every_ps=0.02"]  # fmt: skip
    built = build(loaded(experiment_text, *stages, more=more))
    state, system = built.state, built.system
    settings = allocate(state.position, system.site_position, system.box, 1.6, 0.3)
    system = dataclasses.replace(system, neighbors=settings)
    neighbors = build_list(state.position, system.site_position, system.box, settings)
    state = dataclasses.replace(state, neighbors=neighbors)
    n_li = int(np.count_nonzero(np.asarray(state.species) == LI))
    charge = mobile_charge(state, system)
    crossed, levels = 0, []
    for chunk in simulate(system, state, built.plan):
        checks = jax.tree.map(np.asarray, chunk.checks)
        electrons = checks.electrons.sum(axis=1)
        through = checks.injected + checks.injected_surface
        np.testing.assert_array_equal(electrons, through)
        np.testing.assert_array_equal(checks.beads[:, LI], n_li + through)
        np.testing.assert_array_equal(checks.beads[:, VACANT], 160 - through)
        crossed += int(checks.info.entered.sum() + checks.info.left.sum())
        levels += electrons.tolist()
        # Whole charges add without rounding.
        assert mobile_charge(chunk.state, chunk.system) == charge
        # What is stored is what a sum over all pairs from nothing gives: list, self and background terms included.
        found = chunk.state
        everything = dataclasses.replace(
            chunk.system, neighbors=dataclasses.replace(settings, capacity=0, cells=None, skin=0.0)
        )
        fresh = new_list(found.position, system.site_position, system.box, everything.neighbors)
        energy, force = total_forces(found.position, found.species, found.reaction.electrons, fresh, everything)
        np.testing.assert_allclose(float(found.energy), float(energy), rtol=1e-12)
        scale = float(jnp.max(jnp.abs(force)))
        np.testing.assert_allclose(found.force, force, rtol=0, atol=1e-11 * scale)
    print("electrons that crossed", crossed, "on the beads", min(levels), max(levels))
    assert crossed > 2000
    assert max(levels) - min(levels) > 15


def test_a_run_stops_where_the_reservoir_is_empty(experiment_text):
    more = ["reaction.rate_constant_per_ps=60.0", "reaction.lithium_slots=12", "reaction.check_every_ps=0.02",
            "electrostatics.cutoff_nm=1.6", "run.chunk_ps=0.4"]  # fmt: skip
    built = build(loaded(experiment_text, (-0.1, 0.8), more=more))
    with pytest.raises(SimulationError, match=r"reaction\.lithium_slots"):
        for _ in simulate(built.system, built.state, built.plan):
            pass


@pytest.mark.parametrize(("integrator", "timestep_ps"), [("baoab", 0.02), ("leimkuhler-matthews", 0.04)])
def test_units_with_all_their_electrons_are_stable_at_the_usual_step(
    unrelaxed, experiment_text, integrator, timestep_ps
):
    """Units of -12 e that share 72 Li+, liquid or solid: no force that is not finite, and the temperature of the bath.

    The stiffest pair has omega dt = 0.6 at 20 fs, which takes 9 % of kT from its velocities; friction 10/ps.
    """
    config = loaded(experiment_text, (-0.1, 0.4), more=["centres.arrangement=none", "electrolyte.li2s6_count=6",
                                                        "reaction.surface_rate_constant_per_ps=0.1"])  # fmt: skip
    built = build(config)
    state, system = charged(built.state, built.system, np.full(6, 10))
    state = dataclasses.replace(state, species=state.species.at[:3].set(LI2S))
    state = minimise(state, system, 300)
    stage = dataclasses.replace(
        built.plan[0], integrator=integrator, timestep_ps=timestep_ps, friction_per_ps=(10.0,) * 8, check_steps=0
    ).of(system)
    n_steps = round(24.0 / timestep_ps)
    state = dataclasses.replace(state, error=jnp.zeros_like(state.error))
    state, frames, _ = advance(thermalise(state, stage), stage, 40, n_steps // 40, 0)
    frames = jax.tree.map(lambda values: values[20:], frames)
    assert int(state.error) == 0
    configurational = np.asarray(frames.force_squared).mean() / np.asarray(frames.laplacian).mean()
    n_beads = np.count_nonzero(np.asarray(state.species) != VACANT)
    kinetic = np.asarray(frames.kinetic_energy) / (1.5 * n_beads)
    kT = float(system.thermal_energy)
    print("configurational", configurational / kT, "kinetic", kinetic.mean() / kT)
    assert abs(configurational / kT - 1) < 0.15
    if integrator == "baoab":
        assert 0.88 < kinetic.mean() / kT < 1.06

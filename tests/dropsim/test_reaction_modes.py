"""Runs of each kind of reaction: reduced, left at open circuit and oxidised again; the books close in whole numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dropsim.simulate
from dropsim.build import build
from dropsim.config_load import load_config_text
from dropsim.errors import SimulationError
from dropsim.event_log import EVENT_KINDS
from dropsim.run import resume_replica, run_replica
from dropsim.run_folder import TRAJECTORY
from dropsim.simulate import advance, simulate
from dropsim.system import LI, LI2S, LI2S2, S6, VACANT
from dropsim.trajectory import open_trajectory

# Sixteen Li2S6 as a droplet over four wired centres; three stages of one shape, hence of one compiled program.
TEXT = """\
[run]
name = "modes"
seed = 7
chunk_ps = 0.8

[box]
lateral_nm = [5.5, 5.5]
height_nm = 6.0

[electrolyte]
li2s6_count = 16

[start]
kind = "droplet"

[reaction]
rate_constant_per_ps = 0.5
minimum_size = 1
threshold = 0.1
nucleation_rate_per_ps = 5.0
opening_rate_per_ps = 10.0
opening_barrier_kT = 1.0

[[stages]]
name = "reduce"
integrator = "baoab"
timestep_fs = 5.0
duration_ps = 1.6
record_every_ps = 0.4
reaction = true
potential_V = -0.2

[[stages]]
name = "rest"
integrator = "baoab"
timestep_fs = 5.0
duration_ps = 0.8
record_every_ps = 0.4
reaction = true
open_circuit = true

[[stages]]
name = "oxidise"
integrator = "baoab"
timestep_fs = 5.0
duration_ps = 1.6
record_every_ps = 0.4
reaction = true
potential_V = 0.08
potential_end_V = 0.24

[kinetics]
enabled = false
"""
CHECKS = {"reduce": slice(0, 8), "rest": slice(8, 12), "oxidise": slice(12, 20)}
MODES = {
    "mixed": [],
    "finite": ["reaction.sharing=finite", "reaction.hop_rate_per_ps=0.3"],
    "none": ["reaction.sharing=none", "reaction.site_energy_kT=0.05"],
    "surface": [
        "reaction.surface_rate_constant_per_ps=1.0", "reaction.rate_constant_per_ps=0.0", "reaction.kinetics=marcus",
        "reaction.rod_rate_constant_per_ps=0.05", "wall.kind=titanium",
    ],
    # Few electrons: beads of twelve charges would ask for shorter steps.
    "bare": ["reaction.charge_treatment=bare", "reaction.rate_constant_per_ps=0.02", "reaction.lithium_slots=40"],
}  # fmt: skip


class Cut(Exception):  # noqa: N818
    """Stands for the end of the process."""


def cut_after(chunks):
    left = iter(range(chunks - 1))

    def progress(_):
        if next(left, None) is None:
            raise Cut

    return progress


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Mode -> run folder, run when it is first asked for."""
    found = {}

    def folder(mode):
        if mode not in found:
            config = load_config_text(TEXT, overrides=MODES[mode])
            found[mode] = run_replica(config, 0, tmp_path_factory.mktemp(mode))
        return found[mode]

    return folder


@pytest.mark.parametrize("mode", MODES)
def test_the_books_close(runs, mode):
    """Atoms, charge and electrons in whole numbers, after every check; at rest nothing passes."""
    with open_trajectory(runs(mode) / TRAJECTORY) as trajectory:
        ledger, events = trajectory.ledger(), trajectory.events()
        electrons, species = trajectory.electrons(), trajectory.species()
    assert len(ledger["step"]) == 20
    through = ledger["electrons_through_centres"] + ledger["electrons_through_surface"]
    assert np.all(ledger["sulfur_atoms"] == 96)
    assert np.all(ledger["lithium_atoms"] == 32)
    np.testing.assert_array_equal(ledger["electrons_on_beads"], through)
    np.testing.assert_array_equal(ledger["lithium_from_reservoir"], through)
    np.testing.assert_allclose(ledger["charge"], 0.0, atol=1e-6)
    np.testing.assert_allclose(np.cumsum(ledger["current"]) * 0.2, through, atol=1e-9)
    # It was worth the count: electrons came, none passed at rest, some left again.
    assert through[7] >= 4
    assert np.all(through[CHECKS["rest"]] == through[7])
    assert through[-1] < through[7]
    # Events hold the same electrons.
    kind = events["kind"]
    signs = {"injection": 1, "ejection": -1, "surface_injection": 1, "surface_ejection": -1}
    counted = sum(sign * events["count"][kind == EVENT_KINDS.index(name)].sum() for name, sign in signs.items())
    assert counted == through[-1]
    np.testing.assert_array_equal(
        events["reservoir_before"][1:], np.where(np.diff(events["step"]), events["reservoir_after"][:-1],
                                                 events["reservoir_before"][:-1])
    )  # fmt: skip
    # Frames, with one more at no check: what a bead is follows from its electrons.
    sulfur, n = species[:, :16], electrons[:, :16]
    assert np.all(electrons[:, 16:] == 0)
    assert np.all(np.isin(sulfur, (S6, LI2S, LI2S2)))
    assert np.all(n[sulfur == LI2S] == 10)
    assert np.all((n[sulfur == LI2S2] >= 4) & (n[sulfur == LI2S2] < 10))
    np.testing.assert_array_equal(n.sum(axis=1), ledger["electrons_on_beads"][1::2])
    np.testing.assert_array_equal((sulfur == LI2S).sum(axis=1), ledger["units_converted"][1::2])
    np.testing.assert_array_equal((sulfur == LI2S2).sum(axis=1), ledger["units_intermediate"][1::2])


def test_the_potential_is_a_staircase(runs):
    """Constant, none at open circuit, and a ramp whose treads are at the potential of their middle."""
    with open_trajectory(runs("mixed") / TRAJECTORY) as trajectory:
        potential = trajectory.ledger()["potential"]
    np.testing.assert_allclose(potential[CHECKS["reduce"]], -0.2, rtol=1e-6)
    assert np.all(np.isnan(potential[CHECKS["rest"]]))
    np.testing.assert_allclose(potential[CHECKS["oxidise"]], 0.08 + 0.02 * (np.arange(8) + 0.5), rtol=1e-5)


def test_solid_forms_and_dissolves(runs):
    """At the centres: nothing turns solid above E0, nothing opens below, and beads are solid twice at most once more
    than they dissolved."""
    for mode in ("mixed", "finite", "none"):
        with open_trajectory(runs(mode) / TRAJECTORY) as trajectory:
            ledger, events = trajectory.ledger(), trajectory.events()
        names = np.array(EVENT_KINDS)[events["kind"]]
        rest = ledger["time"][CHECKS["rest"]]
        assert ledger["units_converted"][7] > 0, mode
        assert ledger["units_converted"][-1] < ledger["units_converted"][7], mode
        assert np.all(events["time"][names == "opening"] > rest[-1]), mode
        assert np.all(events["time"][np.isin(names, ("nucleation", "conversion"))] < rest[0]), mode
        turned, opened = (events["count"][names == name].sum() for name in ("conversion", "opening"))
        assert turned - opened == ledger["units_converted"][-1], mode
        assert ("nucleation" in names) == (mode != "none"), mode


def test_the_bare_electrode_goes_through_dissolved_intermediates(runs):
    """Without a rate at the centres all electrons cross the surface; Li2S2 is released before any Li2S is there."""
    with open_trajectory(runs("surface") / TRAJECTORY) as trajectory:
        ledger, events = trajectory.ledger(), trajectory.events()
    assert np.all(ledger["electrons_through_centres"] == 0)
    assert ledger["units_intermediate"].max() > 0
    names = np.array(EVENT_KINDS)[events["kind"]]
    assert {"surface_injection", "release", "surface_ejection", "oxidation"} <= set(names)
    assert not {"injection", "nucleation", "insertion"} & set(names)
    assert np.all(events["members"][names == "release"] == 1)


def test_bare_electrons_bring_beads_of_lithium(runs):
    folder = runs("bare")
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        species, ledger, events = trajectory.species(), trajectory.ledger(), trajectory.events()
        assert bool(trajectory.metadata["bare"])
        position, charge = trajectory.position(), trajectory.charge
        electrons = trajectory.electrons()
        temperature = trajectory.series("kinetic_temperature")
    taken = ledger["lithium_from_reservoir"][1::2]
    np.testing.assert_array_equal((species == LI).sum(axis=1), 32 + taken)
    np.testing.assert_array_equal((species == VACANT).sum(axis=1), 40 - taken)
    np.testing.assert_array_equal((charge[species] - electrons).sum(axis=1), 0.0)
    names = np.array(EVENT_KINDS)[events["kind"]]
    assert {"insertion", "removal"} <= set(names)
    # A slot that stays vacant rests.
    still = (species == VACANT).all(axis=0)
    assert still.any()
    assert np.all(position[:, still] == position[:1, still])
    assert np.all(np.isfinite(temperature))


def test_stages_that_differ_in_potential_share_one_program(runs, tmp_path):
    """What compiles: the shapes; not the potential, nor whether the electrode is connected, nor a ramp."""
    advance.clear_cache()
    run_replica(load_config_text(TEXT, overrides=["reaction.threshold=0.15"]), 0, tmp_path)
    assert advance._cache_size() == 1


@pytest.mark.parametrize(("mode", "chunks"), [("surface", 2), ("bare", 4)])
def test_cut_and_resumed_to_the_same_bits(runs, tmp_path, mode, chunks):
    whole = runs(mode)
    with pytest.raises(Cut):
        run_replica(load_config_text(TEXT, overrides=MODES[mode]), 0, tmp_path, progress=cut_after(chunks))
    folder = tmp_path / whole.name
    assert resume_replica(folder) is None
    with open_trajectory(whole / TRAJECTORY) as one, open_trajectory(folder / TRAJECTORY) as two:
        for name in ("position", "image", "species", "electrons"):
            np.testing.assert_array_equal(getattr(one, name)(), getattr(two, name)(), err_msg=name)
        for table in ("events", "ledger"):
            first, second = getattr(one, table)(), getattr(two, table)()
            for name, column in first.items():
                np.testing.assert_array_equal(column, second[name], err_msg=name)


def with_trouble(monkeypatch, trouble_of):
    """Let the reaction do nothing, and report what `trouble_of` its parameters says."""
    real = dropsim.simulate.charge_transfer_step

    def fake(key, step, state, drive, *arguments):
        _, info = jax.eval_shape(real, key, step, state, drive, *arguments)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), info)
        trouble = jnp.asarray(trouble_of(arguments[-1]), jnp.int32)
        return state, dataclasses.replace(nothing, trouble=trouble)

    monkeypatch.setattr(dropsim.simulate, "charge_transfer_step", fake)
    advance.clear_cache()
    monkeypatch.setattr(dropsim.simulate, "advance", advance)


SHORT = ["stages.0.duration_ps=0.4", "stages.1.duration_ps=0.4", "stages.2.duration_ps=0.4", "run.chunk_ps=0.4"]


def test_contacts_that_overflow_get_more_room(monkeypatch):
    built = build(load_config_text(TEXT, overrides=SHORT))
    rule = built.system.reaction
    enough = rule.contacts.sulfur_capacity
    with_trouble(monkeypatch, lambda rule: int(rule.contacts.sulfur_capacity < enough))
    small = dataclasses.replace(rule.contacts, sulfur_capacity=enough // 4)
    system = dataclasses.replace(built.system, reaction=dataclasses.replace(rule, contacts=small))
    chunks = list(simulate(system, built.state, built.plan))
    assert [chunk.system.reaction.contacts.sulfur_capacity for chunk in chunks] == [enough] * 3
    assert [int(chunk.state.step) for chunk in chunks] == [80, 160, 240]
    assert not any(int(chunk.state.error) for chunk in chunks)
    advance.clear_cache()


def test_more_events_than_are_followed_stop_the_run(monkeypatch):
    built = build(load_config_text(TEXT, overrides=SHORT))
    with_trouble(monkeypatch, lambda rule: 2)
    with pytest.raises(SimulationError, match=r"stage 'reduce'.*lower reaction\.check_every_ps, or the rates"):
        list(simulate(built.system, built.state, built.plan))
    advance.clear_cache()


def test_a_reservoir_that_runs_dry_stops_the_run():
    overrides = [*MODES["bare"], *SHORT, "reaction.lithium_slots=10", "reaction.rate_constant_per_ps=5.0"]
    built = build(load_config_text(TEXT, overrides=overrides))
    with pytest.raises(SimulationError, match=r"raise reaction\.lithium_slots"):
        list(simulate(built.system, built.state, built.plan))

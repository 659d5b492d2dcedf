"""The Ewald sum: its plain form over images, the choice of its parameters, and the field of a lattice of centres.

The closed forms are rows of the battery of known answers, which test_battery.py runs. Energies in charge^2/length.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import ewald
from dropsim_kernels.electrostatics.coulomb import coulomb_energy_forces
from dropsim_kernels.electrostatics.ewald import EwaldParameters, choose_parameters

energy_of = jax.jit(ewald.ewald_energy, static_argnums=4)
energy_forces = jax.jit(coulomb_energy_forces)


@pytest.mark.parametrize("alpha", [4.5, 5.5])
def test_plain_sum_over_images_of_one_cell(alpha):
    """Rock salt from the cell of eight ions, whose cutoff reaches past its neighbours: images are summed."""
    index = np.array(list(np.ndindex(2, 2, 2)))
    parameters = EwaldParameters(jnp.asarray(alpha), jnp.asarray(1.2), None, (9, 9, 9), False)
    box = Box(jnp.asarray([1.0, 1.0, 1.0]), (True, True, True))
    energy = energy_of(jnp.asarray(index / 2.0), jnp.asarray((-1.0) ** index.sum(1)), box, parameters, 1)
    # Ions half a length apart: 2 U/N in units of q^2 over that distance.
    assert float(energy) / 8 == pytest.approx(-1.74756459463318219, rel=1e-7)


# --- the choice of parameters ------------------------------------------------------------------------------------


def ionic_slab(seed, n=120, lengths=(7.0, 7.0, 6.0)):
    """Ions of +1 and -2 at least 0.4 apart above four centres of +7.37 with four sites of -1.8425 around each."""
    rng = np.random.default_rng(seed)
    centres = np.array([(x, y, 0.15) for x in (1.75, 5.25) for y in (1.75, 5.25)])
    ring = np.array([(0.3, 0, -0.15), (-0.3, 0, -0.15), (0, 0.3, -0.15), (0, -0.3, -0.15)])
    sites = np.concatenate([centres, (centres[:, None, :] + ring).reshape(-1, 3)])
    site_charge = np.r_[np.full(4, 7.37), np.full(16, -1.8425)]
    chosen = list(sites)
    while len(chosen) < n + 20:
        x = rng.random(3) * (np.asarray(lengths) - [0, 0, 0.4]) + [0, 0, 0.2]
        d = np.asarray(chosen) - x
        d[:, :2] -= np.asarray(lengths[:2]) * np.round(d[:, :2] / lengths[:2])
        if (d**2).sum(1).min() > 0.4**2:
            chosen.append(x)
    charge = np.where(np.arange(n) % 3 == 0, -2.0, 1.0)
    return tuple(jnp.asarray(a) for a in (np.asarray(chosen[20:]), charge, sites, site_charge)), lengths


def relative_error(found, reference):
    return float(jnp.sqrt(((found - reference) ** 2).sum() / (reference**2).sum()))


@pytest.fixture(scope="module")
def reference():
    """Two slabs of ions with forces converged to 1e-9."""
    cases = []
    for seed in (1, 2):
        scene, lengths = ionic_slab(seed)
        box = Box(jnp.asarray(lengths), (True, True, False))
        tight = EwaldParameters(jnp.asarray(1.45), jnp.asarray(3.5), jnp.asarray(24.0), (15, 15, 51), True)
        tighter = EwaldParameters(jnp.asarray(1.6), jnp.asarray(3.5), jnp.asarray(30.0), (17, 17, 72), True)
        forces = energy_forces(*scene, box, tight)[1]
        assert relative_error(energy_forces(*scene, box, tighter)[1], forces) < 1e-8
        cases.append((scene, lengths, box, forces))
    return cases


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("cutoff", [None, 2.2])
def test_force_error_is_within_what_was_asked_for(reference, tolerance, cutoff):
    """E10: measured rms error/rms force <= the tolerance, with the chosen cutoff and with a given one."""
    for scene, lengths, box, forces in reference:
        parameters = choose_parameters(lengths, 140, tolerance, cutoff=cutoff, slab=True)
        measured = relative_error(energy_forces(*scene, box, parameters)[1], forces)
        assert measured <= tolerance
        # A tolerance missed by orders on the safe side would be paid for at every step.
        assert measured > 1e-3 * tolerance


def site_potential(height, spacing=2.75):
    """Potential at a height above the +7.37 of a square lattice whose four -1.8425 lie 0.15 below it, 0.3 out."""
    box = Box(jnp.asarray([spacing, spacing, 6.0]), (True, True, False))
    parameters = EwaldParameters(jnp.asarray(4.0), jnp.asarray(1.37), jnp.asarray(18.0), (18, 18, 115), True)
    base = 0.2
    ring = [(0.3, 0, -0.15), (-0.3, 0, -0.15), (0, 0.3, -0.15), (0, -0.3, -0.15)]
    sites = jnp.asarray(np.array([(0, 0, 0), *ring]) + np.array([0, 0, base]))
    site_charge = jnp.asarray([7.37] + [-7.37 / 4] * 4)

    def energy(charge):
        probe = jnp.asarray([[0.0, 0.0, base]]).at[0, 2].add(height)
        return coulomb_energy_forces(probe, charge, sites, site_charge, box, parameters)[0]

    # The slope at zero charge: the images of the probe itself have no part in it.
    return jax.grad(energy)(jnp.zeros(1))[0]


def test_neutral_lattice_of_centres_has_a_short_reach():
    """Energy of S6^2- above a centre, in kT at Bjerrum length 5.57, against numbers made by direct lateral sums.

    -41.6, -13.7, -7.4, -1.9, -0.5, -0.05 at 0.5, 0.8, 1, 1.5, 2, 3; zero is far above. The sum's own zero
    is the middle of the dipole layer's step, 2 pi mu/A on either side, mu = 7.37 x 0.15.
    """
    bjerrum_length = 5.570
    far_above = 2 * math.pi * 7.37 * 0.15 / 2.75**2
    heights = jnp.asarray([0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 4.5])
    potential = np.asarray(jax.jit(jax.vmap(site_potential))(heights)) - far_above
    energies = -2 * bjerrum_length * potential
    stated = np.array([-41.6, -13.7, -7.4, -1.9, -0.5, -0.05])
    unit_of_last_digit = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.01])
    assert (np.abs(energies[:6] - stated) <= unit_of_last_digit).all(), energies
    # Beyond that the field of the lattice falls as exp(-2 pi z/a).
    assert potential[6] / potential[5] == pytest.approx(math.exp(-2 * math.pi * 1.5 / 2.75), rel=0.05)

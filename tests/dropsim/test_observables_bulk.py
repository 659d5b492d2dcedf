"""Observables of a box that repeats along all axes, and the configurational temperature, on data of known truth."""

import numpy as np
import pytest

from dropsim.errors import AnalysisError
from dropsim.observables.bulk import bulk_radial_distribution, self_diffusivity
from dropsim.observables.temperature import configurational_temperature
from dropsim.units import BOLTZMANN_KJ_PER_MOL_K

BOX = np.array([3.0, 4.0, 3.5])


def test_pair_distribution_counts_as_a_plain_loop_does():
    draw = np.random.default_rng(1)
    position = draw.uniform(0, 1, (5, 30, 3)) * BOX
    species = np.tile([0, 1, 1], (5, 10))
    found = bulk_radial_distribution(position, species, BOX, (0,), (1,), bin_nm=0.25)
    edges = np.linspace(0, 1.5 * (1 - 1e-9), 7)  # the last one ends just below half the box
    counts = np.zeros(6)
    for x in position:
        apart = x[species[0] == 0][:, None] - x[species[0] == 1][None]
        apart -= BOX * np.round(apart / BOX)
        counts += np.histogram(np.sqrt((apart**2).sum(-1)), edges)[0]
    ideal = 5 * 10 * 20 / BOX.prod() * 4 / 3 * np.pi * np.diff(edges**3)
    np.testing.assert_allclose(found.r, (edges[1:] + edges[:-1]) / 2)
    np.testing.assert_allclose(found.g, counts / ideal, rtol=1e-9)


def test_pair_distribution_of_an_ideal_gas_is_one_also_near_the_faces():
    draw = np.random.default_rng(2)
    position = draw.uniform(0, 1, (60, 200, 3)) * BOX
    for first, second in (((0,), (0,)), ((0,), (1,))):
        g = bulk_radial_distribution(position, np.tile([0, 1], (60, 100)), BOX, first, second, bin_nm=0.1)
        far = g.r > 0.3
        # Five blocks: Student's t with four degrees of freedom has a variance of 2.
        pull = (g.g - 1)[far] / g.standard_error[far]
        assert np.mean(pull**2) < 5.0
        assert abs(np.mean(g.g[far]) - 1) < 4 * np.sqrt(np.sum(g.standard_error[far] ** 2)) / far.sum()


@pytest.mark.parametrize("n", [2, 5, 100])
def test_self_diffusivity_of_free_beads(n):
    """Free Brownian beads with D = 0.3: few of them lose a part of their motion to the common centre."""
    draw = np.random.default_rng(n)
    values, errors = [], []
    for _ in range(max(1, 200 // n)):
        walk = np.cumsum(draw.normal(0, np.sqrt(2 * 0.3 * 0.1), (2000, n, 3)), axis=0)
        found = self_diffusivity(walk, 0.1, "nm^2/s")
        values.append(found.value)
        errors.append(found.standard_error)
    error = np.sqrt(np.sum(np.square(errors))) / len(errors)
    assert abs(np.mean(values) - 0.3) < 4 * error
    # The part that would be missing for five beads, a fifth, is seen at this error.
    assert n != 5 or 8 * error < 0.06


def test_self_diffusivity_asks_for_beads_and_frames():
    with pytest.raises(AnalysisError, match="two or more"):
        self_diffusivity(np.zeros((200, 1, 3)), 1.0, "nm^2/s")
    with pytest.raises(AnalysisError, match="99 frames are too few for 5 blocks of 20"):
        self_diffusivity(np.zeros((99, 3, 3)), 1.0, "nm^2/s")


def test_configurational_temperature_of_harmonic_wells():
    """50 beads in wells of two stiffnesses at 350 K: <k^2 x^2> / k is kT whatever k is."""
    draw = np.random.default_rng(7)
    kT = 350.0 * BOLTZMANN_KJ_PER_MOL_K
    stiffness = np.repeat([200.0, 3000.0], 75)
    x = draw.normal(0, np.sqrt(kT / stiffness), (400, 150))
    squared = ((stiffness * x) ** 2).sum(1)
    laplacian = np.full(400, stiffness.sum())
    found = configurational_temperature(squared, laplacian)
    assert found.unit == "K"
    assert abs(found.value - 350.0) < 4 * found.standard_error
    assert found.standard_error < 5.0
    with pytest.raises(AnalysisError, match="hardly interact"):
        configurational_temperature(squared, -laplacian)

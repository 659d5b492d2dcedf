"""Profiles and surface counts against sums done by hand and against an even spread."""

import math

import numpy as np
import pytest

from dropsim.errors import AnalysisError
from dropsim.observables import profiles as pf

BOX = np.array([5.0, 4.0, 7.3])


def even_spread(seed, frames=400, beads=90):
    rng = np.random.default_rng(seed)
    species = np.tile(rng.permutation(np.repeat([0, 1, 2, 3], [45, 25, 10, 10])), (frames, 1))
    return rng.uniform(size=(frames, beads, 3)) * BOX, species


def test_surface_count_of_an_even_spread_is_its_null():
    position, species = even_spread(1)
    count = pf.surface_count(position, species, BOX)
    assert count.uniform_beads == pytest.approx(35 * 1.5 / 7.3)
    np.testing.assert_allclose(count.sulfur_atoms, 6 * count.beads)
    assert abs(count.beads.mean() - count.uniform_beads) < 4 * count.uniform_sd_beads / math.sqrt(400)
    # Sampling error of a standard deviation: sd / sqrt(2 T), to leading order.
    assert abs(count.beads.std(ddof=1) - count.uniform_sd_beads) < 4 * count.uniform_sd_beads / math.sqrt(800)


def test_surface_count_looks_at_the_open_interval_and_at_sulfur_only():
    z = np.array([0.0, 0.2, 1.4999, 1.5, 3.0, 0.2, 0.2])
    species = np.array([[1, 1, 3, 1, 1, 0, 2]])
    position = np.stack([np.ones(7), np.ones(7), z], axis=1)[None]
    count = pf.surface_count(position, species, BOX)
    np.testing.assert_array_equal(count.beads, [2.0])
    np.testing.assert_array_equal(count.sulfur_atoms, [12.0])
    np.testing.assert_array_equal(pf.surface_count(position, species, BOX, 5.0).beads, [4.0])


def test_charge_density_is_charge_times_count_over_slice_volume():
    position = np.zeros((2, 4, 3))
    position[0, :, 2] = [0.01, 0.06, 7.3, 0.02]
    position[1, :, 2] = [0.04, 0.26, 7.26, 0.02]
    species = np.array([[1, 3, 1, 0], [1, 1, 1, 2]])
    got = pf.charge_density_profile(position, species, BOX)
    volume = 5.0 * 4.0 * 0.05 * 1000  # angstrom^3
    expected = np.zeros(146)
    expected[[0, 1, 5, 145]] = np.array([2.0, 1.0, 1.0, 2.0]) * 2.0 / 2 / volume
    np.testing.assert_allclose(got.value, expected, rtol=1e-12)
    assert got.unit == "e/angstrom^3"
    assert got.z[0] == pytest.approx(0.025)
    assert got.z[-1] == pytest.approx(7.275)
    signed = pf.charge_density_profile(position, species, BOX, sign_dropped=False)
    np.testing.assert_allclose(signed.value, -expected, rtol=1e-12)


def test_net_charge_profile_has_every_ion_and_its_sign():
    position, species = even_spread(2, frames=50)
    charges = [1.0, -2.0, -1.0, -2.0]
    got = pf.net_charge_density_profile(position, species, BOX, charges, slice_nm=0.4)
    thickness = np.append(np.full(18, 0.4), 0.1)
    total = np.sum(got.value * thickness) * 5.0 * 4.0 * 1000
    assert total == pytest.approx(45 - 2 * 35 - 10, rel=1e-12)
    parts = sum(
        q * pf.density_profile(position, species, BOX, (code,), slice_nm=0.4).value for code, q in enumerate(charges)
    )
    np.testing.assert_allclose(got.value, parts / 1000, rtol=1e-9, atol=1e-15)


def test_density_of_an_even_spread_is_flat_also_in_the_thin_last_slice():
    position, species = even_spread(3)
    got = pf.density_profile(position, species, BOX, (0,), slice_nm=0.5)
    density = 45 / np.prod(BOX)
    volume = BOX[0] * BOX[1] * np.append(np.full(14, 0.5), 0.3)
    share = volume / np.prod(BOX)
    sd = np.sqrt(45 * share * (1 - share) / 400) / volume
    # 15 slices, one constraint: chi^2 of 14 degrees of freedom, weights of a multinomial.
    chi2 = np.sum(((got.value - density) / sd) ** 2 * (1 - share))
    assert 4.07 < chi2 < 31.3  # 0.5 % and 99.5 % points
    # Five blocks: the mean of se^2 / sd^2 over slices is 1, each with relative variance 2/4.
    ratio = np.mean((got.standard_error / sd) ** 2)
    assert abs(ratio - 1) < 4 * math.sqrt(2 / 4 / 15)


def test_block_error_of_a_correlated_series_exceeds_the_naive_one():
    rng = np.random.default_rng(4)
    phi, t = 0.9, 4000
    x = np.zeros((t, 600))
    for k in range(1, t):
        x[k] = phi * x[k - 1] + rng.normal(size=600)
    mean, error = pf.blocked_mean(x, 10)
    true_se = 1 / (1 - phi) / math.sqrt(t)
    # 600 series, 9 degrees of freedom each; blocks of 400 lose 2 phi/(1-phi^2)/400 = 2.4 % of the variance.
    expected = 1 - 2 * phi / (1 - phi**2) / 400
    assert abs(np.mean(error**2) / true_se**2 - expected) < 4 * math.sqrt(2 / 9 / 600)
    assert abs(np.mean((mean / true_se) ** 2) - 1) < 4 * math.sqrt(2 / 600)
    assert np.all(np.isnan(pf.blocked_mean(x[:4], 5)[1]))


def test_bad_input_is_refused():
    position, species = even_spread(5, frames=2)
    with pytest.raises(AnalysisError, match="z_max_nm"):
        pf.surface_count(position, species, BOX, 8.0)
    with pytest.raises(AnalysisError, match="no sulfur"):
        pf.surface_count(position, np.zeros_like(species), BOX)
    with pytest.raises(AnalysisError, match="outside"):
        pf.density_profile(position + np.array([0, 0, 1.0]), species, BOX, (0,))
    with pytest.raises(AnalysisError, match="slice_nm"):
        pf.density_profile(position, species, BOX, (0,), slice_nm=0.0)
    with pytest.raises(AnalysisError, match="species runs"):
        pf.net_charge_density_profile(position, species, BOX, [1.0, -2.0])

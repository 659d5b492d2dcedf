"""Pair distributions, contacts and cluster sizes against closed forms and naive sums."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2

from dropsim.errors import AnalysisError
from dropsim.observables import structure as st

BOX = np.array([6.0, 7.0, 5.0])


def test_ball_volume_between_planes_is_the_integral_of_its_sections():
    slab = (0.4, 3.1)
    for z in (0.4, 0.7, 1.9, 3.0):
        for r in (0.1, 0.8, 2.0, 4.0):
            expected = quad(
                lambda u, r=r, z=z: math.pi * max(r * r - (u - z) ** 2, 0.0),
                max(slab[0], z - r),
                min(slab[1], z + r),
            )[0]
            got = st.ball_volume_in_slab(np.array([r]), np.array([z]), slab)
            assert got[0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("first", "second"), [((1,), (0,)), ((1, 3), (1, 3))])
def test_an_ideal_gas_in_a_slab_has_g_one_up_to_half_the_box(first, second):
    rng = np.random.default_rng(1)
    frames, slab = 150, (0.5, 4.0)
    position = rng.uniform(size=(frames, 90, 3)) * np.array([6.0, 7.0, 3.5]) + np.array([0, 0, 0.5])
    species = np.tile(np.repeat([0, 1, 3], [40, 30, 20]), (frames, 1))
    got = st.radial_distribution(position, species, BOX, first, second, slab, bin_nm=0.1)
    assert got.edges[-1] == pytest.approx(3.0)
    same = first == second
    n_one, n_other = (50, 49) if same else (30, 40)
    z = np.linspace(0.5, 4.0, 2001)
    ideal = np.diff(st.ball_volume_in_slab(got.edges, z, slab).mean(axis=0)) * n_one * n_other / (6 * 7 * 3.5)
    # Each unordered pair of like beads is counted twice.
    pairs = ideal * frames / (2 if same else 1)
    keep = pairs > 20
    statistic = np.sum((got.g[keep] - 1) ** 2 * pairs[keep])
    assert chi2.ppf(0.005, keep.sum()) < statistic < chi2.ppf(0.995, keep.sum())
    total = np.cumsum(pairs)[-1]
    assert abs(np.sum(got.g * pairs) / total - 1) < 4 / math.sqrt(total)
    assert abs(got.coordination[-1] - ideal.sum() / n_one) < 4 * ideal.sum() / n_one / math.sqrt(total)
    # Five blocks over `keep` shells: mean se^2 against the Poisson variance, relative variance 2/4 each.
    ratio = np.mean(got.standard_error[keep] ** 2 * pairs[keep])
    assert abs(ratio - 1) < 4 * math.sqrt(0.5 / keep.sum())


def test_pairs_are_found_across_the_periodic_boundary_and_not_through_the_walls():
    position = np.array([[[5.9, 3.0, 1.0], [0.25, 3.0, 1.0], [0.25, 6.9, 4.9]]])
    species = np.array([[1, 1, 1]])
    got = st.radial_distribution(position, species, BOX, (1,), (1,), (0.0, 5.0), bin_nm=0.1)
    np.testing.assert_allclose(got.coordination[got.edges[1:] > 0.35], 2 / 3)
    assert np.flatnonzero(got.g).tolist() == [3]


def test_contact_numbers_and_their_sum_over_droplets():
    rng = np.random.default_rng(2)
    position = rng.uniform(size=(3, 80, 3)) * np.array([6, 7, 1.0])
    species = rng.choice([0, 1, 2, 3], size=(3, 80))
    centre = rng.uniform(size=(25, 3)) * np.array([6, 7, 0.2])
    got = st.contact_numbers(position, species, BOX, centre)
    for t in range(3):
        for i in range(80):
            n = 0
            for shift_x in (-6, 0, 6):
                for shift_y in (-7, 0, 7):
                    d = position[t, i] - centre + np.array([shift_x, shift_y, 0.0])
                    n += int(np.sum(np.sum(d * d, axis=1) < 0.64))
            assert got[t, i] == (n if species[t, i] in (1, 3) else 0)
    assert got.max() > 1
    labels = np.where(np.isin(species[0], (1, 3)), np.arange(80) % 3, -1)
    expected = [got[0][labels == d].sum() for d in range(3)]
    np.testing.assert_array_equal(st.droplet_contacts(got[0], labels), expected)
    assert not st.contact_numbers(position, species, BOX, centre, wired=False).any()


def test_cluster_sizes_by_count_and_by_beads():
    labels = np.array([[0, 0, 0, 1, 2, -1], [0, 0, 1, 1, 2, -1]])
    got = st.cluster_size_distribution(labels, n_blocks=2)
    np.testing.assert_array_equal(got.size, [1, 2, 3])
    np.testing.assert_allclose(got.probability, [3 / 6, 2 / 6, 1 / 6])
    np.testing.assert_allclose(got.bead_fraction, [3 / 10, 4 / 10, 3 / 10])
    # Two blocks of one frame: shares (2/3, 0, 1/3) and (1/3, 2/3, 0), half their difference.
    np.testing.assert_allclose(got.standard_error, [1 / 6, 1 / 3, 1 / 6])


def test_lithium_coordination_of_a_known_arrangement():
    frame = np.array([[1.0, 1, 1], [1.4, 1, 1], [0.6, 1, 1], [4.0, 4, 4], [5.8, 3, 1], [0.2, 3, 1]])
    species = np.tile([0, 1, 3, 0, 0, 1], (40, 1))
    mean, free = st.lithium_coordination(np.tile(frame, (40, 1, 1)), species, BOX)
    assert mean.value == pytest.approx(1.0)
    assert free.value == pytest.approx(1 / 3)
    assert mean.unit == free.unit == "1"


def test_bad_input_is_refused():
    position = np.full((1, 3, 3), 1.0)
    species = np.array([[1, 1, 0]])
    with pytest.raises(AnalysisError, match="maximum_nm"):
        st.radial_distribution(position, species, BOX, (1,), (0,), (0, 5), maximum_nm=3.5)
    with pytest.raises(AnalysisError, match="overlap"):
        st.radial_distribution(position, species, BOX, (1, 3), (1,), (0, 5))
    with pytest.raises(AnalysisError, match="outside slab"):
        st.radial_distribution(position, species, BOX, (1,), (0,), (2, 5))
    with pytest.raises(AnalysisError, match="no pair"):
        st.radial_distribution(position, species, BOX, (1,), (2,), (0, 5))
    with pytest.raises(AnalysisError, match="no cluster"):
        st.cluster_size_distribution(np.full((2, 4), -1))
    with pytest.raises(AnalysisError, match="lacks Li"):
        st.lithium_coordination(position, np.ones((1, 3), int), BOX)

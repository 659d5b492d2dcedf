"""Grains: their number, shares and orientations against the laws by which they are drawn, in standard errors."""

import math

import numpy as np
import pytest

from dropsim.kinetics.grains import (
    draw_cap_points,
    draw_grain_number,
    draw_grains,
    draw_orientations,
    grain_facts,
    grain_size_nm,
)

LIMIT = 4.0


def z_score(sample, expected):
    return (np.mean(sample) - expected) / (np.std(sample, ddof=1) / math.sqrt(len(sample)))


@pytest.mark.parametrize("mean", [0.05, 1.0, 12.0])
def test_number_is_poisson_given_one(mean):
    rng = np.random.default_rng(1)
    number = np.array([draw_grain_number(rng, mean) for _ in range(20_000)])
    assert number.min() >= 1
    average = mean / -math.expm1(-mean)
    assert abs(z_score(number, average)) < LIMIT
    single = mean / math.expm1(mean)
    assert abs((number == 1).mean() - single) < LIMIT * math.sqrt(single * (1 - single) / number.size) + 1e-12
    second = average * (1 + mean)  # <k^2> of a Poisson number given k >= 1
    assert abs(z_score(number.astype(float) ** 2, second)) < LIMIT


def test_without_a_rate_there_is_one_grain():
    grains = draw_grains(np.random.default_rng(2), 500, 0.0)
    assert grains.units.tolist() == [500]


def test_units_are_shared_without_loss():
    rng = np.random.default_rng(3)
    for n_units, rate in ((1, 5.0), (2, 5.0), (37, 0.1), (15_000, 1e-3), (400, 10.0)):
        grains = draw_grains(rng, n_units, rate)
        assert grains.units.dtype == np.int64
        assert grains.units.sum() == n_units
        assert grains.units.min() >= 1
        assert grains.units.size <= n_units
        np.testing.assert_allclose(grains.size_nm**3, 0.2742 * grains.units, rtol=1e-12)


def test_label_follows_the_size():
    # 12 units: 1.487 nm; 13 units: 1.527 nm.
    np.testing.assert_allclose(grain_size_nm([12, 13]), [1.4874, 1.5276], atol=1e-4)
    grains = draw_grains(np.random.default_rng(4), 3000, 0.05)
    np.testing.assert_array_equal(grains.amorphous, grains.units <= 12)
    assert 0 < grains.amorphous.sum() < grains.units.size


def test_shares_of_two_nuclei_are_equal_in_the_mean():
    """Exchangeable nuclei: each holds half of a droplet with two, and the spread is that of a real division."""
    rng = np.random.default_rng(5)
    shares = []
    while len(shares) < 400:
        grains = draw_grains(rng, 200, 0.01)
        if grains.units.size == 2:
            shares.append(grains.units[0] / 200)
    assert abs(z_score(shares, 0.5)) < LIMIT
    assert 0.05 < np.std(shares) < 0.4


def test_orientations_are_uniform_rotations():
    """A direction turned by uniform rotations is uniform on the sphere; the angle has density (1 - cos a)/pi."""
    quaternion = draw_orientations(np.random.default_rng(6), 20_000)
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=1), 1.0, rtol=1e-12)
    assert np.all(quaternion[:, 0] >= 0)
    w, x, y, z = quaternion.T
    turned = np.column_stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])  # of (0, 0, 1)
    for axis in turned.T:
        assert abs(z_score(axis, 0.0)) < LIMIT
        assert abs(z_score(axis**2, 1 / 3)) < LIMIT
        assert abs(z_score(axis**4, 1 / 5)) < LIMIT
    angle = 2 * np.arccos(w)
    assert abs(z_score(angle, math.pi / 2 + 2 / math.pi)) < LIMIT


@pytest.mark.parametrize("angle", [50.0, 90.0, 140.0])
def test_points_fill_the_cap_evenly(angle):
    points = draw_cap_points(np.random.default_rng(7), 20_000, angle)
    cosine = math.cos(math.radians(angle))
    assert points[:, 2].min() >= 0.0
    assert np.all((points[:, :2] ** 2).sum(axis=1) + (points[:, 2] + cosine) ** 2 <= 1 + 1e-12)
    # Height of the centroid, by quadrature over the sections.
    heights = np.linspace(0.0, 1.0 - cosine, 20_001)
    section = 1.0 - (heights + cosine) ** 2
    expected = np.trapezoid(heights * section, heights) / np.trapezoid(section, heights)
    assert abs(z_score(points[:, 2], expected)) < LIMIT
    assert abs(z_score(points[:, 0], 0.0)) < LIMIT


def test_facts_count_what_was_drawn():
    rng = np.random.default_rng(8)
    grains = [draw_grains(rng, 3000, 2e-3) for _ in range(6)]
    facts = grain_facts(grains)
    assert facts["crystals"] == 6
    assert facts["grains"] == sum(g.units.size for g in grains)
    assert 0 <= facts["amorphous_volume_share"] <= facts["amorphous_share"] <= 1
    assert grain_facts([]) == {"crystals": 0, "grains": 0}


def test_impossible_crystals_are_refused():
    with pytest.raises(ValueError, match="0 units"):
        draw_grains(np.random.default_rng(9), 0, 0.1)

"""Charging: what of a crystal is within the tunnelling range, and how its first layer opens."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from dropsim.kinetics.charging import opening_rates, reached_volume, widest_section
from dropsim.kinetics.grains import draw_cap_points
from dropsim.kinetics.growth_laws import cap_volume_factor

LIMIT = 4.0
FAR = jnp.inf


def z_score(sample, expected):
    return (np.mean(sample) - expected) / (np.std(sample, ddof=1) / math.sqrt(np.size(sample)))


def volume(radius, angle, density, length, depth=FAR):
    cosine = math.cos(math.radians(angle))
    return float(reached_volume(*(jnp.float64(v) for v in (radius, cosine, density, length, depth))))


# --- reach -----------------------------------------------------------------------------------------------------


def test_layer_of_a_hemisphere_on_a_reactive_plane():
    """Dense centres: V = pi (R^2 l - l^3 / 3), the part of a hemisphere below the height l."""
    for radius, length in ((15.0, 3.0), (5.0, 5.0), (100.0, 2.0)):
        expected = math.pi * (radius**2 * length - length**3 / 3)
        assert volume(radius, 90.0, 1e9, length) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("angle", [40.0, 90.0, 130.0])
def test_a_small_crystal_is_reached_as_a_whole(angle):
    radius = 1.5
    assert radius * (1 - math.cos(math.radians(angle))) < 3.0
    whole = 4 / 3 * math.pi * cap_volume_factor(angle) * radius**3
    assert volume(radius, angle, 1e9, 3.0) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(("angle", "density"), [(90.0, 0.025), (60.0, 0.1), (120.0, 0.01)])
def test_reach_of_centres_at_random_places(angle, density):
    """Against centres thrown at random, and points of the cap that count if any of them is near."""
    rng = np.random.default_rng(1)
    radius, length = 8.0, 3.0
    whole = 4 / 3 * math.pi * cap_volume_factor(angle) * radius**3
    side = 2 * (radius + length)
    shares = []
    for _ in range(400):
        points = radius * draw_cap_points(rng, 400, angle)
        centres = side * (rng.random((rng.poisson(density * side**2), 2)) - 0.5)
        flat = ((points[:, None, :2] - centres) ** 2).sum(axis=-1)
        shares.append(((flat + points[:, 2:] ** 2) < length**2).any(axis=1).mean())
    assert abs(z_score(whole * np.array(shares), volume(radius, angle, density, length))) < LIMIT


def test_reach_grows_with_range_and_density():
    reach = [volume(12.0, 90.0, rho, length) for rho in (0.0, 0.01, 0.1, 10.0) for length in (2.0, 3.0, 5.0)]
    assert reach[0] == 0.0
    assert np.all(np.diff(np.reshape(reach, (4, 3)), axis=0) > 0)
    assert np.all(np.diff(np.reshape(reach, (4, 3))[1:], axis=1) > 0)
    assert volume(12.0, 90.0, 0.025, 3.0, depth=0.65) < 0.5 * volume(12.0, 90.0, 0.025, 3.0)
    assert volume(0.0, 90.0, 0.025, 3.0) == 0.0


def test_contacts_are_spread_over_the_widest_section_within_reach():
    def area(angle, length):
        return float(widest_section(jnp.float64(10.0), jnp.float64(math.cos(math.radians(angle))), jnp.float64(length)))

    assert area(90.0, 3.0) == pytest.approx(100 * math.pi)
    assert area(30.0, 3.0) == pytest.approx(25 * math.pi)
    assert area(150.0, 20.0) == pytest.approx(100 * math.pi)
    # A whole sphere touches in one point; within 1 nm it is as wide as sqrt(2 R - 1).
    assert area(180.0, 1.0) == pytest.approx(19 * math.pi)


# --- first layer ---------------------------------------------------------------------------------------------


def test_rates_before_during_and_after_the_first_layer():
    rates = [
        [float(value) for value in opening_rates(*(jnp.float64(v) for v in (1000.0, 200.0, share, 1.0, 0.05)))]
        for share in (0.0, 0.5, 1.0)
    ]
    np.testing.assert_allclose(rates, [[10.0, 0.05], [505.0, 0.025], [1000.0, 0.0]], rtol=1e-12)

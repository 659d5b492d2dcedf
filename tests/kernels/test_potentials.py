"""Every row of the potential tables: its slope, its dtype, and each property that its docstring states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from dropsim_kernels import potentials

# Parameters and distances for each row of the tables; a new row needs an entry here.
CASES = {
    "lennard-jones": ((0.5, 1.3), (0.42, 3.0)),
    "lennard-jones-shifted": ((0.5, 1.3, 1.2), (0.42, 1.19)),
    "wca": ((0.5, 1.3), (0.42, 0.55)),
    "yukawa": ((-2.0, 0.7), (0.2, 5.0)),
    "ewald-real": ((0.6,), (0.2, 5.0)),
    "wall-93": ((0.34, 1.2), (0.25, 4.0)),
    "wall-93-repulsive": ((0.34, 1.2), (0.25, 0.40)),
}
TABLE = potentials.PAIR_POTENTIALS | potentials.WALL_POTENTIALS


@pytest.mark.parametrize("name", TABLE)
def test_slope_is_the_finite_difference(name):
    parameters, (low, high) = CASES[name]
    r = jnp.linspace(low, high, 40)
    u = lambda r: TABLE[name](r, *parameters)  # noqa: E731
    slope = jax.vmap(jax.grad(u))(r)
    h = 1e-5 * r
    difference = (u(r + h) - u(r - h)) / (2 * h)
    np.testing.assert_allclose(slope, difference, rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_and_shape_are_kept(name, dtype):
    parameters, (low, high) = CASES[name]
    r = jnp.linspace(low, high, 12, dtype=dtype).reshape(3, 4)
    arrays = [jnp.full((3, 1), p, dtype) for p in parameters]
    u, slope = jax.jvp(lambda r: TABLE[name](r, *arrays), (r,), (jnp.ones_like(r),))
    assert (u.shape, u.dtype, slope.dtype) == ((3, 4), dtype, dtype)
    assert bool(jnp.isfinite(u).all() & jnp.isfinite(slope).all())


@pytest.mark.parametrize("name", TABLE)
def test_single_precision_follows_double(name):
    parameters, (low, high) = CASES[name]
    r = np.linspace(low, high, 50)
    double = TABLE[name](jnp.asarray(r), *parameters)
    single = TABLE[name](jnp.asarray(r, jnp.float32), *parameters)
    scale = float(jnp.abs(double).max())
    np.testing.assert_allclose(single, double, rtol=2e-5, atol=1e-6 * scale)


def minimum(u, low, high):
    """Place of the minimum on a grid of 1e5 points, refined by the parabola through three of them."""
    x = jnp.linspace(low, high, 100_001)
    y = u(x)
    i = int(jnp.argmin(y))
    a, b, c = (float(y[i + k]) for k in (-1, 0, 1))
    return float(x[i]) + 0.5 * float(x[1] - x[0]) * (a - c) / (a - 2 * b + c), b


def test_lennard_jones_zero_and_minimum():
    u = lambda r: potentials.lennard_jones(r, 0.5, 1.3)  # noqa: E731
    place, depth = minimum(u, 0.5, 0.7)
    assert place == pytest.approx(2 ** (1 / 6) * 0.5, rel=1e-8)
    assert depth == pytest.approx(-1.3, rel=1e-9)
    assert float(u(jnp.asarray(0.5))) == pytest.approx(0.0, abs=1e-12)


def test_shifted_lennard_jones_ends_smoothly_and_is_as_shallow_as_stated():
    u = lambda r: potentials.lennard_jones_shifted(r, 0.5, 1.3, 1.25)  # noqa: E731
    end = jnp.asarray(1.25 - 1e-7)
    assert float(u(end)) == pytest.approx(0.0, abs=1e-12)
    assert float(jax.grad(u)(end)) == pytest.approx(0.0, abs=1e-6)
    assert float(u(jnp.asarray(1.3))) == 0.0
    _, depth = minimum(u, 0.5, 0.7)
    assert depth / -1.3 == pytest.approx(1 - 0.070, abs=0.0005)


def test_wca_is_one_epsilon_at_sigma_and_ends_smoothly():
    u = lambda r: potentials.wca(r, 0.5, 1.3)  # noqa: E731
    assert float(u(jnp.asarray(0.5))) == pytest.approx(1.3)
    end = jnp.asarray(2 ** (1 / 6) * 0.5 * (1 - 1e-7))
    assert float(u(end)) == pytest.approx(0.0, abs=1e-11)
    assert float(jax.grad(u)(end)) == pytest.approx(0.0, abs=1e-4)
    assert bool((u(jnp.linspace(0.3, 2.0, 500)) >= 0).all())


def test_yukawa_without_screening_is_coulomb():
    r = jnp.linspace(0.1, 9.0, 30)
    np.testing.assert_allclose(potentials.yukawa(r, -2.0, 0.0), -2.0 / r)


def test_wall_93_zero_minimum_and_depth():
    u = lambda z: potentials.wall_93(z, 0.34, 1.2)  # noqa: E731
    place, depth = minimum(u, 0.34, 0.6)
    assert place == pytest.approx(3 ** (1 / 6) * 0.34, rel=1e-8)
    assert depth == pytest.approx(-1.2, rel=1e-9)
    assert float(u(jnp.asarray(0.34))) == pytest.approx(0.0, abs=1e-12)


def test_wall_93_is_the_integrated_pair_potential():
    """Lennard-Jones particles filling a half space make a 9-3 wall with sigma_93 = (2/15)^(1/6) sigma."""
    integrated = []
    for z in (0.4, 0.7, 1.5):
        depth = np.linspace(0, 60, 400_001)
        # A layer at distance x: 2 pi int_x^inf u(r) r dr = 8 pi [x^-10/10 - x^-4/4], sigma = epsilon = 1.
        layer = 8 * np.pi * ((z + depth) ** -10.0 / 10 - (z + depth) ** -4.0 / 4)
        integrated.append(np.trapezoid(layer, depth))
    wall = potentials.wall_93(jnp.asarray([0.4, 0.7, 1.5]), (2 / 15) ** (1 / 6), 1.0)
    ratio = np.asarray(integrated) / np.asarray(wall)
    np.testing.assert_allclose(ratio, ratio[1], rtol=2e-4)


def test_repulsive_wall_has_no_attraction_and_ends_smoothly():
    u = lambda z: potentials.wall_93_repulsive(z, 0.34, 1.2)  # noqa: E731
    z = jnp.linspace(0.2, 3.0, 2000)
    assert bool((u(z) >= 0).all())
    assert bool((jax.vmap(jax.grad(u))(z) <= 0).all())
    assert float(u(jnp.asarray(0.34))) == pytest.approx(1.2)
    end = jnp.asarray(3 ** (1 / 6) * 0.34 * (1 - 1e-7))
    assert float(u(end)) == pytest.approx(0.0, abs=1e-11)


def test_erfc_keeps_its_stated_error():
    x = np.linspace(0, 9, 400_001).astype(np.float32)
    exact = scipy.special.erfc(x.astype(float))
    found = np.asarray(potentials.erfc(jnp.asarray(x)), float)
    assert np.abs(found - exact).max() < 1e-6
    within = x < 3.5
    assert np.abs(found / exact - 1)[within].max() < 1.5e-6
    slope = np.asarray(jax.vmap(jax.grad(potentials.erfc))(jnp.asarray(x)), float)
    assert np.abs(slope + 2 / np.sqrt(np.pi) * np.exp(-(x.astype(float) ** 2))).max() < 5e-7
    double = potentials.erfc(jnp.asarray(x, jnp.float64))
    np.testing.assert_allclose(double, exact, rtol=1e-13)


def test_mixing_rule():
    sigma, epsilon = potentials.mix_lorentz_berthelot(*(jnp.asarray(v) for v in (0.4, 0.6, 0.9, 0.4)))
    assert float(sigma) == pytest.approx(0.5)
    assert float(epsilon) == pytest.approx(0.6)

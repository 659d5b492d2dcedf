"""The sampler behind the rows of simple fluids and electrolytes, and the closed forms those rows compare with."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.electrostatics.ewald import choose_parameters
from scipy.stats import kstest

from dropsim.errors import SimulationError
from dropsim.validation import electrolyte, short_range
from dropsim.validation.fluid import block_estimate, build_fluid, sample, simple_cubic, start

DOUBLE = np.dtype("float64")


def wca_fluid(**changes):
    """216 WCA particles on a lattice, a little below freezing."""
    length = (216 / 0.8) ** (1 / 3)
    position = simple_cubic(6, length)
    settings = {"thermal_energy": 1.0, "timestep": 0.004, "friction": 1.0, "cutoff": 1.1225, "skin": 0.3, **changes}
    return build_fluid(position, (length,) * 3, DOUBLE, short_range=short_range.plain_wca, **settings), position


def test_too_small_a_list_is_grown_and_changes_nothing():
    fluid, position = wca_fluid()
    assert fluid.neighbors is not None
    small = dataclasses.replace(fluid, neighbors=dataclasses.replace(fluid.neighbors, capacity=8))
    expected, _, _ = sample(fluid, start(fluid, position, 1), 4, 10, n_chunks=2)
    found, _, grown = sample(small, start(small, position, 1), 4, 10, n_chunks=2)
    assert grown.neighbors is not None
    assert grown.neighbors.capacity > 8
    np.testing.assert_allclose(found.position, expected.position, atol=1e-9)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=1e-9)


def test_energy_is_kept_without_friction():
    """Velocity Verlet: the energy oscillates and does not drift."""
    fluid, position = wca_fluid(friction=0.0, timestep=0.002)
    samples, _, _ = sample(fluid, start(fluid, position, 2), 20, 50, n_chunks=1)
    total = (samples.energy + samples.kinetic) / 216
    assert np.ptp(samples.energy[1:] / 216) > 1e-3  # the two kinds of energy do exchange
    assert np.ptp(total) < 1e-3


def test_a_step_too_long_is_an_error():
    fluid, position = wca_fluid(timestep=10.0)
    with pytest.raises(SimulationError, match="time step"):
        sample(fluid, start(fluid, position, 1), 4, 25, n_chunks=1)


def test_reflecting_walls_keep_the_barometric_law():
    """Ions without interaction in a linear potential: exp(-g z) between the walls, and none outside."""
    n, height, slope = 256, 4.0, 1.0
    rng = np.random.default_rng(0)
    lengths = (20.0, 20.0, height)
    position = rng.uniform(0, 1, (n, 3)) * lengths
    ewald = choose_parameters(lengths, n, 1e-2, slab=True)
    fluid = build_fluid(
        position, lengths, DOUBLE, thermal_energy=1.0, timestep=0.2, friction=1.0, cutoff=1.0, skin=0.2,
        slope=slope, ewald=ewald,
    )  # fmt: skip
    samples, _, _ = sample(fluid, start(fluid, position, 3), 40, 60, n_chunks=1)
    z = samples.position[2:, :, 2].ravel()  # 12 time units apart: independent
    assert z.min() >= 0
    assert z.max() <= height
    assert kstest(z, lambda x: np.expm1(-slope * x) / np.expm1(-slope * height)).pvalue > 1e-3


def test_smoothed_potential_ends_without_a_step():
    u = short_range.smoothed_lj
    r = jnp.array([1.0, 2.0, 3.1999])
    np.testing.assert_allclose(u(r), short_range.plain_lj(r), rtol=1e-12)
    end = jnp.array(short_range.SMOOTH_TO)
    assert abs(float(u(end * (1 - 1e-9)))) < 1e-12
    slope = jax.grad(u)
    assert abs(float(slope(end * (1 - 1e-6)))) < 1e-6
    start_of_it = jnp.array(short_range.SMOOTH_FROM)
    np.testing.assert_allclose(slope(start_of_it * (1 + 1e-7)), slope(start_of_it * (1 - 1e-7)), rtol=1e-5)


def test_diffusion_coefficient_of_random_walks():
    """Independent walkers of known D; the centre of mass takes 1/N of it away."""
    rng = np.random.default_rng(4)
    n, interval, diffusivity = 50, 0.1, 0.7
    steps = rng.normal(0, math.sqrt(2 * diffusivity * interval), (8000, n, 3))
    found, _, _ = short_range.diffusion_blocks(np.cumsum(steps, axis=0), interval, 20, (0.5, 2.0))
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert error < 0.02 * diffusivity
    assert abs(found.mean() - diffusivity * (1 - 1 / n)) < 4 * error


def test_block_error_covers():
    """Correlated series: the deviation of the mean is what the error says it is."""
    rng = np.random.default_rng(5)
    scores = []
    for _ in range(200):
        noise = rng.normal(size=1000)
        series = np.empty(1000)
        series[0] = noise[0] / math.sqrt(1 - 0.81)
        for i in range(1, 1000):
            series[i] = 0.9 * series[i - 1] + noise[i]
        estimate = block_estimate(series)
        scores.append(estimate.value / estimate.standard_error)
    assert 0.75 < np.std(scores) < 1.25


def test_electrolyte_expansion_starts_with_the_limiting_law():
    for density in (1e-5, 1e-7):
        kappa = electrolyte.debye_screening(1.0, density)
        assert electrolyte.excess_energy(1.0, density) / (-kappa / 2) == pytest.approx(1, abs=1.2 * kappa)
        assert electrolyte.log_activity(1.0, density) / (-kappa / 2) == pytest.approx(1, abs=2 * kappa)


def test_periodic_cell_shift_is_the_missing_wave():
    """The sum over the waves of a periodic cube less the integral, both up to the same sphere."""
    kappa, length, n_max = 0.4, 14.0, 60
    axis = np.arange(-n_max, n_max + 1) * 2 * math.pi / length
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    k2 = squared[(squared > 0) & (squared <= axis[-1] ** 2)]
    waves = 0.5 * np.sum(kappa**2 / (k2 + kappa**2) - kappa**2 / k2)
    sphere = (6 * math.pi**2 * (len(k2) + 1)) ** (1 / 3) / length
    integral = -(kappa**3) / (4 * math.pi**2) * math.atan(sphere / kappa) * length**3
    # The part -kappa^2/k^2 differs from its integral by the images of a Wigner crystal, which Ewald sums contain.
    wigner = 0.5 * kappa**2 * length**2 * -2.8372974794806 / (4 * math.pi)
    shift = electrolyte.periodic_cell_shift(kappa, length, 1)
    assert -0.5 < shift < -0.3
    assert waves - integral + wigner == pytest.approx(shift, abs=0.005)


def test_charged_plane_solves_its_equation():
    plane = electrolyte.ChargedPlane(coupling=0.1, height=5.0)
    z = np.linspace(0, 5, 20001)
    density = plane.density(z)
    assert np.trapezoid(density, z) == pytest.approx(plane.surface_density, rel=1e-6)
    # (ln n)'' = 4 pi l_B n, the field of the plane at z = 0, none at the bare wall.
    log = np.log(density)
    curvature = (log[2:] - 2 * log[1:-1] + log[:-2]) / (z[1] - z[0]) ** 2
    np.testing.assert_allclose(curvature, 4 * math.pi * plane.coupling * density[1:-1], rtol=1e-4)
    assert (log[1] - log[0]) / (z[1] - z[0]) == pytest.approx(-2, rel=1e-3)
    assert (log[-1] - log[-2]) / (z[1] - z[0]) == pytest.approx(0, abs=1e-3)
    # Contact theorem between the two walls: n(0) - n(H) = 2 pi l_B sigma^2.
    contact = 2 * math.pi * plane.coupling * plane.surface_density**2
    assert density[0] - density[-1] == pytest.approx(contact, rel=1e-9)
    shares = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(1 - plane.share_above(plane.quantile(shares)), shares, rtol=1e-12)


def test_profile_probability_is_uniform_for_a_true_profile():
    rng = np.random.default_rng(6)
    expected = np.array([0.2, 0.3, 0.4, 0.1])
    found = [
        electrolyte.profile_probability(rng.multinomial(200, expected, size=40) / 200, expected) for _ in range(200)
    ]
    assert kstest(found, "uniform").pvalue > 1e-3
    wrong = np.array([0.23, 0.27, 0.4, 0.1])
    assert electrolyte.profile_probability(rng.multinomial(200, expected, size=40) / 200, wrong) < 1e-4

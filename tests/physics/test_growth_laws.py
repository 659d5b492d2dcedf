"""The closed forms: each obeys its own differential equation and runs into its limits."""

import math

import numpy as np
import pytest
from scipy import integrate

from dropsim import units
from dropsim.kinetics import growth_laws as laws

D, OMEGA, DC, K = 3.0e8, 1 / 2.1, 0.0036, 260.0


def derivative(function, time, step=1e-5):
    h = step * time
    return (function(time + h) - function(time - h)) / (2 * h)


@pytest.mark.parametrize("velocity", [1e-2, 260.0, 1e7, 1e12])
@pytest.mark.parametrize("initial", [0.0, 3.0])
def test_mixed_radius_obeys_its_equation(velocity, initial):
    end = 40.0 * (velocity * 40.0 / D + 2.0) / (2 * velocity * OMEGA * DC)  # grows by about 40 nm

    def radius(t):
        return laws.isolated_mixed_radius(t, initial, velocity, D, OMEGA, DC)

    for time in (0.1 * end, end):
        damkohler = laws.damkohler_number(velocity, radius(time), D)
        assert derivative(radius, time) == pytest.approx(velocity * OMEGA * DC / (1 + damkohler), rel=1e-7)
    assert radius(0.0) == pytest.approx(initial, rel=1e-12)


def test_mixed_radius_has_both_limits():
    time = np.array([0.01, 1.0, 20.0])
    slow = laws.isolated_mixed_radius(time, 1.0, 1e-3 * K, D, OMEGA, DC)
    np.testing.assert_allclose(slow, laws.isolated_interface_radius(time, 1.0, 1e-3 * K, OMEGA, DC), rtol=1e-7)
    fast = laws.isolated_mixed_radius(time, 1.0, 1e16, D, OMEGA, DC)
    np.testing.assert_allclose(fast, laws.isolated_diffusion_radius(time, 1.0, D, OMEGA, DC), rtol=1e-7)


@pytest.mark.parametrize("law", ["diffusion", "interface", "mixed"])
def test_dissolution_ends_at_zero(law):
    function = {
        "diffusion": lambda t: laws.isolated_diffusion_radius(t, 5.0, D, OMEGA, -DC),
        "interface": lambda t: laws.isolated_interface_radius(t, 5.0, K, OMEGA, -DC),
        "mixed": lambda t: laws.isolated_mixed_radius(t, 5.0, K, D, OMEGA, -DC),
    }[law]
    assert function(0.0) == pytest.approx(5.0)
    assert function(1e-7) < 5.0
    assert function(1e3) == 0.0


@pytest.mark.parametrize("damkohler", np.logspace(-5, 3, 9))
def test_exponent_of_the_mixed_law(damkohler):
    radius_end = damkohler * D / K
    time = radius_end * (1 + damkohler / 2) / (K * OMEGA * DC)

    def log_area(log_time):
        return 2 * math.log(laws.isolated_mixed_radius(math.exp(log_time), 0.0, K, D, OMEGA, DC))

    h = 1e-4
    measured = (log_area(math.log(time) + h) - log_area(math.log(time) - h)) / (2 * h)
    assert measured == pytest.approx(laws.area_exponent(damkohler), abs=1e-7)


def test_exponent_limits():
    assert laws.area_exponent(0.0) == 2.0
    assert laws.area_exponent(1e12) == pytest.approx(1.0, abs=1e-11)
    assert laws.area_exponent(1.0) == 1.5


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 2.5])
def test_contact_limited_growth(power):
    rate, prefactor, factor = 7.0, 0.3, 0.5

    def radius(t):
        return laws.contact_limited_radius(t, 2.0, rate, prefactor, power, OMEGA, factor)

    r = radius(3.0)
    flow = 4 * math.pi * factor * r**2 * derivative(radius, 3.0)
    assert flow == pytest.approx(OMEGA * rate * prefactor * r**power, rel=1e-7)
    late = [radius(t) ** 2 for t in (1e9, 1.001e9)]
    slope = math.log(late[1] / late[0]) / math.log(1.001)
    assert slope == pytest.approx(laws.contact_limited_exponent(power), abs=1e-4)


def test_contact_exponents_of_the_three_geometries():
    assert [laws.contact_limited_exponent(m) for m in (0, 1, 2)] == pytest.approx([2 / 3, 1.0, 2.0])
    with pytest.raises(ValueError, match="contact_power is 3"):
        laws.contact_limited_exponent(3.0)


def test_constant_flux_fills_the_volume():
    radius = laws.constant_flux_radius(np.array([0.0, 4.0, 8.0]), 2.0, 1e3, OMEGA, 0.5)
    volume = 4 / 3 * np.pi * 0.5 * radius**3
    np.testing.assert_allclose(np.diff(volume), OMEGA * 1e3 * 4.0, rtol=1e-12)


def test_collins_kimball_is_the_steady_diffusion_flux():
    radius, density, velocity = 4.0, 0.006, 5e7
    rate = laws.collins_kimball_rate(D, radius, density, velocity)
    # c(r) = c - A/r conserves the flux 4 pi D A; at r = R it must equal 4 pi R^2 k c(R).
    amplitude = rate / (4 * math.pi * D)
    assert 4 * math.pi * radius**2 * velocity * (density - amplitude / radius) == pytest.approx(rate, rel=1e-12)
    assert laws.collins_kimball_rate(D, radius, density, 1e20) == pytest.approx(4 * math.pi * D * radius * density)
    slow = laws.collins_kimball_rate(D, radius, density, 1e-3)
    assert slow == pytest.approx(4 * math.pi * radius**2 * 1e-3 * density)


@pytest.mark.parametrize("onsager", [-30.0, -1.0, 1e-10, 0.5, 100.0])
def test_debye_smoluchowski_is_the_integral(onsager):
    radius = 0.6
    # k = 4 pi D / int_R^inf r^-2 exp(U/kT) dr with U/kT = -onsager / r, in s = 1/r.
    integral, _ = integrate.quad(lambda s: math.exp(-onsager * s), 0.0, 1 / radius, epsabs=0, epsrel=1e-12)
    assert laws.debye_smoluchowski_rate(D, onsager, radius) == pytest.approx(4 * math.pi * D / integral, rel=1e-9)


def test_debye_smoluchowski_extremes():
    assert laws.debye_smoluchowski_rate(D, 0.0, 0.6) == pytest.approx(4 * math.pi * D * 0.6)
    assert laws.debye_smoluchowski_rate(D, -1e6, 0.6) == 0.0


def test_stokes_einstein_and_anchors():
    free = laws.stokes_einstein_diffusivity(300.0, 1.56, 15.0)
    assert free == pytest.approx(9.39e6, rel=1e-3)  # 1.380649e-23 * 300 / (6 pi 1.56e-3 15e-9) m^2/s
    assert laws.anchored_diffusivity(300.0, 1.56, 15.0, 0.0) == pytest.approx(free, rel=1e-12)
    friction = units.thermal_energy_pN_nm(300.0) / 4.71
    assert laws.anchored_diffusivity(300.0, 1.56, 15.0, friction) == pytest.approx(4.71, rel=1e-6)


def test_threshold_time_inverts_charging():
    tau, p = 2.0, 0.7
    time = laws.threshold_time(tau, p, np.array([0.0, 0.2, 0.69, 0.7, 0.9]))
    np.testing.assert_allclose(p * (1 - np.exp(-time[:3] / tau)), [0.0, 0.2, 0.69], rtol=1e-12)
    assert np.all(np.isinf(time[3:]))
    assert laws.charging_time(1e4, 20.0, 100.0) == pytest.approx(5.0)
    assert laws.charging_time(1e4, 0.0, 100.0) == math.inf


@pytest.mark.parametrize("angle", [20.0, 60.0, 90.0, 131.0, 180.0])
def test_cap_geometry_against_integration(angle):
    radius = 7.0
    height = laws.cap_height(radius, angle)
    bottom = radius - height  # of the wall below the sphere's centre, signed

    def section(z):
        return math.pi * (radius**2 - (bottom + z) ** 2)

    volume, _ = integrate.quad(section, 0.0, height)
    factor = laws.cap_volume_factor(angle)
    assert volume == pytest.approx(4 / 3 * math.pi * radius**3 * factor, rel=1e-9)
    assert laws.cap_radius(volume, angle) == pytest.approx(radius, rel=1e-9)
    # Archimedes: the surface of a cap is 2 pi R h.
    assert laws.cap_area_factor(angle) * 4 * math.pi * radius**2 == pytest.approx(2 * math.pi * radius * height)
    widest = math.sqrt(max(section(z) for z in np.linspace(0.0, height, 20001)) / math.pi)
    assert laws.cap_projected_area(radius, angle) == pytest.approx(math.pi * widest**2, rel=1e-6)
    assert laws.cap_base_radius(radius, angle) == pytest.approx(math.sqrt(section(0.0) / math.pi), abs=1e-6)


def test_hemisphere_is_half_and_bad_angles_are_refused():
    assert laws.cap_volume_factor(90.0) == laws.cap_area_factor(90.0) == 0.5
    assert laws.cap_volume_factor(180.0) == laws.cap_area_factor(180.0) == 1.0
    for angle in (0.0, -10.0, 181.0, math.nan):
        with pytest.raises(ValueError, match="contact_angle_deg"):
            laws.cap_volume_factor(angle)

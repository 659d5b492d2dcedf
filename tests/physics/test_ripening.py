"""Ostwald ripening against closed forms: vanishing radii, who grows and who shrinks, late-time laws, matter."""

import math

import numpy as np
import pytest
from scipy import integrate

from dropsim.errors import AnalysisError
from dropsim.kinetics.ripening import (
    LSW_CUTOFF,
    LSW_MEAN,
    RipeningLaw,
    critical_radius,
    lsw_density,
    lsw_mean_radius,
    lsw_quantiles,
    remaining_time,
    solve_ripening,
)
from dropsim.kinetics.ripening_posterior import Milestones, Priors, ripening_posterior, shrinking_times

# k R/D is 1e-8 at 10 nm in the first and 1e8 in the second.
LAWS = {"interface": RipeningLaw(1e5, 1e14, 0.06, 2e-5, 1e-3), "diffusion": RipeningLaw(1e14, 1e7, 0.06, 2e-5, 1e-3)}
POWER = {"interface": 2, "diffusion": 3}


def scale(law, m):
    """K or K_D."""
    return law.interface_constant_nm2_per_s if m == 2 else law.diffusion_constant_nm3_per_s


@pytest.mark.parametrize("limit", LAWS)
def test_small_particle_vanishes_by_the_closed_form(limit):
    """R^2 = 2 K (t* - t) and R^3 = 3 K_D (t* - t) in saturated solution, to l_c/R and to the last molecule."""
    law = LAWS[limit]
    start = 10.0
    life = remaining_time(start, law)
    times = np.linspace(0.0, 0.95 * life, 20)
    # So large a volume that the dissolved density does not move from c_eq.
    solution = solve_ripening([start], law.solubility_per_nm3, 1e21, law, times, relative_tolerance=1e-10)
    m = POWER[limit]
    radius = solution.radius_nm[:, 0]
    closed = (start**m * (1.0 - times / life)) ** (1.0 / m)
    np.testing.assert_allclose(radius, closed, rtol=1e-3)
    # The next term of the exponential takes l_c (R_0 - R)/2 off R^2/2, and l_c (R_0^2 - R^2)/4 off R^3/3.
    left = remaining_time(radius, law) - law.capillary_length_nm * radius ** (m - 1) / (2 * (m - 1) * scale(law, m))
    np.testing.assert_allclose(left[0] - left, times, rtol=1e-6, atol=1e-9 * life)
    assert life == pytest.approx(start**m / (m * scale(law, m)), rel=1e-6)
    gone = solve_ripening([start], law.solubility_per_nm3, 1e21, law, [0.0, 1.01 * life])
    assert gone.radius_nm[-1, 0] == 0.0


@pytest.mark.parametrize("damkohler", [1e-4, 1.0, 1e4])
def test_time_to_vanish_under_mixed_control(damkohler):
    law = RipeningLaw(damkohler * 3e7, 3e8, 0.06, 2e-5, 1e-3)
    times = np.array([0.0, 0.5, 0.9]) * remaining_time(10.0, law)
    solution = solve_ripening([10.0], law.solubility_per_nm3, 1e18, law, times, relative_tolerance=1e-10)
    left = remaining_time(solution.radius_nm[:, 0], law)
    np.testing.assert_allclose(left[0] - left, times, rtol=5e-4, atol=1e-12)


@pytest.mark.parametrize("limit", LAWS)
def test_the_larger_grows_at_the_cost_of_the_smaller(limit):
    """dR_1/dt > 0 > dR_2/dt as long as R_1 > R* > R_2; the first takes what the second gives."""
    base = LAWS[limit]
    law = RipeningLaw(base.velocity_nm_per_s, base.diffusivity_nm2_per_s, 0.06, 2e-5, 0.5)
    between = law.solubility_per_nm3 * math.exp(law.capillary_length_nm / 9.0)
    volume = 1e8
    life = remaining_time(8.0, law)
    times = np.linspace(0.0, 12.0 * life, 400)
    solution = solve_ripening([10.0, 8.0], between, volume, law, times, relative_tolerance=1e-9)
    first, second = solution.radius_nm.T
    there = (second[:-1] > 0) & (second[1:] > 0)
    critical = solution.critical_nm[:-1]
    assert there.sum() > 50
    assert np.all((first[:-1] > critical)[there])
    assert np.all((second[:-1] < critical)[there])
    assert np.all(np.diff(first)[there] > 0)
    assert np.all(np.diff(second)[there] < 0)
    assert second[-1] == 0.0
    assert first[-1] ** 3 == pytest.approx(10.0**3 + 8.0**3, rel=0.01)  # the solution holds little
    total = solution.molecules.sum(axis=1) + solution.concentration_per_nm3 * volume
    assert np.ptp(total) / total[0] < 1e-12


def test_matter_is_conserved_between_two_particles():
    law = RipeningLaw(1e6, 3e8, 0.06, 2e-5, 1.0)
    solution = solve_ripening([6.0, 5.0], 4e-5, 1e8, law, np.linspace(0.0, 30.0, 100))
    dissolved = solution.concentration_per_nm3 * 1e8
    held = law.molecules(solution.radius_nm).sum(axis=1)
    # Radii are read back from the molecules: an independent count, but for the last molecule of one that is gone.
    np.testing.assert_allclose(dissolved + held, dissolved[0] + held[0], atol=1.0 + 1e-9 * held[0])
    assert critical_radius(law.solubility_per_nm3, law) == math.inf
    assert critical_radius(law.solubility_per_nm3 * math.e, law) == pytest.approx(1.0)


@pytest.mark.parametrize("limit", LAWS)
def test_late_time_distribution(limit):
    """Mean over R* from the density, by quadrature; nothing beyond the cutoff; the quantiles are of that density."""
    cutoff = LSW_CUTOFF[limit]
    norm, _ = integrate.quad(lambda u: float(lsw_density(u, limit)), 0.0, cutoff, epsabs=1e-13, limit=300)
    mean, _ = integrate.quad(lambda u: u * float(lsw_density(u, limit)), 0.0, cutoff, epsabs=1e-13, limit=300)
    assert mean / norm == pytest.approx(LSW_MEAN[limit], rel=1e-9)
    assert np.all(lsw_density([0.0, cutoff, cutoff + 0.1, 3.0], limit) == 0.0)
    sample = lsw_quantiles(2000, limit)
    assert sample.mean() == pytest.approx(LSW_MEAN[limit], rel=1e-4)
    # It solves the continuity equation: (g w)' = [lambda m u^(m-1)] g ... in u, w = du/dtau of the module.
    m, g = POWER[limit], {"interface": 4.0, "diffusion": 6.75}[limit]
    order = {"interface": 1.5, "diffusion": 1.0}[limit]
    u = np.linspace(0.2, 0.8 * cutoff, 40)
    h = 1e-5

    def flux(x):
        return lsw_density(x, limit) * (g * (x - 1.0) - x**m) / (m * x ** (m - 1))

    derivative = (flux(u + h) - flux(u - h)) / (2 * h)
    np.testing.assert_allclose(derivative, order * lsw_density(u, limit), rtol=1e-5)


@pytest.mark.parametrize("limit", LAWS)
def test_many_particles_ripen_as_lifshitz_slyozov_and_wagner_say(limit):
    """<R>^2 and <R>^3 linear in time with the known slopes, <R>/R*, and no particle beyond the cutoff.

    From the late-time distribution itself, so that only the finite number of particles and l_c/R are in the way: the
    largest of n particles stays short of the cutoff and the slope is off by a few per cent once 300 are left.
    """
    base = LAWS[limit]
    law = RipeningLaw(base.velocity_nm_per_s, base.diffusivity_nm2_per_s, 0.06, 2e-5, 0.01)
    m, n = POWER[limit], 1500
    critical = 10.0 / LSW_MEAN[limit]
    radius = critical * lsw_quantiles(n, limit)
    concentration = law.solubility_per_nm3 * math.exp(law.capillary_length_nm / critical)
    # What is dissolved beyond saturation is 0.3 % of what the particles hold.
    volume = 0.003 * law.molecules(radius).sum() / (law.solubility_per_nm3 * law.capillary_length_nm / critical)
    times = np.linspace(0.0, 4.0, 9) * m * remaining_time(10.0, law)
    solution = solve_ripening(radius, concentration, volume, law, times, relative_tolerance=1e-6)
    assert solution.present.sum(axis=1)[-1] < 0.4 * n
    slope = np.polyfit(times, solution.mean_radius_nm**m, 1)[0]
    expected = (lsw_mean_radius(1.0, 0.0, law, limit)) ** m
    assert slope == pytest.approx(expected, rel=0.03)
    np.testing.assert_allclose(solution.mean_radius_nm**m, 10.0**m + expected * times, rtol=0.02)
    np.testing.assert_allclose(solution.mean_radius_nm / solution.critical_nm, LSW_MEAN[limit], rtol=0.01)
    assert np.all(solution.radius_nm.max(axis=1) < LSW_CUTOFF[limit] * solution.critical_nm)


def test_a_broad_start_is_cut_off():
    """Particles beyond 2 R* at first: the critical radius catches up with them."""
    law = RipeningLaw(1e5, 1e14, 0.06, 2e-5, 0.01)
    radius = np.linspace(0.2, 40.0, 400)
    critical = (radius**2).sum() / radius.sum()
    concentration = law.solubility_per_nm3 * math.exp(law.capillary_length_nm / critical)
    volume = 0.01 * law.molecules(radius).sum() / (law.solubility_per_nm3 * law.capillary_length_nm / critical)
    # Uniform radii have <R^2>/<R> = 2/3 of the largest: at 1.5 R*. A few giants are beyond 2.
    radius[-3:] = 60.0
    times = np.linspace(0.0, 30.0, 13) * remaining_time(20.0, law)
    solution = solve_ripening(radius, concentration, volume, law, times, relative_tolerance=1e-6)
    ratio = solution.radius_nm.max(axis=1) / solution.critical_nm
    assert ratio[0] > 2.0
    assert ratio[-1] < 2.0


def test_shrinking_beside_a_larger_one():
    """The quadrature of the posterior against the closed form, and against the equations themselves."""
    law = RipeningLaw(1e5, 3e8, 0.06, 2e-5, 1e-3)
    one = np.ones(1)
    args = (law.velocity_nm_per_s * one, law.diffusivity_nm2_per_s, law.volume_nm3 * law.solubility_per_nm3 * one)
    time = shrinking_times(10.0 * one, 5.0 * one, 1e9 * one, *args, law.capillary_length_nm * one)
    assert time[0] == pytest.approx(remaining_time(10.0, law) - remaining_time(5.0, law), rel=3e-4)
    # Beside one of 15 nm in a huge volume whose density that one fixes.
    law = RipeningLaw(1e5, 3e8, 0.06, 2e-5, 2.0)
    concentration = law.solubility_per_nm3 * math.exp(2.0 / 15.0)
    time = shrinking_times(10.0 * one, 5.0 * one, 15.0 * one, *args, 2.0 * one)
    solution = solve_ripening([10.0], concentration, 1e18, law, [0.0, time[0]], relative_tolerance=1e-10)
    assert solution.radius_nm[-1, 0] == pytest.approx(5.0, rel=1e-6)


def test_four_times_do_not_fix_the_velocity():
    """The posterior narrows the product that sets the time scale, and leaves k_s nearly as the prior had it."""
    summary = ripening_posterior(3, n_draws=600_000).summary()
    rows = summary["unknowns"]
    assert rows["log10_velocity"]["narrowed"] > 0.8
    assert rows["log10_velocity"]["sd"] > 0.8
    assert rows["log10_ripening_constant"]["sd"] < rows["log10_velocity"]["sd"]
    assert summary["correlation_velocity_solubility_capillary"] < -0.6
    assert summary["effective_draws"] > 100
    # Given the radius, K follows from the time it takes: R^2/(2 K) of the order of 68 s.
    narrow = Priors(
        radius_nm=(9.0, 11.0), log_capillary_nm=(-0.2, 0.0), log_supersaturation=(0.01, 0.3), size_ratio=(3.0, 4.0)
    )
    only_gone = Milestones(dissolving_error_s=1e4)
    posterior = ripening_posterior(3, n_draws=600_000, priors=narrow, milestones=only_gone)
    spread = posterior.summary()["unknowns"]["log10_ripening_constant"]
    assert spread["sd"] < 0.25
    assert 0.5 < 10 ** spread["median"] / (10.0**2 / (2 * 67.6)) < 4.0
    with pytest.raises(AnalysisError, match="n_draws"):
        ripening_posterior(3, n_draws=500, milestones=Milestones(gone_error_s=0.01))


def test_bad_inputs_are_named():
    law = LAWS["interface"]
    with pytest.raises(ValueError, match="radius_nm"):
        solve_ripening([0.0], 1e-5, 1.0, law, [0.0, 1.0])
    with pytest.raises(ValueError, match="save_times"):
        solve_ripening([1.0], 1e-5, 1.0, law, [0.0, 0.0])
    with pytest.raises(ValueError, match="solution_volume"):
        solve_ripening([1.0], 1e-5, -1.0, law, [0.0, 1.0])

"""The droplet tier against closed forms, its ledgers, and the jump process against the mean field.

Sampled means are compared in standard errors; the limit of 4 (two-sided 6e-5) leaves all comparisons of
this file together below a 1 % chance of a false alarm, and seeds are fixed.
"""

import dataclasses
import math

import jax
import numpy as np
import pytest
from scipy import integrate

from dropsim import units
from dropsim.kinetics import growth_laws as laws
from dropsim.kinetics.droplet import NUCLEATION_HAZARD, solve_droplet
from dropsim.kinetics.parameters import DEFAULT_PROTOCOL, KineticParameters, protocol_segments
from dropsim.kinetics.protocol import PotentialStep
from dropsim.kinetics.stochastic import build_leaps, simulate_droplets
from dropsim.observables.estimate import Estimate

REDUCE = (PotentialStep(-0.5, 60.0),)
LIMIT = 4.0


def isolated(**changes):
    """Constant closure without electronic contact: gathering alone, from t = 0."""
    return KineticParameters(onset_s=0.0, contact_prefactor=0.0, **changes)


def charging(**changes):
    """A droplet of 2000 units that neither gathers nor escapes: tau about 1 s at -0.5 V."""
    radius = 6.0
    density = 2000 / (2 / 3 * math.pi * radius**3) * (1 + 1e-12)  # the seed rounds to 2000 units
    values = {
        "onset_s": 0.0,
        "seed_radius_nm": radius,
        "dense_density_per_nm3": density,
        "interface_velocity_nm_per_s": 1e-12,
        "rate_constant_per_s": 2.0,
        "nucleation_rate_per_s": 0.0,
    }
    return KineticParameters(**(values | changes))


def charging_time(parameters, potential_V=-0.5):
    contacts = parameters.contact_coefficient * parameters.seed_radius_nm**parameters.contact_power
    return laws.charging_time(parameters.seed_units, contacts, parameters.total_rate_per_s(potential_V))


def z_score(sample, expected):
    return (sample.mean() - expected) / (sample.std(ddof=1) / math.sqrt(sample.size))


# --- growth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damkohler", [1e-5, 1e-2, 1.0, 30.0, 1e3])
def test_radius_and_exponent_of_isolated_growth(damkohler):
    """R(t) and n(Da) of mixed control, Da at the end from 1e-5 to 1e3."""
    end_radius, diffusivity = 100.0, 3e8
    velocity = damkohler * diffusivity / end_radius
    parameters = isolated(interface_velocity_nm_per_s=velocity)
    omega = parameters.unit_volume_nm3
    drive = parameters.bulk_density_per_nm3 - parameters.saturation_density_per_nm3

    def time_to(radius):  # of the closed form from nothing
        return radius * (1 + velocity * radius / diffusivity / 2) / (velocity * omega * drive)

    origin = time_to(parameters.seed_radius_nm)
    # Five-point stencils in ln t around R = 20, 50 and 95 nm.
    h = 0.02
    clock = np.concatenate([time_to(r) * np.exp(h * np.arange(-2, 3)) for r in (20.0, 50.0, 95.0)])
    protocol = (PotentialStep(-0.5, clock[-1]),)
    solution = solve_droplet(parameters, protocol, clock - origin, relative_tolerance=1e-11)
    closed = laws.isolated_mixed_radius(clock, 0.0, velocity, diffusivity, omega, drive)
    np.testing.assert_allclose(solution.radius_nm, closed, rtol=1e-8)
    np.testing.assert_allclose(solution.damkohler, velocity * closed / diffusivity, rtol=1e-8)
    log_area = np.log(solution.area_nm2).reshape(3, 5)
    exponent = (log_area[:, 0] - 8 * log_area[:, 1] + 8 * log_area[:, 3] - log_area[:, 4]) / (12 * h)
    middle = solution.damkohler.reshape(3, 5)[:, 2]
    np.testing.assert_allclose(exponent, laws.area_exponent(middle), atol=1e-4)


@pytest.mark.parametrize("angle", [60.0, 120.0])
def test_cap_grows_by_its_own_surface_and_volume(angle):
    parameters = isolated(contact_angle_deg=angle)
    solution = solve_droplet(parameters, REDUCE, [0.0, 30.0, 60.0])
    shape = laws.cap_area_factor(angle) / laws.cap_volume_factor(angle)
    drive = parameters.bulk_density_per_nm3 - parameters.saturation_density_per_nm3
    speed = shape * parameters.interface_velocity_nm_per_s * parameters.unit_volume_nm3 * drive
    np.testing.assert_allclose(solution.radius_nm, 1.0 + speed * solution.time_s, rtol=2e-5)  # Da < 1e-4


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_charge_slaved_closure_follows_the_contacts(power):
    """Charge-limited: dV/dt = Omega k_e N_c(R) and n = 2/(3 - m), put in by the closure."""
    parameters = KineticParameters(
        closure="charge-slaved",
        capture_floor=0.0,
        interface_velocity_nm_per_s=1e9,
        bulk_diffusivity_nm2_per_s=1e14,
        onset_s=0.0,
        contact_prefactor=0.05,
        contact_power=power,
        rate_constant_per_s=1.0,
        nucleation_rate_per_s=0.0,
    )
    per_contact = (
        parameters.injection_rate_per_s(-0.5)
        * (10 - parameters.electrons_per_capture)
        / parameters.electrons_per_capture
    )
    growth = (3 - power) * parameters.unit_volume_nm3 * per_contact * 0.05 / (4 * math.pi * 0.5)
    radius = 40.0
    middle = radius ** (3 - power) / growth
    h = 0.05
    clock = middle * np.exp(h * np.arange(-2, 3))
    solution = solve_droplet(parameters, (PotentialStep(-0.5, clock[-1]),), clock, relative_tolerance=1e-10)
    assert solution.capture_probability.max() < 1e-2
    area = solution.area_nm2
    slope = (area[0] - 8 * area[1] + 8 * area[3] - area[4]) / (12 * h) / middle  # dA/dt
    powered = solution.radius_nm ** (3 - power)
    measured = (powered[0] - 8 * powered[1] + 8 * powered[3] - powered[4]) / (12 * h) / middle
    assert measured == pytest.approx(growth, rel=2e-3)
    # The origin of time is that of the power law, from R^(3-m) = growth (t - t0).
    elapsed = powered[2] / measured
    assert slope * elapsed / area[2] == pytest.approx(laws.contact_limited_exponent(power), abs=1e-4)
    assert solution.n_electrons[2] / solution.n_liquid[2] == pytest.approx(2.0, rel=5e-3)


def test_depletion_conserves_matter_and_ends_at_saturation():
    parameters = isolated(supply_radius_nm=150.0)
    solution = solve_droplet(parameters, (PotentialStep(-0.5, 2000.0),), np.linspace(0.0, 2000.0, 41))
    volume = math.pi * 150.0**2 * 100.0
    total = solution.bulk_density_per_nm3 * volume + solution.n_liquid + solution.n_solid
    np.testing.assert_allclose(total, parameters.bulk_density_per_nm3 * volume, rtol=1e-10)
    assert solution.bulk_density_per_nm3[-1] == pytest.approx(parameters.saturation_density_per_nm3, rel=1e-6)
    drive = parameters.bulk_density_per_nm3 - parameters.saturation_density_per_nm3
    assert solution.n_liquid[-1] == pytest.approx(drive * volume, rel=1e-6)


# --- charging ------------------------------------------------------------------------------------------


def test_well_mixed_charging_is_exponential():
    parameters = charging(standard_potential_V=-0.49)  # p = 0.6
    p = parameters.nernst_fraction(-0.5)
    tau = charging_time(parameters)
    times = tau * np.array([0.1, 0.5, 1.0, 3.0])
    protocol = (PotentialStep(-0.5, 5 * tau),)
    expected = 10 * 2000 * p * -np.expm1(-times / tau)
    solution = solve_droplet(parameters, protocol, times)
    np.testing.assert_allclose(solution.n_electrons, expected, rtol=1e-6)
    sample = simulate_droplets(5, parameters, protocol, times)
    chance = p * -np.expm1(-times / tau)
    for column, mean, q in zip(sample.n_electrons.T, expected, chance, strict=True):
        assert abs(z_score(column, mean)) < LIMIT
        # Binomial slots: the variance is known, and that of a variance of 64 numbers is 2/63.
        variance = column.var(ddof=1) / (20_000 * q * (1 - q))
        assert abs(variance - 1) < LIMIT * math.sqrt(2 / 63)


def test_threshold_time():
    """A sharp hazard fires at tau ln[p / (p - x_s)]."""
    parameters = charging(nucleation_rate_per_s=1e9, nucleation_barrier=0.0, threshold=0.3)
    tau = charging_time(parameters)
    expected = laws.threshold_time(tau, parameters.nernst_fraction(-0.5), 0.3)
    protocol = (PotentialStep(-0.5, 0.5 * tau),)
    solution = solve_droplet(parameters, protocol, [0.0])
    assert solution.nucleation_time_s == pytest.approx(expected, abs=1e-5)  # where the hazard is cut
    leap = 2e-4 * tau  # a standard error is 5e-4 tau: crossing is seen at the end of a leap
    sample = simulate_droplets(6, parameters, protocol, [0.0], leap_tolerance=leap / 10.0)
    assert abs(z_score(sample.nucleation_time_s - 0.5 * leap, expected)) < LIMIT


def test_nucleation_waits_for_the_hazard():
    """Constant hazard: exponential waiting times; the mean field fires at their median."""
    parameters = charging(nucleation_rate_per_s=1e-5, rate_constant_per_s=1e3)  # full within 3 ms
    hazard = 1e-5 * 2000 * math.exp(-0.05 / 16.0)
    protocol = (PotentialStep(-0.5, 1000.0),)
    solution = solve_droplet(parameters, protocol, [0.0])
    assert solution.nucleation_time_s == pytest.approx(NUCLEATION_HAZARD / hazard, abs=0.02)
    waits = simulate_droplets(7, parameters, protocol, [0.0], 128, leap_tolerance=0.2).nucleation_time_s
    assert np.all(np.isfinite(waits))
    # Mean and standard deviation of an exponential law are equal: both from the closed form.
    assert abs(waits.mean() * hazard - 1) < LIMIT / math.sqrt(128)
    assert abs(waits.std(ddof=1) * hazard - 1) < LIMIT * math.sqrt(2 / 128)


# --- ledgers -------------------------------------------------------------------------------------------


def eventful(**changes):
    """Two cycles with growth, crystallisation, slow conversion and dissolution, depleting its supply."""
    values = {
        "onset_s": 5.0,
        "seed_radius_nm": 3.0,
        "supply_radius_nm": 300.0,
        "nucleation_rate_per_s": 3e-5,
        "rate_constant_per_s": 0.3,
        "front_acceleration": 1.0,
        "dissolution_rate_per_s": 0.5,
        "opening_rate_per_s": 3.0,
        "opening_barrier_kT": 1.0,
    }
    return KineticParameters(**(values | changes))


CYCLES = (PotentialStep(-0.4, 30.0), PotentialStep(-0.5, 30.0), PotentialStep(0.5, 60.0)) * 2


@pytest.mark.parametrize("closure", ["constant", "charge-slaved"])
def test_ledgers_of_whole_cycles(closure):
    parameters = eventful(closure=closure)
    times = np.linspace(0.0, 240.0, 121)
    solution = solve_droplet(parameters, CYCLES, times)
    exchanged = solution.injected_e.max()
    assert exchanged > 1e3
    assert np.isfinite(solution.nucleation_time_s)
    for residual in (solution.sulfur_residual, solution.lithium_residual, solution.electron_residual):
        assert np.abs(residual).max() < 1e-10 * exchanged
    sample = simulate_droplets(8, parameters, CYCLES, times)
    assert sample.n_solid.dtype == np.int64
    assert (sample.n_solid > 0).any()
    assert ((sample.n_solid > 0) & (sample.n_liquid > 0)).any()
    for residual in (sample.sulfur_residual, sample.lithium_residual, sample.electron_residual):
        assert np.all(residual == 0)
    for counts in (sample.n_liquid, sample.n_electrons, sample.n_solid, sample.n_taken):
        assert counts.min() >= 0
    assert np.all(sample.n_electrons <= 10 * sample.n_liquid)
    assert np.all(sample.bulk_density_per_nm3 >= 0)
    # The integral of the current is the net charge.
    charge = (sample.current_fA[:, 1:] * np.diff(times)).sum(axis=1) / (units.ELEMENTARY_CHARGE_C * 1e15)
    np.testing.assert_allclose(charge, (sample.injected_e - sample.ejected_e)[:, -1], atol=1e-6 * exchanged)


def test_current_integrates_to_the_charge():
    parameters = eventful(nucleation_rate_per_s=0.0)
    times = np.linspace(5.0, 25.0, 121)
    solution = solve_droplet(parameters, CYCLES, times)
    net = solution.injected_e - solution.ejected_e
    charge = integrate.simpson(solution.current_fA, x=times) / (units.ELEMENTARY_CHARGE_C * 1e15)
    assert charge == pytest.approx(net[-1] - net[0], rel=1e-5)


def test_dissolution_returns_everything():
    parameters = eventful()
    times = np.array([59.9, 119.9, 179.9, 239.9])
    sample = simulate_droplets(9, parameters, CYCLES, times)
    covered, clear = sample.area_nm2[:, [0, 2]], sample.area_nm2[:, [1, 3]]
    assert np.all(covered > 0)  # the second reduction seeds anew
    assert np.all(clear == 0)
    assert np.all(sample.n_taken[:, [1, 3]] == 0)
    assert np.all((sample.injected_e - sample.ejected_e)[:, [1, 3]] == 0)
    solution = solve_droplet(parameters, CYCLES, times)
    assert np.all(solution.n_taken[[1, 3]] < 1e-6 * solution.n_taken[0])


# --- conversion ----------------------------------------------------------------------------------------


def test_area_drops_by_the_volume_ratio():
    parameters = KineticParameters(onset_s=0.0, nucleation_rate_per_s=1e-5)
    moment = float(solve_droplet(parameters, REDUCE, [0.0]).nucleation_time_s)
    assert 5.0 < moment < 60.0
    solution = solve_droplet(parameters, REDUCE, [moment * (1 - 1e-9), 60.0])
    assert solution.n_solid[0] == 0.0
    assert solution.n_liquid[1] < 1e-6
    ratio = solution.area_nm2[1] / solution.area_nm2[0]
    volume = parameters.solid_volume_nm3 * parameters.dense_density_per_nm3
    assert ratio == pytest.approx(volume ** (2 / 3), rel=1e-6)
    assert ratio == pytest.approx(0.69, abs=0.005)
    assert solution.n_taken[1] == pytest.approx(solution.n_taken[0], rel=1e-6)  # no gathering after


def test_conversion_front_of_the_jump_process_is_that_of_the_mean_field():
    parameters = charging(nucleation_rate_per_s=1e9, nucleation_barrier=0.0, front_acceleration=1.0, threshold=0.3)
    tau = charging_time(parameters)
    times = tau * np.array([0.5, 0.7, 0.9])
    protocol = (PotentialStep(-0.5, tau),)
    solution = solve_droplet(parameters, protocol, times)
    assert np.all((solution.n_solid > 0) & (solution.n_liquid > 0))
    sample = simulate_droplets(10, parameters, protocol, times, leap_tolerance=1e-4)
    for column, mean in zip(sample.n_solid.T, solution.n_solid, strict=True):
        # Whole units: the pool keeps up to nine electrons, half a unit in the mean.
        assert abs(z_score(column + 0.45, mean)) < LIMIT


# --- the jump process against the mean field -----------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rate_constant_per_s": 0.1, "supply_radius_nm": 250.0},
        {"closure": "charge-slaved"},
        {"closure": "charge-slaved", "rate_constant_per_s": 0.02, "interface_velocity_nm_per_s": 1e4},
    ],
    ids=["fast charging", "slow charging, depleting", "slaved, interface", "slaved, charge"],
)
def test_mean_of_the_jump_process(changes):
    """Gathering and dissolution; a seed of 280 units keeps the mean field's own error far below a standard error."""
    parameters = KineticParameters(onset_s=0.5, seed_radius_nm=4.0, nucleation_rate_per_s=0.0, **changes)
    protocol = (PotentialStep(-0.5, 30.0), PotentialStep(0.5, 20.0))
    times = np.array([2.0, 10.0, 29.5, 35.0, 45.0])
    solution = solve_droplet(parameters, protocol, times)
    sample = simulate_droplets(11, parameters, protocol, times)
    for column, mean in zip(sample.n_liquid.T, solution.n_liquid, strict=True):
        assert abs(z_score(column, mean)) < LIMIT
    for column, mean in zip(sample.n_electrons.T[:3], solution.n_electrons, strict=False):
        assert abs(z_score(column, mean)) < LIMIT


def test_halving_the_leap_keeps_the_mean():
    parameters = KineticParameters(onset_s=0.5, seed_radius_nm=4.0, nucleation_rate_per_s=0.0, closure="charge-slaved")
    times = np.array([29.5])
    whole = simulate_droplets(12, parameters, REDUCE, times, 128, leap_tolerance=0.05)
    half = simulate_droplets(13, parameters, REDUCE, times, 128, leap_tolerance=0.025)
    for name in ("n_liquid", "n_electrons"):
        a, b = getattr(whole, name)[:, 0], getattr(half, name)[:, 0]
        error = math.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
        assert abs(a.mean() - b.mean()) < 3 * error


def test_leaps_meet_every_switch_and_save():
    parameters = eventful()
    times = np.array([0.0, 3.3, 5.0, 77.7, 240.0])
    leaps, at_save = build_leaps(parameters, protocol_segments(parameters, CYCLES), times, 0.05)
    np.testing.assert_allclose(leaps.start[at_save], times, rtol=0, atol=1e-12)
    ends = leaps.start + leaps.duration
    np.testing.assert_allclose(leaps.start[1:], ends[:-1], rtol=0, atol=1e-9)
    assert leaps.duration.sum() == pytest.approx(240.0, rel=1e-12)
    np.testing.assert_allclose(leaps.start[leaps.seeds > 0], [5.0, 125.0])
    np.testing.assert_allclose(leaps.start[leaps.begins_reduction > 0], [0.0, 120.0])


def test_centroid_is_free_diffusion_with_the_diffusivity_put_in():
    parameters = isolated(seed_radius_nm=3.0)
    times = np.arange(0.0, 40.01, 0.4)
    track = simulate_droplets(14, parameters, REDUCE, times).centroid_nm
    assert np.all(track[:, 0] == 0)
    steps = np.diff(track, axis=1)
    ratio = steps**2 / (2 * 4.71 * 0.4)
    assert abs(ratio.mean() - 1) < LIMIT * math.sqrt(2 / ratio.size)
    assert abs((steps[:, 1:] * steps[:, :-1]).mean() / (2 * 4.71 * 0.4)) < LIMIT / math.sqrt(steps[:, 1:].size)


def test_realisations_do_not_depend_on_their_number():
    parameters, times, protocol = eventful(), np.linspace(0.0, 30.0, 16), CYCLES[:1]
    many = simulate_droplets(15, parameters, protocol, times, 70)
    few = simulate_droplets(15, parameters, protocol, times, 3)
    other = simulate_droplets(16, parameters, protocol, times, 3)
    for field in dataclasses.fields(many):
        a, b = getattr(many, field.name), getattr(few, field.name)
        if isinstance(a, np.ndarray) and a.shape[:1] == (70,):
            np.testing.assert_array_equal(a[:3], b)
    assert np.any(few.n_liquid != other.n_liquid)
    assert len({tuple(row) for row in many.n_liquid}) == 70


# --- edges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("potential", [-9.0, 0.0, 9.0])
def test_extreme_potentials_stay_finite(potential):
    parameters = KineticParameters(onset_s=1.0, seed_radius_nm=3.0, dissolution_rate_per_s=1.0)
    protocol = (PotentialStep(-0.5, 10.0), PotentialStep(potential, 30.0), PotentialStep(-0.5, 10.0))
    times = np.linspace(0.0, 50.0, 26)
    for solution in (solve_droplet(parameters, protocol, times), simulate_droplets(17, parameters, protocol, times, 4)):
        for field in dataclasses.fields(solution):
            value = getattr(solution, field.name)
            if isinstance(value, np.ndarray) and field.name != "nucleation_time_s":
                assert np.all(np.isfinite(value)), field.name


def test_no_droplet_before_its_onset_and_none_in_oxidation():
    parameters = KineticParameters()
    solution = solve_droplet(parameters, DEFAULT_PROTOCOL, [0.0, 34.3, 34.4])
    assert solution.area_nm2[:2].tolist() == [0.0, 0.0]
    assert solution.radius_nm[2] == pytest.approx(1.0)
    never = simulate_droplets(1, parameters, (PotentialStep(0.5, 60.0),), [0.0, 60.0], 2)
    assert np.all(never.n_taken == 0)


def test_result_does_not_depend_on_the_precision_jax_is_set_to():
    parameters, times = eventful(), np.linspace(0.0, 60.0, 16)
    double = solve_droplet(parameters, CYCLES, times)
    with jax.enable_x64(False):
        single = solve_droplet(parameters, CYCLES, times)
        sample = simulate_droplets(15, parameters, CYCLES, times, 2)
    np.testing.assert_array_equal(single.n_liquid, double.n_liquid)
    assert sample.centroid_nm is not None
    assert sample.centroid_nm.dtype == np.float64


def test_detached_centres_gather_without_current():
    solution = solve_droplet(isolated(), DEFAULT_PROTOCOL, [100.0, 200.0])
    assert np.all(solution.current_fA == 0)
    assert solution.n_electrons[1] == 0
    assert solution.n_liquid[1] > solution.n_liquid[0] > 1e4


# --- parameters ----------------------------------------------------------------------------------------


def test_measurements_fill_what_the_file_leaves_open():
    measured = {
        "saturation_density_per_nm3": Estimate(3.0, 0.5, "mM", 10, "slab"),
        "dense_diffusivity_nm2_per_s": Estimate(1e-4, 1e-5, "nm^2/ps", 20, "msd"),
        "contact_power": Estimate(1.6, 0.2, "1", 9, "fit"),
    }
    given = {"contact_power": 2.0, "dense_density_per_nm3": None, "threshold": 0.3}
    parameters = KineticParameters.from_measurements(given, measured, "run.h5md")
    assert parameters.saturation_density_per_nm3 == pytest.approx(3.0 * 6.02214076e-4)
    assert parameters.dense_diffusivity_nm2_per_s == pytest.approx(1e8)
    assert parameters.contact_power == 2.0
    assert parameters.provenance["contact_power"] == "config"
    assert parameters.provenance["saturation_density_per_nm3"].startswith("particle run run.h5md: 0.001807 +- 0.0003")
    assert parameters.provenance["dense_density_per_nm3"].startswith("default (")
    fields = {f.name for f in dataclasses.fields(KineticParameters)} - {"provenance"}
    assert set(parameters.provenance) == fields


@pytest.mark.parametrize(
    ("given", "measured", "message"),
    [
        ({"thresold": 0.3}, {}, "thresold"),
        ({}, {"dense_density_per_nm3": Estimate(2.0, 0.1, "g/cm^3", 5, "x")}, "g/cm"),
        ({}, {"dense_density_per_nm3": Estimate(math.nan, 0.1, "mM", 5, "x")}, "is nan"),
        ({"threshold": 1.0}, {}, "threshold is 1.0"),
        ({"bulk_diffusivity_nm2_per_s": math.inf}, {}, "bulk_diffusivity"),
        ({"seed_radius_nm": 0.3}, {}, "seed_radius_nm is 0.3"),
        ({"closure": "free"}, {}, "closure is 'free'"),
    ],
)
def test_bad_parameters_are_named(given, measured, message):
    with pytest.raises(ValueError, match=message):
        KineticParameters.from_measurements(given, measured, "run.h5md")


def test_bad_calls_are_named():
    parameters = KineticParameters()
    with pytest.raises(ValueError, match="protocol is empty"):
        solve_droplet(parameters, (), [0.0])
    with pytest.raises(ValueError, match="duration_s is 0"):
        solve_droplet(parameters, (PotentialStep(-0.5, 0.0),), [0.0])
    with pytest.raises(ValueError, match="potential_V is 30"):
        solve_droplet(parameters, (PotentialStep(30.0, 1.0),), [0.0])
    with pytest.raises(ValueError, match="save_times run"):
        solve_droplet(parameters, REDUCE, [0.0, 61.0])
    with pytest.raises(ValueError, match="increasing"):
        simulate_droplets(1, parameters, REDUCE, [1.0, 1.0])
    with pytest.raises(ValueError, match="n_realisations is 0"):
        simulate_droplets(1, parameters, REDUCE, [1.0], 0)


def test_derived_groups():
    derived = KineticParameters(hop_rate_per_s=1e10, spectral_gap=0.01).derived()
    assert derived["damkohler_number"] == pytest.approx(1.3e-5)
    assert derived["supersaturation"] == pytest.approx(2.5)
    assert derived["units_at_reference"] == pytest.approx(1.484e4, rel=1e-3)
    assert derived["contacts_at_reference"] == pytest.approx(17.67, rel=1e-3)
    assert derived["collectivity_index"] == pytest.approx(1e9 * derived["charging_time_s"])
    assert "not a finding" in derived["closure_note"]
    slaved = KineticParameters(closure="charge-slaved", contact_power=1.0)
    assert slaved.derived()["expected_exponent"] == 1.0
    assert "not the paper's" in solve_droplet(slaved, REDUCE, [0.0]).closure_note
    # A power other than 2 keeps the contacts of a 30 nm droplet.
    assert slaved.derived()["contacts_at_reference"] == pytest.approx(derived["contacts_at_reference"])

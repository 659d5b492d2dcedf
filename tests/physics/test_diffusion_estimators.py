"""Diffusivity from short noisy tracks: standard deviations of the benchmark, and intervals that cover."""

import numpy as np
import pytest
from scipy import stats

from dropsim.errors import AnalysisError
from dropsim.observables.diffusion import (
    covariance_estimator,
    drift_estimate,
    gls_diffusivity,
    mean_squared_displacement,
    msd_z,
    ordinary_msd_fit,
)

DIFFUSIVITY = 4.71  # nm^2/s
LOCALISATION = 1.0  # nm
N_DRAWS = 200


def synthetic_track(rng, n_steps, dt, drift=0.0):
    step = drift * dt + np.sqrt(2.0 * DIFFUSIVITY * dt) * rng.normal(size=(n_steps, 2))
    position = np.concatenate([np.zeros((1, 2)), np.cumsum(step, axis=0)])
    return position + LOCALISATION * rng.normal(size=position.shape)


def assert_covers(hits, n, level=0.95):
    low, high = stats.binom.ppf([0.005, 0.995], n, level)
    assert low <= hits <= high, f"{hits}/{n} at a stated {level}: expected {low:.0f} to {high:.0f}"


def assert_sd(values, expected):
    """The sample sd agrees with the expected one within 3 standard errors (normal: 1/sqrt(2n); here x1.3)."""
    assert abs(np.std(values, ddof=1) / expected - 1.0) < 3.0 * 1.3 / np.sqrt(2.0 * len(values))


# n_steps, dt (25 s in all), sd of the covariance estimator, sd of GLS (no more than; from 25 s benchmarks).
CASES = [(25, 1.0, 1.78, 1.77), (100, 0.25, 1.10, 0.98), (250, 0.1, 1.04, 0.71)]


@pytest.mark.parametrize("drift", [0.0, 2.0])
@pytest.mark.parametrize(("n_steps", "dt", "sd_cve", "sd_gls"), CASES)
def test_estimators_reach_their_standard_deviations_and_cover(n_steps, dt, sd_cve, sd_gls, drift):
    rng = np.random.default_rng(1000 + n_steps + int(drift))
    remove = drift > 0
    results = {"cve": [], "gls": []}
    hits = {"cve": 0, "gls": 0, "drift": 0}
    errors, variances = [], []
    for _ in range(N_DRAWS):
        track = synthetic_track(rng, n_steps, dt, drift)
        cve = covariance_estimator(track, dt, remove_drift=remove)
        gls = gls_diffusivity(track, dt, remove_drift=remove)
        for name, fit in (("cve", cve), ("gls", gls)):
            low, high = fit.D.interval_95
            hits[name] += low <= DIFFUSIVITY <= high
            results[name].append(fit.D.value)
        errors.append((cve.D.standard_error, gls.D.standard_error))
        variances.append(cve.localisation_variance.value)
        if remove:
            low, high = gls.drift[0].interval_95
            hits["drift"] += low <= drift <= high
    assert_covers(hits["cve"], N_DRAWS)
    assert_covers(hits["gls"], N_DRAWS)
    if remove:
        assert_covers(hits["drift"], N_DRAWS)
    cve, gls = np.array(results["cve"]), np.array(results["gls"])
    standard = 1.0 / np.sqrt(N_DRAWS)
    assert abs(cve.mean() - DIFFUSIVITY) < 3.0 * cve.std(ddof=1) * standard
    assert abs(np.mean(variances) - LOCALISATION**2) < 3.0 * np.std(variances, ddof=1) * standard
    # The drift costs one of n steps.
    assert_sd(cve, sd_cve * (1.0 + (1.0 / n_steps if remove else 0.0)))
    # A localisation variance held above zero makes GLS sharper than its benchmark, and low by up to 8 %, at 25.
    assert np.std(gls, ddof=1) < sd_gls * (1.0 + 3.0 * 1.3 / np.sqrt(2.0 * N_DRAWS))
    assert abs(gls.mean() - DIFFUSIVITY) < 3.0 * gls.std(ddof=1) * standard + (0.08 if n_steps == 25 else 0.0) * 4.71
    stated = np.mean(errors, axis=0)
    assert stated[0] == pytest.approx(cve.std(ddof=1), rel=0.2)
    assert stated[1] == pytest.approx(gls.std(ddof=1), rel=0.25)


def test_sine_transform_likelihood_is_the_gaussian_likelihood():
    """Against the dense covariance matrix: same maximum, same drift."""
    rng = np.random.default_rng(3)
    dt, n = 0.5, 40
    track = synthetic_track(rng, n, dt, 1.0)
    fit = gls_diffusivity(track, dt, remove_drift=True)
    step = np.diff(track, axis=0)

    def restricted(diffusivity, variance):
        matrix = 2.0 * (diffusivity * dt + variance) * np.eye(n) - variance * (np.eye(n, k=1) + np.eye(n, k=-1))
        inverse, one = np.linalg.inv(matrix), np.ones(n)
        information = one @ inverse @ one
        velocity = one @ inverse @ step / information
        residual = step - velocity
        quadratic = np.einsum("ia,ij,ja->", residual, inverse, residual)
        value = -(np.linalg.slogdet(matrix)[1] + np.log(information)) - 0.5 * quadratic
        return value, velocity / dt, 1.0 / np.sqrt(information) / dt

    d, s = fit.D.value, fit.localisation_variance.value
    best, velocity, error = restricted(d, s)
    for factor_d, factor_s in ((1.02, 1.0), (0.98, 1.0), (1.0, 1.03), (1.0, 0.97)):
        assert restricted(d * factor_d, s * factor_s)[0] < best
    np.testing.assert_allclose([v.value for v in fit.drift], velocity, rtol=1e-9)
    np.testing.assert_allclose(fit.drift[0].standard_error, error, rtol=1e-9)
    assert drift_estimate(track, dt) == fit.drift
    assert fit.drift[0].unit == "nm/s"


def test_drift_correction_is_exact_on_average():
    """Expectation of the drift-removed averages by brute force over the projected covariance."""
    from dropsim.observables.diffusion import _drift_correction

    n, dt = 7, 0.3
    project = np.eye(n) - 1.0 / n
    tridiagonal = 2.0 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    expected = []
    for covariance in (2.0 * dt * np.eye(n), tridiagonal):
        left = project @ covariance @ project
        expected.append((np.trace(left) / n, np.diag(left, 1).mean()))
    plain = np.array([[2.0 * dt, 2.0], [0.0, -1.0]])
    np.testing.assert_allclose(plain - _drift_correction(n, dt), np.array(expected).T, atol=1e-14)


@pytest.mark.parametrize("estimator", [covariance_estimator, gls_diffusivity])
def test_motion_blur_of_a_full_exposure_is_taken_out(estimator):
    """Each frame averages 16 substeps: R = (1 - 1/16^2)/6."""
    rng = np.random.default_rng(4)
    values, variances, uncorrected = [], [], []
    for _ in range(60):
        fine = np.cumsum(np.sqrt(2.0 * DIFFUSIVITY / 16) * rng.normal(size=(16 * 101, 2)), axis=0)
        track = fine.reshape(101, 16, 2).mean(axis=1) + 0.3 * rng.normal(size=(101, 2))
        fit = estimator(track, 1.0, motion_blur=(1.0 - 1.0 / 256.0) / 6.0)
        values.append(fit.D.value)
        variances.append(fit.localisation_variance.value)
        uncorrected.append(estimator(track, 1.0))
    assert abs(np.mean(values) - DIFFUSIVITY) < 3.0 * np.std(values, ddof=1) / np.sqrt(60)
    if estimator is covariance_estimator:  # its D does not depend on the blur, its sigma^2 does
        error = np.std(variances, ddof=1) / np.sqrt(60)
        assert abs(np.mean(variances) - 0.09) < 3.0 * error
        assert np.mean([u.localisation_variance.value for u in uncorrected]) < 0.09 - 10.0 * error
    else:
        assert np.mean([u.D.value for u in uncorrected]) < DIFFUSIVITY - 5.0 * np.std(values) / np.sqrt(60)


def test_known_localisation_error_sharpens():
    rng = np.random.default_rng(5)
    hits, free, known = 0, [], []
    for _ in range(N_DRAWS):
        track = synthetic_track(rng, 25, 1.0)
        fit = gls_diffusivity(track, 1.0, localisation_variance=LOCALISATION**2)
        hits += fit.D.interval_95[0] <= DIFFUSIVITY <= fit.D.interval_95[1]
        known.append(fit.D.value)
        free.append(covariance_estimator(track, 1.0).D.value)
    assert_covers(hits, N_DRAWS)
    assert np.std(known) < 0.75 * np.std(free)


@pytest.mark.parametrize(("fraction", "sd"), [(1.0, 4.95), (0.25, 2.38)])
def test_straight_line_through_the_msd_has_the_stated_uncertainty(fraction, sd):
    rng = np.random.default_rng(6)
    fits = [ordinary_msd_fit(synthetic_track(rng, 25, 1.0), 1.0, fit_fraction=fraction) for _ in range(300)]
    values = np.array([f.value for f in fits])
    error = values.std(ddof=1) / np.sqrt(300)
    assert abs(values.mean() - DIFFUSIVITY) < 3.0 * error
    # The fourth moment of a skewed form widens the error of its sd: 0.1 here, from the sample itself.
    kurtosis = stats.kurtosis(values)
    assert abs(values.std(ddof=1) / sd - 1.0) < 3.0 * np.sqrt((kurtosis + 2.0) / (4.0 * 300))
    assert np.mean([f.standard_error for f in fits]) == pytest.approx(sd, rel=0.12)
    assert ("about 100 %" in fits[0].method) == (fraction == 1.0)


def test_msd_against_a_double_loop():
    rng = np.random.default_rng(7)
    track = rng.normal(size=(12, 3))
    naive = [0.0] + [np.mean([np.sum((track[i + k] - track[i]) ** 2) for i in range(12 - k)]) for k in range(1, 12)]
    np.testing.assert_allclose(mean_squared_displacement(track), naive)
    np.testing.assert_allclose(mean_squared_displacement(track, 4), naive[:5])


def test_msd_z_counts_droplets_and_not_beads():
    rng = np.random.default_rng(8)
    dt, n_droplets, beads, diffusivity = 0.5, 12, 20, 0.3
    hits, naive_hits, n_draws = 0, 0, 150
    for _ in range(n_draws):
        common = np.cumsum(np.sqrt(2.0 * diffusivity * dt) * rng.normal(size=(60, n_droplets)), axis=0)
        z = np.repeat(common, beads, axis=1) + 0.05 * rng.normal(size=(60, n_droplets * beads))
        curve = msd_z(z, dt, groups=np.repeat(np.arange(n_droplets), beads))
        low, high = curve.diffusivity.interval_95
        hits += low <= diffusivity <= high
        each = msd_z(z, dt, groups=np.arange(n_droplets * beads)).diffusivity.interval_95
        naive_hits += each[0] <= diffusivity <= each[1]
    # Twelve skewed units: Student's t covers 87 to 95 %, which is stated; beads as units cover far less.
    assert hits >= stats.binom.ppf(0.005, n_draws, 0.87)
    assert naive_hits < 0.5 * n_draws
    assert curve.n_units == n_droplets


def test_msd_z_by_blocks_and_without_drift():
    rng = np.random.default_rng(9)
    z = np.cumsum(rng.normal(size=(400, 50)) - 2.0, axis=0)
    still = msd_z(z, 1.0, n_blocks=8, remove_drift=True)
    expected = 0.5 * (1.0 - 1.0 / 50)
    assert abs(still.diffusivity.value - expected) < 3.0 * still.diffusivity.standard_error
    assert msd_z(z, 1.0, n_blocks=8).diffusivity.value > 10.0
    assert still.msd[0] == 0.0
    assert len(still.time) == 50
    single = msd_z(z, 1.0, groups=np.zeros(50, dtype=int))
    assert np.isnan(single.diffusivity.standard_error)
    assert "one unit has no error" in single.diffusivity.method


GOOD = np.cumsum(np.random.default_rng(1).normal(size=(20, 2)), axis=0)


@pytest.mark.parametrize("estimator", [covariance_estimator, gls_diffusivity, ordinary_msd_fit])
def test_unusable_tracks_are_refused(estimator):
    with pytest.raises(AnalysisError, match="too few"):
        estimator(GOOD[:4], 1.0)
    with pytest.raises(AnalysisError, match="NaN"):
        estimator(np.where(GOOD > 1.0, np.nan, GOOD), 1.0)
    with pytest.raises(AnalysisError, match="never changes"):
        estimator(np.zeros((20, 2)), 1.0)
    with pytest.raises(AnalysisError, match="dt"):
        estimator(GOOD, 0.0)
    with pytest.raises(AnalysisError, match="one droplet"):
        estimator(GOOD[None], 1.0)


def test_unusable_options_are_refused():
    with pytest.raises(AnalysisError, match="motion_blur"):
        covariance_estimator(GOOD, 1.0, motion_blur=0.5)
    with pytest.raises(AnalysisError, match="localisation_variance"):
        gls_diffusivity(GOOD, 1.0, localisation_variance=-1.0)
    with pytest.raises(AnalysisError, match="fit_fraction"):
        ordinary_msd_fit(GOOD, 1.0, fit_fraction=0.05)
    with pytest.raises(AnalysisError, match="max_lag"):
        mean_squared_displacement(GOOD, 20)
    with pytest.raises(AnalysisError, match="label"):
        msd_z(GOOD, 1.0, groups=np.zeros(3))
    with pytest.raises(AnalysisError, match="fewer blocks"):
        msd_z(GOOD, 1.0, n_blocks=15)

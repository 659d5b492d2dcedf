"""The Brownian null of F = kT v/D: closed forms against the quoted numbers and against simulated droplets."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from dropsim.errors import AnalysisError
from dropsim.observables.diffusion import gls_diffusivity
from dropsim.observables.estimate import Estimate
from dropsim.observables.force import brownian_null, directed_force_verdict, drag_force, force_summary

DIFFUSIVITY, TEMPERATURE = 4.71, 300.0
KT = 4.141947  # pN nm


def free_track(rng, n_steps, dt, localisation=0.0, velocity=(0.0, 0.0)):
    step = np.array(velocity) * dt + np.sqrt(2.0 * DIFFUSIVITY * dt) * rng.normal(size=(n_steps, 2))
    position = np.concatenate([np.zeros((1, 2)), np.cumsum(step, axis=0)])
    return position + localisation * rng.normal(size=position.shape)


@pytest.mark.parametrize(("dt", "speed", "force"), [(1.0, 3.85, 3.4), (0.4, 6.1, 5.3), (0.1, 12.2, 10.7)])
def test_null_has_the_quoted_numbers(dt, speed, force):
    null = brownian_null(DIFFUSIVITY, dt, TEMPERATURE)
    assert null.mean_speed.value == pytest.approx(np.sqrt(np.pi * DIFFUSIVITY / dt), rel=1e-12)
    assert null.mean_force.value == pytest.approx(KT * np.sqrt(np.pi / (DIFFUSIVITY * dt)), rel=1e-6)
    assert null.rms_force.value == pytest.approx(2.0 * KT / np.sqrt(DIFFUSIVITY * dt), rel=1e-6)
    assert null.mean_speed.value == pytest.approx(speed, abs=0.06)
    assert null.mean_force.value == pytest.approx(force, abs=0.06)
    assert null.mean_force.standard_error == 0.0


@pytest.mark.parametrize(("dimensions", "window", "localisation"), [(1, 1, 0.0), (2, 3, 1.0), (3, 1, 0.5)])
def test_null_is_what_free_droplets_show(dimensions, window, localisation):
    rng = np.random.default_rng(11 + dimensions)
    n, dt = 40000, 0.5
    step = np.sqrt(2.0 * DIFFUSIVITY * dt * window) * rng.normal(size=(n, dimensions))
    ends = localisation * rng.normal(size=(2, n, dimensions))
    size = np.linalg.norm(step + ends[1] - ends[0], axis=1) / (window * dt) * KT / DIFFUSIVITY
    null = brownian_null(
        DIFFUSIVITY, dt, TEMPERATURE, window=window, dimensions=dimensions, localisation_variance=localisation**2
    )
    assert abs(size.mean() - null.mean_force.value) < 3.0 * size.std() / np.sqrt(n)
    square = size**2
    assert abs(square.mean() - null.rms_force.value**2) < 3.0 * square.std() / np.sqrt(n)
    for probability, value in null.quantiles:
        assert abs((size < value).mean() - probability) < 3.0 * np.sqrt(probability * (1 - probability) / n)


def test_drag_force_is_the_einstein_relation():
    track = np.stack([2.0 * np.arange(10.0), -1.0 * np.arange(10.0)], axis=1) + 5.0
    for window in (1, 3):
        time, force = drag_force(track, 0.5, DIFFUSIVITY, TEMPERATURE, window)
        assert force.shape == (10 - window, 2)
        np.testing.assert_allclose(force, KT / DIFFUSIVITY * np.array([[4.0, -2.0]]).repeat(10 - window, 0), rtol=1e-6)
        np.testing.assert_allclose(time, (np.arange(10 - window) + 0.5 * window) * 0.5)
    # 1 nm/s is 0.88 pN at this diffusivity.
    assert pytest.approx(0.879, abs=1e-3) == KT / DIFFUSIVITY


def test_summary_of_free_droplets_agrees_with_its_null_and_finds_no_directed_force():
    rng = np.random.default_rng(12)
    dt, n_steps, n_draws = 0.4, 63, 200
    means, hits, directed = [], 0, []
    for _ in range(n_draws):
        summary = force_summary(free_track(rng, n_steps, dt), dt, DIFFUSIVITY, TEMPERATURE)
        means.append(summary.mean_magnitude.value)
        low, high = summary.directed[0].interval_95
        hits += low <= 0.0 <= high
        directed.append([f.value for f in summary.directed])
    standard = np.std(means, ddof=1) / np.sqrt(n_draws)
    assert abs(np.mean(means) - summary.null.mean_force.value) < 3.0 * standard
    low, high = stats.binom.ppf([0.005, 0.995], n_draws, 0.95)
    assert low <= hits <= high
    expected = KT * np.sqrt(2.0 / (DIFFUSIVITY * n_steps * dt))
    assert summary.directed[0].standard_error == pytest.approx(expected, rel=1e-6)
    assert abs(np.std(directed) / expected - 1.0) < 3.0 / np.sqrt(2.0 * 2 * n_draws)


@pytest.mark.parametrize(("duration", "per_axis"), [(10.0, 0.85), (1.0, 2.7)])
def test_error_of_the_directed_force_has_the_quoted_numbers(duration, per_axis):
    track = free_track(np.random.default_rng(1), 20, duration / 20)
    summary = force_summary(track, duration / 20, DIFFUSIVITY, TEMPERATURE)
    assert summary.directed[0].standard_error == pytest.approx(per_axis, abs=0.05)


def test_uncertain_diffusivity_widens_the_force():
    track = free_track(np.random.default_rng(2), 60, 0.4)
    known = force_summary(track, 0.4, DIFFUSIVITY, TEMPERATURE)
    loose = force_summary(track, 0.4, Estimate(DIFFUSIVITY, 1.5, "nm^2/s", 12.0, "test"), TEMPERATURE)
    added = loose.mean_magnitude.standard_error**2 - known.mean_magnitude.standard_error**2
    assert np.sqrt(added) == pytest.approx(1.5 / DIFFUSIVITY * known.mean_magnitude.value)
    assert np.diff(loose.directed[0].interval_95) > np.diff(known.directed[0].interval_95)


@pytest.mark.parametrize(("n_steps", "dt"), [(25, 1.0), (100, 0.25)])
def test_verdict_raises_false_alarms_at_its_level_and_sees_a_real_force(n_steps, dt):
    rng = np.random.default_rng(13 + n_steps)
    n_draws = 200
    alarms = found = 0
    for _ in range(n_draws):
        alarms += directed_force_verdict(free_track(rng, n_steps, dt, 1.0), dt, TEMPERATURE).detected
        # 3 nm/s along x: 2.6 pN, where the error is 0.54 pN.
        pulled = free_track(rng, n_steps, dt, 1.0, (3.0, 0.0))
        found += directed_force_verdict(pulled, dt, TEMPERATURE).detected
    low, high = stats.binom.ppf([0.005, 0.995], n_draws, 0.05)
    assert low <= alarms <= high
    assert found > 0.9 * n_draws


def test_verdict_prints_the_null_beside_the_force():
    track = free_track(np.random.default_rng(14), 50, 0.5, 1.0)
    verdict = directed_force_verdict(track, 0.5, TEMPERATURE)
    fit = gls_diffusivity(track, 0.5, remove_drift=True)
    null = brownian_null(
        fit.D.value, 0.5, TEMPERATURE, localisation_variance=fit.localisation_variance.value
    ).mean_force.value
    assert f"{null:.1f} pN on average" in verdict.text
    assert verdict.detected == (verdict.p_value < verdict.level)


def test_unusable_input_is_refused():
    track = free_track(np.random.default_rng(15), 20, 1.0)
    with pytest.raises(AnalysisError, match="diffusivity"):
        drag_force(track, 1.0, 0.0, TEMPERATURE)
    with pytest.raises(AnalysisError, match="too few"):
        drag_force(track, 1.0, DIFFUSIVITY, TEMPERATURE, window=20)
    with pytest.raises(AnalysisError, match="temperature"):
        brownian_null(DIFFUSIVITY, 1.0, -1.0)
    with pytest.raises(AnalysisError, match="probabilities"):
        brownian_null(DIFFUSIVITY, 1.0, 300.0, probabilities=(0.0,))
    with pytest.raises(AnalysisError, match="level"):
        directed_force_verdict(track, 1.0, TEMPERATURE, level=0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        brownian_null(DIFFUSIVITY, 1.0, 300.0).quantiles = ()

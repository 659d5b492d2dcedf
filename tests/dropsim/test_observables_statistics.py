"""Means of correlated series: known correlation times, errors that cover, replicas that combine."""

import numpy as np
import pytest
from scipy import signal, stats

from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import (
    autocorrelation,
    block_means,
    combine_replicas,
    integrated_autocorrelation_time,
    mean_estimate,
)


def ar1(rng, n_series, n_frames, coefficient):
    noise = rng.normal(size=(n_series, n_frames + 500)) * np.sqrt(1.0 - coefficient**2)
    return signal.lfilter([1.0], [1.0, -coefficient], noise, axis=1)[:, 500:]


def test_autocorrelation_against_its_definition():
    x = np.random.default_rng(1).normal(size=37)
    y = x - x.mean()
    naive = [y[: 37 - k] @ y[k:] / (y @ y) for k in range(37)]
    np.testing.assert_allclose(autocorrelation(x), naive, atol=1e-12)
    np.testing.assert_allclose(autocorrelation(x, 5), naive[:6], atol=1e-12)


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_correlation_time_of_an_ar1_series(coefficient):
    rng = np.random.default_rng(2)
    tau = [integrated_autocorrelation_time(x) for x in ar1(rng, 40, 8000, coefficient)]
    expected = (1.0 + coefficient) / (1.0 - coefficient)
    # A window of 5 correlation times cuts 1 % of the sum off.
    assert abs(np.mean(tau) - expected) < 3.0 * np.std(tau, ddof=1) / np.sqrt(40) + 0.01 * expected


@pytest.mark.parametrize("method", ["autocorrelation", "blocks"])
@pytest.mark.parametrize("coefficient", [0.0, 0.8])
def test_the_interval_of_a_mean_covers(method, coefficient):
    rng = np.random.default_rng(3)
    n_draws = 300
    estimates = [mean_estimate(x, "nm", method) for x in ar1(rng, n_draws, 900, coefficient)]
    hits = sum(e.interval_95[0] <= 0.0 <= e.interval_95[1] for e in estimates)
    low, high = stats.binom.ppf([0.005, 0.995], n_draws, 0.95)
    assert low <= hits <= high
    actual = np.std([e.value for e in estimates], ddof=1)
    stated = np.sqrt(np.mean([e.standard_error**2 for e in estimates]))
    assert abs(stated / actual - 1.0) < 3.0 / np.sqrt(2.0 * n_draws)
    assert estimates[0].unit == "nm"


def test_ignoring_the_correlation_would_not_cover():
    rng = np.random.default_rng(4)
    x = ar1(rng, 200, 900, 0.8)
    naive = 1.96 * x.std(axis=1) / 30.0
    assert (np.abs(x.mean(axis=1)) < naive).mean() < 0.6


def test_discarding_takes_the_start_and_only_when_asked():
    x = np.concatenate([np.full(20, 100.0), np.random.default_rng(5).normal(size=80)])
    assert mean_estimate(x, "1").value == pytest.approx(x.mean())
    kept = mean_estimate(x, "1", discard_fraction=0.2)
    assert kept.value == pytest.approx(x[20:].mean())
    assert "20%" in kept.method


def test_a_constant_series_has_no_error():
    estimate = mean_estimate(np.full(50, 2.5), "nm")
    assert (estimate.value, estimate.standard_error, estimate.n_effective) == (2.5, 0.0, 1.0)


def test_block_means_leave_out_the_first_frames():
    np.testing.assert_allclose(block_means(np.arange(11.0), 5), [1.5, 3.5, 5.5, 7.5, 9.5])


def test_few_correlation_times_are_said():
    slow = np.linspace(0.0, 1.0, 60) ** 2
    assert "lower bound" in mean_estimate(slow, "1").method


@pytest.mark.parametrize("n_replicas", [3, 5])
def test_replicas_take_their_error_from_their_spread(n_replicas):
    rng = np.random.default_rng(6)
    hits, n_draws = 0, 400
    for _ in range(n_draws):
        values = rng.normal(size=n_replicas)
        combined = combine_replicas([Estimate(float(v), 0.01, "1", 9.0, "test") for v in values])
        hits += combined.interval_95[0] <= 0.0 <= combined.interval_95[1]
    low, high = stats.binom.ppf([0.005, 0.995], n_draws, 0.95)
    assert low <= hits <= high
    assert combined.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(n_replicas))
    assert combined.n_effective == n_replicas


def test_two_replicas_that_disagree_show_it():
    pair = [Estimate(1.0, 0.01, "nm", 20.0, "m"), Estimate(2.0, 0.01, "nm", 10.0, "m")]
    combined = combine_replicas(pair)
    assert combined.standard_error == pytest.approx(0.5)
    half = stats.t.ppf(0.975, 1) * 0.5
    assert combined.interval_95 == pytest.approx((1.5 - half, 1.5 + half))


def test_two_replicas_that_agree_use_their_own_errors():
    pair = [Estimate(1.4, 0.3, "nm", 20.0, "m"), Estimate(1.6, 0.4, "nm", 10.0, "m")]
    combined = combine_replicas(pair)
    assert combined.value == 1.5
    assert combined.standard_error == pytest.approx(0.25)
    dof = 0.25**2 / (0.09**2 / 19 + 0.16**2 / 9)
    half = stats.t.ppf(0.975, dof) * 0.25
    assert combined.interval_95 == pytest.approx((1.5 - half, 1.5 + half))
    assert combine_replicas(pair[:1]).standard_error == 0.3
    unknown = combine_replicas([pair[0], Estimate(2.0, np.nan, "nm", 1.0, "m")])
    assert unknown.standard_error == pytest.approx(0.3)  # the spread of the two is all there is
    alone = combine_replicas([Estimate(2.0, np.nan, "nm", 1.0, "m")])
    assert np.isnan(alone.standard_error)
    assert "no error" in alone.method


def test_unusable_input_is_refused_with_a_remedy():
    with pytest.raises(AnalysisError, match="too few"):
        mean_estimate(np.arange(4.0), "1")
    with pytest.raises(AnalysisError, match="NaN"):
        mean_estimate(np.full(20, np.nan), "1")
    with pytest.raises(AnalysisError, match="shape"):
        mean_estimate(np.zeros((20, 2)), "1")
    with pytest.raises(AnalysisError, match="discard_fraction"):
        mean_estimate(np.arange(20.0), "1", discard_fraction=1.0)
    with pytest.raises(AnalysisError, match="n_blocks"):
        mean_estimate(np.arange(20.0), "1", "blocks", n_blocks=30)
    with pytest.raises(AnalysisError, match="constant"):
        autocorrelation(np.ones(20))
    with pytest.raises(AnalysisError, match="no replicas"):
        combine_replicas([])
    one, other = Estimate(1.0, 0.1, "nm", 5.0, "m"), Estimate(1.0, 0.1, "pN", 5.0, "m")
    with pytest.raises(AnalysisError, match="different units"):
        combine_replicas([one, other])
    with pytest.raises(AnalysisError, match="finite"):
        combine_replicas([one, Estimate(np.inf, 0.1, "nm", 5.0, "m")])

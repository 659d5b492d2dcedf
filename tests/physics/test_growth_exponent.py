"""The growth exponent: its intervals cover at their stated rate, and its reading is no stronger than they are."""

import numpy as np
import pytest
from scipy import stats

from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate
from dropsim.observables.growth import (
    GROWTH_MECHANISMS,
    allowed_mechanisms,
    exponent_from_rate,
    fit_power_law,
    growth_verdict,
)

N_DRAWS = 200
FINAL_AREA = 700.0  # nm^2, a droplet 30 nm across


def ar1(rng, n_frames, coefficient):
    innovation = rng.normal(size=n_frames) * np.sqrt(1.0 - coefficient**2)
    innovation[0] = rng.normal()
    return np.array([innovation[: i + 1] @ coefficient ** np.arange(i, -1, -1) for i in range(n_frames)])


def synthetic_growth(rng, exponent, coefficient=0.5, n_frames=60):
    """60 frames in 24 s; the onset is anywhere in a window of 2 s; 5 % AR(1) noise and a floor of 1 %."""
    time = 30.0 + np.linspace(0.0, 24.0, n_frames)
    onset = 32.0 + 2.0 * rng.random()
    area = np.maximum(time - onset, 0.0) ** exponent
    area *= FINAL_AREA / area[-1]
    deviation = np.hypot(0.05 * area, 0.01 * FINAL_AREA)
    return time, area + deviation * ar1(rng, n_frames, coefficient), (32.0, 34.0), onset, area


def assert_covers(hits, n, level):
    """The number of hits is one that a true coverage of `level` gives in 99 % of such tests."""
    low, high = stats.binom.ppf([0.005, 0.995], n, level)
    assert low <= hits <= high, f"{hits}/{n} at a stated {level}: expected {low:.0f} to {high:.0f}"


@pytest.mark.parametrize("exponent", [2 / 3, 1.0, 2.0])
def test_intervals_of_the_fit_cover_at_the_stated_rate(exponent):
    rng = np.random.default_rng(20230921 + int(10 * exponent))
    hits = {"68": 0, "95": 0, "onset": 0, "baseline": 0}
    values, errors, inside = [], [], 0
    for _ in range(N_DRAWS):
        time, area, window, onset, truth = synthetic_growth(rng, exponent)
        fit = fit_power_law(time, area, onset_window=window)
        low, high = fit.exponent.interval_95
        hits["68"] += fit.interval_68[0] <= exponent <= fit.interval_68[1]
        hits["95"] += low <= exponent <= high
        hits["onset"] += fit.onset.interval_95[0] <= onset <= fit.onset.interval_95[1]
        hits["baseline"] += fit.baseline.interval_95[0] <= 0.0 <= fit.baseline.interval_95[1]
        inside += fit.band_low[-1] <= truth[-1] <= fit.band_high[-1]
        values.append(fit.exponent.value)
        errors.append(fit.exponent.standard_error)
    assert_covers(hits["68"], N_DRAWS, 0.6827)
    for name in ("95", "onset", "baseline"):
        assert_covers(hits[name], N_DRAWS, 0.95)
    # The band is linearised at the best noise parameters: it is held to 90 %, not to 95 %.
    assert inside >= stats.binom.ppf(0.005, N_DRAWS, 0.90)
    bias = np.mean(values) - exponent
    assert abs(bias) < 3.0 * np.std(values, ddof=1) / np.sqrt(N_DRAWS) + 0.01 * exponent
    assert 0.8 < np.mean(errors) / np.std(values, ddof=1) < 1.3


def test_a_wrong_onset_moves_the_exponent_and_the_window_repairs_it():
    time = np.linspace(0.0, 24.0, 61)
    area = 5.0 * np.maximum(time - 4.0, 0.0) + 1e-3 * np.sin(7.0 * time)
    after = time > 4.5
    wrong = np.polyfit(np.log(time[after] - 2.0), np.log(area[after]), 1)[0]
    assert wrong > 1.2
    fit = fit_power_law(time, area, onset_window=(3.0, 5.0))
    assert fit.exponent.value == pytest.approx(1.0, abs=5e-3)
    assert fit.onset.value == pytest.approx(4.0, abs=0.02)
    assert fit.prefactor.value == pytest.approx(5.0, rel=0.02)
    assert fit.prefactor.unit == "nm^2/s^n"


def test_noise_is_measured():
    rng = np.random.default_rng(5)
    fits = [fit_power_law(*synthetic_growth(rng, 1.0, 0.6)[:2], onset_window=(32.0, 34.0)) for _ in range(40)]
    for name, truth in (("autocorrelation", 0.6), ("relative_noise", 0.05), ("noise_floor", 7.0)):
        values = np.array([getattr(f, name).value for f in fits])
        # Both are of maximum likelihood kind: a bias of up to one tenth is theirs.
        assert abs(values.mean() - truth) < 3.0 * values.std(ddof=1) / np.sqrt(len(fits)) + 0.1 * truth


def test_given_errors_and_a_known_baseline_are_used():
    rng = np.random.default_rng(6)
    time = np.linspace(1.0, 20.0, 50)
    area = 3.0 * time**1.5
    noisy = area * (1.0 + 0.03 * rng.normal(size=50))
    free = fit_power_law(time, noisy, onset_window=(-1.0, 1.0))
    known = fit_power_law(time, noisy, onset_window=(-1.0, 1.0), area_error=area, baseline=0.0)
    assert known.exponent.standard_error < free.exponent.standard_error
    assert known.exponent.interval_95[0] < 1.5 < known.exponent.interval_95[1]
    assert known.baseline.standard_error == 0.0
    assert np.isnan(known.noise_floor.value)


@pytest.mark.parametrize("exponent", [2 / 3, 1.0, 2.0])
def test_rate_against_area_needs_no_onset(exponent):
    """s = (n - 1)/n is unbiased within 0.05; the intervals are conservative, never too narrow."""
    rng = np.random.default_rng(7 + int(10 * exponent))
    slope, hits = [], 0
    for _ in range(120):
        time, area, *_ = synthetic_growth(rng, exponent)
        estimate = exponent_from_rate(time, area, n_resamples=150)
        hits += estimate.interval_95[0] <= exponent <= estimate.interval_95[1]
        slope.append(1.0 - 1.0 / estimate.value)
    error = np.std(slope, ddof=1)
    assert abs(np.mean(slope) - (1.0 - 1.0 / exponent)) < 0.05 + 3.0 * error / np.sqrt(120)
    assert error < 0.32
    assert hits >= stats.binom.ppf(0.005, 120, 0.95)


def test_verdict_follows_the_interval_and_not_the_value():
    def exponent(value, low, high):
        return Estimate(value, 0.1, "1", 20.0, "test", (low, high))

    assert growth_verdict(exponent(0.66, 0.6, 0.72)).startswith("diffusion")
    assert growth_verdict(exponent(1.9, 1.7, 2.1)).startswith("limited by the interface")
    assert growth_verdict(exponent(1.0, 0.95, 1.1)).startswith("ambiguous: n = 1")
    assert growth_verdict(exponent(1.9, 1.1, 2.7)).startswith("ambiguous")
    assert growth_verdict(exponent(0.7, 0.5, 1.0)).startswith("ambiguous")
    assert growth_verdict(exponent(1.4, 1.3, 1.5)).startswith("ambiguous: the interval allows mixed")
    with pytest.raises(AnalysisError, match="no interval"):
        growth_verdict(Estimate(1.0, np.nan, "1", 1.0, "none"))


def test_one_is_no_proof_of_reaction_control():
    names = {m.name for m in allowed_mechanisms(Estimate(1.0, 0.02, "1", 30.0, "test"))}
    assert {"isolated, diffusion-limited", "ripening, interface-limited"} <= names
    assert "isolated, interface-limited" not in names
    assert all(m.exponent_low <= m.exponent_high and m.condition and m.source for m in GROWTH_MECHANISMS)


TIME = np.linspace(0.0, 10.0, 30)


@pytest.mark.parametrize("estimator", [fit_power_law, exponent_from_rate])
@pytest.mark.parametrize(
    ("time", "area", "text"),
    [
        (TIME[:5], TIME[:5], "too few"),
        (TIME, np.full(30, 3.0), "constant"),
        (TIME, np.where(TIME > 5, np.nan, TIME), "NaN"),
        (TIME[::-1], TIME, "sort"),
        (TIME, 10.0 - TIME, "does not grow|too few|only"),
        (TIME, TIME[:-1], "alike"),
    ],
)
def test_unusable_series_are_refused_with_a_remedy(estimator, time, area, text):
    with pytest.raises(AnalysisError, match=text):
        estimator(time, area)


def test_unusable_options_are_refused():
    with pytest.raises(AnalysisError, match="onset_window"):
        fit_power_law(TIME, TIME, onset_window=(2.0, 1.0))
    with pytest.raises(AnalysisError, match="area_error"):
        fit_power_law(TIME, TIME, area_error=np.zeros(30))
    with pytest.raises(AnalysisError, match="positive areas"):
        exponent_from_rate(TIME, TIME - 5.0, minimum_fraction=0.0, baseline=6.0)
    with pytest.raises(AnalysisError, match="minimum_fraction"):
        exponent_from_rate(TIME, TIME, minimum_fraction=0.95)

"""Means of correlated series and of independent replicas, with errors that say how much data there was."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate

Array = NDArray[np.floating]


def checked_samples(series: Array, minimum: int) -> Array:
    """Return one series (T,) as float64; raises AnalysisError for another shape, NaN or too few frames."""
    x = np.asarray(series, dtype=np.float64)
    if x.ndim != 1:
        raise AnalysisError(f"one series (T,) is needed, got the shape {x.shape}: average or select first")
    if len(x) < minimum:
        raise AnalysisError(f"{len(x)} frames are too few, {minimum} are needed: run longer or record more often")
    if not np.isfinite(x).all():
        raise AnalysisError("the series holds NaN or infinity: drop those frames first")
    return x


def autocorrelation(series: Array, max_lag: int | None = None) -> Array:
    """Normalised autocorrelation of one series at the lags 0..max_lag.

    rho_k = sum_i (x_i - m)(x_{i+k} - m) / sum_i (x_i - m)^2   (the biased, positive definite estimator)

    x -> series (T,); k -> index of the result (max_lag + 1,), pure numbers, rho_0 = 1; max_lag: T - 1 if
    absent. Raises AnalysisError for a constant series or fewer than 4 frames. Cost T log T.
    """
    x = checked_samples(series, 4)
    x = x - x.mean()
    if np.abs(x).max() == 0.0:
        raise AnalysisError("the series is constant: it has no correlation time")
    size = 1 << (2 * len(x) - 1).bit_length()
    power = np.abs(np.fft.rfft(x, size)) ** 2
    correlation = np.fft.irfft(power, size)[: len(x)]
    lags = len(x) if max_lag is None else min(max_lag + 1, len(x))
    return correlation[:lags] / correlation[0]


def integrated_autocorrelation_time(series: Array, window_factor: float = 5.0) -> float:
    """Integrated autocorrelation time of one series, in frames.

    tau = 1 + 2 sum_{k=1}^{W} rho_k,  W the least lag with W >= window_factor tau(W)

    tau = 1 for white noise; the mean of T frames is worth T/tau independent ones. An AR(1) series with
    coefficient c has tau = (1 + c)/(1 - c). Raises as `autocorrelation`. Validity: biased low when T is
    less than about 50 tau. Source: Sokal, doi 10.1007/978-1-4899-0319-8_6, section 3 (with 2 tau_int = tau).
    """
    rho = autocorrelation(series)
    tau = 2.0 * np.cumsum(rho) - 1.0
    # The rule is stated for tau_int = tau / 2.
    wide_enough = np.arange(len(rho)) >= 0.5 * window_factor * tau
    window = int(np.argmax(wide_enough)) if wide_enough.any() else len(rho) - 1
    return float(max(tau[window], 1.0 / len(rho)))


def block_means(series: Array, n_blocks: int) -> Array:
    """Means (n_blocks,) of consecutive blocks of equal length; the first T mod n_blocks frames are left out.

    Raises AnalysisError when there are fewer frames than blocks or fewer than 2 blocks.
    """
    x = checked_samples(series, 2)
    if not 2 <= n_blocks <= len(x):
        raise AnalysisError(f"n_blocks = {n_blocks} must lie between 2 and the {len(x)} frames")
    size = len(x) // n_blocks
    return x[len(x) - size * n_blocks :].reshape(n_blocks, size).mean(axis=1)


def mean_estimate(
    series: Array,
    unit: str,
    method: Literal["autocorrelation", "blocks"] = "autocorrelation",
    *,
    discard_fraction: float = 0.0,
    n_blocks: int = 10,
) -> Estimate:
    """Mean of one stationary, correlated series.

    autocorrelation: se^2 = [s^2 / (1 - tau/T)] tau / T, T/tau effective frames;
    blocks: se^2 = var(block means) / n_blocks, Student's t with n_blocks - 1 degrees of freedom.

    x -> series (T,); s^2 its variance about its mean (divided by T); tau: `integrated_autocorrelation_time`.
    unit: as printed. discard_fraction: of the start, in [0, 1); nothing else is discarded. Returns an
    Estimate; a constant series has standard error 0 and one effective frame. Raises AnalysisError for fewer
    than 8 frames left or NaN. Validity: stationary series, of many tau (autocorrelation) or blocks of
    several tau (blocks). Source: Flyvbjerg & Petersen, doi 10.1063/1.457480.
    """
    if not 0.0 <= discard_fraction < 1.0:
        raise AnalysisError(f"discard_fraction = {discard_fraction} must lie in [0, 1)")
    x = np.asarray(series, dtype=np.float64)
    if x.ndim == 1:
        x = x[math.ceil(discard_fraction * len(x)) :]
    x = checked_samples(x, 8)
    mean = float(x.mean())
    kept = f", first {discard_fraction:.0%} discarded" if discard_fraction else ""
    if np.ptp(x) <= 1e-14 * np.abs(x).max():
        return Estimate(mean, 0.0, unit, 1.0, "mean of a constant series" + kept, (mean, mean))
    if method == "blocks":
        blocks = block_means(x, n_blocks)
        se = float(blocks.std(ddof=1)) / math.sqrt(n_blocks)
        half = float(stats.t.ppf(0.975, n_blocks - 1)) * se
        n_effective = min(float(x.var(ddof=1)) / se**2, float(len(x)))
        text = f"mean, {n_blocks} blocks of {len(x) // n_blocks} frames{kept}"
        middle = float(blocks.mean())
        return Estimate(middle, se, unit, n_effective, text, (middle - half, middle + half))
    if method != "autocorrelation":
        raise AnalysisError(f"method {method!r} is not known: use 'autocorrelation' or 'blocks'")
    tau = integrated_autocorrelation_time(x)
    n_effective = min(len(x) / tau, float(len(x)))
    text = f"mean, integrated autocorrelation time {tau:.3g} frames{kept}"
    if n_effective < 10.0:
        text += "; fewer than 10 correlation times, the error is a lower bound"
    # The sample variance about the sample mean is low by 1 - tau/T on average.
    unbiased = float(x.var()) / max(1.0 - 1.0 / n_effective, 0.1)
    se = math.sqrt(unbiased / n_effective)
    half = float(stats.t.ppf(0.975, max(n_effective - 1.0, 1.0))) * se
    return Estimate(mean, se, unit, n_effective, text, (mean - half, mean + half))


def combine_replicas(estimates: list[Estimate]) -> Estimate:
    """Mean over independent replicas of one number.

    value = mean_i x_i;  se = max[sd_i(x_i) / sqrt(R), sqrt(sum_i se_i^2) / R]

    x_i, se_i -> value and standard_error of estimates; R -> their number. The interval is Student's t:
    R - 1 degrees of freedom where the spread gives the error, else those of the replicas' effective samples
    (Welch). Replicas that differ by more than their own errors say that a run is shorter than its memory; those
    that agree better than their errors allow (estimates held at a bound, say) do not thereby become exact.
    Returns an Estimate with R (or the summed effective samples for R < 3). Raises AnalysisError for an empty
    list, differing units, values that are not finite. Validity: independent seeds of one condition.
    """
    if not estimates:
        raise AnalysisError("there are no replicas to combine: run at least one, five for a usable error")
    units = {e.unit for e in estimates}
    if len(units) > 1:
        raise AnalysisError(f"the replicas have different units {sorted(units)}: convert them first")
    values = np.array([e.value for e in estimates])
    if not np.isfinite(values).all():
        raise AnalysisError("a replica has no finite value: leave it out and say so")
    n, unit, mean = len(values), estimates[0].unit, float(values.mean())
    inner = estimates[0].method
    errors = np.array([e.standard_error for e in estimates])
    own = float(np.sqrt((errors**2).sum())) / n
    between = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if n > 1 and not between <= own:  # nor where a replica has no error of its own
        se = between
        half = float(stats.t.ppf(0.975, n - 1)) * se
        text = f"mean of {n} replicas, error from their spread; each: {inner}"
        return Estimate(mean, se, unit, float(n), text, (mean - half, mean + half))
    n_effective = float(sum(e.n_effective for e in estimates))
    text = f"mean of {n} replica{'s' if n > 1 else ''}, error from the individual ones; each: {inner}"
    if not np.isfinite(errors).all():
        return Estimate(mean, math.nan, unit, n_effective, text + "; a replica has no error", (math.nan, math.nan))
    se = own
    if n == 1:
        return Estimate(mean, se, unit, n_effective, text, estimates[0].interval)
    spread = np.array([max(e.n_effective - 1.0, 1.0) for e in estimates])
    fourth = float((errors**4 / spread).sum())
    dof = float((errors**2).sum()) ** 2 / fourth if fourth > 0 else 1.0
    half = float(stats.t.ppf(0.975, dof)) * se
    return Estimate(mean, se, unit, n_effective, text, (mean - half, mean + half))


def proportion_estimate(hits: int, trials: int, method: str) -> Estimate:
    """A share of independent trials with Wilson's interval.

    p = k / n;  (p + z^2/2n -/+ z sqrt[p (1 - p)/n + z^2/4n^2]) / (1 + z^2/n)

    k -> hits; n -> trials, at least 1; method: as printed. Standard error: half of the interval of z = 1, which stays
    above zero where none or all hit; interval: z = 1.96. Raises AnalysisError without trials. Source: Wilson,
    doi 10.1080/01621459.1927.10502953.
    """
    if not 0 <= hits <= trials or trials < 1:
        raise AnalysisError(f"{hits} of {trials} is no share: at least one trial is needed")
    p = hits / trials

    def wilson(z: float) -> tuple[float, float]:
        centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
        half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
        return max(0.0, centre - half), min(1.0, centre + half)

    low, high = wilson(1.0)
    return Estimate(p, (high - low) / 2, "1", float(trials), method, wilson(1.959964))

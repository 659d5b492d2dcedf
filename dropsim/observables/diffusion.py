"""Diffusivity of a noisy track: the estimators that use its covariance, and the straight line that does not.

A straight line through all lags of the mean squared displacement has about 100 % uncertainty, because
the lags share the same steps; it is kept as a comparison. The steps' own covariance is tridiagonal and
a sine transform diagonalises it, so maximum likelihood costs no more than the fit.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special, stats

from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate

Array = NDArray[np.floating]
_LONGEST_EXACT = 2000


@dataclasses.dataclass(frozen=True)
class DiffusionEstimate:
    """D: diffusivity per axis; localisation_variance: of one coordinate of one frame; drift: per axis.

    drift is empty where none was removed. Units: those of the call.
    """

    D: Estimate
    localisation_variance: Estimate
    drift: tuple[Estimate, ...] = ()


@dataclasses.dataclass(frozen=True)
class MsdCurve:
    """time, msd, standard_error: (L,) from lag 0 on; diffusivity: half the slope; n_units: independent ones."""

    time: Array
    msd: Array
    standard_error: Array
    diffusivity: Estimate
    n_units: int


def checked_track(track: Array, dt: float, minimum: int) -> Array:
    """Return a track as (T, d) float64; a (T,) track becomes (T, 1).

    Raises AnalysisError for other shapes, NaN, fewer than `minimum` frames, dt <= 0, a track at rest.
    """
    x = np.asarray(track, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise AnalysisError(f"a track must be (T, d), got {x.shape}: give one droplet at a time")
    if len(x) < minimum:
        raise AnalysisError(f"{len(x)} frames are too few, {minimum} are needed: record more often or longer")
    if not np.isfinite(x).all():
        raise AnalysisError("the track holds NaN or infinity: cut it where the droplet was lost")
    if not (math.isfinite(dt) and dt > 0):
        raise AnalysisError(f"dt = {dt} must be positive: frames at equal spacing are needed")
    if not (np.ptp(x, axis=0) > 0).all():
        raise AnalysisError("a coordinate of the track never changes: leave that axis out")
    return x


def mean_squared_displacement(track: Array, max_lag: int | None = None) -> Array:
    """Time-averaged mean squared displacement of one unwrapped track.

    MSD_k = <|x_{i+k} - x_i|^2>_i

    x -> track (T, d), unwrapped; k -> index of the result (max_lag + 1,), MSD_0 = 0, unit of the track
    squared. max_lag: T - 1 if absent. Raises AnalysisError as `checked_track`. Validity: overlapping
    windows, so that neighbouring lags are strongly correlated; cost T max_lag.
    """
    x = checked_track(track, 1.0, 3)
    max_lag = len(x) - 1 if max_lag is None else max_lag
    if not 1 <= max_lag < len(x):
        raise AnalysisError(f"max_lag = {max_lag} must lie between 1 and {len(x) - 1}")
    msd = np.zeros(max_lag + 1)
    for lag in range(1, max_lag + 1):
        msd[lag] = ((x[lag:] - x[:-lag]) ** 2).sum(1).mean()
    return msd


def _check_blur(motion_blur: float) -> None:
    if not 0.0 <= motion_blur <= 0.25:
        raise AnalysisError(f"motion_blur = {motion_blur} must lie in [0, 1/4]: 1/6 is a full exposure")


def covariance_estimator(
    track: Array, dt: float, *, motion_blur: float = 0.0, remove_drift: bool = False, unit: str = "nm^2/s"
) -> DiffusionEstimate:
    """Estimate diffusivity and localisation variance from the covariance of neighbouring steps.

    D = <d_n^2>/(2 dt) + <d_n d_{n+1}>/dt,  sigma^2 = R <d_n^2> + (2R - 1) <d_n d_{n+1}>
    var(D) = D^2 [(6 + 4e + 2e^2)/N + 4 (1 + e)^2/N^2] / d,  e = sigma^2/(D dt) - 2R

    d_n -> steps of track (T, d), N = T - 1; R -> motion_blur (0: instantaneous frames, 1/6: full exposure).
    remove_drift: subtract the mean step, whose effect on both averages is taken out exactly. unit: of D.
    Returns a DiffusionEstimate (sigma^2 may come out negative: it is unbiased). Raises AnalysisError for
    fewer than 6 frames or as `checked_track`. Validity: equal spacing, unwrapped, free diffusion with white
    localisation error. Source: Vestergaard, Blainey & Flyvbjerg, doi 10.1103/PhysRevE.89.022726.
    """
    x = checked_track(track, dt, 6)
    _check_blur(motion_blur)
    step = np.diff(x, axis=0)
    n, d = step.shape
    if remove_drift:
        step = step - step.mean(0)
    observed = np.array([(step**2).mean(), (step[1:] * step[:-1]).mean()])
    # Expectations of both averages for unit D and for unit (sigma^2 - 2 R D dt).
    expected = np.array([[2.0 * dt, 2.0], [0.0, -1.0]])
    if remove_drift:
        expected -= _drift_correction(n, dt)
    diffusivity, excess = (float(v) for v in np.linalg.solve(expected, observed))
    variance = excess + 2.0 * motion_blur * diffusivity * dt
    dof = n - int(remove_drift)
    # The error formula wants a physical pair; a non-positive D is replaced by its own scale.
    scale = max(diffusivity, 0.1 * float((step**2).mean()) / (2.0 * dt))
    e = max(variance, 0.0) / (scale * dt) - 2.0 * motion_blur
    relative = ((6 + 4 * e + 2 * e * e) / dof + 4 * (1 + e) ** 2 / dof**2) / d
    se = scale * math.sqrt(relative)
    n_effective = 2.0 * (scale / se) ** 2
    low, high = _lognormal_interval(diffusivity, se, n_effective)
    se_variance = _variance_error(scale, variance, n, d, dt, motion_blur)
    text = "covariance of neighbouring steps" + (", drift removed" if remove_drift else "")
    drift = _drift_from(x, dt, scale, variance, motion_blur, unit, n_effective) if remove_drift else ()
    return DiffusionEstimate(
        Estimate(diffusivity, se, unit, n_effective, text, (low, high)),
        Estimate(variance, se_variance, _length_squared(unit), n_effective, text),
        drift,
    )


def _drift_correction(n: int, dt: float) -> Array:
    """What subtracting the mean step takes from <d_n^2> and <d_n d_{n+1}>, per unit D and per unit excess.

    Steps' covariance S = 2 D dt I + excess (2 on, -1 beside the diagonal); the mean step has variance
    (2 D dt n + 2 excess)/n^2 and covariance 2 D dt/n with every step, excess/n more with the first and last.
    """
    mean_variance = np.array([2.0 * dt / n, 2.0 / n**2])
    # sum over the n - 1 pairs of cov(d_i + d_{i+1}, mean): every step twice, but the ends once.
    pair = np.array([2.0 * (n - 1) * 2.0 * dt / n, 2.0 / n]) / (n - 1)
    return np.stack([mean_variance, pair - mean_variance])


def _lognormal_interval(value: float, se: float, n_effective: float) -> tuple[float, float]:
    """95 % interval of a positive scale with chi-square-like spread; linear where it is not positive."""
    if value <= 0 or n_effective < 4:
        half = float(stats.t.ppf(0.975, max(n_effective, 2.0))) * se
        return max(value - half, 0.0), max(value + half, 0.0)
    low, high = stats.chi2.ppf([0.025, 0.975], n_effective)
    return float(value * n_effective / high), float(value * n_effective / low)


def _length_squared(unit: str) -> str:
    """The unit of a variance that goes with a unit of D: "nm^2" of "nm^2/s"."""
    return unit.partition("/")[0]


def _steps_spectrum(n: int) -> Array:
    """Eigenvalues (n,) of the tridiagonal matrix with 2 on and -1 beside the diagonal."""
    return 2.0 - 2.0 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))


def _sines(values: Array) -> Array:
    """Orthonormal sine transform along the first axis, which diagonalises the steps' covariance."""
    return np.asarray(fft.dst(values, type=1, norm="ortho", axis=0))


def _fisher(diffusivity: float, variance: float, n: int, d: int, dt: float, blur: float) -> Array:
    """Expected information (2, 2) on (D, sigma^2) in d tracks of n steps."""
    spectrum = _steps_spectrum(n)
    weight = 2.0 * diffusivity * dt + (variance - 2.0 * blur * diffusivity * dt) * spectrum
    gradient = np.stack([2.0 * dt * (1.0 - blur * spectrum), spectrum]) / weight
    return 0.5 * d * gradient @ gradient.T


def _variance_error(diffusivity: float, variance: float, n: int, d: int, dt: float, blur: float) -> float:
    """Standard error of the covariance-based sigma^2: sd of the quadratic form that it is."""
    spectrum = _steps_spectrum(n)
    weight = 2.0 * diffusivity * dt + (max(variance, 0.0) - 2.0 * blur * diffusivity * dt) * spectrum
    # <d_n d_{n+1}> is close to sum (1 - spectrum / 2) P / n in the sine basis, <d_n^2> to sum P / n.
    form = (blur + (2.0 * blur - 1.0) * (1.0 - 0.5 * spectrum)) / n
    return math.sqrt(2.0 * float(((form * weight) ** 2).sum()) / d)


def _drift_from(
    x: Array, dt: float, diffusivity: float, variance: float, blur: float, unit: str, dof: float
) -> tuple[Estimate, ...]:
    """Generalised least squares mean step per axis over dt, at D and sigma^2 known to `dof` samples."""
    n = len(x) - 1
    weight = 2.0 * diffusivity * dt
    weight = weight + (max(variance, 0.0) - 2.0 * blur * diffusivity * dt) * _steps_spectrum(n)
    one = _sines(np.ones(n))
    information = float((one**2 / weight).sum())
    velocity = (one / weight) @ _sines(np.diff(x, axis=0)) / information / dt
    se = 1.0 / math.sqrt(information) / dt
    half = float(stats.t.ppf(0.975, max(dof, 2.0))) * se
    length = _length_squared(unit).removesuffix("^2")
    time = unit.partition("/")[2] or "1"
    return tuple(
        Estimate(float(v), se, f"{length}/{time}", dof, "GLS mean step", (float(v) - half, float(v) + half))
        for v in velocity
    )


@dataclasses.dataclass(frozen=True)
class _StepsLikelihood:
    """Likelihood of the steps in the sine basis, drift profiled (restricted likelihood) where asked for.

    e = (sigma^2 - 2 R D dt)/(D dt) is the excess; at fixed e, D dt is a scale with a closed form.
    """

    power: Array  # (n, d) sine transform of the steps
    remove_drift: bool

    def terms(self, excess: Array) -> tuple[Array, Array]:
        """Quadratic form (E,) for D dt = 1, and log determinant (E,) of the covariance and of the drift."""
        n, d = self.power.shape
        weight = 2.0 + excess[:, None] * _steps_spectrum(n)
        quadratic = ((self.power**2).sum(1) / weight).sum(1)
        log_determinant = d * np.log(weight).sum(1)
        if self.remove_drift:
            one = _sines(np.ones(n))
            information = (one**2 / weight).sum(1)
            quadratic = quadratic - (((one / weight) @ self.power) ** 2).sum(1) / information
            log_determinant = log_determinant + d * np.log(information)
        return quadratic, log_determinant

    @property
    def count(self) -> int:
        n, d = self.power.shape
        return d * (n - int(self.remove_drift))

    def profiled(self, excess: Array) -> Array:
        """Log likelihood (E,) with D at its best for each excess."""
        quadratic, log_determinant = self.terms(excess)
        return -0.5 * (log_determinant + self.count * np.log(quadratic))


def gls_diffusivity(
    track: Array,
    dt: float,
    *,
    motion_blur: float = 0.0,
    remove_drift: bool = False,
    localisation_variance: float | None = None,
    unit: str = "nm^2/s",
) -> DiffusionEstimate:
    """Estimate diffusivity and localisation variance by maximum likelihood with the steps' full covariance.

    cov(d_i, d_i) = 2 D dt (1 - 2R) + 2 sigma^2,  cov(d_i, d_{i+1}) = 2 R D dt - sigma^2

    D -> D, sigma^2 -> localisation_variance of the result; R -> motion_blur (0: instantaneous frames,
    1/6: full exposure); steps d_i of track (T, d) at spacing dt. The covariance is diagonal in the sine
    basis, so the cost is T log T. localisation_variance: where it is known from a fixed object, which
    sharpens D much; else fitted, not below zero. remove_drift: a constant drift per axis is estimated too,
    with the restricted likelihood. Returns a DiffusionEstimate: standard errors from the expected
    information; the 95 % interval of D integrates the likelihood over sigma^2. Raises AnalysisError for
    fewer than 6 frames or as `checked_track`. Validity: as `covariance_estimator`.
    Source: Berglund, doi 10.1103/PhysRevE.82.011917; Vestergaard et al., doi 10.1103/PhysRevE.89.022726.
    """
    x = checked_track(track, dt, 6)
    _check_blur(motion_blur)
    likelihood = _StepsLikelihood(_sines(np.diff(x, axis=0)), remove_drift)
    n, d = likelihood.power.shape
    if localisation_variance is not None:
        diffusivity, variance, interval = _known_variance(likelihood, dt, motion_blur, localisation_variance)
    else:
        diffusivity, variance, interval = _fitted_variance(likelihood, dt, motion_blur)
    information = _fisher(diffusivity, variance, n, d, dt, motion_blur)
    text = "maximum likelihood of the steps" + (", drift profiled" if remove_drift else "")
    if localisation_variance is None:
        covariance = np.linalg.inv(information)
        se, se_variance = math.sqrt(covariance[0, 0]), math.sqrt(covariance[1, 1])
        note = text
    else:
        se, se_variance, note = 1.0 / math.sqrt(information[0, 0]), 0.0, "given, not fitted"
    n_effective = 2.0 * (diffusivity / se) ** 2
    drift = _drift_from(x, dt, diffusivity, variance, motion_blur, unit, n_effective) if remove_drift else ()
    return DiffusionEstimate(
        Estimate(diffusivity, se, unit, n_effective, text, interval),
        Estimate(variance, se_variance, _length_squared(unit), n_effective, note),
        drift,
    )


def _fitted_variance(likelihood: _StepsLikelihood, dt: float, blur: float) -> tuple[float, float, tuple[float, float]]:
    """Best D and sigma^2 >= 0, and the interval of D."""
    least = -2.0 * blur
    # Bounds of log(1 + e - least): from no localisation error to 10^4 times the step's variance.
    axis = np.linspace(0.0, math.log(1e4), 120)
    excess = least + np.expm1(axis)
    profile = likelihood.profiled(excess)
    k = int(profile.argmax())
    fine = np.linspace(axis[max(k - 1, 0)], axis[min(k + 1, len(axis) - 1)], 201)
    refined = likelihood.profiled(least + np.expm1(fine))
    best = float(least + np.expm1(fine[int(refined.argmax())]))
    quadratic = float(likelihood.terms(np.array([best]))[0][0])
    scale = quadratic / likelihood.count
    diffusivity = scale / dt
    variance = max((best + 2.0 * blur) * scale, 0.0)
    # Where localisation error hides the diffusion, the prior alone may hold the interval off the best value.
    low, high = _integrated_interval(likelihood, dt, excess)
    return diffusivity, variance, (min(low, diffusivity), max(high, diffusivity))


def _integrated_interval(likelihood: _StepsLikelihood, dt: float, excess: Array) -> tuple[float, float]:
    """95 % interval of D: the likelihood with two flat priors.

    They are on the logarithm of the steps' variance and on the share of diffusion in it.
    """
    quadratic, log_determinant = likelihood.terms(excess)
    log_weight = -0.5 * (log_determinant + likelihood.count * np.log(quadratic))
    # The share is 1/(1 + e). A flat prior on e itself would leave infinite weight on a droplet at rest.
    log_weight += np.log(np.gradient(excess)) - 2.0 * np.log1p(excess)
    weight = np.exp(log_weight - log_weight.max())
    heavy = weight > 1e-9
    weight, quadratic = weight[heavy] / weight[heavy].sum(), quadratic[heavy]
    # Given e, quadratic/(D dt) is chi-square with `count` degrees of freedom.
    width = 8.0 / math.sqrt(likelihood.count)
    axis = np.linspace(math.log(quadratic.min()) - width, math.log(quadratic.max()) + width, 400)
    axis -= math.log(likelihood.count)
    ratio = quadratic[:, None] / (likelihood.count * np.exp(axis))
    below = weight @ special.gammaincc(0.5 * likelihood.count, 0.5 * likelihood.count * ratio)
    low, high = np.interp([0.025, 0.975], below, axis)
    return float(math.exp(low) / dt), float(math.exp(high) / dt)


def _known_variance(
    likelihood: _StepsLikelihood, dt: float, blur: float, variance: float
) -> tuple[float, float, tuple[float, float]]:
    """Best D at a known sigma^2, with the interval by likelihood ratio."""
    if not (math.isfinite(variance) and variance >= 0):
        raise AnalysisError(f"localisation_variance = {variance} must be zero or more: omit it to have it fitted")

    def negative(log_d: float) -> float:
        scale = math.exp(log_d) * dt
        quadratic, log_determinant = likelihood.terms(np.array([variance / scale - 2.0 * blur]))
        return 0.5 * float(log_determinant[0] + likelihood.count * math.log(scale) + quadratic[0] / scale)

    guess = float((likelihood.power**2).mean()) / (2.0 * dt)
    axis = math.log(guess) + np.linspace(-14.0, 12.0, 260)
    values = np.array([negative(v) for v in axis])
    k = int(values.argmin())
    fine = np.linspace(axis[max(k - 1, 0)], axis[min(k + 1, len(axis) - 1)], 41)
    fine_values = np.array([negative(v) for v in fine])
    best = float(fine[int(fine_values.argmin())])
    excess = values - fine_values.min() - 0.5 * float(stats.f.ppf(0.95, 1, likelihood.count))
    inside = np.flatnonzero(excess <= 0)
    first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (k, k)
    low = _zero_between(axis, excess, first - 1, first) if first > 0 else float(axis[0])
    high = _zero_between(axis, excess, last, last + 1) if last + 1 < len(axis) else float(axis[-1])
    return math.exp(best), variance, (math.exp(low), math.exp(high))


def _zero_between(axis: Array, values: Array, left: int, right: int) -> float:
    """Linear interpolation of the zero of a table between two of its nodes."""
    share = values[left] / (values[left] - values[right])
    return float(axis[left] + share * (axis[right] - axis[left]))


def drift_estimate(track: Array, dt: float, *, motion_blur: float = 0.0, unit: str = "nm^2/s") -> tuple[Estimate, ...]:
    """Estimate the constant drift velocity of a track, one Estimate per axis.

    v = sum_i w_i d_i / (dt sum_i w_i),  se^2 ~ (2 D T + 2 sigma^2)/T^2 for a track of duration T

    d_i -> steps of track (T, d); w: generalised least squares weights at the D and sigma^2 that
    `gls_diffusivity` finds with the drift removed; unit: of D, which sets that of the drift. Raises and
    validity as `gls_diffusivity`.
    """
    return gls_diffusivity(track, dt, motion_blur=motion_blur, remove_drift=True, unit=unit).drift


def ordinary_msd_fit(track: Array, dt: float, *, fit_fraction: float = 1.0, unit: str = "nm^2/s") -> Estimate:
    """Fit a straight line by ordinary least squares to the mean squared displacement: a comparison only.

    MSD(k dt) = 2 d D k dt + c

    D -> value; d -> axes of track (T, d); the lags k = 1..fit_fraction (T - 1) enter with equal weights, as
    the published fit of a droplet's track seems to do with all of them. The standard error is the exact one
    of this estimator for free diffusion with the D and localisation error of `gls_diffusivity`: about the
    value itself when all lags are used, since the long lags hold one or two independent displacements. Raises
    AnalysisError for fewer than 6 frames or 2 lags. Cost T^3 up to 2000 frames; beyond them the error is nan.
    Source of the warning: Michalet, doi 10.1103/PhysRevE.82.041914.
    """
    x = checked_track(track, dt, 6)
    n_lags = int(fit_fraction * (len(x) - 1))
    if not 2 <= n_lags <= len(x) - 1:
        raise AnalysisError(f"fit_fraction = {fit_fraction} leaves {n_lags} lags: at least 2 and at most 1.0 of all")
    d = x.shape[1]
    lag = np.arange(1, n_lags + 1)
    centred = lag - lag.mean()
    weight = centred / (centred @ centred) / (2.0 * d * dt)
    value = float(weight @ mean_squared_displacement(x, n_lags)[1:])
    text = f"straight line through {n_lags} lags of the MSD, equal weights"
    if fit_fraction > 0.5:
        text += "; about 100 % uncertain, a comparison only"
    if len(x) > _LONGEST_EXACT:
        return Estimate(value, math.nan, unit, 1.0, text + f"; error not computed above {_LONGEST_EXACT} frames")
    known = gls_diffusivity(x, dt, unit=unit)
    se = _msd_fit_error(len(x), weight, known.D.value, known.localisation_variance.value, dt, d)
    return Estimate(value, se, unit, 2.0 * (known.D.value / se) ** 2, text)


def _msd_fit_error(t: int, weight: Array, diffusivity: float, variance: float, dt: float, d: int) -> float:
    """Sd of sum_k weight_k MSD_k, a quadratic form in the positions: 2 d tr[(M C)^2]."""
    coupling = np.zeros(t)
    lags = np.arange(1, len(weight) + 1)
    coupling[lags] = -weight / (t - lags)
    index = np.arange(t)
    form = coupling[np.abs(index[:, None] - index)]
    np.fill_diagonal(form, -form.sum(1))
    covariance = 2.0 * diffusivity * dt * np.minimum(index[:, None], index).astype(np.float64)
    covariance[index, index] += variance
    product = form @ covariance
    return math.sqrt(2.0 * d * float((product * product.T).sum()))


def msd_z(
    z: Array,
    dt: float,
    *,
    groups: Array | None = None,
    n_blocks: int = 5,
    remove_drift: bool = False,
    unit: str = "nm^2/ns",
) -> MsdCurve:
    """Mean squared displacement along z of many beads, with errors from what is independent of what.

    MSD_z(t) = <(z_i(t) - z_i(0))^2>_i,  D = half its least-squares slope

    z -> (T, N) unwrapped; dt: frame spacing; groups: (N,) label of each bead's droplet: droplets are the
    independent units (beads of one droplet move together); without it, n_blocks consecutive stretches of
    time are, each with its own origin, and the curve ends at a stretch's length. remove_drift: subtract the
    displacement common to all beads, so that an approach to the wall is not called diffusion. Returns an
    MsdCurve; errors are cluster-robust over the units, nan where there is only one; D has Student's t with
    units - 1 degrees of freedom. Raises AnalysisError for other shapes, NaN, fewer than 3 frames a stretch.
    """
    x = np.asarray(z, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 1:
        raise AnalysisError(f"z must be (T, N), got {x.shape}")
    if not np.isfinite(x).all():
        raise AnalysisError("z holds NaN or infinity: drop those beads first")
    if not (math.isfinite(dt) and dt > 0):
        raise AnalysisError(f"dt = {dt} must be positive")
    if groups is not None:
        labels = np.asarray(groups)
        if labels.shape != (x.shape[1],):
            raise AnalysisError(f"groups must be ({x.shape[1]},), one label a bead, got {labels.shape}")
        length, origins = len(x), [0]
        members = [labels == label for label in np.unique(labels)]
    else:
        if n_blocks < 1:
            raise AnalysisError(f"n_blocks = {n_blocks} must be 1 or more")
        length = len(x) // n_blocks
        origins = [k * length for k in range(n_blocks)]
        members = [np.ones(x.shape[1], dtype=bool)]
    if length < 3:
        raise AnalysisError(f"{length} frames a stretch are too few, 3 are needed: fewer blocks or more frames")
    curves, sizes = [], []
    for origin in origins:
        displacement = x[origin : origin + length] - x[origin]
        if remove_drift:
            displacement = displacement - displacement.mean(axis=1, keepdims=True)
        for member in members:
            curves.append((displacement[:, member] ** 2).mean(axis=1))
            sizes.append(int(member.sum()))
    curve, share = np.stack(curves), np.array(sizes) / sum(sizes)
    time = dt * np.arange(length)
    msd, se = _cluster_mean(curve, share)
    centred = time - time.mean()
    slopes = 0.5 * (curve @ centred) / (centred @ centred)
    value, error = (float(v[0]) for v in _cluster_mean(slopes[:, None], share))
    units = len(share)
    kind = f"{units} droplet{'s' if units > 1 else ''}" if groups is not None else f"{units} stretches of time"
    text = f"half the slope of MSD-z, error over {kind}" + (", drift removed" if remove_drift else "")
    if units < 2:
        return MsdCurve(time, msd, se, Estimate(value, math.nan, unit, 1.0, text + ": one unit has no error"), 1)
    n_effective = 1.0 / float((share**2).sum())
    half = float(stats.t.ppf(0.975, units - 1)) * error
    estimate = Estimate(value, error, unit, n_effective, text, (value - half, value + half))
    return MsdCurve(time, msd, se, estimate, units)


def _cluster_mean(values: Array, share: Array) -> tuple[Array, Array]:
    """Weighted mean over units (U, L) and its cluster-robust standard error, (L,) each."""
    mean = share @ values
    units = len(share)
    if units < 2:
        return mean, np.full(mean.shape, np.nan)
    spread = (share[:, None] ** 2 * (values - mean) ** 2).sum(0)
    return mean, np.sqrt(units / (units - 1) * spread)

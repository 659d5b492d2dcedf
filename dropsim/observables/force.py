"""Forces read off a droplet's motion by the Einstein relation, always beside what pure chance would show.

F = kT v/D with the velocity from neighbouring frames is mostly noise: a free droplet with D = 4.71 nm^2/s
shows 3.4 pN on average at 1 s a frame and 10.7 pN at 0.1 s, with no force on it. So every measured force here
comes with its Brownian null, and a directed force is claimed only when the drift over the track beats it.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from dropsim.errors import AnalysisError
from dropsim.observables.diffusion import checked_track, gls_diffusivity
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import mean_estimate
from dropsim.units import thermal_energy_pN_nm

Array = NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class BrownianNull:
    """What a free droplet shows: mean speed, mean and rms |F|, quantiles (probability, pN) of |F|."""

    mean_speed: Estimate
    mean_force: Estimate
    rms_force: Estimate
    quantiles: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class ForceSummary:
    """Mean |F| over the frames, its Brownian null, and the directed (mean) force per axis; all pN."""

    mean_magnitude: Estimate
    null: BrownianNull
    directed: tuple[Estimate, ...]
    directed_magnitude: Estimate


@dataclasses.dataclass(frozen=True)
class ForceVerdict:
    """detected: whether drift beats chance at `level`; p_value: of a free droplet drifting as far; text."""

    detected: bool
    p_value: float
    level: float
    text: str


def _checked_constants(diffusivity: float, temperature_K: float, window: int) -> float:
    if not (math.isfinite(diffusivity) and diffusivity > 0):
        raise AnalysisError(f"diffusivity = {diffusivity} nm^2/s must be positive: the track may be too short")
    if not (math.isfinite(temperature_K) and temperature_K > 0):
        raise AnalysisError(f"temperature_K = {temperature_K} must be positive")
    if window < 1:
        raise AnalysisError(f"window = {window} frames must be 1 or more")
    return thermal_energy_pN_nm(temperature_K)


def drag_force(
    track: Array, dt: float, diffusivity: float, temperature_K: float, window: int = 1
) -> tuple[Array, Array]:
    """Force that would drag the droplet as it moves, from the Einstein relation.

    F_i = (kT/D) (x_{i+w} - x_i)/(w dt)

    x -> track (T, d), nm, unwrapped; dt: s; D -> diffusivity, nm^2/s; kT from temperature_K; w -> window,
    frames. Returns the middle times (T - w,), s, from the first frame on, and the force (T - w, d), pN, along
    the displacement; with w > 1 neighbours overlap. Raises AnalysisError for a track shorter than w + 2
    frames or as `checked_track`. Validity: overdamped motion; the scatter is that of `brownian_null`, so a
    single value is no measurement of a force. Source: the paper, doi 10.1038/s41586-023-06326-8, figure 4d.
    """
    kT = _checked_constants(diffusivity, temperature_K, window)
    x = checked_track(track, dt, window + 2)
    velocity = (x[window:] - x[:-window]) / (window * dt)
    time = (np.arange(len(velocity)) + 0.5 * window) * dt
    return time, kT / diffusivity * velocity


def brownian_null(
    diffusivity: float,
    dt: float,
    temperature_K: float,
    *,
    window: int = 1,
    dimensions: int = 2,
    localisation_variance: float = 0.0,
    probabilities: tuple[float, ...] = (0.025, 0.5, 0.975),
) -> BrownianNull:
    """Speeds and apparent forces of a droplet on which no force acts, in closed form.

    s^2 = (2 D tau + 2 sigma^2)/tau^2,  <|v|> = s sqrt(2) Gamma((d+1)/2)/Gamma(d/2),  F = kT v/D
    In two dimensions without localisation error: <|v|> = sqrt(pi D/tau), <|F|> = kT sqrt(pi/(D tau)).

    D -> diffusivity, nm^2/s; tau = window dt, s; d -> dimensions; sigma^2 -> localisation_variance, nm^2, of
    one coordinate of one frame; kT from temperature_K. Returns a BrownianNull with the quantiles of |F| at
    `probabilities`. Raises AnalysisError for constants that are not positive.
    """
    kT = _checked_constants(diffusivity, temperature_K, window)
    if not (math.isfinite(dt) and dt > 0) or dimensions < 1 or not localisation_variance >= 0:
        raise AnalysisError("dt must be positive, dimensions 1 or more, localisation_variance zero or more")
    if not all(0.0 < p < 1.0 for p in probabilities):
        raise AnalysisError(f"probabilities {probabilities} must lie between 0 and 1")
    tau = window * dt
    component = math.sqrt(2.0 * diffusivity * tau + 2.0 * localisation_variance) / tau
    mean = component * math.sqrt(2.0) * float(special.poch(0.5 * dimensions, 0.5))
    to_force = kT / diffusivity
    text = f"closed form, free diffusion in {dimensions} dimensions, {tau:g} s"

    def exact(value: float, unit: str) -> Estimate:
        return Estimate(value, 0.0, unit, math.inf, text, (value, value))

    levels = stats.chi.ppf(np.array(probabilities), dimensions) * component * to_force
    return BrownianNull(
        exact(mean, "nm/s"),
        exact(mean * to_force, "pN"),
        exact(component * math.sqrt(dimensions) * to_force, "pN"),
        tuple((p, float(v)) for p, v in zip(probabilities, levels, strict=True)),
    )


def force_summary(
    track: Array,
    dt: float,
    diffusivity: Estimate | float,
    temperature_K: float,
    *,
    window: int = 1,
    localisation_variance: float = 0.0,
) -> ForceSummary:
    """Mean size of the apparent force beside its null, and the directed force that remains in the mean.

    |F| = (kT/D) <|v|>;  F_directed = (kT/D) (x_T - x_0)/T,  se = kT sqrt(2/(D T) + 2 sigma^2/(D T)^2)

    x -> track (T_frames, d), nm; dt: s; D -> diffusivity, nm^2/s, a number or an Estimate; T: duration, s;
    sigma^2 -> localisation_variance, nm^2; se is per axis. The mean of |F| is over displacements of `window`
    frames that do not overlap; an Estimate of D adds its relative error, and sets Student's t for the
    directed force. directed_magnitude is positive even without a force: compare it with its standard error
    or use `directed_force_verdict`. Returns a ForceSummary, pN.
    Raises AnalysisError for fewer than 8 such displacements or as `drag_force`.
    """
    known = diffusivity if isinstance(diffusivity, Estimate) else None
    value = known.value if known is not None else float(diffusivity)  # type: ignore[arg-type]
    kT = _checked_constants(value, temperature_K, window)
    _, force = drag_force(track, dt, value, temperature_K, window)
    magnitude = np.linalg.norm(force[::window], axis=1)
    mean = mean_estimate(magnitude, "pN")
    relative = known.standard_error / value if known is not None else 0.0
    se = math.hypot(mean.standard_error, relative * mean.value)
    note = "" if known is None else ", with the error of D"
    size = Estimate(mean.value, se, "pN", mean.n_effective, f"mean |kT v/D|, {window * dt:g} s{note}")

    x = checked_track(track, dt, 8)
    duration = (len(x) - 1) * dt
    average = kT / value * (x[-1] - x[0]) / duration
    error = kT * math.sqrt(2.0 / (value * duration) + 2.0 * localisation_variance / (value * duration) ** 2)
    dof = max(known.n_effective, 2.0) if known is not None else math.inf
    half = float(stats.t.ppf(0.975, dof)) * error
    text = f"kT/D times the mean velocity over {duration:g} s"
    n = float(len(x) - 1)
    directed = tuple(Estimate(float(f), error, "pN", n, text, (float(f) - half, float(f) + half)) for f in average)
    total = float(np.linalg.norm(average))
    magnitude_estimate = Estimate(
        total, error, "pN", n, text + "; positive by chance alone", (max(total - half, 0.0), total + half)
    )
    null = brownian_null(
        value,
        dt,
        temperature_K,
        window=window,
        dimensions=x.shape[1],
        localisation_variance=localisation_variance,
    )
    return ForceSummary(size, null, directed, magnitude_estimate)


def directed_force_verdict(
    track: Array, dt: float, temperature_K: float, *, motion_blur: float = 0.0, level: float = 0.05
) -> ForceVerdict:
    """Say whether the drift of a track beats what a free droplet would show.

    chi^2 = sum_axes (v/se(v))^2 / d ~ F(d, nu),  se(v)^2 ~ 2 D/T,  nu the effective samples of D

    v, D -> fitted together by `gls_diffusivity` with the drift removed, from track (T, d), nm, at spacing dt,
    s; level: of the test. Returns a ForceVerdict whose text gives the directed force, its error and the null.
    Raises and validity as `gls_diffusivity`; a droplet confined or pinned on a wandering anchor is neither.
    """
    if not 0.0 < level < 0.5:
        raise AnalysisError(f"level = {level} must lie between 0 and 0.5")
    fit = gls_diffusivity(track, dt, motion_blur=motion_blur, remove_drift=True)
    kT = _checked_constants(fit.D.value, temperature_K, 1)
    d = len(fit.drift)
    statistic = sum((v.value / v.standard_error) ** 2 for v in fit.drift) / d
    p_value = float(stats.f.sf(statistic, d, max(fit.D.n_effective, 2.0)))
    size = kT / fit.D.value * math.sqrt(sum(v.value**2 for v in fit.drift))
    error = kT / fit.D.value * fit.drift[0].standard_error
    null = brownian_null(
        fit.D.value, dt, temperature_K, dimensions=d, localisation_variance=fit.localisation_variance.value
    )
    detected = p_value < level
    finding = "a directed force" if detected else "no directed force beyond chance"
    text = (
        f"{finding}: {size:.2f} pN, error {error:.2f} pN per axis, p = {p_value:.2g}; frame by frame a free"
        f" droplet would show {null.mean_force.value:.1f} pN on average"
    )
    return ForceVerdict(detected, p_value, level, text)

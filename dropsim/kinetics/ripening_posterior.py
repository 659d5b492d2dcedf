"""What four times of a microscope say of the constants of ripening: a posterior, because a fit would have no answer.

On bare titanium at -0.5 V the paper sees nuclei that grow by 25 s, growth that slows at 70 s, a small particle (#2)
beside a larger one that is dissolving at 116.2 s and is gone at 137.6 s. Six unknowns stand against them. Draws from
stated priors are weighted with the likelihood of the two late times (importance sampling); what the posterior leaves
broad the times do not know.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropsim import units
from dropsim.errors import AnalysisError
from dropsim.kinetics.growth_laws import isolated_mixed_radius

Floats = NDArray[np.float64]
_NODES, _WEIGHTS = (0.5 * (np.polynomial.legendre.leggauss(48)[0] + 1.0), 0.5 * np.polynomial.legendre.leggauss(48)[1])
_CHUNK = 20_000
# Below this many independent draws the weights rest on few points.
_LEAST_DRAWS = 100.0


@dataclasses.dataclass(frozen=True)
class Milestones:
    """Times in s of the paper's particle #2: slowing_s, dissolving_s with its error, gone_s with its error; nuclei_s:
    latest birth; fall: share of its area that has gone when it is seen to dissolve, from and to."""

    nuclei_s: float = 25.0
    slowing_s: float = 70.0
    dissolving_s: float = 116.2
    dissolving_error_s: float = 5.0
    gone_s: float = 137.6
    gone_error_s: float = 2.0
    fall: tuple[float, float] = (0.1, 0.6)


@dataclasses.dataclass(frozen=True)
class Priors:
    """Ranges of uniform priors: log10 of k_s in nm/s, of c_eq in mM, of l_c in nm and of the supersaturation while
    particles grow; radius_nm: what the microscope would have seen of #2 when growth slows; size_ratio: #1 over #2."""

    log_velocity: tuple[float, float] = (3.0, 8.0)
    log_solubility_mM: tuple[float, float] = (-3.0, 0.5)
    log_capillary_nm: tuple[float, float] = (-0.3, 0.7)
    log_supersaturation: tuple[float, float] = (0.1, 1.5)
    radius_nm: tuple[float, float] = (3.0, 50.0)
    size_ratio: tuple[float, float] = (1.05, 4.0)


@dataclasses.dataclass(frozen=True)
class RipeningPosterior:
    """Weighted draws: names -> (n,), with weights (n,) that sum to 1, and the same draws' prior share (n,)."""

    draws: dict[str, Floats]
    weight: Floats
    prior: Floats
    effective_draws: float

    def summary(self) -> dict[str, Any]:
        """Median, 68 and 95 % intervals and standard deviation of each unknown, before and after the data.

        "narrowed" is the posterior's standard deviation over the prior's: 1 where the times say nothing. Also the
        correlation of log k_s with log(c_eq l_c): near -1 only their product is known.
        """
        rows = {}
        for name, values in self.draws.items():
            before, after = _spread(values, self.prior), _spread(values, self.weight)
            rows[name] = {**after, "prior_sd": before["sd"], "narrowed": after["sd"] / before["sd"]}
        x, y = self.draws["log10_velocity"], self.draws["log10_solubility_capillary"]
        mx, my = (float(self.weight @ v) for v in (x, y))
        covariance = float(self.weight @ ((x - mx) * (y - my)))
        correlation = covariance / (
            rows["log10_velocity"]["sd"] * rows["log10_solubility_capillary"]["sd"]
        )  # fmt: skip
        return {
            "unknowns": rows,
            "correlation_velocity_solubility_capillary": correlation,
            "effective_draws": self.effective_draws,
            "note": "four times cannot fix six unknowns: a posterior over stated uniform priors, no match; the product "
            "K = k_s Omega c_eq l_c is known as well as the radius of particle #2, k_s alone is not",
        }


def _spread(values: Floats, weight: Floats) -> dict[str, float]:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    quantiles = np.interp([0.025, 0.16, 0.5, 0.84, 0.975], total / total[-1], values[order])
    mean = float(weight @ values)
    sd = math.sqrt(max(float(weight @ (values - mean) ** 2), 0.0))
    names = ("low_95", "low_68", "median", "high_68", "high_95")
    return {**dict(zip(names, quantiles.tolist(), strict=True)), "mean": mean, "sd": sd}


def shrinking_times(
    radius_nm: Floats,
    until_nm: Floats,
    larger_nm: Floats,
    velocity: Floats,
    diffusivity: float,
    drive: Floats,
    capillary_nm: Floats,
) -> Floats:
    """Time in which a particle shrinks beside a much larger one whose radius stays.

        t = int_{R_b}^{R_a} (1 + k R/D) dR / {k Omega c_eq [e^{l_c/R} - e^{l_c/R_1}]}

    radius_nm: R_a; until_nm: R_b < R_a; larger_nm: R_1 > R_a; velocity: k, nm/s; diffusivity: D; drive: Omega c_eq;
    capillary_nm: l_c; all (n,) but D. Returns (n,), s. Where l_c << R it is `remaining_time` for R_1 -> infinity.
    """
    radius = until_nm[:, None] + (radius_nm - until_nm)[:, None] * _NODES
    curved = np.exp(np.minimum(capillary_nm[:, None] / radius, 50.0))
    speed = velocity[:, None] * drive[:, None] * (curved - np.exp(capillary_nm / larger_nm)[:, None])
    return ((1.0 + velocity[:, None] * radius / diffusivity) / speed) @ _WEIGHTS * (radius_nm - until_nm)


def ripening_posterior(
    seed: int,
    *,
    n_draws: int = 1_000_000,
    priors: Priors | None = None,
    milestones: Milestones | None = None,
    diffusivity_nm2_per_s: float = 3.0e8,
    volume_nm3: float = 0.06,
) -> RipeningPosterior:
    """Posterior of the constants of ripening, by importance sampling.

    Particles are born at a time before nuclei_s and grow at constant supersaturation (`isolated_mixed_radius`) until
    slowing_s; from then on #2 shrinks beside #1 (`shrinking_times`). Draws whose #2 is outside the prior's range at
    slowing_s are no draws of the prior. Weights: Gaussian in the two late times. Raises AnalysisError where fewer than
    100 independent draws carry the weight.
    """
    priors, times = priors or Priors(), milestones or Milestones()
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 1], dtype=np.uint64)))

    def uniform(span: tuple[float, float]) -> Floats:
        return rng.uniform(*span, size=n_draws)

    velocity = 10.0 ** uniform(priors.log_velocity)
    solubility = 10.0 ** uniform(priors.log_solubility_mM) * units.MILLIMOLAR_PER_NM3
    capillary = 10.0 ** uniform(priors.log_capillary_nm)
    excess = 10.0 ** uniform(priors.log_supersaturation) - 1.0
    birth = uniform((0.0, times.nuclei_s))
    size_ratio, fall = uniform(priors.size_ratio), uniform(times.fall)
    # The growth law takes one velocity at a time in its signature, and arrays as well.
    radius = np.asarray(
        isolated_mixed_radius(
            times.slowing_s - birth,
            0.0,
            velocity,  # pyright: ignore[reportArgumentType]
            diffusivity_nm2_per_s,
            volume_nm3,
            solubility * excess,  # pyright: ignore[reportArgumentType]
        )
    )
    allowed = (radius >= priors.radius_nm[0]) & (radius <= priors.radius_nm[1])
    velocity, solubility, capillary, radius, size_ratio, fall = (
        v[allowed] for v in (velocity, solubility, capillary, radius, size_ratio, fall)
    )
    smallest = np.full(radius.shape, (3.0 * volume_nm3 / (4.0 * math.pi)) ** (1.0 / 3.0))
    misfit = np.empty(radius.shape)
    for first in range(0, radius.size, _CHUNK):
        part = slice(first, first + _CHUNK)
        r, k, drive, l_c = radius[part], velocity[part], volume_nm3 * solubility[part], capillary[part]
        larger, seen = r * size_ratio[part], r * np.sqrt(1.0 - fall[part])
        early = shrinking_times(r, seen, larger, k, diffusivity_nm2_per_s, drive, l_c)
        late = shrinking_times(seen, smallest[part], larger, k, diffusivity_nm2_per_s, drive, l_c)
        misfit[part] = (
            (times.slowing_s + early - times.dissolving_s) / times.dissolving_error_s
        ) ** 2 + ((times.slowing_s + early + late - times.gone_s) / times.gone_error_s) ** 2  # fmt: skip
    weight = np.exp(-0.5 * (misfit - misfit.min())) if misfit.size else np.zeros(0)
    effective = float(weight.sum() ** 2 / (weight**2).sum()) if weight.size else 0.0
    if effective < _LEAST_DRAWS:
        raise AnalysisError(
            f"{effective:.0f} independent draws carry the posterior: raise n_draws, or widen the priors until they "
            "hold the times"
        )
    product = solubility * capillary
    draws = {
        "log10_velocity": np.log10(velocity),
        "log10_solubility_mM": np.log10(solubility / units.MILLIMOLAR_PER_NM3),
        "log10_capillary_nm": np.log10(capillary),
        "log10_solubility_capillary": np.log10(product / units.MILLIMOLAR_PER_NM3),
        "log10_ripening_constant": np.log10(velocity * volume_nm3 * product),
        "log10_radius_nm": np.log10(radius),
        "size_ratio": size_ratio,
    }
    return RipeningPosterior(draws, weight / weight.sum(), np.full(radius.shape, 1.0 / radius.size), effective)

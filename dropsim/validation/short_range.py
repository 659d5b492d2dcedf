"""Sampled rows of the short-range pair forces: pressures, energies and self-diffusion of simple fluids.

Reduced units: sigma = epsilon = m = k_B = 1.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from dropsim_kernels.potentials import LJ_MINIMUM, lennard_jones, wca
from jax import Array

from dropsim.observables.estimate import Estimate
from dropsim.validation.fluid import (
    Samples,
    block_estimate,
    build_fluid,
    independent_estimate,
    sample,
    simple_cubic,
    start,
    with_friction,
)
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings

N_SIDE = 8
SMOOTH_FROM, SMOOTH_TO = 3.2, 4.0
TRUNCATION = 3.0


def plain_lj(r: Array) -> Array:
    """Lennard-Jones potential, cut by the pair list alone."""
    one = jnp.ones((), r.dtype)
    return lennard_jones(r, one, one)


def plain_wca(r: Array) -> Array:
    """Repulsive part of the Lennard-Jones potential."""
    one = jnp.ones((), r.dtype)
    return wca(r, one, one)


def smoothed_lj(r: Array) -> Array:
    """Lennard-Jones potential led smoothly to zero.

        u(r) = u_LJ(r) S(r),  S = (b^2 - r^2)^2 (b^2 + 2 r^2 - 3 a^2) / (b^2 - a^2)^3 for a < r < b, 1 below, 0 beyond

    a, b -> SMOOTH_FROM, SMOOTH_TO. Continuous with its first derivative. Source: X-PLOR switching function, in the
    form of doi 10.1002/jcc.540040211.
    """
    a, b = SMOOTH_FROM**2, SMOOTH_TO**2
    square = r * r
    switch = (b - square) ** 2 * (b + 2 * square - 3 * a) / (b - a) ** 3
    switch = jnp.where(square < a, 1, jnp.where(square < b, switch, 0)).astype(r.dtype)
    return plain_lj(r) * switch


def pressure_series(samples: Samples, density: float, thermal_energy: float, n: int) -> np.ndarray:
    """Virial pressure of every sample: P = rho kT + W/(3 V); (T,)."""
    return density * thermal_energy + np.asarray(samples.virial, float) * density / (3 * n)


def truncation_corrections(density: float, cutoff: float) -> tuple[float, float]:
    """Energy per particle and pressure of a Lennard-Jones fluid beyond the cutoff, with g(r) = 1 there.

    U/N = (8 pi/3) rho [c^-9/3 - c^-3],  P = (16 pi/3) rho^2 [2 c^-9/3 - c^-3].

    rho -> `density`; c -> `cutoff`.
    """
    ninth, third = cutoff**-9, cutoff**-3
    energy = 8 * math.pi / 3 * density * (ninth / 3 - third)
    return energy, 16 * math.pi / 3 * density**2 * (2 * ninth / 3 - third)


def diffusion_blocks(
    position: np.ndarray, interval: float, n_blocks: int, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Self-diffusion coefficient from the slope of the mean-squared displacement, block by block.

    D = d/dt <|dr(t)|^2> / 6, a straight line fitted over `window`, all origins of a block, motion about the centre
    of mass.

    position: (T, N, 3) unwrapped; interval: time between samples. Returns D of every block (B,), and lags (L,) with
    the mean-squared displacement averaged over the blocks (L,).
    """
    path = np.asarray(position, float)
    path = path - path.mean(axis=1, keepdims=True)
    per_block = len(path) // n_blocks
    lags = np.arange(1, min(round(window[1] / interval), per_block - 1) + 1)
    squared = np.empty((n_blocks, len(lags)))
    for block in range(n_blocks):
        part = path[block * per_block : (block + 1) * per_block]
        for i, lag in enumerate(lags):
            squared[block, i] = 3 * np.mean((part[lag:] - part[:-lag]) ** 2)
    fitted = lags * interval >= window[0] - 1e-9
    slopes = np.polyfit(lags[fitted] * interval, squared[:, fitted].T, 1)[0]
    return slopes / 6, lags * interval, squared.mean(axis=0)


def _pressure_curve(name: str, series: np.ndarray, reference: float) -> Curve:
    """Mean pressure of the run so far."""
    count = np.arange(1, len(series) + 1)
    shown = np.unique(np.linspace(len(series) // 20, len(series), 40).astype(int)) - 1
    mean = (np.cumsum(series) / count)[shown]
    return Curve(
        name, count[shown], mean, np.full(len(shown), reference), "samples averaged", "pressure, epsilon/sigma^3"
    )


def _precision(name: str, estimate: Estimate, largest: float) -> Result:
    return Result(
        f"{name}: standard error / value",
        estimate.standard_error / abs(estimate.value),
        largest,
        0.0,
        relation="at most",
        basis="a wider sample would test little",
    )


def run_state_points(settings: Settings) -> Outcome:
    """S2: virial pressure of a Lennard-Jones and of a WCA fluid at densities that others found for P = 1 and P = 11.

    Langevin dynamics of 512 particles (the reference: 4096 and 1728). Pressures in systems of N particles differ from
    those of the infinite one by the order of 1/N, below the standard errors here.
    """
    cases = (
        ("Lennard-Jones, kT = 1.5, rho = 0.6269", smoothed_lj, 1.5, 0.6269137133228043, 1.0, SMOOTH_TO, 0.4, 0.02),
        ("WCA, kT = 1, rho = 0.9194", plain_wca, 1.0, 0.9193740949934834, 11.0, LJ_MINIMUM, 0.35, 0.005),
    )
    results: list[Result] = []
    curves: list[Curve] = []
    n = N_SIDE**3
    for name, potential, kT, density, reference, cutoff, skin, precision in cases:
        length = (n / density) ** (1 / 3)
        position = simple_cubic(N_SIDE, length)
        fluid = build_fluid(
            position, (length,) * 3, settings.dtype, thermal_energy=kT, timestep=0.006, friction=1.0, cutoff=cutoff,
            skin=skin, short_range=potential,
        )  # fmt: skip
        n_samples = 10000 if settings.full else 1200
        samples, _, _ = sample(fluid, start(fluid, position, settings.seed), n_samples, 10)
        series = pressure_series(samples.discard(0.1), density, kT, n)
        pressure = block_estimate(series)
        results.append(
            Result(
                f"pressure, {name}",
                pressure.value,
                reference,
                4.0,
                "epsilon/sigma^3",
                pressure.standard_error,
                basis="4 standard errors of the sample",
            )
        )
        results.append(_precision(f"pressure, {name}", pressure, precision))
        curves.append(_pressure_curve(name, series, reference))
    return Outcome(tuple(results), tuple(curves))


def run_liquid(settings: Settings) -> Outcome:
    """S3: energy, pressure and self-diffusion of liquid Lennard-Jones at T = 0.85, rho = 0.86.

    512 particles, cut at 3 sigma, as the references did (500 particles): no correction for the finite box is wanted.
    Energy and pressure come from a run at friction 1; D from one at friction 0.05, which slows diffusion by
    1/D = 1/D_0 + gamma m/kT, 0.2 %, and is corrected for it.
    """
    n, kT, density, timestep = N_SIDE**3, 0.85, 0.86, 0.008
    length = (n / density) ** (1 / 3)
    position = simple_cubic(N_SIDE, length)
    fluid = build_fluid(
        position, (length,) * 3, settings.dtype, thermal_energy=kT, timestep=timestep, friction=1.0,
        cutoff=TRUNCATION, skin=0.35, short_range=plain_lj,
    )  # fmt: skip
    energy_tail, pressure_tail = truncation_corrections(density, TRUNCATION)
    samples, state, fluid = sample(fluid, start(fluid, position, settings.seed), 5000 if settings.full else 700, 12)
    samples = samples.discard(0.15)
    energy = block_estimate(np.asarray(samples.energy, float) / n + energy_tail)
    series = pressure_series(samples, density, kT, n) + pressure_tail
    pressure = block_estimate(series)

    friction, every = 0.05, 16
    fluid = with_friction(fluid, friction)
    # 16 blocks of 5 (quick) or 40 of 20 time units; the fitted window ends at 3.
    n_blocks, n_samples = (40, 6400) if settings.full else (16, 640)
    paths, _, _ = sample(fluid, state, n_samples, every)
    coefficients, lags, squared = diffusion_blocks(paths.position, every * timestep, n_blocks, (1.0, 3.0))
    raw = independent_estimate(coefficients)
    diffusion = 1 / (1 / raw.value - friction / kT)
    # The reference is one run of 500 particles over 100 time units, printed with three decimals.
    duration = n_samples * every * timestep
    of_reference = math.hypot(raw.standard_error * math.sqrt(duration / 100.0), 0.001 / math.sqrt(12))
    results = (
        Result(
            "energy per particle",
            energy.value,
            -6.0305,
            4.0,
            "epsilon",
            math.hypot(energy.standard_error, 2.38e-3),
            basis="4 standard errors, of the sample and of the reference (0.0024)",
        ),
        Result(
            "pressure",
            pressure.value,
            1.2660,
            4.0,
            "epsilon/sigma^3",
            math.hypot(pressure.standard_error, 1.36e-2),
            basis="4 standard errors, of the sample and of the reference (0.014)",
        ),
        Result(
            "self-diffusion coefficient",
            diffusion,
            0.035,
            4.0,
            "sigma (epsilon/m)^(1/2)",
            math.hypot(raw.standard_error, of_reference),
            basis="4 standard errors, of the sample and of a reference that is one run over 100 time units",
        ),
        _precision("self-diffusion coefficient", raw, 0.05),
    )
    msd = Curve(
        "mean-squared displacement",
        lags,
        squared,
        squared[-1] + 6 * 0.035 * (lags - lags[-1]),
        "time, sigma (m/epsilon)^(1/2)",
        "mean-squared displacement, sigma^2",
    )
    return Outcome(results, (_pressure_curve("pressure of the liquid", series, 1.2660), msd))


ROWS: tuple[Row, ...] = (
    Row(
        "S2",
        "Pressure of a Lennard-Jones and of a WCA fluid at known state points",
        "lj_fluid validation of HOOMD-blue (NpT at P = 1 and 11), https://github.com/glotzerlab/hoomd-validation",
        run_state_points,
    ),
    Row(
        "S3",
        "Energy, pressure and self-diffusion of a Lennard-Jones liquid, T = 0.85, rho = 0.86",
        "NIST Lennard-Jones fluid properties, https://mmlapps.nist.gov/srs/LJ_PURE: mc.htm (U, P; the equation of "
        "state doi 10.1080/00268979300100411 gives P = 1.264) and md.htm (D at T = 0.849), read as quoted by others",
        run_liquid,
    ),
)

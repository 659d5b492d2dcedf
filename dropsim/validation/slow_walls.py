"""Diffusion of spheres near no-slip walls: the forms against exact solutions, the moves, the Boltzmann law.

In units of the sphere's radius in the first two parts, of the wall potential's sigma in the third; kT = D = 1.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from dropsim_kernels.hydrodynamics import WallMobility, hindered_diffusivity, parallel_friction, perpendicular_friction

from dropsim.validation.brownian import (
    Law,
    beads,
    free,
    mean_result,
    run,
    variance_result,
    weight_between_walls,
    weight_law,
)
from dropsim.validation.rows import Curve, Outcome, Result, Settings

# Centre from the wall in radii, and force over 6 pi eta a U of a sphere that moves along it without turning.
TABLE_ALONG = np.array([[10.0677, 1.0587], [3.7622, 1.1738], [2.3524, 1.3079], [1.5431, 1.5675], [1.1276, 2.1514]])


def series_across(z: np.ndarray) -> np.ndarray:
    """Brenner's exact friction of a sphere of radius 1 that moves towards a wall, over its free friction; z: (M,)."""
    alpha = np.arccosh(z)[:, None]
    n = np.arange(1, 200)[None, :]
    # Both terms of the ratio of sinh grow without bound: divided by exp((2 n + 1) alpha).
    e = np.exp(-(2 * n + 1) * alpha)
    s, s2 = np.sinh(alpha), np.sinh(2 * alpha)
    top = 1 - e**2 + (2 * n + 1) * s2 * e
    below = (1 - e) ** 2 - ((2 * n + 1) * s) ** 2 * e
    term = n * (n + 1) / ((2 * n - 1) * (2 * n + 3)) * (top / below - 1)
    return 4 / 3 * s[:, 0] * np.sum(term, axis=1)


def slow_walls(settings: Settings) -> Outcome:
    """Diffusion of spheres near a no-slip wall: the forms against exact solutions, the moves against the forms, and
    the Boltzmann law, which needs the drift along the slope of the diffusivity."""
    results, curves = [], []
    z = TABLE_ALONG[:, 0]
    unit = jnp.ones(z.shape, settings.dtype)
    along = np.asarray(1 / parallel_friction(jnp.asarray(z, settings.dtype), unit), np.float64)
    across = np.asarray(1 / perpendicular_friction(jnp.asarray(z, settings.dtype), unit)[0], np.float64)
    exact_along, exact_across = 1 / TABLE_ALONG[:, 1], 1 / series_across(z)
    for name, form, exact, allowed in (
        ("along", along, exact_along, 0.05),
        ("across", across, exact_across, 0.008),
    ):
        worst = float(np.max(np.abs(form / exact - 1)))
        results.append(
            Result(
                f"largest relative error of D {name} the wall, z/a from 1.13 to 10",
                worst,
                0.0,
                allowed,
                relation="at most",
                basis="stated validity of the form",
            )
        )
        curves.append(Curve(f"diffusivity {name} a wall", z, form, exact, "z / a", "D / D₀"))
    # Twenty moves so short that the height stays.
    n, n_steps, dt = beads(settings, 3000), 20, 1e-6
    kind = np.repeat(np.arange(z.size), n)
    start = np.zeros((kind.size, 3))
    start[:, 2] = z[kind]
    frames, _, _ = run(
        settings, "euler-maruyama", free, n_steps=n_steps, timestep=dt, start=start, n=kind.size, wall=(1.0, np.inf)
    )
    # From the start as its dtype holds it.
    moved = (frames[-1] - start.astype(settings.dtype).astype(np.float64)) / np.sqrt(2 * dt * n_steps)
    for k in (0, 2, 4):
        at = f"z/a = {z[k]:.4g}"
        here = moved[kind == k]
        results.append(variance_result(f"D along / D0 from moves, {at}", here[:, :2], float(along[k])))
        spread = here[:, 2] - here[:, 2].mean()
        results.append(variance_result(f"D across / D0 from moves, {at}", spread, float(across[k])))
    # Without the drift the law would be exp(-u/kT) / D: the same sample is shown not to follow that one.
    # A weight between two walls, radius 0.7 sigma: the diffusivity across falls to a sixth towards the wall.
    weight, radius, height, dt = 2.0, 0.7, 5.0, 5e-4 if not settings.full else 2.5e-4
    n, n_steps = beads(settings, 4000), round(2 / dt)
    law = weight_law(weight, height)
    start = np.zeros((n, 3))
    start[:, 2] = law.quantile(np.random.default_rng(settings.seed).random(n))
    frames, _, _ = run(
        settings, "euler-maruyama", weight_between_walls, n_steps=n_steps, timestep=dt, start=start, n=n,
        parameters=(weight, height), wall=(radius, height), replica=1,
    )  # fmt: skip
    sample = frames[-1][:, 2]
    grid = jnp.asarray(law.x)[:, None]
    walls = WallMobility(jnp.full(grid.shape, radius, grid.dtype), jnp.asarray(height, grid.dtype))
    d_along, d_across, _ = (
        np.asarray(a, np.float64)[:, 0] for a in hindered_diffusivity(grid, jnp.ones_like(grid), walls)
    )
    results.append(law.result("heights against exp(-u/kT)", sample))
    without = Law(law.x, np.log(np.maximum(law.density, 1e-300)) - np.log(d_across))
    results.append(
        Result(
            "heights against exp(-u/kT) / D, the law without the drift",
            without.chi_square(sample),
            19 + 5 * np.sqrt(38),
            0.0,
            relation="at least",
            basis="chi-square; the wrong law is refused",
        )
    )
    # At equilibrium <dx^2> = 2 t <D_along> at all times, whatever the beads do along z in between.
    mean = float(np.sum(law.density * d_along) / np.sum(law.density))
    side = frames[-1][:, :2] ** 2 / (2 * n_steps * dt)
    results.append(mean_result("D along / D0, mean over the heights", side.ravel(), mean))
    curves.append(law.curve("heights of spheres near walls", sample, np.linspace(0.8, 3.6, 29), "z / σ"))
    return Outcome(tuple(results), tuple(curves))

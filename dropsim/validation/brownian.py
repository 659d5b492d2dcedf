"""Independent beads in a force field, moved by the integrators, and how samples of them are judged.

The three axes of a bead do not know of each other, and count as three samples where a force is the same on all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.hydrodynamics import WallMobility
from dropsim_kernels.integrators import INTEGRATORS, Dynamics, thermal_velocities
from dropsim_kernels.noise import replica_key
from dropsim_kernels.potentials import wall_93_repulsive
from jax import Array

from dropsim.validation.rows import Curve, Result, Settings

SIGMAS = 4.0
"""Tolerance of a sampled number, in standard errors."""

Force = Callable[[Array, Any], Array]


def free(x: Array, parameters: None) -> Array:
    """No force."""
    del parameters
    return jnp.zeros_like(x)


def harmonic(x: Array, stiffness: Array) -> Array:
    """-k x; stiffness: (N, 1) or ()."""
    return -stiffness * x


def quartic(x: Array, parameters: None) -> Array:
    """Minus the slope of x^2/2 + x^4/4."""
    del parameters
    return -x - x**3


def double_well(x: Array, barrier: Array) -> Array:
    """Minus the slope of h (x^2 - 1)^2; barrier: () h."""
    return -4.0 * barrier * x * (x**2 - 1.0)


def weight_on_wall(x: Array, weight: Array) -> Array:
    """A constant force -f on every axis and a repulsive 9-3 wall of sigma = 1 and depth 1 at 0; weight: () f."""
    return -weight + _wall_push(x)


def _wall_push(z: Array) -> Array:
    one = jnp.ones((), z.dtype)
    return -jax.grad(lambda z: jnp.sum(wall_93_repulsive(z, one, one)))(z)


def weight_between_walls(x: Array, parameters: tuple[Array, Array]) -> Array:
    """The same along z alone, with a second wall at the height H; parameters: (f, H)."""
    weight, height = parameters
    z = x[:, 2:]
    still = jnp.zeros_like(z)
    return jnp.concatenate([still, still, -weight + _wall_push(z) - _wall_push(height - z)], axis=1)


@partial(jax.jit, static_argnames=("integrator", "force", "n_frames"))
def trajectory(
    key: Array,
    start: Array,
    velocity: Array,
    dynamics: Dynamics,
    parameters: Any,
    stride: Array,
    integrator: str,
    force: Force,
    n_frames: int,
) -> tuple[Array, Array, Array]:
    """Independent beads in a force field.

    start, velocity: (N, 3); parameters: what `force` takes; stride: () int32, steps between frames.
    Returns positions (n_frames, N, 3) after stride, 2 stride, ... steps, the last velocities (N, 3), and the
    smallest coordinate of each bead and axis that any step reached, (N, 3).
    """
    row = INTEGRATORS[integrator]

    def move(_, carry):
        step, x, v, f, lowest = carry
        x, v = row.advance(key, step, x, v, f, dynamics)
        f = force(x, parameters)
        return step + jnp.ones_like(step), x, row.finish(v, f, dynamics), f, jnp.minimum(lowest, x)

    def frame(carry, _):
        carry = jax.lax.fori_loop(jnp.zeros_like(stride), stride, move, carry)
        return carry, carry[1]

    begin = (jnp.zeros((), jnp.int32), start, velocity, force(start, parameters), start)
    (_, _, velocity, _, lowest), frames = jax.lax.scan(frame, begin, length=n_frames)
    return frames, velocity, lowest


def run(
    settings: Settings,
    integrator: str,
    force: Force,
    *,
    n_steps: int,
    timestep: float,
    thermal_energy: float = 1.0,
    diffusivity: float | np.ndarray = 1.0,
    mass: float = 1.0,
    friction: float | np.ndarray = 1.0,
    parameters: Any = None,
    start: float | np.ndarray = 0.0,
    n: int,
    n_frames: int = 1,
    replica: int = 0,
    wall: tuple[float, float] | None = None,
    thermal: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`trajectory` from plain numbers, in the precision of the settings; its results as float64.

    n: beads; diffusivity, friction: one number or (n,); start: a number or (n, 3); parameters: numbers or arrays;
    wall: (radius, height) of `WallMobility`; thermal: Maxwell-Boltzmann velocities at the start instead of rest.
    """
    dtype = settings.dtype

    def column(value: float | np.ndarray) -> Array:
        return jnp.asarray(np.broadcast_to(np.asarray(value, dtype), (n,))[:, None])

    mobility = None if wall is None else WallMobility(column(wall[0]), jnp.asarray(wall[1], dtype))
    dynamics = Dynamics(
        jnp.asarray(timestep, dtype),
        jnp.asarray(thermal_energy, dtype),
        column(diffusivity),
        column(mass),
        column(friction),
        mobility,
    )
    key = replica_key(settings.seed, replica)
    velocity = jnp.zeros((n, 3), dtype)
    if thermal:
        velocity = thermal_velocities(key, jnp.zeros((), jnp.int32), dynamics.thermal_energy, dynamics.mass)
    out = trajectory(
        key,
        jnp.asarray(np.broadcast_to(np.asarray(start, dtype), (n, 3))),
        velocity,
        dynamics,
        jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parameters),
        jnp.asarray(n_steps // n_frames, jnp.int32),
        integrator=integrator,
        force=force,
        n_frames=n_frames,
    )
    frames, velocity, lowest = (np.asarray(array, np.float64) for array in out)
    return frames, velocity, lowest


def beads(settings: Settings, quick: int) -> int:
    """Number of beads: sixteen times as many, a quarter of the standard error, in the full battery."""
    return 16 * quick if settings.full else quick


def variance_result(quantity: str, sample: np.ndarray, reference: float, unit: str = "1", scale: float = 1.0) -> Result:
    """Mean square of a Gaussian sample of mean 0 times `scale`, whose standard error is reference sqrt(2/n)."""
    return Result(
        quantity,
        float(scale * np.mean(sample**2)),
        reference,
        SIGMAS,
        unit,
        standard_error=reference * np.sqrt(2 / sample.size),
        basis=f"sqrt(2/n), n = {sample.size}",
    )


def mean_result(quantity: str, sample: np.ndarray, reference: float, unit: str = "1") -> Result:
    """Mean of independent samples, with the standard error that they show."""
    error = float(np.std(sample, ddof=1) / np.sqrt(sample.size))
    return Result(
        quantity, float(np.mean(sample)), reference, SIGMAS, unit, standard_error=error, basis=f"n = {sample.size}"
    )


class Law:
    """A density on a line, from its logarithm on a fine grid: quantiles, draws and the test of a sample."""

    def __init__(self, x: np.ndarray, log_density: np.ndarray):
        """x: (M,) increasing; log_density: (M,), up to a constant."""
        weight = np.exp(log_density - log_density.max())
        cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (weight[1:] + weight[:-1]) * np.diff(x))])
        self.x, self.density, self.cumulative = x, weight / cumulative[-1], cumulative / cumulative[-1]

    def quantile(self, probability: np.ndarray) -> np.ndarray:
        """The values below which these shares lie."""
        return np.interp(probability, self.cumulative, self.x)

    def chi_square(self, sample: np.ndarray, n_bins: int = 20) -> float:
        """Pearson's chi-square over bins of equal probability; n_bins - 1 on average for a sample of this law."""
        inner = self.quantile(np.arange(1, n_bins) / n_bins)
        counts = np.bincount(np.searchsorted(inner, sample), minlength=n_bins)
        return float(np.sum((counts - sample.size / n_bins) ** 2) / (sample.size / n_bins))

    def result(self, quantity: str, sample: np.ndarray) -> Result:
        """The verdict: 5 standard deviations of chi-square with 19 degrees of freedom, exceeded once in 7000."""
        return Result(
            quantity,
            self.chi_square(sample),
            19.0,
            5.0,
            standard_error=np.sqrt(2 * 19.0),
            relation="at most",
            basis=f"chi-square of 20 equal bins, n = {sample.size}",
        )

    def curve(self, name: str, sample: np.ndarray, edges: np.ndarray, label: str) -> Curve:
        """Histogram beside the law averaged over the same bins."""
        counts, _ = np.histogram(sample, edges)
        width = np.diff(edges)
        expected = np.diff(np.interp(edges, self.x, self.cumulative)) / width
        return Curve(
            name,
            0.5 * (edges[1:] + edges[:-1]),
            counts / (sample.size * width),
            expected,
            label,
            "density",
            standard_error=np.sqrt(expected / (sample.size * width)),
        )


def weight_law(weight: float, height: float = np.inf) -> Law:
    """exp(-u) of a weight on a repulsive wall, and below a second one where a height is given."""
    top = min(height - 0.5, 12.0)
    z = np.linspace(0.5, top, 20_001)

    def wall(z: np.ndarray) -> np.ndarray:
        return np.asarray(wall_93_repulsive(jnp.asarray(z), jnp.ones(()), jnp.ones(())), np.float64)

    u = weight * z + wall(z) + (wall(height - z) if np.isfinite(height) else 0.0)
    return Law(z, -u)

"""One step of Langevin or Brownian dynamics, split around the force evaluation.

An integrator is two functions: `advance` moves the positions with the force already known, and `finish`
completes the velocities with the force at the new positions. The caller evaluates the force in between
(and rebuilds its neighbour list there), once per step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dropsim_kernels.noise import gaussian_vectors, step_key

MOTION_STREAM = 1


class Dynamics(NamedTuple):
    """What the integrators need, as arrays.

    timestep: () ps; thermal_energy: () kJ/mol (kT); diffusivity: (N, 1) nm^2/ps, free diffusivity of each
    bead; mass: (N, 1) amu; friction: () 1/ps, Langevin only.
    """

    timestep: Array
    thermal_energy: Array
    diffusivity: Array
    mass: Array
    friction: Array


class Integrator(NamedTuple):
    """`advance(key, step, position, velocity, force, dynamics) -> (position, velocity)` and
    `finish(velocity, force, dynamics) -> velocity`; `overdamped` says that velocities are not used."""

    advance: Callable[..., tuple[Array, Array]]
    finish: Callable[[Array, Array, Dynamics], Array]
    overdamped: bool


def langevin_advance(
    key: Array, step: Array, position: Array, velocity: Array, force: Array, dynamics: Dynamics
) -> tuple[Array, Array]:
    """The B, A, O, A parts of a BAOAB step of Langevin dynamics.

        v <- v + dt F / (2 m);  x <- x + dt v / 2;  v <- c v + sqrt(kT (1 - c^2) / m) R;  x <- x + dt v / 2
        c = exp(-gamma dt)

    position, velocity, force: (N, 3) in nm, nm/ps, kJ/(mol nm); key: (2,) uint32; step: () integer.
    Configurational averages are accurate to second order in dt (fourth in the high-friction limit), but free
    diffusion is too fast by x coth x with x = gamma dt / 2: use it for equilibrium, not for D.

    Source: Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013, 34, doi 10.1093/amrx/abs010.
    """
    dt, mass = dynamics.timestep, dynamics.mass
    decay = jnp.exp(-dynamics.friction * dt)
    noise = gaussian_vectors(step_key(key, MOTION_STREAM, step), position.shape[0], position.dtype)
    velocity = velocity + (0.5 * dt) * force / mass
    position = position + (0.5 * dt) * velocity
    # 1 - c^2 by expm1: a weak friction would lose its digits in the difference.
    spread = jnp.sqrt(dynamics.thermal_energy * -jnp.expm1(-2.0 * dynamics.friction * dt) / mass)
    velocity = decay * velocity + spread * noise
    return position + (0.5 * dt) * velocity, velocity


def langevin_finish(velocity: Array, force: Array, dynamics: Dynamics) -> Array:
    """The last B part of a BAOAB step: v <- v + dt F / (2 m)."""
    return velocity + (0.5 * dynamics.timestep) * force / dynamics.mass


def leimkuhler_matthews_advance(
    key: Array, step: Array, position: Array, velocity: Array, force: Array, dynamics: Dynamics
) -> tuple[Array, Array]:
    """A Brownian step whose noise is the mean of two successive Gaussians.

        x_{n+1} = x_n + D dt F(x_n) / kT + sqrt(D dt / 2) (R_n + R_{n+1})

    The stationary law is second order in dt (exact for a harmonic well at any stable dt), because
    R_{n+1} is used again in the next step; being a function of the step, it needs no storage. The price is
    that the noise is correlated over one step, so a mean-squared displacement is 2 D t - D dt per axis.

    Source: Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013, 34, doi 10.1093/amrx/abs010.
    """
    n_rows, dtype = position.shape[0], position.dtype
    now = gaussian_vectors(step_key(key, MOTION_STREAM, step), n_rows, dtype)
    after = gaussian_vectors(step_key(key, MOTION_STREAM, step + 1), n_rows, dtype)
    drift = dynamics.diffusivity * dynamics.timestep * force / dynamics.thermal_energy
    spread = jnp.sqrt(0.5 * dynamics.diffusivity * dynamics.timestep)
    return position + drift + spread * (now + after), velocity


def euler_maruyama_advance(
    key: Array, step: Array, position: Array, velocity: Array, force: Array, dynamics: Dynamics
) -> tuple[Array, Array]:
    """The plain Brownian step, first order in dt.

        x_{n+1} = x_n + D dt F(x_n) / kT + sqrt(2 D dt) R_n

    Free diffusion is exact; a harmonic well of stiffness k widens by 1 / (1 - k D dt / (2 kT)).

    Source: Ermak, J. Chem. Phys. 62, 4189 (1975), doi 10.1063/1.430300.
    """
    noise = gaussian_vectors(step_key(key, MOTION_STREAM, step), position.shape[0], position.dtype)
    drift = dynamics.diffusivity * dynamics.timestep * force / dynamics.thermal_energy
    return position + drift + jnp.sqrt(2.0 * dynamics.diffusivity * dynamics.timestep) * noise, velocity


def keep_velocity(velocity: Array, force: Array, dynamics: Dynamics) -> Array:
    """Brownian dynamics has no velocities to complete."""
    del force, dynamics
    return velocity


INTEGRATORS: dict[str, Integrator] = {
    "baoab": Integrator(langevin_advance, langevin_finish, overdamped=False),
    "leimkuhler-matthews": Integrator(leimkuhler_matthews_advance, keep_velocity, overdamped=True),
    "euler-maruyama": Integrator(euler_maruyama_advance, keep_velocity, overdamped=True),
}


def thermal_velocities(key: Array, step: Array, thermal_energy: Array, mass: Array) -> Array:
    """Maxwell-Boltzmann velocities, nm/ps: sqrt(kT / m) times Gaussians. mass: (N, 1); returns (N, 3)."""
    noise = gaussian_vectors(step_key(key, 2, step), mass.shape[0], mass.dtype)
    return jnp.sqrt(thermal_energy / mass) * noise


def descent_step(position: Array, force: Array, limit: Array) -> Array:
    """Move each bead along its force, no bead further than `limit` (nm): steepest descent for bad starts.

    position, force: (N, 3); the largest force moves its bead by exactly `limit`.
    """
    size = jnp.sqrt(jnp.max(jnp.sum(force**2, axis=1)))
    scale = jax.lax.select(size > 0, limit / jnp.where(size > 0, size, jnp.ones_like(size)), jnp.zeros_like(size))
    return position + scale * force

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

from dropsim_kernels.hydrodynamics import WallMobility, hindered_diffusivity
from dropsim_kernels.noise import gaussian_vectors, step_key

MOTION_STREAM = 1


class Dynamics(NamedTuple):
    """What the integrators need, as arrays.

    timestep: () ps; thermal_energy: () kJ/mol (kT); diffusivity: (N, 1) nm^2/ps, free diffusivity of each
    bead; mass: (N, 1) amu; friction: (N, 1) or () 1/ps, Langevin only, 0 gives velocity Verlet at constant energy;
    wall: how walls slow the beads, None where they do not (only for integrators with `position_dependent`).
    """

    timestep: Array
    thermal_energy: Array
    diffusivity: Array
    mass: Array
    friction: Array
    wall: WallMobility | None = None


class Integrator(NamedTuple):
    """`advance(key, step, position, velocity, force, dynamics) -> (position, velocity)` and
    `finish(velocity, force, dynamics) -> velocity`; `overdamped` says that velocities are not used;
    `position_dependent` that it stays right where the diffusivity depends on the place (`Dynamics.wall`)."""

    advance: Callable[..., tuple[Array, Array]]
    finish: Callable[[Array, Array, Dynamics], Array]
    overdamped: bool
    position_dependent: bool = False


def _without_walls(dynamics: Dynamics, name: str) -> None:
    """Refuse, while tracing, a diffusivity that this integrator would silently take as constant."""
    if dynamics.wall is not None:
        raise ValueError(f"{name} takes diffusivities that do not depend on the place; use euler-maruyama near walls")


def langevin_advance(
    key: Array, step: Array, position: Array, velocity: Array, force: Array, dynamics: Dynamics
) -> tuple[Array, Array]:
    """The B, A, O, A parts of a BAOAB step of Langevin dynamics.

        v <- v + dt F / (2 m);  x <- x + dt v / 2;  v <- c v + sqrt(kT (1 - c^2) / m) R;  x <- x + dt v / 2
        c = exp(-gamma dt)

    position, velocity, force: (N, 3) in nm, nm/ps, kJ/(mol nm); key: (2,) uint32; step: () integer.
    Configurational averages are accurate to second order in dt (fourth in the high-friction limit; exact for a
    harmonic well), but free diffusion is too fast by x coth x with x = gamma dt / 2: use it for equilibrium, not
    for D. In a harmonic well of frequency w the velocities after `finish` have m <v^2> = kT (1 - (w dt)^2 / 4).
    Without friction this is velocity Verlet. Raises ValueError where `dynamics.wall` is given.

    Source: Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013, 34, doi 10.1093/amrx/abs010.
    """
    _without_walls(dynamics, "baoab")
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
    """The half kick by the force at the new positions that ends a BAOAB or GJF step: v <- v + dt F / (2 m)."""
    return velocity + (0.5 * dynamics.timestep) * force / dynamics.mass


def gjf_advance(
    key: Array, step: Array, position: Array, velocity: Array, force: Array, dynamics: Dynamics
) -> tuple[Array, Array]:
    """A step of Langevin dynamics whose positions diffuse as they should at any friction.

        x' = x + b dt v + b dt^2 F / (2 m) + b dt B / (2 m)
        v' = a v + dt (a F + F') / (2 m) + b B / m,      <B^2> = 2 m gamma kT dt
        b = 1 / (1 + gamma dt / 2),   a = b (1 - gamma dt / 2)

    position, velocity, force: (N, 3) in nm, nm/ps, kJ/(mol nm); B: one Gaussian per bead and axis and step; F' is
    the force at x', added by `langevin_finish`.
    Validity: D = kT / (m gamma) of a free bead, its drift in a constant force and <x^2> in a harmonic well are exact
    at every stable dt (w dt < 2); elsewhere second order in dt. The velocities after `finish` are those at the
    positions: m <v^2> = kT for a free bead but kT (1 - (w dt)^2 / 4) in a harmonic well, as without friction; the
    half-step velocity (x' - x) / (dt sqrt(b)) has m <u^2> = kT in both. At gamma dt > 2, a < 0: velocities then
    alternate in sign, positions stay right. Without friction this is velocity Verlet. Raises ValueError where
    `dynamics.wall` is given.

    Source: Gronbech-Jensen and Farago, Mol. Phys. 111, 983 (2013), doi 10.1080/00268976.2012.760055;
    half-step velocity: Jensen and Gronbech-Jensen, Mol. Phys. 117, 2511 (2019), doi 10.1080/00268976.2019.1570369.
    """
    _without_walls(dynamics, "gjf")
    dt, mass = dynamics.timestep, dynamics.mass
    half = 0.5 * dynamics.friction * dt
    b = 1.0 / (1.0 + half)
    a = b * (1.0 - half)
    noise = gaussian_vectors(step_key(key, MOTION_STREAM, step), position.shape[0], position.dtype)
    kick = (0.5 * dt) * force / mass
    spread = jnp.sqrt(2.0 * dynamics.friction * dynamics.thermal_energy * dt / mass)
    moved = position + b * dt * (velocity + kick + 0.5 * spread * noise)
    return moved, a * (velocity + kick) + b * spread * noise


def leimkuhler_matthews_advance(
    key: Array, step: Array, position: Array, velocity: Array, force: Array, dynamics: Dynamics
) -> tuple[Array, Array]:
    """A Brownian step whose noise is the mean of two successive Gaussians.

        x_{n+1} = x_n + D dt F(x_n) / kT + sqrt(D dt / 2) (R_n + R_{n+1})

    The stationary law is second order in dt (exact for a harmonic well at any stable dt), because
    R_{n+1} is used again in the next step; being a function of the step, it needs no storage. The price is
    that the noise is correlated over one step, so a mean-squared displacement is 2 D t - D dt per axis.
    Only for a diffusivity that does not depend on the place: with noise of the strength at x_n in two steps the law
    would no longer be Boltzmann's. Raises ValueError where `dynamics.wall` is given.

    Source: Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013, 34, doi 10.1093/amrx/abs010.
    """
    _without_walls(dynamics, "leimkuhler-matthews")
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
        near walls: D_i(z_n) for D along each axis i, and z also moves by (dD_z/dz) dt

    Free diffusion is exact; a harmonic well of stiffness k widens by 1 / (1 - k D dt / (2 kT)). With `dynamics.wall`
    the diffusivities are those of `hindered_diffusivity`; the drift along their slope, which belongs to noise taken
    at the start of the step, keeps the law exp(-u / kT) to first order in dt. A step should be short beside the
    length on which D changes: sqrt(2 D dt) well below the gap to the wall.

    Source: Ermak, J. Chem. Phys. 62, 4189 (1975), doi 10.1063/1.430300; the drift: Ermak and McCammon, J. Chem.
    Phys. 69, 1352 (1978), doi 10.1063/1.436761.
    """
    noise = gaussian_vectors(step_key(key, MOTION_STREAM, step), position.shape[0], position.dtype)
    diffusivity = dynamics.diffusivity
    if dynamics.wall is not None:
        along, across, slope = hindered_diffusivity(position[:, 2:], diffusivity, dynamics.wall)
        diffusivity = jnp.concatenate([along, along, across], axis=1)
        still = jnp.zeros_like(slope)
        position = position + jnp.concatenate([still, still, slope * dynamics.timestep], axis=1)
    drift = diffusivity * dynamics.timestep * force / dynamics.thermal_energy
    return position + drift + jnp.sqrt(2.0 * diffusivity * dynamics.timestep) * noise, velocity


def keep_velocity(velocity: Array, force: Array, dynamics: Dynamics) -> Array:
    """Brownian dynamics has no velocities to complete."""
    del force, dynamics
    return velocity


INTEGRATORS: dict[str, Integrator] = {
    "baoab": Integrator(langevin_advance, langevin_finish, overdamped=False),
    "gjf": Integrator(gjf_advance, langevin_finish, overdamped=False),
    "leimkuhler-matthews": Integrator(leimkuhler_matthews_advance, keep_velocity, overdamped=True),
    "euler-maruyama": Integrator(euler_maruyama_advance, keep_velocity, overdamped=True, position_dependent=True),
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

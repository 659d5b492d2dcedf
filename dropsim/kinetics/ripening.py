"""Ostwald ripening of spherical particles that share one solution: equations, and the closed forms they are held to.

    dR_i/dt = [k Omega/(1 + k R_i/D)] [c - c_eq exp(l_c/R_i)],   c = c_tot - sum_i N_i/V

Symbols: R radius, N = 4 pi R^3/(3 Omega) molecules, k interface velocity, D diffusivity, Omega molecular volume, c_eq
solubility over a flat face, l_c = 2 gamma Omega/kT capillary length, V volume of the solution. Lengths nm, times s.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim.errors import SimulationError

Limit = Literal["interface", "diffusion"]
Float = float | NDArray[np.float64]

# A particle of one molecule or less counts as dissolved, and stays at what it has.
_LAST_MOLECULE = 1.0
# Up to this number an implicit method is cheaper than many explicit steps.
_FEW = 16
_LARGEST_CURVATURE = 50.0
# Save times are padded to whole blocks, so that few shapes are ever compiled.
_SAVE_BLOCK = 128

# Largest radius over the critical one in the late-time distribution, and the mean over the critical one.
LSW_CUTOFF = {"interface": 2.0, "diffusion": 1.5}
LSW_MEAN = {"interface": 8.0 / 9.0, "diffusion": 1.0}


@dataclasses.dataclass(frozen=True)
class RipeningLaw:
    """The constants of the module's equations: velocity_nm_per_s k, diffusivity_nm2_per_s D, volume_nm3 Omega,
    solubility_per_nm3 c_eq, capillary_length_nm l_c; all > 0."""

    velocity_nm_per_s: float
    diffusivity_nm2_per_s: float
    volume_nm3: float
    solubility_per_nm3: float
    capillary_length_nm: float

    @property
    def interface_constant_nm2_per_s(self) -> float:
        """K = k Omega c_eq l_c."""
        return self.velocity_nm_per_s * self.volume_nm3 * self.solubility_per_nm3 * self.capillary_length_nm

    @property
    def diffusion_constant_nm3_per_s(self) -> float:
        """K_D = D Omega c_eq l_c."""
        return self.diffusivity_nm2_per_s * self.volume_nm3 * self.solubility_per_nm3 * self.capillary_length_nm

    def molecules(self, radius_nm: ArrayLike) -> Any:
        """N = 4 pi R^3/(3 Omega)."""
        return 4.0 * math.pi / 3.0 * np.asarray(radius_nm, dtype=np.float64) ** 3 / self.volume_nm3


def remaining_time(radius_nm: ArrayLike, law: RipeningLaw) -> Float:
    """Time until a small particle is gone from a solution saturated over flat faces.

        t* - t = [R^2/2 + k R^3/(3 D)]/K

    the integral of dR/dt = -K/[R (1 + k R/D)]. Its limits are R^2 = 2 k Omega c_eq l_c (t* - t) where the interface
    limits and R^3 = 3 D Omega c_eq l_c (t* - t) where diffusion does. Valid for l_c << R and R << R*.
    """
    radius = np.asarray(radius_nm, dtype=np.float64)
    ratio = law.velocity_nm_per_s / law.diffusivity_nm2_per_s
    time = (radius**2 / 2.0 + ratio * radius**3 / 3.0) / law.interface_constant_nm2_per_s
    return float(time) if time.ndim == 0 else time


def critical_radius(concentration_per_nm3: ArrayLike, law: RipeningLaw) -> Float:
    """R* = l_c/ln(c/c_eq), the radius in equilibrium with c; infinite where c <= c_eq."""
    ratio = np.asarray(concentration_per_nm3, dtype=np.float64) / law.solubility_per_nm3
    radius = np.where(ratio > 1.0, law.capillary_length_nm / np.log(np.where(ratio > 1.0, ratio, math.e)), np.inf)
    return float(radius) if radius.ndim == 0 else radius


def lsw_mean_radius(time_s: ArrayLike, initial_nm: float, law: RipeningLaw, limit: Limit) -> Float:
    """Mean radius of very many particles at late times.

        diffusion: <R>^3 = R_0^3 + (4/9) D Omega c_eq l_c t     interface: <R>^2 = R_0^2 + (32/81) k Omega c_eq l_c t

    the familiar (8/9) gamma c Omega^2 D/kT and (64/81) gamma c Omega^2 k/kT with l_c = 2 gamma Omega/kT. In u = R/R*
    and tau = ln R*^m (m = 2, 3) particles obey du^m/dtau = g (u - 1) - u^m; conservation of volume asks for the double
    root u = 2, g = 4 (interface) and u = 3/2, g = 27/4 (diffusion), whence dR*^2/dt = K/2, dR*^3/dt = 4 K_D/9 and
    <R> = (8/9) R*, R*. Sources: Lifshitz, Slyozov, doi 10.1016/0022-3697(61)90054-3; Wagner, doi
    10.1002/bbpc.19610650704. Valid for l_c << R and dilute particles.
    """
    time = np.asarray(time_s, dtype=np.float64)
    if limit == "interface":
        radius = np.sqrt(initial_nm**2 + 32.0 / 81.0 * law.interface_constant_nm2_per_s * time)
    else:
        radius = np.cbrt(initial_nm**3 + 4.0 / 9.0 * law.diffusion_constant_nm3_per_s * time)
    return float(radius) if radius.ndim == 0 else radius


def lsw_density(reduced: ArrayLike, limit: Limit) -> NDArray[np.float64]:
    """Late-time distribution of u = R/R*, not normalised; 0 at and beyond the cutoff.

        interface: u (2 - u)^-5 exp[-3 u/(2 - u)]
        diffusion: u^2 (u + 3)^(-7/3) (3/2 - u)^(-11/3) exp[-u/(3/2 - u)]

    the solutions of the continuity equation that goes with `lsw_mean_radius`; sources as there.
    """
    u = np.asarray(reduced, dtype=np.float64)
    gap = LSW_CUTOFF[limit] - u
    inside = (gap > 0.0) & (u > 0.0)
    u, gap = np.where(inside, u, 0.5), np.where(inside, gap, 1.0)
    if limit == "interface":
        density = u * gap**-5.0 * np.exp(-3.0 * u / gap)
    else:
        density = u**2 * (u + 3.0) ** (-7.0 / 3.0) * gap ** (-11.0 / 3.0) * np.exp(-u / gap)
    return np.where(inside, density, 0.0)


def lsw_quantiles(n: int, limit: Limit) -> NDArray[np.float64]:
    """n values of R/R* at the middles of n equal shares of the late-time distribution: a sample without noise."""
    grid = np.linspace(0.0, LSW_CUTOFF[limit], 20_001)
    density = lsw_density(grid, limit)
    total = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    # Beyond some point the density underflows: interpolation needs an increasing column.
    rising = np.concatenate([[True], np.diff(total) > 0.0])
    return np.interp((np.arange(n) + 0.5) / n, total[rising] / total[-1], grid[rising])


@dataclasses.dataclass(frozen=True)
class RipeningSolution:
    """time_s: (T,); molecules: (T, n); radius_nm: (T, n), 0 for a particle that has dissolved; concentration_per_nm3:
    (T,), c_tot - sum N/V; critical_nm: (T,), R*."""

    time_s: NDArray[np.float64]
    molecules: NDArray[np.float64]
    radius_nm: NDArray[np.float64]
    concentration_per_nm3: NDArray[np.float64]
    critical_nm: NDArray[np.float64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which particles are there, (T, n)."""
        return self.radius_nm > 0.0

    @property
    def mean_radius_nm(self) -> NDArray[np.float64]:
        """Mean radius of the particles that are there, (T,)."""
        return self.radius_nm.sum(axis=1) / np.maximum(self.present.sum(axis=1), 1)


class _Constants(NamedTuple):
    velocity: Any
    per_diffusivity: Any
    radius_factor: Any
    solubility: Any
    capillary: Any
    volume: Any
    total: Any


def _slope(time: Any, molecules: Any, c: _Constants) -> Any:
    exists = molecules > _LAST_MOLECULE
    radius = jnp.cbrt(c.radius_factor * jnp.where(exists, molecules, 1.0))
    velocity = c.velocity / (1.0 + c.velocity * radius * c.per_diffusivity)
    concentration = (c.total - molecules.sum()) / c.volume
    curved = c.solubility * jnp.exp(jnp.minimum(c.capillary / radius, _LARGEST_CURVATURE))
    return jnp.where(exists, 4.0 * jnp.pi * radius**2 * velocity * (concentration - curved), 0.0)


@eqx.filter_jit
def _integrate(start: Any, times: Any, constants: _Constants, rtol: Any, atol: Any, max_steps: int) -> Any:
    few = start.shape[0] <= _FEW
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_slope),  # pyright: ignore[reportArgumentType]
        diffrax.Kvaerno5() if few else diffrax.Tsit5(),
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=start,
        args=constants,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    return solution.ys, diffrax.is_okay(solution.result)


def solve_ripening(
    radius_nm: Sequence[float] | NDArray[np.float64],
    concentration_per_nm3: float,
    solution_volume_nm3: float,
    law: RipeningLaw,
    save_times: ArrayLike,
    *,
    relative_tolerance: float = 1e-8,
    max_steps: int = 1_000_000,
) -> RipeningSolution:
    """Integrate the module's equations from given particles.

    radius_nm: (n,) at the start, n >= 1; concentration_per_nm3: dissolved at the start; solution_volume_nm3: V;
    save_times: (T,) s, increasing, T >= 2, the first of which is the start. The concentration follows from
    c_tot = c + sum N/V at every evaluation, so that matter is conserved to rounding. A particle of a single molecule
    counts as dissolved and keeps that molecule in the books. Returns a `RipeningSolution`. Raises ValueError for bad
    inputs, SimulationError where the integration fails. Implicit for few particles, explicit for many.
    """
    radius = np.asarray(radius_nm, dtype=np.float64)
    times = np.asarray(save_times, dtype=np.float64)
    if radius.ndim != 1 or not radius.size or not np.all(radius > 0):
        raise ValueError("radius_nm must be one row of positive radii")
    if times.ndim != 1 or times.size < 2 or np.any(np.diff(times) <= 0):
        raise ValueError("save_times must be one increasing row of at least two times in s")
    if not solution_volume_nm3 > 0 or not concentration_per_nm3 >= 0:
        raise ValueError("solution_volume_nm3 must be > 0 and concentration_per_nm3 >= 0")
    start = law.molecules(radius)
    total = float(start.sum() + concentration_per_nm3 * solution_volume_nm3)
    constants = _Constants(
        *(
            np.float64(x)
            for x in (
                law.velocity_nm_per_s,
                1.0 / law.diffusivity_nm2_per_s,
                3.0 * law.volume_nm3 / (4.0 * math.pi),
                law.solubility_per_nm3,
                law.capillary_length_nm,
                solution_volume_nm3,
                total,
            )
        )
    )
    with jax.enable_x64(True):
        atol = np.float64(relative_tolerance * start.max())
        padded = np.concatenate([times, np.full(-times.size % _SAVE_BLOCK, times[-1])])
        molecules, well = _integrate(start, padded, constants, np.float64(relative_tolerance), atol, max_steps)
        molecules = np.asarray(molecules)[: times.size]
    if not bool(well):
        raise SimulationError("the ripening equations could not be integrated: raise max_steps or relative_tolerance")
    concentration = (total - molecules.sum(axis=1)) / solution_volume_nm3
    radii = np.where(
        molecules > _LAST_MOLECULE,
        np.cbrt(3.0 * law.volume_nm3 / (4.0 * math.pi) * np.maximum(molecules, 0.0)),
        0.0,
    )
    return RipeningSolution(times, molecules, radii, concentration, np.asarray(critical_radius(concentration, law)))

"""Formulas of pair and wall potentials: elementwise functions of a distance, and nothing else.

Each takes the distance first and its parameters as arrays that broadcast with it, keeps the dtype, and may
be differentiated. Units are those of the arguments. None is cut off unless its name says so: the cutoff
belongs to `pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

# erfc(x) exp(x^2) = sum_k a_k t^k, t = 1/(1 + 0.45 x), for x >= 0: least-maximum fit of the relative
# error (3.1e-7), made for this module. The form, not the numbers, is Hastings' (Abramowitz & Stegun 7.1.26).
_ERFC_SLOPE = 0.45
_ERFC_COEFFICIENTS = (
    0.25390937232119365,
    0.25362903508859247,
    0.22812473462444016,
    0.18849897212968517,
    0.04054640547037608,
    0.20860674650115535,
    -0.2401633013068103,
    0.06684834045461929,
)
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
_WALL_PREFACTOR = 1.5 * math.sqrt(3.0)

LJ_MINIMUM = 2.0 ** (1.0 / 6.0)
"""Distance of the Lennard-Jones minimum in units of sigma."""

WALL_93_MINIMUM = 3.0 ** (1.0 / 6.0)
"""Distance of the 9-3 minimum in units of sigma."""


@jax.custom_jvp
def erfc(x: jax.Array) -> jax.Array:
    """Complementary error function of a non-negative argument, cheap in single precision.

    float32: exp(-x^2) times a polynomial of degree 8 in 1/(1 + 0.45 x); other dtypes: `jax.lax.erfc`.

    x: any shape, float, >= 0 (not checked). Returns the same shape and dtype.
    Validity: in float32 within 1e-6 absolute for all x >= 0, 1.5e-6 relative for x < 3.5. The derivative is
    -2/sqrt(pi) exp(-x^2), exact, and shares the exponential: the reason for this function, as the pair loop
    of the Ewald sum spends most of its time here.
    """
    if x.dtype != jnp.float32:
        return jax.lax.erfc(x)
    t = 1 / (1 + _ERFC_SLOPE * x)
    total = jnp.zeros_like(t)
    for coefficient in reversed(_ERFC_COEFFICIENTS):
        total = (total + coefficient) * t
    return total * jnp.exp(-x * x)


@erfc.defjvp
def _erfc_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (x_dot,) = primals, tangents
    return erfc(x), -_TWO_OVER_SQRT_PI * jnp.exp(-x * x) * x_dot


@jax.custom_jvp
def _reciprocal(r: jax.Array) -> jax.Array:
    """1/r whose derivative -1/r^2 is made of 1/r itself: one division for every pair, in place of three."""
    return 1 / r


@_reciprocal.defjvp
def _reciprocal_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    inverse = _reciprocal(primals[0])
    return inverse, -(inverse * inverse) * tangents[0]


def mix_lorentz_berthelot(
    sigma_i: jax.Array, sigma_j: jax.Array, epsilon_i: jax.Array, epsilon_j: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Lennard-Jones parameters of an unlike pair.

    sigma = (sigma_i + sigma_j)/2, epsilon = sqrt(epsilon_i epsilon_j).

    All arguments: lengths or energies that broadcast together. Returns (sigma, epsilon).
    Validity: the square root has no finite derivative where an epsilon is zero.
    """
    return (sigma_i + sigma_j) / 2, jnp.sqrt(epsilon_i * epsilon_j)


def lennard_jones(r: jax.Array, sigma: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Lennard-Jones 12-6 potential, not cut.

    u(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6]; u(sigma) = 0; minimum -epsilon at 2^(1/6) sigma.

    r: > 0, length; sigma: length; epsilon: energy. Returns energy. Source: doi 10.1088/0959-5309/43/5/301.
    """
    sixth = (sigma * _reciprocal(r)) ** 6
    return 4 * epsilon * (sixth * sixth - sixth)


def lennard_jones_shifted(r: jax.Array, sigma: jax.Array, epsilon: jax.Array, cutoff: jax.Array | float) -> jax.Array:
    """Lennard-Jones potential whose energy and force go to zero at a cutoff of its own.

    u(r) = u_LJ(r) - u_LJ(c) - (r - c) u_LJ'(c) for r < c, 0 beyond.

    r -> `r`: > 0, length; c -> `cutoff`: length. Returns energy, continuous with its first derivative.
    Validity: the well is shallower than epsilon, at c = 2.5 sigma by 7.0 %. Source: doi 10.1063/1.1679007.
    """
    sixth = (sigma / cutoff) ** 6
    at_cutoff = 4 * epsilon * (sixth * sixth - sixth)
    slope_at_cutoff = -24 * epsilon * (2 * sixth * sixth - sixth) / cutoff
    shifted = lennard_jones(r, sigma, epsilon) - at_cutoff - (r - cutoff) * slope_at_cutoff
    return jnp.where(r < cutoff, shifted, 0)


def wca(r: jax.Array, sigma: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Weeks-Chandler-Andersen potential: the repulsive branch of Lennard-Jones.

    u(r) = u_LJ(r) + epsilon for r < 2^(1/6) sigma, 0 beyond; u(sigma) = epsilon.

    r: > 0, length; sigma: length; epsilon: energy. Returns energy >= 0, continuous with its first derivative.
    Source: doi 10.1063/1.1674820.
    """
    return jnp.where(r < LJ_MINIMUM * sigma, lennard_jones(r, sigma, epsilon) + epsilon, 0)


def yukawa(r: jax.Array, charge_product: jax.Array, screening: jax.Array | float) -> jax.Array:
    """Screened Coulomb potential.

    u(r) = q_i q_j exp(-kappa r) / r; kappa = 0 is the bare Coulomb potential.

    r: > 0, length; q_i q_j -> `charge_product`: charge^2; kappa -> `screening`: 1/length.
    Returns charge^2/length.
    """
    return charge_product * jnp.exp(-screening * r) / r


def ewald_real(r: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """Real-space part of the Ewald sum for unit charges.

    u(r) = erfc(alpha r) / r.

    r: > 0, length; alpha: >= 0, 1/length. Returns 1/length. Validity: in float32 to 1.5e-6, see `erfc`.
    Source: doi 10.1002/andp.19213690304.
    """
    return erfc(alpha * r) * _reciprocal(r)


def wall_93(z: jax.Array, sigma: jax.Array, depth: jax.Array) -> jax.Array:
    """9-3 potential of a flat wall, from its plane at z = 0.

    u(z) = (3 sqrt(3)/2) w [(sigma/z)^9 - (sigma/z)^3]; u(sigma) = 0; minimum -w at z = 3^(1/6) sigma.

    z: > 0, distance from the plane; sigma: length; w -> `depth`: energy. Returns energy.
    Source: Lennard-Jones 12-6 integrated over a half space, doi 10.1063/1.434727.
    """
    cube = (sigma / z) ** 3
    return _WALL_PREFACTOR * depth * (cube**3 - cube)


def wall_93_repulsive(z: jax.Array, sigma: jax.Array, depth: jax.Array) -> jax.Array:
    """9-3 wall without its attraction: cut at its minimum and lifted.

    u(z) = u_93(z) + w for z < 3^(1/6) sigma, 0 beyond; u(sigma) = w.

    z: > 0, distance from the plane; sigma: length; w -> `depth`: energy. Returns energy >= 0, continuous
    with its first derivative.
    """
    return jnp.where(z < WALL_93_MINIMUM * sigma, wall_93(z, sigma, depth) + depth, 0)


PAIR_POTENTIALS: dict[str, Callable[..., jax.Array]] = {
    "lennard-jones": lennard_jones,
    "lennard-jones-shifted": lennard_jones_shifted,
    "wca": wca,
    "yukawa": yukawa,
    "ewald-real": ewald_real,
}
"""Potentials of a pair distance, by name."""

WALL_POTENTIALS: dict[str, Callable[..., jax.Array]] = {
    "wall-93": wall_93,
    "wall-93-repulsive": wall_93_repulsive,
}
"""Potentials of a distance from a wall, by name."""

"""How no-slip walls slow the diffusion of a sphere: its self-mobility as a function of the height."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

SMALLEST_GAP = 0.01
"""Gap between a sphere and a wall, in radii, below which the mobility no longer falls: a smooth sphere would never
touch, beads in a potential do."""

_LUBRICATION_RANGE = 0.1


class WallMobility(NamedTuple):
    """Beads as spheres between no-slip walls at z = 0 and z = height.

    radius: (N, 1) nm, hydrodynamic radius, 0 for a bead that the walls do not slow; height: () nm, infinite where
    there is no upper wall.
    """

    radius: Array
    height: Array


def _inverse_gap(distance: Array, radius: Array) -> Array:
    """a / h with h = distance - a, held at its value at SMALLEST_GAP; 0 for a bead without a radius."""
    # The denominator is made safe first: without a radius both are 0 for a bead on the wall.
    gap = jnp.maximum(distance - radius, SMALLEST_GAP * radius)
    return jnp.where(radius > 0, radius / jnp.where(radius > 0, gap, jnp.ones_like(gap)), jnp.zeros_like(gap))


def perpendicular_friction(distance: Array, radius: Array) -> tuple[Array, Array]:
    """Friction of a sphere that moves towards a no-slip wall, over its free friction, and the slope of that.

        f(h) = (6 h^2 + 9 a h + 2 a^2) / (6 h^2 + 2 a h),   h = z - a

    z -> `distance`: nm, of the centre from the wall; a -> `radius`: nm, 0 gives f = 1; arrays of one shape.
    Returns (f, df/dz), the second in 1/nm; below a gap of SMALLEST_GAP radii f stays constant and its slope is 0.
    Validity: 1/f has the limits h / a at contact and 1 far away, and is within 0.8 % of the exact series in between.

    Source: Bevan and Prieve, J. Chem. Phys. 113, 1228 (2000), doi 10.1063/1.481900; the exact series is that of
    Brenner, Chem. Eng. Sci. 16, 242 (1961), doi 10.1016/0009-2509(61)80035-3.
    """
    s = _inverse_gap(distance, radius)
    below = 6.0 + 2.0 * s
    friction = (6.0 + 9.0 * s + 2.0 * s**2) / below
    held = distance - radius < SMALLEST_GAP * radius
    # df/dz = -(df/ds) s^2 / a, with s = a / h.
    per_radius = jnp.where(radius > 0, s**2 / jnp.where(radius > 0, radius, jnp.ones_like(radius)), jnp.zeros_like(s))
    slope = -(42.0 + 24.0 * s + 4.0 * s**2) / below**2 * per_radius
    return friction, jnp.where(held, jnp.zeros_like(slope), slope)


def parallel_friction(distance: Array, radius: Array) -> Array:
    """Friction of a freely turning sphere that moves along a no-slip wall, over its free friction.

        1/f = 1 - 9/16 x + 1/8 x^3 - 45/256 x^4 - 1/16 x^5,   x = a / z,
        and not above 2 (L + 0.9543) / (L^2 + 3.188 L + 1.591),   L = ln(a / h),   h = z - a,   where h < a / 10

    z -> `distance`: nm, of the centre from the wall; a -> `radius`: nm, 0 gives f = 1; arrays of one shape. Below a
    gap of SMALLEST_GAP radii f stays constant.
    Validity: within 5 % of the exact solution (the first form alone is 24 % off at h = a / 200 and does not vanish
    at contact). The second form follows from the asymptotic forces and torques of translation and rotation for a
    sphere without torque.

    Source: Happel and Brenner, Low Reynolds Number Hydrodynamics (1983), chapter 7; Goldman, Cox and Brenner, Chem.
    Eng. Sci. 22, 637 (1967), doi 10.1016/0009-2509(67)80047-2.
    """
    s = _inverse_gap(distance, radius)
    x = s / (1.0 + s)
    far = 1.0 - 9.0 / 16.0 * x + x**3 / 8.0 - 45.0 / 256.0 * x**4 - x**5 / 16.0
    near = s > 1.0 / _LUBRICATION_RANGE
    log = jnp.log(jnp.where(near, s, jnp.full_like(s, 1.0 / _LUBRICATION_RANGE)))
    contact = 2.0 * (log + 0.9543) / (log**2 + 3.188 * log + 1.591)
    return 1.0 / jnp.where(near, jnp.minimum(far, contact), far)


def hindered_diffusivity(z: Array, diffusivity: Array, walls: WallMobility) -> tuple[Array, Array, Array]:
    """Diffusivities of spheres between two no-slip walls, and the slope of the one across them.

        D_i(z) = D / [1 + (f_i(z) - 1) + (f_i(H - z) - 1)],   i = along, across the walls

    z: (N, 1) nm, height of the centres; D -> `diffusivity`: (N, 1) nm^2/ps, far from walls; H -> `walls.height`.
    Returns (D_along, D_across, dD_across/dz), each (N, 1), nm^2/ps and nm/ps, for the caller's force-free drift.
    Validity: the extra frictions of two walls are added (Oseen), exact for one wall or a sphere that is small beside
    the distance of the walls; hydrodynamic interactions between spheres are left out.

    Source: superposition as in Happel and Brenner, Low Reynolds Number Hydrodynamics (1983), chapter 7.
    """
    low, high = z, walls.height - z
    along = parallel_friction(low, walls.radius) + parallel_friction(high, walls.radius) - 1.0
    f_low, slope_low = perpendicular_friction(low, walls.radius)
    f_high, slope_high = perpendicular_friction(high, walls.radius)
    across = f_low + f_high - 1.0
    d_across = diffusivity / across
    return diffusivity / along, d_across, -d_across * (slope_low - slope_high) / across

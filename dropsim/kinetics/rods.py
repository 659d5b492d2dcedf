"""The shape of a Li2S rod on the electrode: its ends grow faster than its sides."""

from __future__ import annotations

from typing import Any

import numpy as np


def rod_shape(volume: Any, seed_nm: float, growth_ratio: float, xp: Any = np) -> tuple[Any, Any]:
    """Length and width of rods of given volumes.

        V = L w^2,   L = w_0 + beta (w - w_0)   for V > w_0^3, a cube below

    Ends move beta times as fast as sides, from a cube of edge w_0, so that the aspect ratio rises from 1 towards beta.
    volume: any shape, nm^3; seed_nm: w_0; growth_ratio: beta >= 1; xp: numpy or jax.numpy. Returns (L, w), nm, 0 where
    there is no volume. The same path is followed back when a rod dissolves.
    """
    exists = volume > 0.0
    filled = xp.where(exists, volume, 1.0)
    edge = xp.cbrt(filled)
    # w = t + a solves beta w^3 - (beta - 1) w_0 w^2 = V; both of Cardano's terms are positive: no digit is lost.
    a = (growth_ratio - 1.0) * seed_nm / (3.0 * growth_ratio)
    half = filled / (2.0 * growth_ratio)
    s = xp.cbrt(half + a**3 + xp.sqrt(half * (half + 2.0 * a**3)))
    width = xp.where(edge > seed_nm, a + s + a * a / s, edge)
    length = xp.where(edge > seed_nm, seed_nm + growth_ratio * (width - seed_nm), edge)
    return xp.where(exists, length, 0.0), xp.where(exists, width, 0.0)


def reacting_area(length: Any, width: Any, reach_nm: float, growth_ratio: float, xp: Any = np) -> Any:
    """Area that takes up Li2S2, nm^2, ends weighted by their speed.

        a = 2 min(w, l_tun) (L + beta w)

    Electrons come from the electrode through at most l_tun (reach_nm) of Li2S, hence only that much height of the
    faces reacts, and the top face, which the electrons would have to cross the rod to reach, is left out.
    """
    return 2.0 * xp.minimum(width, reach_nm) * (length + growth_ratio * width)


def reachable_share(width: Any, reach_nm: float, xp: Any = np) -> Any:
    """Share of a rod's Li2S within tunnelling range of the electrode: min(1, l_tun/w); 0 without a rod."""
    exists = width > 0.0
    return xp.where(exists, xp.minimum(1.0, reach_nm / xp.where(exists, width, 1.0)), 0.0)

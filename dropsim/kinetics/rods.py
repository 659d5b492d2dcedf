"""The shape of a Li2S rod on the electrode: its ends grow faster than its sides."""

from __future__ import annotations

from typing import Any

import numpy as np

# Newton's steps for the width: from above on a convex function, where 12 leave only rounding.
_NEWTON_STEPS = 12


def rod_shape(volume: Any, seed_nm: float, growth_ratio: float, xp: Any = np) -> tuple[Any, Any]:
    """Length and width of rods of given volumes.

        V = L w^2,   L = w_0 + beta (w - w_0)   for V > w_0^3, a cube below

    Ends move beta times as fast as sides, from a cube of edge w_0, so that the aspect ratio rises from 1 towards beta.
    volume: any shape, nm^3; seed_nm: w_0; growth_ratio: beta >= 1; xp: numpy or jax.numpy. Returns (L, w), nm, 0 where
    there is no volume. The same path is followed back when a rod dissolves.
    """
    exists = volume > 0.0
    edge = xp.cbrt(xp.where(exists, volume, 1.0))
    grown = edge > seed_nm
    # L >= w, so that the cube's edge bounds the width from above.
    width = xp.where(grown, edge, 2.0 * seed_nm)
    for _ in range(_NEWTON_STEPS):
        length = seed_nm + growth_ratio * (width - seed_nm)
        excess = xp.where(grown, length * width * width - volume, 0.0)
        width = width - excess / (2.0 * length * width + growth_ratio * width * width)
    length = seed_nm + growth_ratio * (width - seed_nm)
    width = xp.where(grown, width, edge)
    length = xp.where(grown, length, edge)
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

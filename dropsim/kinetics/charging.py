"""Dissolution of solid Li2S while E > E0: a first layer that opens slowly, and a reach that is limited to tunnelling.

Two rules, both needed for "slow, then fast":
- First layer. Each place of the electrode's first layer of Li2S is closed at first, and opens with the hazard
  k_open exp(-W). The unit in it leaves with that; what lies above it is then free to open with k_open.
- Reach. Li2S is an insulator: only solid within the tunnelling range of a wired centre exchanges electrons.

Where the reached part goes, the rest of the crystal settles onto the contacts: it keeps the shape of a cap on the
electrode, and its lowest layer is reached next. This is a choice. With a crystal held in place instead, whatever lies
beyond the range would stay for ever, while the microscope sees the electrode clear at the end of each charge.
Lengths in nm, rates in 1/s; every function is one of arrays and may be traced.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

# Gauss-Legendre points on 0..1: the sections of a cap are smooth over the tunnelling range.
_NODES, _WEIGHTS = (0.5 * np.polynomial.legendre.leggauss(12)[0] + 0.5, 0.5 * np.polynomial.legendre.leggauss(12)[1])


def reached_volume(radius: Array, cosine: Array, centre_density: Array, tunnelling_range: Array, depth: Array) -> Array:
    """Volume of a cap within the tunnelling range of centres strewn at random on the electrode, averaged over them.

        V = int_0^min(d, l, h) pi [R^2 - (z + R c)^2] {1 - exp[-pi rho (l^2 - z^2)]} dz,  h = R (1 - c)

    A point at height z is reached if a centre lies within (l^2 - z^2)^(1/2) of its foot: for random centres with the
    probability in braces. rho -> infinity is a reactive plane: every point below l is reached.
    radius: R of curvature, nm; cosine: c of the contact angle; centre_density: rho, wired centres per nm^2;
    tunnelling_range: l, nm; depth: d, nm, at most how far from the electrode (infinite: the whole reach). Returns nm^3.
    """
    height = jnp.minimum(jnp.minimum(depth, tunnelling_range), radius * (1.0 - cosine))
    # One more axis for the nodes, last.
    reach, density, top = (jnp.expand_dims(x, -1) for x in jnp.broadcast_arrays(radius, centre_density, height))
    nodes = jnp.reshape(jnp.asarray(_NODES, radius.dtype), (1,) * (top.ndim - 1) + (-1,))
    weights = jnp.reshape(jnp.asarray(_WEIGHTS, radius.dtype), nodes.shape)
    z = top * nodes
    section = jnp.pi * jnp.maximum(reach**2 - (z + reach * cosine) ** 2, 0.0)
    seen = -jnp.expm1(-jnp.pi * density * jnp.maximum(tunnelling_range**2 - z**2, 0.0))
    return height * jnp.sum(weights * section * seen, axis=-1)


def widest_section(radius: Array, cosine: Array, tunnelling_range: Array) -> Array:
    """Largest section of a cap within the tunnelling range of the electrode, pi [R^2 - (z + R c)^2] in nm^2.

    At the electrode for contact angles up to 90 degrees, higher up for an overhanging cap: what a number of contacts
    is spread over.
    """
    z = jnp.clip(-radius * cosine, 0.0, tunnelling_range)
    return jnp.pi * jnp.maximum(radius**2 - (z + radius * cosine) ** 2, 0.0)


def opening_rates(
    reached: Array, first_layer: Array, open_share: Array, opening_rate: Array, barrier_rate: Array
) -> tuple[Array, Array]:
    """Units that open per second, and how fast the open share of the first layer grows.

        dN_s/dt = -[k_open s N_reach + k_b (1 - s) N_1],   ds/dt = k_b (1 - s),   k_b = k_open exp(-W)

    reached: N_reach, solid units within reach; first_layer: N_1, those of the first layer; open_share: s, 0 at the
    start of a charge; opening_rate: k_open, 1/s; barrier_rate: k_b, 1/s. Returns (-dN_s/dt, ds/dt) in 1/s. For W = 0
    and s = 0 the units behind a closed place still wait for it.
    """
    closed = 1.0 - open_share
    return opening_rate * open_share * reached + barrier_rate * closed * first_layer, barrier_rate * closed

"""Cardinal B-splines: the shape that a charge takes on a mesh."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def spline_weights(fraction: jax.Array, order: int) -> tuple[jax.Array, jax.Array]:
    """Weights of the `order` mesh points that a charge touches along an axis, and their derivatives.

    w_j = M_p(f + p - 1 - j),  dw_j/df = M_{p-1}(f + p - 1 - j) - M_{p-1}(f + p - 2 - j),  j = 0 ... p - 1,
    M_k(x) = [x M_{k-1}(x) + (k - x) M_{k-1}(x - 1)]/(k - 1), M_1 = 1 on [0, 1).

    f -> `fraction`: any shape, in [0, 1), the place within its cell; p -> `order`: static, >= 2.
    Returns (weights, derivatives), each (order, *shape of fraction), in the dtype of `fraction`; weights are
    positive and sum to 1. Source: doi 10.1063/1.470117, section II.
    """
    weights = [jnp.ones_like(fraction)]
    below = weights
    zero = jnp.zeros_like(fraction)
    for k in range(2, order + 1):
        below = weights
        lower, upper = [zero, *below], [*below, zero]
        weights = [((fraction + (k - 1 - j)) * lower[j] + (1 - fraction + j) * upper[j]) / (k - 1) for j in range(k)]
    lower, upper = [zero, *below], [*below, zero]
    return jnp.stack(weights), jnp.stack([a - b for a, b in zip(lower, upper, strict=True)])


def spline_transform(turns: np.ndarray, order: int) -> np.ndarray:
    """Fourier transform of the centred spline, on the host.

    U(t) = [sin(pi t)/(pi t)]^p.

    t -> `turns`: wave number times mesh spacing over 2 pi, any shape; p -> `order`. Returns the same shape.
    """
    return np.sinc(turns) ** order

"""Counter-based Gaussian noise: a pure function of (seed, replica, stream, step) and of the row.

The bits come from threefry (`jax.random.bits`), whose output is the same in every jax version; the
transform to a Gaussian is written here, because that of `jax.random.normal` is not. Row i of the noise
does not depend on how many rows follow it, so padding a system leaves its path alone.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array


def replica_key(seed: int | Array, replica: int | Array) -> Array:
    """The key of one replica, as plain words that a checkpoint can hold.

    seed, replica: non-negative integers below 2^32. Returns (2,) uint32.
    """
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), replica)
    return jax.random.key_data(key)


def step_key(key: Array, stream: int, step: Array) -> Array:
    """The typed key of one use (`stream`) of the noise at one step.

    key: (2,) uint32 from `replica_key`; stream: a small constant per use; step: () integer, whose two
    32-bit halves are both folded in, so that runs beyond 2^32 steps do not repeat.
    """
    typed = jax.random.wrap_key_data(key, impl="threefry2x32")
    step = jnp.asarray(step)
    low = step.astype(jnp.uint32)
    typed = jax.random.fold_in(jax.random.fold_in(typed, stream), low)
    if step.dtype.itemsize == 8:
        typed = jax.random.fold_in(typed, (step >> 32).astype(jnp.uint32))
    return typed


def uniform(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Uniform numbers in the open interval (0, 1), the same in float32 and float64 up to rounding.

    key: typed key from `step_key`. Float32 keeps the leading 23 bits, float64 all 32.
    """
    bits = jax.random.bits(key, shape, jnp.uint32)
    if jnp.dtype(dtype).itemsize < 8:
        return ((bits >> 9).astype(dtype) + jnp.asarray(0.5, dtype)) * jnp.asarray(2.0**-23, dtype)
    return (bits.astype(dtype) + jnp.asarray(0.5, dtype)) * jnp.asarray(2.0**-32, dtype)


def bernoulli(key: Array, probability: Array, shape: tuple[int, ...]) -> Array:
    """Events of the given probability, resolved to 2^-32 in float32 too (a uniform there has 2^-23).

    key: typed key; probability: broadcastable to shape, clipped to [0, 1]. Returns bool, of that shape.
    """
    bits = jax.random.bits(key, shape, jnp.uint32)
    top = jnp.asarray(2.0**32, probability.dtype)
    certain = probability >= 1
    scaled = jnp.where(certain, jnp.zeros_like(probability), jnp.maximum(probability, 0) * top)
    # A float32 just below one still rounds to at most 2^32 - 256, so the conversion cannot overflow.
    return jnp.broadcast_to(certain, shape) | (bits < jnp.broadcast_to(scaled.astype(jnp.uint32), shape))


def gaussian_vectors(key: Array, n_rows: int, dtype: jnp.dtype) -> Array:
    """Independent standard Gaussian 3-vectors by the Box-Muller transform.

        x = sqrt(-2 ln u) cos(2 pi w),   y = sqrt(-2 ln u) sin(2 pi w)

    key: typed key; returns (n_rows, 3). Each row uses four words, hence two pairs, and drops the fourth
    number. The tail ends at sqrt(2 ln 2^24) = 5.8 (float32) or 6.7 (float64).

    Source: Box and Muller, Ann. Math. Stat. 29, 610 (1958), doi 10.1214/aoms/1177706645.
    """
    word = uniform(key, (n_rows, 4), dtype)
    radius = jnp.sqrt(-2.0 * jnp.log(word[:, :2]))
    angle = jnp.asarray(2.0 * math.pi, dtype) * word[:, 2:]
    return jnp.concatenate([radius * jnp.cos(angle), radius[:, :1] * jnp.sin(angle[:, :1])], axis=1)

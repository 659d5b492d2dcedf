"""The simulation box: nearest images, wrapped positions with image counters, unwrapping.

A box is orthorhombic, spans [0, L) along each axis, and is periodic along the axes that say so. The slab
geometry is periodic in x and y and has walls at z = 0 and z = L_z.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Box:
    """An orthorhombic box.

    lengths: (3,) float, edge lengths; periodic: which axes repeat (static, part of the compiled program).
    """

    lengths: jax.Array
    periodic: tuple[bool, bool, bool] = field(metadata={"static": True})


def _lengths_like(array: jax.Array, box: Box) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(box.lengths).astype(array.dtype), array.shape)


def _periodic_like(array: jax.Array, box: Box) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(box.periodic), array.shape)


def minimum_image(displacement: jax.Array, box: Box) -> jax.Array:
    """Shortest periodic image of a displacement.

    d -> d - L round(d / L) along periodic axes, unchanged along the others.

    d -> `displacement`: (..., 3) float, any image; L -> `box.lengths`.
    Returns (..., 3) in the dtype of `displacement`, each periodic component in [-L/2, L/2].
    Validity: the nearest image of an orthorhombic box is found axis by axis; only it is found, so sums over
    pairs need a cutoff of at most half the shortest periodic length.
    """
    lengths = _lengths_like(displacement, box)
    shifts = jnp.where(_periodic_like(displacement, box), jnp.round(displacement / lengths), 0)
    return displacement - lengths * shifts


def wrap(position: jax.Array, image: jax.Array, box: Box) -> tuple[jax.Array, jax.Array]:
    """Position moved into [0, L) along periodic axes, with the image counters that remember the moves.

    x -> x - n L, image -> image + n, n = floor(x / L).

    x -> `position`: (N, 3) float; image -> `image`: (N, 3) int32.
    Returns (position, image). x + image L is kept to the rounding of the dtype; non-periodic axes stay.
    Validity: the result is below L also where x - n L rounds up to L (a tiny negative x).
    """
    lengths = _lengths_like(position, box)
    periodic = _periodic_like(position, box)
    turns = jnp.floor(position / lengths)
    moved = position - turns * lengths
    # Rounding may leave moved just below 0 (x / L rounded up to an integer) or at L (tiny negative x).
    at_end = moved >= lengths
    moved = jnp.where(at_end | (moved < 0), 0, moved)
    turns = turns.astype(image.dtype) + at_end.astype(image.dtype)
    return jnp.where(periodic, moved, position), jnp.where(periodic, image + turns, image)


def unwrap(position: jax.Array, image: jax.Array, box: Box) -> jax.Array:
    """Continuous position of a particle whose turns through the box were counted.

    X = x + image L along periodic axes.

    x -> `position`: (..., 3) float, wrapped; image -> `image`: (..., 3) int32. Returns (..., 3).
    Validity: float32 loses digits as the image grows; form differences of images first where that counts.
    """
    lengths = _lengths_like(position, box)
    return position + jnp.where(_periodic_like(position, box), image.astype(position.dtype) * lengths, 0)

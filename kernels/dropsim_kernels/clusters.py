"""Connected components of the contact graph, at fixed shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from dropsim_kernels.box import Box, minimum_image


def squared_distances(first: Array, second: Array, box: Box) -> Array:
    """Squared minimum-image distances: (A, 3), (B, 3) -> (A, B), nm^2."""
    displacement = minimum_image(first[:, None, :] - second[None, :, :], box)
    return jnp.sum(displacement**2, axis=-1)


def contact_graph(
    sulfur_position: Array, li_position: Array, box: Box, li_bridge: Array, sulfur_contact: Array
) -> Array:
    """Which sulfur beads touch: directly, or through one Li+ that is close to both.

        A_ij = |r_i - r_j| < sulfur_contact   or   any l: |r_i - r_l| < li_bridge and |r_j - r_l| < li_bridge

    sulfur_position: (S, 3); li_position: (L, 3); distances in nm. Returns (S, S) bool, symmetric, true on
    the diagonal. Cost: S^2 + S L distances and one (S, L) (L, S) product.
    """
    near = squared_distances(sulfur_position, sulfur_position, box) < sulfur_contact**2
    bound = (squared_distances(sulfur_position, li_position, box) < li_bridge**2).astype(jnp.float32)
    # Counts are small integers, exact in float32 at any matmul precision.
    bridged = jnp.matmul(bound, bound.T) > 0.5
    return near | bridged | jnp.eye(sulfur_position.shape[0], dtype=bool)


def connected_components(adjacency: Array) -> Array:
    """Label each vertex by the smallest index in its component.

    adjacency: (S, S) bool, symmetric, true on the diagonal; returns (S,) int32. Labels spread to
    neighbours and jump along the labels' own labels, so the number of sweeps grows as the logarithm of the
    longest path in practice (at worst linearly).
    """
    n_vertices = adjacency.shape[0]
    start = jnp.arange(n_vertices, dtype=jnp.int32)

    def spread(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        label, _ = carry
        best = jnp.min(jnp.where(adjacency, label[None, :], jnp.int32(n_vertices)), axis=1, initial=n_vertices)
        jumped = jnp.minimum(best, best[best])
        return jumped, jnp.any(jumped != label)

    label, _ = jax.lax.while_loop(lambda carry: carry[1], spread, (start, jnp.array(True)))
    return label

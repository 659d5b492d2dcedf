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


def connected_components(direct: Array, bridges: Array, member: Array) -> Array:
    """Label each vertex by the smallest index in its component.

    direct: (K, S) int32, vertices that touch each vertex, symmetric; bridges: (B, L) int32, vertices that each
    bridge joins; both padded with S. member: (S,) bool, the vertices of the graph: any other is a component of
    its own. Returns (S,) int32.

    In each sweep a component that touches a smaller label is hung below that, and every chain of labels is cut
    short (Shiloach and Vishkin, J. Algorithms 3, 57 (1982), doi 10.1016/0196-6774(82)90008-6): the number of
    sweeps grows as the logarithm of the longest path. Cost of a sweep: K S + B L reads.
    """
    n_vertices = member.shape[0]
    own = jnp.arange(n_vertices, dtype=jnp.int32)
    outside = jnp.int32(n_vertices)
    roots = jnp.arange(n_vertices + 1, dtype=jnp.int32)

    def sweep(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        label, _ = carry
        padded = jnp.append(label, outside)
        lowest = jnp.min(padded[direct], axis=0, initial=n_vertices)
        parent = roots.at[label].min(jnp.where(member, jnp.minimum(lowest, label), outside))
        joined = padded[bridges]
        lowest = jnp.min(joined, axis=0, initial=n_vertices)
        highest = jnp.max(jnp.where(joined < outside, joined, -1), axis=0, initial=-1)
        parent = parent.at[jnp.where(highest < 0, outside, highest)].min(lowest)
        for _ in range(3):
            parent = parent[parent]
        label = parent[label]
        return label, jnp.any(label != carry[0])

    start = jnp.where(member, own, outside)
    label, _ = jax.lax.while_loop(lambda carry: carry[1], sweep, (start, jnp.array(True)))
    return jnp.where(member, label, own)

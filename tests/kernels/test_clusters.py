"""Connected components, against a naive search."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.clusters import connected_components

labels = jax.jit(connected_components)


def naive_components(graph, member):
    label = np.arange(len(graph))
    seen = ~member
    for first in range(len(graph)):
        stack = [first]
        while stack:
            vertex = stack.pop()
            if not seen[vertex]:
                seen[vertex] = True
                label[vertex] = first
                stack.extend(np.flatnonzero(graph[vertex]))
    return label


def as_table(graph, width):
    """Rows of a boolean matrix as a table of columns, (width, rows), padded with the number of columns."""
    table = np.full((width, len(graph)), graph.shape[1])
    for row, line in enumerate(graph):
        table[: line.sum(), row] = np.flatnonzero(line)
    return jnp.asarray(table, jnp.int32)


@pytest.mark.parametrize("seed", range(5))
def test_labels_match_a_naive_search(seed):
    rng = np.random.default_rng(seed)
    n_vertices, n_bridges = 60, 25
    direct = np.triu(rng.random((n_vertices, n_vertices)) < 0.012, 1)
    direct = direct | direct.T
    bridges = rng.random((n_bridges, n_vertices)) < 0.04
    member = rng.random(n_vertices) < 0.9
    joined = bridges & member
    graph = (direct & member & member[:, None]) | (joined.T.astype(int) @ joined.astype(int) > 0)
    expected = naive_components(graph, member)
    assert 1 < len(set(expected)) < n_vertices
    found = labels(as_table(direct, 12), as_table(bridges, 12), jnp.asarray(member))
    np.testing.assert_array_equal(found, expected)


def test_a_long_chain_is_one_component():
    """In whatever order its members are named."""
    n_vertices = 257
    graph = np.zeros((n_vertices, n_vertices), bool)
    order = np.random.default_rng(2).permutation(n_vertices)
    graph[order[:-1], order[1:]] = graph[order[1:], order[:-1]] = True
    none = jnp.zeros((4, 0), jnp.int32)
    found = labels(as_table(graph, 2), none, jnp.ones((n_vertices,), bool))
    np.testing.assert_array_equal(found, np.zeros(n_vertices))
    # The same chain, held together by bridges of two.
    bridges = np.zeros((n_vertices - 1, n_vertices), bool)
    bridges[np.arange(n_vertices - 1), order[:-1]] = bridges[np.arange(n_vertices - 1), order[1:]] = True
    nothing = jnp.full((2, n_vertices), n_vertices, jnp.int32)
    found = labels(nothing, as_table(bridges, 2), jnp.ones((n_vertices,), bool))
    np.testing.assert_array_equal(found, np.zeros(n_vertices))


def test_who_is_not_a_member_joins_nothing():
    graph = np.zeros((3, 3), bool)
    graph[[0, 1, 1, 2], [1, 0, 2, 1]] = True
    none = jnp.zeros((2, 0), jnp.int32)
    member = jnp.asarray([True, False, True])
    np.testing.assert_array_equal(labels(as_table(graph, 2), none, member), [0, 1, 2])

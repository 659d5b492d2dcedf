"""The contact graph and its components, against a naive search."""

import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.clusters import connected_components, contact_graph


def naive_graph(sulfur, li, lengths, li_bridge, sulfur_contact):
    def distance(a, b):
        d = a - b
        d[:2] -= lengths[:2] * np.round(d[:2] / lengths[:2])
        return np.linalg.norm(d)

    n = len(sulfur)
    graph = np.eye(n, dtype=bool)
    for i in range(n):
        for j in range(n):
            direct = distance(sulfur[i].copy(), sulfur[j]) < sulfur_contact
            bridged = any(
                distance(sulfur[i].copy(), x) < li_bridge and distance(sulfur[j].copy(), x) < li_bridge for x in li
            )
            graph[i, j] |= direct or bridged
    return graph


def naive_components(graph):
    label = np.full(len(graph), -1)
    for first in range(len(graph)):
        stack = [first] if label[first] < 0 else []
        while stack:
            vertex = stack.pop()
            if label[vertex] < 0:
                label[vertex] = first
                stack.extend(np.flatnonzero(graph[vertex]))
    return label


def test_graph_and_labels_match_a_naive_search():
    rng = np.random.default_rng(1)
    lengths = np.array([4.0, 5.0, 3.0])
    for _ in range(5):
        sulfur, li = rng.random((30, 3)) * lengths, rng.random((40, 3)) * lengths
        box = Box(jnp.asarray(lengths), (True, True, False))
        graph = contact_graph(jnp.asarray(sulfur), jnp.asarray(li), box, jnp.float64(0.5), jnp.float64(0.6))
        expected = naive_graph(sulfur, li, lengths, 0.5, 0.6)
        np.testing.assert_array_equal(graph, expected)
        np.testing.assert_array_equal(connected_components(graph), naive_components(expected))


def test_a_long_chain_is_one_component():
    n = 257
    graph = np.eye(n, dtype=bool)
    order = np.random.default_rng(2).permutation(n)
    graph[order[:-1], order[1:]] = graph[order[1:], order[:-1]] = True
    np.testing.assert_array_equal(connected_components(jnp.asarray(graph)), np.zeros(n))


def test_no_lithium():
    box = Box(jnp.array([10.0, 10.0, 10.0]), (True, True, False))
    sulfur = jnp.array([[0.1, 5.0, 5.0], [9.9, 5.0, 5.0], [5.0, 5.0, 5.0]])
    graph = contact_graph(sulfur, jnp.zeros((0, 3)), box, jnp.float64(0.5), jnp.float64(0.6))
    np.testing.assert_array_equal(connected_components(graph), [0, 0, 2])

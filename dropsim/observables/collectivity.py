"""How collective the charging of a droplet is: hopping over its contact graph against injection at its contacts.

The mean of the hopping process is linear, so that the slowest way in which a droplet levels out is the spectral
gap of its contact graph.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from scipy.sparse import coo_matrix, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import LI2S, S6, Integers, checked_frames, contact_edges

SLOTS = 10
# Above this a dense eigenvalue costs more than the sparse factorisation.
DENSE_UNITS = 800


@dataclasses.dataclass(frozen=True)
class LiquidGraph:
    """The largest connected group of liquid units of one frame.

    members: (N,) bead indices; edges: (E, 2) indices into members; touches_solid: whether a member is in contact with
    a solid unit, so that its droplet converts.
    """

    members: Integers
    edges: Integers
    touches_solid: bool


def largest_liquid_graph(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    *,
    li_bridge_nm: float = 0.63,
    s6_contact_nm: float = 1.05,
    exclude: ArrayLike | None = None,
) -> LiquidGraph:
    """The largest group of S6 that is connected through Li-bridges or direct contacts, of one frame.

    Solid and intermediate units carry no hopping electrons, and are left out. position: (N, 3) nm; species: (N,);
    lengths: (3,) nm; exclude: (N,) bool, units that share nothing (adsorbed at a bare electrode), None for none.
    Ties: the group with the lowest bead index. Raises AnalysisError where there is no S6.
    """
    where, code, box = checked_frames(np.asarray(position)[None], np.asarray(species)[None], lengths)
    liquid = code[0] == S6
    if exclude is not None:
        liquid &= ~np.asarray(exclude, dtype=bool)
    index = np.flatnonzero(liquid)
    if not index.size:
        raise AnalysisError("the frame has no liquid S6")
    local = np.full(code.shape[1], -1, dtype=np.int64)
    local[index] = np.arange(index.size)
    # Li between two liquid units bridges them whatever else it touches; other sulfur does not.
    every = contact_edges(where[0], code[0], box, li_bridge_nm=li_bridge_nm, s6_contact_nm=s6_contact_nm)
    edges = local[every]
    edges = edges[(edges >= 0).all(axis=1)]
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(index.size, index.size))
    label = connected_components(graph, directed=False)[1]
    size = np.bincount(label)
    inside = label == label[np.argmax(size[label])]
    again = np.full(index.size, -1, dtype=np.int64)
    again[inside] = np.arange(int(inside.sum()))
    kept = again[edges]
    member = np.zeros(code.shape[1], dtype=bool)
    member[index[inside]] = True
    solid = code[0] == LI2S
    touches = member[every[:, 0]] & solid[every[:, 1]] | member[every[:, 1]] & solid[every[:, 0]]
    return LiquidGraph(index[inside], kept[(kept >= 0).all(axis=1)], bool(touches.any()))


def spectral_gap(edges: ArrayLike, n: int) -> float:
    """lambda_2 of the Laplacian of a connected graph: its second-smallest eigenvalue.

    L = D - A, with the degrees on the diagonal

    edges: (E, 2) int, each edge once; n: units. Returns a pure number: 0 for a graph in several pieces, n for the
    complete graph, 2 - 2 cos(pi / n) for a path; infinite for a single unit, which has nothing to level out.
    Dense up to 800 units, shift and invert above. Raises AnalysisError for n < 1 or edges outside 0..n - 1.
    """
    pair = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if n < 1 or (pair.size and not (pair.min() >= 0 and pair.max() < n)):
        raise AnalysisError(f"edges of a graph of {n} units must lie in 0..{n - 1}")
    if n == 1:
        return math.inf
    one = np.ones(len(pair))
    adjacency = coo_matrix((one, (pair[:, 0], pair[:, 1])), shape=(n, n)).tocsr()
    if connected_components(adjacency, directed=False)[0] > 1:
        return 0.0
    adjacency = adjacency + adjacency.T
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    if n <= DENSE_UNITS:
        laplacian = np.diag(degree) - adjacency.toarray()
        return float(eigh(laplacian, subset_by_index=(1, 1), eigvals_only=True)[0])
    laplacian = (coo_matrix((degree, (np.arange(n), np.arange(n))), shape=(n, n)) - adjacency).tocsc()
    # A small positive shift makes it definite; it is taken off again, and the start vector is fixed.
    shift = 1e-6
    values = eigsh(
        laplacian + shift * identity(n, format="csc"),
        k=2,
        sigma=0.0,
        which="LM",
        v0=np.cos(np.arange(n, dtype=np.float64)),
        return_eigenvectors=False,
    )
    return float(np.max(values) - shift)


def charging_time(n_units: float, n_contacts: float, total_rate: float) -> float:
    """tau = N / [N_c (k_in + k_out)]: relaxation of the electrons of a well-mixed droplet.

    n_units: N; n_contacts: N_c; total_rate: k_in + k_out per contact and slot. Returns time in the inverse unit of
    the rate, infinite without contacts or rates.
    """
    rate = n_contacts * total_rate
    return n_units / rate if rate > 0 else math.inf


def collectivity_index(hop_rate: float, gap: float, time: float) -> float:
    """Theta = M k_h lambda_2 tau, M = 10: levelling of the electrons over charging of the droplet.

    hop_rate: k_h per filled and empty slot, infinite for the well-mixed rule; gap: lambda_2; time: tau in the inverse
    unit of k_h. Theta >> 1: all units charge alike; Theta << 1: shell by shell from the contacts. 0 where nothing
    hops, or where the graph is in pieces.
    """
    if hop_rate == 0 or gap == 0:
        return 0.0
    if math.isinf(hop_rate) or math.isinf(gap):
        return math.inf
    return SLOTS * hop_rate * gap * time

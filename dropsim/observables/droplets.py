"""Droplets as connected clusters of sulfur beads, and their identities through time.

A sulfur bead is one S6 dianion (species S6), three dissolved Li2S2 (species Li2S2) or one solid unit of six
Li2S (species Li2S); each carries six S atoms. x and y are periodic, z is bounded by walls and never wrapped.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import KDTree

from dropsim.errors import AnalysisError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Criterion = Literal["both", "li-bridge", "s6-contact"]

# The codes of `dropsim.system`, written out because that module loads the accelerator stack.
LI, S6, TFSI, LI2S, LI2S2, VACANT = range(6)
SULFUR_ATOMS_PER_BEAD = 6

# Periodic trees want 0 <= z < box: far planes that no bead can see each other through.
_Z_SHIFT, _Z_BOX = 1.0e3, 1.0e6


def is_sulfur(species: ArrayLike) -> NDArray[np.bool_]:
    """Mask of the beads that hold six S atoms: S6, Li2S2 or Li2S. Any shape in, the same shape out."""
    code = np.asarray(species)
    return (code == S6) | (code == LI2S) | (code == LI2S2)


def checked_frames(position: ArrayLike, species: ArrayLike, lengths: ArrayLike) -> tuple[Floats, Integers, Floats]:
    """Arrays of a trajectory as float64 and int64, after a check of shape and content.

    position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm. Raises AnalysisError for no frames,
    other shapes, and positions or lengths that are not finite.
    """
    where, code = np.asarray(position, dtype=np.float64), np.asarray(species, dtype=np.int64)
    box = np.asarray(lengths, dtype=np.float64)
    if where.ndim != 3 or where.shape[2] != 3 or where.shape[0] == 0:
        raise AnalysisError(f"position has shape {where.shape}; give (frames, beads, 3) with at least one frame")
    if code.shape != where.shape[:2]:
        raise AnalysisError(f"species has shape {code.shape}; position asks for {where.shape[:2]}")
    if box.shape != (3,) or not np.all(np.isfinite(box)) or np.any(box <= 0):
        raise AnalysisError(f"lengths is {box}; give three positive lengths in nm")
    if not np.all(np.isfinite(where)):
        frame = int(np.argmin(np.isfinite(where).all(axis=(1, 2))))
        raise AnalysisError(f"position is not finite in frame {frame}; analyse the frames before it")
    return where, code, box


def periodic_points(position: Floats, lengths: Floats) -> Floats:
    """Points as a tree of `periodic_tree` keeps them: xy in [0, L), z shifted to positive values."""
    points = np.array(position, dtype=np.float64)
    points[:, :2] = np.mod(points[:, :2], lengths[:2])
    # Rounding can put a tiny negative coordinate on L itself, which the tree refuses.
    points[:, :2] = np.where(points[:, :2] >= lengths[:2], 0.0, points[:, :2])
    points[:, 2] += _Z_SHIFT
    return points


def periodic_tree(position: Floats, lengths: Floats) -> KDTree:
    """A neighbour tree over (N, 3) points in nm, periodic in xy and open in z.

    Ask it with points of `periodic_points`; distances are right below half the shorter lateral length.
    """
    return KDTree(periodic_points(position, lengths), boxsize=[lengths[0], lengths[1], _Z_BOX])


def minimum_image(displacement: Floats, lengths: Floats) -> Floats:
    """Displacements (..., 3) in nm, shortest over the periodic images in x and y; z is left alone."""
    out = np.array(displacement, dtype=np.float64)
    out[..., :2] -= lengths[:2] * np.round(out[..., :2] / lengths[:2])
    return out


def contact_edges(
    position: Floats,
    species: NDArray,
    lengths: Floats,
    *,
    li_bridge_nm: float = 0.63,
    s6_contact_nm: float = 1.05,
    criterion: Criterion = "both",
) -> Integers:
    """Edges of the contact graph of one frame, as (E, 2) bead indices, each edge once.

    Two sulfur beads are joined when one Li lies within li_bridge_nm of both ("li-bridge"), when they
    are nearer than s6_contact_nm ("s6-contact"), or when either holds ("both").
    position: (N, 3) nm; species: (N,) codes; lengths: (3,) nm.
    Raises AnalysisError for an unknown criterion or a box narrower than twice a cutoff.
    """
    if criterion not in ("both", "li-bridge", "s6-contact"):
        raise AnalysisError(f"criterion {criterion!r} is unknown; use 'both', 'li-bridge' or 's6-contact'")
    widest = max(
        2 * li_bridge_nm if criterion != "s6-contact" else 0.0,
        s6_contact_nm if criterion != "li-bridge" else 0.0,
    )
    if 2 * widest > min(lengths[0], lengths[1]):
        raise AnalysisError(
            f"a lateral length of {min(lengths[:2])} nm is less than twice the contact reach {widest} nm"
        )
    sulfur = np.flatnonzero(is_sulfur(species))
    if sulfur.size < 2:
        return np.zeros((0, 2), dtype=np.int64)
    tree = periodic_tree(position[sulfur], lengths)
    found = [np.zeros((0, 2), dtype=np.int64)]
    if criterion != "li-bridge":
        found.append(tree.query_pairs(s6_contact_nm, output_type="ndarray").astype(np.int64))
    lithium = np.flatnonzero(species == LI)
    if criterion != "s6-contact" and lithium.size:
        bridged = tree.query_ball_point(periodic_points(position[lithium], lengths), li_bridge_nm)
        count = np.array([len(b) for b in bridged])
        rows = np.repeat(np.arange(lithium.size), count)
        columns = np.concatenate([np.asarray(b, dtype=np.int64) for b in bridged])
        touch = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(lithium.size, sulfur.size)).tocsr()
        shared = (touch.T @ touch).tocoo()
        upper = shared.row < shared.col
        found.append(np.stack([shared.row[upper], shared.col[upper]], axis=1).astype(np.int64))
    edges = np.concatenate(found)
    if edges.shape[0]:
        edges = np.unique(np.sort(edges, axis=1), axis=0)
    return sulfur[edges]


def _labels_from_edges(edges: Integers, species: NDArray) -> Integers:
    labels = np.full(species.shape[0], -1, dtype=np.int64)
    sulfur = np.flatnonzero(is_sulfur(species))
    if sulfur.size == 0:
        return labels
    graph = coo_matrix((np.ones(edges.shape[0]), (edges[:, 0], edges[:, 1])), shape=(species.shape[0],) * 2)
    raw = connected_components(graph, directed=False)[1][sulfur]
    _, first, inverse, size = np.unique(raw, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(size.size, dtype=np.int64)
    rank[np.lexsort((first, -size))] = np.arange(size.size)
    labels[sulfur] = rank[inverse]
    return labels


def cluster_labels(
    position_frame: ArrayLike,
    species_frame: ArrayLike,
    lengths: ArrayLike,
    *,
    li_bridge_nm: float = 0.63,
    s6_contact_nm: float = 1.05,
    criterion: Criterion = "both",
) -> Integers:
    """Connected components of the contact graph (`contact_edges`) over the sulfur beads of one frame.

    position_frame: (N, 3) nm, wrapped in xy; species_frame: (N,) codes; lengths: (3,) nm.
    Returns (N,) int: 0 for the largest cluster, 1 for the next (ties by lowest bead index), -1 for
    beads without sulfur. A lone sulfur bead is a cluster of one.
    The default cutoffs sit behind the first peaks of the coarse-grained Li-S6 and S6-S6 distances; the
    3.5 angstrom between S atoms of Zhou et al., Nature 621, 75 (2023), doi 10.1038/s41586-023-06326-8,
    has no counterpart between beads. Raises AnalysisError as `contact_edges`.
    """
    position, species, box = checked_frames(np.asarray(position_frame)[None], np.asarray(species_frame)[None], lengths)
    edges = contact_edges(
        position[0],
        species[0],
        box,
        li_bridge_nm=li_bridge_nm,
        s6_contact_nm=s6_contact_nm,
        criterion=criterion,
    )
    return _labels_from_edges(edges, species[0])


def cluster_labels_series(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    *,
    li_bridge_nm: float = 0.63,
    s6_contact_nm: float = 1.05,
    criterion: Criterion = "both",
) -> Integers:
    """`cluster_labels` of every frame: (T, N, 3) nm and (T, N) codes to (T, N) labels."""
    where, code, box = checked_frames(position, species, lengths)
    return np.stack(
        [
            cluster_labels(p, s, box, li_bridge_nm=li_bridge_nm, s6_contact_nm=s6_contact_nm, criterion=criterion)
            for p, s in zip(where, code, strict=True)
        ]
    )


def largest_clusters(labels: ArrayLike, n: int = 5) -> Integers:
    """Sizes in beads of the n largest clusters of one frame, largest first; fewer if there are fewer."""
    flat = np.asarray(labels)
    return np.sort(np.bincount(flat[flat >= 0]))[::-1][:n].astype(np.int64)


def five_largest_mean(labels: ArrayLike, n: int = 5) -> Floats:
    """Mean size of the five largest clusters in every frame, in S atoms: 6 <beads>.

    labels: (T, N) of `cluster_labels_series`. Returns (T,). Frames with fewer clusters than n average
    over those that exist; a frame without sulfur gives 0. The mean of the largest few grows with the
    number of beads even without attraction: compare at equal N. Quantity of Extended Data Fig. 8b of
    doi 10.1038/s41586-023-06326-8.
    """
    sizes = [largest_clusters(frame, n) for frame in np.asarray(labels)]
    return np.array([SULFUR_ATOMS_PER_BEAD * s.mean() if s.size else 0.0 for s in sizes])


def in_droplet(labels: ArrayLike, minimum_size: int) -> NDArray[np.bool_]:
    """Mask of the beads whose cluster has at least minimum_size members; labels (N,) or (T, N)."""
    label = np.asarray(labels)
    frames = label.reshape(-1, label.shape[-1])
    out = np.zeros(frames.shape, dtype=bool)
    for mask, frame in zip(out, frames, strict=True):
        size = np.bincount(frame[frame >= 0], minlength=1)
        mask[:] = (frame >= 0) & (size[np.maximum(frame, 0)] >= minimum_size)
    return out.reshape(label.shape)


def unwrap_cluster(position: Floats, edges: Integers, lengths: Floats) -> tuple[Floats, bool]:
    """A cluster in one piece: coordinates summed along a spanning tree of its contacts.

    position: (M, 3) nm, wrapped; edges: (E, 2) indices into it, connecting all M; lengths: (3,) nm.
    Returns (M, 3) nm with bead 0 where it was, and whether the cluster percolates, that is touches its
    own image so that no unwrapping (and no centroid) is unique. Raises AnalysisError if edges leave
    the beads in several pieces.
    """
    n = position.shape[0]
    if n == 1:
        return position.copy(), False
    graph = coo_matrix((np.ones(edges.shape[0]), (edges[:, 0], edges[:, 1])), shape=(n, n)).tocsr()
    order, parent = breadth_first_order(graph, 0, directed=False)
    if order.size != n:
        raise AnalysisError(f"edges connect {order.size} of {n} beads; give the edges of one whole cluster")
    parent = parent.astype(np.int64)
    parent[0] = 0
    offset = minimum_image(position - position[parent], lengths)
    # Pointer doubling: after k rounds each bead holds the sum over its 2^k nearest ancestors.
    while np.any(parent):
        offset, parent = offset + offset[parent], parent[parent]
    whole = position[0] + offset
    along = whole[edges[:, 1]] - whole[edges[:, 0]]
    return whole, bool(np.any(np.abs(along - minimum_image(along, lengths)) > 1e-6))


def projected_area(
    position_xy: ArrayLike, lengths: ArrayLike, radius: ArrayLike, *, grid_spacing_nm: float = 0.05
) -> float:
    """Area in nm^2 of the union of discs in the periodic xy plane, small holes filled.

    A = h_x h_y #{grid points within `radius` of some bead}, plus every enclosed hole that is smaller
    than the largest disc.
    position_xy: (M, 2) nm; lengths: (2,) or (3,) nm, of which x and y are used; radius: nm, scalar or
    (M,). grid_spacing_nm: upper bound of h. The error for one disc is about
    0.7 h^2 sqrt(radius / h), 1 % at radius 0.45 nm and h = 0.05 nm, and averages out over many.
    Raises AnalysisError for no beads or radii that are not positive.
    """
    centre = np.asarray(position_xy, dtype=np.float64)
    box = np.asarray(lengths, dtype=np.float64)[:2]
    if centre.ndim != 2 or centre.shape[0] == 0 or centre.shape[1] != 2:
        raise AnalysisError(f"position_xy has shape {centre.shape}; give (beads, 2) with at least one bead")
    reach = np.broadcast_to(np.asarray(radius, dtype=np.float64), (centre.shape[0],))
    if not np.all(reach > 0):
        raise AnalysisError(f"disc radii must be positive, got a least one of {np.min(reach)} nm")
    cells = np.ceil(box / grid_spacing_nm).astype(np.int64)
    h = box / cells
    covered = np.zeros(cells, dtype=bool)
    span = np.ceil(np.max(reach) / h).astype(np.int64) + 1
    base = np.floor(centre / h).astype(np.int64)
    column = base[:, :1] + np.arange(-span[0], span[0] + 1)[None, :]
    row = base[:, 1:] + np.arange(-span[1], span[1] + 1)[None, :]
    dx2 = ((column + 0.5) * h[0] - centre[:, :1]) ** 2
    dy2 = ((row + 0.5) * h[1] - centre[:, 1:]) ** 2
    bead, i, j = np.nonzero(dx2[:, :, None] + dy2[:, None, :] < (reach**2)[:, None, None])
    covered[column[bead, i] % cells[0], row[bead, j] % cells[1]] = True

    hole = np.zeros(cells, dtype=np.int64)
    ndimage.label(~covered, output=hole)
    n_holes = int(hole.max())
    area = float(np.count_nonzero(covered))
    if n_holes:
        across = np.concatenate([np.stack([hole[0], hole[-1]], axis=1), np.stack([hole[:, 0], hole[:, -1]], axis=1)])
        across = across[(across > 0).all(axis=1)] - 1
        graph = coo_matrix((np.ones(across.shape[0]), (across[:, 0], across[:, 1])), shape=(n_holes, n_holes))
        piece = connected_components(graph, directed=False)[1]
        size = np.bincount(piece[hole[hole > 0] - 1])
        area += float(size[size * h[0] * h[1] < np.pi * np.max(reach) ** 2].sum())
    return area * float(h[0] * h[1])


@dataclasses.dataclass(frozen=True)
class DropletTrack:
    """One droplet through time; row k of every field belongs to frame[k]. Frames may be missing.

    identity: number of the track, in order of appearance; frame: (K,) int; time: (K,), unit of the
    input; members: K arrays of bead indices; relative_position: K arrays (M_k, 3) nm, the members
    about their centroid, in one piece; size: (K,) sulfur beads; centroid: (K, 3) nm, continuous across
    the periodic boundary; projected_area: (K,) nm^2; radius_of_gyration, z_min: (K,) nm; n_converted:
    (K,) Li2S beads; percolating: (K,) bool, True where the droplet touches its own image, so that
    centroid, relative_position and radius_of_gyration are not unique.
    onset_window: time of the last frame without the droplet and of the first with it, None if it is
    there from the first frame; split_from: identity it broke away from, or None; absorbed: (time,
    identity) of each droplet that merged into it; merged_into: (time, identity) where it ended so.
    """

    identity: int
    frame: Integers
    time: Floats
    members: tuple[Integers, ...]
    relative_position: tuple[Floats, ...]
    size: Integers
    centroid: Floats
    projected_area: Floats
    radius_of_gyration: Floats
    z_min: Floats
    n_converted: Integers
    percolating: NDArray[np.bool_]
    onset_window: tuple[float, float] | None
    split_from: int | None
    absorbed: tuple[tuple[float, int], ...]
    merged_into: tuple[float, int] | None

    @property
    def z_com(self) -> Floats:
        """Height of the centroid above z = 0, (K,) nm."""
        return self.centroid[:, 2]


class _Row:
    """What one frame says about one droplet."""

    def __init__(self, position: Floats, species: Integers, members: Integers, edges: Integers, lengths: Floats):
        local = np.full(species.shape[0], -1, dtype=np.int64)
        local[members] = np.arange(members.size)
        inside = edges[local[edges[:, 0]] >= 0]
        whole, self.percolating = unwrap_cluster(position[members], local[inside], lengths)
        self.members = members
        self.centroid = whole.mean(axis=0)
        self.relative = whole - self.centroid
        self.radius_of_gyration = float(np.sqrt(np.mean(np.sum(self.relative**2, axis=1))))
        self.z_min = float(position[members, 2].min())
        self.n_converted = int(np.count_nonzero(species[members] == LI2S))
        self.area = float("nan")


@dataclasses.dataclass
class _Open:
    """A track while it is being followed."""

    identity: int
    onset_window: tuple[float, float] | None
    split_from: int | None
    frames: list[int] = dataclasses.field(default_factory=list)
    rows: list[_Row] = dataclasses.field(default_factory=list)
    absorbed: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    merged_into: tuple[float, int] | None = None

    def add(self, frame: int, row: _Row, lengths: Floats) -> None:
        if self.rows:
            last = self.rows[-1].centroid
            row.centroid = last + minimum_image(row.centroid - last, lengths)
        self.frames.append(frame)
        self.rows.append(row)

    def close(self, time: Floats) -> DropletTrack:
        rows, frame = self.rows, np.array(self.frames, dtype=np.int64)
        return DropletTrack(
            identity=self.identity,
            frame=frame,
            time=time[frame],
            members=tuple(r.members for r in rows),
            relative_position=tuple(r.relative for r in rows),
            size=np.array([r.members.size for r in rows], dtype=np.int64),
            centroid=np.stack([r.centroid for r in rows]),
            projected_area=np.array([r.area for r in rows]),
            radius_of_gyration=np.array([r.radius_of_gyration for r in rows]),
            z_min=np.array([r.z_min for r in rows]),
            n_converted=np.array([r.n_converted for r in rows], dtype=np.int64),
            percolating=np.array([r.percolating for r in rows], dtype=bool),
            onset_window=self.onset_window,
            split_from=self.split_from,
            absorbed=tuple(self.absorbed),
            merged_into=self.merged_into,
        )


def _shared(one: Integers, other: Integers) -> int:
    return int(np.intersect1d(one, other, assume_unique=True).size)


def _match(followed: list[_Open], rows: list[_Row]) -> tuple[dict[int, _Open], dict[int, int]]:
    """Which followed track each row continues, and which rows the left-over tracks went into.

    Pairs are joined greedily by shared beads, if these are more than half of the smaller side.
    Returns {row: track} and {position of the track in `followed`: row it merged into}.
    """
    overlap = np.array([[_shared(t.rows[-1].members, r.members) for r in rows] for t in followed])
    continues: dict[int, _Open] = {}
    taken: set[int] = set()
    if overlap.size:
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            k, d = divmod(int(flat), len(rows))
            smaller = min(followed[k].rows[-1].members.size, rows[d].members.size)
            if k in taken or d in continues or 2 * overlap[k, d] <= smaller:
                continue
            continues[d] = followed[k]
            taken.add(k)
    merged = {
        k: int(np.argmax(overlap[k]))
        for k in range(len(followed))
        if rows and k not in taken and 2 * overlap[k].max() > followed[k].rows[-1].members.size
    }
    return continues, merged


def track_droplets(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    time: ArrayLike,
    minimum_size: int,
    *,
    li_bridge_nm: float = 0.63,
    s6_contact_nm: float = 1.05,
    criterion: Criterion = "both",
    maximum_gap: int = 10,
    sigma_s6_nm: float = 0.60,
    sigma_li2s_nm: float = 0.50,
    probe_nm: float = 0.15,
    grid_spacing_nm: float = 0.08,
) -> list[DropletTrack]:
    """Clusters of at least minimum_size sulfur beads, followed through time by the beads they share.

    A cluster continues the track with which it shares most beads, if these are more than half of the
    smaller of the two; one track continues one cluster. A track left over, of which more than half is
    found in a cluster that continues another, has merged. A cluster that continues none starts a track.
    A track that is not seen sleeps, and may be continued, for maximum_gap frames.
    The projected area is that of discs of radius sigma / 2 + probe_nm about the members
    (`projected_area`); the probe bridges the gaps between touching beads.
    position: (T, N, 3) nm, xy wrapped; species: (T, N) codes; lengths: (3,) nm; time: (T,) increasing;
    other arguments as in `cluster_labels`. Returns the tracks in order of appearance.
    Raises AnalysisError for bad shapes, unsorted times, minimum_size < 1.
    Validity: a droplet's centroid must move less than half a lateral length between the frames in
    which it is seen; a merger moves it by the mass that joins.
    """
    where, code, box = checked_frames(position, species, lengths)
    clock = np.asarray(time, dtype=np.float64)
    if clock.shape != (where.shape[0],) or not np.all(np.isfinite(clock)) or np.any(np.diff(clock) <= 0):
        raise AnalysisError(f"time must hold {where.shape[0]} finite, strictly increasing values")
    if minimum_size < 1:
        raise AnalysisError(f"minimum_size is {minimum_size}; a droplet has at least 1 bead")
    followed: list[_Open] = []
    every: list[_Open] = []
    for frame in range(where.shape[0]):
        edges = contact_edges(
            where[frame],
            code[frame],
            box,
            li_bridge_nm=li_bridge_nm,
            s6_contact_nm=s6_contact_nm,
            criterion=criterion,
        )
        labels = _labels_from_edges(edges, code[frame])
        sizes = largest_clusters(labels, labels.size)
        rows = [
            _Row(where[frame], code[frame], np.flatnonzero(labels == d), edges, box)
            for d in range(int(np.count_nonzero(sizes >= minimum_size)))
        ]
        followed = [t for t in followed if frame - t.frames[-1] - 1 <= maximum_gap]
        continues, merged = _match(followed, rows)
        # Before this frame's rows are added: a split is seen against the last members.
        parents = {
            d: next(
                (t.identity for t in followed if 2 * _shared(t.rows[-1].members, row.members) > row.members.size),
                None,
            )
            for d, row in enumerate(rows)
            if d not in continues
        }
        for d, row in enumerate(rows):
            sigma = np.where(code[frame][row.members] == LI2S, sigma_li2s_nm, sigma_s6_nm)
            row.area = projected_area(
                where[frame][row.members, :2], box, sigma / 2 + probe_nm, grid_spacing_nm=grid_spacing_nm
            )
            if d not in continues:
                onset = (float(clock[frame - 1]), float(clock[frame])) if frame else None
                continues[d] = _Open(len(every), onset, parents[d])
                every.append(continues[d])
            continues[d].add(frame, row, box)
        for k, d in merged.items():
            followed[k].merged_into = (float(clock[frame]), continues[d].identity)
            continues[d].absorbed.append((float(clock[frame]), followed[k].identity))
        gone = {id(followed[k]) for k in merged}
        kept = [t for t in followed if id(t) not in gone]
        followed = kept + [t for t in continues.values() if all(t is not other for other in kept)]
    return [t.close(clock) for t in every]

"""Local structure: pair distribution in a slab, contacts with the centres, cluster sizes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import (
    LI,
    Floats,
    Integers,
    checked_frames,
    is_sulfur,
    minimum_image,
    periodic_points,
    periodic_tree,
)
from dropsim.observables.estimate import Estimate
from dropsim.observables.profiles import blocked_mean
from dropsim.observables.statistics import mean_estimate


@dataclasses.dataclass(frozen=True)
class RadialDistribution:
    """g(r) of one pair of species.

    edges: (K + 1,) nm; r: (K,) nm, middles; g, standard_error: (K,); coordination: (K,) mean number
    of second-kind beads within the outer edge of each shell of a first-kind bead.
    """

    edges: Floats
    r: Floats
    g: Floats
    standard_error: Floats
    coordination: Floats


@dataclasses.dataclass(frozen=True)
class ClusterSizes:
    """Distribution of cluster sizes 1..K.

    size: (K,); probability: (K,) share of the clusters, with standard_error (K,); bead_fraction: (K,)
    share of the beads that sit in clusters of the size.
    """

    size: Integers
    probability: Floats
    standard_error: Floats
    bead_fraction: Floats


def ball_volume_in_slab(radius: Floats, height: Floats, slab: tuple[float, float]) -> Floats:
    """Volume of the part of balls that lies between two planes, exact.

    V = 4 pi r^3 / 3 - C(z - z_low) - C(z_high - z), C(d) = pi (r - d)^2 (2 r + d) / 3 for d < r, else 0.
    radius: (K,) nm; height: (M,) nm, centres, inside the slab (z_low, z_high). Returns (M, K) nm^3.
    """
    r = np.asarray(radius, dtype=np.float64)[None, :]

    def cap(gap: Floats) -> Floats:
        d = np.minimum(gap[:, None], r)
        return math.pi * (r - d) ** 2 * (2 * r + d) / 3

    z = np.asarray(height, dtype=np.float64)
    return 4 * math.pi * r**3 / 3 - cap(z - slab[0]) - cap(slab[1] - z)


def radial_distribution(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    first: tuple[int, ...],
    second: tuple[int, ...],
    slab: tuple[float, float],
    *,
    maximum_nm: float | None = None,
    bin_nm: float = 0.02,
    n_blocks: int = 5,
) -> RadialDistribution:
    """Pair distribution of two groups of species in a slab that is periodic in xy only.

    g(r) = <n_pairs in shell> / <sum_i rho_B v_i(shell)>, v_i the part of the shell about bead i that lies
    between the planes (`ball_volume_in_slab`), rho_B = N_B / (L_x L_y (z_high - z_low)); N_B - 1 where
    first and second are the same. An ideal gas spread evenly over the slab gives 1 at every r up to
    half the lateral length. A density that varies with z (layers, a droplet) shows in g, as it should.
    position: (T, N, 3) nm, xy wrapped; species: (T, N); lengths: (3,) nm; first, second: species codes,
    equal or without common members; slab: (z_low, z_high) nm that the centres of these beads can
    reach; maximum_nm: default half the shorter lateral length. Error: `blocked_mean` over frames.
    Raises AnalysisError for missing species, beads outside the slab, a range beyond half the box.
    """
    where, code, box = checked_frames(position, species, lengths)
    half = min(box[0], box[1]) / 2
    reach = float(half if maximum_nm is None else maximum_nm)
    if not 0 < bin_nm <= reach or reach > half + 1e-12:
        raise AnalysisError(f"give 0 < bin_nm <= maximum_nm <= {half} nm, got {bin_nm} and {reach}")
    same = set(first) == set(second)
    if not same and set(first) & set(second):
        raise AnalysisError(f"first {first} and second {second} overlap; make them equal or disjoint")
    edges = np.linspace(0.0, reach, max(1, round(reach / bin_nm)) + 1)
    area = float(box[0] * box[1])
    found, ideal, per_centre = [], [], []
    for frame, (p, s) in enumerate(zip(where, code, strict=True)):
        one, other = p[np.isin(s, first)], p[np.isin(s, second)]
        if one.shape[0] == 0 or other.shape[0] - same < 1:
            raise AnalysisError(f"frame {frame} has no pair of species {first} and {second}")
        z = np.concatenate([one[:, 2], other[:, 2]])
        if z.min() < slab[0] or z.max() > slab[1]:
            raise AnalysisError(f"frame {frame} has beads at z from {z.min()} to {z.max()} nm, outside slab {slab}")
        within = periodic_tree(one, box).count_neighbors(periodic_tree(other, box), edges).astype(np.float64)
        # A bead is its own neighbour at distance zero in every cumulative count.
        found.append(np.diff(within))
        density = (other.shape[0] - same) / (area * (slab[1] - slab[0]))
        ideal.append(density * np.diff(ball_volume_in_slab(edges, one[:, 2], slab).sum(axis=0)))
        per_centre.append((within[1:] - (one.shape[0] if same else 0)) / one.shape[0])
    expected = np.mean(ideal, axis=0)
    mean, error = blocked_mean(np.array(found) / expected, n_blocks)
    return RadialDistribution(edges, (edges[1:] + edges[:-1]) / 2, mean, error, np.mean(per_centre, axis=0))


def contact_numbers(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    mo_position: ArrayLike,
    *,
    cutoff_nm: float = 0.8,
    wired: bool = True,
) -> Integers:
    """Number of wired Mo centres near each sulfur bead: c_i = #{m : |r_i - r_m| < cutoff}.

    position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm; mo_position: (M, 3) nm; wired: without
    electronic contact every c_i is 0. Returns (T, N), 0 for beads without sulfur. The sum over a
    droplet is its N_c (`droplet_contacts`).
    """
    where, code, box = checked_frames(position, species, lengths)
    centre = np.asarray(mo_position, dtype=np.float64).reshape(-1, 3)
    out = np.zeros(code.shape, dtype=np.int64)
    if not wired:
        return out
    for m in centre:
        out += np.sum(minimum_image(where - m, box) ** 2, axis=-1) < cutoff_nm**2
    return np.where(is_sulfur(code), out, 0)


def droplet_contacts(contacts: ArrayLike, labels: ArrayLike) -> Integers:
    """N_c = sum of c_i over each cluster of one frame: (N,) contacts and labels to (n_clusters,)."""
    label = np.asarray(labels)
    member = label >= 0
    weight = np.asarray(contacts)[member]
    return np.rint(np.bincount(label[member], weights=weight)).astype(np.int64)


def cluster_size_distribution(labels: ArrayLike, *, n_blocks: int = 5) -> ClusterSizes:
    """P(s), the share of the clusters that have s members, over all frames.

    P(s) = sum_t n_s(t) / sum_t sum_s n_s(t); the share of the beads goes with s n_s. This P is the one of
    which P(1) = 0.86 and P(2) = 0.125 are reported for Li2S8 clusters in all-atom simulations.
    labels: (T, N) of `cluster_labels_series`. Error: block error of the ratio, linearised.
    Raises AnalysisError without any cluster.
    """
    frames = np.asarray(labels)
    sizes = [np.bincount(f[f >= 0]) for f in frames]
    largest = max((int(s.max()) for s in sizes if s.size), default=0)
    if largest == 0:
        raise AnalysisError("labels hold no cluster; pass the labels of frames with sulfur beads")
    number = np.array([np.bincount(s, minlength=largest + 1)[1:] for s in sizes], dtype=np.float64)
    total = number.sum(axis=1)
    probability = number.sum(axis=0) / total.sum()
    deviation = (number - probability[None, :] * total[:, None]) / total.mean()
    size = np.arange(1, largest + 1)
    mass = size * number.sum(axis=0)
    return ClusterSizes(size, probability, blocked_mean(deviation, n_blocks)[1], mass / mass.sum())


def lithium_coordination(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    *,
    cutoff_nm: float = 0.63,
    discard_fraction: float = 0.0,
) -> tuple[Estimate, Estimate]:
    """Mean number of sulfur beads within the cutoff of a Li, and the fraction of Li that has none.

    position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm. Returns two pure numbers, time averages
    with correlations accounted for. Raises AnalysisError where a frame lacks Li or sulfur.
    """
    where, code, box = checked_frames(position, species, lengths)
    mean, free = [], []
    for frame, (p, s) in enumerate(zip(where, code, strict=True)):
        sulfur, lithium = p[is_sulfur(s)], p[s == LI]
        if sulfur.shape[0] == 0 or lithium.shape[0] == 0:
            raise AnalysisError(f"frame {frame} lacks Li or sulfur beads; coordination is not defined")
        count = periodic_tree(sulfur, box).query_ball_point(
            periodic_points(lithium, box), cutoff_nm, return_length=True
        )
        mean.append(float(np.mean(count)))
        free.append(float(np.mean(np.asarray(count) == 0)))
    reach = f"sulfur beads within {cutoff_nm} nm of Li"

    def averaged(series: list[float], what: str) -> Estimate:
        found = mean_estimate(np.array(series), "1", discard_fraction=discard_fraction)
        return dataclasses.replace(found, method=f"{what}; {found.method}")

    return averaged(mean, f"mean number of {reach}"), averaged(free, f"fraction of Li without {reach}")

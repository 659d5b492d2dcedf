"""Structure and motion in a box that repeats along all three axes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.spatial import KDTree

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import checked_frames
from dropsim.observables.estimate import Estimate
from dropsim.observables.profiles import blocked_mean

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class BulkDistribution:
    """r, g, standard_error: (K,) at the middles of the bins, nm and 1."""

    r: Floats
    g: Floats
    standard_error: Floats


def bulk_radial_distribution(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    first: tuple[int, ...],
    second: tuple[int, ...],
    *,
    bin_nm: float = 0.02,
    n_blocks: int = 5,
) -> BulkDistribution:
    """Pair distribution of two groups of species in a periodic box.

    g(r) = n(r, r + dr) V / [N_A N_B 4/3 pi ((r + dr)^3 - r^3)], N_B - 1 for N_B where both groups are the same.

    position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm; first, second: species codes, equal or without common
    members. Returns a BulkDistribution up to half the shortest length, its error from blocks of frames.
    Raises AnalysisError for missing species, groups that overlap, or a bin wider than the range.
    """
    where, code, box = checked_frames(position, species, lengths)
    reach = float(box.min()) / 2
    if not 0 < bin_nm <= reach:
        raise AnalysisError(f"bin_nm is {bin_nm}; give a number in (0, {reach}] nm")
    same = set(first) == set(second)
    if not same and set(first) & set(second):
        raise AnalysisError(f"first {first} and second {second} overlap; make them equal or disjoint")
    # Below half the box, where a periodic tree sees each pair once.
    edges = np.linspace(0.0, reach * (1 - 1e-9), max(1, math.floor(reach / bin_nm)) + 1)
    shell = 4 / 3 * math.pi * np.diff(edges**3)
    wrapped = np.mod(where, box)
    wrapped = np.where(wrapped >= box, 0.0, wrapped)
    rows = []
    for frame, (p, s) in enumerate(zip(wrapped, code, strict=True)):
        one, other = p[np.isin(s, first)], p[np.isin(s, second)]
        if len(one) == 0 or len(other) - same < 1:
            raise AnalysisError(f"frame {frame} has no pair of species {first} and {second}")
        within = KDTree(one, boxsize=box).count_neighbors(KDTree(other, boxsize=box), edges).astype(float)
        rows.append(np.diff(within) * float(box.prod()) / (len(one) * (len(other) - same) * shell))
    mean, error = blocked_mean(np.array(rows), n_blocks)
    return BulkDistribution((edges[1:] + edges[:-1]) / 2, mean, error)


def self_diffusivity(unwrapped: ArrayLike, dt: float, unit: str, *, n_blocks: int = 5) -> Estimate:
    """Self-diffusivity of equal beads, from the slope of their mean squared displacement.

    D = [MSD(2 tau) - MSD(tau)] / (6 tau) N / (N - 1), tau a tenth of a block of frames.

    unwrapped: (T, N, 3), positions without periodic jumps, the drift of their common centre removed here, which takes
    1/N of the motion of independent beads with it; dt: time between frames; unit: of D. Error: spread of n_blocks
    consecutive blocks (Student's t).
    Raises AnalysisError for fewer than two beads or 20 frames a block. Validity: tau beyond the ballistic or caged
    regime, which a difference of two lags leaves out; a periodic box of length L lowers D by 2.837 kT/(6 pi eta L)
    where the solvent's flow is kept, which Langevin and Brownian beads do not have.
    """
    x = np.asarray(unwrapped, dtype=np.float64)
    if x.ndim != 3 or x.shape[2] != 3:
        raise AnalysisError(f"positions have shape {x.shape}; give (frames, beads, 3)")
    n = x.shape[1]
    if n < 2:
        raise AnalysisError("one bead has no motion relative to the common centre: give two or more")
    size = len(x) // n_blocks
    if size < 20:
        raise AnalysisError(f"{len(x)} frames are too few for {n_blocks} blocks of 20: record longer or more often")
    lag = size // 10
    x = x - x.mean(axis=1, keepdims=True)

    def msd(block: Floats, k: int) -> float:
        return float(((block[k:] - block[:-k]) ** 2).sum(-1).mean())

    blocks = [x[i * size : (i + 1) * size] for i in range(n_blocks)]
    values = np.array([(msd(b, 2 * lag) - msd(b, lag)) / (6 * lag * dt) for b in blocks]) * (n / (n - 1))
    error = float(values.std(ddof=1)) / math.sqrt(n_blocks)
    half = float(stats.t.ppf(0.975, n_blocks - 1)) * error
    mean = float(values.mean())
    return Estimate(
        mean, error, unit, float(n_blocks), f"MSD between lags {lag} and {2 * lag} frames, {n_blocks} blocks",
        (mean - half, mean + half),
    )  # fmt: skip

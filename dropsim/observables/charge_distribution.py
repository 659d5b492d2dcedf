"""How added electrons are spread over a droplet: by rank of distance to the centres, and from its middle.

Fast hopping deals the electrons to all liquid units alike, whatever their place; slow hopping leaves them near
the contacts through which they came.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import Floats, periodic_points, periodic_tree
from dropsim.observables.estimate import Estimate
from dropsim.observables.profiles import blocked_mean
from dropsim.observables.statistics import mean_estimate

THIRDS = ("inner", "middle", "outer")
# Frames below which blocks say nothing about an error.
LEAST_FRAMES = 8


@dataclasses.dataclass(frozen=True)
class ChargeThirds:
    """Electrons per unit in the inner, middle and outer third of a droplet.

    time: (T,), unit of the input; electrons: (T, 3), mean over the units of each third; units: (T,) units that
    were ranked. `mean`, `difference`: time averages with errors, see `charge_thirds`.
    """

    time: Floats
    electrons: Floats
    units: NDArray[np.int64]
    mean: tuple[Estimate, Estimate, Estimate]
    difference: Estimate


@dataclasses.dataclass(frozen=True)
class RadialCharge:
    """Electrons per unit against the distance from the droplet's centre.

    r: (K,) nm, middles; electrons, standard_error: (K,), nan where no unit was found; units: (K,) mean number of
    units per frame in the shell.
    """

    r: Floats
    electrons: Floats
    standard_error: Floats
    units: Floats


def distance_to_centres(position: ArrayLike, centres: ArrayLike, lengths: ArrayLike) -> Floats:
    """Distance of every point to the nearest centre, over the periodic images in x and y.

    position: (N, 3) nm; centres: (M, 3) nm; lengths: (3,) nm. Returns (N,) nm. Raises AnalysisError without a
    centre.
    """
    box = np.asarray(lengths, dtype=np.float64)
    centre = np.asarray(centres, dtype=np.float64).reshape(-1, 3)
    if not len(centre):
        raise AnalysisError("there is no wired centre to rank the units by")
    where = np.asarray(position, dtype=np.float64).reshape(-1, 3)
    return np.asarray(periodic_tree(centre, box).query(periodic_points(where, box))[0], dtype=np.float64)


def thirds(electrons: ArrayLike, distance: ArrayLike) -> Floats:
    """Mean electrons of the inner, middle and outer third by count, ranked by distance.

    With N = 3 q + r units the first r thirds hold one unit more; equal distances are ranked by index. electrons,
    distance: (N,). Returns (3,). Raises AnalysisError for fewer than three units.
    """
    n, d = np.asarray(electrons, dtype=np.float64), np.asarray(distance, dtype=np.float64)
    if n.ndim != 1 or n.shape != d.shape or n.size < 3:
        raise AnalysisError(f"electrons {n.shape} and distance {d.shape}: give one of each for at least three units")
    return np.array([part.mean() for part in np.array_split(n[np.argsort(d, kind="stable")], 3)])


def charge_thirds(time: ArrayLike, per_frame: ArrayLike, units: ArrayLike, *, n_blocks: int = 5) -> ChargeThirds:
    """Time averages of `thirds` with errors, and the difference of the inner and the outer third.

    Delta = <n_inner - n_outer>

    Well mixed: the units of a droplet are exchangeable, so that Delta = 0 whatever the size, the shape and the
    number of electrons; hopping slower than injection gives Delta > 0 while electrons come in, and Delta < 0 while
    they leave. time: (T,); per_frame: (T, 3) of `thirds`; units: (T,). Errors: n_blocks blocks of frames, Student's t.
    Raises AnalysisError for fewer than eight frames. Validity: the means themselves change while a droplet charges,
    and their errors hold that drift; Delta is compared with zero. Quantity of Extended Data Fig. 8g of Zhou et al.,
    Nature 621, 75 (2023), doi 10.1038/s41586-023-06326-8.
    """
    clock, n = np.asarray(time, dtype=np.float64), np.asarray(per_frame, dtype=np.float64)
    count = np.asarray(units, dtype=np.int64)
    if n.ndim != 2 or n.shape[1] != 3 or clock.shape != (len(n),) or count.shape != (len(n),):
        raise AnalysisError(f"per_frame is {n.shape}: give (frames, 3), with one time and one number of units each")
    if len(n) < LEAST_FRAMES:
        raise AnalysisError(
            f"{len(n)} frames show a droplet that holds electrons and three liquid units; "
            f"{LEAST_FRAMES} are needed: record more often"
        )

    def averaged(series: Floats, what: str) -> Estimate:
        found = mean_estimate(series, "e", "blocks", n_blocks=n_blocks)
        return dataclasses.replace(found, method=f"{what}; {found.method}")

    inner, middle, outer = (
        averaged(n[:, k], f"electrons per S6, {name} third by distance to the nearest wired centre")
        for k, name in enumerate(THIRDS)
    )
    difference = averaged(n[:, 0] - n[:, 2], "electrons per S6, inner minus outer third; zero where well mixed")
    return ChargeThirds(clock, n, count, (inner, middle, outer), difference)


def sharing_verdict(difference: Estimate, mean_electrons: float) -> str:
    """One sentence on whether the electrons were shared by the whole droplet.

    difference: of `charge_thirds`; mean_electrons: electrons per unit of the whole droplet, which gives the scale.
    """
    low, high = difference.interval_95
    numbers = f"inner minus outer third {difference.value:.3g} ± {difference.standard_error:.2g} e per S6"
    if mean_electrons > 0:
        numbers += f" at a mean of {mean_electrons:.3g} e"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{numbers}: the data do not bound it"
    if low > 0:
        return f"{numbers}: electrons stay near the centres"
    if high < 0:
        return f"{numbers}: electrons are lacking near the centres"
    bound = max(abs(low), abs(high))
    if mean_electrons > 0 and bound > 0.5 * mean_electrons:
        return f"{numbers}: too few data to tell shared from unshared"
    return f"{numbers}: shared by the whole droplet within the error"


def radial_charge(
    relative_position: list[Floats], electrons: list[ArrayLike], *, n_shells: int = 6, n_blocks: int = 5
) -> RadialCharge:
    """Electrons per unit in shells about the droplet's centroid, shells of equally many units on average.

    n(r) = <sum of electrons in the shell> / <units in the shell>

    relative_position: T arrays (M_t, 3) nm about the centroid, in one piece; electrons: T arrays (M_t,), each over its
    own mean where a growing charge shall not show as an error.
    Error: block error of the ratio, linearised. Raises AnalysisError without frames or with fewer units than shells.
    """
    if not relative_position or len(relative_position) != len(electrons):
        raise AnalysisError("give one array of positions and one of electrons for each frame")
    radius = [np.linalg.norm(np.asarray(p, dtype=np.float64).reshape(-1, 3), axis=1) for p in relative_position]
    every = np.concatenate(radius)
    if every.size < n_shells:
        raise AnalysisError(f"{every.size} units cannot fill {n_shells} shells")
    edges = np.quantile(every, np.linspace(0.0, 1.0, n_shells + 1))
    edges[0], edges[-1] = 0.0, np.nextafter(edges[-1], math.inf)
    count = np.array([np.histogram(r, edges)[0] for r in radius], dtype=np.float64)
    held = np.array(
        [
            np.histogram(r, edges, weights=np.asarray(n, dtype=np.float64))[0]
            for r, n in zip(radius, electrons, strict=True)
        ]
    )
    mean_count = count.mean(axis=0)
    filled = mean_count > 0
    safe = np.where(filled, mean_count, 1.0)
    value = np.where(filled, held.mean(axis=0) / safe, np.nan)
    deviation = (held - np.where(filled, value, 0.0) * count) / safe
    error = np.where(filled, blocked_mean(deviation, n_blocks)[1], np.nan)
    return RadialCharge((edges[1:] + edges[:-1]) / 2, value, error, mean_count)

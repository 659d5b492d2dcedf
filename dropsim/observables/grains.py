"""Crystal grains of the particle tier: solid units shared out to the nuclei of Li2S, with sizes and labels.

The beads carry no lattice: orientations are drawn at random, not simulated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dropsim.errors import AnalysisError
from dropsim.kinetics.grains import AMORPHOUS_BELOW_NM, draw_orientations, grain_size_nm
from dropsim.observables.droplets import Floats, Integers, minimum_image


@dataclasses.dataclass(frozen=True)
class ParticleGrains:
    """Grains of one frame.

    units: (G,) solid units of each; size_nm: (G,) edge l of the cube of the same volume; amorphous: (G,) bool;
    nucleus: (G,) which nucleus; label: (N,) grain of each solid unit, in the order given; quaternion: (G, 4),
    drawn, see `draw_orientations`.
    """

    units: Integers
    size_nm: Floats
    amorphous: np.ndarray
    nucleus: Integers
    label: Integers
    quaternion: Floats


def grains_of_nuclei(
    solid_position: ArrayLike,
    nucleus_position: ArrayLike,
    lengths: ArrayLike,
    *,
    droplet: ArrayLike | None = None,
    nucleus_droplet: ArrayLike | None = None,
    amorphous_below_nm: float = AMORPHOUS_BELOW_NM,
    seed: int | Sequence[int] = 0,
) -> ParticleGrains:
    """Share the solid units out to the nearest nucleus, within their own droplet where droplets are given.

    solid_position: (N, 3) nm; nucleus_position: (K, 3) nm; lengths: (3,) nm, periodic in x and y; droplet: (N,),
    nucleus_droplet: (K,) labels; a unit whose droplet has no nucleus goes to the nearest of all. Nuclei without units
    make no grain. seed: of the orientations, which are drawn uniformly on SO(3) and not simulated.
    A grain is labelled amorphous where l is below amorphous_below_nm: too few planes to diffract.
    Raises AnalysisError without units or nuclei.
    """
    box = np.asarray(lengths, dtype=np.float64)
    units = np.asarray(solid_position, dtype=np.float64).reshape(-1, 3)
    nuclei = np.asarray(nucleus_position, dtype=np.float64).reshape(-1, 3)
    if not len(units) or not len(nuclei):
        raise AnalysisError(f"{len(units)} solid units and {len(nuclei)} nuclei make no grains")
    squared = np.sum(minimum_image(units[:, None, :] - nuclei[None, :, :], box) ** 2, axis=-1)
    if droplet is not None and nucleus_droplet is not None:
        own = np.asarray(droplet)[:, None] == np.asarray(nucleus_droplet)[None, :]
        squared = np.where(own | ~own.any(axis=1, keepdims=True), squared, np.inf)
    nearest = np.argmin(squared, axis=1)
    nucleus, label, count = np.unique(nearest, return_inverse=True, return_counts=True)
    size = grain_size_nm(count)
    return ParticleGrains(
        count.astype(np.int64), size, size < amorphous_below_nm, nucleus.astype(np.int64),
        np.asarray(label, dtype=np.int64).ravel(), draw_orientations(np.random.default_rng(seed), len(count)),
    )  # fmt: skip


def first_solid_units(
    time: ArrayLike,
    solid: ArrayLike,
    droplet: ArrayLike,
    centre_distance: ArrayLike,
    nucleation_time: ArrayLike,
    nucleation_bead: Sequence[int] | ArrayLike,
) -> list[tuple[int, int]]:
    """The frame and bead at which each nucleus is first seen: (frame, bead), nuclei that are not seen left out.

    Units turn solid one after the other, the nearest to a wired centre first: the nucleus is, in the first frame at or
    after the event in which the droplet holds solid units, the one of them that is nearest to a centre.
    time: (T,); solid: (T, N) bool; droplet: (T, N) labels; centre_distance: (T, N) nm; nucleation_time: (K,);
    nucleation_bead: (K,) a bead of each droplet. Validity: frames close enough that the droplet keeps this bead.
    """
    clock, hard = np.asarray(time, dtype=np.float64), np.asarray(solid, dtype=bool)
    label, distance = np.asarray(droplet), np.asarray(centre_distance, dtype=np.float64)
    found: list[tuple[int, int]] = []
    for begin, bead in zip(np.asarray(nucleation_time, dtype=np.float64), np.asarray(nucleation_bead), strict=True):
        for frame in range(int(np.searchsorted(clock, begin)), len(clock)):
            inside = hard[frame] & (label[frame] == label[frame, bead]) & (label[frame, bead] >= 0)
            if inside.any():
                index = np.flatnonzero(inside)
                found.append((frame, int(index[np.argmin(distance[frame, index])])))
                break
    return found

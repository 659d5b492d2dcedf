"""Profiles along the normal of the electrode, and the count of beads next to it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import SULFUR_ATOMS_PER_BEAD, Floats, checked_frames, is_sulfur

ANGSTROM3_PER_NM3 = 1.0e3

# Wrapped float32 coordinates may stand past a wall by their last digits, not by more.
_WALL_ROUNDING_NM = 1.0e-4


@dataclasses.dataclass(frozen=True)
class Profile:
    """A quantity against height: z (K,) nm, the middles of the slices; value, standard_error (K,) in unit."""

    z: Floats
    value: Floats
    standard_error: Floats
    unit: str


@dataclasses.dataclass(frozen=True)
class SurfaceCount:
    """Sulfur near the electrode. beads, sulfur_atoms: (T,) per frame.

    uniform_beads: what the same number of beads, spread evenly over the height, would give on average;
    uniform_sd_beads: standard deviation over frames of that even spread without correlations (binomial).
    """

    beads: Floats
    sulfur_atoms: Floats
    uniform_beads: float
    uniform_sd_beads: float


def blocked_mean(series: ArrayLike, n_blocks: int = 5) -> tuple[NDArray, NDArray]:
    """Mean over the first axis with its standard error from contiguous blocks.

    se^2 = sum_b (m_b - m)^2 / (n_blocks (n_blocks - 1)), m_b the block means.
    series: (T, ...), T >= n_blocks; frames that the blocks cannot share evenly stay in the mean, and
    are left out of the error. Returns mean (...), standard error (...), the latter nan where T <
    n_blocks. Validity: blocks longer than twice the correlation time; with 5 blocks the error itself
    is uncertain by a third.
    """
    x = np.asarray(series, dtype=np.float64)
    mean = x.mean(axis=0)
    length = x.shape[0] // n_blocks
    if length == 0 or n_blocks < 2:
        return mean, np.full_like(mean, np.nan)
    blocks = x[: length * n_blocks].reshape(n_blocks, length, *x.shape[1:]).mean(axis=1)
    return mean, blocks.std(axis=0, ddof=1) / math.sqrt(n_blocks)


def _slice_edges(height_nm: float, slice_nm: float) -> Floats:
    if not slice_nm > 0:
        raise AnalysisError(f"slice_nm is {slice_nm}; give a positive thickness")
    n = max(1, math.ceil(height_nm / slice_nm - 1e-9))
    return np.minimum(np.arange(n + 1) * slice_nm, height_nm)


def _counts(position: Floats, weight: Floats, lengths: Floats, edges: Floats) -> Floats:
    """Sum of the weights in every slice, (T, K)."""
    z = position[..., 2]
    outside = (z < -_WALL_ROUNDING_NM) | (z > lengths[2] + _WALL_ROUNDING_NM)
    if np.any(outside & (weight != 0)):
        frame = int(np.argmax((outside & (weight != 0)).any(axis=1)))
        raise AnalysisError(f"frame {frame} has beads outside 0 <= z <= {lengths[2]} nm; give the height of the run")
    index = np.clip(np.searchsorted(edges, z, side="right") - 1, 0, edges.size - 2)
    k = edges.size - 1
    flat = index + k * np.arange(position.shape[0])[:, None]
    total = np.bincount(flat.ravel(), weights=weight.ravel(), minlength=k * position.shape[0])
    return total.astype(np.float64).reshape(-1, k)


def _profile(
    position: Floats,
    weight: Floats,
    lengths: Floats,
    slice_nm: float,
    n_blocks: int,
    per_nm3: float,
    unit: str,
) -> Profile:
    edges = _slice_edges(float(lengths[2]), slice_nm)
    volume = lengths[0] * lengths[1] * np.diff(edges) * per_nm3
    mean, error = blocked_mean(_counts(position, weight, lengths, edges) / volume[None, :], n_blocks)
    return Profile(z=(edges[1:] + edges[:-1]) / 2, value=mean, standard_error=error, unit=unit)


def surface_count(position: ArrayLike, species: ArrayLike, lengths: ArrayLike, z_max_nm: float = 1.5) -> SurfaceCount:
    """Sulfur beads with 0 < z < z_max_nm in every frame, beside what an even spread would give.

    n(t) = #{i : 0 < z_i < z_max}; even spread: N z_max / H, binomial sd sqrt(N p (1 - p)), p = z_max/H.
    position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm, lengths[2] = H.
    Extended Data Fig. 8d of doi 10.1038/s41586-023-06326-8 counts S atoms below 15 angstrom:
    `sulfur_atoms`, six per bead. Raises AnalysisError unless 0 < z_max_nm <= H and there is sulfur.
    """
    where, code, box = checked_frames(position, species, lengths)
    if not 0 < z_max_nm <= box[2]:
        raise AnalysisError(f"z_max_nm is {z_max_nm}; give a height in (0, {box[2]}] nm")
    sulfur = is_sulfur(code)
    n = float(sulfur.sum(axis=1).mean())
    if n == 0:
        raise AnalysisError("there are no sulfur beads to count; pass frames with species S6 or Li2S")
    z = where[..., 2]
    beads = (sulfur & (z > 0) & (z < z_max_nm)).sum(axis=1).astype(np.float64)
    p = z_max_nm / float(box[2])
    return SurfaceCount(beads, SULFUR_ATOMS_PER_BEAD * beads, n * p, math.sqrt(n * p * (1 - p)))


def density_profile(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    kinds: tuple[int, ...],
    slice_nm: float = 0.05,
    n_blocks: int = 5,
) -> Profile:
    """Number density of the beads of some species against height, time average, nm^-3.

    rho(z) = <n_slice> / (L_x L_y dz). position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm; kinds:
    species codes. The last slice is as thick as the height leaves it. Error: `blocked_mean`.
    Raises AnalysisError for beads outside the walls.
    """
    where, code, box = checked_frames(position, species, lengths)
    return _profile(where, np.isin(code, kinds).astype(np.float64), box, slice_nm, n_blocks, 1.0, "nm^-3")


def charge_density_profile(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    slice_nm: float = 0.05,
    charge: float = 2.0,
    sign_dropped: bool = True,
    n_blocks: int = 5,
) -> Profile:
    """Charge density of the sulfur beads alone against height, as the paper plots it, e/angstrom^3.

    rho(z) = q <n_slice> / V_slice, q = charge in e, with its sign dropped (q = +2 for S6 2-) or kept.
    position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm; default slices 0.5 angstrom. This is a
    number density in units of charge: Li and the anions are left out, see `net_charge_density_profile`.
    Error: `blocked_mean`. Source: Fig. 4f of doi 10.1038/s41586-023-06326-8.
    Raises AnalysisError for beads outside the walls.
    """
    where, code, box = checked_frames(position, species, lengths)
    weight = is_sulfur(code).astype(np.float64) * (abs(charge) if sign_dropped else -abs(charge))
    return _profile(where, weight, box, slice_nm, n_blocks, ANGSTROM3_PER_NM3, "e/angstrom^3")


def net_charge_density_profile(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    charges: ArrayLike,
    slice_nm: float = 0.05,
    n_blocks: int = 5,
) -> Profile:
    """Charge density of all mobile ions against height, with signs, e/angstrom^3.

    rho(z) = <sum_i q_i in slice> / V_slice. charges: (S,) e, charge of each species code; the rest as
    in `density_profile`. Fixed centres are not in it. Raises AnalysisError for beads outside the walls
    and for species codes without a charge.
    """
    where, code, box = checked_frames(position, species, lengths)
    table = np.asarray(charges, dtype=np.float64)
    if table.ndim != 1 or code.min() < 0 or code.max() >= table.size:
        raise AnalysisError(f"charges has shape {table.shape}; species runs from {code.min()} to {code.max()}")
    return _profile(where, table[code], box, slice_nm, n_blocks, ANGSTROM3_PER_NM3, "e/angstrom^3")

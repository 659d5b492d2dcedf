"""Exact Coulomb forces on a few of many charges: the measure of any other sum, on the very system."""

from __future__ import annotations

import math

import jax
import numpy as np

from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics.ewald import wave_indices
from dropsim_kernels.electrostatics.influence import scaled_erfc
from dropsim_kernels.electrostatics.parameters import choose_parameters

# Pairs, and products of waves with charges, that are held in memory at once.
_BLOCK = 2_000_000


def reference_forces(
    position: jax.Array | np.ndarray,
    charge: jax.Array | np.ndarray,
    site_position: jax.Array | np.ndarray,
    site_charge: jax.Array | np.ndarray,
    box: Box,
    targets: np.ndarray,
    tolerance: float = 1e-7,
) -> np.ndarray:
    """Coulomb forces on some of the mobile charges, by an Ewald sum in double precision on the host.

    f_i = q_i sum_j q_j [erfc(a r)/r^2 + (2a/sqrt(pi)) exp(-a^2 r^2)/r] d/r + waves (+ slab correction),
    over all j, mobile or fixed, within half of the shortest periodic length, and the waves that this leaves.

    `position`: (N, 3), `charge`: (N,); `site_position`: (S, 3), `site_charge`: (S,); `box`: periodic in all
    directions, or in x and y; `targets`: (T,) indices of mobile charges; `tolerance`: relative force error to
    aim at, see `choose_parameters`. Returns (T, 3) float64, charge^2/length^2.

    Validity: errors of some tenths of `tolerance` in the rms force; forces scale with their own digits, so
    float32 positions are taken as exact. Cost: T (N + S) pairs at some 0.2 us, and some 500 (N + S) n_z
    operations; 256 of 30,000 charges take a few seconds on one core.
    Source: doi 10.1080/08927029208049126, doi 10.1063/1.479595 and doi 10.1063/1.3216473 for the slab.
    """
    mobile = np.asarray(position, np.float64)
    x = np.concatenate([mobile, np.asarray(site_position, np.float64).reshape(-1, 3)])
    q = np.concatenate([np.asarray(charge, np.float64), np.asarray(site_charge, np.float64).reshape(-1)])
    chosen = np.asarray(targets)
    lengths = np.asarray(box.lengths, np.float64)
    slab = not box.periodic[2]
    if not np.any(q[chosen]):
        return np.zeros((len(chosen), 3))
    if box.periodic[:2] != (True, True):
        raise ValueError(f"box.periodic is {box.periodic}; the sum repeats in x, y and, unless a slab, in z")
    cutoff = float(lengths[:2].min() if slab else lengths.min()) / 2
    # The strongest charge counts as many: the mean square is that of all of them.
    effective = len(q) * float((q * q).mean()) / max(float((q[: len(mobile)] ** 2).mean()), 1e-300)
    split = choose_parameters(lengths.tolist(), effective, tolerance, cutoff=cutoff, slab=slab, vacuum_factor=1.0)
    alpha = float(split.alpha)
    periods, n_z = lengths.copy(), split.n_max[2]
    if slab:
        # exp(-2 pi (H - h)/L) below the tolerance even for a net charge, whose forces do not cancel.
        padded = float(periods[2] if split.padded_height is None else split.padded_height)
        periods[2] = lengths[2] + float(lengths[:2].max()) * math.log(10 / tolerance) / (2 * math.pi)
        n_z = max(1, math.ceil(n_z * periods[2] / padded))
    forces = _pair_forces(x, q, chosen, lengths, slab, alpha, cutoff)
    forces += _wave_forces(x, q, chosen, periods, alpha, (split.n_max[0], split.n_max[1], n_z))
    if slab:
        normal = -4 * math.pi / periods.prod() * ((q * x[:, 2]).sum() - q.sum() * x[chosen, 2])
        forces[:, 2] += normal
    return q[chosen, None] * forces


def _pair_forces(
    x: np.ndarray, q: np.ndarray, targets: np.ndarray, lengths: np.ndarray, slab: bool, alpha: float, cutoff: float
) -> np.ndarray:
    """Field of the pair sum at the targets, (T, 3)."""
    field = np.zeros((len(targets), 3))
    periods = lengths.copy()
    if slab:
        periods[2] = np.inf
    finite = np.where(np.isfinite(periods), periods, 0.0)
    block = max(1, _BLOCK // max(len(x), 1))
    for start in range(0, len(targets), block):
        rows = targets[start : start + block]
        d = x[rows, None, :] - x[None, :, :]
        d -= finite * np.round(d / periods)
        squared = (d * d).sum(-1)
        squared[np.arange(len(rows)), rows] = np.inf
        near = squared < cutoff * cutoff
        r = np.sqrt(squared[near])
        gauss = np.exp(-((alpha * r) ** 2))
        strength = np.zeros(squared.shape)
        strength[near] = gauss * (scaled_erfc(alpha * r) / r + 2 * alpha / math.sqrt(math.pi)) / r**2
        field[start : start + block] = np.einsum("ij,ijc->ic", strength * q[None, :], d)
    return field


def _wave_forces(
    x: np.ndarray, q: np.ndarray, targets: np.ndarray, periods: np.ndarray, alpha: float, n_max: tuple[int, int, int]
) -> np.ndarray:
    """Field of the reciprocal sum at the targets, (T, 3)."""
    n_x, n_y, weight = wave_indices(n_max)
    k_x, k_y = 2 * math.pi * n_x / periods[0], 2 * math.pi * n_y / periods[1]
    k_z = 2 * math.pi * np.arange(n_max[2] + 1) / periods[2]
    squared = (k_x**2 + k_y**2)[:, None] + (k_z**2)[None, :]
    squared = np.where(weight > 0, squared, 1.0)
    coefficient = weight * 2 * math.pi / periods.prod() * np.exp(-squared / (4 * alpha**2)) / squared

    def waves(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lateral = np.exp(1j * (np.outer(k_x, points[:, 0]) + np.outer(k_y, points[:, 1])))
        return lateral, np.exp(1j * np.outer(k_z, points[:, 2]))

    structure = np.zeros(squared.shape, complex)
    block = max(1, _BLOCK // len(k_x))
    for start in range(0, len(x), block):
        lateral, normal = waves(x[start : start + block])
        structure += (lateral * q[None, start : start + block]) @ normal.T
    conjugate = np.conj(coefficient * structure)
    field = np.zeros((len(targets), 3))
    for start in range(0, len(targets), block):
        lateral, normal = waves(x[targets[start : start + block]])
        summed, summed_kz = conjugate @ normal, (conjugate * k_z[None, :]) @ normal
        imaginary = (summed * lateral).imag
        field[start : start + block] = 2 * np.stack(
            [k_x @ imaginary, k_y @ imaginary, (summed_kz * lateral).imag.sum(0)], axis=1
        )
    return field

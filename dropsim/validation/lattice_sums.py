"""Sums in plain numpy that share nothing with the simulator's: references of the battery."""

from __future__ import annotations

import numpy as np
import scipy.special
from numpy.typing import NDArray


def parry_energy(
    position: NDArray[np.float64],
    charge: NDArray[np.float64],
    lengths: tuple[float, float],
    alpha: float = 1.6,
    n_max: int = 14,
    n_images: int = 6,
) -> float:
    """Coulomb energy of charges that repeat in x and y only: the two-dimensional Ewald sum.

    U = (1/2) sum_{ij,n}' q_i q_j erfc(a r)/r - (a/sqrt(pi)) sum q_i^2
      + (pi/2A) sum_{ij} q_i q_j sum_{k != 0} cos(k . s)/k [e^{kz} erfc(k/2a + a z) + e^{-kz} erfc(k/2a - a z)]
      - (sqrt(pi)/A) sum_{ij} q_i q_j [exp(-a^2 z^2)/a + sqrt(pi) z erf(a z)].

    `position`: (N, 3); `charge`: (N,); a -> `alpha`; A = product of `lengths`, the two repeated ones;
    n_max, n_images: waves and images along each. Returns charge^2/length. For a net charge the
    k = 0 term leaves out what is infinite.
    Source: D. E. Parry, doi 10.1016/0039-6028(75)90362-3.
    """
    area = lengths[0] * lengths[1]
    d = position[:, None, :] - position[None, :, :]
    qq = charge[:, None] * charge[None, :]
    z = d[..., 2]
    energy = 0.0
    for n in np.ndindex(2 * n_images + 1, 2 * n_images + 1):
        shift = np.array([(n[0] - n_images) * lengths[0], (n[1] - n_images) * lengths[1], 0.0])
        r = np.sqrt(((d + shift) ** 2).sum(-1))
        itself = r < 1e-12
        energy += 0.5 * (qq * np.where(itself, 0, scipy.special.erfc(alpha * r) / np.where(itself, 1, r))).sum()
    for n in np.ndindex(2 * n_max + 1, 2 * n_max + 1):
        k = 2 * np.pi * np.array([(n[0] - n_max) / lengths[0], (n[1] - n_max) / lengths[1]])
        size = float(np.sqrt(k @ k))
        if size == 0:
            continue
        # exp(a) erfc(b) overflows piecewise for large z: erfcx keeps exp(a - b^2) together.
        parts = np.zeros_like(z)
        for sign in (1, -1):
            b = size / (2 * alpha) + sign * alpha * z
            smooth = scipy.special.erfcx(np.maximum(b, 0)) * np.exp(sign * size * z - b * b)
            parts = parts + np.where(b > 0, smooth, np.exp(sign * size * z) * scipy.special.erfc(b))
        energy += np.pi / (2 * area) * (qq * np.cos(d[..., :2] @ k) / size * parts).sum()
    plane = np.exp(-((alpha * z) ** 2)) / alpha + np.sqrt(np.pi) * z * scipy.special.erf(alpha * z)
    energy -= np.sqrt(np.pi) / area * (qq * plane).sum()
    return float(energy - alpha / np.sqrt(np.pi) * (charge**2).sum())

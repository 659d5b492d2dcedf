"""Choice of the splitting parameters of an Ewald sum, on the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Splitting(Protocol):
    """What every method's parameters say of the split between pairs and the rest; see `EwaldParameters`."""

    @property
    def alpha(self) -> jax.Array: ...
    @property
    def cutoff(self) -> jax.Array: ...
    @property
    def padded_height(self) -> jax.Array | None: ...
    @property
    def slab(self) -> bool: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EwaldParameters:
    """How a Coulomb sum is split.

    alpha: scalar, inverse length, of erfc(alpha r)/r; cutoff: scalar, length, of the real-space sum;
    padded_height: scalar, length of the z period with its vacuum (used where `slab`, else None);
    n_max: largest wave index along x, y, z (static); slab: whether z does not repeat (static).
    """

    alpha: jax.Array
    cutoff: jax.Array
    padded_height: jax.Array | None
    n_max: tuple[int, int, int] = field(metadata={"static": True})
    slab: bool = field(metadata={"static": True})


# Seconds, measured in float32 on one 2.6 GHz AVX2 core; only their ratios matter.
_COST_PAIR = 2.8e-9
_COST_LISTED_PAIR = 5.5e-9
_COST_WAVE = 1.5e-9
_COST_MODE = 5.0e-10


def _real_space_error(alpha: float, cutoff: float, n_charges: float, volume: float) -> float:
    """Rms force error of the truncated pair sum, in q^2 (Kolafa and Perram, equation 18)."""
    return 2 * math.sqrt(n_charges / (cutoff * volume)) * math.exp(-((alpha * cutoff) ** 2))


def _reciprocal_error(alpha: float, n_max: tuple[int, int, int], n_charges: float, lengths: np.ndarray) -> float:
    """Rms force error of the truncated k sum, in q^2: the sum over the omitted k, for random positions.

    (4 pi/V) sqrt(N sum_{omitted} exp(-k^2/2 alpha^2)/k^2), the lattice sum behind the integral of Kolafa and
    Perram's equation 32; summed as it stands, because slabs have very different lengths.
    """
    volume = float(np.prod(lengths))
    # 2 alpha past the cut the terms have fallen by exp(-2 k/alpha - 2), a factor of 1e4 and more.
    far = [n + 1 + math.ceil(alpha * length / math.pi) for n, length in zip(n_max, lengths, strict=True)]
    axes = [np.arange(n + 1) for n in far]
    multiplicity = [np.where(axis > 0, 2.0, 1.0) for axis in axes]
    norm = squared = np.zeros((1, 1, 1))
    copies = np.ones((1, 1, 1))
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = -1
        norm = norm + ((axes[axis] / max(n_max[axis], 1)) ** 2).reshape(shape)
        squared = squared + ((2 * math.pi * axes[axis] / lengths[axis]) ** 2).reshape(shape)
        copies = copies * multiplicity[axis].reshape(shape)
    omitted = norm > 1.0 + 1e-9
    terms = copies[omitted] * np.exp(-squared[omitted] / (2 * alpha**2)) / squared[omitted]
    return 4 * math.pi / volume * math.sqrt(n_charges * float(terms.sum()))


def choose_parameters(
    lengths: Sequence[float],
    n_charges: float,
    force_tolerance: float,
    cutoff: float | None = None,
    slab: bool = False,
    vacuum_factor: float = 3.0,
    neighbor_distance: float | None = None,
) -> EwaldParameters:
    """Splitting parameters that meet a relative rms force error at the least estimated cost.

    The error estimates are those of Kolafa and Perram for charges at random positions, N q^2 = sum q^2;
    they are compared with a force scale q^2/d^2, and each space gets half of the tolerance: in quadrature,
    a margin of sqrt(2).

    `lengths`: three box lengths, the height between the walls for a slab; `n_charges`: N, or
    sum q^2 / mean q^2 of the mobile charges where the sites carry more; `force_tolerance`: requested
    rms error / rms force; `cutoff`: length, or None: the cheapest up to half the shortest periodic length;
    `slab`: x and y repeat only; `vacuum_factor`: least padded height / height; `neighbor_distance`: d, a
    typical distance of opposite charges, None for (volume/N)^(1/3), which is cautious for bound ions.
    Returns `EwaldParameters`. The padded height grows beyond vacuum_factor where a wide and low box needs it
    for the slab correction to reach the tolerance.

    Raises ValueError for a tolerance outside (0, 0.5), a cutoff beyond half of the shortest periodic length,
    lengths or a count that are not positive. Validity: float32 itself limits the relative error to
    some 1e-6; forces much below q^2/d^2 (a perfect crystal) are resolved relative to that scale.
    Source: doi 10.1080/08927029208049126.
    """
    edges = np.asarray(lengths, float)
    if edges.shape != (3,) or not np.all(edges > 0):
        raise ValueError(f"lengths must be three positive numbers, got {lengths}")
    if not 0 < force_tolerance < 0.5:
        raise ValueError(f"force_tolerance must lie between 0 and 0.5, got {force_tolerance}")
    if n_charges <= 0:
        raise ValueError(f"n_charges must be positive, got {n_charges}")
    largest = float(edges[:2].min() if slab else edges.min()) / 2
    if cutoff is not None and not 0 < cutoff <= largest * (1 + 1e-9):
        raise ValueError(
            f"cutoff must lie between 0 and half the shortest periodic length, {largest:.6g}; got {cutoff}"
        )
    volume = float(edges.prod())
    distance = (volume / n_charges) ** (1 / 3) if neighbor_distance is None else float(neighbor_distance)
    # Both parts at target give target sqrt(2) = tolerance / sqrt(2): the margin.
    target = force_tolerance / 2 / distance**2

    candidates = [float(cutoff)] if cutoff is not None else [largest * f for f in np.linspace(0.2, 1.0, 17)]
    best: tuple[float, float, float, tuple[int, int, int], float] | None = None
    for radius in candidates:
        padded = edges.copy()
        if slab:
            decay = edges[:2].max() * math.log(1 / force_tolerance) / (2 * math.pi)
            padded[2] = max(vacuum_factor * edges[2], edges[2] + radius, edges[2] + decay)
        alpha = _solve_alpha(radius, n_charges, volume, target)
        n_max = _solve_n_max(alpha, n_charges, padded, target)
        cost = _estimated_cost(radius, n_charges, volume, n_max)
        if best is None or cost < best[0]:
            best = (cost, radius, alpha, n_max, float(padded[2]))
    assert best is not None  # candidates is never empty
    _, radius, alpha, n_max, height = best
    return EwaldParameters(
        alpha=jnp.array(alpha, dtype=float),
        cutoff=jnp.array(radius, dtype=float),
        padded_height=jnp.array(height, dtype=float) if slab else None,
        n_max=n_max,
        slab=slab,
    )


def _solve_alpha(cutoff: float, n_charges: float, volume: float, target: float) -> float:
    prefactor = _real_space_error(0.0, cutoff, n_charges, volume)
    # A pair sum that is good enough even unscreened still needs some alpha for the k sum to converge.
    return math.sqrt(max(math.log(prefactor / target), 0.25)) / cutoff


def _solve_n_max(alpha: float, n_charges: float, lengths: np.ndarray, target: float) -> tuple[int, int, int]:
    k_max = alpha
    while True:
        n_x, n_y, n_z = (max(1, math.ceil(k_max * length / (2 * math.pi) - 1e-9)) for length in lengths)
        if _reciprocal_error(alpha, (n_x, n_y, n_z), n_charges, lengths) <= target:
            return n_x, n_y, n_z
        k_max *= 1.04


def _estimated_cost(cutoff: float, n_charges: float, volume: float, n_max: tuple[int, int, int]) -> float:
    listed = n_charges * (4 / 3) * math.pi * cutoff**3 / volume
    pairs = n_charges * min(_COST_PAIR * n_charges, _COST_LISTED_PAIR * listed)
    lateral = math.pi * (n_max[0] + 0.5) * (n_max[1] + 0.5)
    modes = lateral * (n_max[2] + 1)
    return pairs + n_charges * (_COST_WAVE * (lateral + n_max[2] + 1) + _COST_MODE * modes)

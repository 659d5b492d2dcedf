"""Choice of the splitting parameters of an Ewald sum and of a particle mesh, on the host."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dropsim_kernels.electrostatics.influence import mesh_error, padded_height_of, taper_points


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
_COST_SORT = 3.5e-8
_COST_WINDOW_POINT = 2.1e-9
_COST_BLOCK_POINT = 1.3e-9
_COST_READ_POINT = 6.2e-10
_COST_MESH_POINT = 7.0e-9


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
    edges, largest = _checked(lengths, n_charges, force_tolerance, slab)
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


def _checked(
    lengths: Sequence[float], n_charges: float, force_tolerance: float, slab: bool
) -> tuple[np.ndarray, float]:
    """Lengths as an array, and the largest cutoff that they allow."""
    edges = np.asarray(lengths, float)
    if edges.shape != (3,) or not np.all(edges > 0):
        raise ValueError(f"lengths must be three positive numbers, got {lengths}")
    if not 0 < force_tolerance < 0.5:
        raise ValueError(f"force_tolerance must lie between 0 and 0.5, got {force_tolerance}")
    if n_charges <= 0:
        raise ValueError(f"n_charges must be positive, got {n_charges}")
    largest = float(edges[:2].min() if slab else edges.min()) / 2
    return edges, largest


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


# --- particle mesh -------------------------------------------------------------------------------------------


class MeshCandidate(NamedTuple):
    """A setting of a particle mesh that meets a force error.

    alpha: inverse length; cutoff: length; mesh: points along x, y, z (of the padded height in a slab); order: of
    the splines; real_error, mesh_error: predicted rms force errors relative to the rms force, to be added in
    quadrature; cost: seconds of one evaluation on one core in float32, to compare candidates;
    padded_height: of a slab, None in bulk.
    """

    alpha: float
    cutoff: float
    mesh: tuple[int, int, int]
    order: int
    real_error: float
    mesh_error: float
    cost: float
    padded_height: float | None


def good_mesh_size(least: float) -> int:
    """Smallest number of mesh points, not below `least`, whose only prime factors are 2, 3, 5 and 7."""
    n = max(1, math.ceil(least - 1e-9))
    while True:
        rest = n
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def _slab_share(cutoff: float, height: float) -> float:
    """Fraction of a sphere's surface that lies within a slab, its centre anywhere between the walls."""
    ratio = cutoff / height
    return 1 - ratio / 2 if ratio <= 1 else 1 / (2 * ratio)


@functools.lru_cache(maxsize=32)
def _spacing_table(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of alpha h, and of the mesh error of a cubic mesh over sqrt(alpha)."""
    widths = np.geomspace(0.05, 2.5, 40)
    errors = np.array([mesh_error((w, w, w), order, 1.0) for w in widths])
    resolved = errors > 1e-9  # below, the difference that the error is has no digits left
    return np.log(widths[resolved]), np.log(errors[resolved])


def mesh_candidates(
    lengths: Sequence[float],
    n_charges: float,
    force_tolerance: float,
    slab: bool = False,
    neighbor_distance: float | None = None,
    cutoffs: Sequence[float] | None = None,
    orders: Sequence[int] = (4, 5, 6, 7, 8),
    extent: float | None = None,
    n_particles: int | None = None,
) -> list[MeshCandidate]:
    """Settings of a particle mesh that meet a relative rms force error, cheapest first.

    error^2 = (N/V) [4 S/r_c exp(-2 a^2 r_c^2) + E_p(h, a)^2],  E_p of `influence.mesh_error`,

    relative to the rms force F of q^2: F = 1/d^2 for charges with neighbours at d, else sqrt(4 pi) (N/V)^(2/3)
    for charges at random places no closer than (V/N)^(1/3). Both terms get an equal share of half the square
    of the tolerance: a margin of sqrt(2). S is the share of a sphere of radius r_c that lies within a slab.

    V -> `lengths`: three box lengths, the height between the walls for a slab; N -> `n_charges`: as in
    `choose_parameters`, sum q^2 / mean q^2 of the mobile charges; `force_tolerance`; `slab`;
    d -> `neighbor_distance`: length or None; r_c -> `cutoffs`: lengths to try, None for twelve between the mean
    distance and half the shortest periodic length; p -> `orders`: of the splines; `extent`: as in
    `mesh.mesh_parameters`; `n_particles`: mobile charges, for the cost, None for N.
    Returns a list of `MeshCandidate`, at most one for each cutoff and order; a slab's mesh is made for its
    `padded_height`.

    Raises ValueError as `choose_parameters` does. Validity: E_p is no fit: achieved and predicted error of the
    mesh agreed within 0.7 to 1.05 for random charges at relative errors from 2e-2 to 4e-6 (orders 4 to 8). F is
    what is uncertain: forces of random points are larger, achieved errors then smaller, than assumed.
    Source: doi 10.1080/08927029208049126 (real space), doi 10.1021/ct2001792 (mesh).
    """
    edges, largest = _checked(lengths, n_charges, force_tolerance, slab)
    volume = float(edges.prod())
    density = n_charges / volume
    if neighbor_distance is not None and not neighbor_distance > 0:
        raise ValueError(f"neighbor_distance must be positive, got {neighbor_distance}")
    force = math.sqrt(4 * math.pi) * density ** (2 / 3) if neighbor_distance is None else neighbor_distance**-2
    target = force_tolerance * force / 2
    reach = float(edges[2]) if extent is None else float(extent)
    particles = n_charges if n_particles is None else n_particles
    if cutoffs is None:
        mean = density ** (-1 / 3)
        tried = sorted({float(r) for r in np.minimum(mean * np.geomspace(1.0, 8.0, 12), largest)})
    else:
        tried = [float(r) for r in cutoffs]
    for radius in tried:
        if not 0 < radius <= largest * (1 + 1e-9):
            raise ValueError(
                f"cutoffs must lie between 0 and half the shortest periodic length, {largest:.6g}; got {radius}"
            )
    found = []
    for radius in tried:
        share = _slab_share(radius, float(edges[2])) if slab else 1.0
        # Fewer charges beyond the cutoff act like a smaller number in the estimate of the pair sum.
        alpha = _solve_alpha(radius, n_charges * share, volume, target)
        real = _real_space_error(alpha, radius, n_charges * share, volume)
        for order in orders:
            widths, errors = _spacing_table(order)
            wanted = math.log(target / math.sqrt(density * alpha))
            spacing = math.exp(float(np.interp(wanted, errors, widths))) / alpha
            mesh, height = _mesh_of_spacing(edges, spacing, order, reach if slab else None, force_tolerance)
            periods = [*edges[:2], edges[2] if height is None else height]
            steps = [float(period) / n for period, n in zip(periods, mesh, strict=True)]
            error = math.sqrt(density) * mesh_error((steps[0], steps[1], steps[2]), order, alpha)
            if error > target * 1.02:  # below the table: a mesh this fine is no candidate
                continue
            cost = _mesh_cost(radius, particles, edges, mesh, order, slab)
            found.append(MeshCandidate(alpha, radius, mesh, order, real / force, error / force, cost, height))
    return sorted(found, key=lambda candidate: candidate.cost)


def _mesh_of_spacing(
    edges: np.ndarray, spacing: float, order: int, extent: float | None, force_tolerance: float
) -> tuple[tuple[int, int, int], float | None]:
    n_x, n_y = (good_mesh_size(max(order, length / spacing)) for length in edges[:2])
    if extent is None:
        return (n_x, n_y, good_mesh_size(max(order, edges[2] / spacing))), None
    taper = taper_points(force_tolerance)
    n_z = good_mesh_size(max(order, 2 * extent / spacing + 2 * taper))
    return (n_x, n_y, n_z), padded_height_of(extent, n_z, taper)


def _mesh_cost(
    cutoff: float, particles: float, edges: np.ndarray, mesh: tuple[int, int, int], order: int, slab: bool
) -> float:
    within = (4 / 3) * math.pi * cutoff**3
    if slab:
        within = min(within, math.pi * cutoff**2 * float(edges[2]))
    listed = particles * min(1.0, within / float(edges.prod()))
    pairs = particles * min(_COST_PAIR * particles, _COST_LISTED_PAIR * listed)
    groups = particles / 16 + min(math.prod(mesh) / (16 * (17 - order)), particles)
    bricks = _COST_SORT * particles + _COST_BLOCK_POINT * groups * 16 * (order + 3) ** 2
    spreading = min(bricks, _COST_WINDOW_POINT * particles * order**3)
    return pairs + spreading + _COST_READ_POINT * particles * order**3 + _COST_MESH_POINT * math.prod(mesh)

"""Ewald sums for periodic boxes and for slabs, with net charge and fixed sites.

Energies are in charge^2/length and forces in charge^2/length^2: the caller multiplies by its Coulomb factor.
The total is real space + reciprocal + self + background (+ slab correction); each is a function of its own.
Fixed sites enter through what they contribute once: their structure factor, total charge and moments. What
the sites have among themselves is left out everywhere, so energies are those of the mobile charges with each
other and with the sites.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dropsim_kernels.box import Box, minimum_image
from dropsim_kernels.electrostatics.parameters import EwaldParameters, Splitting, choose_parameters
from dropsim_kernels.neighbors import NeighborList
from dropsim_kernels.pairs import pair_forces
from dropsim_kernels.potentials import ewald_real

__all__ = [
    "EwaldParameters",
    "FixedCharges",
    "background_energy",
    "choose_parameters",
    "cosine_sine",
    "ewald_energy",
    "fixed_charges",
    "long_range",
    "period",
    "real_space_energy_forces",
    "reciprocal",
    "self_energy",
    "slab_correction",
    "slab_moments",
    "structure_factor",
    "wave_indices",
]

# cos(2 pi t) in t^2 and sin(2 pi t)/t in t^2 for |t| <= 1/4: least-maximum fits made for this module
# (errors 2.2e-10 absolute, 2.1e-11 relative, so float32 rounding is what remains).
_COSINE = (
    0.9999999997806436,
    -19.739208548904475,
    64.93934662813288,
    -85.4535715572954,
    60.14401366003008,
    -24.982227601653157,
)
_SINE = (
    6.283185307046678,
    -41.34170209691853,
    81.60522368922308,
    -76.70417021099124,
    42.00779635159775,
    -14.38138546738795,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FixedCharges:
    """What fixed sites contribute to every step, computed once by `fixed_charges`.

    structure: (2, n_xy, n_z + 1), real and imaginary part of their structure factor;
    moments: (3,), sum q, sum q z, sum q z^2.
    """

    structure: jax.Array
    moments: jax.Array


def period(box: Box, parameters: Splitting) -> jax.Array:
    """Lengths (3,) over which the sum repeats: those of the box, with the padded height for a slab.

    Raises ValueError where the periodic axes of the box are not those that the parameters were made for.
    """
    lengths = jnp.asarray(box.lengths)
    if box.periodic != (True, True, not parameters.slab):
        raise ValueError(
            f"box.periodic is {box.periodic}; Ewald parameters with slab={parameters.slab} "
            f"need {(True, True, not parameters.slab)}"
        )
    if not parameters.slab:
        return lengths
    if parameters.padded_height is None:
        raise ValueError("a slab needs padded_height: make the parameters with choose_parameters(slab=True)")
    return lengths.at[2].set(jnp.asarray(parameters.padded_height).astype(lengths.dtype))


# --- reciprocal space ------------------------------------------------------------------------------------


def wave_indices(n_max: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of (k_x, k_y) columns inside the ellipse, and weights (n_xy, n_z + 1) for k_z >= 0.

    k and -k contribute alike: weight 2 for k_z > 0; the plane k_z = 0 is there whole, with weight 1. The
    ellipsoid (n/n_max)^2 <= 1 is cut out, and k = 0 left out.
    """
    safe = [max(n, 1) for n in n_max]
    n_x, n_y = np.meshgrid(np.arange(-n_max[0], n_max[0] + 1), np.arange(-n_max[1], n_max[1] + 1), indexing="ij")
    lateral = (n_x / safe[0]) ** 2 + (n_y / safe[1]) ** 2
    inside = lateral <= 1.0 + 1e-9
    n_x, n_y, lateral = n_x[inside], n_y[inside], lateral[inside]
    n_z = np.arange(n_max[2] + 1)
    norm = lateral[:, None] + (n_z[None, :] / safe[2]) ** 2
    weight = np.where(norm <= 1.0 + 1e-9, np.where(n_z[None, :] > 0, 2.0, 1.0), 0.0)
    weight[norm == 0.0] = 0.0
    return n_x, n_y, weight


def _coefficients(
    box: Box, parameters: EwaldParameters, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """weight (2 pi/V) exp(-k^2/4 alpha^2)/k^2 as (n_xy, n_z + 1), and k_x, k_y (n_xy,), k_z (n_z + 1,)."""
    n_x, n_y, weight = wave_indices(parameters.n_max)
    lengths = period(box, parameters).astype(dtype)
    alpha = jnp.asarray(parameters.alpha).astype(dtype)
    k_x = 2 * math.pi * jnp.asarray(n_x, dtype) / lengths[0]
    k_y = 2 * math.pi * jnp.asarray(n_y, dtype) / lengths[1]
    k_z = 2 * math.pi * jnp.arange(parameters.n_max[2] + 1, dtype=dtype) / lengths[2]
    squared = (k_x * k_x + k_y * k_y)[:, None] + (k_z * k_z)[None, :]
    used = jnp.asarray(weight > 0)
    squared = jnp.where(used, squared, 1)
    factor = (2 * math.pi / lengths.prod()) * jnp.exp(-squared / (4 * alpha * alpha)) / squared
    return jnp.where(used, jnp.asarray(weight, dtype) * factor, 0), k_x, k_y, k_z


def cosine_sine(turns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """cos and sin of 2 pi turns, by polynomials in float32: the library's are scalar code on the CPU."""
    if turns.dtype != jnp.float32:
        angle = 2 * math.pi * (turns - jnp.round(turns))
        return jnp.cos(angle), jnp.sin(angle)
    halves = jnp.round(2 * turns)
    rest = turns - halves / 2
    sign = 1 - 2 * (halves - 2 * jnp.floor(halves / 2))
    square = rest * rest
    cosine = jnp.full_like(square, _COSINE[-1])
    sine = jnp.full_like(square, _SINE[-1])
    for c, s in zip(_COSINE[-2::-1], _SINE[-2::-1], strict=True):
        cosine = cosine * square + c
        sine = sine * square + s
    return sign * cosine, sign * sine * rest


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _waves(
    position: jax.Array, box: Box, parameters: EwaldParameters
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """cos and sin of k_xy . r as (n_xy, N), and of k_z z as (n_z + 1, N)."""
    dtype = position.dtype
    n_x, n_y, _ = wave_indices(parameters.n_max)
    lengths = period(box, parameters).astype(dtype)
    turns = position / jnp.broadcast_to(lengths, position.shape)
    lateral = jnp.stack([jnp.asarray(n_x, dtype), jnp.asarray(n_y, dtype)], axis=1)
    # Products of small integers with numbers of order one: float32 keeps the phase to about n 1e-7 turns.
    lateral_turns = lateral[:, :1] * turns[:, 0][None, :] + lateral[:, 1:] * turns[:, 1][None, :]
    normal_turns = jnp.arange(parameters.n_max[2] + 1, dtype=dtype)[:, None] * turns[:, 2][None, :]
    return *cosine_sine(lateral_turns), *cosine_sine(normal_turns)


def _structure(
    charge: jax.Array, lateral_cos: jax.Array, lateral_sin: jax.Array, z_cos: jax.Array, z_sin: jax.Array
) -> tuple[jax.Array, jax.Array]:
    n_xy, n_z = lateral_cos.shape[0], z_cos.shape[0]
    lateral = jnp.concatenate([lateral_cos, lateral_sin]) * charge[None, :]
    products = _matmul(lateral, jnp.concatenate([z_cos, z_sin]).T)
    real = products[:n_xy, :n_z] - products[n_xy:, n_z:]
    imaginary = products[:n_xy, n_z:] + products[n_xy:, :n_z]
    return real, imaginary


def structure_factor(
    site_position: jax.Array, site_charge: jax.Array, box: Box, parameters: EwaldParameters
) -> jax.Array:
    """Structure factor of fixed sites, to be computed once.

    S(k) = sum_s q_s exp(i k . r_s), k over the half space of the sum.

    r_s -> `site_position`: (S, 3); q_s -> `site_charge`: (S,). Returns (2, n_xy, n_z + 1): real, imaginary.
    """
    real, imaginary = _structure(site_charge, *_waves(site_position, box, parameters))
    return jnp.stack([real, imaginary])


def reciprocal(
    position: jax.Array,
    charge: jax.Array,
    box: Box,
    parameters: EwaldParameters,
    fixed_structure: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Reciprocal-space energy and forces.

    U = (2 pi/V) sum_{k != 0} exp(-k^2/4 alpha^2)/k^2 [|S(k)|^2 + 2 Re S(k) S_f(k)*],
    f_j = -grad_j U,  S(k) = sum_j q_j exp(i k . r_j),
    over k = 2 pi n/L with (n_x/m_x)^2 + (n_y/m_y)^2 + (n_z/m_z)^2 <= 1, L_z and V padded for a slab.

    r_j -> `position`: (N, 3) mobile; q_j -> `charge`: (N,); m -> `parameters.n_max`;
    S_f -> `fixed_structure`: from `structure_factor`, or None. Returns (energy, forces (N, 3)).

    Validity: contains the self-interaction that `self_energy` removes; |S_f|^2 is left out. The exponentials
    separate into xy and z, so sums are matrix products: 24 N n_xy n_z operations, and sites cost nothing.
    Source: doi 10.1080/08927029208049126 for the sum and its truncation.
    """
    dtype = position.dtype
    coefficient, k_x, k_y, k_z = _coefficients(box, parameters, dtype)
    xy_cos, xy_sin, z_cos, z_sin = _waves(position, box, parameters)
    real, imaginary = _structure(charge, xy_cos, xy_sin, z_cos, z_sin)
    total_real, total_imaginary = real, imaginary
    energy_real, energy_imaginary = real, imaginary
    if fixed_structure is not None:
        fixed = fixed_structure.astype(dtype)
        total_real, total_imaginary = real + fixed[0], imaginary + fixed[1]
        energy_real, energy_imaginary = total_real + fixed[0], total_imaginary + fixed[1]
    energy = (coefficient * (real * energy_real + imaginary * energy_imaginary)).sum()

    # With G = c (S + S_f): force_j = 2 q_j sum_k k Im[G* exp(i k . r_j)], the sum over k_z first.
    g_real, g_imaginary = coefficient * total_real, coefficient * total_imaginary
    conjugate = jnp.concatenate(
        [
            jnp.concatenate([g_real, g_imaginary], axis=1),
            jnp.concatenate([-g_imaginary, g_real], axis=1),
        ]
    )
    z_waves = jnp.concatenate([z_cos, z_sin])
    n_xy = k_x.shape[0]
    summed = _matmul(conjugate, z_waves)
    summed_kz = _matmul(conjugate * jnp.concatenate([k_z, k_z])[None, :], z_waves)
    lateral = summed[:n_xy] * xy_sin + summed[n_xy:] * xy_cos
    normal = summed_kz[:n_xy] * xy_sin + summed_kz[n_xy:] * xy_cos
    forces = jnp.concatenate([_matmul(jnp.stack([k_x, k_y]), lateral), _matmul(jnp.ones((1, n_xy), dtype), normal)])
    return energy, (2 * charge[None, :] * forces).T


# --- what does not depend on lateral position -------------------------------------------------------------


def self_energy(charge: jax.Array, parameters: Splitting) -> jax.Array:
    """Interaction of each charge with its own screening cloud, contained in `reciprocal`.

    U = -(alpha/sqrt(pi)) sum q_j^2.

    q_j -> `charge`: (N,), mobile charges only where the sites come as `fixed_structure`. Returns a scalar.
    """
    return -(jnp.asarray(parameters.alpha).astype(charge.dtype) / math.sqrt(math.pi)) * (charge * charge).sum()


def background_energy(
    charge: jax.Array, box: Box, parameters: Splitting, fixed_charge: jax.Array | None = None
) -> jax.Array:
    """Energy of the uniform background that neutralises a net charge.

    U = -pi/(2 V alpha^2) (Q^2 + 2 Q Q_f),  Q = sum q_j; no force on any charge.

    q_j -> `charge`: (N,); Q_f -> `fixed_charge`: scalar, total charge of the fixed sites, or None for 0;
    V: padded for a slab. Returns a scalar; zero for a neutral cell without sites.
    """
    dtype = charge.dtype
    total = charge.sum()
    energy_charge = total if fixed_charge is None else total + 2 * fixed_charge.astype(dtype)
    alpha = jnp.asarray(parameters.alpha).astype(dtype)
    volume = period(box, parameters).astype(dtype).prod()
    return -math.pi / (2 * volume * alpha * alpha) * total * energy_charge


def slab_moments(site_position: jax.Array, site_charge: jax.Array) -> jax.Array:
    """Moments (3,) along z of fixed sites: sum q, sum q z, sum q z^2."""
    z = site_position[:, 2]
    return jnp.stack([site_charge.sum(), (site_charge * z).sum(), (site_charge * z * z).sum()])


def slab_correction(
    position: jax.Array,
    charge: jax.Array,
    box: Box,
    parameters: EwaldParameters,
    fixed_moments: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """What turns a sum that repeats in z, with vacuum, into one that repeats in x and y only.

    U = (2 pi/V) [M^2 - Q S - Q^2 H^2/12],  Q = sum q, M = sum q z, S = sum q z^2,
    f_z = -(4 pi/V) q (M - Q z);  V = L_x L_y H, H the padded height.

    z -> `position[:, 2]`: (N, 3), must not be wrapped in z; q -> `charge`: (N,); `fixed_moments`: (3,) of
    `slab_moments`, or None: their part independent of the mobile charges is left out.
    Returns (energy, forces (N, 3)); zero for parameters that are not of a slab.

    Validity: what remains is of order exp(-2 pi (H - h)/L), h the extent of the charges, L the longer lateral
    length; for net charge the constant is that of the regularised two-dimensional sum, independent of H.
    Source: doi 10.1063/1.479595 (neutral), doi 10.1063/1.3216473 (charged).
    """
    if not parameters.slab:
        return jnp.zeros((), position.dtype), jnp.zeros_like(position)
    dtype = position.dtype
    lengths = period(box, parameters).astype(dtype)
    factor = 2 * math.pi / lengths.prod()
    height = lengths[2]
    z = position[:, 2]
    moments = jnp.stack([charge.sum(), (charge * z).sum(), (charge * z * z).sum()])
    fixed = jnp.zeros(3, dtype) if fixed_moments is None else fixed_moments.astype(dtype)
    total = moments + fixed
    # The quadratic form of (moments + fixed) less that of fixed alone, without cancelling two large numbers.
    energy = factor * (
        moments[1] * (total[1] + fixed[1])
        - (moments[0] * total[2] + fixed[0] * moments[2])
        - moments[0] * (total[0] + fixed[0]) * height * height / 12
    )
    normal = -2 * factor * charge * (total[1] - total[0] * z)
    return energy, jnp.stack([jnp.zeros_like(z), jnp.zeros_like(z), normal], axis=1)


# --- put together -------------------------------------------------------------------------------------------


def fixed_charges(
    site_position: jax.Array, site_charge: jax.Array, box: Box, parameters: EwaldParameters
) -> FixedCharges:
    """All that `long_range` needs to know of the fixed sites: (S, 3) positions and (S,) charges."""
    return FixedCharges(
        structure=structure_factor(site_position, site_charge, box, parameters),
        moments=slab_moments(site_position, site_charge),
    )


def long_range(
    position: jax.Array,
    charge: jax.Array,
    box: Box,
    parameters: EwaldParameters,
    fixed: FixedCharges | None = None,
) -> tuple[jax.Array, jax.Array]:
    """All of the Coulomb sum that is not a pair sum: reciprocal, self, background and slab terms.

    `position`: (N, 3) and `charge`: (N,) of the mobile charges; `fixed`: the sites, or None.
    Returns (energy, forces (N, 3)). To be added to a pair sum of q_i q_j `potentials.ewald_real`(r, alpha).
    """
    structure = None if fixed is None else fixed.structure
    moments = None if fixed is None else fixed.moments
    energy, forces = reciprocal(position, charge, box, parameters, structure)
    slab_energy, slab_forces = slab_correction(position, charge, box, parameters, moments)
    constant = self_energy(charge, parameters) + background_energy(
        charge, box, parameters, None if moments is None else moments[0]
    )
    return energy + constant + slab_energy, forces + slab_forces


def real_space_energy_forces(
    position: jax.Array,
    charge: jax.Array,
    site_position: jax.Array,
    site_charge: jax.Array,
    box: Box,
    parameters: Splitting,
    neighbors: NeighborList | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Real-space energy and forces.

    U = sum_{pairs} q_i q_j erfc(alpha r)/r, r < cutoff, nearest images.

    `position`: (N, 3), `charge`: (N,) mobile; `site_position`: (S, 3), `site_charge`: (S,);
    `neighbors`: list of mobile rows over [mobile; sites], or None for all pairs.
    Returns (energy, forces (N, 3)). Validity: cutoff of at most half the shortest periodic length.
    """
    alpha = jnp.asarray(parameters.alpha).astype(position.dtype)

    def u(r: jax.Array, q_row: jax.Array, q_column: jax.Array) -> jax.Array:
        return q_row * q_column * ewald_real(r, alpha)

    columns = jnp.concatenate([charge, site_charge.astype(charge.dtype)])
    energy, forces, _ = pair_forces(u, position, site_position, charge, columns, neighbors, box, parameters.cutoff)
    return energy, forces


def ewald_energy(
    position: jax.Array, charge: jax.Array, box: Box, parameters: EwaldParameters, n_images: int = 0
) -> jax.Array:
    """Coulomb energy of all charges, the plain reference: one sum over pairs and explicit images.

    U = (1/2) sum_{i,j,n}' q_i q_j erfc(alpha r)/r + long-range terms, r = |r_ij + n L| < cutoff,
    |n| <= n_images along periodic axes, without i = j at n = 0.

    `position`: (N, 3); `charge`: (N,); `n_images`: static; 0 asks for a cutoff of at most half the shortest
    periodic length, n for at most n + 1/2 of it. Returns a scalar. Validity: memory N^2 (2 n_images + 1)^3.
    """
    dtype = position.dtype
    alpha = jnp.asarray(parameters.alpha).astype(dtype)
    cutoff = jnp.asarray(parameters.cutoff).astype(dtype)
    lengths = period(box, parameters).astype(dtype)
    nearest = minimum_image(position[:, None, :] - position[None, :, :], box)
    itself = jnp.eye(position.shape[0], dtype=bool)
    products = charge[:, None] * charge[None, :]
    ranges = [range(-n_images, n_images + 1) if repeats else range(1) for repeats in box.periodic]
    energy = jnp.zeros((), dtype)
    for shift in itertools.product(*ranges):
        moved = nearest + jnp.broadcast_to(jnp.asarray(shift, dtype) * lengths, nearest.shape)
        squared = (moved * moved).sum(-1)
        counted = squared < cutoff * cutoff
        if shift == (0, 0, 0):
            counted = counted & ~itself
        r = jnp.sqrt(jnp.where(counted, squared, cutoff * cutoff))
        energy = energy + jnp.where(counted, products * ewald_real(r, alpha), 0).sum() / 2
    return energy + long_range(position, charge, box, parameters)[0]

"""Influence function of a particle-mesh sum, computed once on the host in double precision.

It multiplies the Fourier transform of the mesh charge and is the optimal one for forces that are gradients
of the mesh energy; with it come the error to expect and the spurious energy of a charge in its own mesh.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from dropsim_kernels.electrostatics.splines import spline_transform

# Points of the z grid on which the slab's kernel is sampled, per mesh point: resolves two aliases each way.
_OVERSAMPLING = 4
# How many images of the first Brillouin zone count in sums over spline transforms, which fall as m^(-2p).
_ALIASES = 8


class Influence(NamedTuple):
    """values: (n_x, n_y, n_z//2 + 1), charge on the mesh to potential times cell volume;
    own: (7,), 1/length, what `MeshParameters.own` holds; error: length^(-1/2), rms force error for
    unit charges at unit density."""

    values: np.ndarray
    own: np.ndarray
    error: float


def scaled_erfc(x: np.ndarray) -> np.ndarray:
    """exp(x^2) erfc(x) for x >= 0, to 1e-14, without overflow.

    The midpoint rule for the integral (2x/pi) int_0^inf exp(-t^2)/(t^2 + x^2) dt with step 1/2, plus the
    residue 2/(exp(4 pi x) + 1) of its pole where that is not negligible.
    Source: Matta and Reichel, Math. Comp. 25, 339 (1971).
    """
    step = 0.5
    square = x * x
    total = np.zeros_like(x)
    for n in range(13):
        t = ((n + 0.5) * step) ** 2
        total += math.exp(-t) / (t + square)
    near = np.minimum(x, 6.0)
    residue = np.where(x < 6.0, 2 * np.exp(near * near - 4 * math.pi * near) / (1 + np.exp(-4 * math.pi * near)), 0)
    return 2 * step * x / math.pi * total + residue


def slab_kernel(k: np.ndarray, z: np.ndarray, alpha: float) -> np.ndarray:
    """Smooth part of the Coulomb interaction of two unit charges that repeat in x and y, for a lateral wave.

    psi(k, z) = (pi/k) [exp(k z) erfc(k/2a + a z) + exp(-k z) erfc(k/2a - a z)],
    psi(0, z) = -2 pi [z erf(a z) + exp(-a^2 z^2)/(a sqrt(pi))], the infinite constant of a net charge left out.

    k -> `k`: wave number; z -> `z`: >= 0, height difference; they broadcast; a -> `alpha`. Returns length.
    Source: doi 10.1016/0039-6028(75)90362-3; the exponentials are joined so that none overflows.
    """
    k, z = np.broadcast_arrays(np.asarray(k, float), np.asarray(z, float))
    a, b = k / (2 * alpha), alpha * z
    gauss = np.exp(-a * a - b * b)
    far = scaled_erfc(np.abs(a - b)) * gauss
    second = np.where(a >= b, far, 2 * np.exp(-2 * a * b) - far)
    finite = np.where(k > 0, k, 1.0)
    wave = math.pi / finite * (scaled_erfc(a + b) * gauss + second)
    plane_erf = 1 - scaled_erfc(b) * np.exp(-b * b)
    plane = -2 * math.pi * (z * plane_erf + np.exp(-b * b) / (alpha * math.sqrt(math.pi)))
    return np.where(k > 0, wave, plane)


def taper_points(force_tolerance: float) -> float:
    """Mesh points along z, on each side, in which the kernel of a slab levels off.

    t = 2 + 1.5 log10(1/tolerance).

    Measured (orders 4 to 8, neutral and charged slabs): with 6 points the levelling adds nothing to be seen
    to a relative force error of 1e-3, up to a half at 1e-4 and doubles it at 1e-5.
    """
    return 2 + 1.5 * math.log10(1 / force_tolerance)


def padded_height_of(extent: float, n_z: int, taper: float = 8.0) -> float:
    """Period along z of a slab's mesh.

    H = 2 e + 2 t H/n: twice the extent, and t mesh points on either side in which the kernel levels off.

    e -> `extent`: length, largest height difference of two charges; n -> `n_z`: points along z; t -> `taper`:
    see `taper_points`, by default for errors of 1e-4. Returns a length.
    Raises ValueError where n_z leaves no points for the charges.
    """
    if n_z <= 2 * taper:
        raise ValueError(f"a slab's mesh needs more than {2 * taper:g} points along z, got {n_z}")
    return 2 * extent * n_z / (n_z - 2 * taper)


def flattened(z: np.ndarray, extent: float, half_height: float, spacing: float) -> np.ndarray:
    """Height difference that follows z up to `extent` and levels off smoothly until `half_height`.

    A kernel of it has no kink where the padded period closes, and is exact for all differences in use. The
    slope falls by the integral of exp(b sqrt(1 - x^2)), whose transform ends at about 2 b/width: b is chosen
    so that this is 0.8 of the largest wave number of the mesh, pi/`spacing`.
    """
    width = half_height - extent
    b = 0.4 * math.pi * width / spacing
    x = np.linspace(-1.0, 1.0, 2001)
    bump = np.exp(b * (np.sqrt(1 - x * x) - 1))
    # Trapezoid sums, twice: first the slope of the levelled height, then the height itself.
    step = np.concatenate([[0.0], np.cumsum((bump[1:] + bump[:-1]) / 2)])
    slope = 1 - step / step[-1]
    level = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2)]) * (width / (len(x) - 1))
    beyond = np.interp(z, extent + width * (x + 1) / 2, level)
    return np.where(z <= extent, z, extent + beyond)


def _axis_waves(length: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """|k| and U of the wave and of its nearest alias: (2, n//2 + 1) each."""
    turns = np.arange(n // 2 + 1) / n
    both = np.stack([turns, 1 - turns])
    return 2 * math.pi * n / length * both, both


def _alias_sums(length: float, n: int, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over all aliases of U^2, of k^2 U^2, and (3, n//2 + 1) of U_m U_{m+s} for s = 0, 1, 2."""
    m = np.arange(-_ALIASES, _ALIASES + 1)[:, None]
    turns = np.arange(n // 2 + 1)[None, :] / n + m
    # np.sinc is not exactly zero at the integers: raised to a power and squared it is.
    u = spline_transform(turns, order)
    k = 2 * math.pi * n / length * turns
    products = np.stack([(u[: len(u) - s] * u[s:]).sum(0) for s in range(3)])
    return (u * u).sum(0), (k * k * u * u).sum(0), products


def _bulk_kernels(k: list[np.ndarray], alpha: float):
    """For each combination of aliases: k^2, and the transform of the smooth part, without k = 0."""
    for alias in itertools.product(range(2), repeat=3):
        squared = (
            k[0][alias[0]][:, None, None] ** 2 + k[1][alias[1]][None, :, None] ** 2 + k[2][alias[2]][None, None, :] ** 2
        )
        zero = squared == 0
        safe = np.where(zero, 1.0, squared)
        kernel = np.where(zero, 0.0, 4 * math.pi * np.exp(-safe / (4 * alpha**2)) / safe)
        yield alias, squared, kernel


def _slab_kernels(k: list[np.ndarray], alpha: float, height: float, n_z: int, extent: float):
    """The same for a slab: the transform along z is that of the levelled kernel, over one padded period."""
    fine = _OVERSAMPLING * n_z
    z = np.arange(fine // 2 + 1) * (height / fine)
    level = flattened(z, extent, height / 2, height / n_z)
    half = n_z // 2 + 1
    for a_x, a_y in itertools.product(range(2), repeat=2):
        lateral = np.sqrt(k[0][a_x][:, None] ** 2 + k[1][a_y][None, :] ** 2)
        transform = np.empty((*lateral.shape, fine // 2 + 1))
        for row, numbers in enumerate(lateral):  # one row at a time bounds the memory
            sampled = slab_kernel(numbers[:, None], level[None, :], alpha)
            whole = np.concatenate([sampled, sampled[:, -2:0:-1]], axis=1)
            transform[row] = np.fft.rfft(whole, axis=1).real * (height / fine)
        for a_z in range(2):
            kernel = transform[:, :, :half] if a_z == 0 else transform[:, :, n_z - np.arange(half)]
            yield (a_x, a_y, a_z), lateral[:, :, None] ** 2 + k[2][a_z][None, None, :] ** 2, kernel


def influence_function(
    lengths: tuple[float, float, float],
    mesh: tuple[int, int, int],
    order: int,
    alpha: float,
    extent: float | None = None,
) -> Influence:
    """Influence function that minimises the mean square force error of charges at random places.

    G(k) = sum_m k_m^2 U_m^2 R_m / [sum_m k_m^2 U_m^2 sum_m U_m^2],  k_m = k + 2 pi m/h,
    error^2 = (1/V) sum_k [sum_m k_m^2 R_m^2 - (sum_m k_m^2 U_m^2 R_m)^2 / (sum_m k_m^2 U_m^2 sum_m U_m^2)].

    R: transform of erf(alpha r)/r, 4 pi exp(-k^2/4 alpha^2)/k^2 in bulk; for a slab that of `slab_kernel` over
    the padded period; U: `spline_transform`; h: mesh spacing; V: volume of `lengths`.
    `lengths`: periods, the padded one along z for a slab; `mesh`, `order`, `alpha`; `extent`: None in bulk,
    else the largest height difference of two charges. Returns `Influence`.

    Validity: force errors of a charge q among charges q_j of density n are q sqrt(n <q_j^2>) error. k = 0
    vanishes in bulk: a net charge brings its uniform background.
    Source: doi 10.1021/ct2001792 and the book of Hockney and Eastwood (ISBN 0-85274-392-0), chapter 8,
    derived anew for differentiated weights; the sampled kernel along z is their isolated-system technique.
    """
    pairs = list(zip(lengths, mesh, strict=True))
    waves = [_axis_waves(length, n) for length, n in pairs]
    k, turns = [w[0] for w in waves], [w[1] for w in waves]
    u_squared = [spline_transform(t, order) ** 2 for t in turns]
    sums = [_alias_sums(length, n, order) for length, n in pairs]

    def product(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return x[:, None, None] * y[None, :, None] * z[None, None, :]

    charge_sum = product(*(s[0] for s in sums))
    force_sum = sum(product(*(sums[b][1 if a == b else 0] for b in range(3))) for a in range(3))
    shape = charge_sum.shape
    numerator, power, alone = np.zeros(shape), np.zeros(shape), 0.0
    multiplicity = _multiplicity(mesh)
    kernels = _bulk_kernels(k, alpha) if extent is None else _slab_kernels(k, alpha, lengths[2], mesh[2], extent)
    at_zero = 0.0
    for alias, squared, kernel in kernels:
        numerator += squared * product(*(u_squared[axis][alias[axis]] for axis in range(3))) * kernel
        power += squared * kernel**2
        alone += float((multiplicity * kernel).sum())
        if alias == (0, 0, 0):
            at_zero = float(kernel[0, 0, 0])
    denominator = force_sum * charge_sum
    denominator[0, 0, 0] = 1.0
    values = numerator / denominator
    values[0, 0, 0] = at_zero
    volume = math.prod(lengths)
    missed = power - numerator**2 / denominator
    error = math.sqrt(max(float((multiplicity * missed)[force_sum > 0].sum()), 0.0) / volume)

    own = np.zeros(7)
    own[0] = (float((multiplicity * values * charge_sum).sum()) - alone) / volume
    for axis in range(3):
        for harmonic in (1, 2):
            factors = [sums[b][2][harmonic if b == axis else 0] for b in range(3)]
            own[2 * axis + harmonic] = float((multiplicity * values * product(*factors)).sum()) / volume
    index = [np.minimum(np.arange(n), n - np.arange(n)) for n in mesh[:2]]
    whole = values[np.ix_(index[0], index[1], np.arange(shape[2]))]
    return Influence(whole * (math.prod(mesh) / volume), own, error)


def _multiplicity(mesh: tuple[int, int, int]) -> np.ndarray:
    """How many waves of the mesh each wave with non-negative indices stands for."""
    axes = []
    for n in mesh:
        count = np.full(n // 2 + 1, 2.0)
        count[0] = 1.0
        if n % 2 == 0:
            count[-1] = 1.0
        axes.append(count)
    return axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]


def mesh_error(spacing: tuple[float, float, float], order: int, alpha: float, points: int = 10) -> float:
    """`Influence.error` for periods much longer than 1/alpha, without building the influence function.

    The sum over k becomes an integral over the first Brillouin zone: Gauss-Legendre in each axis.

    `spacing`: of the mesh along x, y, z; `order`, `alpha`; `points`: per axis. Returns length^(-1/2).
    """
    nodes, weights = np.polynomial.legendre.leggauss(points)
    turns = (nodes + 1) / 4  # 0 ... 1/2
    m = np.arange(-3, 4)[:, None]
    k, u_squared, sums, measure = [], [], [], []
    for h in spacing:
        both = np.stack([turns, 1 - turns])
        k.append(2 * math.pi / h * both)
        u_squared.append(spline_transform(both, order) ** 2)
        every = turns[None, :] + m
        u = spline_transform(every, order) ** 2
        sums.append((u.sum(0), ((2 * math.pi / h * every) ** 2 * u).sum(0)))
        # Both halves of the zone: int dk/(2 pi) = 2 int dt/h, and t spans half of the nodes' interval twice over.
        measure.append(weights / 4 * 2 / h)

    def product(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return x[:, None, None] * y[None, :, None] * z[None, None, :]

    charge_sum = product(*(s[0] for s in sums))
    force_sum = sum(product(*(sums[b][1 if a == b else 0] for b in range(3))) for a in range(3))
    numerator, power = np.zeros(charge_sum.shape), np.zeros(charge_sum.shape)
    for alias, squared, kernel in _bulk_kernels(k, alpha):
        numerator += squared * product(*(u_squared[axis][alias[axis]] for axis in range(3))) * kernel
        power += squared * kernel**2
    missed = power - numerator**2 / (force_sum * charge_sum)
    return math.sqrt(max(float((product(*measure) * missed).sum()), 0.0))

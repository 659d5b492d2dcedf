"""Energies of the NIST reference configurations: SPC/E water by Ewald sums, and Lennard-Jones particles.

The coordinates are not part of dropsim: NIST publishes them, and the rows read them from a folder. Lengths are in
angstrom and energies over k_B in K for water; Lennard-Jones units otherwise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import ewald
from dropsim_kernels.electrostatics.ewald import EwaldParameters
from dropsim_kernels.pairs import pair_forces
from dropsim_kernels.potentials import ewald_real, lennard_jones, lennard_jones_shifted

from dropsim.errors import TrajectoryError
from dropsim.validation.rows import Outcome, Result, Row, Settings
from dropsim.validation.short_range import truncation_corrections

WATER_PAGE = "NIST SPC/E water reference calculations (10 Å cutoff), doi 10.18434/T4M88Q"
LJ_PAGE = "NIST Lennard-Jones fluid reference calculations (cuboid cell), doi 10.18434/T4M88Q"

# CODATA 2010, as the published numbers: e^2/(4 pi eps_0 k_B) in K angstrom.
COULOMB_K_A = 1.602176565e-19**2 / (4 * math.pi * 8.854187817620e-12 * 1.3806488e-23) * 1e10
CHARGE_H = 0.42380
SIGMA_A, EPSILON_K = 3.16555789, 78.19743111
CUTOFF_A = 10.0
# alpha = 5.6/L; waves with n^2 < 27.
SPLITTING, N_MAX, N_SQUARED = 5.6, 5, 26

# Number of configuration: pairs of water's oxygens, real space, Fourier, self, intramolecular (K).
WATER = {
    1: (9.95387e4, -5.58889e5, 6.27009e3, -2.84469e6, 2.80999e6),
    2: (1.93712e5, -1.19295e6, 6.03495e3, -5.68938e6, 5.61998e6),
    3: (3.54344e5, -1.96297e6, 5.24461e3, -8.53407e6, 8.42998e6),
    4: (4.48593e5, -3.57226e6, 7.58785e3, -1.42235e7, 1.41483e7),
}
WATER_TOTAL = {1: -4.88604e5, 2: -1.06590e6, 3: -1.71488e6, 4: -3.20501e6}

# Number of configuration: (energy, virial) cut at 3, cut at 4, and with the force shifted at 3; what the energies
# cut at 3 and at 4 lack.
LJ = {
    1: ((-4351.5, -568.67), (-4467.5, -1263.9), (-3870.9, 317.54), (-198.49, -83.769)),
    2: ((-690.00, -568.46), (-704.60, -655.99), (-620.12, -445.33), (-24.230, -10.226)),
    3: ((-1146.7, -1164.9), (-1175.4, -1337.1), (-1021.0, -935.78), (-49.622, -20.942)),
    4: ((-16.790, -46.249), (-17.060, -47.869), (-15.001, -43.096), (-0.54517, -0.23008)),
}


@dataclass(frozen=True)
class Configuration:
    """One published file: lengths (3,), position (N, 3) and the element of each row, empty where there is none."""

    lengths: np.ndarray
    position: np.ndarray
    element: tuple[str, ...]


def read_configuration(path: Path) -> Configuration:
    """A file as NIST publishes it: box lengths, number of molecules, then "index x y z [element]" lines.

    Raises TrajectoryError for what is not of this form.
    """
    try:
        lines = [line.split() for line in Path(path).read_text(encoding="ascii").splitlines() if line.strip()]
        lengths = np.array([float(x) for x in lines[0]])
        n_molecules = int(lines[1][0])
        position = np.array([[float(x) for x in line[1:4]] for line in lines[2:]])
        element = tuple(line[4] for line in lines[2:] if len(line) > 4)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise TrajectoryError(f"{path} is no configuration as NIST publishes them ({error})") from error
    if lengths.shape != (3,) or len(position) not in (n_molecules, 3 * n_molecules):
        raise TrajectoryError(f"{path} names {n_molecules} molecules and has {len(position)} lines of coordinates")
    return Configuration(lengths, position, element)


def rows(folder: Path | None) -> tuple[Row, ...]:
    """The rows E8 and S1 over the files in a folder; without one, or without files, they say what to do."""
    return (
        _row("E8", "SPC/E water: parts of the Ewald sum", WATER_PAGE, "spce", water, folder),
        _row("S1", "Lennard-Jones configurations: energy and virial", LJ_PAGE, "lj", lennard_jones_row, folder),
    )  # fmt: skip


def _row(
    key: str,
    title: str,
    source: str,
    stem: str,
    run: Callable[[Settings, dict[int, Path]], Outcome],
    folder: Path | None,
) -> Row:
    names = {n: f"{stem}_sample_config_periodic{n}.txt" for n in (1, 2, 3, 4)}
    if folder is None:
        how = (
            f"the coordinates are published by NIST: put {names[1]} to {names[4]} into a folder and name it with --nist"
        )
        return Row(key, title, source, None, reason=how)
    found = {n: Path(folder) / name for n, name in names.items() if (Path(folder) / name).exists()}
    if not found:
        return Row(key, title, source, None, reason=f"{folder} holds none of {names[1]} to {names[4]}")
    return Row(key, title, source, lambda settings: run(settings, found))


def _digits(value: float, printed: int) -> float:
    """Half a unit of the last printed digit."""
    return 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) + 1 - printed)


_real_space = jax.jit(ewald.real_space_energy_forces)
_reciprocal = jax.jit(ewald.reciprocal)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _pair_sum(
    position: jax.Array, box: Box, u: Callable[[jax.Array], jax.Array], cutoff: float
) -> tuple[jax.Array, jax.Array]:
    """Energy and virial of u(r) over the pairs within the cutoff."""
    unused = jnp.zeros(position.shape[0], position.dtype)
    sites = jnp.zeros((0, 3), position.dtype)
    energy, _, virial = pair_forces(lambda r, a, b: u(r), position, sites, unused, unused, None, box, cutoff)
    return energy, virial


def _oxygen_pair(r: jax.Array) -> jax.Array:
    return lennard_jones(r, jnp.asarray(SIGMA_A, r.dtype), jnp.asarray(EPSILON_K, r.dtype))


def _plain(r: jax.Array) -> jax.Array:
    return lennard_jones(r, jnp.ones((), r.dtype), jnp.ones((), r.dtype))


def _force_shifted(r: jax.Array) -> jax.Array:
    return lennard_jones_shifted(r, jnp.ones((), r.dtype), jnp.ones((), r.dtype), 3.0)


# --- water -------------------------------------------------------------------------------------------------------


def water(settings: Settings, files: dict[int, Path]) -> Outcome:
    """E8: each part of the energy as the simulator's kernels give it, and their sum."""
    results = []
    for n, path in files.items():
        results += _water_results(n, read_configuration(path), settings)
    return Outcome(tuple(results))


def _water_results(number: int, configuration: Configuration, settings: Settings) -> list[Result]:
    dtype = settings.dtype
    eps = float(np.finfo(dtype).eps)
    x, lengths = configuration.position, configuration.lengths
    oxygen = np.array([name == "O" for name in configuration.element])
    q = np.where(oxygen, -2 * CHARGE_H, CHARGE_H)
    alpha = SPLITTING / lengths.min()
    box = Box(jnp.asarray(lengths, dtype), (True, True, True))
    parameters = EwaldParameters(
        jnp.asarray(alpha, dtype), jnp.asarray(CUTOFF_A, dtype), None, (N_MAX, N_MAX, N_MAX), False
    )
    charge = jnp.asarray(q, dtype)
    position = jnp.asarray(x, dtype)
    no_site, no_charge = jnp.zeros((0, 3), dtype), jnp.zeros(0, dtype)
    real = float(_real_space(position, charge, no_site, no_charge, box, parameters)[0])
    # The published real-space part leaves out the pairs of a molecule, which are part of the sum over all pairs.
    inside, inside_size = _within_molecules(x, q, lengths, alpha, dtype)
    fourier = float(_reciprocal(position, charge, box, parameters)[0]) + _shell(x, q, lengths, alpha)
    own = float(ewald.self_energy(charge, parameters))
    dispersion, _ = _pair_sum(jnp.asarray(x[oxygen], dtype), box, _oxygen_pair, CUTOFF_A)
    bare = -_intramolecular_erf(x, q, lengths, alpha)
    values = np.array([float(dispersion), *(COULOMB_K_A * np.array([real - inside, fourier, own, bare]))])
    sizes = np.array([
        10 * abs(values[0]), COULOMB_K_A * (inside_size + abs(real)), COULOMB_K_A * (q**2).sum() * alpha,
        COULOMB_K_A * abs(own), 0.0,
    ])  # fmt: skip
    names = ("dispersion, cut", "real space", "Fourier", "self", "within molecules (numpy)")
    reference = np.array(WATER[number])
    # Coulomb parts: the published ones rest on an erfc good to 1.2e-7 of each of its terms.
    approximate = np.array([0.0, 1.2e-7 * sizes[1] if dtype == np.float64 else 0.0, 0.0, 0.0, 0.0])
    rounding = eps * math.sqrt(len(q)) * sizes + approximate
    results = [
        Result(f"{name}, configuration {number}", float(value), float(ref), _digits(ref, 6) + float(error), "K",
               basis="half a unit of the last printed digit; rounding eps sqrt(N) x size of the parts")
        for name, value, ref, error in zip(names, values, reference, rounding, strict=True)
    ]  # fmt: skip
    # Their total holds the correction for dispersion beyond the cutoff, which the simulator does not use.
    n_molecules, volume = int(oxygen.sum()), float(lengths.prod())
    ratio = (SIGMA_A / CUTOFF_A) ** 3
    tail = 8 * math.pi / 3 * n_molecules**2 / volume * EPSILON_K * SIGMA_A**3 * (ratio**3 / 3 - ratio)
    total = WATER_TOTAL[number]
    results.append(
        Result(f"total, configuration {number}", float(values.sum()) + tail, total,
               _digits(total, 6) + sum(_digits(v, 6) for v in reference) + float(rounding.sum()), "K",
               basis="digits of the total and of its parts; rounding")
    )  # fmt: skip
    return results


def _molecules(x: np.ndarray, q: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and charge products of the three pairs of each molecule, (M, 3)."""
    atoms, charges = x.reshape(-1, 3, 3), q.reshape(-1, 3)
    first, second = [0, 0, 1], [1, 2, 2]
    d = atoms[:, first] - atoms[:, second]
    d -= lengths * np.round(d / lengths)
    return np.sqrt((d**2).sum(-1)), charges[:, first] * charges[:, second]


def _within_molecules(
    x: np.ndarray, q: np.ndarray, lengths: np.ndarray, alpha: float, dtype: np.dtype
) -> tuple[float, float]:
    """Real-space terms of the pairs of molecules, by the simulator's formula, and the sum of their sizes."""
    r, product = _molecules(x, q, lengths)
    terms = np.asarray(ewald_real(jnp.asarray(r, dtype), jnp.asarray(alpha, dtype)), float) * product
    return float(terms.sum()), float(np.abs(terms).sum())


def _intramolecular_erf(x: np.ndarray, q: np.ndarray, lengths: np.ndarray, alpha: float) -> float:
    r, product = _molecules(x, q, lengths)
    return float((product * scipy.special.erf(alpha * r) / r).sum())


def _shell(x: np.ndarray, q: np.ndarray, lengths: np.ndarray, alpha: float) -> float:
    """The waves with n^2 = 26, past the sphere of the kernel's sum, as a plain sum."""
    n = np.array([m for m in np.ndindex(11, 11, 11) if sum((i - 5) ** 2 for i in m) == N_SQUARED]) - 5
    k = 2 * math.pi * n / lengths
    squared = (k**2).sum(1)
    structure = (q * np.exp(1j * x @ k.T).T).sum(1)
    factor = 2 * math.pi / lengths.prod() * np.exp(-squared / (4 * alpha**2)) / squared
    return float((factor * np.abs(structure) ** 2).sum())


# --- Lennard-Jones -----------------------------------------------------------------------------------------------


def lennard_jones_row(settings: Settings, files: dict[int, Path]) -> Outcome:
    """S1: energy and virial cut at 3 and 4, and with the force shifted to zero at 3; what the cuts leave out."""
    dtype = settings.dtype
    schemes = (("cut at 3", 3.0, _plain), ("cut at 4", 4.0, _plain), ("force shifted at 3", 3.0, _force_shifted))
    results = []
    for number, path in files.items():
        configuration = read_configuration(path)
        n, size = len(configuration.position), _sum_of_sizes(configuration)
        box = Box(jnp.asarray(configuration.lengths, dtype), (True, True, True))
        position = jnp.asarray(configuration.position, dtype)
        for (name, cutoff, u), published in zip(schemes, LJ[number][:3], strict=True):
            energy, virial = _pair_sum(position, box, u, cutoff)
            for what, value, reference in (("energy", energy, published[0]), ("virial", virial, published[1])):
                # A distance known to eps L changes the steepest terms by up to 12 or 12^2 times as much.
                steepness = 12 if what == "energy" else 144
                rounding = float(np.finfo(dtype).eps) * math.sqrt(n) * steepness * size
                results.append(
                    Result(f"{what} {name}, configuration {number}", float(value), reference,
                           _digits(reference, 5) + rounding, "1",
                           basis="half a unit of the last printed digit; rounding eps sqrt(N) x slope x sum of |terms|")
                )  # fmt: skip
        density = n / float(configuration.lengths.prod())
        for cutoff, reference in zip((3.0, 4.0), LJ[number][3], strict=True):
            value = n * truncation_corrections(density, cutoff)[0]
            results.append(
                Result(f"energy beyond {cutoff:g}, configuration {number}", value, reference, _digits(reference, 5),
                       "1", basis="half a unit of the last printed digit")
            )  # fmt: skip
    return Outcome(tuple(results))


def _sum_of_sizes(configuration: Configuration) -> float:
    """Sum of 4 (r^-12 + r^-6) over the pairs within 4."""
    total = 0.0
    for i, here in enumerate(configuration.position[:-1]):
        d = configuration.position[i + 1 :] - here
        d -= configuration.lengths * np.round(d / configuration.lengths)
        squared = (d**2).sum(1)
        sixth = squared[squared < 16.0] ** -3
        total += float((4 * (sixth * sixth + sixth)).sum())
    return total

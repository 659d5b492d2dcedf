"""Coulomb sums against closed forms: lattices, charged backgrounds, sheets, slabs and capacitors.

Energies in charge^2/length. Every system goes through each solver that the simulator has, by the functions that
it calls at every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import coulomb, ewald
from dropsim_kernels.electrostatics.ewald import EwaldParameters
from dropsim_kernels.electrostatics.mesh import mesh_parameters
from numpy.typing import ArrayLike

from dropsim.validation.lattice_sums import parry_energy
from dropsim.validation.rows import Outcome, Result, Row, Settings

# Terms of the sums are kept down to this share of their prefactor: below what the precision can show.
TRUNCATION = {"float64": 1e-11, "float32": 1e-7}
# What is asked of the particle mesh, as a share of the sizes of all parts, with splines of this order.
MESH_ERROR, MESH_ORDER = 1e-6, 8
# Mesh points along z that a slab needs beyond twice its height, where the kernel of free space levels off.
SLAB_MARGIN = 16


@dataclass(frozen=True)
class Charges:
    """Charges in a cell; lengths[2] is the height of a slab, padded_height its period with the vacuum."""

    position: np.ndarray
    charge: np.ndarray
    lengths: tuple[float, float, float]
    padded_height: float | None = None


@dataclass(frozen=True)
class Solved:
    """Energy and forces of a solver; error: of the energy, as rounding and what was asked for explain it; why: how."""

    energy: float
    forces: np.ndarray
    error: float
    why: str


_energy_forces = jax.jit(coulomb.coulomb_energy_forces)


def solve_ewald(case: Charges, settings: Settings, splitting: float = 1.0) -> Solved:
    """The exact Ewald sum of a cell in the dtype of the settings, truncated at t = `TRUNCATION` of it.

    The cutoff is half the shortest repeated length r_c; alpha = splitting s/r_c with s^2 = ln(1/t), and k up to
    2 alpha s. splitting: >= 1, moves work from the pairs to the waves without loss of accuracy.
    The error is taken as (eps sqrt(n) + t) times the sum of the sizes of all parts, n the number of terms.
    """
    slab = case.padded_height is not None
    repeated = case.lengths[:2] if slab else case.lengths
    # Just below half: opposite faces are then never met twice.
    cutoff = 0.5 * min(repeated) * (1 - 1e-6)
    truncation = TRUNCATION[settings.precision]
    s = math.sqrt(math.log(1 / truncation))
    alpha = splitting * s / cutoff
    period = np.array([*case.lengths[:2], case.padded_height if slab else case.lengths[2]], float)
    n_max = tuple(math.ceil(2 * alpha * s * length / (2 * math.pi)) for length in period)
    dtype = settings.dtype
    parameters = EwaldParameters(
        alpha=jnp.asarray(alpha, dtype),
        cutoff=jnp.asarray(cutoff, dtype),
        padded_height=jnp.asarray(case.padded_height, dtype) if slab else None,
        n_max=(n_max[0], n_max[1], n_max[2]),
        slab=slab,
    )
    energy, forces = _evaluate(case, parameters, dtype)
    # Half of the pairs, and the waves of half an ellipsoid.
    n_terms = len(case.charge) ** 2 / 2 + 2 * math.pi / 3 * math.prod(n_max)
    size = _size_of_parts(case, alpha, cutoff, period) + abs(energy)
    error = (float(np.finfo(dtype).eps) * math.sqrt(n_terms) + truncation) * size
    return Solved(energy, forces, error, f"(eps sqrt(n terms) + cut terms {truncation:.0e}) sum of |parts|")


def solve_mesh(case: Charges, settings: Settings, splitting: float = 1.0) -> Solved:
    """The particle-mesh sum of a cell, with a mesh fine enough for errors e = `MESH_ERROR`.

    Pairs and splitting as in `solve_ewald` with t = e; splines of order p = 8; the spacing h of the mesh from
    exp(-k^2/4 alpha^2) [k h/(2 pi - k h)]^p <= e for every k: the weight of a wave times the share of its nearest
    alias. The padded height plays no part: above and below the mesh of a slab is free space.
    """
    slab = case.padded_height is not None
    cutoff = 0.5 * min(case.lengths[:2] if slab else case.lengths) * (1 - 1e-6)
    alpha = splitting * math.sqrt(math.log(1 / MESH_ERROR)) / cutoff
    waves = np.linspace(0.05, 2 * math.sqrt(math.log(1 / MESH_ERROR)), 200)
    share = (MESH_ERROR * np.exp(waves**2 / 4)) ** (1 / MESH_ORDER)
    spacing = float((2 * math.pi * share / (1 + share) / waves).min()) / alpha
    n_x, n_y, n_z = (max(length / spacing, MESH_ORDER) for length in case.lengths)
    if slab:
        n_z = 2 * n_z + SLAB_MARGIN
    mesh = (_smooth_size(n_x), _smooth_size(n_y), _smooth_size(n_z))
    dtype = settings.dtype
    parameters = mesh_parameters(case.lengths, alpha, cutoff, mesh, MESH_ORDER, slab=slab, dtype=dtype)
    energy, forces = _evaluate(case, parameters, dtype)
    period = np.array([*case.lengths[:2], case.padded_height if slab else case.lengths[2]], float)
    size = _size_of_parts(case, alpha, cutoff, period) + abs(energy)
    n_terms = len(case.charge) ** 2 / 2 + len(case.charge) * MESH_ORDER**3 + math.prod(mesh)
    error = (float(np.finfo(dtype).eps) * math.sqrt(n_terms) + MESH_ERROR) * size
    return Solved(energy, forces, error, f"(eps sqrt(n terms) + error asked for {MESH_ERROR:.0e}) sum of |parts|")


def _smooth_size(least: float) -> int:
    """The smallest even number of at least so many points without prime factors above 7."""
    n = 2 * math.ceil(least / 2 - 1e-9)
    while True:
        rest = n
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2


def _evaluate(case: Charges, parameters: coulomb.CoulombParameters, dtype: np.dtype) -> tuple[float, np.ndarray]:
    """Energy and forces (N, 3) of a cell without fixed sites, by the simulator's functions in the given dtype."""
    box = Box(jnp.asarray(case.lengths, dtype), (True, True, case.padded_height is None))
    energy, forces = _energy_forces(
        jnp.asarray(case.position, dtype),
        jnp.asarray(case.charge, dtype),
        jnp.zeros((0, 3), dtype),
        jnp.zeros(0, dtype),
        box,
        parameters,
    )
    if energy.dtype != dtype or forces.dtype != dtype:
        raise TypeError(f"{dtype} in gave {energy.dtype} and {forces.dtype} out")
    return float(energy), np.asarray(forces, float)


def _size_of_parts(case: Charges, alpha: float, cutoff: float, period: np.ndarray) -> float:
    """Sum of the sizes of what adds up to the energy: pairs one by one, self, background and slab terms."""
    x, q = case.position, case.charge
    d = x[:, None, :] - x[None, :, :]
    repeats = np.array([True, True, case.padded_height is None])
    d = np.where(repeats, d - period * np.round(d / period), d)
    r = np.sqrt((d**2).sum(-1))
    near = (r > 0) & (r < cutoff)
    # exp(-x^2) bounds erfc(x): enough for a size.
    pairs = (np.abs(np.outer(q, q))[near] * np.exp(-((alpha * r[near]) ** 2)) / r[near]).sum() / 2
    own = alpha / math.sqrt(math.pi) * (q**2).sum()
    volume = period.prod()
    background = math.pi * q.sum() ** 2 / (2 * volume * alpha**2)
    slab = 0.0
    if case.padded_height is not None:
        z = x[:, 2]
        dipole, second = np.abs(q * z).sum(), abs(q.sum()) * np.abs(q * z * z).sum()
        slab = 2 * math.pi / volume * (dipole**2 + second + q.sum() ** 2 * case.padded_height**2 / 12)
    return float(pairs + own + background + slab)


SOLVERS = {"Ewald sum": solve_ewald, "particle mesh": solve_mesh}
"""What solves a cell of charges, by name."""


def heights_of(solver: str, heights: tuple[float, ...]) -> tuple[float, ...]:
    """The padded heights that a solver is tried with: the mesh of a slab has no vacuum to choose."""
    return heights if solver == "Ewald sum" else heights[:1]


def _period(solver: str, height: float) -> str:
    return f", period {height:g} along z" if solver == "Ewald sum" else ""


def energy_result(
    quantity: str, solved: Solved, reference: float, unit: float, relative: float, what: str = "truncation"
) -> Result:
    """An energy per `unit` of energy beside its reference, to a relative tolerance and the solver's own error."""
    return Result(
        quantity,
        solved.energy / unit,
        reference,
        relative * abs(reference) + solved.error / abs(unit),
        "q^2/length",
        basis=f"{what} {relative:.0e} relative + {solved.why}",
    )


def repeated(position: ArrayLike, charge: ArrayLike, edges: ArrayLike, counts: tuple[int, int, int]) -> Charges:
    """A unit cell with fractional positions, copied `counts` times along its edges."""
    x, q, lengths = np.asarray(position, float), np.asarray(charge, float), np.asarray(edges, float)
    shifts = np.array(list(np.ndindex(*counts)), float)
    whole = ((shifts[:, None, :] + x[None, :, :]) * lengths).reshape(-1, 3)
    n_x, n_y, n_z = lengths * np.asarray(counts, float)
    return Charges(whole, np.tile(q, len(shifts)), (float(n_x), float(n_y), float(n_z)))


# --- E1 to E3 ----------------------------------------------------------------------------------------------------


def wire(settings: Settings) -> Outcome:
    """E1: an alternating row of unit charges, one apart; rows 8 apart act on each other by exp(-8 pi)."""
    case = repeated([[0.0, 0, 0], [0.5, 0, 0]], [1, -1], (2.0, 8.0, 8.0), (4, 1, 1))
    return Outcome(
        tuple(
            energy_result(f"2 U/N, {name}", solve(case, settings), -2 * math.log(2), len(case.charge) / 2, 5e-7)
            for name, solve in SOLVERS.items()
        )
    )


def sheet(settings: Settings) -> Outcome:
    """E2: an alternating square sheet is a slab, whatever the vacuum above it."""
    zeta_half, beta_half = -1.4603545088095868, 0.6676914571896091
    reference = 4 * (math.sqrt(2) - 1) * zeta_half * beta_half
    index = np.array(list(np.ndindex(4, 4)))
    position, charge = np.c_[index, np.full(16, 0.5)].astype(float), (-1.0) ** index.sum(1)
    results = []
    for name, solve in SOLVERS.items():
        for height in heights_of(name, (16.0, 24.0)):
            solved = solve(Charges(position, charge, (4.0, 4.0, 1.0), height), settings)
            results.append(energy_result(f"2 U/N, {name}{_period(name, height)}", solved, reference, 8.0, 1e-7))
    return Outcome(tuple(results))


NACL = -1.74756459463318219


def rocksalt(settings: Settings) -> Outcome:
    """E3: the Madelung constant of NaCl from two cells and two splittings."""
    results = []
    basis = np.array(list(np.ndindex(2, 2, 2)))
    for name, solve in SOLVERS.items():
        for copies, splittings in (((1, 1, 1), (1.0,)), ((2, 2, 2), (1.0, 1.3))):
            case = repeated(basis / 2, (-1.0) ** basis.sum(1), (2.0, 2.0, 2.0), copies)
            for splitting in splittings:
                solved = solve(case, settings, splitting)
                label = f"2 U/N, {'x'.join(map(str, copies))} cubic cells, splitting {splitting:g}, {name}"
                results.append(energy_result(label, solved, NACL, len(case.charge) / 2, 1e-7))
    return Outcome(tuple(results))


# --- E4, E5 ------------------------------------------------------------------------------------------------------


def _fcc(offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    base = np.array([(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)])
    return (base + np.asarray(offset)) % 1.0


def _wurtzite() -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """The orthorhombic cell a, sqrt(3) a, c of 8 atoms for a = 1, the ideal c = sqrt(8/3) and u = 3/8."""
    anion = np.array([(0, 0, 0), (0.5, 0.5, 0), (0, 1 / 3, 0.5), (0.5, 5 / 6, 0.5)])
    cation = anion + np.array([0, 0, 3 / 8])
    return np.concatenate([anion, cation % 1.0]), np.repeat([-1.0, 1.0], 4), (1.0, math.sqrt(3), math.sqrt(8 / 3))


_CUBE = (1.0, 1.0, 1.0)
# Name: fractional positions, charges, edges, copies, formula units in a cell, constant, its relative uncertainty.
CRYSTALS = {
    "CsCl": ([[0.0, 0, 0], [0.5, 0.5, 0.5]], [1, -1], _CUBE, (2, 2, 2), 1, 2.0353615094526, 1e-7),
    "zincblende": (
        np.concatenate([_fcc(), _fcc((0.25, 0.25, 0.25))]), [1] * 4 + [-1] * 4, _CUBE, (2, 2, 2), 4,
        1.6380550533 * 4 / math.sqrt(3), 1e-7,
    ),
    # The constant is printed with six digits: half of the last one.
    "wurtzite": (*_wurtzite(), (3, 2, 2), 4, 1.64132 / (3 / 8 * math.sqrt(8 / 3)), 0.5e-5 / 1.64132),
    "fluorite": (
        np.concatenate([_fcc(), _fcc((0.25, 0.25, 0.25)), _fcc((0.75, 0.75, 0.75))]), [2] * 4 + [-1] * 8, _CUBE,
        (2, 2, 2), 4, 11.6365752270768, 1e-7,
    ),
    "cuprite": (
        np.concatenate([[[0.0, 0, 0], [0.5, 0.5, 0.5]], _fcc((0.25, 0.25, 0.25))]), [-2] * 2 + [1] * 4, _CUBE,
        (2, 2, 2), 2, 10.2594570330750, 1e-7,
    ),
}  # fmt: skip


def crystals(settings: Settings) -> Outcome:
    """E4: minus the energy of a formula unit, for lattices whose cells are orthorhombic."""
    results = []
    for solver, solve in SOLVERS.items():
        for name, (position, charge, edges, copies, units, madelung, relative) in CRYSTALS.items():
            case = repeated(position, charge, edges, copies)
            n_units = units * math.prod(copies)
            what = "digits of the reference" if name == "wurtzite" else "truncation"
            results.append(
                energy_result(f"{name}, {solver}", solve(case, settings), madelung, -float(n_units), relative, what)
            )
    return Outcome(tuple(results))


# Twice the constant C of U = -C/r_s; those of bcc and fcc with more digits than the table of the source, whose
# 1.791860 and 1.791753 are good to 1e-6 and 4e-6.
WIGNER = {
    "sc": ([[0.0, 0, 0]], 2.8372974794806 * (3 / (4 * math.pi)) ** (1 / 3)),
    "bcc": ([[0.0, 0, 0], [0.5, 0.5, 0.5]], 2 * 0.895929255682),
    "fcc": (_fcc(), 2 * 0.895873615195),
}


def wigner_crystals(settings: Settings) -> Outcome:
    """E5: unit charges in a uniform background, -2 U r_s per charge: the net charge of the cell is not zero."""
    results = []
    for solver, solve in SOLVERS.items():
        for name, (position, constant) in WIGNER.items():
            case = repeated(position, np.ones(len(position)), _CUBE, (2, 2, 2))
            radius = (3 / (4 * math.pi * len(position))) ** (1 / 3)
            solved = solve(case, settings)
            unit = -len(case.charge) / (2 * radius)
            results.append(energy_result(f"-2 U r_s/N of {name}, {solver}", solved, constant, unit, 1e-9))
    return Outcome(tuple(results))


# --- E6, E7 ------------------------------------------------------------------------------------------------------

FIVE = np.array([[0.4, 0.7, 0.5], [3.1, 2.2, 1.4], [1.9, 0.3, 2.6], [2.5, 3.4, 0.9], [0.8, 2.9, 3.3]])


def vacuum(settings: Settings) -> Outcome:
    """E6: slabs, neutral and charged, have the energy of the two-dimensional sum at any padded height."""
    results = []
    for charge in ((1.0, -2.0, 1.0, -2.0, 2.0), (7.37, -2.0, 1.0, -2.0, 1.0)):
        q = np.asarray(charge)
        exact = parry_energy(FIVE, q, (4.0, 4.0))
        for name, solve in SOLVERS.items():
            for height in heights_of(name, (16.0, 32.0)):
                solved = solve(Charges(FIVE, q, (4.0, 4.0, 4.0), height), settings)
                # The padding leaves exp(-2 pi (H - h)/L), h = 2.8 from the lowest to the highest charge.
                padding = 10 * math.exp(-2 * math.pi * (height - 2.8) / 4.0)
                results.append(
                    Result(f"U, net charge {q.sum():+.2f}, {name}{_period(name, height)}", solved.energy, exact,
                           (1e-8 + padding) * abs(exact) + solved.error, "q^2/length",
                           basis=f"1e-8 and 10 exp(-2 pi (H - h)/L) relative + {solved.why}")
                )  # fmt: skip
        low, high = (solve_ewald(Charges(FIVE, q, (4.0, 4.0, height)), settings).energy for height in (16.0, 32.0))
        results.append(
            Result(f"change of U without the correction, net charge {q.sum():+.2f}", abs(high - low), 0.1, 0.0,
                   "q^2/length", relation="at least", basis="the row would notice that the correction is missing")
        )  # fmt: skip
    return Outcome(tuple(results))


def capacitor(settings: Settings) -> Outcome:
    """E7: two sheets of +-sigma: the pressure is 2 pi sigma^2 and the energy linear in the gap; the correction term."""
    index = np.array(list(np.ndindex(4, 4)))
    sigma, area = 0.3, 16.0
    charge = np.repeat([sigma, -sigma], 16)
    expected = 2 * math.pi * sigma**2 * area
    results = []
    for name, solve in SOLVERS.items():
        solved = []
        for gap in (6.0, 7.0, 8.0):
            position = np.r_[np.c_[index, np.full(16, 0.5)], np.c_[index, np.full(16, 0.5 + gap)]].astype(float)
            solved.append(solve(Charges(position, charge, (4.0, 4.0, 9.0), 27.0), settings))
            force = float(solved[-1].forces[:16, 2].sum())
            # A force is an energy over a length, here the distance of one between charges.
            results.append(
                Result(f"force on a plate, gap {gap:g}, {name}", force, expected,
                       1e-8 * expected + solved[-1].error, "q^2/length^2",
                       basis=f"1e-8 relative + {solved[-1].why}, at a distance of 1")
            )  # fmt: skip
        for low, high in ((0, 1), (1, 2)):
            results.append(
                Result(f"energy from gap {6 + low} to {6 + high}, {name}",
                       solved[high].energy - solved[low].energy, expected,
                       1e-8 * expected + solved[low].error + solved[high].error, "q^2/length",
                       basis=f"1e-8 relative + twice {solved[low].why}")
            )  # fmt: skip
    return Outcome((*results, *_correction_term(settings)))


def _correction_term(settings: Settings) -> tuple[Result, ...]:
    """(2 pi/V) [M^2 - Q S - Q^2 H^2/12] and its force, by the definition."""
    rng = np.random.default_rng(settings.seed)
    dtype = settings.dtype
    x = (rng.random((9, 3)) * [2, 3, 4]).astype(dtype).astype(float)
    q = rng.normal(size=9).astype(dtype).astype(float)
    parameters = EwaldParameters(
        jnp.asarray(1.0, dtype), jnp.asarray(1.0, dtype), jnp.asarray(11.0, dtype), (1, 1, 1), True
    )
    box = Box(jnp.asarray([2.0, 3.0, 4.0], dtype), (True, True, False))
    energy, forces = ewald.slab_correction(jnp.asarray(x, dtype), jnp.asarray(q, dtype), box, parameters)
    total, dipole, second = q.sum(), (q * x[:, 2]).sum(), (q * x[:, 2] ** 2).sum()
    parts = np.array([dipole**2, -total * second, -(total**2) * 121 / 12])
    sizes = np.array([np.abs(q * x[:, 2]).sum() ** 2, np.abs(q).sum() * (np.abs(q) * x[:, 2] ** 2).sum(),
                      np.abs(q).sum() ** 2 * 121 / 12])  # fmt: skip
    factor = 2 * math.pi / 66.0
    by_hand = -2 * factor * q * (dipole - total * x[:, 2])
    force_size = 2 * factor * (np.abs(q) * (np.abs(q * x[:, 2]).sum() + np.abs(q).sum() * x[:, 2])).max()
    rounding = 9 * float(np.finfo(dtype).eps)
    basis = "rounding: 9 terms times eps times the sum of their sizes"
    return (
        Result("correction term, energy", float(energy), float(factor * parts.sum()),
               rounding * factor * float(sizes.sum()), "q^2/length", basis=basis),
        Result("correction term, largest error of a force", float(np.abs(np.asarray(forces)[:, 2] - by_hand).max()),
               0.0, rounding * float(force_size), "q^2/length^2", relation="at most", basis=basis),
    )  # fmt: skip


ROWS: tuple[Row, ...] = (
    Row("E1", "alternating wire: -2 ln 2 per ion", "closed form", wire),
    Row("E2", "alternating square sheet as a slab: -1.6155426267128247 per ion",
        "closed form 4 (sqrt 2 - 1) zeta(1/2) beta(1/2)", sheet),
    Row("E3", "rock salt: -1.74756459463318219 per ion, any cell and splitting", "Madelung constant", rocksalt),
    Row("E4", "other crystals: energy per formula unit", "Madelung constants", crystals),
    Row("E5", "Wigner crystals in their background: net charge",
        "R. A. Coldwell-Horsfall and A. A. Maradudin, doi 10.1063/1.1703670, with later digits", wigner_crystals),
    Row("E6", "slabs do not know their vacuum, neutral or charged",
        "two-dimensional sum, doi 10.1016/0039-6028(75)90362-3; correction, doi 10.1063/1.3216473", vacuum),
    Row("E7", "plate capacitor, and the correction term by hand",
        "closed forms; doi 10.1063/1.479595, doi 10.1063/1.3216473", capacitor),
)  # fmt: skip

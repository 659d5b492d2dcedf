"""Cross-checks: the same charges given to programs that share no code with this one.

Rows X1 to X3 compare energies and forces with LAMMPS, jax-pme and OpenMM; X4 compares a simulated electrolyte. The
charges are ions at random places, no two nearer than 0.4 nm: neutral, with a net charge, and above uncompensated
centres of +7.37 e. Energies are in charge^2/length, forces in charge^2/length^2.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import coulomb
from dropsim_kernels.electrostatics.coulomb import CoulombParameters
from dropsim_kernels.electrostatics.ewald import choose_parameters
from dropsim_kernels.electrostatics.mesh import mesh_parameters
from numpy.typing import NDArray

from dropsim.units import COULOMB_KJ_NM_PER_MOL_E2
from dropsim.validation.crosscheck_electrolyte import electrolyte
from dropsim.validation.crosscheck_lammps import lammps_coulomb
from dropsim.validation.crosscheck_openmm import openmm_coulomb
from dropsim.validation.lattice_sums import parry_energy
from dropsim.validation.rows import Outcome, Result, Row, Settings

Floats = NDArray[np.float64]

SLAB = (6.5, 5.5, 5.0)
BULK = (5.6, 6.0, 6.4)
LEAST_DISTANCE = 0.4
CENTRE_CHARGE = 7.37
# Truncation asked of the simulator's sum: far below every tolerance here.
TRUNCATION = 1e-10
# Rounding in float32: forty of its steps (1.2e-7), for sums of thousands of terms whose parts exceed their total.
SINGLE = 5e-6


@dataclass(frozen=True)
class Scene:
    """Mobile charges and fixed sites in a box; `slab`: repeats in x and y only, with charges in 0 <= z <= height."""

    name: str
    position: Floats
    charge: Floats
    site_position: Floats
    site_charge: Floats
    lengths: Floats
    slab: bool

    @property
    def everything(self) -> tuple[Floats, Floats]:
        """Positions and charges of all, mobile first."""
        return np.concatenate([self.position, self.site_position]), np.concatenate([self.charge, self.site_charge])


@dataclass(frozen=True)
class Solution:
    """Energy of all charges with each other, and forces on the mobile ones."""

    energy: float
    forces: Floats


def scenes(seed: int, slab: bool) -> tuple[Scene, ...]:
    """Ions of +1 and -2 in a box: neutral, with a net charge of +6 and, in a slab, above four centres of +7.37."""
    rng = np.random.default_rng([seed, int(slab)])
    lengths = np.array(SLAB if slab else BULK)
    centres = np.array([(x * lengths[0], y * lengths[1], 0.15) for x in (0.25, 0.75) for y in (0.25, 0.75)])
    none = np.zeros((0, 3))
    neutral = np.resize([-2.0, 1.0, 1.0], 90)
    wanted = [("neutral", neutral, none), ("net charge +6", np.concatenate([neutral[:84], np.ones(6)]), none)]
    if slab:
        wanted.append(("+7.37 e centres", neutral, centres))
    found = []
    for name, charge, sites in wanted:
        position = random_ions(rng, len(charge), lengths, sites, slab)
        found.append(Scene(name, position, charge, sites, np.full(len(sites), CENTRE_CHARGE), lengths, slab))
    return tuple(found)


def random_ions(rng: np.random.Generator, n: int, lengths: Floats, sites: Floats, slab: bool) -> Floats:
    """Places (n, 3) at random, none nearer than `LEAST_DISTANCE` to another or to a site."""
    periods = np.array([lengths[0], lengths[1], np.inf if slab else lengths[2]])
    finite = np.where(np.isfinite(periods), periods, 0.0)
    chosen = [*sites]
    while len(chosen) < n + len(sites):
        x = rng.random(3) * lengths
        d = np.asarray(chosen).reshape(-1, 3) - x
        d -= finite * np.round(d / periods)
        if not len(d) or (d**2).sum(1).min() > LEAST_DISTANCE**2:
            chosen.append(x)
    return np.asarray(chosen[len(sites) :])


# --- the simulator's own sums --------------------------------------------------------------------------------------

_energy_forces = jax.jit(coulomb.coulomb_energy_forces)


def padded_height(scene: Scene) -> float:
    """Period along z with its vacuum: what stays of the slab correction's error is below `TRUNCATION`."""
    return float(scene.lengths[2] + scene.lengths[:2].max() * math.log(1 / TRUNCATION) / (2 * math.pi))


def _solution(scene: Scene, parameters: CoulombParameters, settings: Settings) -> Solution:
    """Energy and forces by the functions that a run calls, with the sites as fixed sites."""
    box = Box(jnp.asarray(scene.lengths, settings.dtype), (True, True, not scene.slab))

    def of(*arrays: Floats) -> tuple[float, Floats]:
        energy, forces = _energy_forces(*(jnp.asarray(a, settings.dtype) for a in arrays), box, parameters)
        if energy.dtype != settings.dtype:
            raise TypeError(f"{settings.dtype} in gave {energy.dtype} out")
        return float(energy), np.asarray(forces, float)

    nothing = np.zeros((0, 3)), np.zeros(0)
    energy, forces = of(scene.position, scene.charge, scene.site_position, scene.site_charge)
    if len(scene.site_charge):
        # The simulator leaves out what the sites have among themselves; the others do not.
        energy += of(scene.site_position, scene.site_charge, *nothing)[0]
    return Solution(energy, forces)


def largest_cutoff(scene: Scene) -> float:
    """Half the shortest repeated length."""
    return float(scene.lengths[:2].min() if scene.slab else scene.lengths.min()) / 2


def ewald_sum(scene: Scene, settings: Settings) -> Solution:
    """The exact Ewald sum with the parameters that a run would choose for `TRUNCATION`."""
    n, cutoff = len(scene.charge) + len(scene.site_charge), largest_cutoff(scene)
    parameters = choose_parameters(scene.lengths.tolist(), n, TRUNCATION, cutoff=cutoff, slab=scene.slab)
    return _solution(scene, parameters, settings)


def mesh_sum(scene: Scene, settings: Settings) -> Solution:
    """The particle mesh: splines of order 8, a spacing of 0.13/alpha, and erfc(alpha cutoff) = 1e-8."""
    cutoff = largest_cutoff(scene)
    alpha = 4.05 / cutoff
    # Along z twice the extent of the charges, and half of it more in which the slab's kernel levels off.
    height = 2.5 * float(scene.lengths[2]) if scene.slab else None
    periods = [*scene.lengths[:2], height or scene.lengths[2]]
    mesh = [smooth_size(float(length) * alpha / 0.13) for length in periods]
    lengths = scene.lengths.tolist()
    parameters = mesh_parameters(lengths, alpha, cutoff, mesh, 8, scene.slab, height, dtype=settings.dtype)
    return _solution(scene, parameters, settings)


def smooth_size(least: float) -> int:
    """The smallest number of at least so many points without prime factors above 5."""
    n = math.ceil(least)
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


SOLVERS: dict[str, Callable[[Scene, Settings], Solution]] = {"Ewald": ewald_sum, "mesh": mesh_sum}
"""What solves a scene, by name."""

MESH_ERROR = 1e-6
"""Relative force error allowed to the particle mesh itself: the spacing is chosen to stay below it."""


@functools.lru_cache(maxsize=4)
def solved_scenes(settings: Settings, slab: bool) -> tuple[tuple[Scene, dict[str, Solution]], ...]:
    """The scenes with what each solver gives; kept, as several rows compare the same."""
    return tuple(
        (scene, {name: solve(scene, settings) for name, solve in SOLVERS.items()})
        for scene in scenes(settings.seed, slab)
    )


def relative_force_error(found: Floats, reference: Floats) -> float:
    """Root mean square of the difference over that of the reference."""
    return float(np.sqrt(((found - reference) ** 2).sum() / (reference**2).sum()))


def energy_scale(scene: Scene) -> float:
    """Sum of q^2/d, d = (volume/N)^(1/3): the size of the parts that a Coulomb energy is the sum of.

    The energy itself passes through zero as a net charge grows, and is no measure of its own error.
    """
    charge = scene.everything[1]
    return float((charge**2).sum() / (scene.lengths.prod() / len(charge)) ** (1 / 3))


def compared_energy(label: str, scene: Scene, ours: float, theirs: float, relative: float, basis: str) -> Result:
    """Energy beside energy, to a tolerance relative to `energy_scale`."""
    allowed = relative * energy_scale(scene)
    return Result(
        f"{label}: energy", ours, theirs, allowed, "q^2/length", basis=f"{relative:.0e} of sum q^2/d: {basis}"
    )


def compared(
    label: str, scene: Scene, ours: Solution, theirs: Solution, relative: float, basis: str
) -> tuple[Result, Result]:
    """Energy beside energy, and the relative difference of the forces."""
    return (
        compared_energy(label, scene, ours.energy, theirs.energy, relative, basis),
        Result(
            f"{label}: rms difference of forces / rms force",
            relative_force_error(ours.forces, theirs.forces),
            0.0,
            relative,
            relation="at most",
            basis=basis,
        ),
    )


def tolerance(solver: str, settings: Settings, peer: float) -> float:
    """Relative tolerance: the peer's error, the solver's own, and the rounding of the dtype."""
    return max(peer, MESH_ERROR if solver == "mesh" else 0.0, SINGLE if settings.precision == "float32" else 0.0)


# --- X1 ------------------------------------------------------------------------------------------------------------


def lammps_slab(settings: Settings) -> Outcome:
    """X1: slabs against LAMMPS (3-D Ewald and PPPM with its slab correction) and the two-dimensional Ewald sum."""
    results: list[Result] = []
    alpha, cutoff = 1.3, 4.0
    for scene, solved in solved_scenes(settings, True):
        position, charge = scene.everything
        n = len(scene.charge)
        height = padded_height(scene)
        period = np.array([*scene.lengths[:2], height])
        sizes = {
            "ewald": [math.ceil(10.5 * alpha * length / (2 * math.pi)) for length in period],
            "pppm": [smooth_size(length / 0.13) for length in period],
        }
        exact = parry_energy(position, charge, SLAB[:2], alpha=1.1, n_max=13, n_images=2)
        for style, size in sizes.items():
            found = lammps_coulomb(
                position,
                charge,
                scene.lengths,
                alpha=alpha,
                cutoff=cutoff,
                size=(size[0], size[1], size[2]),
                slab_factor=float(height / scene.lengths[2]),
                style=style,
            )
            theirs = Solution(found.energy, found.forces[:n])
            for name, ours in solved.items():
                results += compared(
                    f"{scene.name}, {name} against LAMMPS {style} ({found.version})",
                    scene,
                    ours,
                    theirs,
                    tolerance(name, settings, 1e-6),
                    "LAMMPS takes erfc from a polynomial good to 1.5e-7",
                )
        for name, ours in solved.items():
            label, relative = f"{scene.name}, {name} against the 2-D Ewald sum", tolerance(name, settings, 1e-8)
            results.append(compared_energy(label, scene, ours.energy, exact, relative, "truncation of both sums"))
    return Outcome(tuple(results))


# --- X2 ------------------------------------------------------------------------------------------------------------


def jaxpme_coulomb(scene: Scene, name: str, spacing: float = 0.0) -> Solution:
    """Energy and forces of jax-pme in double precision.

    name: "Ewald", "PME" (four-point Lagrange interpolation) or "P3M" (five B-spline points); spacing: largest of the
    mesh, length. Slabs are the cell padded along z with jax-pme's own correction (pbc false along z).
    """
    ase, calculators = importlib.import_module("ase"), importlib.import_module("jaxpme")
    position, charge = scene.everything
    cell = np.array([*scene.lengths[:2], padded_height(scene) if scene.slab else scene.lengths[2]])
    # Its own code promotes dtypes and ranks, which the simulator's settings may forbid.
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        atoms = ase.Atoms("H" * len(charge), positions=position, cell=cell, pbc=True)
        if name == "Ewald":
            calculator = calculators.Ewald()
            prepared = calculator.prepare(atoms, charge, cutoff=5.5, lr_wavelength=0.32, smearing=0.75)[:-1]
        else:
            calculator = calculators.P3M(interpolation_nodes=5) if name == "P3M" else calculators.PME()
            prepared = calculator.prepare(atoms, charge, cutoff=4.0, mesh_spacing=spacing, smearing=0.55)
        # Compiled as a whole: its steps one by one would be compiled anew for every number of pairs.
        pbc = np.array([True, True, not scene.slab])
        energy, forces = jax.jit(functools.partial(calculator.energy_forces, pbc=pbc))(*prepared)
        return Solution(float(energy), np.asarray(forces, float)[: len(scene.charge)])


def jaxpme(settings: Settings) -> Outcome:
    """X2: slabs and boxes against jax-pme: its Ewald sum, and its meshes at two spacings."""
    results: list[Result] = []
    for scene, solved in itertools.chain(solved_scenes(settings, True), solved_scenes(settings, False)):
        shape = "slab" if scene.slab else "box"
        theirs = jaxpme_coulomb(scene, "Ewald")
        for name, ours in solved.items():
            results += compared(
                f"{shape}, {scene.name}, {name} against jax-pme Ewald",
                scene,
                ours,
                theirs,
                tolerance(name, settings, 1e-8),
                "truncation of both sums",
            )
        # The quick battery takes the better mesh, and the hardest charges of each shape.
        hardest = scene.name == ("+7.37 e centres" if scene.slab else "net charge +6")
        for mesh in ("P3M", "PME") if settings.full else ("P3M",) if hardest else ():
            coarse, fine = (jaxpme_coulomb(scene, mesh, spacing) for spacing in (0.5, 0.25))
            refined = relative_force_error(coarse.forces, fine.forces)
            results.append(
                Result(
                    f"{shape}, {scene.name}, Ewald against jax-pme {mesh}: rms difference of forces / rms force",
                    relative_force_error(solved["Ewald"].forces, fine.forces),
                    0.0,
                    max(refined, tolerance("Ewald", settings, 0.0)),
                    relation="at most",
                    basis="the mesh's own error: what changes as its spacing is halved to this one",
                )
            )
    return Outcome(tuple(results))


# --- X3 ------------------------------------------------------------------------------------------------------------


def openmm_box(settings: Settings) -> Outcome:
    """X3: boxes against OpenMM's Ewald sum and particle mesh on its double-precision platform."""
    results: list[Result] = []
    cutoff = 0.499 * min(BULK)
    alpha = 4.3 / cutoff

    def of(scene: Scene, choices: Mapping[str, Any]) -> Solution:
        energy, forces = openmm_coulomb(scene.position, scene.charge, scene.lengths, cutoff=cutoff, **choices)
        return Solution(energy / COULOMB_KJ_NM_PER_MOL_E2, forces / COULOMB_KJ_NM_PER_MOL_E2)

    for scene, solved in solved_scenes(settings, False):
        theirs = of(scene, {"method": "Ewald", "tolerance": 1e-8})
        for name, ours in solved.items():
            results += compared(
                f"{scene.name}, {name} against OpenMM Ewald",
                scene,
                ours,
                theirs,
                tolerance(name, settings, 1e-6),
                "OpenMM's sum, asked for 1e-8, leaves a few 1e-8",
            )
        coarse, fine = (of(scene, {"method": "PME", "alpha": alpha, "mesh": mesh}) for mesh in (48, 96))
        refined = relative_force_error(coarse.forces, fine.forces)
        results.append(
            Result(
                f"{scene.name}, Ewald against OpenMM PME: rms difference of forces / rms force",
                relative_force_error(solved["Ewald"].forces, fine.forces),
                0.0,
                max(refined, tolerance("Ewald", settings, 0.0)),
                relation="at most",
                basis="the mesh's own error: what changes as its points are doubled to these",
            )
        )
    return Outcome(tuple(results))


ROWS: tuple[Row, ...] = (
    Row(
        "X1",
        "Coulomb sum of slabs against LAMMPS: neutral, charged, above +7.37 e centres",
        "LAMMPS, doi 10.1016/j.cpc.2021.108171; D. E. Parry, doi 10.1016/0039-6028(75)90362-3",
        lammps_slab,
        requires=("lammps",),
    ),
    Row(
        "X2",
        "Coulomb sum of slabs and boxes against jax-pme: Ewald, P3M and PME, neutral and charged",
        "jax-pme, https://github.com/lab-cosmo/jax-pme; doi 10.1063/5.0251713",
        jaxpme,
        requires=("jaxpme", "ase"),
    ),
    Row(
        "X3",
        "Coulomb sum of boxes against OpenMM: Ewald and PME, neutral and charged",
        "OpenMM 8, doi 10.1021/acs.jpcb.3c06662",
        openmm_box,
        requires=("openmm",),
    ),
    Row(
        "X4",
        "Liquid Li2S6 by Langevin dynamics against LAMMPS: structure, energies, diffusion",
        "LAMMPS, doi 10.1016/j.cpc.2021.108171",
        electrolyte,
        full_only=True,
        requires=("lammps",),
    ),
)
"""Rows X1 to X4."""

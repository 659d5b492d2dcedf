"""A liquid of Li2S6 beads simulated by this program's kernels and by LAMMPS, with the same potentials.

Truncated and shifted Lennard-Jones, Coulomb forces and Langevin dynamics in a periodic box, at the composition of the
dense phase. Independent replicas on both sides give the standard errors.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics.ewald import choose_parameters, long_range
from dropsim_kernels.integrators import Dynamics, descent_step, langevin_advance, langevin_finish, thermal_velocities
from dropsim_kernels.noise import replica_key
from dropsim_kernels.pairs import pair_forces
from dropsim_kernels.potentials import ewald_real, lennard_jones
from jax import Array
from numpy.typing import NDArray

from dropsim.units import COULOMB_KJ_NM_PER_MOL_E2, thermal_energy
from dropsim.validation.crosscheck_lammps import data_file, lammps_version, printed_numbers, run_lammps
from dropsim.validation.rows import Curve, Outcome, Result, Settings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Liquid:
    """The liquid: first the sulfur beads, then the lithium beads; nm, ps, amu, e, kJ/mol.

    sigma_nm, epsilon, charge_e: of S6 and Li; cutoff_nm: of Lennard-Jones and of the Coulomb pair sum; density: Li2S6
    per nm^3, that of droplets of this model.
    """

    n_units: int = 80
    density: float = 2.1
    sigma_nm: tuple[float, float] = (0.60, 0.40)
    epsilon: tuple[float, float] = (1.255, 0.418)
    charge_e: tuple[float, float] = (-2.0, 1.0)
    relative_permittivity: float = 10.0
    temperature_K: float = 300.0
    cutoff_nm: float = 1.5
    mass_amu: float = 100.0
    friction_per_ps: float = 1.0
    timestep_ps: float = 0.02

    @property
    def species(self) -> NDArray[np.int64]:
        """0 for S6, 1 for Li: (N,)."""
        return np.repeat([0, 1], [self.n_units, 2 * self.n_units])

    @property
    def edge_nm(self) -> float:
        """Edge of the cubic box."""
        return (self.n_units / self.density) ** (1 / 3)

    @property
    def coulomb(self) -> float:
        """e^2/(4 pi eps_0 eps_r) in kJ/mol nm."""
        return COULOMB_KJ_NM_PER_MOL_E2 / self.relative_permittivity


@dataclass(frozen=True)
class Run:
    """Frames (T, N, 3) of unwrapped positions, nm, and potential energies (T,), kJ/mol."""

    position: Floats
    energy: Floats


def random_start(liquid: Liquid, seed: tuple[int, ...]) -> Floats:
    """Beads at random places of the box, no two nearer than 0.38 nm: (N, 3)."""
    rng = np.random.default_rng(seed)
    edge, n = liquid.edge_nm, 3 * liquid.n_units
    chosen = np.zeros((0, 3))
    while len(chosen) < n:
        x = rng.random(3) * edge
        d = chosen - x
        d -= edge * np.round(d / edge)
        if not (((d**2).sum(1)) < 0.38**2).any():
            chosen = np.concatenate([chosen, x[None]])
    return chosen


def make_simulation(liquid: Liquid, interval: int, dtype: np.dtype) -> Callable[[Floats, Array, int, int], Run]:
    """The liquid by this program's kernels: `run(start, key, n_dropped, n_kept)`, descent and then BAOAB.

    Frames are `interval` steps apart; of those, the first n_dropped are left out.
    """
    species = liquid.species
    box = Box(jnp.full(3, liquid.edge_nm, dtype), (True, True, True))
    sum_squares = float((np.asarray(liquid.charge_e)[species] ** 2).sum())
    ewald = choose_parameters([liquid.edge_nm] * 3, sum_squares, 1e-4, cutoff=liquid.cutoff_nm, neighbor_distance=0.5)
    charge = jnp.asarray(np.asarray(liquid.charge_e)[species], dtype)
    beads = (
        jnp.asarray(np.asarray(liquid.sigma_nm)[species] / 2, dtype),
        jnp.asarray(np.sqrt(np.asarray(liquid.epsilon)[species]), dtype),
        charge,
    )
    alpha = ewald.alpha.astype(dtype)
    dynamics = Dynamics(
        timestep=jnp.asarray(liquid.timestep_ps, dtype),
        thermal_energy=jnp.asarray(thermal_energy(liquid.temperature_K), dtype),
        diffusivity=jnp.ones((len(species), 1), dtype),
        mass=jnp.full((len(species), 1), liquid.mass_amu, dtype),
        friction=jnp.asarray(liquid.friction_per_ps, dtype),
    )

    def u(r: Array, row: tuple[Array, ...], column: tuple[Array, ...]) -> Array:
        sigma, epsilon = row[0] + column[0], row[1] * column[1]
        short = lennard_jones(r, sigma, epsilon) - lennard_jones(jnp.asarray(liquid.cutoff_nm, dtype), sigma, epsilon)
        return short + liquid.coulomb * row[2] * column[2] * ewald_real(r, alpha)

    @jax.jit
    def energy_forces(position: Array) -> tuple[Array, Array]:
        nothing = jnp.zeros((0, 3), dtype)
        energy, forces, _ = pair_forces(u, position, nothing, beads, beads, None, box, liquid.cutoff_nm)
        far_energy, far_forces = long_range(position, charge, box, ewald)
        return energy + liquid.coulomb * far_energy, forces + liquid.coulomb * far_forces

    @jax.jit
    def relax(position: Array) -> Array:
        limit = jnp.asarray(0.02, dtype)
        return jax.lax.fori_loop(0, 300, lambda _, x: descent_step(x, energy_forces(x)[1], limit), position)

    @jax.jit
    def advance(key: Array, first: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        def step(number: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            position, velocity, force, _ = carry
            position, velocity = langevin_advance(key, number, position, velocity, force, dynamics)
            energy, force = energy_forces(position)
            return position, langevin_finish(velocity, force, dynamics), force, energy

        return jax.lax.fori_loop(first, first + interval, step, carry)

    def run(start: Floats, key: Array, n_dropped: int, n_kept: int) -> Run:
        position = relax(jnp.asarray(start, dtype))
        velocity = thermal_velocities(key, jnp.asarray(0), dynamics.thermal_energy, dynamics.mass)
        energy, force = energy_forces(position)
        carry: tuple[Array, ...] = (position, velocity, force, energy)
        kept, energies = [], []
        for frame in range(n_dropped + n_kept):
            carry = advance(key, jnp.asarray(frame * interval), carry)
            if frame >= n_dropped:
                kept.append(np.asarray(carry[0], float))
                energies.append(float(carry[3]))
        return Run(np.array(kept), np.array(energies))

    return run


def simulate_lammps(
    liquid: Liquid, interval: int, start: Floats, seed: int, n_dropped: int, n_kept: int
) -> tuple[Run, str]:
    """The same by LAMMPS: minimisation, then `fix nve` with `fix langevin`, PPPM; and its version.

    Charges carry the root of the Coulomb factor, as `units lj` has a factor of 1; temperatures are kT. LAMMPS
    shifts Lennard-Jones at the cutoff and not the Coulomb part, which the k space completes.
    """
    species = liquid.species
    n = len(species)
    kT = thermal_energy(liquid.temperature_K)
    charge = math.sqrt(liquid.coulomb) * np.asarray(liquid.charge_e)[species]
    pairs = []
    for i in range(2):
        for j in range(i, 2):
            sigma = (liquid.sigma_nm[i] + liquid.sigma_nm[j]) / 2
            epsilon = math.sqrt(liquid.epsilon[i] * liquid.epsilon[j])
            pairs.append(f"pair_coeff {i + 1} {j + 1} {epsilon!r} {sigma!r}")
    script = [
        "units lj",
        "atom_style charge",
        "boundary p p p",
        "read_data data",
        f"pair_style lj/cut/coul/long {liquid.cutoff_nm!r}",
        *pairs,
        "pair_modify shift yes",
        "kspace_style pppm 1e-4",
        "kspace_modify force 0.02",
        "neighbor 0.15 bin",
        "neigh_modify every 1 delay 0 check yes",
        "thermo_modify norm no",
        "min_modify dmax 0.02",
        "minimize 0 1.0 300 3000",
        "reset_timestep 0",
        f"velocity all create {kT!r} {seed} dist gaussian",
        f"timestep {liquid.timestep_ps!r}",
        "fix move all nve",
        f"fix bath all langevin {kT!r} {kT!r} {1 / liquid.friction_per_ps!r} {seed + 7}",
        f"run {n_dropped * interval}",
        f"dump frames all custom {interval} frames.txt id xu yu zu",
        "dump_modify frames sort id first no format float %.9g",
        "variable energy equal pe",
        f'fix report all print {interval} "ENERGY ${{energy}}" screen yes',
        # One line for each frame; the step from which the run starts has its own.
        f"run {n_kept * interval}",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = data_file(np.full(3, liquid.edge_nm), start, species, charge, [liquid.mass_amu] * 2)
        (folder / "data").write_text(text, encoding="utf-8")
        printed = run_lammps(folder, script)
        rows = [line.split() for line in (folder / "frames.txt").read_text(encoding="utf-8").splitlines()]
    numbers = np.array([row[1:] for row in rows if len(row) == 4 and row[0].isdigit()], float)
    energy = printed_numbers(printed, "ENERGY")[:, 0]
    return Run(numbers.reshape(-1, n, 3)[-n_kept:], energy[-n_kept:]), lammps_version(printed)


# --- what is compared ------------------------------------------------------------------------------------------------

EDGES = np.arange(0.30, 1.601, 0.02)
PAIRS = {"Li-S6": (1, 0), "S6-S6": (0, 0), "Li-Li": (1, 1)}
# About the first maxima (nm), fixed beforehand from a trial run.
PEAKS = {"Li-S6": (0.46, 0.54), "S6-S6": (0.74, 0.90), "Li-Li": (0.52, 0.70)}
# First minimum of Li-S6.
BOUND_NM = 0.74
# Lags of the slope of the mean squared displacement, in frames.
LAGS = (5, 20)
QUANTITIES = (
    ("potential energy per bead", "kJ/mol"),
    *((f"g(r) of {name} about its first maximum, {low} to {high} nm", "1") for name, (low, high) in PEAKS.items()),
    (f"S6 within {BOUND_NM} nm of Li", "1"),
    ("diffusivity of S6, slope from 5 to 20 ps", "nm^2/ps"),
    ("diffusivity of Li, slope from 5 to 20 ps", "nm^2/ps"),
)


def radial_distributions(run: Run, liquid: Liquid) -> dict[str, Floats]:
    """g(r) of the pairs of species on `EDGES`: pairs found over those of an ideal gas, N_A (N_B - [A = B]) shell/V."""
    species, edge = liquid.species, liquid.edge_nm
    shell = 4 / 3 * math.pi * np.diff(EDGES**3) / edge**3
    found = {}
    for name, (a, b) in PAIRS.items():
        one, other = species == a, species == b
        counts = np.zeros(len(EDGES) - 1)
        for frame in run.position:
            d = frame[one][:, None] - frame[other][None]
            d -= edge * np.round(d / edge)
            counts += np.histogram(np.sqrt((d**2).sum(-1)), EDGES)[0]
        found[name] = counts / (len(run.position) * one.sum() * (other.sum() - (a == b)) * shell)
    return found


def diffusivity(run: Run, liquid: Liquid, kind: int, lags: tuple[int, int], frame_ps: float) -> float:
    """Slope of the mean squared displacement between two lags over 6, nm^2/ps, all time origins."""
    x = run.position[:, liquid.species == kind]
    # The centre of mass moves freely under Langevin noise, alike in both: kept.
    first, last = (((x[lag:] - x[:-lag]) ** 2).sum(-1).mean() for lag in lags)
    return float((last - first) / (6 * (lags[1] - lags[0]) * frame_ps))


def mean_error(values: Floats) -> tuple[Floats, Floats]:
    """Mean over the replicas (first axis) and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


def measured(run: Run, liquid: Liquid, frame_ps: float) -> tuple[Floats, Floats]:
    """The numbers of one replica, in the order of `QUANTITIES`, and its three g(r) one after the other."""
    g = radial_distributions(run, liquid)
    numbers = [run.energy.mean() / len(liquid.species)]
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    numbers += [g[name][(middle > low) & (middle < high)].mean() for name, (low, high) in PEAKS.items()]
    within = middle < BOUND_NM
    volume = 4 / 3 * math.pi * np.diff(EDGES**3)[within]
    numbers.append((g["Li-S6"][within] * volume).sum() * liquid.density)
    numbers += [diffusivity(run, liquid, kind, LAGS, frame_ps) for kind in (0, 1)]
    return np.array(numbers), np.concatenate([g[name] for name in PAIRS])


def exchange_probability(one: Floats, other: Floats) -> float:
    """Probability that replicas dealt at random into two groups differ by as much as these two groups do.

    one, other: (R, K), a curve for each replica. The difference is the sum over points of (difference of means)^2 /
    (variance over all replicas); every way of dealing is tried, so points may be correlated.
    """
    whole = np.concatenate([one, other])
    whole = whole[:, whole.std(axis=0) > 0]
    whole = (whole - whole.mean(axis=0)) / whole.std(axis=0)
    n = len(whole)
    groups = np.array([np.isin(np.arange(n), group) for group in itertools.combinations(range(n), len(one))])
    # With the overall mean at zero, the mean of one group fixes that of the other.
    distance = ((groups @ whole) ** 2).sum(axis=1)
    return float((distance >= distance[0] * (1 - 1e-12)).mean())


def electrolyte(settings: Settings) -> Outcome:
    """X4: energy, g(r), coordination and diffusion of liquid Li2S6, five replicas here against five of LAMMPS."""
    liquid = Liquid()
    interval, n_dropped, n_kept, n_replicas = 50, 20, 80, 5
    frame_ps = interval * liquid.timestep_ps
    run = make_simulation(liquid, interval, settings.dtype)
    ours, theirs, version = [], [], ""
    for replica in range(n_replicas):
        start = random_start(liquid, (settings.seed, replica, 0))
        ours.append(measured(run(start, replica_key(settings.seed, replica), n_dropped, n_kept), liquid, frame_ps))
        start = random_start(liquid, (settings.seed, replica, 1))
        seed = 1000 * settings.seed + 31 * replica + 1
        found, version = simulate_lammps(liquid, interval, start, seed, n_dropped, n_kept)
        theirs.append(measured(found, liquid, frame_ps))
    (value, error), (reference, other) = (mean_error(np.array([x[0] for x in side])) for side in (ours, theirs))
    basis = f"replicas, {2 * n_replicas - 2} degrees of freedom: 4 SE are met by chance once in 250"
    results = [
        Result(f"{name} (LAMMPS {version})", float(v), float(r), 4.0, unit, float(np.hypot(e, o)), basis=basis)
        for (name, unit), v, r, e, o in zip(QUANTITIES, value, reference, error, other, strict=True)
    ]
    curves_one, curves_other = (np.array([x[1] for x in side]) for side in (ours, theirs))
    results.append(
        Result(
            "g(r) up to 1.6 nm: probability of so large a difference between equals",
            exchange_probability(curves_one, curves_other),
            0.01,
            0.0,
            relation="at least",
            basis="all 252 ways of dealing ten replicas into two fives",
        )
    )
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    (g, g_error), (g_other, _) = mean_error(curves_one), mean_error(curves_other)
    curves = []
    for i, name in enumerate(PAIRS):
        part = slice(i * len(middle), (i + 1) * len(middle))
        curves.append(
            Curve(f"{name}, LAMMPS as reference", middle, g[part], g_other[part], "r (nm)", "g(r)", g_error[part])
        )
    return Outcome(tuple(results), tuple(curves))

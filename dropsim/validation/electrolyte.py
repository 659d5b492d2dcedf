"""Sampled rows of the electrostatics: a dilute electrolyte, and counter-ions at a charged plane.

Reduced units: kT = 1. Lengths in ion diameters (Debye-Hueckel) or Gouy-Chapman lengths (charged plane), charges in e.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.electrostatics.ewald import choose_parameters
from dropsim_kernels.pairs import pair_forces
from numpy.typing import NDArray
from scipy.optimize import root_scalar
from scipy.spatial import KDTree
from scipy.stats import f as f_distribution

from dropsim.validation.fluid import (
    Fluid,
    Samples,
    block_estimate,
    build_fluid,
    coulomb_energy,
    independent_estimate,
    sample,
    simple_cubic,
    start,
)
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings
from dropsim.validation.short_range import plain_wca

Floats = NDArray[np.floating]

BJERRUM = 1.0
ION_SIDE = 6  # ions along the edge of the starting lattice
ION_CHARGE = np.where(np.arange(ION_SIDE**3) % 2 == 0, 1.0, -1.0)
FOUR_SIGMA = 6.3e-5  # two-sided probability beyond four standard deviations


# --- the limiting law and what follows it ------------------------------------------------------------------


def debye_screening(bjerrum: float, density: float) -> float:
    """kappa = (4 pi l_B rho)^(1/2) of monovalent ions; density -> rho: of all ions together."""
    return math.sqrt(4 * math.pi * bjerrum * density)


def pair_distribution(r: Floats, sign: int, bjerrum: float, screening: float) -> Floats:
    """Pair distribution at low density: the screened potential, not linearised.

    g(r) = exp[-u_WCA(r) - z_i z_j l_B exp(-kappa r)/r].

    sign -> z_i z_j: 1 or -1. Validity: relative error of order l_B kappa. Source: doi 10.1063/1.1747506.
    """
    return np.exp(-_core(r) - sign * bjerrum * np.exp(-screening * r) / r)


def _core(r: Floats) -> Floats:
    # As far inside as this the Boltzmann factor is zero to double precision.
    sixth = np.maximum(r, 0.3) ** -6.0
    return np.where(r < 2 ** (1 / 6), 4 * (sixth * sixth - sixth) + 1, 0.0)


def excess_free_energy(bjerrum: float, density: float) -> float:
    """Excess free energy per volume and kT of a symmetric 1:1 electrolyte with soft cores, to order rho^2.

        f = -kappa^3/(12 pi) - (1/2) sum_ij rho_i rho_j int [exp(-u + q_ij) - 1 - q_ij - q_ij^2/2] 4 pi r^2 dr
        q_ij = -z_i z_j l_B exp(-kappa r)/r

    rho_i = rho/2; density -> rho. The first term is the limiting law, the second the screened second virial
    coefficient. Source: Mayer, doi 10.1063/1.1747506.
    """
    kappa = debye_screening(bjerrum, density)
    near, far = np.linspace(1e-3, 3.0, 30001), np.linspace(3.0, 3.0 + 40 / kappa, 30001)
    total = 0.0
    for r in (near, far):
        for sign in (1, -1):
            q = -sign * bjerrum * np.exp(-kappa * r) / r
            integrand = pair_distribution(r, sign, bjerrum, kappa) - 1 - q - q * q / 2
            # Two of the four pairs of species have each sign.
            total += 2 * (density / 2) ** 2 * float(np.trapezoid(4 * math.pi * r * r * integrand, r))
    return -(kappa**3) / (12 * math.pi) - total / 2


def excess_energy(bjerrum: float, density: float) -> float:
    """Coulomb energy per ion and kT: u = (l_B/rho) df/dl_B of `excess_free_energy`; -l_B kappa/2 in the limit."""
    step = 1e-3 * bjerrum
    upper, lower = excess_free_energy(bjerrum + step, density), excess_free_energy(bjerrum - step, density)
    return bjerrum / density * (upper - lower) / (2 * step)


def log_activity(bjerrum: float, density: float) -> float:
    """Mean ionic activity coefficient: ln gamma = df/drho of `excess_free_energy`; -l_B kappa/2 in the limit."""
    step = 1e-3 * density
    upper, lower = excess_free_energy(bjerrum, density + step), excess_free_energy(bjerrum, density - step)
    return (upper - lower) / (2 * step)


def periodic_cell_shift(screening: float, length: float, n_ions: int) -> float:
    """What a periodic cube of N ions adds to the Coulomb energy per ion, and to ln gamma, in the limiting law.

        N du = -1/2 + (kappa^2 V/2) sum_{n != 0} exp(-kappa |n| L)/(4 pi |n| L)

    From U = (1/2) sum_{k != 0} [kappa^2/(k^2 + kappa^2) - kappa^2/k^2]: the wave k = 0 is missing, and the sum over
    the others is an integral plus images (Poisson summation).
    """
    axis = np.arange(-4, 5)
    shell = np.sqrt(sum(a * a for a in np.meshgrid(axis, axis, axis, indexing="ij"))).ravel()
    reach = screening * length * shell[shell > 0]
    images = screening**3 * length**3 / 2 * float(np.sum(np.exp(-reach) / (4 * math.pi * reach)))
    return (images - 0.5) / n_ions


def sampled_distribution(position: Floats, charge: Floats, length: float, edges: Floats) -> tuple[Floats, Floats]:
    """g(r) of unlike and of like ions of a neutral 1:1 electrolyte: (K,) each.

    position: (T, N, 3); charge: (N,), of equal counts; edges: (K + 1,), up to half the edge of the cube.
    """
    found = np.zeros((2, len(edges) - 1))
    for frame in position:
        trees = [KDTree(np.mod(frame[charge * sign > 0], length), boxsize=length) for sign in (1, -1)]
        found[0] += 2 * np.diff(trees[0].count_neighbors(trees[1], edges))
        found[1] += sum(np.diff(tree.count_neighbors(tree, edges)) for tree in trees)
    half = len(charge) / 2
    shell = 4 * math.pi / 3 * np.diff(edges**3) / length**3 * len(position)
    return found[0] / (2 * half * half * shell), found[1] / (2 * half * (half - 1) * shell)


def inserted_pair_factors(fluid: Fluid, position: Floats, length: float, n_trials: int, seed: int) -> Floats:
    """Mean Boltzmann factor of a neutral ion pair put anywhere into each frame; (T,).

    <exp(-[U(N + 2) - U(N)])> over n_trials places, cation and anion independent of one another; kT = 1.
    Its mean over the frames is gamma^-2. Source: Widom, doi 10.1063/1.1734110.
    """
    dtype = fluid.coupling.dtype
    larger = dataclasses.replace(fluid, charge=jnp.concatenate([fluid.charge, jnp.asarray([1.0, -1.0], dtype)]))

    def energy(where: jax.Array, ions: Fluid) -> jax.Array:
        def core(r: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
            return ions.short_range(r)

        sites = jnp.zeros((0, 3), dtype)
        short, _, _ = pair_forces(core, where, sites, ions.charge, ions.charge, None, ions.box, ions.cutoff)
        return short + coulomb_energy(where, None, ions)

    @jax.jit
    def factors(frames: jax.Array, places: jax.Array) -> jax.Array:
        def one(frame_and_places: tuple[jax.Array, jax.Array]) -> jax.Array:
            frame, trials = frame_and_places
            before = energy(frame, fluid)
            after = jax.lax.map(lambda pair: energy(jnp.concatenate([frame, pair]), larger), trials)
            return jnp.exp(before - after).mean()

        return jax.lax.map(one, (frames, places))

    places = np.random.default_rng(seed).uniform(0, length, (len(position), n_trials, 2, 3))
    wrapped = np.mod(position, length)
    return np.asarray(factors(jnp.asarray(wrapped, dtype), jnp.asarray(places, dtype)), float)


def _sampled_electrolyte(kappa: float, settings: Settings) -> tuple[Fluid, Samples, float, float]:
    """A fluid of 216 ions of this kappa, its samples, density and edge."""
    density = kappa**2 / (4 * math.pi * BJERRUM)
    n = ION_SIDE**3
    length = (n / density) ** (1 / 3)
    position = np.random.default_rng(settings.seed).permutation(simple_cubic(ION_SIDE, length))
    # A force error of this size leaves 1e-5 kT of error in the energy per ion.
    ewald = choose_parameters((length,) * 3, n, 5e-3)
    fluid = build_fluid(
        position, (length,) * 3, settings.dtype, thermal_energy=1.0, timestep=0.02, friction=0.1,
        cutoff=float(ewald.cutoff), skin=0.5, short_range=plain_wca, charge=ION_CHARGE, coupling=BJERRUM, ewald=ewald,
    )  # fmt: skip
    samples, _, fluid = sample(fluid, start(fluid, position, settings.seed), 8000 if settings.full else 1400, 10)
    return fluid, samples.discard(0.1), density, length


def _pair_curves(kappa: float, position: Floats, length: float) -> list[Curve]:
    edges = np.linspace(0.8, 0.5 * length, 31)
    middle = (edges[1:] + edges[:-1]) / 2
    found = sampled_distribution(position, ION_CHARGE, length, edges)
    return [
        Curve(
            f"g(r) of {name} ions, kappa sigma = {kappa:g}",
            middle,
            values,
            pair_distribution(middle, sign, BJERRUM, kappa),
            "distance, ion diameters",
            "g(r)",
        )
        for name, values, sign in zip(("unlike", "like"), found, (-1, 1), strict=True)
    ]


def run_debye_hueckel(settings: Settings) -> Outcome:
    """D1: Coulomb energy of dilute 1:1 electrolytes against the limiting law and the term that follows it.

    216 ions with soft cores of diameter l_B. At kappa times the diameter of 0.2 the core takes 15 % off the limiting
    law, so the sampled energy is compared with the expansion to the next order; the limiting law is then the
    prefactor of -l_B kappa/2 with everything else subtracted. What the expansion still leaves out is, by the
    hypernetted-chain equation for the same ions, 0.05 % of the energy at kappa sigma = 0.1 and 0.4 % at 0.2, a
    fraction of the standard errors (1.1 % at 0.3, and so not used).
    """
    results: list[Result] = []
    curves: list[Curve] = []
    prefactors: list[tuple[float, float, float]] = []
    for kappa in (0.1, 0.15, 0.2) if settings.full else (0.2,):
        fluid, samples, density, length = _sampled_electrolyte(kappa, settings)
        energy = block_estimate(np.asarray(samples.coulomb, float) / len(ION_CHARGE))
        shift = periodic_cell_shift(kappa, length, len(ION_CHARGE))
        limit, expected = -BJERRUM * kappa / 2, excess_energy(BJERRUM, density) + shift
        # The variance of the sampled energy is proportional to the energy, so that of the prefactor to 1/limit.
        prefactors.append(((energy.value - expected) / limit + 1, energy.standard_error / abs(limit), abs(limit)))
        name = f"Coulomb energy per ion, kappa sigma = {kappa:g}"
        basis = "4 standard errors of the sample; orders that the reference leaves out: 0.4 % at kappa sigma = 0.2"
        results.append(Result(name, energy.value, expected, 4.0, "kT", energy.standard_error, basis=basis))
        if settings.full and kappa in (0.1, 0.2):
            mean = block_estimate(inserted_pair_factors(fluid, samples.position[::20], length, 32, settings.seed))
            name = f"ln gamma by insertion of ion pairs, kappa sigma = {kappa:g}"
            value, error = -math.log(mean.value) / 2, mean.standard_error / mean.value / 2
            expected = log_activity(BJERRUM, density) + shift
            results.append(Result(name, value, expected, 4.0, "1", error, basis="4 standard errors of the sample"))
        if kappa == 0.2:
            curves += _pair_curves(kappa, samples.position[::4], length)
    values, errors, weights = np.array(prefactors).T
    value = float(np.sum(weights * values) / weights.sum())
    error = float(np.sqrt(np.sum((weights * errors) ** 2)) / weights.sum())
    name = "prefactor of the limiting law"
    results.insert(
        0,
        Result(f"{name}, all concentrations", value, 1.0, 4.0, "1", error, basis="4 standard errors of the samples"),
    )
    basis = "a wider sample would test little"
    results.append(Result(f"{name}: standard error", error, 0.03, 0.0, relation="at most", basis=basis))
    return Outcome(tuple(results), tuple(curves))


# --- counter-ions at a charged plane -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ChargedPlane:
    """Mean-field profile of monovalent counter-ions between a charged plane at z = 0 and a bare wall at z = H.

        n(z) = K^2 / [2 pi l_B cos^2(K (H - z))],  K tan(K H) = 1/b,  b = 1/(2 pi l_B sigma)

    The Poisson-Boltzmann equation with n'(H) -> 0 field at the bare wall; for H >> b it tends to Gouy's
    1/[2 pi l_B (z + b)^2]. Everything in units of b; coupling -> Xi = l_B/b = 2 pi l_B^2 sigma. Mean field is the
    limit Xi -> 0. Source: doi 10.1051/jphystap:019100090045700 (Gouy); doi 10.1007/s101890050023 (order Xi).
    """

    coupling: float
    height: float

    @property
    def surface_density(self) -> float:
        """sigma b^2 = 1/(2 pi Xi), counter-ions per area."""
        return 1 / (2 * math.pi * self.coupling)

    @property
    def wave_number(self) -> float:
        """K b."""
        limit = math.pi / (2 * self.height)
        return root_scalar(lambda k: k * math.tan(k * self.height) - 1, bracket=(1e-9, limit * (1 - 1e-12))).root

    def density(self, z: Floats) -> Floats:
        """n(z) b^3; z: in b."""
        k = self.wave_number
        return self.surface_density * k * k / np.cos(k * (self.height - z)) ** 2

    def share_above(self, z: Floats) -> Floats:
        """Fraction of the counter-ions above z (in b): tan[K (H - z)]/tan(K H)."""
        k = self.wave_number
        return np.tan(k * (self.height - z)) / math.tan(k * self.height)

    def quantile(self, fraction: Floats) -> Floats:
        """Height, in b, below which this fraction of the counter-ions lies."""
        k = self.wave_number
        return self.height - np.arctan((1 - fraction) * math.tan(k * self.height)) / k


def profile_probability(occupation: Floats, expected: Floats) -> float:
    """Probability of a profile at least this far from the expected one, by Hotelling's test.

        T^2 = B d^T C^-1 d,  (B - m)/(m (B - 1)) T^2 ~ F(m, B - m)

    occupation: (B, m + 1) fractions in bins, of B independent blocks; expected: (m + 1,). The last bin is left out:
    the fractions sum to one. d: mean deviation; C: covariance of the blocks, which neighbouring bins share.
    """
    deviation = occupation[:, :-1] - expected[:-1]
    n_blocks, m = deviation.shape
    mean = deviation.mean(axis=0)
    squared = n_blocks * float(mean @ np.linalg.solve(np.cov(deviation.T), mean))
    return float(f_distribution.sf((n_blocks - m) / (m * (n_blocks - 1)) * squared, m, n_blocks - m))


def run_counterions(settings: Settings) -> Outcome:
    """D2: density profile of counter-ions at one charged plane, at weak coupling.

    The ions are points that repel each other, hard walls reflect them; the plane is a uniform sheet of opposite
    charge whose field is linear in z. The cell of the ions alone is charged: the slab sum has to carry that.
    """
    n_side, plane = 12, ChargedPlane(coupling=0.05, height=8.0)
    n = n_side**2
    length = math.sqrt(n / plane.surface_density)
    rng = np.random.default_rng(settings.seed)
    axis = (np.arange(n_side) + 0.5) * length / n_side
    x, y = np.meshgrid(axis, axis, indexing="ij")
    z = rng.permutation(plane.quantile((np.arange(n) + 0.5) / n))
    position = np.stack([x.ravel(), y.ravel(), z], axis=1)
    ewald = choose_parameters((length, length, plane.height), n, 1e-3, slab=True)
    fluid = build_fluid(
        position, (length, length, plane.height), settings.dtype, thermal_energy=1.0, timestep=0.05, friction=0.5,
        cutoff=float(ewald.cutoff), skin=0.3, charge=np.ones(n), coupling=plane.coupling, slope=1.0, ewald=ewald,
    )  # fmt: skip
    samples, _, _ = sample(fluid, start(fluid, position, settings.seed), 12000 if settings.full else 1200, 10)
    height = np.asarray(samples.discard(0.1).position[..., 2], float)

    def blocks(edges: Floats, n_blocks: int = 40) -> Floats:
        per_block = len(height) // n_blocks
        kept = height[len(height) - per_block * n_blocks :].reshape(n_blocks, -1)
        return np.array([np.histogram(block, edges)[0] / block.size for block in kept])

    n_bins = 10
    fractions = np.linspace(0, 1, n_bins + 1)
    edges = plane.quantile(fractions)
    occupation = blocks(edges)
    first = independent_estimate(occupation[:, 0] * n_bins)
    contact = float(plane.density(np.zeros(1))[0])
    probability = profile_probability(occupation, np.diff(fractions))
    # From equal shares near the plane to equal widths far from it.
    shown = np.unique(np.concatenate([plane.quantile(np.linspace(0, 0.9, 19)), np.linspace(edges[-2], edges[-1], 9)]))
    share = blocks(shown) * plane.surface_density / np.diff(shown)
    expected = -np.diff(plane.share_above(shown)) * plane.surface_density / np.diff(shown)
    curve = Curve(
        "counter-ions at a charged plane",
        (shown[1:] + shown[:-1]) / 2,
        share.mean(axis=0),
        expected,
        "distance from the plane, Gouy-Chapman lengths",
        "density, b^-3",
        share.std(axis=0, ddof=1) / math.sqrt(len(share)),
        log_y=True,
    )
    results = (
        Result(
            "probability of a profile this far from mean field",
            probability,
            FOUR_SIGMA,
            0.0,
            relation="at least",
            basis="four standard deviations; 10 bins, covariance of 40 blocks",
        ),
        Result(
            f"contact density, from the layer below {edges[1]:.2f} b",
            first.value * contact,
            contact,
            4.0,
            "b^-3",
            first.standard_error * contact,
            basis="4 standard errors of the sample",
        ),
        Result(
            "contact density: standard error / value",
            first.standard_error / first.value,
            0.03,
            0.0,
            relation="at most",
            basis="a wider sample would test little",
        ),
    )
    return Outcome(results, (curve,))


ROWS: tuple[Row, ...] = (
    Row(
        "D1",
        "Debye-Hueckel limiting law of a dilute 1:1 electrolyte, with the order that follows it",
        "U = -N kT l_B kappa/2, ln gamma = -l_B kappa/2: textbook; next order: Mayer, doi 10.1063/1.1747506",
        run_debye_hueckel,
    ),
    Row(
        "D2",
        "Profile and contact density of counter-ions at one charged plane, weak coupling",
        "Gouy's solution of the Poisson-Boltzmann equation in a finite gap; corrections of the order Xi: "
        "doi 10.1007/s101890050023",
        run_counterions,
    ),
)

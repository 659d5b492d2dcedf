"""Whether the Coulomb forces are as accurate as asked for, on random systems; what must not change the answer.

Twenty systems of each kind: a box, a slab above compensated centres, the same with a net charge, and a sheet of
100 nm x 100 nm x 5 nm above bare centres of +7.37 e. Lengths in nm, energies in e^2/nm.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import coulomb
from dropsim_kernels.electrostatics.coulomb import CoulombParameters
from dropsim_kernels.electrostatics.ewald import EwaldParameters
from dropsim_kernels.electrostatics.mesh import MeshParameters, mesh_parameters
from dropsim_kernels.electrostatics.parameters import choose_parameters, mesh_candidates

from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings

N_SYSTEMS = 20
N_IONS = 180
CENTRE_CHARGE = 7.37
LEAST_DISTANCE_NM = 0.4
# Of the sum that errors are measured against.
REFERENCE_TRUNCATION = 1e-9


@dataclass(frozen=True)
class Ions:
    """Mobile ions and fixed centres in a box, or in a slab of height lengths[2]."""

    position: np.ndarray
    charge: np.ndarray
    site_position: np.ndarray
    site_charge: np.ndarray
    lengths: tuple[float, float, float]
    slab: bool

    @property
    def effective_number(self) -> float:
        """Mobile ions, weighed up by the sites' charges: sum q^2 / mean q^2 of the mobile ones."""
        own, sites = (self.charge**2).sum(), (self.site_charge**2).sum()
        return float((own + sites) / own * len(self.charge))


def place_ions(
    rng: np.random.Generator, lengths: tuple[float, float, float], sites: np.ndarray, slab: bool
) -> np.ndarray:
    """Random places at least `LEAST_DISTANCE_NM` from each other and from the sites, (N_IONS, 3)."""
    edges = np.asarray(lengths)
    repeats = np.array([True, True, not slab])
    placed = np.concatenate([sites, np.zeros((N_IONS, 3))])
    count = len(sites)
    margin = np.array([0.0, 0.0, 0.2 if slab else 0.0])
    while count < len(placed):
        x = margin + rng.random(3) * (edges - 2 * margin)
        d = placed[:count] - x
        d -= np.where(repeats, edges * np.round(d / edges), 0.0)
        if not count or (d**2).sum(1).min() > LEAST_DISTANCE_NM**2:
            placed[count] = x
            count += 1
    return placed[len(sites) :]


def box_of_ions(rng: np.random.Generator) -> Ions:
    """+1 and -2 at 0.8 per nm^3, neutral, periodic in all directions."""
    lengths = (6.0, 6.5, 6.0)
    none = np.zeros((0, 3))
    charge = np.where(np.arange(N_IONS) % 3 == 0, -2.0, 1.0)
    return Ions(place_ions(rng, lengths, none, False), charge, none, np.zeros(0), lengths, False)


def slab_of_ions(rng: np.random.Generator, *, charged: bool) -> Ions:
    """+1 and -2 above four centres of +7.37 e, each within four sites of -7.37/4 e; charged: the ions are all +1."""
    lengths = (7.0, 7.0, 6.0)
    centres = np.array([(x, y, 0.15) for x in (1.75, 5.25) for y in (1.75, 5.25)])
    ring = np.array([(0.3, 0, -0.15), (-0.3, 0, -0.15), (0, 0.3, -0.15), (0, -0.3, -0.15)])
    sites = np.concatenate([centres, (centres[:, None, :] + ring).reshape(-1, 3)])
    site_charge = np.r_[np.full(4, CENTRE_CHARGE), np.full(16, -CENTRE_CHARGE / 4)]
    charge = np.ones(N_IONS) if charged else np.where(np.arange(N_IONS) % 3 == 0, -2.0, 1.0)
    return Ions(place_ions(rng, lengths, sites, True), charge, sites, site_charge, lengths, True)


def sheet_of_ions(rng: np.random.Generator) -> Ions:
    """A sparse sheet, 100 nm x 100 nm x 5 nm, above 25 bare centres of +7.37 e: far from neutral."""
    lengths = (100.0, 100.0, 5.0)
    sites = np.array([(10.0 + 20 * i, 10.0 + 20 * j, 0.15) for i in range(5) for j in range(5)])
    charge = np.where(np.arange(N_IONS) % 3 == 0, -2.0, 1.0)
    return Ions(place_ions(rng, lengths, sites, True), charge, sites, np.full(25, CENTRE_CHARGE), lengths, True)


KINDS = {
    "box": box_of_ions,
    "slab": functools.partial(slab_of_ions, charged=False),
    "charged slab": functools.partial(slab_of_ions, charged=True),
    "thin sheet": sheet_of_ions,
}
"""Makers of random systems, by name."""


# --- the sums ----------------------------------------------------------------------------------------------------


def ewald_for(ions: Ions, tolerance: float) -> EwaldParameters:
    """The exact sum with the splitting that the simulator chooses for a force error."""
    return choose_parameters(ions.lengths, ions.effective_number, tolerance, slab=ions.slab)


def mesh_for(ions: Ions, tolerance: float, orders: tuple[int, ...] = (4, 5, 6, 7, 8)) -> MeshParameters:
    """The particle mesh that is thought the cheapest for a force error, among splines of these orders."""
    best = mesh_candidates(
        ions.lengths, ions.effective_number, tolerance, slab=ions.slab, orders=orders, n_particles=N_IONS
    )[0]
    return mesh_parameters(
        ions.lengths, best.alpha, best.cutoff, best.mesh, best.order, ions.slab, padded_height=best.padded_height
    )


METHODS: dict[str, Callable[[Ions, float], CoulombParameters]] = {"Ewald sum": ewald_for, "particle mesh": mesh_for}
"""What a user can ask for a force error, by name."""

_energy_forces = jax.jit(coulomb.coulomb_energy_forces)


def evaluate(ions: Ions, parameters: CoulombParameters, dtype: np.dtype) -> tuple[float, np.ndarray]:
    """Energy and forces (N, 3) in the given dtype, as float64."""
    box = Box(jnp.asarray(ions.lengths, dtype), (True, True, not ions.slab))
    arrays = (ions.position, ions.charge, ions.site_position, ions.site_charge)
    cast = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), dtype), parameters)
    energy, forces = _energy_forces(*(jnp.asarray(a, dtype) for a in arrays), box, cast)
    if forces.dtype != dtype:
        raise TypeError(f"{dtype} in gave {forces.dtype} out")
    return float(energy), np.asarray(forces, float)


def tight(ions: Ions, splitting: float = 1.0) -> EwaldParameters:
    """Ewald parameters that leave errors of `REFERENCE_TRUNCATION`; splitting >= 1 moves work to the waves."""
    s = math.sqrt(math.log(1 / REFERENCE_TRUNCATION))
    edges = np.array(ions.lengths)
    cutoff = 0.5 * (edges[:2] if ions.slab else edges).min() * (1 - 1e-6)
    alpha = splitting * s / cutoff
    if ions.slab:
        edges[2] += max(cutoff, edges[:2].max() * s**2 / (2 * math.pi))
    n_x, n_y, n_z = (math.ceil(2 * alpha * s * length / (2 * math.pi)) for length in edges)
    height = np.asarray(edges[2]) if ions.slab else None
    return EwaldParameters(np.asarray(alpha), np.asarray(cutoff), height, (n_x, n_y, n_z), ions.slab)  # type: ignore[arg-type]


def reference_forces(ions: Ions) -> np.ndarray:
    """Forces in float64 from the tight sum, whatever the precision of the battery."""
    with jax.enable_x64(True):
        return evaluate(ions, tight(ions), np.dtype("float64"))[1]


def representable(ions: Ions, dtype: np.dtype) -> Ions:
    """The same system with coordinates that the dtype holds exactly: the sums then see the same positions."""

    def rounded(a: np.ndarray) -> np.ndarray:
        return np.asarray(a.astype(dtype), float)

    return Ions(
        rounded(ions.position), rounded(ions.charge), rounded(ions.site_position), rounded(ions.site_charge),
        ions.lengths, ions.slab,
    )  # fmt: skip


def relative(found: np.ndarray, reference: np.ndarray) -> float:
    """Rms error over the rms force."""
    return float(np.sqrt(((found - reference) ** 2).sum() / (reference**2).sum()))


# --- E10 -----------------------------------------------------------------------------------------------------------


def requested_error(settings: Settings) -> Outcome:
    """E10: the largest of the measured errors of twenty systems is at most what was asked for."""
    tolerances = (1e-2, 1e-3, 1e-4) if settings.full else (1e-3,)
    results, curves = [], []
    for index, (kind, make) in enumerate(KINDS.items()):
        rng = np.random.default_rng([settings.seed, index])
        systems = [representable(make(rng), settings.dtype) for _ in range(N_SYSTEMS)]
        references = [reference_forces(ions) for ions in systems]
        for name, choose in METHODS.items():
            for tolerance in tolerances:
                parameters = choose(systems[0], tolerance)
                errors = np.array(
                    [relative(evaluate(ions, parameters, settings.dtype)[1], known)
                     for ions, known in zip(systems, references, strict=True)]
                )  # fmt: skip
                results.append(
                    Result(f"largest relative force error of {N_SYSTEMS}: {kind}, asked {tolerance:g}, {name}",
                           float(errors.max()), tolerance, 0.0, relation="at most", basis="what was asked for")
                )  # fmt: skip
                curves.append(
                    Curve(f"{kind}, {name}", np.arange(1, N_SYSTEMS + 1), errors, np.full(N_SYSTEMS, tolerance),
                          "system", "relative force error", log_y=True)
                )  # fmt: skip
    return Outcome((*results, *_invariances(settings), *_mesh_invariances(settings)), tuple(curves))


def _invariances(settings: Settings) -> list[Result]:
    """What must not matter: the splitting, and where along the repeated directions the whole system stands."""
    results = []
    dtype = settings.dtype
    for index, kind in enumerate(("box", "charged slab")):
        rng = np.random.default_rng([settings.seed, 100 + index])
        ions = representable(KINDS[kind](rng), dtype)
        free = all_mobile(ions)
        # Sums of n terms whose sizes add up to the size of the parts; rounding, and what both sums leave out.
        size = _size(free)
        n = len(free.charge)
        rounding = float(np.finfo(dtype).eps) * n
        energy, forces = evaluate(free, tight(free), dtype)
        other, _ = evaluate(free, tight(free, 1.3), dtype)
        results.append(
            Result(f"energy with another splitting, {kind}", other, energy,
                   (rounding + REFERENCE_TRUNCATION) * size, "e^2/nm",
                   basis="eps N + truncation, times the sum of the sizes of the parts")
        )  # fmt: skip
        scale = float(np.abs(forces).max())
        results.append(
            Result(f"net force over the largest force, {kind}", float(np.abs(forces.sum(0)).max()) / scale, 0.0,
                   rounding * math.sqrt(n), relation="at most", basis="eps N sqrt(N): rounding of N forces")
        )  # fmt: skip
        shift = np.array([1.25, -0.75, 0.0 if ions.slab else 2.5])
        moved = shifted(free, shift)
        results.append(
            Result(f"energy after a shift of all, {kind}", evaluate(moved, tight(free), dtype)[0], energy,
                   rounding * size, "e^2/nm", basis="eps N times the sum of the sizes of the parts")
        )  # fmt: skip
    return results


def _mesh_invariances(settings: Settings) -> list[Result]:
    """The same of the particle mesh, within the force error that it was asked for: its forces do not add up exactly."""
    results = []
    asked = 1e-3
    for index, kind in enumerate(("box", "charged slab")):
        ions = representable(KINDS[kind](np.random.default_rng([settings.seed, 100 + index])), settings.dtype)
        free = all_mobile(ions)
        parameters = mesh_for(free, asked)
        _, forces = evaluate(free, parameters, settings.dtype)
        rms = math.sqrt(float((forces**2).sum()) / len(forces))
        results.append(
            Result(f"net force over rms force and sqrt(N), {kind}, particle mesh",
                   float(np.sqrt((forces.sum(0) ** 2).sum())) / rms / math.sqrt(len(forces)), 0.0, asked,
                   relation="at most", basis="independent errors of N forces, as asked for")
        )  # fmt: skip
        # A fraction of a mesh cell along x and y.
        moved = shifted(free, np.array([1.234, -0.777, 0.0]))
        results.append(
            Result(f"change of the forces after a shift of all, {kind}, particle mesh",
                   relative(evaluate(moved, parameters, settings.dtype)[1], forces), 0.0, math.sqrt(2) * asked,
                   relation="at most", basis="errors of both, as asked for")
        )  # fmt: skip
        other = mesh_for(free, asked, orders=(4 if parameters.order > 4 else 6,))
        results.append(
            Result(f"change of the forces with another mesh, cutoff and order, {kind}, particle mesh",
                   relative(evaluate(free, other, settings.dtype)[1], forces), 0.0, math.sqrt(2) * asked,
                   relation="at most", basis="errors of both, as asked for")
        )  # fmt: skip
    return results


def all_mobile(ions: Ions) -> Ions:
    """The same system with nothing fixed: all charges feel the forces that they exert."""
    return Ions(
        np.concatenate([ions.position, ions.site_position]), np.concatenate([ions.charge, ions.site_charge]),
        np.zeros((0, 3)), np.zeros(0), ions.lengths, ions.slab,
    )  # fmt: skip


def shifted(ions: Ions, shift: np.ndarray) -> Ions:
    """The same system, mobile charges only, moved as a whole."""
    return Ions(ions.position + shift, ions.charge, ions.site_position, ions.site_charge, ions.lengths, ions.slab)


def _size(ions: Ions) -> float:
    """Sum of the sizes of the pair terms with neighbours and of the self energy, e^2/nm."""
    parameters = tight(ions, 1.3)
    alpha = float(parameters.alpha)
    d = ions.position[:, None, :] - ions.position[None, :, :]
    edges = np.asarray(ions.lengths)
    d -= np.where(np.array([True, True, not ions.slab]), edges * np.round(d / edges), 0.0)
    r = np.sqrt((d**2).sum(-1))
    pairs = np.where(r > 0, np.exp(-((alpha * r) ** 2)) / np.where(r > 0, r, 1.0), 0.0)
    total = (np.abs(np.outer(ions.charge, ions.charge)) * pairs).sum() / 2
    net = float(ions.charge.sum())
    if ions.slab:
        assert parameters.padded_height is not None
        volume = edges[0] * edges[1] * float(parameters.padded_height)
        total += 2 * math.pi / volume * net**2 * float(parameters.padded_height) ** 2 / 12
    return float(total + alpha / math.sqrt(math.pi) * (ions.charge**2).sum())


ROWS: tuple[Row, ...] = (
    Row(
        "E10",
        "Coulomb forces are as accurate as asked for; splitting and place do not matter; no net force",
        "the same sum converged; error estimates of doi 10.1080/08927029208049126",
        requested_error,
    ),
)

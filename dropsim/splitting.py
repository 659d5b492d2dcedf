"""How the Coulomb sum of a configuration is split: exactly, or on a mesh; from the force error asked for.

The choice depends on the file alone, never on the machine, so that a run that is resumed or repeated has the same
forces.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
from dropsim_kernels.electrostatics.coulomb import CoulombParameters
from dropsim_kernels.electrostatics.ewald import EwaldParameters
from dropsim_kernels.electrostatics.influence import padded_height_of, taper_points
from dropsim_kernels.electrostatics.mesh import mesh_parameters
from dropsim_kernels.electrostatics.parameters import choose_parameters, mesh_candidates

from dropsim.composition import Composition, lennard_jones_range_nm
from dropsim.config import MESH_ORDERS, Config
from dropsim.errors import BuildError

# Up to this many charges all pairs are met in order, which costs less than a list whose rows a fast clock makes old
# in a few steps; the cutoff is then free, and the largest one leaves the fewest wave vectors. Measured on one core:
# 335 steps/s against 286 at 1053 charges (benchmarks/results/engine.md); about 30 against 26 at 2930, seen once.
ALL_PAIRS_BELOW = 3000
# Real-space cutoffs that are tried, over the range of Lennard-Jones.
CUTOFF_FACTORS = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0)


@dataclasses.dataclass(frozen=True)
class Splitting:
    """One way to split the Coulomb sum, in plain numbers.

    method: "ewald" or "mesh"; splitting_per_nm: alpha; order: of the splines, 0 for the Ewald sum; waves: mesh points,
    or largest wave indices, along x, y, z; height_nm: period along z, padded in a slab; extent_nm: largest difference
    in height of two charges, the box's own if None; lengths_nm: of the box; slab: whether z does not repeat;
    predicted_error: of the forces, relative.
    """

    method: str
    cutoff_nm: float
    splitting_per_nm: float
    waves: tuple[int, int, int]
    order: int
    lengths_nm: tuple[float, float, float]
    slab: bool
    padded_height_nm: float | None = None
    extent_nm: float | None = None
    predicted_error: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Splitting:
        """Back from `to_dict`, also after a way through JSON."""
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)

    def parameters(self, dtype: Any) -> CoulombParameters:
        """The arrays that the kernels take."""
        if self.method == "mesh":
            return mesh_parameters(
                self.lengths_nm, self.splitting_per_nm, self.cutoff_nm, self.waves, self.order, self.slab,
                padded_height=self.padded_height_nm, extent=self.extent_nm, dtype=dtype,
            )  # fmt: skip
        height = None if self.padded_height_nm is None else jnp.asarray(self.padded_height_nm, dtype)
        return EwaldParameters(
            jnp.asarray(self.splitting_per_nm, dtype), jnp.asarray(self.cutoff_nm, dtype), height, self.waves, self.slab
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def _charge_strength(config: Config, whole: Composition) -> float:
    """sum q^2 of beads and sites over the mean q^2 of the beads: the number of charges that error estimates take."""
    table, centres = config.species, config.centres
    mobile = (
        whole.n_Li * table.Li.charge_e**2 + whole.n_S6 * table.S6.charge_e**2 + whole.n_TFSI * table.TFSI.charge_e**2
    )
    sites = whole.n_centres * centres.charge_e**2 + whole.n_ring_sites * (0.25 * centres.charge_e) ** 2
    return max(1.0, (mobile + sites) / max(mobile, 1e-9) * whole.n_ions)


def contact_nm(config: Config) -> float:
    """Distance of an ion pair in contact, which sets the force that errors are relative to."""
    return 0.5 * (config.species.Li.sigma_nm + config.species.S6.sigma_nm)


def exact_splitting(config: Config, whole: Composition, tolerance: float) -> Splitting:
    """The Ewald sum of least estimated cost."""
    lengths, slab = _geometry(config)
    cutoff = config.electrostatics.cutoff_nm
    if cutoff is None and whole.n_mobile + whole.n_sites <= ALL_PAIRS_BELOW:
        cutoff = 0.5 * min(lengths[:2] if slab else lengths)
    found = choose_parameters(
        lengths,
        _charge_strength(config, whole),
        tolerance,
        cutoff=cutoff,
        slab=slab,
        vacuum_factor=config.electrostatics.vacuum_factor,
        neighbor_distance=contact_nm(config),
    )
    height = None if found.padded_height is None else float(found.padded_height)
    return Splitting(
        "ewald", float(found.cutoff), float(found.alpha), found.n_max, 0, lengths, slab, padded_height_nm=height
    )


def mesh_splittings(config: Config, whole: Composition, tolerance: float) -> list[Splitting]:
    """Particle meshes that meet the error by estimate, the least estimated cost first."""
    lengths, slab = _geometry(config)
    given = config.electrostatics
    # Never below the range of Lennard-Jones: the physics is not the tuner's to choose.
    longest = 0.5 * min(lengths[:2] if slab else lengths)
    shortest = min(lennard_jones_range_nm(config, whole), longest)
    cutoffs = [min(shortest * factor, longest) for factor in CUTOFF_FACTORS]
    if given.cutoff_nm is not None:
        cutoffs = [given.cutoff_nm]
    found = mesh_candidates(
        lengths,
        _charge_strength(config, whole),
        tolerance,
        slab=slab,
        neighbor_distance=contact_nm(config),
        cutoffs=cutoffs,
        orders=MESH_ORDERS,
        n_particles=whole.n_mobile,
    )
    # In a small box several of the cutoffs come to half its length: the same splitting.
    distinct = dict.fromkeys(
        Splitting(
            "mesh", c.cutoff, c.alpha, c.mesh, c.order, lengths, slab, padded_height_nm=c.padded_height,
            predicted_error=math.hypot(c.real_error, c.mesh_error),
        )
        for c in found
    )  # fmt: skip
    return list(distinct)


def choose_splitting(config: Config, whole: Composition, tolerance: float | None = None) -> Splitting:
    """The splitting of a configuration: the one it gives, else that of least estimated cost for its tolerance.

    tolerance: instead of `electrostatics.force_tolerance`. Raises BuildError where no mesh meets it.
    """
    lengths, slab = _geometry(config)
    given = config.electrostatics
    wanted = given.force_tolerance if tolerance is None else tolerance
    if given.mesh is not None and given.cutoff_nm and given.splitting_per_nm and given.mesh_order:
        height = padded_height_of(lengths[2], given.mesh[2], taper_points(given.force_tolerance)) if slab else None
        return Splitting(
            "mesh", given.cutoff_nm, given.splitting_per_nm, given.mesh, given.mesh_order, lengths, slab,
            padded_height_nm=height,
        )  # fmt: skip
    if given.method == "ewald" or (given.method == "auto" and whole.n_mobile + whole.n_sites <= ALL_PAIRS_BELOW):
        return exact_splitting(config, whole, wanted)
    found = mesh_splittings(config, whole, wanted)
    if not found:
        raise BuildError(
            f"electrostatics.force_tolerance = {wanted:g}: no mesh reaches it; raise it, or set "
            "electrostatics.method = 'ewald'"
        )
    return found[0]


def _geometry(config: Config) -> tuple[tuple[float, float, float], bool]:
    return (*config.box.lateral_nm, config.box.height_nm), config.box.geometry == "slab"
